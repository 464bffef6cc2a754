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

use std::time::Instant;

use crate::ask::Skips;
use crate::hash::mix;
use crate::latency::{Latencies, Micros};
use crate::random::Draws;
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

#[derive(Debug)]
pub(crate) struct Prequal {
    probes: [Probe; PROBES_MAX],
    next: usize,
    /// The quantile, in thirty-seconds of a load.
    threshold: u64,
    /// What one request more is at the mean share.
    unit: u64,
}

/// No probe.
const SERVED: Probe = Probe { uses_left: 0, member: 0, load: u64::MAX, latency_micros: 0 };

#[derive(Clone, Copy, Debug)]
struct Probe {
    /// Picks that it still serves for.
    uses_left: u8,
    member: u32,
    /// Requests in flight for the share; [`u64::MAX`]: it has served.
    load: u64,
    latency_micros: u64,
}

impl Prequal {
    pub(crate) const fn new() -> Self {
        Self { probes: [SERVED; PROBES_MAX], next: 0, threshold: 0, unit: 1 }
    }

    pub(crate) fn rebuild(&mut self, members: &[Member]) {
        self.probes = [SERVED; PROBES_MAX];
        let sum: u64 = members.iter().map(|member| u64::from(member.reciprocal)).sum();
        self.unit = (sum / members.len().max(1) as u64).max(1);
    }

    #[inline(never)]
    pub(crate) fn pick(
        &mut self,
        random: u64,
        now: Instant,
        members: &[Member],
        (draws, latencies): (&Draws, &Latencies),
        skips: &Skips<'_>,
    ) -> Option<u32> {
        let now = latencies.micros(now);
        let mut number = random;
        for _ in 0..LOOKS {
            let place = draws.draw(number);
            number = mix(number);
            self.look(place, members.get(place as usize)?, latencies, now, skips);
        }
        let threshold = self.threshold / 32;
        let mut best = (u64::MAX, 0);
        for (at, probe) in self.probes.iter().enumerate() {
            let is_cold = probe.load <= threshold;
            let cost = if is_cold { probe.latency_micros } else { HOT | probe.load };
            if cost < best.0 {
                best = (cost, at);
            }
        }
        let probe = &mut self.probes[best.1];
        let member = members.get(probe.member as usize)?;
        probe.uses_left = probe.uses_left.saturating_sub(1);
        probe.load = match probe.uses_left {
            0 => u64::MAX,
            _ => probe.load + u64::from(member.reciprocal),
        };
        if best.0 < u64::MAX && !skips.skips(member.server) {
            return Some(member.server);
        }
        draws.best(2, number, members, skips, |member, in_flight| {
            u64::from(in_flight) * u64::from(member.reciprocal)
        })
    }

    /// Puts a probe in the place of the oldest one.
    #[inline]
    fn look(
        &mut self,
        place: u32,
        member: &Member,
        latencies: &Latencies,
        now: Micros,
        skips: &Skips<'_>,
    ) {
        let in_flight = skips.loads.in_flight(ServerId(member.server));
        let load = u64::from(in_flight) * u64::from(member.reciprocal);
        self.probes[self.next] = Probe {
            uses_left: USES_MAX,
            member: place,
            load,
            latency_micros: latencies.levelling(member.server, now),
        };
        self.next = (self.next + 1) % PROBES_MAX;
        // Rises and falls so that the stated part of the loads seen lies below: a step of an eighth of a request.
        let step = self.unit / 8;
        self.threshold = if load > self.threshold / 32 {
            self.threshold + step * COLD_OF_32
        } else {
            self.threshold.saturating_sub(step * (32 - COLD_OF_32))
        };
    }
}
