//! Being woken from other threads.
//!
//! Owns the eventfd that [`Wakeup`] writes to and the ring polls; leaves sleeping to `ring`. Invariant: a wake-up that is
//! written is seen by the current sleep or keeps the next one from starting.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{EventfdFlags, eventfd};

/// Ends the sleep of one shard; may be sent to and shared by other threads.
#[derive(Clone, Debug)]
pub struct Wakeup(Arc<OwnedFd>);

impl Wakeup {
    pub(crate) fn new() -> io::Result<Wakeup> {
        Ok(Wakeup(Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)))
    }

    /// Ends the shard's sleep, or keeps it from falling asleep once. A full counter (2^64 - 1 unread wake-ups) is ignored.
    pub fn wake(&self) {
        let _ = rustix::io::write(self.0.as_fd(), &1u64.to_ne_bytes());
    }

    /// The descriptor to poll.
    pub(crate) fn descriptor(&self) -> i32 {
        self.0.as_raw_fd()
    }

    /// Takes the wake-ups that have come.
    pub(crate) fn clear(&self) {
        let _ = rustix::io::read(self.0.as_fd(), &mut [0; 8]);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::{Ring, Settings};

    #[test]
    fn a_wakeup_ends_a_sleep_whether_it_comes_before_or_during_it() {
        let ring =
            Ring::new(&Settings { buffers_max: 4, buffers_initial: 1, ..Settings::default() })
                .expect("io_uring");
        let wakeup = ring.wakeup();
        wakeup.wake();
        // Without the wake-up this would hang for good.
        ring.sleep_and_turn(None);
        let other = std::thread::spawn(move || wakeup.wake());
        ring.sleep_and_turn(None);
        other.join().expect("waking does not panic");
    }

    #[test]
    fn a_sleep_without_events_ends_at_its_timeout() {
        let ring =
            Ring::new(&Settings { buffers_max: 4, buffers_initial: 1, ..Settings::default() })
                .expect("io_uring");
        let before = std::time::Instant::now();
        let turn = ring.sleep_and_turn(Some(Duration::from_millis(20)));
        assert_eq!(turn.completed, 0);
        assert!(before.elapsed() >= Duration::from_millis(20));
    }
}
