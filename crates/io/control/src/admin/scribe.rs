//! The text of scrapes, written on a thread of its own.
//!
//! Owns the thread and its queue; leaves what a scrape says to `metrics`. With 10,000 servers it has 220,000 lines and takes a
//! second or two, in which the control executor has servers to check and shards to tell. Invariant: the executor only gathers
//! what is to be written; who asked is woken when the text is there.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::task::{Poll, Waker};

use tidegate_telemetry::Registry;

use super::metrics::{Exposition, ProcessInfo};
use crate::figures::Figures;

/// What a scrape is written from.
pub(crate) struct Material {
    /// The shards' counts, which are read when it is written.
    pub(crate) registry: Registry,
    /// The process as it was when the scrape was asked for.
    pub(crate) process: ProcessInfo,
    /// The control plane, then.
    pub(crate) figures: Figures,
}

struct Job {
    material: Box<Material>,
    text: SyncSender<String>,
    waker: Waker,
}

/// Writes scrapes, one after the other.
pub(crate) struct Scribe {
    jobs: SyncSender<Job>,
    refused: Cell<u64>,
}

/// A scrape that was asked for.
pub(crate) struct Pending(Receiver<String>);

impl Scribe {
    /// Starts the thread, which ends with this. `queued_max` scrapes can wait for it.
    ///
    /// # Errors
    /// The thread cannot be made.
    pub(crate) fn start(queued_max: usize) -> std::io::Result<Scribe> {
        let (jobs, waiting) = sync_channel(queued_max);
        std::thread::Builder::new().name("metrics".into()).spawn(move || work(&waiting))?;
        Ok(Scribe { jobs, refused: Cell::new(0) })
    }

    /// Scrapes for which there was no room.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.get()
    }

    /// Asks for a scrape; `waker` is called when it is written. `None`: too many wait, which is counted.
    pub(crate) fn ask(&self, material: Material, waker: Waker) -> Option<Pending> {
        let (text, written) = sync_channel(1);
        let job = Job { material: Box::new(material), text, waker };
        if self.jobs.try_send(job).is_err() {
            self.refused.set(self.refused.get() + 1);
            return None;
        }
        Some(Pending(written))
    }
}

impl Pending {
    /// The text; `None` when there will be none, because of a defect.
    pub(crate) fn poll(&self) -> Poll<Option<String>> {
        match self.0.try_recv() {
            Ok(text) => Poll::Ready(Some(text)),
            Err(TryRecvError::Empty) => Poll::Pending,
            Err(TryRecvError::Disconnected) => Poll::Ready(None),
        }
    }
}

fn work(waiting: &Receiver<Job>) {
    let mut exposition = Exposition::new();
    while let Ok(Job { material, text, waker }) = waiting.recv() {
        let Material { registry, process, figures } = &*material;
        // A defect costs one scrape: what it leaves behind is the size of a buffer.
        let written =
            catch_unwind(AssertUnwindSafe(|| exposition.render(registry, process, figures)));
        if let Ok(written) = written {
            // Whoever asked may have left.
            let _ = text.send(written);
        }
        drop(text);
        waker.wake();
    }
}
