//! Signals as messages to the control executor.
//!
//! Owns the one thread that waits for signals; leaves their meaning to `runtime`. Invariant: a signal that arrives after
//! the registration is either delivered or already on its way to the executor.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};
use tidegate_shard::Sender;

/// What the process was asked to do.
#[derive(Debug)]
pub(crate) enum Request {
    /// SIGHUP: read the configuration again.
    Reload(Asked),
    /// SIGTERM: finish what is in flight, then end; each further one is less patient.
    Drain,
    /// SIGINT: end.
    Stop,
}

/// A reload that has been asked for; once dropped it has begun, and the next signal asks for another. So a burst of
/// SIGHUPs takes one place of the queue, and the SIGTERM behind it finds room.
#[derive(Debug)]
pub(crate) struct Asked(Arc<AtomicBool>);

impl Asked {
    /// `None` when a reload that has not begun yet will do.
    fn again(asked: &Arc<AtomicBool>) -> Option<Asked> {
        (!asked.swap(true, Ordering::SeqCst)).then(|| Asked(asked.clone()))
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

/// The thread that waits for signals, until dropped.
pub(crate) struct Listening {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

/// Registers the signals; they arrive through `sender` from now on.
pub(crate) fn listen(mut sender: Sender<Request>) -> io::Result<Listening> {
    let mut signals = Signals::new([SIGHUP, SIGTERM, SIGINT])?;
    let handle = signals.handle();
    let thread = std::thread::Builder::new().name("signals".into()).spawn(move || {
        let asked = Arc::default();
        for signal in signals.forever() {
            let request = match signal {
                SIGHUP => Asked::again(&asked).map(Request::Reload),
                SIGTERM => Some(Request::Drain),
                _ => Some(Request::Stop),
            };
            // A full queue holds requests to end enough, each more urgent than the one before.
            let _ = request.map(|request| sender.send(request));
        }
    })?;
    Ok(Listening { handle, thread: Some(thread) })
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
