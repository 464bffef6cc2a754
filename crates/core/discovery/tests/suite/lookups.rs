//! Whom a question goes to until it is answered.

use crate::support::{CNAME, CUT, OK, a, answer, code, name, wire};
use tidegate_discovery::{
    Absence, Fault, Finding, Kind, Lookup, Next, Question, Record, Taken, Transport,
};

const APP: (&str, Kind) = ("app.test", Kind::A);

fn lookup(order: &[usize], tries: u32) -> Lookup {
    Lookup::new(Question { name: name("app.test"), kind: Kind::A }, order.to_vec(), tries)
}

/// Whom the next try goes to, and how; `None` when it is over.
fn next(lookup: &mut Lookup) -> Option<(usize, Transport)> {
    match lookup.next(7) {
        Next::Ask(ask) => Some((ask.server, ask.transport)),
        Next::Done(_) => None,
    }
}

fn done(lookup: &mut Lookup) -> Finding {
    match lookup.next(7) {
        Next::Done(finding) => finding,
        Next::Ask(ask) => panic!("goes on with {ask:?}"),
    }
}

const GOOD: Taken = Taken::Answered { well: true };
const BAD: Taken = Taken::Answered { well: false };

fn found(last: u8, ttl: u32) -> Finding {
    Finding::Records { records: vec![Record::Address([192, 0, 2, last].into())], ttl }
}

#[test]
fn resolvers_are_asked_in_turn_until_one_answers() {
    let mut lookup = lookup(&[2, 0], 2);
    for server in [2, 0, 2, 0] {
        assert_eq!(next(&mut lookup), Some((server, Transport::Datagram)));
        lookup.failed(Fault::TimedOut);
    }
    assert_eq!(done(&mut lookup), Finding::Failed(Fault::TimedOut));
}

#[test]
fn a_resolver_that_fails_is_not_the_last_word_and_one_that_says_no_is() {
    let mut lookup = lookup(&[0, 1], 1);
    assert_eq!(next(&mut lookup), Some((0, Transport::Datagram)));
    assert_eq!(lookup.received(&answer(7, code(2), APP, &[])), BAD);
    assert_eq!(next(&mut lookup), Some((1, Transport::Datagram)));
    assert_eq!(lookup.received(&answer(7, code(3), APP, &[])), GOOD);
    assert_eq!(done(&mut lookup), Finding::Absent(Absence::NoSuchName));
}

#[test]
fn what_is_not_the_answer_does_not_end_a_try() {
    let mut lookup = lookup(&[0], 1);
    assert_eq!(next(&mut lookup), Some((0, Transport::Datagram)));
    assert_eq!(lookup.received(&answer(8, OK, APP, &[a("app.test", 60, 66)])), Taken::Ignored);
    assert_eq!(lookup.received(b""), Taken::Ignored);
    assert_eq!(lookup.received(&answer(7, OK, APP, &[a("app.test", 60, 1)])), GOOD);
    assert_eq!(done(&mut lookup), found(1, 60));
}

#[test]
fn an_answer_that_is_cut_off_is_fetched_over_a_connection() {
    let mut lookup = lookup(&[0, 1], 1);
    next(&mut lookup);
    assert_eq!(lookup.received(&answer(7, CUT, APP, &[])), GOOD);
    assert_eq!(next(&mut lookup), Some((0, Transport::Stream)));
    assert_eq!(lookup.received(&answer(7, OK, APP, &[a("app.test", 60, 1)])), GOOD);
    assert_eq!(done(&mut lookup), found(1, 60));
}

#[test]
fn a_connection_that_brings_nothing_is_a_try_like_others() {
    let mut lookup = lookup(&[0, 1], 1);
    next(&mut lookup);
    lookup.received(&answer(7, CUT, APP, &[]));
    assert_eq!(next(&mut lookup), Some((0, Transport::Stream)));
    lookup.failed(Fault::Unreachable);
    assert_eq!(next(&mut lookup), Some((1, Transport::Datagram)));
    lookup.received(&answer(7, CUT, APP, &[]));
    next(&mut lookup);
    lookup.received(&answer(7, CUT, APP, &[]));
    assert_eq!(done(&mut lookup), Finding::Failed(Fault::Malformed), "cut off there too");
}

#[test]
fn an_old_resolver_is_asked_in_an_old_way() {
    let mut lookup = lookup(&[0], 1);
    let length = |next: Next| match next {
        Next::Ask(ask) => ask.query.len(),
        Next::Done(finding) => panic!("{finding:?}"),
    };
    let first = length(lookup.next(7));
    assert_eq!(lookup.received(&answer(7, code(1), APP, &[])), GOOD);
    assert_eq!(length(lookup.next(7)), first - 11);
    assert_eq!(lookup.received(&answer(7, code(4), APP, &[])), GOOD);
    assert_eq!(done(&mut lookup), Finding::Failed(Fault::Refused));
}

#[test]
fn a_name_that_stands_for_another_is_followed_so_far_and_no_further() {
    let mut lookup = lookup(&[0], 1);
    let mut followed = 0;
    let mut asked = "app.test".to_owned();
    let finding = loop {
        if let Next::Done(finding) = lookup.next(7) {
            break finding;
        }
        followed += 1;
        let to = format!("n{followed}.test");
        let owner: &'static str = asked.clone().leak();
        let reply = answer(7, OK, (&asked, Kind::A), &[(owner, CNAME, 60, wire(&to))]);
        assert_eq!(lookup.received(&reply), GOOD);
        asked = to;
    };
    assert_eq!((followed, finding), (13, Finding::Failed(Fault::AliasesTooLong)));
}

#[test]
fn the_lowest_ttl_on_the_way_counts() {
    let mut lookup = lookup(&[0], 1);
    next(&mut lookup);
    lookup.received(&answer(7, OK, APP, &[("app.test", CNAME, 5, wire("b.test"))]));
    next(&mut lookup);
    lookup.received(&answer(7, OK, ("b.test", Kind::A), &[a("b.test", 60, 1)]));
    assert_eq!(done(&mut lookup), found(1, 5));
}

#[test]
fn without_a_resolver_there_is_no_answer() {
    assert_eq!(done(&mut lookup(&[], 3)), Finding::Failed(Fault::NoResolver));
}
