//! Sizes as people write them: `8MiB` is 8 × 2^20 bytes, `8MB` is 8 × 10^6.

/// Units, the binary before the decimal, the larger before the smaller.
const UNITS: &[(&str, u64)] = &[
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

/// Reads a whole number with its unit; without one it is bytes. On failure, what would be right, if that can be guessed.
pub(super) fn parse(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    if number.is_empty() || unit.starts_with('.') {
        return Err(String::new());
    }
    let bytes = match UNITS.iter().find(|(known, _)| *known == unit) {
        Some((_, bytes)) => *bytes,
        None if unit.is_empty() => 1,
        None => return Err(hint(number, unit.trim())),
    };
    number.parse::<u64>().ok().and_then(|number| number.checked_mul(bytes)).ok_or_else(String::new)
}

/// What may have been meant by a unit that does not exist.
fn hint(number: &str, unit: &str) -> String {
    let unit = unit.to_ascii_lowercase();
    let like = |known: &&(&str, u64)| {
        let known = known.0.to_ascii_lowercase();
        known == unit || (known.len() > 1 && known.trim_end_matches('b') == unit)
    };
    let meant = UNITS.iter().filter(|(known, _)| known.len() > 1).find(like).map(|(known, _)| known.as_bytes()[0]);
    let Some(letter) = meant.map(|letter| letter.to_ascii_lowercase()) else { return String::new() };
    let pair: Vec<&str> = UNITS
        .iter()
        .map(|(known, _)| *known)
        .filter(|known| known.len() > 1 && known.as_bytes()[0].to_ascii_lowercase() == letter)
        .collect();
    let power = |known: &str| if known.contains('i') { "of 1024" } else { "of 1000" };
    let ways: Vec<String> = pair.iter().map(|known| format!("`{number}{known}` (powers {})", power(known))).collect();
    format!("; write {}", ways.join(" or "))
}

/// The shortest form that is exact.
pub(super) fn shown(bytes: u64) -> String {
    let exact = UNITS.iter().find(|(_, unit)| bytes >= *unit && bytes.is_multiple_of(*unit));
    exact.map_or_else(|| format!("{bytes}B"), |(unit, size)| format!("{}{unit}", bytes / size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_read_with_its_unit() {
        for (text, bytes) in [
            ("0", 0),
            ("1048576", 1 << 20),
            ("512B", 512),
            ("1kB", 1000),
            ("1KiB", 1024),
            ("1GB", 1_000_000_000),
            ("1GiB", 1 << 30),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused_with_what_was_meant_if_that_is_clear() {
        for (text, hint) in [
            ("1gb", "; write `1GiB` (powers of 1024) or `1GB` (powers of 1000)"),
            ("1 GB", "; write `1GiB` (powers of 1024) or `1GB` (powers of 1000)"),
            ("8M", "; write `8MiB` (powers of 1024) or `8MB` (powers of 1000)"),
            ("64kb", "; write `64KiB` (powers of 1024) or `64kB` (powers of 1000)"),
            ("1e9", ""),
            ("-1MiB", ""),
            ("+1", ""),
            ("1.5GiB", ""),
            ("", ""),
            ("MiB", ""),
            ("1b", ""),
            ("1Gbit", ""),
            ("18446744073709551616", ""),
            ("18446744073709551615KiB", ""),
            ("٣MiB", ""),
        ] {
            assert_eq!(parse(text), Err(hint.to_owned()), "{text}");
        }
    }

    #[test]
    fn a_size_is_shown_as_it_can_be_read_back() {
        for (bytes, text) in
            [(0, "0B"), (1 << 20, "1MiB"), (1_000_000_000, "1GB"), (1536, "1536B"), (12 << 20, "12MiB")]
        {
            assert_eq!(shown(bytes), text);
            assert_eq!(parse(text), Ok(bytes));
        }
    }
}
