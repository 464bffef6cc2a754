//! What is known of a name over time, and which slots its addresses get: by the case, and simulated.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use tidegate_discovery::{
    Absence, Endpoint, Event, Family, Fault, Outcome, Settings, Slots, Watch,
};
use tidegate_testkit::Rng;

const S: Duration = Duration::from_secs(1);

fn settings() -> Settings {
    Settings {
        timeout: S,
        tries: 2,
        ttl_min: S,
        ttl_max: 300 * S,
        hold: 60 * S,
        hold_absent: 10 * S,
        family: Family::default(),
    }
}

fn endpoint(tier: u16, last: u8) -> Endpoint {
    Endpoint { tier, address: [192, 0, 2, last].into(), port: None, share: 256 }
}

fn found(ttl: u32, last: &[u8]) -> Outcome {
    let endpoints = last.iter().map(|last| endpoint(0, *last)).collect();
    Outcome::Found { endpoints, ttl, fault: None }
}

const LATE: Outcome = Outcome::Failed(Fault::TimedOut);
const GONE: Outcome = Outcome::Absent(Absence::NoSuchName);

/// A watch after a round that ended at `now`.
fn after(watch: &mut Watch, outcome: Outcome, now: Instant) -> Vec<Event> {
    let due = watch.next_due().expect("a name is always asked for again");
    assert!(due <= now, "asked for {:?} too soon", due - now);
    assert!(watch.begins(now) && !watch.begins(now), "one round at a time");
    watch.concluded(outcome, now)
}

#[test]
fn a_name_is_asked_for_again_when_its_ttl_ends() {
    let now = Instant::now();
    for (ttl, again) in [(0, 1), (30, 30), (4000, 300)] {
        let mut watch = Watch::new(settings(), now);
        assert!(!watch.is_settled());
        assert_eq!(after(&mut watch, found(ttl, &[1]), now), [Event::Changed]);
        assert!(watch.is_settled());
        assert_eq!(watch.next_due(), Some(now + again * S), "TTL {ttl}");
    }
}

#[test]
fn addresses_are_held_while_nobody_answers_and_then_given_up() {
    let start = Instant::now();
    let mut watch = Watch::new(settings(), start);
    after(&mut watch, found(30, &[1]), start);
    let failed = start + 30 * S;
    assert_eq!(after(&mut watch, LATE, failed), [Event::Failing(Fault::TimedOut)]);
    assert_eq!((watch.endpoints().len(), watch.is_holding()), (1, true));
    // Pauses double: 1, 2, 4, 8, 16, 30, 30.
    let mut now = failed;
    for pause in [1, 2, 4, 8, 16] {
        assert_eq!(watch.next_due(), Some(now + pause * S));
        now += pause * S;
        assert_eq!(after(&mut watch, LATE, now), []);
    }
    assert_eq!(watch.gives_up(failed + 60 * S - S / 10), None);
    assert_eq!(watch.next_due(), Some(failed + 60 * S), "given up before it is asked again");
    assert_eq!(watch.gives_up(failed + 60 * S), Some(Event::GivenUp));
    assert!(watch.endpoints().is_empty() && !watch.is_holding());
    assert_eq!(watch.trouble(), Some("timed_out"));
    let back = failed + 61 * S;
    assert_eq!(after(&mut watch, found(30, &[1]), back), [Event::Recovered, Event::Changed]);
}

#[test]
fn a_name_that_is_gone_is_held_for_a_time_of_its_own() {
    let start = Instant::now();
    let mut watch = Watch::new(settings(), start);
    after(&mut watch, found(1, &[1]), start);
    let gone = start + S;
    assert_eq!(after(&mut watch, GONE, gone), [Event::Absent(Absence::NoSuchName)]);
    // A failure in between does not make it longer.
    assert_eq!(after(&mut watch, LATE, gone + S), [Event::Failing(Fault::TimedOut)]);
    assert_eq!(watch.gives_up(gone + 10 * S), Some(Event::GivenUp));

    let at_once = Settings { hold_absent: Duration::ZERO, ..settings() };
    let mut watch = Watch::new(at_once, start);
    after(&mut watch, found(1, &[1]), start);
    let events = after(&mut watch, GONE, gone);
    assert_eq!(events, [Event::Absent(Absence::NoSuchName), Event::GivenUp]);
    assert!(watch.endpoints().is_empty());
}

#[test]
fn half_an_answer_is_better_than_none_and_worse_than_what_is_known() {
    let start = Instant::now();
    let half = |last: &[u8]| match found(30, last) {
        Outcome::Found { endpoints, ttl, .. } => {
            Outcome::Found { endpoints, ttl, fault: Some(Fault::TimedOut) }
        }
        other => other,
    };
    let mut watch = Watch::new(settings(), start);
    assert_eq!(after(&mut watch, half(&[1]), start), [Event::Changed]);
    let events = after(&mut watch, half(&[2]), start + 30 * S);
    assert_eq!(events, [Event::Failing(Fault::TimedOut)]);
    assert_eq!(watch.endpoints(), [endpoint(0, 1)]);
}

fn below(rng: &mut Rng, bound: usize) -> u32 {
    u32::try_from(rng.below(bound)).expect("small")
}

#[test]
fn whatever_is_answered_the_promises_hold() {
    let seed = tidegate_testkit::seed();
    for run in 0..50 {
        let mut rng = Rng::new(seed.value().wrapping_add(run));
        let start = Instant::now();
        let (mut now, mut watch) = (start, Watch::new(settings(), start));
        let mut slots = Slots::new(1 + rng.below(6), Some(80));
        let (mut good_until, mut asked_at) = (start, None::<Instant>);
        for _ in 0..120 {
            now = now.max(watch.next_due().expect("never forgotten"))
                + S * below(&mut rng, 300) / 1000;
            let had = watch.endpoints().len();
            if watch.gives_up(now).is_some() {
                assert!(had > 0 && now >= good_until, "given up early");
            }
            if !watch.begins(now) {
                continue;
            }
            if let Some(before) = asked_at {
                assert!(now >= before + S, "asked too often");
            }
            asked_at = Some(now);
            let held = watch.endpoints().to_vec();
            let outcome = match rng.below(6) {
                0 => LATE,
                1 => GONE,
                _ => {
                    let mut last: Vec<u8> = (0..rng.below(9))
                        .map(|_| u8::try_from(rng.below(12)).expect("small"))
                        .collect();
                    last.push(200);
                    last.sort_unstable();
                    last.dedup();
                    let ttl = below(&mut rng, 40);
                    good_until = now + S * ttl.max(1);
                    found(ttl, &last)
                }
            };
            let is_answer = matches!(outcome, Outcome::Found { .. });
            watch.concluded(outcome, now);
            if !is_answer && !watch.endpoints().is_empty() {
                assert_eq!(watch.endpoints(), held, "held as they were");
                assert!(watch.is_holding());
            }
            assert_slots(&mut slots, watch.endpoints());
        }
    }
}

/// Assigns, and checks what is promised of slots.
fn assert_slots(slots: &mut Slots, endpoints: &[Endpoint]) {
    let places = |slots: &Slots| (0..slots.len()).map(|at| slots.place(at)).collect::<Vec<_>>();
    let before = places(slots);
    let changed = slots.assign(endpoints);
    let after = places(slots);
    let sockets: Vec<_> = after.iter().flatten().map(|place| place.socket).collect();
    let distinct: BTreeSet<_> = sockets.iter().collect();
    assert_eq!(distinct.len(), sockets.len(), "an address twice");
    assert_eq!(sockets.len(), endpoints.len().min(slots.len()), "a slot left free");
    assert_eq!(slots.surplus(), endpoints.len() - sockets.len());
    let worst = after.iter().flatten().map(|place| place.tier).max();
    for endpoint in endpoints {
        let is_in = sockets.iter().any(|socket| socket.ip() == endpoint.address);
        assert!(is_in || Some(endpoint.tier) >= worst, "a better one left out");
    }
    for (at, (old, new)) in before.iter().zip(&after).enumerate() {
        assert_eq!(changed.contains(&at), old != new);
        if let Some(old) = old {
            let stays = sockets.contains(&old.socket);
            assert!(!stays || new.is_some_and(|new| new.socket == old.socket), "moved");
        }
    }
}

proptest! {
    #[test]
    fn an_address_keeps_its_slot_and_the_best_have_one(
        count in 1_usize..8,
        rounds in prop::collection::vec(prop::collection::btree_map(0_u8..12, 0_u16..3, 0..12), 1..12),
    ) {
        let mut slots = Slots::new(count, Some(80));
        for round in rounds {
            let endpoints: Vec<_> =
                round.into_iter().map(|(last, tier)| endpoint(tier, last)).collect();
            assert_slots(&mut slots, &endpoints);
        }
    }
}

#[test]
fn slots_outlive_a_change_of_their_number() {
    let mut slots = Slots::new(2, Some(80));
    slots.assign(&[endpoint(0, 1), endpoint(0, 2), endpoint(0, 3)]);
    assert_eq!(slots.surplus(), 1);
    let mut more = Slots::new(4, Some(80));
    more.adopt(&slots);
    assert_eq!(more.assign(&[endpoint(0, 2), endpoint(0, 3)]), [0, 2]);
    assert_eq!(more.place(1), slots.place(1));
    let mut other = Slots::new(2, Some(81));
    other.adopt(&slots);
    assert_eq!(other.place(0), None, "another port is another place");
}
