//! Shards on real threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread::Thread;
use std::time::{Duration, Instant};

use super::world::{Came, Shard, Shared, Wish};

const SHARDS: usize = 4;
const REQUESTS: usize = 20_000;
const PATIENCE: Duration = Duration::from_secs(60);

/// One shard: comes with requests, holds some, and takes what arrives until everybody is done.
fn work(shard: &Shard, done: &AtomicUsize) -> usize {
    let (mut used, mut waiting) = (Vec::new(), Vec::new());
    let (mut come, mut served, mut gone) = (0, 0, 0);
    let until = Instant::now() + PATIENCE;
    let mut state = shard.index as u64 + 1;
    let mut is_done = false;
    while done.load(SeqCst) < SHARDS {
        // xorshift: which of them ends, and how.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        if come < REQUESTS && waiting.len() < 8 {
            come += 1;
            let wish = if state.is_multiple_of(5) {
                Wish::Only(usize::from(state.is_multiple_of(2)))
            } else {
                Wish::Any
            };
            match shard.come(wish, 0) {
                Came::Served(grant) => used.push(grant),
                Came::Waits(wish, id, _) => waiting.push((wish, id)),
            }
        }
        if let Some(grant) = used.pop() {
            served += 1;
            if state.is_multiple_of(7) { shard.close(grant) } else { shard.keep(grant) }
        }
        if state.is_multiple_of(11)
            && let Some((wish, id)) = waiting.pop()
        {
            gone += 1;
            shard.give_up(wish, id);
        }
        let is_quiet = !shard.receive();
        waiting.retain(|(wish, id)| match shard.look(*wish, *id) {
            Some(grant) => {
                used.push(grant);
                false
            }
            None => true,
        });
        if come == REQUESTS && used.is_empty() && waiting.is_empty() && !is_done {
            is_done = true;
            done.fetch_add(1, SeqCst);
        }
        if is_quiet && used.is_empty() && (come == REQUESTS || waiting.len() == 8) {
            assert!(Instant::now() < until, "shard {} waits for ever", shard.index);
            // Only the bell ends this early: a lost one would cost the patience.
            std::thread::park_timeout(if is_done { Duration::from_millis(1) } else { PATIENCE });
        }
    }
    served + gone
}

#[test]
fn threads_serve_everybody_and_never_exceed_the_limit() {
    let shared = Shared::new(SHARDS, 2, 3);
    let done = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..SHARDS)
        .map(|index| {
            let (shared, done) = (shared.clone(), done.clone());
            std::thread::spawn(move || {
                let this: Thread = std::thread::current();
                shared.hub.set_bell(index, move || this.unpark());
                let shard = Shard::new(&shared, index);
                let ended = work(&shard, &done);
                (ended, shard)
            })
        })
        .collect();
    let ends: Vec<_> =
        threads.into_iter().map(|thread| thread.join().expect("no thread panics")).collect();
    assert_eq!(ends.iter().map(|(ended, _)| ended).sum::<usize>(), SHARDS * REQUESTS);
    for server in &shared.servers {
        assert!(server.open_most() <= 3 && server.open_most() > 0);
    }
    assert_eq!(shared.line.waiting(), 0);
}
