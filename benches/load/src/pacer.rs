//! Decides when the next request is due and which connection takes it. Pure: time and connections
//! come as arguments, so the accounting is tested against simulated servers. Sockets belong to the
//! generator, recording to the recorder.
//!
//! Invariant: an open-loop request keeps the time at which it was *meant* to leave. When every
//! connection is busy the schedule waits, the intended times do not, so a stall of the server is
//! charged to every request that should have been sent during it (no coordinated omission).

use std::collections::VecDeque;

/// Nanoseconds in a second.
const SECOND: u64 = 1_000_000_000;

/// How requests are offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// Closed loop: a connection sends its next request as soon as the last one is answered.
    Saturate,
    /// Open loop: this many requests a second at equal distances, whatever the server does.
    Rate(u64),
    /// Every connection sends exactly one request and then stays silent.
    OnceEach,
}

/// The constant-rate timetable: request `n` is due at `start + n / rate`.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    start_ns: u64,
    rate: u64,
    next: u64,
}

impl Schedule {
    /// A timetable of `rate` requests a second (at least 1) that begins at `start_ns`.
    pub fn new(start_ns: u64, rate: u64) -> Self {
        Self { start_ns, rate: rate.max(1), next: 0 }
    }

    /// When the next request is meant to leave.
    #[inline]
    pub fn next_at(&self) -> u64 {
        let (seconds, rest) = (self.next / self.rate, self.next % self.rate);
        self.start_ns + seconds * SECOND + rest * SECOND / self.rate
    }

    /// Takes the next request off the timetable and returns its intended time.
    #[inline]
    pub fn take(&mut self) -> u64 {
        let at = self.next_at();
        self.next += 1;
        at
    }
}

/// Matches due requests with free connections, first freed first used so that all take part.
#[derive(Debug)]
pub struct Pacer {
    free: VecDeque<u64>,
    offer: Offer,
}

#[derive(Debug)]
enum Offer {
    Paused,
    Saturate,
    Scheduled(Schedule),
}

impl Pacer {
    /// A pacer that offers nothing yet; room for `connections` tokens is reserved.
    pub fn new(connections: usize) -> Self {
        Self { free: VecDeque::with_capacity(connections), offer: Offer::Paused }
    }

    /// Starts (or changes) the load at `now_ns`.
    pub fn offer(&mut self, load: Load, now_ns: u64) {
        self.offer = match load {
            Load::Saturate | Load::OnceEach => Offer::Saturate,
            Load::Rate(rate) => Offer::Scheduled(Schedule::new(now_ns, rate)),
        };
    }

    /// Offers nothing more.
    pub fn pause(&mut self) {
        self.offer = Offer::Paused;
    }

    /// A connection can take a request. The token is opaque here.
    #[inline]
    pub fn release(&mut self, token: u64) {
        self.free.push_back(token);
    }

    /// The next free connection, if a request is due at `now_ns`. The caller may drop a token
    /// whose connection has gone in the meantime and ask again: no request has been taken yet.
    #[inline]
    pub fn due_connection(&mut self, now_ns: u64) -> Option<u64> {
        let due = match &self.offer {
            Offer::Paused => false,
            Offer::Saturate => true,
            Offer::Scheduled(schedule) => schedule.next_at() <= now_ns,
        };
        if due { self.free.pop_front() } else { None }
    }

    /// Takes the due request: its intended time, or `now_ns` in a closed loop.
    #[inline]
    pub fn take_request(&mut self, now_ns: u64) -> u64 {
        match &mut self.offer {
            Offer::Paused | Offer::Saturate => now_ns,
            Offer::Scheduled(schedule) => schedule.take(),
        }
    }

    /// When to wake for a request that will find a free connection; `None` when only a completion
    /// can let something happen.
    #[inline]
    pub fn wake_at(&self) -> Option<u64> {
        match &self.offer {
            Offer::Scheduled(schedule) if !self.free.is_empty() => Some(schedule.next_at()),
            _ => None,
        }
    }

    /// The intended time of the next request of an open loop, sent or overdue.
    pub fn next_intended(&self) -> Option<u64> {
        match &self.offer {
            Offer::Scheduled(schedule) => Some(schedule.next_at()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::Recorder;

    const MICRO: u64 = 1_000;
    const MILLI: u64 = 1_000_000;

    /// Runs `seconds` of virtual time against a server that answers each request after 100 µs,
    /// except during `stall`, when it answers nothing until the stall is over.
    fn simulate(
        rate: u64,
        connections: u64,
        seconds: u64,
        stall: std::ops::Range<u64>,
    ) -> Recorder {
        let mut pacer = Pacer::new(16);
        let mut recorder = Recorder::new();
        recorder.open_window(0, seconds * SECOND);
        (0..connections).for_each(|token| pacer.release(token));
        pacer.offer(Load::Rate(rate), 0);
        // (completion time, token, intended time)
        let mut in_flight: Vec<(u64, u64, u64)> = Vec::new();
        let mut now = 0;
        while now < seconds * SECOND {
            while let Some(token) = pacer.due_connection(now) {
                let intended = pacer.take_request(now);
                let done = if stall.contains(&now) { stall.end } else { now } + 100 * MICRO;
                in_flight.push((done, token, intended));
            }
            let completion = in_flight.iter().map(|entry| entry.0).min();
            now = match (pacer.wake_at(), completion) {
                (Some(wake), Some(done)) => wake.min(done),
                (Some(at), None) | (None, Some(at)) => at,
                (None, None) => unreachable!("a busy connection always completes"),
            };
            in_flight.retain(|&(done, token, intended)| {
                if done <= now {
                    recorder.success(intended, done, 100);
                    pacer.release(token);
                }
                done > now
            });
        }
        recorder
    }

    #[test]
    fn intended_times_are_evenly_spaced_and_do_not_drift() {
        let mut schedule = Schedule::new(7, 3);
        let times: Vec<u64> = (0..7).map(|_| schedule.take()).collect();
        assert_eq!(times[0], 7);
        assert_eq!(times[1], 7 + 333_333_333);
        assert_eq!(times[3], 7 + SECOND);
        assert_eq!(times[6], 7 + 2 * SECOND);
    }

    #[test]
    fn steady_server_shows_its_own_latency() {
        let recorder = simulate(1_000, 4, 10, 0..0);
        let p99 = recorder.histogram().value_at_quantile(0.99);
        assert!((99 * MICRO..=101 * MICRO).contains(&p99), "p99 {p99} ns");
    }

    #[test]
    fn stall_is_charged_to_every_request_that_was_meant_to_leave_during_it() {
        // One second of ten is a stall. Four connections see it directly: 4 of 10,000 requests,
        // which a generator that waits for its connections would report as a p99 of 100 µs.
        let recorder = simulate(1_000, 4, 10, 4 * SECOND..5 * SECOND);
        let histogram = recorder.histogram();
        let p99 = histogram.value_at_quantile(0.99);
        assert!(p99 > 850 * MILLI, "p99 {p99} ns: the stall was omitted");
        let slow = histogram.count_between(MILLI, 2 * SECOND);
        assert!((900..1_300).contains(&slow), "{slow} requests felt the stall");
        let p50 = histogram.value_at_quantile(0.5);
        assert!(p50 < 102 * MICRO, "p50 {p50} ns: most of the run is not affected");
    }

    #[test]
    fn closed_loop_reuses_the_connection_at_once() {
        let mut pacer = Pacer::new(1);
        pacer.offer(Load::Saturate, 0);
        assert_eq!(pacer.due_connection(5), None);
        pacer.release(9);
        assert_eq!(pacer.due_connection(5), Some(9));
        assert_eq!(pacer.take_request(5), 5);
    }

    #[test]
    fn connections_take_turns() {
        let mut pacer = Pacer::new(3);
        (0..3).for_each(|token| pacer.release(token));
        pacer.offer(Load::Rate(1), 0);
        for expected in [0, 1, 2, 0, 1] {
            let token = pacer.due_connection(u64::MAX).expect("a connection is free");
            pacer.take_request(u64::MAX);
            pacer.release(token);
            assert_eq!(token, expected);
        }
    }
}
