//! The waiters of one shard against a sorted list.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::{Key, Outcome, Waiting};

#[derive(Clone, Debug)]
enum Step {
    Come(i16),
    Grant,
    Rouse,
    Leave(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (-2..3i16).prop_map(Step::Come),
        2 => Just(Step::Grant),
        1 => Just(Step::Rouse),
        2 => (0..64usize).prop_map(Step::Leave),
    ];
    proptest::collection::vec(step, 1..200)
}

proptest! {
    #[test]
    fn the_order_is_that_of_a_sorted_list(steps in steps()) {
        let mut waiting = Waiting::<u64, u64>::default();
        let mut expected = BTreeMap::new();
        for (ticket, step) in (0..).zip(steps) {
            match step {
                Step::Come(priority) => {
                    let key = Key::new(priority, ticket);
                    expected.insert(key, waiting.insert(key, ticket));
                }
                Step::Grant => match expected.pop_first() {
                    None => prop_assert_eq!(waiting.grant(7), Err(7)),
                    Some((key, id)) => {
                        let woken = waiting.grant(7).expect("somebody waits");
                        prop_assert_eq!(woken, key.0 & 0xffff_ffff_ffff);
                        prop_assert_eq!(waiting.take(id), Some(Outcome::Granted(7)));
                    }
                },
                Step::Rouse => {
                    let first = expected.pop_first();
                    prop_assert_eq!(waiting.rouse().is_some(), first.is_some());
                    if let Some((_, id)) = first {
                        prop_assert_eq!(waiting.leave(id), Some(Outcome::Roused));
                    }
                }
                Step::Leave(which) => {
                    if let Some(key) = expected.keys().nth(which).copied() {
                        let id = expected.remove(&key).expect("it waits");
                        prop_assert_eq!(waiting.take(id), None);
                        prop_assert_eq!(waiting.leave(id), None);
                    }
                }
            }
            prop_assert_eq!(waiting.first(), expected.keys().next().copied());
            prop_assert_eq!(waiting.len(), expected.len());
        }
    }
}
