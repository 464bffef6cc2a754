//! Arguments: what is encoded is read back, what needs no decoding is not copied, and finding one is
//! looking through all.

use tidegate_semantics::arguments::{Argument, contains, decode, find, iter};

fn meant(argument: Argument<'_>) -> Vec<u8> {
    let mut scratch = b"before".to_vec();
    let decoded = argument.decoded(&mut scratch).to_vec();
    assert!(decoded.len() <= argument.raw().len());
    match argument {
        Argument::Plain(plain) => {
            assert_eq!(plain, decoded);
            assert!(!plain.iter().any(|b| b"+%".contains(b)));
        }
        Argument::Encoded(encoded) => assert!(encoded.iter().any(|b| b"+%".contains(b))),
    }
    decoded
}

fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    for &byte in bytes {
        match byte {
            b' ' => out.push(b'+'),
            _ if byte.is_ascii_alphanumeric() => out.push(byte),
            _ => out.extend_from_slice(format!("%{byte:02x}").as_bytes()),
        }
    }
}

/// Checks `data` as a query, and as a value to be encoded.
pub fn check(data: &[u8]) {
    let all: Vec<(Vec<u8>, Vec<u8>)> =
        iter(data).map(|(name, value)| (meant(name), meant(value))).collect();
    let pairs = data.split(|&b| b == b'&').filter(|pair| !pair.is_empty());
    assert_eq!(all.len(), pairs.count());
    for (name, _) in &all {
        let first = all.iter().find(|(other, _)| other == name).map(|(_, value)| value.clone());
        assert_eq!(find(data, name).map(meant), first, "the first of a name");
        assert!(contains(data, name));
    }
    let long = [data, b"x"].concat();
    assert!(!contains(data, &long), "no name is longer than the query");

    let mut query = b"other=1&".to_vec();
    encode(data, &mut query);
    query.push(b'=');
    encode(data, &mut query);
    let expected = if data == b"other" { b"1" } else { data };
    assert_eq!(find(&query, data).map(meant).as_deref(), Some(expected), "read back");

    let mut decoded = b"kept".to_vec();
    decode(data, &mut decoded);
    assert!(decoded.starts_with(b"kept") && decoded.len() <= 4 + data.len());
}
