//! A syslog daemon that does nothing with what it reads. Owns the socket and the thread that empties it; leaves to the proxies
//! what they send. Invariant: a message costs the sender what it would cost with a daemon that keeps up.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often the thread looks whether it should end.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// The daemon, until it is dropped.
pub struct Syslog {
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Syslog {
    /// Listens at `path`, in place of what was there.
    ///
    /// # Errors
    /// When the socket cannot be bound.
    pub fn listen(path: &Path) -> io::Result<Self> {
        // Left by the step before.
        let _ = std::fs::remove_file(path);
        let socket = UnixDatagram::bind(path)?;
        socket.set_read_timeout(Some(LOOK_INTERVAL))?;
        let ending = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&ending);
        let thread = std::thread::spawn(move || {
            let mut message = [0; 9000];
            while !told.load(Ordering::Relaxed) {
                // A timeout is the time to look.
                let _ = socket.recv(&mut message);
            }
        });
        Ok(Self { ending, thread: Some(thread) })
    }
}

impl Drop for Syslog {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It only reads.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_taken_however_many_there_are() {
        let path = std::env::temp_dir().join(format!("tidegate-load-{}.sock", std::process::id()));
        let daemon = Syslog::listen(&path).expect("the path is free");
        let sender = UnixDatagram::unbound().expect("a socket");
        // More than a socket's queue holds.
        for _ in 0..5_000 {
            sender.send_to(&[b'x'; 200], &path).expect("somebody listens");
        }
        drop(daemon);
        assert!(sender.send_to(b"x", &path).is_err());
        std::fs::remove_file(path).expect("it was there");
    }
}
