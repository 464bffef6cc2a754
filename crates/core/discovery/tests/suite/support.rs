//! Answers as bytes, written by hand so that they may be wrong.

use tidegate_discovery::{DnsName, Kind};

pub fn name(text: &str) -> DnsName {
    text.parse().expect("a name")
}

/// A name on the wire.
pub fn wire(text: &str) -> Vec<u8> {
    let label =
        |label: &str| [&[u8::try_from(label.len()).expect("short")], label.as_bytes()].concat();
    let labels = text.split('.').filter(|part| !part.is_empty()).flat_map(label);
    labels.chain([0]).collect()
}

pub const fn type_of(kind: Kind) -> u16 {
    match kind {
        Kind::A => 1,
        Kind::Aaaa => 28,
        Kind::Srv => 33,
    }
}

/// A record: owner, type, TTL, data.
pub type Written = (&'static str, u16, u32, Vec<u8>);

pub const CNAME: u16 = 5;

pub fn a(owner: &'static str, ttl: u32, last: u8) -> Written {
    (owner, 1, ttl, vec![192, 0, 2, last])
}

pub fn srv(owner: &'static str, ttl: u32, numbers: [u16; 3], target: &str) -> Written {
    let numbers = numbers.map(u16::to_be_bytes).concat();
    (owner, 33, ttl, [numbers, wire(target)].concat())
}

/// An answer: id, second pair of bytes of the head, question, records.
pub fn answer(id: u16, flags: u16, asked: (&str, Kind), records: &[Written]) -> Vec<u8> {
    let count = u16::try_from(records.len()).expect("few");
    let mut bytes = [id, flags, 1, count, 0, 0].map(u16::to_be_bytes).concat();
    bytes.extend(wire(asked.0));
    bytes.extend([type_of(asked.1), 1].map(u16::to_be_bytes).concat());
    for (owner, kind, ttl, data) in records {
        bytes.extend(wire(owner));
        bytes.extend([*kind, 1].map(u16::to_be_bytes).concat());
        bytes.extend(ttl.to_be_bytes());
        bytes.extend(u16::try_from(data.len()).expect("short").to_be_bytes());
        bytes.extend(data);
    }
    bytes
}

/// An answer, recursion available, no error.
pub const OK: u16 = 0x8180;

/// The same, cut off.
pub const CUT: u16 = 0x8380;

pub const fn code(code: u16) -> u16 {
    OK | code
}
