//! What a run prints: an aligned markdown table for people, JSON lines for programs.

use crate::measure::{Figure, Spread, Unit};
use crate::peers::Peer;

/// Everything measured: which peer, which pass, what.
pub(crate) type Results<'a> = [(&'a Peer, usize, Figure)];

/// One figure of one pass as a line of JSON.
pub(crate) fn json(peer: &Peer, pass: usize, figure: &Figure) -> String {
    let unit = match figure.unit {
        Unit::PerSecond => "per_second",
        Unit::Micros => "us",
        Unit::Millis => "ms",
        Unit::Kibibytes => "kib",
        Unit::Percent => "percent",
    };
    let cost = figure.hub_micros.map_or_else(|| "null".to_owned(), |cost| format!("{cost:.4}"));
    format!(
        r#"{{"row":{},"peer":{},"pass":{pass},"unit":"{unit}","value":{:.3},"hub_us_per_message":{cost}}}"#,
        quoted(&figure.row),
        quoted(&peer.label()),
        figure.value
    )
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            control if control < ' ' => quoted.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => quoted.push(other),
        }
    }
    quoted + "\""
}

/// The table: for each row, each peer's median and spread, what Convoke's median is divided by it, and cost.
pub(crate) fn table(peers: &[Peer], results: &Results<'_>) -> String {
    let mut lines = vec![["row", "peer", "median", "min–max", "convoke ÷ it", "hub µs/msg"].map(str::to_owned)];
    let mut rows: Vec<(&str, Unit)> = Vec::new();
    for (_, _, figure) in results {
        if rows.iter().all(|(row, _)| *row != figure.row) {
            rows.push((&figure.row, figure.unit));
        }
    }
    for (row, unit) in rows {
        let figures = |peer: &Peer| {
            let own = results.iter().filter(|(of, _, figure)| **of == *peer && figure.row == row);
            own.map(|(_, _, figure)| figure).cloned().collect::<Vec<_>>()
        };
        let spread = |peer: &Peer| Spread::of(figures(peer).iter().map(|figure| figure.value));
        let convoke = peers.iter().find(|peer| **peer == Peer::Convoke).and_then(&spread).map(|spread| spread.median);
        for peer in peers {
            let Some(values) = spread(peer) else { continue };
            let (divisor, decimals, suffix) = scale(values.median, unit);
            let written = |value: f64| format!("{:.decimals$}", value / divisor);
            let cost = Spread::of(figures(peer).iter().filter_map(|figure| figure.hub_micros));
            let ratio = convoke.filter(|_| *peer != Peer::Convoke && values.median > 0.0);
            lines.push([
                row.to_owned(),
                peer.label(),
                format!("{} {suffix}", written(values.median)),
                format!("{}–{}", written(values.min), written(values.max)),
                ratio.map_or_else(|| "–".to_owned(), |convoke| format!("{:.2}", convoke / values.median)),
                cost.map_or_else(|| "–".to_owned(), |cost| format!("{:.3}", cost.median)),
            ]);
        }
    }
    aligned(&lines)
}

/// How figures of about `value` are written: what to divide by, decimals for three digits, and what they count.
fn scale(value: f64, unit: Unit) -> (f64, usize, &'static str) {
    let (divisor, suffix) = match unit {
        Unit::Micros => (1.0, "µs"),
        Unit::Millis => (1.0, "ms"),
        Unit::Kibibytes => (1.0, "KiB"),
        Unit::Percent => (1.0, "%"),
        Unit::PerSecond if value >= 1e6 => (1e6, "M/s"),
        Unit::PerSecond if value >= 1e3 => (1e3, "k/s"),
        Unit::PerSecond => (1.0, "/s"),
    };
    let decimals = match value / divisor {
        value if value >= 100.0 => 0,
        value if value >= 10.0 => 1,
        _ => 2,
    };
    (divisor, decimals, suffix)
}

/// The first line is the head; the first two columns are words, the others figures.
fn aligned<const N: usize>(lines: &[[String; N]]) -> String {
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default();
    let widths: [usize; N] = std::array::from_fn(width);
    let mut table = String::new();
    for (number, line) in lines.iter().enumerate() {
        for (column, (cell, width)) in line.iter().zip(widths).enumerate() {
            let cell = if column < 2 { format!("| {cell:<width$} ") } else { format!("| {cell:>width$} ") };
            table.push_str(&cell);
        }
        table.push_str("|\n");
        if number == 0 {
            for (column, width) in widths.into_iter().enumerate() {
                table.push_str(&if column < 2 {
                    format!("|{:-<1$}", "", width + 2)
                } else {
                    format!("|{:-<1$}:", "", width + 1)
                });
            }
            table.push_str("|\n");
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nats(version: &str) -> Peer {
        Peer::Nats { program: "nats-server".to_owned(), version: version.to_owned() }
    }

    fn figure(row: &str, unit: Unit, value: f64) -> Figure {
        Figure { row: row.to_owned(), unit, value, hub_micros: Some(0.5) }
    }

    #[test]
    fn convoke_is_divided_by_each_of_the_others() {
        let peers = [Peer::Floor, Peer::Convoke, nats("1")];
        let mut results = Vec::new();
        for (peer, rate, latency) in [(&peers[0], 6e6, 50.0), (&peers[1], 3e6, 60.0), (&peers[2], 1.5e6, 100.0)] {
            results.push((peer, 1, figure("1→1, 16 B", Unit::PerSecond, rate)));
            results.push((peer, 1, Figure { hub_micros: None, ..figure("echo p50", Unit::Micros, latency) }));
        }
        let expected = "\
| row       | peer    |   median |   min–max | convoke ÷ it | hub µs/msg |
|-----------|---------|---------:|----------:|-------------:|-----------:|
| 1→1, 16 B | floor   | 6.00 M/s | 6.00–6.00 |         0.50 |      0.500 |
| 1→1, 16 B | convoke | 3.00 M/s | 3.00–3.00 |            – |      0.500 |
| 1→1, 16 B | nats 1  | 1.50 M/s | 1.50–1.50 |         2.00 |      0.500 |
| echo p50  | floor   |  50.0 µs | 50.0–50.0 |         1.20 |          – |
| echo p50  | convoke |  60.0 µs | 60.0–60.0 |            – |          – |
| echo p50  | nats 1  |   100 µs |   100–100 |         0.60 |          – |
";
        assert_eq!(table(&peers, &results), expected);
    }

    #[test]
    fn without_convoke_there_is_no_ratio() {
        let peers = [Peer::Floor];
        let results = [(&peers[0], 1, figure("echo p50", Unit::Micros, 50.0))];
        assert!(table(&peers, &results).contains("|            – |"));
    }

    #[test]
    fn a_json_line_is_one_figure_of_one_pass() {
        assert_eq!(
            json(&nats("2\"9"), 3, &figure("1→1, 16 B", Unit::PerSecond, 1234.5)),
            r#"{"row":"1→1, 16 B","peer":"nats 2\"9","pass":3,"unit":"per_second","value":1234.500,"hub_us_per_message":0.5000}"#
        );
    }
}
