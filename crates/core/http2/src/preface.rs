//! The bytes with which a client begins HTTP/2 (RFC 9113 §3.4), and telling them from a request of HTTP/1.
//!
//! Invariant: no valid request line begins like the preface, so the first bytes that differ decide.

/// What a client sends first.
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preface {
    /// The preface and perhaps more.
    Whole,
    /// Its beginning, and nothing else so far.
    Part,
    /// Something else.
    Other,
}

/// Judges everything that a client has sent so far.
#[must_use]
pub fn judge_preface(received: &[u8]) -> Preface {
    let seen = received.len().min(PREFACE.len());
    match received[..seen] == PREFACE[..seen] {
        false => Preface::Other,
        true if seen == PREFACE.len() => Preface::Whole,
        true => Preface::Part,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_beginning_is_a_part_and_every_other_byte_is_something_else() {
        for cut in 0..PREFACE.len() {
            assert_eq!(judge_preface(&PREFACE[..cut]), Preface::Part);
            let mut other = PREFACE.to_vec();
            other[cut] ^= 1;
            assert_eq!(judge_preface(&other), Preface::Other);
            assert_eq!(judge_preface(&other[..=cut]), Preface::Other);
        }
        assert_eq!(judge_preface(PREFACE), Preface::Whole);
        assert_eq!(judge_preface(&[PREFACE, &b"x"[..]].concat()), Preface::Whole);
    }
}
