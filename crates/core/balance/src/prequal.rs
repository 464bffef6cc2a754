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
//! Invariant: the pool holds at most [`PROBES_MAX`] probes, the newest, none used more than [`USES_MAX`] times.

use std::time::{Duration, Instant};

use crate::ask::{Ask, Loads};
use crate::latency::{Latencies, Micros};
use crate::random::{Draws, another};
use crate::server::{Member, ServerId};

/// Probes in the pool. The paper has 16 for servers that are asked over a network; with a look at each pick, the
/// oldest of 4 is four picks old.
const PROBES_MAX: usize = 8;
/// Looks in each pick.
const LOOKS: usize = 2;
/// Picks that a probe serves for: it is out of date by then.
const USES_MAX: u8 = 2;
/// Of 32: the quantile of requests in flight above which a server is hot, 0.94. The paper found 0.6 to 0.9 good and higher
/// ones hardly worse; with few servers a burst makes all fast ones hot at once, and the slow one was left.
const COLD_OF_32: u64 = 30;
/// A cost above all latencies.
const HOT: u64 = 1 << 63;
/// The cost of a probe that has served.
const SERVED: u64 = u64::MAX;
/// The lowest bits of a cost are the probe's place in the pool.
const PLACE_BITS: u32 = PROBES_MAX.ilog2();

/// By place in the pool where it says so.
#[derive(Debug)]
pub(crate) struct Prequal {
    /// What a probe costs if it is hot: [`HOT`], and its requests in flight for the share.
    hot: [u64; PROBES_MAX],
    /// What it costs if it is cold: its latency in microseconds.
    cold: [u64; PROBES_MAX],
    members: [u32; PROBES_MAX],
    /// Picks that it still serves for.
    uses_left: [u8; PROBES_MAX],
    next: usize,
    /// The quantile, in thirty-seconds of a load.
    threshold: u64,
    /// How far it rises with a load above it, and falls with another.
    rise: u64,
    fall: u64,
    draws: Draws,
    latencies: Latencies,
}

impl Prequal {
    pub(crate) fn new(servers_count: usize) -> Self {
        Self {
            hot: [SERVED; PROBES_MAX],
            cold: [0; PROBES_MAX],
            members: [0; PROBES_MAX],
            uses_left: [0; PROBES_MAX],
            next: 0,
            threshold: 0,
            rise: 0,
            fall: 0,
            draws: Draws::default(),
            latencies: Latencies::new(servers_count),
        }
    }

    pub(crate) fn rebuild(&mut self, members: &[Member]) {
        self.hot = [SERVED; PROBES_MAX];
        let sum: u64 = members.iter().map(|member| u64::from(member.reciprocal)).sum();
        // What one request more is at the mean share; a step is an eighth of that.
        let unit = (sum / members.len().max(1) as u64).max(1);
        // So that the stated part of the loads lies below.
        (self.rise, self.fall) = (unit / 8 * COLD_OF_32, unit / 8 * (32 - COLD_OF_32));
        self.draws.rebuild(members);
    }

    /// Takes note of how long a server took.
    #[inline]
    pub(crate) fn observe(&mut self, server: u32, latency: Duration, now: Instant) {
        self.latencies.observe(server, latency, now);
    }

    #[inline(never)]
    pub(crate) fn pick<L: Loads>(&mut self, members: &[Member], ask: &Ask<'_, L>) -> Option<u32> {
        let now = self.latencies.present(ask.now);
        let mut number = ask.random;
        for _ in 0..LOOKS {
            let place = self.draws.draw(number);
            number = another(number);
            self.look(place, members.get(place as usize)?, now, ask);
        }
        let best = self.best();
        if best != SERVED {
            #[expect(clippy::cast_possible_truncation, reason = "below the length of the pool")]
            let at = best as usize % PROBES_MAX;
            let member = members.get(self.members[at] as usize)?;
            self.uses_left[at] -= 1;
            self.hot[at] = match self.uses_left[at] {
                0 => SERVED,
                _ => self.hot[at] + (u64::from(member.reciprocal) << PLACE_BITS),
            };
            if !ask.skips(member.server) {
                return Some(member.server);
            }
        }
        self.draws.best(2, number, members, ask, |member, in_flight| {
            u64::from(in_flight) * u64::from(member.reciprocal)
        })
    }

    /// The cost of the best probe, with its place.
    #[inline]
    fn best(&self) -> u64 {
        let threshold = HOT | (self.threshold / 32) << PLACE_BITS | (PROBES_MAX as u64 - 1);
        let mut best = SERVED;
        for (hot, cold) in self.hot.iter().zip(&self.cold) {
            let cost = if *hot <= threshold { *cold } else { *hot };
            best = if cost < best { cost } else { best };
        }
        best
    }

    /// Puts a probe in the place of the oldest one.
    #[inline]
    fn look<L: Loads>(&mut self, place: u32, member: &Member, now: Micros, ask: &Ask<'_, L>) {
        let in_flight = ask.loads.in_flight(ServerId(member.server));
        let load = u64::from(in_flight) * u64::from(member.reciprocal);
        let at = self.next % PROBES_MAX;
        self.hot[at] = HOT | load << PLACE_BITS | at as u64;
        self.cold[at] = self.latencies.levelling(member.server, now) << PLACE_BITS | at as u64;
        self.members[at] = place;
        self.uses_left[at] = USES_MAX;
        self.next = (self.next + 1) % PROBES_MAX;
        self.threshold = if load > self.threshold / 32 {
            self.threshold + self.rise
        } else {
            self.threshold.saturating_sub(self.fall)
        };
    }
}
