//! `traceparent` of W3C Trace Context: reading, passing on, making.
//!
//! Owns the format. Leaves randomness, sampling and `tracestate` to the caller: without a valid
//! `traceparent` a received `tracestate` must be dropped, and with one it is passed on untouched.
//! Invariant: what is written is of version 00 and valid, whatever came.

use crate::grammar::{hex_digit, push_hex, trim};

/// The length of a value of version 00.
pub const BYTES: usize = 55;

/// A place in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traceparent {
    trace_id: [u8; 16],
    parent_id: [u8; 8],
    flags: u8,
}

/// The flags that are known: sampled (level 1) and random trace id (level 2). Others are not passed
/// on, as they may mean anything (§3.2.2.5.2).
const KNOWN_FLAGS: u8 = 0b11;
const SAMPLED: u8 = 0b01;
const RANDOM: u8 = 0b10;

impl Traceparent {
    /// Reads the values of a request's `traceparent` lines: exactly one must have come. Digits must
    /// be in lower case, ids must not be zero, version `ff` is invalid, version 00 is exactly
    /// [`BYTES`] long, and a later version begins like it, followed by nothing or by `-`.
    #[must_use]
    pub fn parse<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Option<Self> {
        let mut values = values.into_iter();
        let value = trim(values.next()?);
        if values.next().is_some() {
            return None;
        }
        let (known, further) = value.split_at_checked(BYTES)?;
        let is_divided = [2, 35, 52].iter().all(|&place| known[place] == b'-');
        let version = hex::<1>(&known[..2])?[0];
        if !is_divided
            || version == 0xff
            || !matches!((version, further), (_, []) | (1.., [b'-', ..]))
        {
            return None;
        }
        let trace_id = hex::<16>(&known[3..35])?;
        let parent_id = hex::<8>(&known[36..52])?;
        let flags = hex::<1>(&known[53..])?[0] & KNOWN_FLAGS;
        let are_set = trace_id != [0; 16] && parent_id != [0; 8];
        are_set.then_some(Self { trace_id, parent_id, flags })
    }

    /// A new trace. Of random bits that are all zero, which no id may be, the last is set.
    #[must_use]
    pub fn new(trace_random: [u8; 16], parent_random: [u8; 8], sampling: Sampling) -> Self {
        let trace_id = u128::from_be_bytes(trace_random).max(1).to_be_bytes();
        let flags = match sampling {
            Sampling::Recorded => SAMPLED | RANDOM,
            Sampling::NotRecorded => RANDOM,
        };
        Self { trace_id, parent_id: not_zero(parent_random), flags }
    }

    /// The same trace, one step on: this proxy is the parent of what the server does.
    #[must_use]
    pub fn with_parent(self, parent_random: [u8; 8]) -> Self {
        Self { parent_id: not_zero(parent_random), ..self }
    }

    /// The id of the trace, which logs name.
    #[must_use]
    pub fn trace_id(&self) -> [u8; 16] {
        self.trace_id
    }

    /// The id of the parent.
    #[must_use]
    pub fn parent_id(&self) -> [u8; 8] {
        self.parent_id
    }

    /// Whether the caller may have recorded the trace.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// Appends the value: [`BYTES`] bytes.
    pub fn push(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"00-");
        push_hex(&self.trace_id, out);
        out.push(b'-');
        push_hex(&self.parent_id, out);
        out.push(b'-');
        push_hex(&[self.flags], out);
    }
}

/// Whether a new trace is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sampling {
    /// It is.
    Recorded,
    /// It is not.
    NotRecorded,
}

fn not_zero(random: [u8; 8]) -> [u8; 8] {
    u64::from_be_bytes(random).max(1).to_be_bytes()
}

/// `2 * N` hexadecimal digits in lower case.
fn hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let (pairs, _) = digits.as_chunks::<2>();
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        if high.is_ascii_uppercase() || low.is_ascii_uppercase() {
            return None;
        }
        *byte = hex_digit(*high)? << 4 | hex_digit(*low)?;
    }
    (digits.len() == 2 * N).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn parse(value: &str) -> Option<Traceparent> {
        Traceparent::parse([value.as_bytes()])
    }

    fn text(traceparent: &Traceparent) -> String {
        let mut out = Vec::new();
        traceparent.push(&mut out);
        assert_eq!(out.len(), BYTES);
        String::from_utf8(out).expect("hexadecimal digits")
    }

    #[test]
    fn valid_values_are_passed_on() {
        let cases = [
            (GOOD.to_owned(), GOOD.to_owned()),
            (format!(" {GOOD}\t"), GOOD.to_owned()),
            (GOOD.replace("-01", "-00"), GOOD.replace("-01", "-00")),
            (GOOD.replace("-01", "-ff"), GOOD.replace("-01", "-03")),
            (GOOD.replace("00-4b", "cc-4b"), GOOD.to_owned()),
            (format!("{}-further", GOOD.replace("00-4b", "cc-4b")), GOOD.to_owned()),
            (format!("{}-", GOOD.replace("00-4b", "01-4b")), GOOD.to_owned()),
        ];
        for (value, expected) in cases {
            let parsed = parse(&value).unwrap_or_else(|| panic!("{value}"));
            assert_eq!(text(&parsed), expected, "{value}");
        }
    }

    #[test]
    fn invalid_values_are_refused() {
        let later = GOOD.replace("00-4b", "01-4b");
        for value in [
            String::new(),
            GOOD[..54].to_owned(),
            format!("{GOOD}-"),
            format!("{GOOD}-further"),
            format!("{GOOD}0"),
            format!("{later}."),
            GOOD.replace("00-4b", "ff-4b"),
            GOOD.replace("00-4b", "0-44b"),
            GOOD.to_uppercase(),
            GOOD.replace("4bf9", "4Bf9"),
            GOOD.replace("4bf9", "4gf9"),
            GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            GOOD.replace("00f067aa0ba902b7", &"0".repeat(16)),
            GOOD.replace("-01", "_01"),
            GOOD.replace("-01", "-0x"),
        ] {
            assert_eq!(parse(&value), None, "{value}");
        }
        assert_eq!(Traceparent::parse([]), None);
        assert_eq!(Traceparent::parse([GOOD.as_bytes(), GOOD.as_bytes()]), None);
    }

    #[test]
    fn new_traces_and_parents_are_valid() {
        let new = Traceparent::new([0; 16], [0; 8], Sampling::NotRecorded);
        assert_eq!(parse(&text(&new)), Some(new));
        assert!(!new.is_sampled());
        let new = Traceparent::new([7; 16], [8; 8], Sampling::Recorded);
        assert_eq!((new.trace_id(), new.parent_id()), ([7; 16], [8; 8]));
        assert!(new.is_sampled());
        let step = parse(GOOD).expect("valid").with_parent([9; 8]);
        assert_eq!(text(&step), "00-4bf92f3577b34da6a3ce929d0e0e4736-0909090909090909-01");
    }
}
