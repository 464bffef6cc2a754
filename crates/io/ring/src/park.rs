//! Sleeping inside the glommio executor and being woken from other threads.
//!
//! Owns the eventfd that the kernel and [`Wakeup`] write to; leaves deciding when to sleep to `ring`. Invariant: at most
//! one read of the eventfd is in flight, and it is kept across sleeps that ended for another reason.
#![allow(unsafe_code, reason = "hands a descriptor to glommio; the block says why it is sound")]

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use glommio::io::BufferedFile;
use glommio::timer::Timer;
use rustix::event::{EventfdFlags, eventfd};

/// Ends the sleep of one shard; may be sent to and shared by other threads.
#[derive(Clone, Debug)]
pub struct Wakeup(Arc<OwnedFd>);

impl Wakeup {
    /// Ends the shard's sleep, or keeps it from falling asleep once. A full counter (2^64 - 1 unread wake-ups) is ignored.
    pub fn wake(&self) {
        let _ = rustix::io::write(self.0.as_fd(), &1u64.to_ne_bytes());
    }
}

type PendingRead = Pin<Box<dyn Future<Output = ()>>>;

pub(crate) struct Parker {
    eventfd: Arc<OwnedFd>,
    pending: RefCell<Option<PendingRead>>,
}

impl Parker {
    pub(crate) fn new() -> io::Result<Parker> {
        Ok(Parker { eventfd: Arc::new(eventfd(0, if std::env::var_os("PARK").is_some() { EventfdFlags::CLOEXEC } else { EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK })?), pending: RefCell::new(None) })
    }

    pub(crate) fn descriptor(&self) -> i32 {
        self.eventfd.as_raw_fd()
    }

    pub(crate) fn wakeup(&self) -> Wakeup {
        Wakeup(self.eventfd.clone())
    }

    /// Takes the wake-ups that have come.
    pub(crate) fn clear(&self) {
        let _ = rustix::io::read(self.eventfd.as_fd(), &mut [0; 8]);
    }

    /// Waits for a write to the eventfd or for `timeout`.
    pub(crate) async fn wait(&self, timeout: Option<Duration>) {
        let mut timer = timeout.map(Timer::new);
        poll_fn(|context| {
            let mut pending = self.pending.borrow_mut();
            let read = pending.get_or_insert_with(|| self.read());
            if read.as_mut().poll(context).is_ready() {
                *pending = None;
                return Poll::Ready(());
            }
            match &mut timer {
                Some(timer) => Pin::new(timer).poll(context).map(|_| ()),
                None => Poll::Pending,
            }
        })
        .await;
    }

    fn read(&self) -> PendingRead {
        let duplicate = self.eventfd.try_clone();
        Box::pin(async move {
            let Ok(descriptor) = duplicate else { return };
            // SAFETY: the descriptor is owned, open and given away: the file closes it.
            let file = Rc::new(unsafe { BufferedFile::from_raw_fd(descriptor.into_raw_fd()) });
            let _ = file.read_at(0, 8).await;
            if let Ok(file) = Rc::try_unwrap(file) {
                let _ = file.close().await;
            }
        })
    }
}
