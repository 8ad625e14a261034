//! Times as people write them: `500ms`, `10s`, `2m`, `1h`.

use std::time::Duration;

/// The longest time an option takes: a year. Nobody waits longer, and sums of such times never overflow.
const HOURS_MAX: u64 = 365 * 24;

/// Reads a whole number with its unit.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err("a time is a whole number with its unit, such as `500ms`, `10s`, `2m` or `1h`".to_owned());
    }
    let unit_ms: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "" => return Err(format!("a time needs its unit: write `{number}s` for {number} seconds, or use ms, m or h")),
        _ => return Err("the unit of a time is `ms`, `s`, `m` or `h`, such as in `500ms` or `10s`".to_owned()),
    };
    let longest_ms = HOURS_MAX * 3_600_000;
    match number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit_ms)) {
        Some(ms) if ms <= longest_ms => Ok(Duration::from_millis(ms)),
        _ => Err(format!("the longest time is a year: `{HOURS_MAX}h`")),
    }
}

/// The same for a time that cannot be none at all.
pub(crate) fn parse_some(text: &str) -> Result<Duration, String> {
    match parse(text)? {
        Duration::ZERO => Err("it must be some time".to_owned()),
        time => Ok(time),
    }
}

/// A time as a person likes to read it, with the unit that fits: `48 µs`, `1.2 ms`, `3 s`.
pub(crate) fn shown(time: Duration) -> String {
    let us = time.as_micros();
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..1_000_000 => format!("{} ms", rounded(us, 1_000)),
        _ => format!("{} s", rounded(us, 1_000_000)),
    }
}

/// One digit behind the point where it says something.
fn rounded(us: u128, unit: u128) -> String {
    let tenths = us * 10 / unit;
    match (tenths / 10, tenths % 10) {
        (whole, 0) => whole.to_string(),
        (whole, _) if whole >= 100 => whole.to_string(),
        (whole, tenth) => format!("{whole}.{tenth}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_with_its_unit() {
        for (text, ms) in [("0ms", 0), ("500ms", 500), ("10s", 10_000), ("2m", 120_000), ("8760h", 31_536_000_000)] {
            assert_eq!(parse(text), Ok(Duration::from_millis(ms)), "{text}");
        }
    }

    #[test]
    fn a_bare_number_is_refused_with_a_hint() {
        let refused = parse("5").expect_err("no unit");
        assert_eq!(refused, "a time needs its unit: write `5s` for 5 seconds, or use ms, m or h");
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "s",
            "-5s",
            "+5s",
            "1.5s",
            "1h30m",
            "5 s",
            "5S",
            "9999y",
            "8761h",
            "99999999999999999999s",
            "18446744073709551615h",
            "٣s",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_time_is_shown_with_the_unit_that_fits() {
        for (us, text) in [(48, "48 µs"), (1_000, "1 ms"), (1_250, "1.2 ms"), (123_456, "123 ms"), (3_000_000, "3 s")]
        {
            assert_eq!(shown(Duration::from_micros(us)), text);
        }
    }
}
