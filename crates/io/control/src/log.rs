//! The process's own log: one line an event, as `key=value` pairs on standard error.
//!
//! Owns the format and the thread that writes; leaves what is worth a line to its callers. Invariant: one line an event,
//! whatever the values hold, and nobody waits for a log that is not read: lines are dropped, counted, and the count is logged.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, SystemTime};

use tidegate_proxy::{Event, EventKind};

use crate::flood::Topic;

/// How much an operator should care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Info,
    Warn,
    Error,
}

/// A line being built.
pub(crate) struct Line(String);

impl Line {
    pub(crate) fn new(level: Level, event: &str) -> Line {
        let level = match level {
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        };
        Line(format!(
            "time={} level={level} event={event}",
            humantime::format_rfc3339_millis(SystemTime::now())
        ))
    }

    /// Adds a pair; a value with blanks, quotes or control characters is quoted and escaped.
    pub(crate) fn with(mut self, key: &str, value: impl std::fmt::Display) -> Line {
        let value = value.to_string();
        let plain = !value.is_empty()
            && value.chars().all(|c| !c.is_whitespace() && !c.is_control() && c != '"' && c != '=');
        // Writing to a string cannot fail.
        let _ = if plain {
            write!(self.0, " {key}={value}")
        } else {
            write!(self.0, " {key}={value:?}")
        };
        self
    }

    /// Adds a pair unless the value is empty.
    pub(crate) fn with_some(self, key: &str, value: &str) -> Line {
        if value.is_empty() { self } else { self.with(key, value) }
    }

    /// Hands the line to the writer.
    pub(crate) fn write(self) {
        write_text(self.0);
    }
}

/// Lines waiting for a writer that is slower than the events.
const LINES_QUEUED_MAX: usize = 4096;

enum Message {
    Text(String),
    /// Answered once everything before it is written.
    Flush(SyncSender<()>),
}

static WRITER: OnceLock<SyncSender<Message>> = OnceLock::new();
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Starts the thread that writes; without it lines are written by whoever has them.
pub(crate) fn start() -> std::io::Result<()> {
    if WRITER.get().is_some() {
        return Ok(());
    }
    let (sender, receiver) = sync_channel(LINES_QUEUED_MAX);
    std::thread::Builder::new().name("log".into()).spawn(move || write_lines(&receiver))?;
    // A second start at the same time: its thread ends with its sender.
    let _ = WRITER.set(sender);
    Ok(())
}

fn write_lines(messages: &Receiver<Message>) {
    for message in messages {
        match message {
            Message::Text(text) => write_now(text),
            Message::Flush(done) => drop(done),
        }
        let dropped = DROPPED.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            write_now(Line::new(Level::Warn, "log_lines_dropped").with("count", dropped).0);
        }
    }
}

fn write_now(mut text: String) {
    text.push('\n');
    // A log that cannot be written is no reason to stop serving.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Writes one line, or several that belong together.
pub(crate) fn write_text(text: String) {
    match WRITER.get() {
        None => write_now(text),
        Some(writer) => {
            if let Err(TrySendError::Full(_)) = writer.try_send(Message::Text(text)) {
                DROPPED.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Waits until everything handed over so far is written, no longer than `patience`.
pub(crate) fn flush(patience: Duration) {
    let (done, written) = sync_channel(0);
    let handed_over =
        WRITER.get().is_some_and(|writer| writer.try_send(Message::Flush(done)).is_ok());
    if handed_over {
        // Disconnected when the writer has dropped its end, which is the answer.
        let _ = written.recv_timeout(patience);
    }
}

/// The name of an event in the log.
pub(crate) fn event_name(kind: EventKind) -> &'static str {
    match kind {
        EventKind::RequestRejected => "request_rejected",
        EventKind::RequestFailed => "request_failed",
        EventKind::AcceptFailed => "accept_failed",
        EventKind::HandshakeFailed => "tls_handshake_failed",
        EventKind::ConnectionFlooded => "connection_flooded",
        EventKind::ConnectionMalformed => "connection_malformed",
        EventKind::StreamMalformed => "stream_malformed",
        EventKind::ServerConnectionEnded => "server_connection_ended",
        EventKind::Panicked => "panic",
    }
}

/// The name of a topic, where lines of it were left out.
pub(crate) fn topic_name(topic: Topic) -> &'static str {
    match topic {
        Topic::Shards(kind) => event_name(kind),
        Topic::Servers => "server_states",
        Topic::Names => "names",
    }
}

/// Writes what a shard told.
pub(crate) fn write_event(shard: usize, event: &Event) {
    let level = match event.kind {
        EventKind::RequestRejected
        | EventKind::RequestFailed
        | EventKind::ConnectionFlooded
        | EventKind::ConnectionMalformed
        | EventKind::StreamMalformed
        | EventKind::ServerConnectionEnded
        | EventKind::HandshakeFailed => Level::Warn,
        EventKind::AcceptFailed | EventKind::Panicked => Level::Error,
    };
    let mut line = Line::new(level, event_name(event.kind)).with("shard", shard);
    for (key, value) in
        [("frontend", &event.frontend), ("backend", &event.backend), ("server", &event.server)]
    {
        line = line.with_some(key, value.as_deref().unwrap_or_default());
    }
    if let Some(peer) = event.peer {
        line = line.with("client", peer);
    }
    if event.status != 0 {
        line = line.with("status", event.status);
    }
    line = line
        .with("reason", event.reason)
        .with_some("detail", &event.detail)
        .with_some("flags", &event.flags);
    if event.retries > 0 {
        line = line.with("retries", event.retries);
    }
    line.write();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_break_out_of_its_line_or_its_pair() {
        let line = Line::new(Level::Warn, "x")
            .with("a", "plain")
            .with("b", "two words\nlevel=error")
            .with("c", "");
        let text = line.0.split_once(" level").expect("a time first").1;
        assert_eq!(text, r#"=warn event=x a=plain b="two words\nlevel=error" c="""#);
    }
}
