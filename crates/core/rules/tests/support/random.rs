//! Random expressions and requests over few words, so that they often meet.

#![allow(dead_code, reason = "each test uses a part")]

use super::Request;
use tidegate_rules::{ValueList, ValueMap};
use tidegate_testkit::Rng;

/// What the strings of requests and expressions are made of.
const WORDS: [&str; 14] = [
    "",
    "/",
    "/a",
    "/a/b",
    "/ab",
    "a",
    "b",
    "ab",
    "A",
    "aB",
    "/a/b/c.jpg",
    ".jpg",
    "x y",
    "10.0.0.1",
];
const PATTERNS: [&str; 8] = ["^/a", "b$", "^(/|a)+$", "[ab]{2}", "a.b", "^$", r"\d+\.\d", "(?i)ab"];
const NETWORKS: [&str; 7] = [
    "10.0.0.0/8",
    "10.0.0.0/24",
    "10.0.0.1/32",
    "10.0.1.0/24",
    "192.0.2.0/24",
    "2001:db8::/32",
    "0.0.0.0/0",
];
const ADDRESSES: [&str; 6] =
    ["10.0.0.1", "10.0.1.7", "10.9.9.9", "192.0.2.1", "198.51.100.1", "2001:db8::1"];

/// Names under which every request has a value in CEL's eyes, be it the empty one.
pub const KEYS: [&str; 3] = ["x-a", "x-b", "x-c"];
/// Names that are there or not.
pub const PRESENT: [&str; 2] = ["p-1", "p-2"];

/// How expressions are made.
pub struct Maker<'a> {
    pub rng: &'a mut Rng,
    /// The strings that the macros around stand for.
    pub bound: Vec<String>,
    /// Attributes that CEL does not compare as we do may be used.
    pub with_host: bool,
}

fn quoted(text: &str) -> String {
    format!("{text:?}")
}

impl Maker<'_> {
    fn word(&mut self) -> String {
        quoted(self.rng.choose::<&str>(&WORDS))
    }

    fn attribute(&mut self) -> String {
        let key = *self.rng.choose(&KEYS);
        match self.rng.below(if self.with_host { 9 } else { 7 }) {
            0 => "request.method".to_owned(),
            1 | 2 => "request.path".to_owned(),
            3 => "request.query".to_owned(),
            4 => format!("request.headers[{key:?}]"),
            5 => format!("request.cookies[{key:?}]"),
            6 => "vars.tier".to_owned(),
            7 => "request.host".to_owned(),
            _ => format!("request.headers[{:?}]", format!("x-{}", self.rng.below(9))),
        }
    }

    pub fn text(&mut self, depth: usize) -> String {
        if let Some(bound) = self.bound.last()
            && self.rng.below(3) == 0
        {
            return bound.clone();
        }
        if depth == 0 {
            return if self.rng.below(3) == 0 { self.word() } else { self.attribute() };
        }
        match self.rng.below(12) {
            0 => self.word(),
            1 => format!("{}.lowerAscii()", self.text(depth - 1)),
            2 => format!("{}.upperAscii()", self.text(depth - 1)),
            3 => format!("({} + {})", self.text(depth - 1), self.text(depth - 1)),
            4 => format!(
                "({} ? {} : {})",
                self.truth(depth - 1),
                self.text(depth - 1),
                self.text(depth - 1)
            ),
            5 => format!("lookup(\"hosts.map\", {})", self.text(depth - 1)),
            _ => self.attribute(),
        }
    }

    fn int(&mut self, depth: usize) -> String {
        match self.rng.below(if depth == 0 { 5 } else { 7 }) {
            0 => "source.port".to_owned(),
            1 => "request.size".to_owned(),
            2 | 3 => self.rng.below(4).to_string(),
            4 => "-1".to_owned(),
            5 => format!("size({})", self.text(depth - 1)),
            _ => format!("({} ? {} : {})", self.truth(depth - 1), self.int(0), self.int(depth - 1)),
        }
    }

    fn comparison(&mut self, depth: usize) -> String {
        let sign = *self.rng.choose(&["==", "!=", "<", "<=", ">", ">="]);
        match self.rng.below(3) {
            0 => format!("{} {sign} {}", self.int(depth), self.int(depth)),
            1 => format!("rate(source.ip, \"per_client\") {sign} 0.5"),
            _ => format!("{} {sign} {}", self.text(depth), self.text(depth)),
        }
    }

    fn list(&mut self, depth: usize) -> String {
        let elements: Vec<String> = (0..self.rng.below(7))
            .map(|_| if self.rng.below(9) == 0 { self.text(depth) } else { self.word() })
            .collect();
        format!("[{}]", elements.join(", "))
    }

    fn macro_call(&mut self, depth: usize) -> String {
        let (list, name) = (self.list(0), format!("s{}", self.bound.len()));
        self.bound.push(name.clone());
        let body = self.truth(depth);
        self.bound.pop();
        format!("{list}.{}({name}, {body})", self.rng.choose(&["exists", "all"]))
    }

    fn test(&mut self, depth: usize) -> String {
        let place = *self.rng.choose(&["startsWith", "endsWith", "contains"]);
        match self.rng.below(14) {
            0..=3 => format!("{}.{place}({})", self.text(depth), self.word()),
            4 => format!("{}.{place}({})", self.text(depth), self.text(depth)),
            5 => format!(
                "{}.matches({})",
                self.text(depth),
                quoted(self.rng.choose::<&str>(&PATTERNS))
            ),
            6 => format!("{} in {}", self.text(depth), self.list(depth)),
            7 => format!("{:?} in request.headers", self.rng.choose(&PRESENT)),
            8 => format!("inIpRange(source.ip, {:?})", self.rng.choose(&NETWORKS)),
            9 => format!("source.ip == {:?}", self.rng.choose(&ADDRESSES)),
            10 => format!("inList({}, \"blocked\")", self.text(depth)),
            11 => "connection.tls".to_owned(),
            12 => format!("{} in [0, 1, {}]", self.int(depth), self.int(0)),
            _ => self.comparison(depth),
        }
    }

    pub fn truth(&mut self, depth: usize) -> String {
        if depth == 0 {
            return self.test(0);
        }
        match self.rng.below(10) {
            0..=2 => self.joined(" || ", depth),
            3..=5 => self.joined(" && ", depth),
            6 => format!("!({})", self.truth(depth - 1)),
            7 => self.macro_call(depth - 1),
            8 => format!(
                "({} ? {} : {})",
                self.truth(depth - 1),
                self.truth(depth - 1),
                self.truth(depth - 1)
            ),
            _ => self.test(depth - 1),
        }
    }

    fn joined(&mut self, sign: &str, depth: usize) -> String {
        let operands: Vec<String> =
            (0..2 + self.rng.below(3)).map(|_| self.truth(depth - 1)).collect();
        format!("({})", operands.join(sign))
    }
}

/// A random request.
pub fn request(rng: &mut Rng) -> Request {
    let mut word = || rng.choose(&WORDS).as_bytes().to_vec();
    let mut request = Request {
        method: word(),
        path: word(),
        query: word(),
        host: word().to_ascii_lowercase(),
        variable: word(),
        ..Request::default()
    };
    for key in KEYS {
        if rng.below(3) > 0 {
            request.cookies.push((key.into(), rng.choose(&WORDS).as_bytes().to_vec()));
        }
    }
    for _ in 0..rng.below(6) {
        let name = format!("X-{}", rng.choose(&["A", "b", "C", "1", "2", "3", "4", "5"]));
        request.headers.push((name.into(), rng.choose(&WORDS).as_bytes().to_vec()));
    }
    for name in PRESENT {
        if rng.below(2) == 0 {
            request.headers.push((name.into(), b"1".to_vec()));
        }
    }
    request.source = rng.choose(&ADDRESSES).parse().ok();
    request.source_port = i64::try_from(rng.below(4)).unwrap_or(0);
    request.size = i64::try_from(rng.below(4)).unwrap_or(0) - 1;
    request.tls = rng.below(2) == 0;
    request.rate = *rng.choose(&[0.0, 0.25, 0.5, 1.5]);
    request.list = ValueList::new(["/a", "b", "A"]).expect("a list");
    request.map = ValueMap::from_text("a /a\n/a b\nb .jpg").expect("a map");
    request
}
