//! One question, until it is answered or every resolver has been asked often enough.
//!
//! Owns who is asked next, and how; leaves waiting and sockets to the control plane. Invariant: it ends after a number of tries that
//! follows from the settings, whatever is answered.

use crate::finding::{Fault, Finding};
use crate::message::{ALIASES_MAX, NotRead, Reply, read_reply, write_query};
use crate::name::DnsName;
use crate::round::Question;

/// How a question goes to a resolver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// One datagram each way.
    Datagram,
    /// Over a connection, each message with its length before it (RFC 7766 §8).
    Stream,
}

/// One try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Whom to ask, by its place.
    pub server: usize,
    /// How.
    pub transport: Transport,
    /// The bytes of the question, without their length.
    pub query: Vec<u8>,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Ask, and say what came.
    Ask(Ask),
    /// It is over.
    Done(Finding),
}

/// What has become of bytes that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// They are not about this try: the wait goes on.
    Ignored,
    /// They end this try.
    Answered {
        /// Whether the resolver did what it is there for.
        well: bool,
    },
}

/// One question on its way.
#[derive(Clone, Debug)]
pub struct Lookup {
    question: Question,
    /// The name that is asked for now: the question's, or one that it stands for.
    asked: DnsName,
    id: u16,
    /// Who is asked, in this order, `tries` times over.
    order: Vec<usize>,
    tries_done: usize,
    tries_max: usize,
    transport: Transport,
    extended: bool,
    ttl: u32,
    aliases: usize,
    fault: Fault,
    finding: Option<Finding>,
}

impl Lookup {
    /// A question to the resolvers in `order`, each of which is asked `tries` times.
    #[must_use]
    pub fn new(question: Question, order: Vec<usize>, tries: u32) -> Self {
        let tries_max = order.len() * tries as usize;
        Self {
            asked: question.name.clone(),
            question,
            id: 0,
            order,
            tries_done: 0,
            tries_max,
            transport: Transport::Datagram,
            extended: true,
            ttl: u32::MAX,
            aliases: 0,
            fault: Fault::NoResolver,
            finding: None,
        }
    }

    /// The next try, for which `random` is drawn.
    pub fn next(&mut self, random: u16) -> Next {
        if let Some(finding) = self.finding.take() {
            return Next::Done(finding);
        }
        if self.tries_done >= self.tries_max {
            return Next::Done(Finding::Failed(self.fault));
        }
        self.id = random;
        let query = write_query(self.id, &self.asked, self.question.kind, self.extended);
        let server = self.order[self.tries_done % self.order.len()];
        Next::Ask(Ask { server, transport: self.transport, query })
    }

    /// Takes what came from the resolver of the last try.
    pub fn received(&mut self, bytes: &[u8]) -> Taken {
        let reply = match read_reply(bytes, self.id, &self.asked, self.question.kind) {
            // Over a connection nothing else is to come.
            Err(NotRead::Foreign) if self.transport == Transport::Datagram => {
                return Taken::Ignored;
            }
            Err(NotRead::Foreign | NotRead::Malformed) => Reply::Failed(Fault::Malformed),
            Ok(reply) => reply,
        };
        let mut well = true;
        match reply {
            Reply::Records { records, ttl } => {
                self.finding = Some(Finding::Records { records, ttl: ttl.min(self.ttl) });
            }
            Reply::Absent(absence) => self.finding = Some(Finding::Absent(absence)),
            Reply::Alias { to, ttl, aliases } => self.follow(to, ttl, aliases),
            Reply::Truncated if self.transport == Transport::Datagram => {
                self.transport = Transport::Stream;
            }
            Reply::NoExtensions if self.extended => self.extended = false,
            Reply::Truncated => self.failed(Fault::Malformed),
            Reply::NoExtensions => self.failed(Fault::Refused),
            Reply::Failed(fault) => {
                well = false;
                self.failed(fault);
            }
        }
        Taken::Answered { well }
    }

    /// The last try has come to nothing.
    pub fn failed(&mut self, fault: Fault) {
        self.fault = fault;
        self.tries_done += 1;
        (self.transport, self.extended) = (Transport::Datagram, true);
    }

    fn follow(&mut self, to: DnsName, ttl: u32, aliases: usize) {
        self.aliases += aliases;
        if self.aliases > ALIASES_MAX {
            self.finding = Some(Finding::Failed(Fault::AliasesTooLong));
            return;
        }
        self.asked = to;
        self.ttl = self.ttl.min(ttl);
        (self.transport, self.extended) = (Transport::Datagram, true);
    }
}
