//! Signals as messages to the control executor.
//!
//! Owns the one thread that waits for signals; leaves their meaning to `runtime`. Invariant: a signal that arrives after
//! the registration is either delivered or already on its way to the executor.

use std::io;
use std::thread::JoinHandle;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};
use tidegate_shard::Sender;

/// What the process was asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// SIGHUP: read the configuration again.
    Reload,
    /// SIGTERM: finish what is in flight, then end.
    Drain,
    /// SIGINT: end.
    Stop,
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
        for signal in signals.forever() {
            let request = match signal {
                SIGHUP => Request::Reload,
                SIGTERM => Request::Drain,
                _ => Request::Stop,
            };
            // A full queue holds requests enough: the oldest of them is about to be acted on.
            let _ = sender.send(request);
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
