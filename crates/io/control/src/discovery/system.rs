//! The system's files about names, read again when they have changed.
//!
//! Owns when they are read; leaves their meaning to `tidegate_discovery`. Invariant: a file that cannot be read says nothing, and is
//! looked at a few times a minute at most, however many names there are.

use std::fs::{self, File};
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use tidegate_discovery::{FILE_BYTES_MAX, Hosts, nameservers};

/// Between two looks at whether a file has changed.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// What was last seen of the files.
#[derive(Default)]
pub(super) struct System {
    hosts: Seen,
    resolv_conf: Seen,
}

#[derive(Default)]
struct Seen {
    looked_at: Option<Instant>,
    changed_at: Option<SystemTime>,
}

impl System {
    /// The names of the file, if they are not those of the last time.
    pub(super) fn hosts(&mut self, path: Option<&Path>, now: Instant) -> Option<Hosts> {
        let text = self.hosts.changed(path?, now)?;
        Some(Hosts::parse(&text))
    }

    /// The resolvers of the file, if it has changed.
    pub(super) fn nameservers(&mut self, path: &Path, now: Instant) -> Option<Vec<SocketAddr>> {
        let text = self.resolv_conf.changed(path, now)?;
        Some(nameservers(&text))
    }
}

impl Seen {
    /// The text of a file that has changed since the last call, which is empty for one that cannot be read.
    fn changed(&mut self, path: &Path, now: Instant) -> Option<String> {
        let is_first = self.looked_at.is_none();
        if self.looked_at.is_some_and(|at| now < at + LOOK_INTERVAL) {
            return None;
        }
        self.looked_at = Some(now);
        let changed_at = fs::metadata(path).and_then(|data| data.modified()).ok();
        if changed_at == self.changed_at && !is_first {
            return None;
        }
        self.changed_at = changed_at;
        let mut bytes = Vec::new();
        let read = File::open(path)
            .and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes))
            .unwrap_or_default();
        bytes.truncate(read);
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_when_it_has_changed_and_not_all_the_time() {
        let path = std::env::temp_dir().join(format!("tidegate-seen-{}", std::process::id()));
        let (mut seen, now) = (Seen::default(), Instant::now());
        assert_eq!(seen.changed(&path, now).as_deref(), Some(""), "there is none");
        assert_eq!(seen.changed(&path, now + LOOK_INTERVAL), None);
        fs::write(&path, "one").expect("written");
        assert_eq!(seen.changed(&path, now + LOOK_INTERVAL), None, "it was looked at just now");
        assert_eq!(seen.changed(&path, now + 2 * LOOK_INTERVAL).as_deref(), Some("one"));
        assert_eq!(seen.changed(&path, now + 3 * LOOK_INTERVAL), None);
        fs::remove_file(&path).expect("removed");
        assert_eq!(seen.changed(&path, now + 4 * LOOK_INTERVAL).as_deref(), Some(""));
    }
}
