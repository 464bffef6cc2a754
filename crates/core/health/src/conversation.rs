//! One check from the connection to the verdict, without a socket.
//!
//! Owns which side speaks next; leaves bytes to the sockets and time to the caller. Invariant: after
//! [`Next::Ended`] nothing more is asked of it, and what it keeps of an answer is bounded.

use crate::agent::parse_agent;
use crate::grpc;
use crate::http::Response;
use crate::outcome::{Failure, Fault, Outcome, excerpt};
use crate::settings::Probe;
use crate::steps::Exchange;

/// Bytes of an answer that are looked at: as much as HAProxy's buffer holds four times over.
pub const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Longest line of an agent, in bytes.
const AGENT_LINE_BYTES_MAX: usize = 1024;

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Send this, then call [`Conversation::sent`].
    Send(Vec<u8>),
    /// Receive, then call [`Conversation::received`] or [`Conversation::closed`].
    Receive,
    /// Close: this is what the check came to.
    Ended(Outcome),
}

/// One check of one server.
pub struct Conversation<'c> {
    talk: Talk<'c>,
}

enum Talk<'c> {
    Tcp,
    Http { request: Vec<u8>, response: Response<'c> },
    Grpc { request: Vec<u8>, response: grpc::Response },
    Exchange(Exchange<'c>),
    Agent { send: &'c [u8], line: Vec<u8> },
}

impl<'c> Conversation<'c> {
    /// A check of the server at `authority`, which HTTP servers are told.
    #[must_use]
    pub fn new(probe: &'c Probe, authority: &str) -> Self {
        let talk = match probe {
            Probe::Tcp => Talk::Tcp,
            Probe::Http(check) => {
                Talk::Http { request: check.request(authority), response: Response::new(check) }
            }
            Probe::Grpc(check) => {
                Talk::Grpc { request: check.request(authority), response: grpc::Response::new() }
            }
            Probe::Exchange(steps) => Talk::Exchange(Exchange::new(steps)),
            Probe::Agent(send) => Talk::Agent { send, line: Vec::new() },
        };
        Self { talk }
    }

    /// The connection is established.
    pub fn connected(&mut self) -> Next {
        match &mut self.talk {
            Talk::Tcp => Next::Ended(Outcome::Passed),
            Talk::Http { request, .. } | Talk::Grpc { request, .. } => {
                Next::Send(std::mem::take(request))
            }
            Talk::Exchange(exchange) => exchange.advance(),
            Talk::Agent { send: [], .. } => Next::Receive,
            Talk::Agent { send, .. } => Next::Send(send.to_vec()),
        }
    }

    /// What was to be sent has been handed over.
    pub fn sent(&mut self) -> Next {
        match &mut self.talk {
            Talk::Exchange(exchange) => exchange.advance(),
            Talk::Tcp | Talk::Http { .. } | Talk::Grpc { .. } | Talk::Agent { .. } => Next::Receive,
        }
    }

    /// These bytes have come.
    pub fn received(&mut self, bytes: &[u8]) -> Next {
        match &mut self.talk {
            Talk::Tcp => Next::Ended(Outcome::Passed),
            Talk::Http { response, .. } => response.received(bytes),
            Talk::Grpc { response, .. } => response.received(bytes),
            Talk::Exchange(exchange) => exchange.received(bytes),
            Talk::Agent { line, .. } => {
                line.extend_from_slice(bytes);
                let whole = line.contains(&b'\n') || line.len() >= AGENT_LINE_BYTES_MAX;
                if whole { Next::Ended(said(line)) } else { Next::Receive }
            }
        }
    }

    /// The server has closed: what the check comes to.
    pub fn closed(&mut self) -> Outcome {
        match &mut self.talk {
            Talk::Tcp => Outcome::Passed,
            Talk::Http { response, .. } => response.closed(),
            Talk::Grpc { response, .. } => response.closed(),
            Talk::Exchange(exchange) => exchange.failed(Fault::Closed),
            Talk::Agent { line, .. } if line.is_empty() => Failure::new(Fault::Closed).into(),
            Talk::Agent { line, .. } => said(line),
        }
    }

    /// Its time is over: what the check comes to.
    pub fn timed_out(&mut self) -> Outcome {
        match &mut self.talk {
            Talk::Exchange(exchange) => exchange.failed(Fault::TimedOut),
            Talk::Tcp | Talk::Http { .. } | Talk::Grpc { .. } | Talk::Agent { .. } => {
                Failure::new(Fault::TimedOut).into()
            }
        }
    }
}

fn said(line: &[u8]) -> Outcome {
    match parse_agent(line) {
        Ok(report) => Outcome::Said(report),
        Err(_) => Failure { fault: Fault::Agent, detail: excerpt(line) }.into(),
    }
}
