//! What the tests of this package share: requests of their own, a world, and rules from text.
//!
//! Owns no test. Each test file uses a part of it.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::cell::RefCell;
use std::time::Duration;

use tidegate_passwords::VerifiedCache;
use tidegate_routing::{
    Edit, Ending, HeaderName, HeaderSource, Outcome, RequestOverlay, RequestRule, RequestView,
    ResponseRule, Rules, Tls, Verdict, Workspace, World, run_request,
};
use tidegate_rules::{
    Condition, Conditions, Environment, Key, LimitIndex, ListIndex, MapIndex, Names, Phase,
    Template, ValueList, ValueMap,
};

/// Header fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(pub Vec<(Vec<u8>, Vec<u8>)>);

impl Fields {
    pub fn of(fields: &[(&str, &str)]) -> Self {
        let owned = fields
            .iter()
            .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
        Self(owned.collect())
    }
}

impl HeaderSource for Fields {
    fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.iter().map(|(name, value)| (name.as_slice(), value.as_slice()))
    }
}

/// The world around requests.
pub struct Around {
    pub list: ValueList,
    pub map: ValueMap,
    pub verified: RefCell<VerifiedCache>,
    pub now: Duration,
}

impl Default for Around {
    fn default() -> Self {
        Self {
            list: ValueList::new(["192.0.2.0/24", "blocked"]).expect("a list"),
            map: ValueMap::from_text("a.example alpha\nb.example beta\n").expect("a map"),
            verified: RefCell::new(VerifiedCache::new([7; 32], 64, Duration::from_secs(60))),
            now: Duration::from_secs(1),
        }
    }
}

impl World for Around {
    fn in_list(&self, _list: ListIndex, key: Key<'_>) -> bool {
        self.list.contains(key)
    }

    fn rate(&self, _limit: LimitIndex, _key: Key<'_>) -> f64 {
        0.5
    }

    fn lookup(&self, _map: MapIndex, key: &[u8]) -> Option<&[u8]> {
        self.map.get(key)
    }

    fn servers_up(&self) -> i64 {
        3
    }

    fn with_verified<T>(&self, ask: impl FnOnce(&VerifiedCache, Duration) -> T) -> T {
        ask(&self.verified.borrow(), self.now)
    }
}

/// A request that owns its parts.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: Vec<u8>,
    pub path: Vec<u8>,
    pub query: Option<Vec<u8>>,
    pub uri: Vec<u8>,
    pub authority: Vec<u8>,
    pub fields: Fields,
    pub peer: &'static str,
    pub tls: Option<Tls<'static>>,
}

impl Request {
    /// A GET of the target from `a.example`, by 192.0.2.7, with these fields behind its Host.
    pub fn get(target: &str, fields: &[(&str, &str)]) -> Self {
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query.as_bytes().to_vec())),
            None => (target, None),
        };
        Self {
            method: b"GET".to_vec(),
            path: path.as_bytes().to_vec(),
            query,
            uri: target.as_bytes().to_vec(),
            authority: b"a.example".to_vec(),
            fields: Fields::of(&[&[("Host", "a.example")], fields].concat()),
            peer: "192.0.2.7:4321",
            tls: None,
        }
    }

    pub fn view<'a>(&'a self, world: &'a Around) -> RequestView<'a, Fields, Around> {
        RequestView {
            headers: &self.fields,
            world,
            method: &self.method,
            uri: &self.uri,
            path: &self.path,
            query: self.query.as_deref(),
            authority: &self.authority,
            scheme: if self.tls.is_some() { b"https" } else { b"http" },
            protocol: b"HTTP/1.1",
            body_bytes: Some(12),
            peer: Some(self.peer.parse().expect("an address")),
            local: Some("192.0.2.1:8080".parse().expect("an address")),
            id: b"id-1",
            unix_ms: 1_712_345_678_123,
            tls: self.tls,
        }
    }
}

/// Compiles texts.
#[derive(Default)]
pub struct Compiler {
    pub names: Names,
    pub conditions: Conditions,
}

impl Compiler {
    pub fn with_conditions(entries: &[(&str, &str)]) -> Self {
        let mut names = Names::default();
        let (conditions, problems) = Conditions::compile(&mut names, entries.iter().copied());
        assert_eq!(problems, []);
        Self { names, conditions }
    }

    fn environment(&mut self, phase: Phase) -> Environment<'_> {
        self.names.declare_list("list");
        self.names.declare_limit("limit");
        Environment { names: &mut self.names, conditions: &self.conditions, phase }
    }

    pub fn template(&mut self, text: &str) -> Template {
        Template::compile(text, &mut self.environment(Phase::Request)).expect("a template")
    }

    pub fn response_template(&mut self, text: &str) -> Template {
        Template::compile(text, &mut self.environment(Phase::Response)).expect("a template")
    }

    pub fn condition(&mut self, text: &str) -> Option<Condition> {
        let mut environment = self.environment(Phase::Request);
        (!text.is_empty()).then(|| Condition::compile(text, &mut environment).expect("a condition"))
    }

    pub fn response_condition(&mut self, text: &str) -> Option<Condition> {
        let mut environment = self.environment(Phase::Response);
        (!text.is_empty()).then(|| Condition::compile(text, &mut environment).expect("a condition"))
    }

    pub fn set_header(&mut self, name: &str, value: &str) -> Edit {
        Edit::SetHeader(header(name), self.template(value))
    }

    pub fn add_header(&mut self, name: &str, value: &str) -> Edit {
        Edit::AddHeader(header(name), self.template(value))
    }
}

pub fn header(name: &str) -> HeaderName {
    HeaderName::new(name.as_bytes()).expect("a name")
}

pub fn rule(edits: Vec<Edit>, ending: Option<Ending>) -> RequestRule {
    RequestRule { name: "rule".into(), edits, authenticate: None, ending }
}

pub fn response_rule(edits: Vec<Edit>, set_status: Option<u16>) -> ResponseRule {
    ResponseRule { name: "rule".into(), edits, set_status }
}

/// One rule without a condition.
pub fn always(edits: Vec<Edit>, ending: Option<Ending>) -> Rules<RequestRule> {
    Rules::new(vec![(None, rule(edits, ending))])
}

/// Runs the rules over the request; nothing is random.
pub fn run(
    rules: &Rules<RequestRule>,
    request: &Request,
    world: &Around,
    overlay: &mut RequestOverlay,
) -> Verdict {
    let mut random = || panic!("nothing is random here");
    run_request(rules, &request.view(world), overlay, &mut Workspace::default(), &mut random)
}

/// The same, for the verdict alone.
pub fn outcome(rules: &Rules<RequestRule>, request: &Request) -> Outcome {
    run(rules, request, &Around::default(), &mut RequestOverlay::default()).outcome
}

/// Names and values as text.
pub fn shown<'a>(fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
    fields.map(|(name, value)| (text(name), text(value))).collect()
}
