//! A run over a head with edits on top does what carrying out each edit on a copy of the head does.

mod support;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use regex::bytes::Regex;
use support::{Around, Compiler, Fields, Request, header, rule};
use tidegate_routing::{
    Edit, Ending, HeaderSource, Outcome, RequestFacts, RequestOverlay, RewritePath, Rules,
    Workspace, run_request,
};
use tidegate_rules::{Condition, Facts, Keyed, Scratch, Template, Text};

const NAMES: [&str; 4] = ["X-A", "x-a", "X-B", "Cookie"];

const VALUES: [&str; 9] = [
    "",
    "a=1",
    "a=2; b=3",
    "{request.headers[\"x-a\"]}+",
    "{request.path}",
    "{request.query}",
    "{request.args[\"a\"]}",
    "{request.cookies[\"a\"]}",
    "{request.host}:1",
];

const PATHS: [&str; 5] =
    ["/a", "b c", "/%61/../{request.args[\"a\"]}", "{request.uri}", "{request.path}/x"];

const NEVER_IN_A_PATH: &[u8] = b"?#\"<>\\^`{|}";

const CONDITIONS: [&str; 10] = [
    "",
    r#"request.headers["x-a"] == "a=1""#,
    r#""x-b" in request.headers"#,
    r#"request.cookies["a"] == "1" || request.cookies["a"] == "2""#,
    r#"request.args["a"] != """#,
    r#"request.path.startsWith("/a")"#,
    r#"request.path.startsWith("/b") || request.path.endsWith("x")"#,
    r#"request.host == "b.example""#,
    r#"request.method == "PUT""#,
    r#"request.uri.contains("%20")"#,
];

const REWRITES: [(&str, &str); 3] = [("^/a", "/b"), ("([a-z]+)$", "$1/$1?"), ("/[^/]*", "")];

/// An edit as text.
#[derive(Clone, Debug)]
enum Change {
    Set(&'static str, &'static str),
    Add(&'static str, &'static str),
    Remove(&'static str),
    Method,
    Path(&'static str),
    Rewrite(&'static str, &'static str),
    Query(&'static str),
    Host(&'static str),
}

fn change() -> impl Strategy<Value = Change> {
    let (name, value) = (|| select(&NAMES[..]), || select(&VALUES[..]));
    prop_oneof![
        2 => (name(), value()).prop_map(|(name, value)| Change::Set(name, value)),
        2 => (name(), value()).prop_map(|(name, value)| Change::Add(name, value)),
        1 => name().prop_map(Change::Remove),
        1 => Just(Change::Method),
        1 => select(&PATHS[..]).prop_map(Change::Path),
        1 => select(&REWRITES[..]).prop_map(|(pattern, with)| Change::Rewrite(pattern, with)),
        1 => value().prop_map(Change::Query),
        1 => select(vec!["b.example", "B.Example:8", "", "bad host"]).prop_map(Change::Host),
    ]
}

fn request() -> impl Strategy<Value = Request> {
    let target = vec(select(vec!["/", "a", "b", "%20", "%61", "..", "."]), 0..5);
    let query = vec(select(vec!["a", "b", "=", "&", "%20", "+", "%", "1"]), 0..6);
    let fields = vec((select(&NAMES[..]), select(&["", "a=1", "b=2; a=1", "x"][..])), 0..5);
    (target, proptest::option::of(query), fields).prop_map(|(target, query, fields)| {
        let query = query.map(|query| format!("?{}", query.concat())).unwrap_or_default();
        Request::get(&format!("/{}{query}", target.concat()), &fields)
    })
}

/// The copy of the head.
struct Model {
    request: Request,
    dropped: u32,
}

/// Asks about a head on which nothing lies.
fn with_fresh<T>(request: &Request, ask: impl FnOnce(&RequestFacts<'_, Fields, Around>) -> T) -> T {
    let (world, overlay) = (Around::default(), RequestOverlay::default());
    ask(&RequestFacts { view: &request.view(&world), overlay: &overlay })
}

impl Model {
    fn write(&self, template: &Template) -> Vec<u8> {
        let mut out = Vec::new();
        with_fresh(&self.request, |facts| template.write(facts, &mut Scratch::default(), &mut out));
        out
    }

    fn holds(&self, condition: Option<&Condition>) -> bool {
        condition.is_none_or(|condition| {
            with_fresh(&self.request, |facts| condition.matches(facts, &mut Scratch::default()))
        })
    }

    fn remove(&mut self, name: &str) {
        self.request.fields.0.retain(|(known, _)| !known.eq_ignore_ascii_case(name.as_bytes()));
    }

    fn add(&mut self, name: &str, value: &[u8], is_set: bool) {
        if value.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
            self.dropped += 1;
            return;
        }
        if is_set {
            self.remove(name);
        }
        let value = value.trim_ascii().to_vec();
        self.request.fields.0.push((name.as_bytes().to_vec(), value));
    }

    fn set_target(&mut self, path: Option<&[u8]>, query: Option<&[u8]>) {
        if let Some(path) = path {
            let slash: &[u8] = if path.starts_with(b"/") { b"" } else { b"/" };
            self.request.path = [slash, &escaped(path, b"")].concat();
        }
        if let Some(query) = query {
            self.request.query = (!query.is_empty()).then(|| escaped(query, b"?"));
        }
        self.request.uri = self.request.path.clone();
        if let Some(query) = &self.request.query {
            self.request.uri = [&self.request.uri, &b"?"[..], query].concat();
        }
    }

    fn set_host(&mut self, host: &[u8]) {
        if host.is_empty() || host.contains(&b' ') {
            self.dropped += 1;
            return;
        }
        self.request.authority = host.to_vec();
        self.request.fields.0[0].1 = host.to_vec();
    }

    fn apply(&mut self, change: &Change, of: &mut Compiler) {
        match change {
            Change::Set(name, value) => self.add(name, &self.write(&of.template(value)), true),
            Change::Add(name, value) => self.add(name, &self.write(&of.template(value)), false),
            Change::Remove(name) => self.remove(name),
            Change::Method => self.request.method = b"PUT".to_vec(),
            Change::Path(path) => self.set_target(Some(&self.write(&of.template(path))), None),
            Change::Rewrite(pattern, with) => {
                let path = with_fresh(&self.request, |facts| facts.text(Text::Path).to_vec());
                let pattern = Regex::new(&format!("(?-u){pattern}")).expect("a pattern");
                if pattern.is_match(&path) {
                    let path = pattern.replace(&path, with.as_bytes()).into_owned();
                    self.set_target(Some(&path), None);
                }
            }
            Change::Query(query) => self.set_target(None, Some(&self.write(&of.template(query)))),
            Change::Host(host) => self.set_host(host.as_bytes()),
        }
    }
}

/// What stands in a target for these bytes, by a table instead of a test.
fn escaped(bytes: &[u8], more: &[u8]) -> Vec<u8> {
    let letters =
        b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~!$&'()*+,;=:@/[]";
    let mut out = Vec::new();
    for (place, byte) in bytes.iter().enumerate() {
        let next = |behind: usize| bytes.get(place + behind).is_some_and(u8::is_ascii_hexdigit);
        let is_escape = *byte == b'%' && next(1) && next(2);
        if letters.contains(byte) || more.contains(byte) || is_escape {
            out.push(*byte);
        } else {
            out.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
    }
    out
}

fn edit(change: &Change, of: &mut Compiler) -> Edit {
    match change {
        Change::Set(name, value) => of.set_header(name, value),
        Change::Add(name, value) => of.add_header(name, value),
        Change::Remove(name) => Edit::RemoveHeader(header(name)),
        Change::Method => Edit::SetMethod(b"PUT"[..].into()),
        Change::Path(path) => Edit::SetPath(of.template(path)),
        Change::Rewrite(pattern, with) => {
            Edit::RewritePath(RewritePath::new(pattern, with).expect("right"))
        }
        Change::Query(query) => Edit::SetQuery(of.template(query)),
        Change::Host(host) => Edit::SetHost(of.template(host)),
    }
}

/// Everything that can be asked of a request.
fn answers(facts: &impl Facts) -> Vec<String> {
    let mut answers = Vec::new();
    for text in [Text::Method, Text::Host, Text::Path, Text::Query, Text::Uri, Text::Scheme] {
        answers.push(format!("{text:?} {}", facts.text(text).escape_ascii()));
    }
    let names = ["x-a", "x-b", "cookie", "host", "none", "a", "b", "1", " "];
    for keyed in [Keyed::RequestHeaders, Keyed::Cookies, Keyed::Arguments] {
        for name in names {
            let value = facts.keyed(keyed, name.as_bytes());
            answers.push(format!("{keyed:?} {name} {:?}", value.map(<[u8]>::escape_ascii)));
        }
    }
    facts.visit_request_headers(|name, value| {
        answers.push(format!("{}: {}", name.escape_ascii(), value.escape_ascii()));
    });
    answers
}

/// The head that is written to a server, from what was received and what lies over it.
fn encoded(request: &Request, overlay: &RequestOverlay) -> Request {
    let mut edited = request.clone();
    if let Some(method) = overlay.method() {
        edited.method = method.to_vec();
    }
    if let Some(target) = overlay.path_and_query(&request.path, request.query.as_deref()) {
        edited.path = target.path.to_vec();
        edited.query = target.query.map(<[u8]>::to_vec);
        edited.uri = match target.query {
            Some(query) => [target.path, b"?", query].concat(),
            None => target.path.to_vec(),
        };
    }
    let mut fields: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for (name, value) in request.fields.fields().filter(|(name, _)| !overlay.removes(name)) {
        fields.push((name.to_vec(), value.to_vec()));
    }
    fields.extend(overlay.added().map(|(name, value)| (name.to_vec(), value.to_vec())));
    if let Some(host) = overlay.host() {
        edited.authority = host.to_vec();
        fields[0].1 = host.to_vec();
    }
    edited.fields = Fields(fields);
    edited
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn edits_over_a_head_equal_edits_on_a_copy(
        received in request(),
        list in vec((select(&CONDITIONS[..]), vec(change(), 0..3), prop::bool::weighted(0.1)), 0..14),
    ) {
        let mut of = Compiler::default();
        let mut rules = Vec::new();
        let mut model = Model { request: received.clone(), dropped: 0 };
        let mut expected = None;
        for (place, (condition, changes, ends)) in list.iter().enumerate() {
            let condition = of.condition(condition);
            if expected.is_none() && model.holds(condition.as_ref()) {
                changes.iter().for_each(|change| model.apply(change, &mut of));
                expected = ends.then_some(place);
            }
            let edits = changes.iter().map(|change| edit(change, &mut of)).collect();
            let ending = ends.then(|| Ending::Close);
            rules.push((condition, rule(edits, ending)));
        }
        let (rules, world, mut overlay) = (Rules::new(rules), Around::default(), RequestOverlay::default());
        let view = received.view(&world);
        let mut random = || panic!("nothing is random here");
        let verdict =
            run_request(&rules, &view, &mut overlay, &mut Workspace::default(), &mut random);
        prop_assert_eq!(verdict.rule, expected);
        prop_assert_eq!(matches!(verdict.outcome, Outcome::Close), expected.is_some());
        prop_assert_eq!(overlay.edits_dropped(), model.dropped);
        let seen = answers(&RequestFacts { view: &view, overlay: &overlay });
        prop_assert_eq!(seen, with_fresh(&model.request, |facts| answers(facts)));
        let written = encoded(&received, &overlay);
        prop_assert_eq!(&written.fields, &model.request.fields);
        prop_assert_eq!((&written.method, &written.path, &written.query), (&model.request.method, &model.request.path, &model.request.query));
        prop_assert_eq!(&written.authority, &model.request.authority);
    }

    #[test]
    fn any_bytes_become_a_valid_target(bytes in vec(any::<u8>(), 0..40)) {
        let mut of = Compiler::default();
        let value: Vec<u8> = bytes.iter().flat_map(|byte| format!("%{byte:02x}").into_bytes()).collect();
        let target = format!("/?a={}", String::from_utf8(value).expect("escapes"));
        let argument = of.template("{request.args[\"a\"]}");
        let edits = [
            Edit::SetPath(argument.clone()),
            Edit::SetQuery(argument.clone()),
            Edit::SetHost(argument.clone()),
            Edit::SetHeader(header("X-A"), argument),
        ];
        let mut overlay = RequestOverlay::default();
        let request = Request::get(&target, &[]);
        support::run(&support::always(edits[..1].to_vec(), None), &request, &Around::default(), &mut overlay);
        let path = overlay.path_and_query(b"/", None).expect("a path").path.to_vec();
        prop_assert!(path.starts_with(b"/"));
        prop_assert!(path.iter().all(|byte| !NEVER_IN_A_PATH.contains(byte) && byte.is_ascii_graphic()));
        for edit in &edits[1..] {
            overlay.clear();
            support::run(&support::always(vec![edit.clone()], None), &request, &Around::default(), &mut overlay);
            let query = overlay.path_and_query(b"/", None).and_then(|target| target.query);
            prop_assert!(query.unwrap_or_default().iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#'));
            prop_assert!(overlay.host().unwrap_or_default().iter().all(u8::is_ascii_graphic));
            let mut added = overlay.added();
            prop_assert!(added.all(|(_, value)| value.iter().all(|byte| !byte.is_ascii_control() || *byte == b'\t')));
        }
    }
}
