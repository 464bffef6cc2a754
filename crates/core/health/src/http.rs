//! A check by an HTTP request: what is asked, and what the answer must be.
//!
//! Owns the request's bytes and the judgement of the response; leaves parsing a head to
//! `tidegate-http1`. Invariant: no more of a body is kept than [`ANSWER_BYTES_MAX`].

use tidegate_http1::{
    Limits, Method, Parsed, ResponseContext, ResponseHead, parse_response, reason_phrase,
};

use crate::content::Framing;
use crate::conversation::{ANSWER_BYTES_MAX, Next};
use crate::outcome::{Failure, Fault, Outcome, excerpt};
use crate::pattern::Pattern;
use crate::statuses::StatusSet;

/// What is asked, and what the answer must be.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpCheck {
    /// The request's method: a token (RFC 9110 §9.1).
    pub method: String,
    /// The request's target: a path, with or without a query.
    pub path: String,
    /// The `Host`; none: the address that is checked.
    pub host: Option<String>,
    /// Further header fields, valid as they stand.
    pub headers: Vec<(String, String)>,
    /// The request's body; may be empty.
    pub body: Vec<u8>,
    /// The statuses that pass.
    pub expect_status: StatusSet,
    /// What the response's body must hold, in its first [`ANSWER_BYTES_MAX`] bytes.
    pub expect_body: Option<Pattern>,
}

impl HttpCheck {
    /// The request to the server at `authority`.
    #[must_use]
    pub fn request(&self, authority: &str) -> Vec<u8> {
        let host = self.host.as_deref().unwrap_or(authority);
        let mut request = format!("{} {} HTTP/1.1\r\nHost: {host}\r\n", self.method, self.path);
        let names =
            |wanted: &str| self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(wanted));
        if !names("user-agent") {
            request.push_str("User-Agent: tidegate-health-check\r\n");
        }
        for (name, value) in &self.headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        if !self.body.is_empty() {
            request.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        request.push_str("Connection: close\r\n\r\n");
        let mut request = request.into_bytes();
        request.extend_from_slice(&self.body);
        request
    }
}

enum Reading {
    /// The head, from these bytes.
    Head(Vec<u8>),
    /// The body: what is known of it, how it goes on.
    Body { seen: Vec<u8>, framing: Framing },
}

/// The response of one check.
pub(crate) struct Response<'c> {
    check: &'c HttpCheck,
    reading: Reading,
}

impl<'c> Response<'c> {
    pub(crate) fn new(check: &'c HttpCheck) -> Self {
        Self { check, reading: Reading::Head(Vec::new()) }
    }

    pub(crate) fn received(&mut self, bytes: &[u8]) -> Next {
        match &mut self.reading {
            Reading::Head(head) => {
                head.extend_from_slice(bytes);
                self.read_head()
            }
            Reading::Body { .. } => self.read_body(bytes),
        }
    }

    /// The server has closed.
    pub(crate) fn closed(&self) -> Outcome {
        match &self.reading {
            Reading::Head(bytes) => Failure { fault: Fault::Closed, detail: excerpt(bytes) }.into(),
            Reading::Body { seen, framing: Framing::UntilClose } => self.judge_body(seen),
            Reading::Body { seen, .. } => {
                Failure { fault: Fault::Closed, detail: excerpt(seen) }.into()
            }
        }
    }

    fn read_head(&mut self) -> Next {
        loop {
            let Reading::Head(bytes) = &mut self.reading else { return Next::Receive };
            let (limits, mut head) = (Limits::default(), ResponseHead::new());
            let context = ResponseContext {
                method: Method::from_token(self.check.method.as_bytes()),
                upgrade_requested: false,
            };
            let head_bytes = match parse_response(bytes, &limits, context, &mut head) {
                Ok(Parsed::Complete { head_bytes }) => head_bytes,
                Ok(Parsed::Incomplete) => return Next::Receive,
                Err(error) => {
                    let detail = error.reason().to_owned();
                    return Next::Ended(Failure { fault: Fault::Malformed, detail }.into());
                }
            };
            let rest = bytes.split_off(head_bytes);
            if head.is_interim() {
                self.reading = Reading::Head(rest);
                continue;
            }
            return self.judge_head(&head, &rest);
        }
    }

    fn judge_head(&mut self, head: &ResponseHead, rest: &[u8]) -> Next {
        let status = head.status();
        if !self.check.expect_status.contains(status) {
            let detail = format!("{status} {}", reason_phrase(status)).trim_end().to_owned();
            return Next::Ended(Failure { fault: Fault::Status, detail }.into());
        }
        if self.check.expect_body.is_none() {
            return Next::Ended(Outcome::Passed);
        }
        let framing = Framing::of(head.body());
        self.reading = Reading::Body { seen: Vec::new(), framing };
        self.read_body(rest)
    }

    fn read_body(&mut self, bytes: &[u8]) -> Next {
        let Reading::Body { seen, framing } = &mut self.reading else { return Next::Receive };
        let ended = match framing.add(bytes, seen, |_trailers| {}) {
            Ok(ended) => ended,
            Err(failure) => return Next::Ended(failure.into()),
        };
        if ended || seen.len() >= ANSWER_BYTES_MAX {
            let Reading::Body { seen, .. } = &self.reading else { return Next::Receive };
            return Next::Ended(self.judge_body(seen));
        }
        // A text that has come is there for good; whether an expression matches, the end may change.
        match &self.check.expect_body {
            Some(pattern @ Pattern::Bytes(_)) if pattern.find_end(seen).is_some() => {
                Next::Ended(Outcome::Passed)
            }
            _ => Next::Receive,
        }
    }

    fn judge_body(&self, body: &[u8]) -> Outcome {
        let body = &body[..body.len().min(ANSWER_BYTES_MAX)];
        match &self.check.expect_body {
            Some(pattern) if pattern.find_end(body).is_none() => {
                Failure { fault: Fault::Body, detail: excerpt(body) }.into()
            }
            _ => Outcome::Passed,
        }
    }
}
