//! Which metrics exist: name, type, labels and help of every family of a scrape.
//!
//! Owns this list, and which number of a snapshot each plain family shows. `docs/METRICS.md` has
//! the same list for people, held to this one by a test. Leaves rendering to the parent module.
//!
//! **Invariant:** a name appears once; it ends in its unit where it has one, and in `_total` when
//! it is a counter.

use tidegate_log::Counts;
use tidegate_telemetry::{BackendSnapshot, FrontendSnapshot, ServerSnapshot, ShardSnapshot};

/// A metric: a row of the table in `docs/METRICS.md`.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) labels: &'static [&'static str],
    pub(super) help: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    /// A counter that our own code writes: the exporter has none of fractions.
    FractionalCounter,
    /// Our own code writes it: the exporter has no histograms that are already counted.
    Histogram,
}

impl Kind {
    /// The type in the text format.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Counter | Self::FractionalCounter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A family that shows one number of an entity's snapshot.
pub(super) struct Scalar<S> {
    pub(super) family: Family,
    pub(super) value: fn(&S) -> u64,
}

/// Rows of `TABLE: Snapshot [labels] { Kind "metric name" = field: "help"; … }`.
macro_rules! scalars {
    ($(#[$about:meta])* $table:ident: $snapshot:ident $labels:tt {
        $($kind:ident $name:literal = $field:ident: $help:literal;)*
    }) => {
        $(#[$about])*
        pub(super) static $table: &[Scalar<$snapshot>] = &[$(Scalar {
            family: Family { name: $name, kind: Kind::$kind, labels: &$labels, help: $help },
            value: |values| values.$field,
        },)*];
    };
}

/// Rows of `FAMILY: Kind "metric name" [labels] "help";`.
macro_rules! families {
    ($($family:ident: $kind:ident $name:literal $labels:tt $help:literal;)*) => {
        $(pub(super) static $family: Family =
            Family { name: $name, kind: Kind::$kind, labels: &$labels, help: $help };)*
    };
}

families! {
    BUILD_INFO: Gauge "tidegate_build_info" ["version"]
        "Always 1; the version is the label.";
    START_TIME: Gauge "process_start_time_seconds" []
        "When the process started, since the Unix epoch.";
    CPU_SECONDS: FractionalCounter "process_cpu_seconds_total" []
        "CPU time used by all threads, user and system.";
    RESIDENT_BYTES: Gauge "process_resident_memory_bytes" []
        "Memory of the process in RAM.";
    OPEN_FDS: Gauge "process_open_fds" []
        "File descriptors open now.";
    FDS_MAX: Gauge "process_max_fds" []
        "File descriptors that may be open: the soft limit.";
    SCRAPES_REFUSED: Counter "tidegate_admin_scrapes_refused_total" []
        "Scrapes that were answered with 503 because too many waited to be written.";

    CONFIG_GENERATION: Gauge "tidegate_config_generation" []
        "The newest configuration: 1 is that of the start, and each reload that is taken counts one more.";
    CONFIG_RELOADS: Counter "tidegate_config_reloads_total" ["result"]
        "Reloads: `ok` when the configuration was taken, `failed` when nothing was changed.";
    CONFIG_LAST_RELOAD_OK: Gauge "tidegate_config_last_reload_ok" []
        "Whether the last reload was taken: 1, also before the first one, or 0.";
    CONFIG_LAST_RELOAD_TIME: Gauge "tidegate_config_last_reload_time_seconds" []
        "When the last reload was taken or failed, since the Unix epoch; before the first one, the start.";
    CONFIG_SHARD_GENERATION: Gauge "tidegate_config_shard_generation" ["shard"]
        "The configuration that a shard works from; below the newest while the shard has not taken it.";
    CONFIG_COMMANDS_HELD: Counter "tidegate_config_shard_commands_held_total" ["shard"]
        "Commands that found a shard's queue full; the newest configuration was held until there was room.";
    LOG_SUPPRESSED: Counter "tidegate_log_lines_suppressed_total" ["event"]
        "Log lines of events that were left out because there were too many of them.";

    TLS_CERTIFICATES: Gauge "tidegate_tls_certificates" []
        "Certificates that binds show.";
    TLS_CERTIFICATE_EXPIRY: Gauge "tidegate_tls_certificate_expiry_seconds" ["file", "name"]
        "When a certificate expires, since the Unix epoch; of the 1,000 that expire first.";
    TLS_FILES_REPLACED: Counter "tidegate_tls_files_replaced_total" []
        "Files of certificates and authorities that were taken after they had changed, without a reload.";
    TLS_FILES_FAILED: Counter "tidegate_tls_files_failed_total" []
        "Files of certificates and authorities that had changed and were wrong, so that the old stayed in use.";
    ACME_ORDERS: Counter "tidegate_acme_orders_total" []
        "Orders of certificates that were begun.";
    ACME_FAILURES: Counter "tidegate_acme_failures_total" []
        "Orders and attempts at one that led to no certificate.";
    ACME_NEXT: Gauge "tidegate_acme_next_attempt_seconds" ["name"]
        "When a certificate is ordered next, since the Unix epoch: its renewal, or the next try after a failure.";
    LOOKUPS_DELAYED: Counter "tidegate_name_lookups_delayed_total" []
        "Questions to resolvers that had to wait because as many were on their way as may be.";
    NAME_ADDRESSES: Gauge "tidegate_name_addresses" ["resolvers", "name"]
        "Addresses that the name stands for, those that are held included.";
    NAME_HELD: Gauge "tidegate_name_held" ["resolvers", "name"]
        "Whether addresses are held that no resolver confirms: 1, or 0.";
    NAME_RESOLUTIONS: Counter "tidegate_name_resolutions_total" ["resolvers", "name", "result"]
        "Times that the name was resolved, by result, once there was one: `found`, `no_such_name`, `no_records`, or what went wrong.";
    NAME_SURPLUS: Gauge "tidegate_name_surplus_addresses" ["backend", "name"]
        "Addresses of the name that have no slot in the backend.";
    RESOLVER_TRIES: Counter "tidegate_resolver_tries_total" ["resolvers", "resolver", "result"]
        "Questions sent to the resolver, by whether it `answered` or `failed` to.";

    ACCESS_LOG_DROPPED: Counter "tidegate_access_log_lines_dropped_total" ["cause"]
        "Lines of access logs that were lost, by cause.";

    FRONTEND_REQUESTS: Counter "tidegate_frontend_requests_total" ["frontend", "shard", "status"]
        "Responses sent to clients, by status class; `other` when the client left before its response.";
    FRONTEND_REJECTED: Counter "tidegate_frontend_requests_rejected_total" ["frontend", "reason"]
        "Requests refused before a backend was asked, by reason.";
    FRONTEND_FAILED: Counter "tidegate_frontend_requests_failed_total" ["frontend", "reason"]
        "Accepted requests that failed, by reason.";
    FRONTEND_ANSWERED: Counter "tidegate_frontend_requests_answered_total" ["frontend", "reason"]
        "Requests that rules ended without a server, by the ending.";
    FRONTEND_RULES_DROPPED: Counter "tidegate_frontend_rules_dropped_total" ["frontend", "reason"]
        "What rules asked for and was not done, by reason: a limit, or a value that cannot stand where it should.";
    FRONTEND_COMPRESSED: Counter "tidegate_frontend_responses_compressed_total" ["frontend", "coding"]
        "Responses that were compressed, by coding.";
    FRONTEND_TLS_FAILED: Counter "tidegate_frontend_tls_handshakes_failed_total" ["frontend", "reason"]
        "TLS handshakes that failed, by reason.";
    FRONTEND_TLS_DURATION: Histogram "tidegate_frontend_tls_handshake_duration_seconds" ["frontend"]
        "From accepting a connection to the end of its TLS handshake.";
    FRONTEND_HTTP2_FLOODS: Counter "tidegate_frontend_http2_floods_total" ["frontend", "reason"]
        "HTTP/2 connections that were ended because they cost more than they brought, by kind.";
    FRONTEND_HTTP2_ERRORS: Counter "tidegate_frontend_http2_errors_total" ["frontend", "reason"]
        "HTTP/2 connections that were ended because the client broke a rule of the protocol, by the error code that it was told.";
    FRONTEND_HTTP2_STREAM_ERRORS: Counter "tidegate_frontend_http2_stream_errors_total" ["frontend", "reason"]
        "HTTP/2 streams that were ended because the client broke a rule of the protocol or opened more than it may, before or beside what is decided about requests, by the error code that it was told.";
    FRONTEND_DURATION: Histogram "tidegate_frontend_request_duration_seconds" ["frontend"]
        "From the first byte of the request until the last byte of the response is handed to the kernel or queued behind bytes that are.";

    CHECKS_IN_FLIGHT: Gauge "tidegate_health_checks_in_flight" []
        "Checks of servers on their way now.";
    CHECKS_DELAYED: Counter "tidegate_health_checks_delayed_total" []
        "Checks that began more than 20 ms late, because too many were on their way or the control executor was busy.";
    BACKEND_SERVERS_UP: Gauge "tidegate_backend_servers_up" ["backend"]
        "Servers that are well and get requests.";
    BACKEND_PANIC: Gauge "tidegate_backend_panic" ["backend"]
        "1 while all servers are used because too few are well, or 0.";
    BACKEND_EJECTIONS_CAPPED: Counter "tidegate_backend_ejections_capped_total" ["backend"]
        "Outliers that were not ejected because enough other servers were.";
    BACKEND_STICK_ENTRIES: Gauge "tidegate_backend_stick_entries" ["backend"]
        "Entries of the table of `stick_on` that have not expired.";
    BACKEND_STICK_ENTRIES_MAX: Gauge "tidegate_backend_stick_entries_max" ["backend"]
        "Entries that the table can hold.";
    SERVER_UP: Gauge "tidegate_server_up" ["backend", "server"]
        "Whether the server is well and gets requests: 1 or 0.";
    SERVER_EJECTED: Gauge "tidegate_server_ejected" ["backend", "server"]
        "Whether the server is ejected for what it did in traffic: 1 or 0.";
    SERVER_EJECTIONS: Counter "tidegate_server_ejections_total" ["backend", "server"]
        "Ejections of the server.";
    SERVER_CHECKS: Counter "tidegate_server_checks_total" ["backend", "server", "result"]
        "Checks of the server by result, once there was one.";
    SERVER_CHECK_DURATION: Gauge "tidegate_server_check_duration_seconds" ["backend", "server"]
        "How long the last check of the server took.";
    SERVER_AGENT_CONNECTIONS: Gauge "tidegate_server_agent_max_connections" ["backend", "server"]
        "Connections that the server's agent allows, once it has said so.";

    SHARD_CHANGE_DELAY: Histogram "tidegate_shard_server_change_delay_seconds" ["shard"]
        "From the turn of the control core in which servers were found changed to the shard's working by it; one for each message to the shard.";
    SHARD_CHANGE_DELAY_MAX: Gauge "tidegate_shard_server_change_delay_max_seconds" ["shard"]
        "The longest of these delays since the start.";

    BACKEND_REQUESTS: Counter "tidegate_backend_requests_total" ["backend", "status"]
        "Requests answered, by class of the status sent to the client; one each, whatever the retries.";
    BACKEND_FAILED: Counter "tidegate_backend_requests_failed_total" ["backend", "reason"]
        "Requests that failed for good, by reason.";
    BACKEND_COMPRESSED: Counter "tidegate_backend_responses_compressed_total" ["backend", "coding"]
        "Responses that were compressed, by coding.";
    BACKEND_GRPC: Counter "tidegate_backend_grpc_calls_total" ["backend", "grpc_status"]
        "Calls of gRPC by the status that their callers got, once there was one.";
    BACKEND_QUEUED_SECONDS: FractionalCounter "tidegate_backend_queued_seconds_total" ["backend"]
        "Time that requests have waited for a server's slot, together.";
    BACKEND_DURATION: Histogram "tidegate_backend_request_duration_seconds" ["backend"]
        "As of the frontend, for the requests that this backend served.";

    SERVER_REQUESTS: Counter "tidegate_server_requests_total" ["backend", "server", "status"]
        "Responses received from the server, by status class.";
    SERVER_FAILED: Counter "tidegate_server_attempts_failed_total" ["backend", "server", "reason"]
        "Attempts that failed, by reason, once there was one, retried or not: connections that failed, and requests without a whole and valid response.";
    SERVER_HTTP2_ENDED: Counter "tidegate_server_http2_connections_ended_total" ["backend", "server", "reason"]
        "HTTP/2 connections to the server that have ended, by why, once there was one.";
}

scalars! {
    ACCESS_LOG_SCALARS: Counts [] {
        Counter "tidegate_access_log_lines_written_total" = lines:
            "Lines of access logs that their targets took.";
        Counter "tidegate_access_log_written_bytes_total" = bytes:
            "Bytes that the targets of access logs took, syslog headers included.";
        Counter "tidegate_access_log_reconnects_total" = reconnects:
            "Times that a target was opened anew after it had failed.";
    }
}

scalars! {
    SHARD_SCALARS: ShardSnapshot ["shard"] {
        Counter "tidegate_shard_connections_accepted_total" = accepted:
            "Connections accepted from the kernel, over all frontends.";
        Counter "tidegate_shard_accept_errors_total" = accept_errors:
            "Accepts that failed: no descriptor or memory left, or reset while waiting.";
        Gauge "tidegate_shard_tls_handshakes" = tls_handshakes:
            "TLS handshakes with clients under way now.";
        Gauge "tidegate_shard_tasks" = tasks:
            "Tasks alive now.";
        Counter "tidegate_shard_panics_contained_total" = panics_contained:
            "Panics that closed one connection and touched nothing else.";
        Counter "tidegate_shard_commands_handled_total" = commands_handled:
            "Commands of the control core carried out.";
        Counter "tidegate_shard_log_lines_dropped_total" = log_lines_dropped:
            "Log lines that a shard dropped because the control executor did not keep up.";
        Counter "tidegate_shard_loop_turns_total" = loop_turns:
            "Turns of the driver of the data ring.";
        Counter "tidegate_shard_ring_submissions_total" = ring_submissions:
            "Entries submitted to the data ring.";
        Counter "tidegate_shard_ring_completions_total" = ring_completions:
            "Completions handled from the data ring.";
        Counter "tidegate_shard_ring_enters_total" = ring_enters:
            "System calls of the data ring.";
        Gauge "tidegate_shard_buffers" = buffers_total:
            "Receive buffers of the data ring.";
        Counter "tidegate_shard_buffers_exhausted_total" = buffers_exhausted:
            "Receives that found every buffer taken and had to wait.";
        Counter "tidegate_shard_spliced_bytes_total" = spliced_bytes:
            "Bytes of large bodies and tunnels that went from socket to socket.";
        Counter "tidegate_shard_pipes_exhausted_total" = pipes_exhausted:
            "Large bodies that found every pipe taken and went through buffers.";
    }
}

scalars! {
    /// Given shard by shard: they show how evenly the kernel spreads connections.
    FRONTEND_SHARD_SCALARS: FrontendSnapshot ["frontend", "shard"] {
        Counter "tidegate_frontend_connections_total" = connections_total:
            "Client connections accepted.";
        Gauge "tidegate_frontend_connections_open" = connections_open:
            "Client connections open now.";
    }
}

scalars! {
    FRONTEND_SCALARS: FrontendSnapshot ["frontend"] {
        Counter "tidegate_frontend_connections_empty_total" = connections_empty:
            "Connections that ended without having sent a byte.";
        Counter "tidegate_frontend_tls_handshakes_total" = tls_handshakes:
            "TLS handshakes completed in full.";
        Counter "tidegate_frontend_tls_resumed_total" = tls_resumed:
            "TLS handshakes that went on with an earlier session.";
        Counter "tidegate_frontend_tls_floods_total" = tls_floods:
            "TLS connections that were ended because the client changed its keys, or asked to renegotiate, too often.";
        Counter "tidegate_frontend_received_bytes_total" = bytes_in:
            "Bytes received from clients.";
        Counter "tidegate_frontend_sent_bytes_total" = bytes_out:
            "Bytes sent to clients.";
        Counter "tidegate_frontend_requests_mirrored_total" = mirrored:
            "Copies of requests that were sent to another backend.";
        Counter "tidegate_frontend_compression_skipped_total" = compression_skipped:
            "Responses that were sent as they were because all encoders of the shard were at work.";
        Counter "tidegate_frontend_compression_in_bytes_total" = compression_in:
            "Bytes of bodies that were compressed, before.";
        Counter "tidegate_frontend_compression_out_bytes_total" = compression_out:
            "Bytes of bodies that were compressed, after.";
        Counter "tidegate_frontend_http2_connections_total" = http2_connections_total:
            "Client connections on which HTTP/2 was spoken.";
        Gauge "tidegate_frontend_http2_connections_open" = http2_connections_open:
            "Client connections open now on which HTTP/2 is spoken.";
        Counter "tidegate_frontend_http2_streams_total" = http2_streams_total:
            "HTTP/2 streams that carried a request.";
        Gauge "tidegate_frontend_http2_streams_open" = http2_streams_open:
            "HTTP/2 streams open now.";
        Counter "tidegate_frontend_http2_streams_refused_total" = http2_streams_refused:
            "HTTP/2 streams that were refused because the shard has too many.";
        Counter "tidegate_frontend_http2_streams_reset_total" = http2_streams_reset:
            "HTTP/2 streams that ended without a whole response, reset by either side.";
        Counter "tidegate_frontend_http2_queues_full_total" = http2_queues_full:
            "Times that a response waited because its HTTP/2 connection had as much queued as it may.";
        Counter "tidegate_frontend_http2_goaways_total" = http2_goaways:
            "GOAWAY frames sent, each of which ends a connection.";
    }
}

scalars! {
    BACKEND_SCALARS: BackendSnapshot ["backend"] {
        Gauge "tidegate_backend_requests_in_flight" = in_flight:
            "Requests that the backend handles now: from its choice to the end of the response.";
        Counter "tidegate_backend_retries_total" = retries:
            "Further attempts made after a failed one.";
        Counter "tidegate_backend_redispatches_total" = redispatches:
            "Further attempts that went to another server.";
        Gauge "tidegate_backend_requests_queued" = queued:
            "Requests waiting now for any server of the backend.";
        Counter "tidegate_backend_requests_queued_total" = queued_total:
            "Requests that have waited for a server's slot, in the backend's queue or a server's.";
        Counter "tidegate_backend_retries_over_budget_total" = retries_over_budget:
            "Requests that were not repeated because the retry budget was spent.";
        Counter "tidegate_backend_retry_bodies_dropped_total" = retry_bodies_dropped:
            "Request bodies that were too large to be kept for repeating them.";
        Counter "tidegate_backend_hedges_total" = hedges:
            "Second tries made beside one that was slow.";
        Counter "tidegate_backend_hedges_won_total" = hedges_won:
            "Second tries that answered before the first.";
        Counter "tidegate_backend_stick_hits_total" = stick_hits:
            "Requests whose client was found in the table of `stick_on`.";
        Counter "tidegate_backend_stick_misses_total" = stick_misses:
            "Requests with a key that was not found in the table.";
        Counter "tidegate_backend_stick_stored_total" = stick_stored:
            "Entries of the table made, or moved to another server.";
        Counter "tidegate_backend_stick_evicted_total" = stick_evicted:
            "Entries of the table thrown out before their time, to make room.";
        Counter "tidegate_backend_stick_refused_total" = stick_refused:
            "Entries not made, because other shards wrote in the same place at that moment.";
        Counter "tidegate_backend_received_bytes_total" = bytes_in:
            "Bytes received from servers.";
        Counter "tidegate_backend_sent_bytes_total" = bytes_out:
            "Bytes sent to servers.";
        Counter "tidegate_backend_compression_skipped_total" = compression_skipped:
            "Responses that were sent as they were because all encoders of the shard were at work.";
        Counter "tidegate_backend_compression_in_bytes_total" = compression_in:
            "Bytes of bodies that were compressed, before.";
        Counter "tidegate_backend_compression_out_bytes_total" = compression_out:
            "Bytes of bodies that were compressed, after.";
    }
}

scalars! {
    SERVER_SCALARS: ServerSnapshot ["backend", "server"] {
        Counter "tidegate_server_connections_total" = connections_total:
            "Connections opened to the server.";
        Gauge "tidegate_server_connections_open" = connections_open:
            "Connections to the server open now, idle ones included.";
        Gauge "tidegate_server_connections_idle" = connections_idle:
            "Connections to the server waiting for a request now.";
        Counter "tidegate_server_connections_reused_total" = connections_reused:
            "Attempts that found an idle connection.";
        Counter "tidegate_server_connects_failed_total" = connects_failed:
            "Connection attempts refused, timed out or otherwise failed.";
        Gauge "tidegate_server_requests_in_flight" = in_flight:
            "Requests at the server now.";
        Gauge "tidegate_server_requests_queued" = queued:
            "Requests waiting now for this server and no other.";
        Counter "tidegate_server_connections_handed_over_total" = connections_handed_over:
            "Idle connections, and those with a slot, that came from another shard.";
        Gauge "tidegate_server_http2_streams_open" = http2_streams_open:
            "HTTP/2 streams open to the server now.";
        Counter "tidegate_server_received_bytes_total" = bytes_in:
            "Bytes received from the server.";
        Counter "tidegate_server_sent_bytes_total" = bytes_out:
            "Bytes sent to the server.";
    }
}

fn of<S>(scalars: &'static [Scalar<S>]) -> impl Iterator<Item = &'static Family> {
    scalars.iter().map(|scalar| &scalar.family)
}

/// What the control plane counts about itself.
fn of_control() -> impl Iterator<Item = &'static Family> {
    [
        &CONFIG_GENERATION,
        &CONFIG_RELOADS,
        &CONFIG_LAST_RELOAD_OK,
        &CONFIG_LAST_RELOAD_TIME,
        &CONFIG_SHARD_GENERATION,
        &CONFIG_COMMANDS_HELD,
        &LOG_SUPPRESSED,
        &CHECKS_IN_FLIGHT,
        &CHECKS_DELAYED,
        &TLS_CERTIFICATES,
        &TLS_CERTIFICATE_EXPIRY,
        &TLS_FILES_REPLACED,
        &TLS_FILES_FAILED,
        &ACME_ORDERS,
        &ACME_FAILURES,
        &ACME_NEXT,
        &NAME_RESOLUTIONS,
        &NAME_ADDRESSES,
        &NAME_HELD,
        &NAME_SURPLUS,
        &RESOLVER_TRIES,
        &LOOKUPS_DELAYED,
    ]
    .into_iter()
}

/// What is counted of frontends by reason.
const FRONTEND_REASONS: [&Family; 7] = [
    &FRONTEND_REJECTED,
    &FRONTEND_FAILED,
    &FRONTEND_ANSWERED,
    &FRONTEND_RULES_DROPPED,
    &FRONTEND_HTTP2_FLOODS,
    &FRONTEND_HTTP2_ERRORS,
    &FRONTEND_HTTP2_STREAM_ERRORS,
];

/// Every family, in the order of `docs/METRICS.md`.
pub(super) fn all() -> impl Iterator<Item = &'static Family> {
    [&BUILD_INFO, &START_TIME, &CPU_SECONDS, &RESIDENT_BYTES, &OPEN_FDS, &FDS_MAX, &SCRAPES_REFUSED]
        .into_iter()
        .chain(of_control())
        .chain(of(ACCESS_LOG_SCALARS))
        .chain([&ACCESS_LOG_DROPPED])
        .chain(of(SHARD_SCALARS))
        .chain([&SHARD_CHANGE_DELAY, &SHARD_CHANGE_DELAY_MAX])
        .chain(of(FRONTEND_SHARD_SCALARS))
        .chain([&FRONTEND_REQUESTS])
        .chain(of(FRONTEND_SCALARS))
        .chain(FRONTEND_REASONS)
        .chain([
            &FRONTEND_COMPRESSED,
            &FRONTEND_TLS_FAILED,
            &FRONTEND_TLS_DURATION,
            &FRONTEND_DURATION,
            &BACKEND_REQUESTS,
        ])
        .chain(of(BACKEND_SCALARS))
        .chain([
            &BACKEND_FAILED,
            &BACKEND_COMPRESSED,
            &BACKEND_GRPC,
            &BACKEND_QUEUED_SECONDS,
            &BACKEND_DURATION,
            &BACKEND_SERVERS_UP,
            &BACKEND_PANIC,
            &BACKEND_EJECTIONS_CAPPED,
            &BACKEND_STICK_ENTRIES,
            &BACKEND_STICK_ENTRIES_MAX,
        ])
        .chain(of(SERVER_SCALARS))
        .chain([
            &SERVER_REQUESTS,
            &SERVER_FAILED,
            &SERVER_HTTP2_ENDED,
            &SERVER_UP,
            &SERVER_EJECTED,
            &SERVER_EJECTIONS,
            &SERVER_CHECKS,
            &SERVER_CHECK_DURATION,
            &SERVER_AGENT_CONNECTIONS,
        ])
}
