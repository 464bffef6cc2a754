//! Owns header compression (RFC 7541) as a test needs it: fields written as plain literals, and fields read from a peer that was
//! told to have no dynamic table.
//!
//! Leaves frames to `http2`. Invariant: what is not valid without a dynamic table fails the test.

/// Bits of each byte's code (Appendix B). The code is canonical, so they are all there is to know.
#[rustfmt::skip]
const CODE_BITS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7,
    7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21,
    23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24,
    21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];

/// The static table (Appendix A).
#[rustfmt::skip]
const STATIC: [(&str, &str); 61] = [
    (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"),
    (":path", "/index.html"), (":scheme", "http"), (":scheme", "https"), (":status", "200"),
    (":status", "204"), (":status", "206"), (":status", "304"), (":status", "400"),
    (":status", "404"), (":status", "500"), ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"), ("accept-language", ""), ("accept-ranges", ""),
    ("accept", ""), ("access-control-allow-origin", ""), ("age", ""), ("allow", ""),
    ("authorization", ""), ("cache-control", ""), ("content-disposition", ""),
    ("content-encoding", ""), ("content-language", ""), ("content-length", ""),
    ("content-location", ""), ("content-range", ""), ("content-type", ""), ("cookie", ""),
    ("date", ""), ("etag", ""), ("expect", ""), ("expires", ""), ("from", ""), ("host", ""),
    ("if-match", ""), ("if-modified-since", ""), ("if-none-match", ""), ("if-range", ""),
    ("if-unmodified-since", ""), ("last-modified", ""), ("link", ""), ("location", ""),
    ("max-forwards", ""), ("proxy-authenticate", ""), ("proxy-authorization", ""), ("range", ""),
    ("referer", ""), ("refresh", ""), ("retry-after", ""), ("server", ""), ("set-cookie", ""),
    ("strict-transport-security", ""), ("transfer-encoding", ""), ("user-agent", ""),
    ("vary", ""), ("via", ""), ("www-authenticate", ""),
];

/// Appends a field as a literal that is not indexed.
pub fn push_field(name: impl AsRef<[u8]>, value: impl AsRef<[u8]>, out: &mut Vec<u8>) {
    out.push(0);
    for text in [name.as_ref(), value.as_ref()] {
        push_integer(text.len(), 7, 0, out);
        out.extend_from_slice(text);
    }
}

/// Fields, one after the other.
#[must_use]
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    fields.iter().for_each(|(name, value)| push_field(name, value, &mut out));
    out
}

fn push_integer(number: usize, prefix_bits: u32, first: u8, out: &mut Vec<u8>) {
    let full = (1 << prefix_bits) - 1;
    let byte = |number: usize| u8::try_from(number).expect("seven bits");
    if number < full {
        return out.push(first | byte(number));
    }
    out.push(first | byte(full));
    let mut rest = number - full;
    while rest >= 128 {
        out.push(byte(rest % 128) | 128);
        rest /= 128;
    }
    out.push(byte(rest));
}

/// Reads a block of fields.
///
/// # Panics
/// When it is not valid, or needs a dynamic table.
#[must_use]
#[track_caller]
pub fn read_block(mut bytes: &[u8]) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    while let Some(&first) = bytes.first() {
        if first & 0xe0 == 0x20 {
            assert_eq!(read_integer(&mut bytes, 5), 0, "a dynamic table was not allowed");
            continue;
        }
        if first & 0x80 != 0 {
            let (name, value) = entry(read_integer(&mut bytes, 7));
            fields.push((name.to_owned(), value.to_owned()));
            continue;
        }
        let index = read_integer(&mut bytes, if first & 0xc0 == 0x40 { 6 } else { 4 });
        let name = if index == 0 { read_string(&mut bytes) } else { entry(index).0.to_owned() };
        fields.push((name, read_string(&mut bytes)));
    }
    fields
}

#[track_caller]
fn entry(index: usize) -> (&'static str, &'static str) {
    *index.checked_sub(1).and_then(|place| STATIC.get(place)).expect("an index of the static table")
}

#[track_caller]
fn read_integer(bytes: &mut &[u8], prefix_bits: u32) -> usize {
    let full = (1 << prefix_bits) - 1;
    let mut number = usize::from(take(bytes)) & full;
    let mut shift = 0;
    while number >= full {
        let byte = usize::from(take(bytes));
        number += (byte & 127) << shift;
        shift += 7;
        if byte < 128 {
            break;
        }
    }
    number
}

#[track_caller]
fn take(bytes: &mut &[u8]) -> u8 {
    let (first, rest) = bytes.split_first().expect("a block does not end within a field");
    *bytes = rest;
    *first
}

#[track_caller]
fn read_string(bytes: &mut &[u8]) -> String {
    let is_coded = bytes.first().is_some_and(|first| first & 0x80 != 0);
    let length = read_integer(bytes, 7);
    let (text, rest) = bytes.split_at_checked(length).expect("a string within its block");
    *bytes = rest;
    let text = if is_coded { decode(text) } else { text.to_vec() };
    String::from_utf8_lossy(&text).into_owned()
}

/// Reads a Huffman code bit by bit: slow and plain.
#[track_caller]
fn decode(text: &[u8]) -> Vec<u8> {
    let mut order: Vec<u8> = (0..=255).collect();
    order.sort_by_key(|byte| (CODE_BITS[usize::from(*byte)], *byte));
    let mut codes = Vec::new();
    let (mut code, mut bits) = (0_u32, 0);
    for byte in order {
        let length = u32::from(CODE_BITS[usize::from(byte)]);
        code <<= length - bits;
        bits = length;
        codes.push((length, code, byte));
        code += 1;
    }
    let (mut out, mut code, mut bits) = (Vec::new(), 0_u32, 0);
    for place in 0..text.len() * 8 {
        code = code << 1 | u32::from(text[place / 8] >> (7 - place % 8) & 1);
        bits += 1;
        if let Some((.., byte)) =
            codes.iter().find(|(length, known, _)| (*length, *known) == (bits, code))
        {
            out.push(*byte);
            (code, bits) = (0, 0);
        }
    }
    assert!(bits < 8 && code == (1 << bits) - 1, "padding is the beginning of the code of the end");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_rfc_are_read() {
        // Appendix C.6.1, but for the table.
        let mut block = vec![0x88, 0x0f, 0x21, 0x89];
        block[1..3].copy_from_slice(&[0x0f, 0x09]);
        block.truncate(3);
        block.extend([0x85, 0xae, 0xc3, 0x77, 0x1a, 0x4b]);
        let fields = read_block(&block);
        assert_eq!(fields[0], (":status".to_owned(), "200".to_owned()));
        assert_eq!(fields[1].1, "private");
        assert_eq!(
            decode(&[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff]),
            b"www.example.com"
        );
    }

    #[test]
    fn what_is_written_is_read() {
        let long = "x".repeat(1000);
        let fields = [("a", ""), ("b", "c"), ("long", &*long)];
        let expected = fields.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(read_block(&block(&fields)), expected);
    }
}
