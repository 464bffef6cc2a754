//! The cells of each entity: what is counted for a frontend, a backend, a server and a shard.
//!
//! Owns the list of what is counted; `docs/METRICS.md` gives the same list as metrics. Leaves to
//! the data plane when to count, and to the registry which shard holds which group.
//!
//! **Invariant:** a group is aligned to 128 bytes, the pair of cache lines that prefetch brings in
//! together, so two groups never share a line; every field of a group is in its snapshot, because
//! one list makes both.

use crate::{
    Counter, CounterSet, Gauge, Histogram, HistogramSnapshot, ReasonCounts, StatusCounters,
    StatusCounts,
};
use std::ops::AddAssign;

/// The labels of the reasons by which errors are counted, from the crates that tell the reasons
/// apart.
#[derive(Clone, Copy, Debug)]
pub struct Reasons {
    /// Why a request is refused before a backend is asked: [`FrontendStats::rejected`].
    pub rejections: &'static [&'static str],
    /// What goes wrong with a request that was accepted: the `failures` of frontends, backends and
    /// servers.
    pub failures: &'static [&'static str],
    /// How rules end requests without a server: [`FrontendStats::answered`].
    pub answers: &'static [&'static str],
    /// What rules asked for and was not done: [`FrontendStats::rules_dropped`].
    pub rule_drops: &'static [&'static str],
    /// How responses are coded: the `compressed` of frontends and backends.
    pub codings: &'static [&'static str],
    /// Why there is no connection after a TLS handshake: [`FrontendStats::tls_failed`].
    pub handshakes: &'static [&'static str],
    /// What HTTP/2 connections are ended for: [`FrontendStats::http2_floods`].
    pub floods: &'static [&'static str],
    /// The errors that end HTTP/2 connections of clients: [`FrontendStats::http2_errors`].
    pub http2_errors: &'static [&'static str],
    /// The errors by which streams of clients are ended: [`FrontendStats::http2_stream_errors`].
    pub http2_stream_errors: &'static [&'static str],
    /// Why HTTP/2 connections to servers have ended: [`ServerStats::http2_ended`].
    pub server_endings: &'static [&'static str],
    /// The statuses of calls of gRPC: [`BackendStats::grpc`].
    pub grpc: &'static [&'static str],
}

/// A group of cells with one writer, and the values it can be read into.
pub trait Stats {
    /// The values of the group; they add up over shards.
    type Snapshot: Clone + for<'a> AddAssign<&'a Self::Snapshot>;

    /// A group with everything at zero.
    fn new(reasons: &Reasons) -> Self;

    /// The values now, from any thread. They are read one after the other: two of them may differ
    /// by what was counted in between.
    fn snapshot(&self) -> Self::Snapshot;
}

/// The type of the value read from a cell of this type.
macro_rules! value {
    (Counter) => {
        u64
    };
    (Gauge) => {
        u64
    };
    (StatusCounters) => {
        StatusCounts
    };
    (CounterSet) => {
        ReasonCounts
    };
    (Histogram) => {
        HistogramSnapshot
    };
}

/// How a cell is read, under one name for all.
trait Cell<V> {
    fn read(&self) -> V;
}

macro_rules! cells {
    ($($cell:ident, $method:ident;)*) => {
        $(impl Cell<value!($cell)> for $cell {
            fn read(&self) -> value!($cell) {
                self.$method()
            }
        })*
    };
}

cells! {
    Counter, value;
    Gauge, value;
    StatusCounters, snapshot;
    CounterSet, snapshot;
    Histogram, snapshot;
}

/// Declares a group of cells and its snapshot from one list of fields, so that neither can miss
/// one.
macro_rules! stats {
    (
        $(#[$about:meta])*
        $stats:ident, $snapshot:ident, |$reasons:ident| {
            $($(#[$meaning:meta])* $field:ident: $cell:ident = $initial:expr,)*
        }
    ) => {
        $(#[$about])*
        #[derive(Debug)]
        #[repr(align(128))]
        pub struct $stats {
            $($(#[$meaning])* pub $field: $cell,)*
        }

        #[doc = concat!("The values of a [`", stringify!($stats), "`], or their sum over shards.")]
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $snapshot {
            $($(#[$meaning])* pub $field: value!($cell),)*
        }

        impl Stats for $stats {
            type Snapshot = $snapshot;

            fn new($reasons: &Reasons) -> Self {
                Self { $($field: $initial,)* }
            }

            fn snapshot(&self) -> $snapshot {
                $snapshot { $($field: self.$field.read(),)* }
            }
        }

        impl AddAssign<&Self> for $snapshot {
            fn add_assign(&mut self, other: &Self) {
                $(self.$field += &other.$field;)*
            }
        }
    };
}

stats! {
    /// What one shard counts for one frontend: the side of the clients.
    FrontendStats, FrontendSnapshot, |reasons| {
        /// Client connections accepted.
        connections_total: Counter = Counter::new(),
        /// Client connections open now.
        connections_open: Gauge = Gauge::new(),
        /// Connections that ended without having sent a byte.
        connections_empty: Counter = Counter::new(),
        /// TLS handshakes completed in full.
        tls_handshakes: Counter = Counter::new(),
        /// TLS handshakes that went on with an earlier session.
        tls_resumed: Counter = Counter::new(),
        /// TLS handshakes that failed, by reason.
        tls_failed: CounterSet = CounterSet::new(reasons.handshakes),
        /// TLS connections ended because their clients changed keys, or asked to renegotiate, too often.
        tls_floods: Counter = Counter::new(),
        /// From accepting a connection to the end of its TLS handshake.
        tls_handshake_duration: Histogram = Histogram::new(),
        /// Responses sent, by class of their status; a request whose client left before its
        /// response is `other`.
        requests: StatusCounters = StatusCounters::new(),
        /// Bytes received from clients.
        bytes_in: Counter = Counter::new(),
        /// Bytes sent to clients.
        bytes_out: Counter = Counter::new(),
        /// From the first byte of the request to the last byte of the response.
        request_duration: Histogram = Histogram::new(),
        /// Requests refused before a backend was asked, by reason.
        rejected: CounterSet = CounterSet::new(reasons.rejections),
        /// Accepted requests that failed, by reason.
        failures: CounterSet = CounterSet::new(reasons.failures),
        /// Requests that rules ended without a server, by the ending.
        answered: CounterSet = CounterSet::new(reasons.answers),
        /// What rules asked for and was not done, by reason: a limit, or a value that cannot stand where it should.
        rules_dropped: CounterSet = CounterSet::new(reasons.rule_drops),
        /// Copies of requests that were sent to another backend.
        mirrored: Counter = Counter::new(),
        /// Responses that were compressed, by coding.
        compressed: CounterSet = CounterSet::new(reasons.codings),
        /// Responses that were not, because all encoders of the shard were at work.
        compression_skipped: Counter = Counter::new(),
        /// Bytes of bodies that were compressed, before.
        compression_in: Counter = Counter::new(),
        /// The same, after.
        compression_out: Counter = Counter::new(),
        /// Connections on which HTTP/2 was spoken.
        http2_connections_total: Counter = Counter::new(),
        /// Those open now.
        http2_connections_open: Gauge = Gauge::new(),
        /// Streams opened by clients, but for refused ones.
        http2_streams_total: Counter = Counter::new(),
        /// Those open now.
        http2_streams_open: Gauge = Gauge::new(),
        /// Streams refused because the shard has too many.
        http2_streams_refused: Counter = Counter::new(),
        /// Streams that ended without a whole response: reset by either side.
        http2_streams_reset: Counter = Counter::new(),
        /// Times that a response waited because its connection had as much queued as it may.
        http2_queues_full: Counter = Counter::new(),
        /// GOAWAY frames sent.
        http2_goaways: Counter = Counter::new(),
        /// Connections that were ended because they cost more than they brought, by kind.
        http2_floods: CounterSet = CounterSet::new(reasons.floods),
        /// Connections that were ended because the client broke a rule of the protocol, by the error code that it was told.
        http2_errors: CounterSet = CounterSet::new(reasons.http2_errors),
        /// Streams that the protocol's library ended of itself, by the error code that the client was told.
        http2_stream_errors: CounterSet = CounterSet::new(reasons.http2_stream_errors),
    }
}

stats! {
    /// What one shard counts for one backend: requests handed to a set of servers.
    BackendStats, BackendSnapshot, |reasons| {
        /// Requests answered, by class of the status sent to the client; one per request, whatever
        /// the retries.
        requests: StatusCounters = StatusCounters::new(),
        /// Requests handled now: from the choice of the backend to the response's end.
        in_flight: Gauge = Gauge::new(),
        /// Further attempts made after a failed one.
        retries: Counter = Counter::new(),
        /// Those of the further attempts that went to another server.
        redispatches: Counter = Counter::new(),
        /// Requests that were not repeated because the retry budget was spent.
        retries_over_budget: Counter = Counter::new(),
        /// Request bodies that were too large to be kept for repeating them.
        retry_bodies_dropped: Counter = Counter::new(),
        /// Second tries made beside one that was slow.
        hedges: Counter = Counter::new(),
        /// Those of them that were taken over.
        hedges_won: Counter = Counter::new(),
        /// Requests whose client was found in the table.
        stick_hits: Counter = Counter::new(),
        /// Requests with a key that was not found there.
        stick_misses: Counter = Counter::new(),
        /// Entries made or moved to another server.
        stick_stored: Counter = Counter::new(),
        /// Entries thrown out, before their time, for new ones.
        stick_evicted: Counter = Counter::new(),
        /// Entries not made, because other shards wrote in the same place.
        stick_refused: Counter = Counter::new(),
        /// Bytes received from servers.
        bytes_in: Counter = Counter::new(),
        /// Bytes sent to servers.
        bytes_out: Counter = Counter::new(),
        /// From the choice of the backend to the last byte of the response.
        request_duration: Histogram = Histogram::new(),
        /// Requests that failed for good, by reason.
        failures: CounterSet = CounterSet::new(reasons.failures),
        /// Responses that were compressed, by coding.
        compressed: CounterSet = CounterSet::new(reasons.codings),
        /// Responses that were not, because all encoders of the shard were at work.
        compression_skipped: Counter = Counter::new(),
        /// Bytes of bodies that were compressed, before.
        compression_in: Counter = Counter::new(),
        /// The same, after.
        compression_out: Counter = Counter::new(),
        /// Requests waiting now for any of its servers.
        queued: Gauge = Gauge::new(),
        /// Requests that have waited, in the backend's queue or a server's.
        queued_total: Counter = Counter::new(),
        /// How long these have waited together, in microseconds.
        queued_micros: Counter = Counter::new(),
        /// Calls of gRPC, by the status that their callers got.
        grpc: CounterSet = CounterSet::new(reasons.grpc),
    }
}

stats! {
    /// What one shard counts for one server: attempts, where a backend counts requests.
    ServerStats, ServerSnapshot, |reasons| {
        /// Connections opened.
        connections_total: Counter = Counter::new(),
        /// Connections open now, idle ones included.
        connections_open: Gauge = Gauge::new(),
        /// Connections open now and waiting for a request.
        connections_idle: Gauge = Gauge::new(),
        /// Attempts that found an idle connection.
        connections_reused: Counter = Counter::new(),
        /// Connection attempts refused, timed out or otherwise failed.
        connects_failed: Counter = Counter::new(),
        /// Requests at the server now.
        in_flight: Gauge = Gauge::new(),
        /// Responses received, by class of their status.
        requests: StatusCounters = StatusCounters::new(),
        /// Bytes received from the server.
        bytes_in: Counter = Counter::new(),
        /// Bytes sent to the server.
        bytes_out: Counter = Counter::new(),
        /// Attempts that count against the server where traffic is looked at for outliers.
        errors: Counter = Counter::new(),
        /// Those since the last success.
        errors_in_a_row: Gauge = Gauge::new(),
        /// Responses that count for it there.
        successes: Counter = Counter::new(),
        /// From the request to the heads of these responses, in microseconds.
        latency_micros: Counter = Counter::new(),
        /// Attempts that failed, by reason; some were retried.
        failures: CounterSet = CounterSet::new(reasons.failures),
        /// Requests waiting now for this server and no other.
        queued: Gauge = Gauge::new(),
        /// Idle connections left to whichever shard needs one; those that are not taken off are open and idle.
        connections_shelved: Counter = Counter::new(),
        /// Those of them that were taken, or closed.
        connections_unshelved: Counter = Counter::new(),
        /// Connections that came from another shard.
        connections_handed_over: Counter = Counter::new(),
        /// Requests open now on HTTP/2 connections.
        http2_streams_open: Gauge = Gauge::new(),
        /// HTTP/2 connections that have ended, by why.
        http2_ended: CounterSet = CounterSet::new(reasons.server_endings),
    }
}

stats! {
    /// What one shard counts about itself.
    ShardStats, ShardSnapshot, |_reasons| {
        /// Connections accepted from the kernel, over all listeners.
        accepted: Counter = Counter::new(),
        /// Accepts that failed: out of file descriptors or memory, or reset by the peer while
        /// waiting.
        accept_errors: Counter = Counter::new(),
        /// TLS handshakes with clients under way now.
        tls_handshakes: Gauge = Gauge::new(),
        /// Tasks alive now.
        tasks: Gauge = Gauge::new(),
        /// Panics that closed one connection and touched nothing else.
        panics_contained: Counter = Counter::new(),
        /// Commands of the control executor carried out.
        commands_handled: Counter = Counter::new(),
        /// Log lines dropped because the control executor did not keep up.
        log_lines_dropped: Counter = Counter::new(),
        /// Turns of the driver of the data ring.
        loop_turns: Counter = Counter::new(),
        /// Entries submitted to the data ring.
        ring_submissions: Counter = Counter::new(),
        /// Completions handled from the data ring.
        ring_completions: Counter = Counter::new(),
        /// `io_uring_enter` calls of the data ring.
        ring_enters: Counter = Counter::new(),
        /// Receive buffers of the data ring.
        buffers_total: Gauge = Gauge::new(),
        /// Receives that found every buffer taken and had to wait for one.
        buffers_exhausted: Counter = Counter::new(),
        /// Bytes that went from socket to socket.
        spliced_bytes: Counter = Counter::new(),
        /// Splices that found no pipe.
        pipes_exhausted: Counter = Counter::new(),
        /// From the decision that servers have changed to this shard's working by it.
        server_change_delay: Histogram = Histogram::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REASONS: Reasons = Reasons {
        rejections: &["bad_chunk", "no_host"],
        failures: &["timeout"],
        answers: &["deny"],
        rule_drops: &["edit"],
        codings: &["gzip"],
        handshakes: &["timeout"],
        floods: &["pings"],
        http2_errors: &["protocol_error"],
        http2_stream_errors: &["refused_stream"],
        server_endings: &["idle"],
        grpc: &["ok"],
    };

    #[test]
    fn groups_fill_whole_pairs_of_cache_lines() {
        for (name, align, size) in [
            ("frontend", align_of::<FrontendStats>(), size_of::<FrontendStats>()),
            ("backend", align_of::<BackendStats>(), size_of::<BackendStats>()),
            ("server", align_of::<ServerStats>(), size_of::<ServerStats>()),
            ("shard", align_of::<ShardStats>(), size_of::<ShardStats>()),
        ] {
            assert_eq!((align, size % 128), (128, 0), "{name}");
        }
    }

    #[test]
    fn groups_stay_small() {
        assert!(size_of::<FrontendStats>() <= 8_448);
        assert!(size_of::<BackendStats>() <= 4_352);
        assert!(size_of::<ServerStats>() <= 384);
        assert!(size_of::<ShardStats>() <= 4_096);
    }

    #[test]
    fn snapshots_read_every_cell_and_add_up() {
        let (one, two) = (FrontendStats::new(&REASONS), FrontendStats::new(&REASONS));
        one.connections_total.add(3);
        one.connections_open.increment();
        one.requests.record(200);
        one.rejected.increment(1);
        one.request_duration.record_micros(100);
        two.connections_total.add(4);
        two.requests.record(503);
        two.failures.increment(0);
        two.request_duration.record_micros(200);

        let mut sum = one.snapshot();
        sum += &two.snapshot();
        assert_eq!((sum.connections_total, sum.connections_open), (7, 1));
        assert_eq!(sum.requests.total(), 2);
        assert_eq!(sum.rejected.iter().collect::<Vec<_>>(), [("bad_chunk", 0), ("no_host", 1)]);
        assert_eq!(sum.failures.total(), 1);
        assert_eq!(sum.request_duration.sum().as_micros(), 300);
    }
}
