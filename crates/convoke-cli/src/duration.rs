//! Times as people write them: `500ms`, `10s`, `2m`, `1h30m`.

use std::time::Duration;

/// The longest time an option takes: a year. Nobody waits longer, and sums of such times never overflow.
const HOURS_MAX: u64 = 365 * 24;

/// Units, the longest first, in milliseconds.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Reads whole numbers with their units, the longest first, each once.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let too_long = || format!("the longest time is a year: `{HOURS_MAX}h`");
    let (mut rest, mut units, mut ms) = (text, UNITS.as_slice(), 0_u64);
    loop {
        let (number, after) = split(rest, |c| c.is_ascii_digit());
        let (unit, after) = split(after, |c| !c.is_ascii_digit());
        if number.is_empty() {
            return Err("a time is a whole number with its unit, such as `500ms`, `10s`, `1m30s` or `2h`".to_owned());
        }
        if unit.is_empty() {
            return Err(format!("a time needs its unit: write `{number}s` for {number} seconds, or use ms, m or h"));
        }
        if !UNITS.iter().any(|(known, _)| *known == unit) {
            return Err("the unit of a time is `ms`, `s`, `m` or `h`, such as in `500ms` or `10s`".to_owned());
        }
        let Some(at) = units.iter().position(|(known, _)| *known == unit) else {
            return Err("the units of a time come once each, the longest first, as in `1h30m`".to_owned());
        };
        let part = number.parse::<u64>().ok().and_then(|number| number.checked_mul(units[at].1));
        ms = part.and_then(|part| part.checked_add(ms)).ok_or_else(too_long)?;
        (rest, units) = (after, &units[at + 1..]);
        if rest.is_empty() {
            break;
        }
    }
    if ms <= HOURS_MAX * 3_600_000 { Ok(Duration::from_millis(ms)) } else { Err(too_long()) }
}

/// The beginning of a text in which every character is so, and the rest.
fn split(text: &str, so: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !so(c)).unwrap_or(text.len()))
}

/// A time as [`parse`] reads it, to the millisecond: `1m30s`.
pub(crate) fn exact(time: Duration) -> String {
    let mut left = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, ms) in UNITS {
        if left >= ms {
            text.push_str(&format!("{}{unit}", left / ms));
            left %= ms;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// The same for a time that cannot be none at all.
pub(crate) fn parse_some(text: &str) -> Result<Duration, String> {
    match parse(text)? {
        Duration::ZERO => Err("no time at all is too short for anything: give at least `1ms`".to_owned()),
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
    fn a_time_may_have_several_parts_and_is_shown_as_it_can_be_read_back() {
        for (text, ms) in [("1h30m", 5_400_000), ("1m30s", 90_000), ("1s500ms", 1_500), ("1h1ms", 3_600_001)] {
            assert_eq!(parse(text), Ok(Duration::from_millis(ms)), "{text}");
            assert_eq!(exact(Duration::from_millis(ms)), text);
        }
        assert_eq!(parse("90s").map(exact), Ok("1m30s".to_owned()));
        assert_eq!(exact(Duration::ZERO), "0s");
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
            "30m1h",
            "1s1s",
            "1h30",
            "1h 30m",
            "8760h1ms",
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
