//! What a shard knows of a server that moves, which no request can show at once.
//!
//! Owns what is forgotten and what stays; leaves connections and names to the end-to-end tests.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_balance::{Policy as Balance, ServerId};
use tidegate_shard::Service;

use crate::command::{Command, ServerChange, ServerStates};
use crate::fixtures::{on_a_shard, snapshot, up};
use crate::settings::Snapshot;
use crate::site::SMALL_RESPONSES_MIN;
use crate::upstream::place::{Location, Spot};
use crate::worker::Worker;

fn spot(epoch: u32) -> Option<Spot> {
    Some(Spot { socket: SocketAddr::from(([127, 0, 0, 1], 1)), epoch })
}

/// Two servers with names; the first one is at the place `epoch`.
fn two_servers(generation: u64, epoch: u32) -> Arc<Snapshot> {
    let named = |name: &str, spot| Location::Named { name: name.into(), spot };
    let servers = [("moves", named("a:80", spot(epoch))), ("stays", named("b:80", spot(9)))];
    snapshot(generation, Balance::PeakEwma, &servers)
}

/// Tells the shard where the first server is.
fn tell(worker: &Worker, spot: Option<Spot>) {
    let change = ServerChange { backend: 0, server: 0, standing: up(), spot };
    let states = ServerStates { generation: 1, decided: Instant::now(), changes: vec![change] };
    worker.command(Command::ServerStates(Arc::new(states)));
}

/// Both servers speak HTTP/2 and send little; the first one is slow.
fn teach(worker: &Worker) {
    let site = worker.site.borrow().clone();
    let (backend, now) = (&site.backends[0], worker.shard.clock.now());
    for server in &backend.servers {
        server.trunks.note_spoken(true);
        (0..SMALL_RESPONSES_MIN).for_each(|_| server.note_response(false));
    }
    backend.observe(ServerId(0), Duration::from_secs(5), now);
    (0..1_000).for_each(|_| backend.observe(ServerId(1), Duration::from_millis(10), now));
}

/// Whether a server is known for what it was taught to be: that it speaks HTTP/2, and that it sends little.
fn is_known(worker: &Worker, server: usize) -> (bool, bool) {
    let site = worker.site.borrow().clone();
    let known = &site.backends[0].servers[server];
    (known.trunks.is_spoken(), !known.receives_on_demand())
}

/// Requests of 1,000 that the first server would get.
fn picks(worker: &Worker) -> usize {
    let site = worker.site.borrow().clone();
    let (backend, now) = (&site.backends[0], worker.shard.clock.now());
    let numbers = (1..=1_000_u64).map(|number| number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let picked = numbers.map(|random| backend.pick(now, random, None, &[]));
    picked.filter(|picked| *picked == Ok(ServerId(0))).count()
}

#[test]
fn a_server_that_moves_begins_afresh_and_the_others_stay_known() {
    on_a_shard(two_servers(1, 1), |worker| async move {
        teach(&worker);
        let before = picks(&worker);
        assert!(before < 50, "{before}: it is slow");
        for news in [spot(1), None] {
            tell(&worker, news);
            assert_eq!(is_known(&worker, 0), (true, true), "it is where it was");
            assert_eq!(picks(&worker), before);
        }
        tell(&worker, spot(2));
        let after = picks(&worker);
        assert!(after > 300, "{after}: it is as one that was never heard of");
        assert_eq!(is_known(&worker, 0), (false, false));
        assert_eq!(is_known(&worker, 1), (true, true), "it has not moved");
    });
}

#[test]
fn what_is_kept_over_a_reload_is_not_kept_of_a_server_that_moved_meanwhile() {
    on_a_shard(two_servers(1, 1), |worker| async move {
        teach(&worker);
        worker.command(Command::Apply(two_servers(2, 1), Vec::new()));
        assert_eq!(is_known(&worker, 0), (true, true), "it is where it was");
        worker.command(Command::Apply(two_servers(3, 2), Vec::new()));
        assert_eq!(is_known(&worker, 0), (false, false));
        assert_eq!(is_known(&worker, 1), (true, true), "it has not moved");
    });
}
