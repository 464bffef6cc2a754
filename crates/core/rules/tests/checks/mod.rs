//! What must hold for any text at all. The fuzz target and the test over its corpus share this; it
//! panics when a property is broken.

use std::net::IpAddr;
use tidegate_rules::{
    Address, Change, Condition, Conditions, Cursor, Environment, Facts, FieldType, Flag, Key,
    Keyed, LimitIndex, ListIndex, MapIndex, Names, Number, Phase, Problem, RuleSet, Scratch,
    Template, Text, VariableIndex,
};

/// Facts that are made of the text itself.
struct Echo<'a>(&'a [u8]);

impl Facts for Echo<'_> {
    fn text(&self, text: Text) -> &[u8] {
        match text {
            Text::Path | Text::Uri => self.0,
            Text::Method => b"GET",
            _ => b"",
        }
    }

    fn number(&self, _number: Number) -> i64 {
        i64::try_from(self.0.len()).unwrap_or(i64::MAX)
    }

    fn flag(&self, _flag: Flag) -> bool {
        self.0.len().is_multiple_of(2)
    }

    fn address(&self, _address: Address) -> Option<IpAddr> {
        let octets: [u8; 4] = *self.0.first_chunk()?;
        Some(octets.into())
    }

    fn keyed(&self, _keyed: Keyed, name: &[u8]) -> Option<&[u8]> {
        self.0.starts_with(name).then(|| &self.0[name.len()..])
    }

    fn visit_request_headers(&self, mut visit: impl FnMut(&[u8], &[u8])) {
        for split in 0..self.0.len().min(4) {
            visit(&self.0[..split], &self.0[split..]);
        }
    }

    fn variable(&self, _variable: VariableIndex) -> &[u8] {
        self.0
    }

    fn in_list(&self, _list: ListIndex, key: Key<'_>) -> bool {
        matches!(key, Key::Text(bytes) if bytes == self.0)
    }

    fn rate(&self, _limit: LimitIndex, _key: Key<'_>) -> f64 {
        0.5
    }

    fn lookup(&self, _map: MapIndex, key: &[u8]) -> Option<&[u8]> {
        self.0.strip_prefix(key)
    }
}

/// Checks `data` as a condition, as a named condition and as a template.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut names = Names::default();
    names.declare_list("l");
    names.declare_limit("l");
    names.declare_variable("v").expect("a good name");
    names.declare_field("f", FieldType::Number);
    let (conditions, problems) =
        Conditions::compile(&mut names, [("c", text), ("d", "c || connection.tls")]);
    problems.iter().for_each(|problem| check_place(text, &problem.problem));
    let mut environment =
        Environment { names: &mut names, conditions: &conditions, phase: Phase::Response };
    let (facts, mut scratch, mut out) = (Echo(data), Scratch::default(), Vec::new());
    match Template::compile(text, &mut environment) {
        Ok(template) => {
            template.write(&facts, &mut scratch, &mut out);
            let literals: usize = template.literals().map(<[u8]>::len).sum();
            assert!(literals <= out.len());
            assert!(template.could_write(&out));
        }
        Err(problems) => problems.iter().for_each(|problem| check_place(text, problem)),
    }
    match Condition::compile(text, &mut environment) {
        Ok(condition) => {
            let expected = condition.matches(&facts, &mut scratch);
            check_rules(&condition, &facts, expected);
        }
        Err(problems) => {
            assert!(!problems.is_empty());
            problems.iter().for_each(|problem| check_place(text, problem));
        }
    }
}

/// So many of the same rule that it is indexed, if it can be.
fn check_rules(condition: &Condition, facts: &Echo<'_>, expected: bool) {
    let rules = RuleSet::new(vec![Some(condition.clone()); 5]);
    let mut cursor = Cursor::default();
    rules.start(facts, &mut cursor);
    if expected {
        for place in 0..5 {
            assert_eq!(rules.next_match(facts, &mut cursor), Some(place));
            rules.changed(Change::Path, &mut cursor);
        }
    }
    assert_eq!(rules.next_match(facts, &mut cursor), None);
}

fn check_place(text: &str, problem: &Problem) {
    assert!(text.get(problem.span.clone()).is_some(), "{problem:?}");
    assert!(!problem.message.is_empty());
}
