//! A list of rules gives the rules that evaluating each in order gives, also when edits change what
//! was asked about.

mod support;

use support::random::{Maker, request};
use support::{Request, compile};
use tidegate_rules::{Change, Condition, Cursor, RuleSet, Scratch, VariableIndex};
use tidegate_testkit::Rng;

/// Conditions that are like those of real lists: mostly one comparison, some with more.
fn condition(rng: &mut Rng) -> Option<Condition> {
    let depth = *rng.choose(&[0, 0, 0, 1, 1, 2, 3]);
    match rng.below(12) {
        0 => None,
        1 => Some(compile(&format!("request.headers[\"x-{}\"] == \"a\"", rng.below(9)))),
        2 => Some(compile("connection.tls && !connection.tls || false")),
        _ => {
            let mut maker = Maker { rng, bound: Vec::new(), with_host: true };
            Some(compile(&maker.truth(depth)))
        }
    }
}

/// A random edit, made to the request.
fn edit(rng: &mut Rng, request: &mut Request) -> Change<'static> {
    let word: Vec<u8> = rng.choose(&["/a/b/c.jpg", "a", "ab", "", "/"]).as_bytes().to_vec();
    let mut set = |name: &'static str| {
        request.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name.as_bytes()));
        if !word.is_empty() {
            request.headers.push((name.into(), word.clone()));
        }
        Change::RequestHeader(name.as_bytes())
    };
    match rng.below(8) {
        0 => set("x-a"),
        1 => set("x-b"),
        2 => set("x-3"),
        3 => {
            request.path = word;
            Change::Path
        }
        4 => {
            request.host = word;
            Change::Host
        }
        5 => {
            request.query = word;
            Change::Query
        }
        6 => {
            request.variable = word;
            Change::Variable(VariableIndex(0))
        }
        _ => {
            request.method = word;
            Change::Method
        }
    }
}

fn check(rng: &mut Rng, count: usize) -> usize {
    let conditions: Vec<Option<Condition>> = (0..count).map(|_| condition(rng)).collect();
    let original = RuleSet::new(conditions.clone());
    let copy = original.clone();
    let rules = if rng.below(2) == 0 { &original } else { &copy };
    let (mut cursor, mut scratch, mut matches) = (Cursor::default(), Scratch::default(), 0);
    assert_eq!((rules.len(), rules.is_empty()), (count, count == 0));
    for _ in 0..8 {
        let mut request = request(rng);
        rules.start(&request, &mut cursor);
        let mut place = 0;
        loop {
            let meets = |condition: &Option<Condition>, scratch: &mut Scratch| {
                condition.as_ref().is_none_or(|condition| condition.matches(&request, scratch))
            };
            let expected = (place..count).find(|place| meets(&conditions[*place], &mut scratch));
            let found = rules.next_match(&request, &mut cursor);
            assert_eq!(found, expected, "{conditions:#?}\n{request:#?}");
            let Some(found) = found else { break };
            matches += 1;
            place = found + 1;
            if rng.below(3) == 0 {
                let change = edit(rng, &mut request);
                rules.changed(change, &mut cursor);
            }
        }
        assert_eq!(rules.next_match(&request, &mut cursor), None);
    }
    matches
}

#[test]
fn indexed_rules_match_as_rules_evaluated_in_order() {
    let seed = tidegate_testkit::seed();
    let mut rng = seed.rng();
    let mut matches = 0;
    for round in 0..160 {
        let count = *rng.choose(&[0, 1, 3, 10, 63, 64, 65, 150]);
        matches += check(&mut rng, if round == 0 { 300 } else { count });
    }
    assert!(matches > 1000, "{matches}");
}
