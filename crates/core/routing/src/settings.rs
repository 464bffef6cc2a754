//! The actions of rules, as types that cannot be wrong.
//!
//! Owns the types; the configuration fills them, `run` carries them out. Invariant: indices point into the configuration
//! that the rules belong to, and names and values that are known when it is loaded are valid.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tidegate_passwords::Users;
use tidegate_rules::{Condition, FieldIndex, RuleSet, Template, VariableIndex};
use tidegate_semantics::header_rules::{self, NameError};
use tidegate_semantics::redirect::{Query, Scheme};

use crate::rewrite::RewritePath;

/// A backend, by its place in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendIndex(pub usize);

/// A header field's name: a token that rules may set, in the spelling of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HeaderName {
    written: Box<[u8]>,
    lower: Box<[u8]>,
}

impl HeaderName {
    /// A name in this spelling.
    ///
    /// # Errors
    ///
    /// Why rules cannot set, add or remove fields of this name.
    pub fn new(name: &[u8]) -> Result<Self, NameError> {
        header_rules::check_name(name)?;
        Ok(Self { written: name.into(), lower: name.to_ascii_lowercase().into() })
    }

    /// As it is written to the message.
    #[must_use]
    #[inline]
    pub fn written(&self) -> &[u8] {
        &self.written
    }

    /// In lower case, as it is compared.
    #[must_use]
    #[inline]
    pub fn lower(&self) -> &[u8] {
        &self.lower
    }
}

/// One change, which applies and goes on.
#[derive(Clone, Debug)]
pub enum Edit {
    /// Replaces all fields of the name by one.
    SetHeader(HeaderName, Template),
    /// Adds one field.
    AddHeader(HeaderName, Template),
    /// Removes all fields of the name.
    RemoveHeader(HeaderName),
    /// Replaces the method by a token known at load.
    SetMethod(Box<[u8]>),
    /// Replaces the path; the query stays.
    SetPath(Template),
    /// Replaces the path by what a pattern makes of it.
    RewritePath(RewritePath),
    /// Replaces the query, without its question mark; the empty one removes it.
    SetQuery(Template),
    /// Replaces the host that the server is told, with its port if it has one.
    SetHost(Template),
    /// Sets a variable, unless it is longer than [`VARIABLE_BYTES_MAX`](crate::VARIABLE_BYTES_MAX).
    SetVariable(VariableIndex, Template),
    /// Adds a field to the log line.
    LogField(LogValue),
    /// Other timeouts for this request.
    SetTimeouts(TimeoutEdits),
    /// The place in the queue: lower goes first; 0 for those without.
    SetPriority(i16),
    /// Sends a copy elsewhere.
    Mirror(Mirror),
}

/// `log_field = { name = "…" }`: a value under a name of the operator's.
#[derive(Clone, Debug)]
pub struct LogValue {
    /// The name in the log line.
    pub name: Arc<str>,
    /// The field of the log's expressions, where there is one.
    pub field: Option<FieldIndex>,
    /// What it is.
    pub value: Template,
}

/// `set_timeouts`: those that are there replace the configured ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeoutEdits {
    /// For a connection to a server.
    pub connect: Option<Duration>,
    /// For the server's answer, and between two of its pieces.
    pub server: Option<Duration>,
    /// In the queue.
    pub queue: Option<Duration>,
    /// Of a tunnel.
    pub tunnel: Option<Duration>,
    /// Between two bytes that the client takes of the response.
    pub client: Option<Duration>,
}

impl TimeoutEdits {
    /// These, and those of `other` where these have none.
    #[must_use]
    pub fn or(&self, other: Self) -> Self {
        Self {
            connect: self.connect.or(other.connect),
            server: self.server.or(other.server),
            queue: self.queue.or(other.queue),
            tunnel: self.tunnel.or(other.tunnel),
            client: self.client.or(other.client),
        }
    }
}

/// A share in millionths, 0 to 1,000,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(pub u32);

impl Share {
    /// Everything.
    pub const ALL: Self = Self(1_000_000);

    /// Whether one is taken: at random, unless all are or none is.
    pub(crate) fn takes(self, random: &mut impl FnMut() -> u64) -> bool {
        let mut point = || (u128::from(random()) * u128::from(Self::ALL.0)) >> 64;
        self >= Self::ALL || (self.0 > 0 && point() < u128::from(self.0))
    }
}

/// `mirror = { backend, share }`: a copy whose answer is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// Where it goes.
    pub backend: BackendIndex,
    /// How many of the requests.
    pub share: Share,
}

/// What ends the list.
#[derive(Clone, Debug)]
pub enum Ending {
    /// To a backend.
    Backend(BackendChoice),
    /// Elsewhere.
    Redirect(Redirect),
    /// An answer of our own.
    Respond(Respond),
    /// Refused: the error page of the status, 403 where none is given.
    Deny {
        /// 200 to 599.
        status: u16,
    },
    /// Refused after a while, during which the client waits.
    Tarpit {
        /// 200 to 599; 429 where none is given.
        status: u16,
        /// The while.
        delay: Duration,
    },
    /// The connection is closed without an answer.
    Close,
}

/// Which backend.
#[derive(Clone, Debug)]
pub enum BackendChoice {
    /// This one.
    One(BackendIndex),
    /// One of several, by weight.
    Split(Split),
    /// The one with the name that the template makes; without one of that name, the list goes on.
    Named(NamedBackends),
}

/// A weighted choice. `sum` is that of the weights, above 0.
#[derive(Clone, Debug)]
pub struct Split {
    /// The backends and their weights.
    pub shares: Vec<BackendShare>,
    /// The sum of the weights.
    pub sum: u32,
    /// What the choice is the same for, such as `{source.ip}`; none: it is random.
    pub key: Option<Template>,
}

/// One of a [`Split`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackendShare {
    /// The backend.
    pub backend: BackendIndex,
    /// Its weight.
    pub weight: u32,
}

/// Backends by name.
#[derive(Clone, Debug)]
pub struct NamedBackends {
    /// Makes the name.
    pub name: Template,
    /// Those that it can make and that exist.
    pub backends: Arc<HashMap<Box<[u8]>, BackendIndex>>,
}

/// `redirect`.
#[derive(Clone, Debug)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
    /// Where to.
    pub target: RedirectTarget,
    /// What becomes of the query where the target does not have its own.
    pub query: Query,
}

/// Where a redirect leads.
#[derive(Clone, Debug)]
pub enum RedirectTarget {
    /// The same with other parts.
    Parts {
        /// The scheme.
        scheme: Option<Scheme>,
        /// The host, with its port if it has one.
        host: Option<Template>,
        /// What is put before the path.
        prefix: Option<Template>,
    },
    /// A whole location.
    Location(Template),
}

/// `respond`.
#[derive(Clone, Debug)]
pub struct Respond {
    /// 200 to 599.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: Option<Box<[u8]>>,
    /// Further fields.
    pub headers: Vec<(HeaderName, Template)>,
    /// A text, or the content of a file read at load; at most 1 MiB.
    pub body: RespondBody,
}

/// What a [`Respond`] says.
#[derive(Clone, Debug)]
pub enum RespondBody {
    /// These bytes.
    Bytes(Arc<[u8]>),
    /// What is made of this.
    Template(Template),
}

/// `authenticate`: who has the right credentials passes and the list goes on; others get 401.
#[derive(Clone, Debug)]
pub struct Authenticate {
    /// What the client is told that it needs credentials for.
    pub realm: Box<[u8]>,
    /// The users.
    pub users: Arc<Users>,
}

/// `[[frontends.NAME.rules]]`.
#[derive(Clone, Debug)]
pub struct RequestRule {
    /// For the log: its `name`, or `rules[3]`.
    pub name: Arc<str>,
    /// Applied in this order, which the configuration makes that of [`Edit`].
    pub edits: Vec<Edit>,
    /// Asked before the edits.
    pub authenticate: Option<Authenticate>,
    /// What ends the list, if it does.
    pub ending: Option<Ending>,
}

/// `[[frontends.NAME.response_rules]]`: `SetHeader`, `AddHeader`, `RemoveHeader`, `SetVariable` and `LogField` only.
#[derive(Clone, Debug)]
pub struct ResponseRule {
    /// For the log.
    pub name: Arc<str>,
    /// Applied in order.
    pub edits: Vec<Edit>,
    /// Replaces the status, 200 to 599.
    pub set_status: Option<u16>,
}

/// The rules of one frontend or backend. A shard works from a clone of its own: the patterns in
/// conditions and templates have working memory that only one thread reaches without contention.
#[derive(Clone, Debug)]
pub struct Rules<R> {
    /// When each applies.
    pub conditions: RuleSet,
    /// What each does; as many.
    pub rules: Box<[R]>,
}

impl<R> Rules<R> {
    /// Rules from what each does and when.
    #[must_use]
    pub fn new(rules: Vec<(Option<Condition>, R)>) -> Self {
        let (conditions, rules): (Vec<_>, Vec<_>) = rules.into_iter().unzip();
        Self { conditions: RuleSet::new(conditions), rules: rules.into() }
    }

    /// Whether there are none, so that nothing has to be run.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}

impl<R> Default for Rules<R> {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl Rules<RequestRule> {
    /// The name of a rule, for the log.
    #[must_use]
    pub fn name(&self, rule: usize) -> Option<&Arc<str>> {
        self.rules.get(rule).map(|rule| &rule.name)
    }

    /// The answer that a rule ends with.
    #[must_use]
    pub fn respond(&self, rule: usize) -> Option<&Respond> {
        match &self.rules.get(rule)?.ending {
            Some(Ending::Respond(respond)) => Some(respond),
            _ => None,
        }
    }

    /// The credentials that a rule asks for.
    #[must_use]
    pub fn authenticate(&self, rule: usize) -> Option<&Authenticate> {
        self.rules.get(rule)?.authenticate.as_ref()
    }
}

/// `error_pages`: what is answered instead of our own short texts, by status.
#[derive(Clone, Debug, Default)]
pub struct ErrorPages {
    /// The pages.
    pub pages: HashMap<u16, ErrorPage>,
}

/// One page, read at load.
#[derive(Clone, Debug)]
pub struct ErrorPage {
    /// `Content-Type`.
    pub content_type: Box<[u8]>,
    /// The whole body.
    pub body: Arc<[u8]>,
}
