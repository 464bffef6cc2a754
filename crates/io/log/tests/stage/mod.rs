//! What the tests of targets share: logs with a recorder of events, numbered lines, and waiting.
//!
//! Owns no expectations. Invariant: every wait has a deadline, and a line says which it is and how long it must be.

use std::sync::{Arc, Mutex};
use std::time::Duration;
use tidegate_access_log::{Severity, Target};
use tidegate_log::{Event, Log, LogId, Logs, Pushed, Settings, Writer};
use tidegate_testkit::{Deadline, PATIENCE};

/// Logs, their writers, and what happened.
pub struct Stage {
    pub logs: Logs,
    pub writers: Vec<Writer>,
    pub events: Arc<Mutex<Vec<String>>>,
}

impl Stage {
    pub fn new(shards_count: usize) -> Self {
        let events = Arc::<Mutex<Vec<String>>>::default();
        let recorder = Arc::clone(&events);
        let (logs, writers) = Logs::start(shards_count, move |event| {
            let text = match event {
                Event::Failed { cause, .. } => format!("failed {}", cause.label()),
                Event::Restored { .. } => "restored".to_owned(),
                Event::Lost { lines, cause, .. } => format!("lost {lines} {}", cause.label()),
            };
            recorder.lock().expect("nobody panicked with it").push(text);
        })
        .expect("the thread starts");
        Self { logs, writers, events }
    }

    pub fn open(&self, target: &str) -> Log {
        let target = Target::parse(target).expect("it is a target");
        self.logs.open(&Settings::new(target)).expect("it opens")
    }

    /// Pushes the lines of these numbers; all must find room in the ring.
    pub fn push(&mut self, log: &Log, numbers: std::ops::Range<usize>) {
        for number in numbers {
            assert_eq!(push(&mut self.writers[0], log.id(), number), Pushed::Queued);
        }
    }

    pub fn flush(&self) {
        assert!(self.logs.flush(PATIENCE), "not everything was written: {:?}", self.events());
    }

    pub fn events(&self) -> Vec<String> {
        self.events.lock().expect("nobody panicked with it").clone()
    }

    /// Flushes again and again, a moment each, until `happened`.
    pub fn wait_until(&self, mut happened: impl FnMut() -> bool) {
        let deadline = Deadline::default();
        while !happened() {
            assert!(deadline.remaining().is_some(), "it did not happen: {:?}", self.events());
            let _ = self.logs.flush(Duration::from_millis(20));
        }
    }
}

pub fn push(writer: &mut Writer, log: LogId, number: usize) -> Pushed {
    writer.push_line(log, Severity::Info, line(number).as_bytes())
}

/// A line that tells whether it is whole.
pub fn line(number: usize) -> String {
    let length = 60 + number * 7 % 90;
    format!("line {number} {length} {}", "x".repeat(length))
}

/// The number of a line that must be whole.
pub fn number(text: &str) -> usize {
    let number = text.split(' ').nth(1).and_then(|number| number.parse().ok());
    let number = number.unwrap_or_else(|| panic!("not a line: {text:?}"));
    assert_eq!(text, line(number), "torn");
    number
}
