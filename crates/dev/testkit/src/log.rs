//! Owns what a process under test prints: lines in order, and their logfmt fields.
//!
//! Leaves the process to `process`. Invariant: a line is seen whole or not at all.

use crate::deadline::{Deadline, Watched};
use std::io::{BufRead, BufReader, Read};
use std::sync::Arc;
use std::thread::JoinHandle;

/// Which of the two outputs a line was printed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One printed line, without its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Where it was printed.
    pub output: Output,
    /// The text; bytes that are not UTF-8 are replaced.
    pub text: String,
}

impl LogLine {
    /// The value of a logfmt field (`key=value` or `key="value with \"quotes\""`).
    #[must_use]
    pub fn field(&self, key: &str) -> Option<String> {
        fields(&self.text).into_iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// Whether the line reports this event (`event=NAME`).
    #[must_use]
    pub fn is_event(&self, event: &str) -> bool {
        self.field("event").as_deref() == Some(event)
    }
}

/// Splits a logfmt line; what is not `key=value` is left out.
fn fields(text: &str) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let Some(end) = rest.find(['=', ' ']) else { break };
        let (key, after) = rest.split_at(end);
        if !after.starts_with('=') {
            rest = after.trim_start();
            continue;
        }
        let (value, after) = value(&after[1..]);
        fields.push((key.to_owned(), value));
        rest = after.trim_start();
    }
    fields
}

/// Takes one value, quoted or plain, and returns it with what follows.
fn value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, rest) = text.split_at(text.find(' ').unwrap_or(text.len()));
        return (value.to_owned(), rest);
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((place, char)) = chars.next() {
        match char {
            '"' => return (value, &quoted[place + 1..]),
            '\\' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, escaped)) => value.push(escaped),
                None => break,
            },
            _ => value.push(char),
        }
    }
    (value, "")
}

/// Everything printed so far.
#[derive(Debug, Default)]
pub(crate) struct Printed {
    pub(crate) lines: Vec<LogLine>,
    pub(crate) stdout: Vec<u8>,
    open_outputs_count: usize,
}

/// The log of one process, filled by a thread for each output.
#[derive(Clone)]
pub(crate) struct Log {
    printed: Arc<Watched<Printed>>,
}

impl Log {
    pub(crate) fn new() -> Self {
        Self { printed: Arc::new(Watched::new(Printed::default())) }
    }

    /// Starts collecting one output; the thread ends when the output does.
    pub(crate) fn collect(
        &self,
        output: Output,
        source: impl Read + Send + 'static,
    ) -> JoinHandle<()> {
        let printed = Arc::clone(&self.printed);
        printed.update(|printed| printed.open_outputs_count += 1);
        std::thread::spawn(move || {
            let mut source = BufReader::new(source);
            let mut line = Vec::new();
            while matches!(source.read_until(b'\n', &mut line), Ok(1..)) {
                let text =
                    String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(&line)).into_owned();
                printed.update(|printed| {
                    if output == Output::Stdout {
                        printed.stdout.extend_from_slice(&line);
                    }
                    printed.lines.push(LogLine { output, text });
                });
                line.clear();
            }
            printed.update(|printed| printed.open_outputs_count -= 1);
        })
    }

    pub(crate) fn look<R>(&self, look: impl FnOnce(&Printed) -> R) -> R {
        self.printed.look(look)
    }

    pub(crate) fn lines_count(&self) -> usize {
        self.look(|printed| printed.lines.len())
    }

    /// Waits for a line from number `from` on that `matches`; `None` when the deadline passes or
    /// every output has ended without one.
    pub(crate) fn wait(
        &self,
        from: usize,
        deadline: Deadline,
        mut matches: impl FnMut(&LogLine) -> bool,
    ) -> Option<LogLine> {
        let mut next = from;
        let found = self.printed.wait(deadline, |printed| {
            let new = printed.lines.get(next..).unwrap_or_default();
            let line = new.iter().find(|line| matches(line)).cloned();
            next = next.max(printed.lines.len());
            (line.is_some() || printed.open_outputs_count == 0).then_some(line)
        });
        found.flatten()
    }

    /// Waits until every output has ended, so that nothing printed is missed; false when the
    /// deadline passes.
    pub(crate) fn wait_end(&self, deadline: Deadline) -> bool {
        self.printed
            .wait(deadline, |printed| (printed.open_outputs_count == 0).then_some(()))
            .is_some()
    }

    /// Every line, for a person to read.
    pub(crate) fn text(&self) -> String {
        self.look(|printed| printed.lines.iter().map(|line| format!("  {}\n", line.text)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> LogLine {
        LogLine { output: Output::Stderr, text: text.to_owned() }
    }

    #[test]
    fn fields_are_read_plain_and_quoted() {
        let line = line(
            r#"level=info event=reload_failed  error="bad \"key\" at 3:1" empty= bare last=x"#,
        );
        assert!(line.is_event("reload_failed"));
        assert_eq!(line.field("error").as_deref(), Some(r#"bad "key" at 3:1"#));
        assert_eq!(line.field("empty").as_deref(), Some(""));
        assert_eq!(line.field("bare"), None);
        assert_eq!(line.field("last").as_deref(), Some("x"));
    }

    #[test]
    fn an_unterminated_quote_ends_with_the_line() {
        assert_eq!(line(r#"a="b c"#).field("a").as_deref(), Some("b c"));
    }

    #[test]
    fn waiting_finds_later_lines_only_and_ends_with_the_output() {
        let log = Log::new();
        let reader = log.collect(Output::Stderr, &b"event=a\nevent=b\n"[..]);
        reader.join().expect("the reader ends");
        let found = log.wait(0, Deadline::default(), |line| line.is_event("b"));
        assert_eq!(found.map(|line| line.text), Some("event=b".to_owned()));
        assert_eq!(log.wait(1, Deadline::default(), |line| line.is_event("a")), None);
        assert!(log.wait_end(Deadline::default()));
    }
}
