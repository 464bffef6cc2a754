//! Waking the thread that writes.
//!
//! Owns the descriptor it sleeps on and the flags that keep shards from ringing for every line. Invariant: a line that
//! was pushed while the thread slept for good wakes it; while it works or naps, a shard rings only when its ring is
//! half full, and only one shard does.

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::time::Duration;

/// What the shards ring and the writing thread hears.
#[derive(Debug)]
pub(crate) struct Bell {
    descriptor: OwnedFd,
    /// The thread sleeps until it is woken.
    asleep: AtomicBool,
    /// Somebody has rung since the thread last looked.
    rung: AtomicBool,
}

impl Bell {
    pub(crate) fn new() -> io::Result<Self> {
        let descriptor = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { descriptor, asleep: AtomicBool::new(false), rung: AtomicBool::new(false) })
    }

    /// After a line was pushed: wakes the thread if it sleeps for good.
    #[inline]
    pub(crate) fn pushed(&self) {
        // The push must be visible before the flag is read, as the flag is set before the thread looks for lines a
        // last time: one of the two sees the other.
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) {
            self.wake();
        }
    }

    #[cold]
    fn wake(&self) {
        if self.asleep.swap(false, Ordering::AcqRel) {
            self.ring();
        }
    }

    /// Wakes the thread whatever it does.
    #[cold]
    pub(crate) fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            // It fails only when the count is at its end, and then the thread is being woken anyway.
            let _ = rustix::io::write(&self.descriptor, &1_u64.to_ne_bytes());
        }
    }

    /// The thread is about to sleep for good: from here on a push wakes it.
    pub(crate) fn fall_asleep(&self) {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The thread works again.
    pub(crate) fn wake_up(&self) {
        self.asleep.store(false, Ordering::Relaxed);
        // Read whatever the flag is: who set it may write only now, and then the next wait ends at once, once.
        let _ = rustix::io::read(&self.descriptor, &mut [0; 8]);
        // After the read: were it cleared before, who rings in between would have its ring read away and leave the flag
        // behind, and nobody would ring again. Who finds the flag set until here has pushed what is looked for next.
        self.rung.swap(false, Ordering::AcqRel);
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// Waits for the descriptors, no longer than `timeout`; forever without one. A signal ends it early.
pub(crate) fn wait(descriptors: &mut [PollFd<'_>], timeout: Option<Duration>) {
    let timeout = timeout.map(|timeout| Timespec {
        tv_sec: timeout.as_secs().min(3600).cast_signed(),
        tv_nsec: timeout.subsec_nanos().into(),
    });
    // An error leaves the events empty: the caller looks for work and comes back.
    let _ = rustix::event::poll(descriptors, timeout.as_ref());
}

/// Whether the descriptor can be written to now.
pub(crate) fn is_writable(descriptor: BorrowedFd<'_>) -> bool {
    let mut one = [PollFd::from_borrowed_fd(descriptor, PollFlags::OUT)];
    wait(&mut one, Some(Duration::ZERO));
    !one[0].revents().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_ringing(bell: &Bell) -> bool {
        let mut one = [PollFd::new(bell, PollFlags::IN)];
        wait(&mut one, Some(Duration::ZERO));
        !one[0].revents().is_empty()
    }

    #[test]
    fn ringing_while_the_thread_wakes_leaves_a_bell_that_rings() {
        let bell = Bell::new().expect("a descriptor is free");
        let (begin, end) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
        const ROUNDS: usize = 20_000;
        let mut silent = 0;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    begin.wait();
                    bell.ring();
                    end.wait();
                }
            });
            for _ in 0..ROUNDS {
                bell.ring();
                begin.wait();
                bell.wake_up();
                end.wait();
                bell.ring();
                silent += usize::from(!is_ringing(&bell));
                bell.wake_up();
                bell.wake_up();
            }
        });
        assert_eq!(silent, 0, "rounds after which nobody could ring");
    }

    #[test]
    fn a_push_rings_only_while_the_thread_sleeps() {
        let bell = Bell::new().expect("a descriptor is free");
        bell.pushed();
        assert!(!is_ringing(&bell));
        bell.fall_asleep();
        assert!(!is_ringing(&bell));
        bell.pushed();
        assert!(is_ringing(&bell));
        bell.wake_up();
        assert!(!is_ringing(&bell));
        bell.pushed();
        assert!(!is_ringing(&bell));
        bell.ring();
        bell.ring();
        assert!(is_ringing(&bell));
        bell.wake_up();
        assert!(!is_ringing(&bell));
    }
}
