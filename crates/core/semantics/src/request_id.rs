//! Request ids: which received ones are kept, and making one.
//!
//! Owns the test and the format. Leaves randomness and the name of the header to the caller.
//! Invariant: an id that passes can be put into any log line, header or query as it is.

use crate::grammar::push_hex;

/// The longest id that is kept. UUIDs have 36 bytes and the ids of large clouds up to about 60;
/// every log line carries it.
pub const BYTES_MAX: usize = 128;

/// The length of an id made here.
pub const MADE_BYTES: usize = 32;

/// Whether a received id is kept: 1 to [`BYTES_MAX`] bytes of letters, digits and `-._~:/+=@`. That
/// is what UUIDs, base64, ULIDs, trace ids and `Root=1-…` ids are made of; blanks, quotes, commas,
/// semicolons, backslashes, brackets and everything that is not ASCII could end a field of some log
/// or be read as markup, and such an id is replaced.
#[inline]
#[must_use]
pub fn is_sane(id: &[u8]) -> bool {
    (1..=BYTES_MAX).contains(&id.len())
        && id.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~:/+=@".contains(byte))
}

/// Appends a new id: `random` as 32 lower-case hexadecimal digits. It is the format of a trace id
/// ([`traceparent`](crate::traceparent)), so that one number can be both. It tells nothing about
/// time, machine or count.
pub fn push_new(random: [u8; 16], out: &mut Vec<u8>) {
    push_hex(&random, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_in_use_are_kept_and_others_are_not() {
        for id in [
            "a",
            "0193b4a2-7c1e-7d3f-9a55-0f6b7e2c1d4e",
            "Root=1-67891233-abcdef012345678912345678",
            "01ARZ3NDEKTSV4RRFFQ69G5FAV",
            "dGVzdA+/==",
            "host:8080/1@x~y_z.w",
            &"x".repeat(BYTES_MAX),
        ] {
            assert!(is_sane(id.as_bytes()), "{id}");
        }
        for id in [
            "",
            "a b",
            "a\tb",
            "a\r\nb",
            "a\"",
            "a'b",
            "a,b",
            "a;b",
            "a\\b",
            "<a>",
            "{a}",
            "${a}",
            "a%0a",
            "\u{e9}",
            "\0",
            &"x".repeat(BYTES_MAX + 1),
        ] {
            assert!(!is_sane(id.as_bytes()), "{id:?}");
        }
    }

    #[test]
    fn made_ids_are_sane() {
        let mut out = Vec::new();
        push_new([0xab; 16], &mut out);
        assert_eq!(out, "ab".repeat(16).as_bytes());
        assert_eq!(out.len(), MADE_BYTES);
        assert!(is_sane(&out));
    }
}
