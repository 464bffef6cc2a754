//! Small scripts in every order of their accesses with few preemptions.
//!
//! Owns the scripts. What is asserted at the end of each history: the server saw no connection beyond the limit, and no slot is
//! free or idle while somebody waits.

use super::schedule::explore;
use super::world::{Came, Grant, Shard, Shared, Wish};
use crate::WaiterId;

/// Preemptions of one history. Every fault of such protocols that is known shows itself with two; three cost minutes.
const PREEMPTIONS_MAX: usize = 2;

type Script = Box<dyn FnOnce() -> Shard + Send>;

/// Lets parcels arrive until none is left, and checks what must hold then.
fn check(shards: &[Shard], limit: u32, history: &str) {
    while shards.iter().any(Shard::receive) {}
    let server = &shards[0].shared.servers[0];
    assert!(server.open_most() <= limit, "{} connections: {history}", server.open_most());
    let idle: usize = shards.iter().map(|shard| shard.idle(0)).sum();
    let waiting: usize = shards.iter().map(Shard::waiting).sum();
    let free = server.limit.max().saturating_sub(server.limit.taken());
    assert!(
        waiting == 0 || (idle == 0 && free == 0),
        "{waiting} wait, {idle} idle, {free} free: {history}"
    );
    assert_eq!(
        usize::try_from(shards[0].shared.line.waiting()).expect("few"),
        waiting,
        "the count of waiters: {history}"
    );
}

fn served(shard: &Shard) -> Grant {
    match shard.come(Wish::Any, 0) {
        Came::Served(grant) => grant,
        Came::Waits(..) => panic!("there is a slot"),
    }
}

fn waits(shard: &Shard) -> (Wish, WaiterId) {
    match shard.come(Wish::Any, 0) {
        Came::Waits(wish, id, _) => (wish, id),
        Came::Served(_) => panic!("there is no slot"),
    }
}

/// A request that ends at once when it is served at once.
fn visit(shard: &Shard) {
    match shard.come(Wish::Any, 0) {
        Came::Served(grant) => shard.keep(grant),
        Came::Waits(..) => {}
    }
}

fn run(
    name: &str,
    limit: u32,
    shards: usize,
    scripts: impl Fn(&Shared, Vec<Shard>) -> Vec<Script>,
) {
    let made = || {
        let shared = Shared::new(shards, 1, limit);
        let shards = (0..shards).map(|index| Shard::new(&shared, index)).collect();
        scripts(&shared, shards)
    };
    let histories = explore(PREEMPTIONS_MAX, made, |shards, history| {
        check(&shards, limit, &format!("{name}: {history}"));
    });
    assert!(histories > 20, "{name}: {histories} histories");
}

/// One script for each shard.
fn each<const N: usize>(shards: Vec<Shard>, scripts: [fn(&Shard); N]) -> Vec<Script> {
    let pair = |(shard, script): (Shard, fn(&Shard))| {
        Box::new(move || {
            script(&shard);
            shard
        }) as Script
    };
    shards.into_iter().zip(scripts).map(pair).collect()
}

#[test]
fn a_connection_that_gets_free_meets_who_begins_to_wait() {
    run("kept", 1, 2, |_, mut shards| {
        let (other, first) = (shards.pop().expect("two"), shards.pop().expect("two"));
        let grant = served(&first);
        vec![
            Box::new(move || {
                first.keep(grant);
                first
            }),
            Box::new(move || {
                visit(&other);
                other
            }),
        ]
    });
}

#[test]
fn a_slot_that_gets_free_meets_who_begins_to_wait() {
    run("closed", 1, 2, |_, mut shards| {
        let (other, first) = (shards.pop().expect("two"), shards.pop().expect("two"));
        let grant = served(&first);
        vec![
            Box::new(move || {
                first.close(grant);
                first
            }),
            Box::new(move || {
                visit(&other);
                other
            }),
        ]
    });
}

#[test]
fn a_slot_on_its_way_to_who_leaves_goes_on() {
    run("left", 1, 3, |_, mut shards| {
        let (third, second) = (shards.pop().expect("three"), shards.pop().expect("three"));
        let first = shards.pop().expect("three");
        let grant = served(&first);
        let (leaving, _stays) = (waits(&second), waits(&third));
        vec![
            Box::new(move || {
                first.close(grant);
                first
            }),
            Box::new(move || {
                second.receive();
                second.give_up(leaving.0, leaving.1);
                second
            }),
            Box::new(move || {
                third.receive();
                third
            }),
        ]
    });
}

#[test]
fn an_idle_connection_of_one_shard_meets_who_waits_on_another() {
    run("idle", 1, 2, |_, shards| {
        let grant = served(&shards[0]);
        shards[0].keep(grant);
        each(shards, [|first| visit(first), |second| visit(second)])
    });
}

#[test]
fn everybody_comes_at_once() {
    run("crowd", 1, 3, |_, shards| {
        each(shards, [|first| visit(first), |second| visit(second), |third| visit(third)])
    });
}

#[test]
fn a_raised_limit_meets_who_begins_to_wait() {
    for before in [1, 2] {
        run("raised", before + 1, 2, |shared, shards| {
            shared.servers[0].limit.set_max(before);
            let held: Vec<_> = (0..before).map(|_| served(&shards[0])).collect();
            let mut shards = shards.into_iter();
            let (first, second) = (shards.next().expect("two"), shards.next().expect("two"));
            let limit = shared.servers[0].limit.clone();
            vec![
                Box::new(move || {
                    limit.set_max(before + 1);
                    first.apply(0);
                    held.into_iter().for_each(std::mem::forget);
                    first
                }),
                Box::new(move || {
                    second.receive();
                    // Stays where it is served.
                    std::mem::forget(second.come(Wish::Any, 0));
                    second
                }),
            ]
        });
    }
}

#[test]
fn a_lowered_limit_hands_out_nothing_until_fewer_are_in_use() {
    for closes in [false, true] {
        let name = format!("lowered, closes {closes}");
        let made = || {
            let shared = Shared::new(2, 1, 2);
            let mut shards = (0..2).map(|index| Shard::new(&shared, index));
            let (first, second) = (shards.next().expect("two"), shards.next().expect("two"));
            let (one, other) = (served(&first), served(&second));
            let scripts: Vec<Script> = vec![
                Box::new(move || {
                    first.shared.servers[0].limit.set_max(1);
                    first.apply(0);
                    // Stays where it is.
                    std::mem::forget(one);
                    first
                }),
                Box::new(move || {
                    if closes {
                        second.close(other);
                    } else {
                        second.keep(other);
                    }
                    visit(&second);
                    second
                }),
            ];
            scripts
        };
        let histories = explore(PREEMPTIONS_MAX, made, |shards, history| {
            // Each shard is told after the limit was lowered.
            shards.iter().for_each(|shard| shard.apply(0));
            check(&shards, 2, &format!("{name}: {history}"));
            // The one that stays is as many as may be.
            let server = &shards[0].shared.servers[0];
            assert_eq!((server.open(), server.limit.taken()), (1, 1), "{name}: {history}");
            for shard in &shards {
                assert!(matches!(shard.come(Wish::Any, 0), Came::Waits(..)), "{name}: {history}");
            }
        });
        assert!(histories > 20, "{name}: {histories} histories");
    }
}

#[test]
fn a_reserved_server_is_for_those_alone_who_wait_for_it() {
    let shared = Shared::new(2, 2, 1);
    let shards: Vec<_> = (0..2).map(|index| Shard::new(&shared, index)).collect();
    shards.iter().for_each(|shard| shard.reserve(1, true));
    let (held, bound) = (served(&shards[0]), shards[0].come(Wish::Only(1), 0));
    let Came::Served(bound) = bound else { panic!("it has a slot") };
    let (any, only) = (waits(&shards[1]), shards[1].come(Wish::Only(1), 0));
    let Came::Waits(wish, id, _) = only else { panic!("it has no slot left") };
    shards[0].keep(bound);
    while shards.iter().any(Shard::receive) {}
    let grant = shards[1].look(wish, id).expect("it was for that server");
    assert!(shards[1].look(any.0, any.1).is_none(), "who came first waits for any server");
    shards[1].keep(grant);
    while shards.iter().any(Shard::receive) {}
    assert!(shards[1].look(any.0, any.1).is_none());
    // Whoever comes for that server need not wait behind those who do not get it.
    let Came::Served(again) = shards[1].come(Wish::Only(1), 0) else { panic!("it has a slot") };
    shards[1].keep(again);
    shards.iter().for_each(|shard| shard.reserve(1, false));
    while shards.iter().any(Shard::receive) {}
    assert_eq!(shards[1].look(any.0, any.1).map(|grant| grant.server), Some(1));
    drop(held);
}

#[test]
fn who_waits_gets_a_server_that_is_reserved_no_more_whichever_shard_hears_it_first() {
    for closes in [false, true] {
        let name = format!("reserved no more, closes {closes}");
        let made = || {
            let shared = Shared::new(2, 1, 1);
            let mut shards = (0..2).map(|index| Shard::new(&shared, index));
            let (first, second) = (shards.next().expect("two"), shards.next().expect("two"));
            let held = served(&second);
            first.reserve(0, true);
            second.reserve(0, true);
            waits(&first);
            let scripts: Vec<Script> = vec![
                Box::new(move || {
                    first.reserve(0, false);
                    first
                }),
                Box::new(move || {
                    if closes {
                        second.close(held);
                    } else {
                        second.keep(held);
                    }
                    second.reserve(0, false);
                    second
                }),
            ];
            scripts
        };
        let histories = explore(PREEMPTIONS_MAX, made, |shards, history| {
            check(&shards, 1, &format!("{name}: {history}"));
            assert_eq!(shards[0].waiting(), 0, "{name}: {history}");
        });
        assert!(histories > 10, "{name}: {histories} histories");
    }
}
