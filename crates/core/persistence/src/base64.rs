//! Base64 for cookies (RFC 4648 §5), of whole groups only.
//!
//! Owns both directions. Invariant: every group of four characters stands for three bytes and no other group does.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Writes `bytes`, whose length is a multiple of three, into `out`, which is a third longer.
pub(crate) fn encode(bytes: &[u8], out: &mut [u8]) {
    for (group, characters) in bytes.chunks_exact(3).zip(out.chunks_exact_mut(4)) {
        let all = group.iter().fold(0_u32, |all, byte| all << 8 | u32::from(*byte));
        for (place, character) in (0..4).rev().zip(characters) {
            *character = ALPHABET[(all >> (6 * place) & 63) as usize];
        }
    }
}

/// Reads `text`, whose length is a multiple of four, into `out`, which is a quarter shorter. `None`: it is not of the
/// alphabet.
pub(crate) fn decode(text: &[u8], out: &mut [u8]) -> Option<()> {
    for (characters, group) in text.chunks_exact(4).zip(out.chunks_exact_mut(3)) {
        let mut all = 0_u32;
        for character in characters {
            all = all << 6 | value(*character)?;
        }
        group.copy_from_slice(&all.to_be_bytes()[1..]);
    }
    Some(())
}

fn value(character: u8) -> Option<u32> {
    let value = match character {
        b'A'..=b'Z' => character - b'A',
        b'a'..=b'z' => character - b'a' + 26,
        b'0'..=b'9' => character - b'0' + 52,
        b'-' => 62,
        b'_' => 63,
        _ => return None,
    };
    Some(value.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_written_and_read() {
        for (bytes, text) in [
            (&b""[..], &b""[..]),
            (b"foobar", b"Zm9vYmFy"),
            (b"\x00\x00\x00\xff\xff\xff", b"AAAA____"),
            (b"\xfb\xef\xbe", b"----"),
        ] {
            let mut written = vec![0; text.len()];
            encode(bytes, &mut written);
            assert_eq!(written, text);
            let mut read = vec![0; bytes.len()];
            assert_eq!(decode(text, &mut read), Some(()));
            assert_eq!(read, bytes);
        }
        for wrong in [b"AA+A", b"AA/A", b"AA=A", b"AA A", b"AA\xffA"] {
            assert_eq!(decode(wrong, &mut [0; 3]), None);
        }
    }
}
