//! Durations and sizes as text with a unit: `"250ms"`, `"16KiB"`.
//!
//! Owns the two formats and the advice when text only nearly fits; leaves ranges to the readers.
//!
//! Invariant: what the advice proposes is accepted, and means what was written.

use std::time::Duration;

/// Units of time with their length in microseconds, in the order they are tried for printing.
const TIME_UNITS: [(&str, u64); 6] = [
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
    ("us", 1),
];

/// Spellings that people try, and the unit each stands for.
const TIME_SPELLINGS: [(&str, &[&str]); 6] = [
    ("d", &["day", "days"]),
    ("h", &["hr", "hrs", "hour", "hours"]),
    ("m", &["min", "mins", "minute", "minutes"]),
    ("s", &["sec", "secs", "second", "seconds"]),
    ("ms", &["msec", "msecs", "milli", "millis", "millisecond", "milliseconds"]),
    ("us", &["µs", "μs", "usec", "usecs", "micro", "micros", "microsecond", "microseconds"]),
];

const SIZE_UNITS: [(&str, u64); 4] =
    [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// `KB` is refused rather than guessed: it is 1,000 bytes to some and 1,024 to others.
const SIZE_SPELLINGS: [(&str, &[&str]); 4] = [
    ("GiB", &["g", "gb", "gib", "gig"]),
    ("MiB", &["m", "mb", "mib", "meg"]),
    ("KiB", &["k", "kb", "kib"]),
    ("B", &["b", "byte", "bytes"]),
];

/// Reads a whole number and `us`, `ms`, `s`, `m`, `h` or `d`.
///
/// # Errors
/// What to write instead.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    if let Some(micros) = exact(text, &TIME_UNITS) {
        return Ok(Duration::from_micros(micros));
    }
    Err(match tolerant(text, &TIME_UNITS, &TIME_SPELLINGS, "s") {
        Some(micros) => format!("write \"{}\"", duration_text(Duration::from_micros(micros))),
        None => "a duration is a whole number and one of us, ms, s, m, h, d: \"5s\", \"250ms\""
            .to_owned(),
    })
}

/// Reads a whole number and `B`, `KiB`, `MiB` or `GiB`.
///
/// # Errors
/// What to write instead.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    if let Some(bytes) = exact(text, &SIZE_UNITS) {
        return Ok(bytes);
    }
    Err(match tolerant(text, &SIZE_UNITS, &SIZE_SPELLINGS, "B") {
        Some(bytes) => format!("write \"{}\"; units count in 1024", size_text(bytes)),
        None => "a size is a whole number and one of B, KiB, MiB, GiB: \"16KiB\"".to_owned(),
    })
}

/// The shortest text that [`duration`] reads as `duration`.
pub(crate) fn duration_text(duration: Duration) -> String {
    shortest(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX), &TIME_UNITS, "s")
}

/// The shortest text that [`size`] reads as `bytes`.
pub(crate) fn size_text(bytes: u64) -> String {
    shortest(bytes, &SIZE_UNITS, "B")
}

fn exact(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// Reads what people write by habit: blanks, capitals, long unit names, fractions, several parts,
/// no unit (`bare`).
fn tolerant(
    text: &str,
    units: &[(&str, u64)],
    spellings: &[(&str, &[&str])],
    bare: &str,
) -> Option<u64> {
    let text = text.to_lowercase();
    let mut rest = text.trim();
    let mut total = 0_u64;
    loop {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let tail = tail.trim_start();
        let letters = tail.find(|c: char| !c.is_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let unit = if unit.is_empty() { bare } else { unit };
        let (name, _) = spellings
            .iter()
            .find(|(name, others)| name.eq_ignore_ascii_case(unit) || others.contains(&unit))?;
        let (_, factor) = units.iter().find(|(known, _)| known == name)?;
        total = total.checked_add(scaled(number, *factor)?)?;
        rest = tail.trim_start();
        if rest.is_empty() {
            return Some(total);
        }
    }
}

/// `number` × `factor`, where `number` may have a fraction; `None` unless the product is whole.
fn scaled(number: &str, factor: u64) -> Option<u64> {
    const FRACTION_DIGITS_MAX: u32 = 6;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole = whole.parse::<u64>().ok()?.checked_mul(factor)?;
    if fraction.is_empty() {
        return Some(whole);
    }
    let digits =
        u32::try_from(fraction.len()).ok().filter(|digits| *digits <= FRACTION_DIGITS_MAX)?;
    let parts = fraction.parse::<u64>().ok()?.checked_mul(factor)?;
    let scale = 10_u64.pow(digits);
    (parts % scale == 0).then_some(whole.checked_add(parts / scale)?)
}

/// `amount` in the largest unit that divides it; zero in `unit_of_zero`.
fn shortest(amount: u64, units: &[(&str, u64)], unit_of_zero: &str) -> String {
    match units.iter().find(|(_, factor)| amount >= *factor && amount.is_multiple_of(*factor)) {
        Some((name, factor)) => format!("{}{name}", amount / factor),
        None => format!("{amount}{unit_of_zero}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_durations_with_their_unit() {
        for (text, micros) in [
            ("10us", 10),
            ("250ms", 250_000),
            ("5s", 5_000_000),
            ("1m", 60_000_000),
            ("1h", 3_600_000_000),
            ("1d", 86_400_000_000),
            ("0s", 0),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_micros(micros)), "{text}");
        }
    }

    #[test]
    fn refuses_durations_that_only_nearly_fit_and_says_what_fits() {
        for (text, help) in [
            ("5", "write \"5s\""),
            ("5 s", "write \"5s\""),
            ("5 sec", "write \"5s\""),
            ("5S", "write \"5s\""),
            ("1.5s", "write \"1500ms\""),
            ("5m30s", "write \"330s\""),
            ("2 hours", "write \"2h\""),
            ("10µs", "write \"10us\""),
            ("90 minutes", "write \"90m\""),
        ] {
            assert_eq!(duration(text), Err(help.to_owned()), "{text}");
        }
        for text in
            ["", "s", "-5s", "five", "5 fortnights", "1e3s", "99999999999999999999s", "..s", "5s,"]
        {
            assert!(duration(text).is_err_and(|help| help.contains("one of us, ms")), "{text}");
        }
    }

    #[test]
    fn reads_sizes_and_refuses_decimal_units() {
        for (text, bytes) in
            [("512B", 512), ("16KiB", 16 << 10), ("1MiB", 1 << 20), ("2GiB", 2 << 30)]
        {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for (text, proposal) in [
            ("16KB", "\"16KiB\""),
            ("16k", "\"16KiB\""),
            ("16384", "\"16KiB\""),
            ("1 mb", "\"1MiB\""),
            ("0.5KiB", "\"512B\""),
        ] {
            assert!(size(text).is_err_and(|help| help.contains(proposal)), "{text}");
        }
        assert!(size("99999999999GiB").is_err());
    }

    #[test]
    fn prints_what_it_reads() {
        for amount in
            [0, 1, 1_000, 1_500, 60_000_000, 61_000_000, 86_400_000_000, u64::from(u32::MAX)]
        {
            assert_eq!(
                duration(&duration_text(Duration::from_micros(amount))),
                Ok(Duration::from_micros(amount))
            );
            assert_eq!(size(&size_text(amount)), Ok(amount));
        }
    }
}
