//! Long random histories of many shards, parcels delayed at will.
//!
//! Owns the histories. Held after each step: no server has more connections than its limit, and every slot taken is in use, idle
//! or on its way. At the end: everybody was served, nobody of a class before who came earlier by more than the parcels' delay.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::world::{Came, Grant, Shard, Shared, Wish};
use crate::{Key, WaiterId};

struct History {
    shards: Vec<Shard>,
    used: Vec<(usize, Grant)>,
    waiting: Vec<(usize, Wish, WaiterId, Key)>,
    limit_most: u32,
}

impl History {
    fn new(shards: usize, servers: usize, limit: u32) -> History {
        let shared = Shared::new(shards, servers, limit);
        let shards = (0..shards).map(|index| Shard::new(&shared, index)).collect();
        History { shards, used: Vec::new(), waiting: Vec::new(), limit_most: limit }
    }

    /// Does what the numbers say.
    fn step(&mut self, what: u8, at: usize, which: usize) {
        let shard = at % self.shards.len();
        let servers = self.shards[0].shared.servers.len();
        match what {
            0..80 => {
                let wish = if which.is_multiple_of(4) {
                    Wish::Only(which / 4 % servers)
                } else {
                    Wish::Any
                };
                let priority = i16::try_from(which % 3).unwrap_or_default() - 1;
                match self.shards[shard].come(wish, priority) {
                    Came::Served(grant) => self.used.push((shard, grant)),
                    Came::Waits(wish, id, key) => self.waiting.push((shard, wish, id, key)),
                }
            }
            80..150 if !self.used.is_empty() => {
                let (shard, grant) = self.used.swap_remove(which % self.used.len());
                if what < 130 {
                    self.shards[shard].keep(grant);
                } else {
                    self.shards[shard].close(grant);
                }
            }
            150..160 if !self.waiting.is_empty() => {
                let (shard, wish, id, _) = self.waiting.swap_remove(which % self.waiting.len());
                self.shards[shard].give_up(wish, id);
            }
            160..165 => {
                let limit = u32::try_from(which % 5).unwrap_or_default() + 1;
                self.shards[0].shared.servers[which % servers].limit.set_max(limit);
                self.limit_most = self.limit_most.max(limit);
                self.shards.iter().for_each(|shard| shard.apply(which % servers));
            }
            _ => {
                self.shards[shard].receive();
            }
        }
        self.collect();
        self.check();
    }

    /// Waiters that were served go on.
    fn collect(&mut self) {
        let mut index = 0;
        while let Some((shard, wish, id, _)) = self.waiting.get(index).copied() {
            match self.shards[shard].look(wish, id) {
                Some(grant) => {
                    self.waiting.swap_remove(index);
                    self.used.push((shard, grant));
                }
                None => index += 1,
            }
        }
    }

    fn check(&self) {
        for (index, server) in self.shards[0].shared.servers.iter().enumerate() {
            assert!(server.open_most() <= self.limit_most, "{} connections", server.open_most());
            assert!(server.open() <= server.limit.taken(), "a connection without a slot");
            let idle: usize = self.shards.iter().map(|shard| shard.idle(index)).sum();
            let used = self.used.iter().filter(|(_, grant)| grant.server == index).count();
            let taken = usize::try_from(server.limit.taken()).expect("few");
            assert!(idle + used <= taken, "{idle} idle, {used} used, {taken} taken");
        }
        let waiting: usize = self.shards.iter().map(Shard::waiting).sum();
        assert_eq!(waiting, self.waiting.len(), "who waits is known to wait");
    }

    /// All parcels arrive.
    fn rest(&mut self) {
        while self.shards.iter().any(Shard::receive) {}
        self.collect();
        self.check();
    }

    /// Requests end one by one until everybody was served, the first each time.
    fn end(&mut self) {
        self.rest();
        while let Some((shard, grant)) = self.used.pop() {
            let first = |of: Wish| {
                self.waiting.iter().filter(|(_, wish, ..)| *wish == of).map(|(.., key)| *key).min()
            };
            let due = first(Wish::Any).into_iter().chain(first(Wish::Only(grant.server))).min();
            // A slot beyond a lowered limit goes to nobody.
            let has_surplus = self.shards[0].shared.servers[grant.server].limit.has_surplus();
            self.shards[shard].keep(grant);
            self.rest();
            let left = |key: &Key| !self.waiting.iter().any(|(.., known)| known == key);
            assert!(has_surplus || due.iter().all(left), "the first is served next");
        }
        assert_eq!(self.waiting.len(), 0, "somebody starved");
        for (index, server) in self.shards[0].shared.servers.iter().enumerate() {
            let idle: usize = self.shards.iter().map(|shard| shard.idle(index)).sum();
            assert_eq!(usize::try_from(server.limit.taken()).expect("few"), idle);
            assert_eq!(usize::try_from(server.open()).expect("few"), idle);
        }
    }
}

#[test]
fn random_histories_lose_no_slot_and_starve_nobody() {
    let mut runner = TestRunner::new(Config { cases: 300, ..Config::default() });
    let steps = proptest::collection::vec((any::<u8>(), any::<usize>(), any::<usize>()), 1..400);
    let histories = (1..9usize, 1..4usize, 1..5u32, steps);
    let run = |(shards, servers, limit, steps): (usize, usize, u32, Vec<(u8, usize, usize)>)| {
        let mut history = History::new(shards, servers, limit);
        steps.into_iter().for_each(|(what, at, which)| history.step(what, at, which));
        history.end();
        Ok(())
    };
    runner.run(&histories, run).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn an_inbox_that_overflows_loses_nothing() {
    let mut history = History::new(2, 1, 2000);
    (0..2000).for_each(|_| history.step(0, 0, 1));
    // The other shard waits and takes nothing out of its inbox.
    (0..1500).for_each(|_| history.step(0, 1, 1));
    while history.used.len() > 400 {
        let (shard, grant) = history.used.pop().expect("used");
        history.shards[shard].close(grant);
    }
    history.end();
}

#[test]
fn who_waits_behind_a_full_inbox_is_served_by_the_slots_that_found_no_room() {
    let mut history = History::new(2, 1, 2000);
    (0..2000).for_each(|_| history.step(0, 0, 1));
    (0..1500).for_each(|_| history.step(0, 1, 1));
    while let Some((shard, grant)) = history.used.pop() {
        history.shards[shard].close(grant);
    }
    // No request ends any more that could bring another slot.
    history.rest();
    assert_eq!(history.waiting.len(), 0, "slots are free and waited for");
}

#[test]
fn who_finds_a_free_slot_that_others_wait_for_goes_behind_them() {
    let shared = Shared::new(2, 1, 1);
    let [one, other] = [0, 1].map(|index| Shard::new(&shared, index));
    let Came::Served(_used) = one.come(Wish::Any, 0) else { panic!("nobody is there") };
    let Came::Waits(wish, first, _) = other.come(Wish::Any, 0) else { panic!("it is full") };
    // No shard has heard of it yet.
    shared.servers[0].limit.set_max(2);
    let Came::Waits(_, later, _) = one.come(Wish::Any, 0) else { panic!("it overtakes") };
    while other.receive() {}
    assert!(other.look(wish, first).is_some(), "it has waited longest");
    assert!(one.look(wish, later).is_none(), "there was one slot");
}

#[test]
fn a_slot_beyond_a_lowered_limit_goes_to_nobody_who_waits() {
    for keeps in [false, true] {
        let shared = Shared::new(2, 1, 2);
        let [one, other] = [0, 1].map(|index| Shard::new(&shared, index));
        let served = |came| match came {
            Came::Served(grant) => grant,
            Came::Waits(..) => panic!("there is room"),
        };
        let used = [served(one.come(Wish::Any, 0)), served(one.come(Wish::Any, 0))];
        let Came::Waits(wish, id, _) = other.come(Wish::Any, 0) else { panic!("it is full") };
        shared.servers[0].limit.set_max(1);
        for (grant, is_last) in used.into_iter().zip([false, true]) {
            if keeps {
                one.keep(grant);
            } else {
                one.close(grant);
            }
            while other.receive() {}
            assert_eq!(shared.servers[0].limit.taken(), 1, "as many as may");
            assert_eq!(other.look(wish, id).is_some(), is_last, "keeps: {keeps}");
        }
    }
}

#[test]
fn a_queue_takes_as_many_as_it_may() {
    let line = crate::Line::new(2, 2);
    assert_eq!((line.enter(), line.enter(), line.enter()), (Ok(0), Ok(1), Err(crate::Full)));
    line.leave();
    assert_eq!(line.enter(), Ok(1));
    line.set_max(3);
    assert_eq!(line.enter(), Ok(2));
}
