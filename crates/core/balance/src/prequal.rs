//! Prequal (Wydrowski et al., NSDI 2024), in a proxy whose servers do not take part.
//!
//! Owns the pool of probes and the hot-cold rule. There, a probe is a question to a server, answered with its
//! requests in flight and its latency; here it is a look at what this process knows: the requests that it has in
//! flight at the server, from all shards, and the latency of those that ended on this shard. A look costs nothing, so
//! it is taken when a request comes, and none is late or lost. What other clients of the servers send is not seen.
//!
//! The rule: of the probes in the pool, those whose requests in flight lie above the quantile of all seen lately are
//! hot. If any is cold, the cold one with the least latency is taken; otherwise the hot one with the fewest requests.
//!
//! Hot or cold is what a probe was when it was taken: a look later the quantile is hardly another one.
//!
//! Invariant: the pool holds at most [`PROBES_MAX`] probes, the newest. None is used more than twice: one of an earlier pick is not
//! kept once it is used.

use std::time::{Duration, Instant};

use crate::ask::{Ask, Loads};
use crate::latency::{Changed, Latencies};
use crate::pool::Pool;
use crate::random::{Draws, another};
use crate::server::{Member, ServerId};

/// Probes in the pool. The paper has 16 for servers that are asked over a network; with two looks at each pick, the
/// oldest of 6 is two picks old.
const PROBES_MAX: usize = LOOKS * 3;
/// Looks in each pick.
const LOOKS: usize = 2;
/// Of 16: the quantile of requests in flight above which a server is hot, 0.94. The paper found 0.6 to 0.9 good and higher
/// ones hardly worse; with few servers a burst makes all fast ones hot at once, and the slow one was left.
const COLD_OF_16: i64 = 15;
/// A cost above all latencies.
const HOT: u64 = 1 << 63;
/// The cost of no probe.
const NONE: u64 = u64::MAX;
/// The lowest bits of a cost are the server's.
const SERVER_BITS: u32 = Pool::SERVERS_MAX.ilog2();
const SERVER_MASK: u64 = Pool::SERVERS_MAX as u64 - 1;

#[derive(Debug)]
pub(crate) struct Prequal {
    /// What the probes of earlier picks cost, the newest first. If one is hot, [`HOT`] and its load; otherwise what its
    /// latency is worth.
    probes: [u64; PROBES_MAX - LOOKS],
    /// The quantile, in `1 / SERVERS_MAX` of a load, and how far it rises with a load above it and falls with another.
    threshold: i64,
    rise: i64,
    fall: i64,
    draws: Draws,
    /// By place among the members.
    targets: Vec<Target>,
    latencies: Latencies,
}

/// Who may be looked at.
#[derive(Clone, Copy, Debug)]
struct Target {
    /// What a probe costs that is cold: the less, the faster the server is.
    cold: u64,
    server: u32,
    reciprocal: u32,
}

impl Prequal {
    pub(crate) fn new(servers_count: usize) -> Self {
        Self {
            probes: [NONE; PROBES_MAX - LOOKS],
            threshold: 0,
            rise: 0,
            fall: 0,
            draws: Draws::default(),
            targets: Vec::with_capacity(servers_count),
            latencies: Latencies::new(servers_count),
        }
    }

    pub(crate) fn rebuild(&mut self, members: &[Member]) {
        self.probes = [NONE; PROBES_MAX - LOOKS];
        let sum: u64 = members.iter().map(|member| u64::from(member.reciprocal)).sum();
        // What one request more is at the mean share; a step is an eighth of that.
        let unit = (sum / members.len().max(1) as u64) << SERVER_BITS;
        let step = (unit / 8).cast_signed();
        // So that the stated part of the loads lies below.
        (self.rise, self.fall) = (step / 16 * COLD_OF_16, step / 16 * (16 - COLD_OF_16));
        self.draws.rebuild(members);
        let latencies = &self.latencies;
        self.targets.clear();
        self.targets.extend(members.iter().map(|&Member { server, reciprocal, .. }| Target {
            cold: cold(server, latencies.distance(server)),
            server,
            reciprocal,
        }));
    }

    /// Takes note of how long a server took.
    pub(crate) fn observe(&mut self, server: u32, latency: Duration, now: Instant) {
        match self.latencies.observe(server, latency, now) {
            Changed::One => self.price(server),
            Changed::All => self.price_all(),
        }
    }

    /// Forgets a server's latency and its probes.
    pub(crate) fn forget(&mut self, server: u32) {
        self.latencies.forget(server);
        self.price(server);
        for probe in &mut self.probes {
            if *probe & SERVER_MASK == u64::from(server) {
                *probe = NONE;
            }
        }
    }

    fn price(&mut self, server: u32) {
        let place = self.targets.binary_search_by_key(&server, |target| target.server);
        if let Some(target) = place.ok().and_then(|place| self.targets.get_mut(place)) {
            target.cold = cold(server, self.latencies.distance(server));
        }
    }

    fn price_all(&mut self) {
        for target in &mut self.targets {
            target.cold = cold(target.server, self.latencies.distance(target.server));
        }
    }

    /// None where the best probe's server is skipped: another is then to be picked with [`Prequal::pick_other`].
    #[inline(never)]
    pub(crate) fn pick<L: Loads>(&mut self, ask: &Ask<'_, L>) -> Option<u32> {
        let one = self.look(ask.random, ask)?;
        let two = self.look(another(ask.random), ask)?;
        let [three, four, five, six] = self.probes;
        let best = one.min(two).min(three).min(four).min(five).min(six);
        let unless_used = |probe| if probe == best { NONE } else { probe };
        self.probes = [one, two, unless_used(three), unless_used(four)];
        let server = (best & SERVER_MASK) as u32;
        if ask.skips(server) { None } else { Some(server) }
    }

    /// What a probe of a server that is drawn costs.
    #[inline(always)]
    fn look<L: Loads>(&mut self, number: u64, ask: &Ask<'_, L>) -> Option<u64> {
        let target = self.targets.get(self.draws.draw(number) as usize)?;
        let in_flight = ask.loads.in_flight(ServerId(target.server));
        let load = (u64::from(in_flight) * u64::from(target.reciprocal)) << SERVER_BITS;
        if load.cast_signed() > self.threshold {
            self.threshold += self.rise;
            return Some(HOT | load | u64::from(target.server));
        }
        self.threshold -= self.fall;
        Some(target.cold)
    }

    /// The less loaded of two that are not skipped.
    pub(crate) fn pick_other<L: Loads>(&self, members: &[Member], ask: &Ask<'_, L>) -> Option<u32> {
        let number = another(another(ask.random));
        self.draws.best(2, number, members, ask, |member, in_flight| {
            u64::from(in_flight) * u64::from(member.reciprocal)
        })
    }
}

/// The cost of a cold probe: in the order of the distances, below [`HOT`].
fn cold(server: u32, distance: f64) -> u64 {
    let bits = distance.to_bits();
    // Numbers with a sign are ordered backwards.
    let ordered = if bits & HOT == 0 { bits | HOT } else { !bits };
    ordered >> 1 & !SERVER_MASK | u64::from(server)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ask::Idle;
    use crate::server::Share;

    /// Four servers, the higher the number the slower; `seen` hears of the probes before and after each of a few picks.
    fn picked(mut seen: impl FnMut([u64; 4], [u64; 4])) -> Prequal {
        let (now, share) = (Instant::now(), Share(Share::PER_WEIGHT));
        let reciprocal = u32::try_from(share.reciprocal()).expect("small");
        let members = [0, 1, 2, 3].map(|server| Member { server, share, reciprocal });
        let mut prequal = Prequal::new(4);
        prequal.rebuild(&members);
        for server in (0..4).cycle().take(400) {
            prequal.observe(server, Duration::from_millis(10 + u64::from(server)), now);
        }
        for number in 1..200_u64 {
            let random = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let before = prequal.probes;
            let ask = Ask { now, random, key: None, avoid: &[], loads: &Idle };
            assert!(prequal.pick(&ask).is_some());
            seen(before, prequal.probes);
        }
        prequal
    }

    #[test]
    fn a_probe_of_an_earlier_pick_is_not_kept_once_it_is_used() {
        let mut used_count = 0;
        picked(|before, after| {
            let used = *before.iter().min().expect("four");
            if used < after[0].min(after[1]) {
                used_count += 1;
                assert!(!after.contains(&used));
            }
        });
        assert!(used_count > 20, "{used_count}");
    }

    #[test]
    fn no_probe_of_a_server_that_is_forgotten_is_left() {
        let mut prequal = picked(|_, _| {});
        for server in 0..4 {
            let is_of = |probe: &u64| *probe != NONE && probe & SERVER_MASK == u64::from(server);
            prequal.probes[0] = cold(server, 1.0);
            prequal.forget(server);
            assert!(!prequal.probes.iter().any(is_of));
        }
    }
}
