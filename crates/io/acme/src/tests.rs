//! Orders with an authority whose answers the test writes.
//!
//! Owns what a well-behaved authority does not do; orders that succeed are the end-to-end tests', with a real one.

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::{Request, Response};
use rcgen::{CertificateParams, KeyPair};
use tidegate_tls::{Automatic, ChallengeKind, Challenges};

use crate::transport::Exchange;
use crate::worker::Worker;
use crate::{Event, Reason, Step, prepare, storage};

const DIRECTORY: &str = "https://ca.example/dir";

const PATIENCE: Duration = Duration::from_secs(20);

/// An answer: status, a header, the body.
type Answer = (u16, (&'static str, String), String);

/// An authority.
#[derive(Default)]
struct Fake {
    /// Answers by path; the last of each is repeated.
    answers: Mutex<HashMap<&'static str, VecDeque<Answer>>>,
    /// Paths that were asked for, with what was sent there.
    asked: Mutex<Vec<(String, String)>>,
}

impl Fake {
    fn new() -> Arc<Self> {
        let fake = Arc::new(Self::default());
        let url = |path: &str| format!("https://ca.example/{path}");
        let directory = format!(
            "{{ \"newNonce\": \"{}\", \"newAccount\": \"{}\", \"newOrder\": \"{}\", \"renewalInfo\": \"{}\" }}",
            url("nonce"),
            url("account"),
            url("order"),
            url("renewal"),
        );
        fake.answers("/dir", [(200, none(), directory)]);
        fake.answers("/nonce", [(200, none(), String::new())]);
        fake.answers("/account", [(201, ("location", url("account/1")), "{}".to_owned())]);
        fake.answers("/order", [(201, ("location", url("order/1")), order("pending", ""))]);
        fake.answers("/authorization", [(200, none(), authorization("pending", "http-01", ""))]);
        let challenge = r#"{ "type": "http-01", "url": "https://ca.example/challenge", "token": "token", "status": "pending" }"#;
        fake.answers("/challenge", [(200, none(), challenge.to_owned())]);
        fake
    }

    fn answers(&self, path: &'static str, answers: impl IntoIterator<Item = Answer>) {
        self.lock().insert(path, answers.into_iter().collect());
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<&'static str, VecDeque<Answer>>> {
        self.answers.lock().expect("no test panics with it")
    }

    /// What was sent to this path.
    fn asked(&self, path: &str) -> Vec<String> {
        let asked = self.asked.lock().expect("no test panics with it");
        asked.iter().filter(|(one, _)| one == path).map(|(_, payload)| payload.clone()).collect()
    }
}

impl Exchange for Fake {
    fn exchange(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, String> {
        let path = request.uri().path();
        let body: serde_json::Value = serde_json::from_slice(request.body()).unwrap_or_default();
        let payload = body.get("payload").and_then(serde_json::Value::as_str).unwrap_or_default();
        let payload = BASE64_URL_SAFE_NO_PAD.decode(payload).expect("base64url");
        let payload = String::from_utf8(payload).expect("text");
        self.asked.lock().expect("no test panics with it").push((path.to_owned(), payload));
        let mut answers = self.lock();
        let path = if path.starts_with("/renewal/") { "/renewal" } else { path };
        let queue = answers.get_mut(path).ok_or_else(|| format!("no route to {path}"))?;
        let answer = if queue.len() > 1 { queue.pop_front() } else { queue.front().cloned() };
        let (status, (name, value), body) = answer.expect("a path has an answer");
        let mut response = Response::builder().status(status).header("replay-nonce", "nonce");
        if !name.is_empty() {
            response = response.header(name, value);
        }
        Ok(response.body(body.into_bytes()).expect("a response"))
    }
}

fn none() -> (&'static str, String) {
    ("", String::new())
}

fn problem(kind: &str, detail: &str) -> String {
    format!(r#"{{ "type": "urn:ietf:params:acme:error:{kind}", "detail": "{detail}" }}"#)
}

fn order(status: &str, more: &str) -> String {
    format!(
        r#"{{ "status": "{status}", "authorizations": ["https://ca.example/authorization"],
              "finalize": "https://ca.example/finalize"{more} }}"#
    )
}

fn authorization(status: &str, kind: &str, error: &str) -> String {
    format!(
        r#"{{ "status": "{status}", "identifier": {{ "type": "dns", "value": "a.example" }},
              "challenges": [{{ "type": "{kind}", "url": "https://ca.example/challenge",
                                "token": "token", "status": "{status}"{error} }}] }}"#
    )
}

/// A worker with an authority and a storage of its own.
struct World {
    worker: Option<Worker>,
    events: Receiver<Event>,
    fake: Arc<Fake>,
    settings: Automatic,
    challenges: Arc<Challenges>,
}

impl World {
    fn new(test: &str, fake: Arc<Fake>) -> Self {
        let name = format!("tidegate-acme-{test}-{}", std::process::id());
        let settings = Automatic {
            domains: vec!["a.example".to_owned()],
            email: None,
            directory: DIRECTORY.to_owned(),
            directory_ca: Vec::new(),
            challenge: ChallengeKind::Http01,
            storage: std::env::temp_dir().join(name),
            external_account: None,
            retry_delay: Duration::from_secs(3600),
        };
        let (sender, events) = channel();
        let (own, challenges) = (fake.clone(), Arc::<Challenges>::default());
        let worker = Worker::with(
            challenges.clone(),
            Box::new(move |event| drop(sender.send(event))),
            Box::new(move |_| Ok(own.clone())),
        );
        let worker = Some(worker.expect("a thread"));
        Self { worker, events, fake, settings, challenges }
    }

    fn start(&self) {
        let worker = self.worker.as_ref().expect("it runs");
        worker.follow(vec![Arc::new(self.settings.clone())]);
    }

    #[track_caller]
    fn wait(&self, wanted: impl Fn(&Event) -> bool) -> Event {
        loop {
            let event = self.events.recv_timeout(PATIENCE).expect("an event");
            if wanted(&event) {
                return event;
            }
        }
    }

    /// The next failure: its step, the problem's type, the detail, and in how many seconds it is tried again.
    #[track_caller]
    fn failure(&self) -> (Step, String, String, u64) {
        match self.wait(|event| matches!(event, Event::Failed { .. })) {
            Event::Failed { failure, next, .. } => {
                let pause = next.duration_since(SystemTime::now()).unwrap_or_default();
                (failure.step, failure.problem, failure.detail, pause.as_secs())
            }
            other => panic!("{other:?}"),
        }
    }

    /// Keeps a certificate for these names that is valid for so many days.
    fn keep(&self, names: &[&str], days: (i64, i64)) -> Vec<u8> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        let day = |days: i64| {
            let seconds = Duration::from_secs(days.unsigned_abs() * 86_400);
            let now = SystemTime::now();
            if days < 0 { now - seconds } else { now + seconds }
        };
        (params.not_before, params.not_after) = (day(days.0).into(), day(days.1).into());
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().expect("a key");
        let chain = params.self_signed(&key).expect("complete").pem();
        let both = format!("{}{chain}", key.serialize_pem()).into_bytes();
        prepare(&self.settings).expect("a storage");
        storage::replace(&self.settings.certificate_file(), &both).expect("written");
        both
    }
}

impl Drop for World {
    fn drop(&mut self) {
        drop(self.worker.take());
        drop(fs::remove_dir_all(&self.settings.storage));
    }
}

#[test]
fn limits_of_an_authority_are_respected() {
    let fake = Fake::new();
    let limited = problem("rateLimited", "too many certificates");
    fake.answers("/order", [(429, ("retry-after", "86400".to_owned()), limited)]);
    let world = World::new("limits", fake);
    world.start();
    let (step, kind, detail, pause) = world.failure();
    assert_eq!((step, detail.as_str()), (Step::Order, "too many certificates"));
    assert_eq!(kind, "urn:ietf:params:acme:error:rateLimited");
    assert!((86_390..=86_400).contains(&pause), "{pause}");
    let figures = world.worker.as_ref().expect("it runs").figures();
    assert_eq!((figures.orders, figures.failures), (1, 1));
    // The same settings change nothing about it.
    world.start();
    assert!(world.events.recv_timeout(Duration::from_millis(300)).is_err());
    assert_eq!(world.fake.asked("/order").len(), 1);
}

#[test]
fn a_fault_of_the_program_is_a_failure_like_others() {
    let fake = Fake::new();
    // A path without any answer makes the authority of the test panic.
    fake.answers("/dir", []);
    let world = World::new("fault", fake);
    world.start();
    let (step, _, detail, pause) = world.failure();
    assert_eq!(step, Step::Order);
    assert!(detail.contains("fault of this program") && pause > 3_000, "{detail} {pause}");
}

#[test]
fn answers_that_are_none_are_told_as_what_they_are() {
    let answered = |path: &'static str, answer: Answer| {
        let fake = Fake::new();
        fake.answers(path, [answer]);
        let world = World::new(&format!("answers{}", path.replace('/', "-")), fake);
        world.start();
        let (step, _, detail, _) = world.failure();
        (step, detail)
    };
    let (step, detail) = answered("/dir", (503, none(), "<html>".to_owned()));
    assert_eq!(step, Step::Account);
    assert_eq!(detail, "https://ca.example/dir answered 503 Service Unavailable");
    let (_, detail) =
        answered("/nonce", (301, ("location", "https://b.example/".to_owned()), String::new()));
    assert!(detail.contains("redirects to https://b.example/"), "{detail}");
    let (step, detail) = answered("/order", (200, none(), "[]".to_owned()));
    assert_eq!(step, Step::Order);
    assert!(detail.contains("JSON"), "{detail}");
    let other = authorization("pending", "dns-01", "");
    let (step, detail) = answered("/authorization", (200, none(), other));
    assert_eq!(step, Step::Challenge);
    assert_eq!(detail, "a.example: the authority does not offer http-01");
    let many = vec!["\"https://ca.example/authorization\""; 101].join(",");
    let many = format!(
        r#"{{ "status": "pending", "authorizations": [{many}], "finalize": "https://ca.example/f" }}"#
    );
    let location = ("location", "https://ca.example/order/1".to_owned());
    let (_, detail) = answered("/order", (201, location, many));
    assert_eq!(detail, "the authority asks for more than there are");
}

#[test]
fn a_domain_that_is_not_believed_is_named_and_nothing_is_answered_any_more() {
    let fake = Fake::new();
    let error = format!(", \"error\": {}", problem("dns", "no such name"));
    fake.answers(
        "/authorization",
        [
            (200, none(), authorization("pending", "http-01", "")),
            (200, none(), authorization("invalid", "http-01", &error)),
        ],
    );
    fake.answers("/order/1", [(200, none(), order("invalid", ""))]);
    let world = World::new("invalid", fake);
    world.start();
    let (step, kind, detail, _) = world.failure();
    assert_eq!((step, detail.as_str()), (Step::Challenge, "a.example: no such name"));
    assert_eq!(kind, "urn:ietf:params:acme:error:dns");
    assert!(world.challenges.text(b"/.well-known/acme-challenge/token").is_none());
    assert_eq!(world.fake.asked("/challenge"), ["{}"]);
}

#[test]
fn a_certificate_with_another_key_replaces_nothing() {
    let fake = Fake::new();
    let world = World::new("foreign", fake);
    let before = world.keep(&["a.example"], (-80, 10));
    let chain = world.keep(&["a.example"], (0, 90));
    let chain = String::from_utf8(chain).expect("text");
    let chain = chain[chain.find("-----BEGIN CERT").expect("a chain")..].to_owned();
    storage::replace(&world.settings.certificate_file(), &before).expect("written");
    let certificate = ", \"certificate\": \"https://ca.example/certificate\"";
    world.fake.answers(
        "/order/1",
        [(200, none(), order("ready", "")), (200, none(), order("valid", certificate))],
    );
    world.fake.answers("/finalize", [(200, none(), order("processing", ""))]);
    world.fake.answers("/certificate", [(200, none(), chain)]);
    world.start();
    let (step, _, detail, _) = world.failure();
    assert_eq!(step, Step::Certificate);
    assert!(detail.contains("does not belong to the certificate"), "{detail}");
    assert_eq!(fs::read(world.settings.certificate_file()).expect("kept"), before);
}

#[test]
fn a_good_certificate_is_left_alone_and_an_unusable_one_is_told() {
    let world = World::new("good", Fake::new());
    world.keep(&["a.example", "b.example"], (-1, 89));
    world.start();
    let worker = world.worker.as_ref().expect("it runs");
    let deadline = SystemTime::now() + PATIENCE;
    while worker.figures().next.is_empty() {
        assert!(SystemTime::now() < deadline, "it has not looked");
        std::thread::yield_now();
    }
    let (name, at) = worker.figures().next.remove(0);
    let days = at.duration_since(SystemTime::now()).expect("later").as_secs() / 86_400;
    assert!(name == "a.example" && (50..60).contains(&days), "{name} {days}");
    assert!(world.fake.asked("/dir").is_empty(), "nobody is asked");

    let other = World::new("unusable", Fake::new());
    prepare(&other.settings).expect("a storage");
    storage::replace(&other.settings.certificate_file(), b"cut off").expect("written");
    other.fake.answers("/order", [(403, none(), problem("unauthorized", "no"))]);
    other.start();
    let unusable = other.wait(|event| matches!(event, Event::Unusable { .. }));
    assert!(matches!(unusable, Event::Unusable { reason, .. } if reason.contains("not PEM")));
    other.failure();
}

#[test]
fn what_is_to_be_replaced_is_named_where_the_authority_cares() {
    let world = World::new("replaces", Fake::new());
    world.keep(&["a.example"], (-80, 10));
    world.fake.answers("/order", [(403, none(), problem("unauthorized", "no"))]);
    world.start();
    let ordering = world.wait(|event| matches!(event, Event::Ordering { .. }));
    assert!(matches!(ordering, Event::Ordering { reason: Reason::Renewal, .. }));
    let failed = world.wait(|event| matches!(event, Event::Failed { .. }));
    let Event::Failed { until, .. } = failed else { panic!("{failed:?}") };
    assert!(until.is_some_and(|until| until > SystemTime::now()), "the old is in use");
    let sent = world.fake.asked("/order").remove(0);
    let sent: serde_json::Value = serde_json::from_str(&sent).expect("JSON");
    let replaced = sent["replaces"].as_str().expect("it is named");
    assert_eq!(replaced.split('.').count(), 2, "{replaced}");
}

#[test]
fn the_key_of_an_unreadable_account_is_not_quoted() {
    let world = World::new("account", Fake::new());
    prepare(&world.settings).expect("a storage");
    storage::replace(&world.settings.account_file(), b"{\"secret\": \"s3cr3t\"").expect("written");
    world.start();
    let (step, _, detail, _) = world.failure();
    assert_eq!(step, Step::Storage);
    assert!(detail.contains("account.json") && !detail.contains("s3cr3t"), "{detail}");
    assert!(world.fake.asked("/account").is_empty(), "no second account is made");
}
