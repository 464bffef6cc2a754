//! Streams that the library resets without a word to us: what it finds malformed, and what is more than a client may open.
//!
//! Owns telling them from those that were reset here; leaves counting and telling to the connection. Invariant: a reset that was
//! asked for here is never taken for the library's, unless more than [`ASKED_MAX`] wait to be sent.

use std::cell::RefCell;
use std::collections::VecDeque;

use h2::Reason;
use h2::server::SendResponse;
use tidegate_http2::ResetReader;

use super::Piece;

/// Resets that are remembered until they are sent. A stream whose reset waits for that counts among the open ones, of which there are
/// 100; the others are for those that had ended already, so that nothing is sent.
const ASKED_MAX: usize = 256;

/// The resets of one connection.
#[derive(Debug, Default)]
pub(super) struct Resets {
    sent: RefCell<ResetReader>,
    /// Those that were asked for, the oldest first.
    asked: RefCell<VecDeque<(u32, Reason)>>,
}

impl Resets {
    /// Resets a stream.
    pub(super) fn reset(&self, respond: &mut SendResponse<Piece>, reason: Reason) {
        self.note_asked(respond.stream_id().as_u32(), reason);
        respond.send_reset(reason);
    }

    fn note_asked(&self, stream: u32, reason: Reason) {
        let mut asked = self.asked.borrow_mut();
        if asked.len() == ASKED_MAX {
            asked.pop_front();
        }
        asked.push_back((stream, reason));
    }

    /// These bytes go to the client; `found` hears of the streams that the library resets in them.
    pub(super) fn note_sent(&self, bytes: &[u8], mut found: impl FnMut(u32, Reason)) {
        self.sent.borrow_mut().read(bytes, |stream, code| {
            let reason = Reason::from(code);
            // Without a fault: what follows a whole response before its request has ended.
            if reason != Reason::NO_ERROR && !self.was_asked(stream, reason) {
                found(stream, reason);
            }
        });
    }

    /// Whether this was asked for here. Whoever asks behind the library's back asks for nothing: then it has another reason.
    fn was_asked(&self, stream: u32, reason: Reason) -> bool {
        let mut asked = self.asked.borrow_mut();
        let place = asked.iter().position(|known| *known == (stream, reason));
        place.and_then(|place| asked.remove(place)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(resets: &Resets, stream: u32, reason: Reason) -> Vec<(u32, Reason)> {
        let mut frame = vec![0, 0, 4, 3, 0];
        frame.extend(stream.to_be_bytes());
        frame.extend(u32::from(reason).to_be_bytes());
        let mut found = Vec::new();
        resets.note_sent(&frame, |stream, reason| found.push((stream, reason)));
        found
    }

    #[test]
    fn a_reset_is_the_librarys_unless_it_was_asked_for_here() {
        let resets = Resets::default();
        resets.note_asked(3, Reason::CANCEL);
        assert_eq!(sent(&resets, 3, Reason::CANCEL), []);
        assert_eq!(sent(&resets, 5, Reason::REFUSED_STREAM), [(5, Reason::REFUSED_STREAM)]);
        assert_eq!(sent(&resets, 7, Reason::NO_ERROR), []);
        // Asked for too late: the library had one of its own under way.
        resets.note_asked(9, Reason::CANCEL);
        assert_eq!(sent(&resets, 9, Reason::PROTOCOL_ERROR), [(9, Reason::PROTOCOL_ERROR)]);
    }

    #[test]
    fn what_is_never_sent_is_forgotten_in_time() {
        let resets = Resets::default();
        for stream in 0..10 * 256 {
            resets.note_asked(2 * stream + 1, Reason::CANCEL);
        }
        assert_eq!(resets.asked.borrow().len(), ASKED_MAX);
        assert_eq!(sent(&resets, 2 * 2_559 + 1, Reason::CANCEL), []);
    }
}
