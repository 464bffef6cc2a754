//! Frames are charged the same however their bytes are split.

use std::time::Instant;
use tidegate_http2::Meter;

/// Checks `data`: its first byte chooses how the rest, what a client sends, is split.
pub fn check(data: &[u8]) {
    let Some((&first, bytes)) = data.split_first() else { return };
    let now = Instant::now();
    let mut whole = Meter::new(now);
    let verdict = whole.receive(bytes, now);
    for step in [usize::from(first).max(1), 1] {
        let mut cut = Meter::new(now);
        let judged = bytes.chunks(step).try_for_each(|piece| cut.receive(piece, now));
        assert_eq!(judged, verdict, "in pieces of {step}");
    }
}
