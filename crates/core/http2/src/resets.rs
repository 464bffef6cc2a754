//! The RST_STREAM frames among what is sent (RFC 9113 §6.4).
//!
//! Owns finding them from the headers of frames; leaves to its owner which of them it has asked for itself. Invariant: each is found
//! once, however the bytes are cut.

const HEADER_BYTES: usize = 9;
const CODE_BYTES: usize = 4;
const RST_STREAM: u8 = 3;

/// Reads what one end of a connection sends.
#[derive(Debug, Default)]
pub struct ResetReader {
    /// Bytes of a frame that are to be passed over.
    skip: usize,
    /// A header, or a whole RST_STREAM, that came in pieces.
    held: [u8; HEADER_BYTES + CODE_BYTES],
    held_bytes: usize,
}

impl ResetReader {
    /// Takes what is sent, without a client's preface; `found` hears the stream and the error code of each RST_STREAM.
    #[inline]
    pub fn read(&mut self, mut bytes: &[u8], mut found: impl FnMut(u32, u32)) {
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            if bytes.is_empty() {
                return;
            }
            let whole = bytes.first_chunk::<HEADER_BYTES>();
            if self.held_bytes == 0
                && let Some(header) = whole
                && header[3] != RST_STREAM
            {
                self.skip = HEADER_BYTES + length(header);
                continue;
            }
            bytes = self.hold(bytes, &mut found);
        }
    }

    /// Takes from `bytes` what is missing of a header or of a RST_STREAM; what is left of them.
    #[cold]
    fn hold<'a>(&mut self, bytes: &'a [u8], found: &mut impl FnMut(u32, u32)) -> &'a [u8] {
        let taken = bytes.len().min(self.wanted() - self.held_bytes);
        self.held[self.held_bytes..self.held_bytes + taken].copy_from_slice(&bytes[..taken]);
        self.held_bytes += taken;
        // Of a RST_STREAM more is wanted now.
        if self.held_bytes == self.wanted() {
            let number = |at: usize| {
                let part = [self.held[at], self.held[at + 1], self.held[at + 2], self.held[at + 3]];
                u32::from_be_bytes(part)
            };
            if self.held_bytes > HEADER_BYTES {
                found(number(5) & 0x7fff_ffff, number(HEADER_BYTES));
            }
            self.skip = (HEADER_BYTES + length(&self.held)).saturating_sub(self.held_bytes);
            self.held_bytes = 0;
        }
        &bytes[taken..]
    }

    /// Bytes that have to be held: a header, and the code that follows that of a RST_STREAM.
    fn wanted(&self) -> usize {
        let is_reset = self.held_bytes >= HEADER_BYTES && self.held[3] == RST_STREAM;
        if is_reset && length(&self.held) >= CODE_BYTES {
            HEADER_BYTES + CODE_BYTES
        } else {
            HEADER_BYTES
        }
    }
}

/// Bytes of a frame's payload.
fn length(header: &[u8]) -> usize {
    usize::from(header[0]) << 16 | usize::from(header[1]) << 8 | usize::from(header[2])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).expect("short");
        let mut frame = length.to_be_bytes()[1..].to_vec();
        frame.extend([kind, 0]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        frame
    }

    #[test]
    fn resets_are_found_among_other_frames_however_they_are_cut() {
        let sent = [
            frame(4, 0, &[0; 12]),
            frame(RST_STREAM, 7, &[0, 0, 0, 1]),
            // Data that looks like one.
            frame(0, 3, &frame(RST_STREAM, 3, &[0, 0, 0, 5])),
            frame(4, 0, &[]),
            frame(RST_STREAM, 0x8000_0009, &[0, 0, 0, 8]),
            frame(RST_STREAM, 11, &[0, 0, 1, 0]),
            // None that anybody sends.
            frame(RST_STREAM, 13, &[1, 2, 3]),
            frame(RST_STREAM, 15, &[0, 0, 0, 2, 9, 9]),
            frame(0, 5, &[3; 70_000]),
            frame(RST_STREAM, 17, &[0, 0, 0, 7]),
        ]
        .concat();
        let expected = [(7, 1), (9, 8), (11, 256), (15, 2), (17, 7)];
        for step in (1..40).chain([sent.len()]) {
            let mut reader = ResetReader::default();
            let mut found = Vec::new();
            for piece in sent.chunks(step) {
                reader.read(piece, |stream, code| found.push((stream, code)));
            }
            assert_eq!(found, expected, "in pieces of {step}");
        }
    }
}
