//! A check as a list of steps: say this, hear that.
//!
//! Owns the progress through the list; leaves receiving and time to the caller. Invariant: what has
//! been matched is not looked at again, and at most [`ANSWER_BYTES_MAX`] of what has not is kept.

use crate::conversation::{ANSWER_BYTES_MAX, Next};
use crate::outcome::{Failure, Fault, Outcome, excerpt};
use crate::pattern::Pattern;

/// One step of an exchange.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Sends these bytes.
    Send(Vec<u8>),
    /// Waits for this in what comes.
    Expect {
        /// What must come.
        pattern: Pattern,
        /// What tells that it will not come: the check fails at once instead of at its timeout.
        refusal: Option<Pattern>,
    },
}

/// Where an exchange stands.
pub(crate) struct Exchange<'c> {
    steps: std::slice::Iter<'c, Step>,
    /// Received and not matched yet.
    received: Vec<u8>,
}

impl<'c> Exchange<'c> {
    pub(crate) fn new(steps: &'c [Step]) -> Self {
        Self { steps: steps.iter(), received: Vec::new() }
    }

    /// Goes on as far as what has been received allows.
    pub(crate) fn advance(&mut self) -> Next {
        let mut sent = Vec::new();
        loop {
            let before = self.steps.clone();
            match self.steps.next() {
                None if sent.is_empty() => return Next::Ended(Outcome::Passed),
                // Let the last words leave before the connection is closed.
                None => return Next::Send(sent),
                Some(Step::Send(bytes)) => sent.extend_from_slice(bytes),
                Some(Step::Expect { pattern, refusal }) => {
                    if let Some(end) = pattern.find_end(&self.received) {
                        self.received.drain(..end);
                        continue;
                    }
                    if refusal.as_ref().is_some_and(|no| no.find_end(&self.received).is_some()) {
                        return Next::Ended(self.failed(Fault::Unexpected));
                    }
                    self.steps = before;
                    return if sent.is_empty() { Next::Receive } else { Next::Send(sent) };
                }
            }
        }
    }

    pub(crate) fn received(&mut self, bytes: &[u8]) -> Next {
        self.received.extend_from_slice(bytes);
        match self.advance() {
            Next::Receive if self.received.len() > ANSWER_BYTES_MAX => {
                Next::Ended(self.failed(Fault::Unexpected))
            }
            next => next,
        }
    }

    /// The check ends here although steps are left.
    pub(crate) fn failed(&self, fault: Fault) -> Outcome {
        Failure { fault, detail: excerpt(&self.received) }.into()
    }
}
