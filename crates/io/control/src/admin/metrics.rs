//! `/metrics`: the registry's counts and the process's figures as Prometheus text.
//!
//! Owns when a family has a series, and for what. Leaves the list of families to `families`,
//! counting to the data plane, the text of histograms to `tidegate_telemetry::exposition`, and the
//! HTTP response to the admin listener.
//!
//! Counters and gauges go through a `metrics` recorder that lives for one scrape, so an entity that
//! a reload removed is not in the next one. Histograms do not: the recorder takes single samples
//! (ADR-0004).
//!
//! **Invariant:** a scrape has each family once, with its help and type, and only families of the
//! table; it runs no code on a shard.

mod families;
#[cfg(test)]
mod tests;

use crate::certificates::CertificateFigures;
use crate::discovery::figures::DiscoveryFigures;
use crate::figures::Figures;
use crate::health::figures::HealthFigures;
use crate::health::result_label;
use families::{
    ACCESS_LOG_DROPPED, ACCESS_LOG_SCALARS, ACME_FAILURES, ACME_NEXT, ACME_ORDERS,
    BACKEND_COMPRESSED, BACKEND_DURATION, BACKEND_EJECTIONS_CAPPED, BACKEND_FAILED, BACKEND_GRPC,
    BACKEND_PANIC, BACKEND_QUEUED_SECONDS, BACKEND_REQUESTS, BACKEND_SCALARS, BACKEND_SERVERS_UP,
    BACKEND_STICK_ENTRIES, BACKEND_STICK_ENTRIES_MAX, BUILD_INFO, CHECKS_DELAYED, CHECKS_IN_FLIGHT,
    CONFIG_COMMANDS_HELD, CONFIG_GENERATION, CONFIG_LAST_RELOAD_OK, CONFIG_LAST_RELOAD_TIME,
    CONFIG_RELOADS, CONFIG_SHARD_GENERATION, CPU_SECONDS, FDS_MAX, FRONTEND_ANSWERED,
    FRONTEND_COMPRESSED, FRONTEND_DURATION, FRONTEND_FAILED, FRONTEND_HTTP2_ERRORS,
    FRONTEND_HTTP2_FLOODS, FRONTEND_HTTP2_STREAM_ERRORS, FRONTEND_REJECTED, FRONTEND_REQUESTS,
    FRONTEND_RULES_DROPPED, FRONTEND_SCALARS, FRONTEND_SHARD_SCALARS, FRONTEND_TLS_DURATION,
    FRONTEND_TLS_FAILED, Family, Kind, LOG_SUPPRESSED, LOOKUPS_DELAYED, NAME_ADDRESSES, NAME_HELD,
    NAME_RESOLUTIONS, NAME_SURPLUS, OPEN_FDS, RESIDENT_BYTES, RESOLVER_TRIES, SCRAPES_REFUSED,
    SERVER_AGENT_CONNECTIONS, SERVER_CHECK_DURATION, SERVER_CHECKS, SERVER_EJECTED,
    SERVER_EJECTIONS, SERVER_FAILED, SERVER_HTTP2_ENDED, SERVER_REQUESTS, SERVER_SCALARS,
    SERVER_UP, SHARD_CHANGE_DELAY, SHARD_CHANGE_DELAY_MAX, SHARD_SCALARS, START_TIME, Scalar,
    TLS_CERTIFICATE_EXPIRY, TLS_CERTIFICATES, TLS_FILES_FAILED, TLS_FILES_REPLACED,
};
use metrics::{Key, Label, Level, Metadata, Recorder, SharedString};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
use std::fs;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tidegate_telemetry::exposition::{write_header, write_histogram, write_sample};
use tidegate_telemetry::{HistogramSnapshot, ReasonCounts, Registry, ServerSnapshot, StatusCounts};

/// The media type of a scrape, for the `Content-Type` header.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a scrape says about the process itself. A figure that could not be read is left out.
#[derive(Clone, Debug)]
pub struct ProcessInfo {
    /// The version of the program.
    pub version: &'static str,
    /// When the process started.
    pub started: SystemTime,
    /// CPU time of all threads, user and system.
    pub cpu_time: Duration,
    /// Memory in RAM, in bytes; `None` without `/proc`.
    pub resident_bytes: Option<u64>,
    /// Open file descriptors; `None` without `/proc`.
    pub fds_open: Option<u64>,
    /// The soft limit of file descriptors; `None` when there is none.
    pub fds_max: Option<u64>,
    /// Scrapes that were refused because too many waited to be written.
    pub scrapes_refused: u64,
}

impl ProcessInfo {
    /// Reads the figures of this process now. Takes microseconds: `/proc` is memory, not a disk.
    #[must_use]
    pub fn read(version: &'static str, started: SystemTime) -> Self {
        let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        Self {
            version,
            started,
            cpu_time: Duration::try_from(cpu).unwrap_or_default(),
            resident_bytes: resident_bytes(),
            fds_open: fds_open(),
            fds_max: rustix::process::getrlimit(rustix::process::Resource::Nofile).current,
            scrapes_refused: 0,
        }
    }
}

fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(kib.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1_024)
}

/// Since Linux 6.2 the size of the directory is the number of descriptors; before, they have to be
/// listed, which counts the one that lists.
fn fds_open() -> Option<u64> {
    const DIRECTORY: &str = "/proc/self/fd";
    match fs::metadata(DIRECTORY).ok()?.len() {
        0 => Some(fs::read_dir(DIRECTORY).ok()?.count().saturating_sub(1) as u64),
        count => Some(count),
    }
}

/// Renders scrapes. `Send`, like a clone of the registry, so a large scrape can be rendered on a
/// thread of its own.
#[derive(Debug)]
pub struct Exposition {
    /// The size of the last scrape in bytes: the next one starts with a buffer that large.
    body_bytes: usize,
}

impl Exposition {
    /// Prepares for scrapes. Takes about a millisecond, in which the exporter calibrates its clock,
    /// so that the first scrape does not.
    #[must_use]
    pub fn new() -> Self {
        drop(PrometheusBuilder::new().build_recorder());
        Self { body_bytes: 0 }
    }

    /// The body of a `/metrics` response: families in the order of their names, the histograms
    /// last.
    pub fn render(
        &mut self,
        registry: &Registry,
        process: &ProcessInfo,
        figures: &Figures,
    ) -> String {
        let scrape = Scrape::new();
        scrape.process(process);
        scrape.control(figures);
        scrape.health(&figures.health);
        scrape.certificates(&figures.certificates);
        scrape.orders(&figures.orders);
        scrape.discovery(&figures.discovery);
        scrape.entities(registry);
        let mut body = String::with_capacity(self.body_bytes);
        push_sorted(&mut body, &scrape.recorder.handle().render());
        write_header_of(&mut body, &CPU_SECONDS);
        write_sample(&mut body, CPU_SECONDS.name, &[], process.cpu_time.as_secs_f64());
        let names = (0..).map(|shard: usize| Arc::from(shard.to_string()));
        let shards: Vec<(Arc<str>, _)> = names.zip(registry.shards().snapshots()).collect();
        let delays = shards.iter().map(|(name, stats)| (name, stats.server_change_delay.clone()));
        push_histograms(&mut body, &SHARD_CHANGE_DELAY, delays);
        let frontends =
            registry.frontends().map(|(name, stats)| (name, stats.total().request_duration));
        push_histograms(&mut body, &FRONTEND_DURATION, frontends);
        let handshakes =
            registry.frontends().map(|(name, stats)| (name, stats.total().tls_handshake_duration));
        push_histograms(&mut body, &FRONTEND_TLS_DURATION, handshakes);
        push_waits(&mut body, registry);
        let backends =
            registry.backends().map(|(name, stats)| (name, stats.total().request_duration));
        push_histograms(&mut body, &BACKEND_DURATION, backends);
        self.body_bytes = body.len();
        body
    }
}

impl Default for Exposition {
    fn default() -> Self {
        Self::new()
    }
}

/// The exporter keeps series in hash maps: sorting makes two scrapes comparable. An empty line ends
/// a family and nothing else, since a label's line breaks are escaped.
fn push_sorted(body: &mut String, text: &str) {
    let mut families: Vec<&str> = text.split_terminator("\n\n").collect();
    families.sort_unstable();
    for family in families {
        let mut lines: Vec<&str> = family.lines().collect();
        let comments = lines.iter().take_while(|line| line.starts_with('#')).count();
        lines[comments..].sort_unstable();
        for line in lines {
            body.push_str(line);
            body.push('\n');
        }
    }
}

/// The exporter has no counters of fractions.
fn push_waits(body: &mut String, registry: &Registry) {
    let family = &BACKEND_QUEUED_SECONDS;
    for (position, (name, stats)) in registry.backends().enumerate() {
        if position == 0 {
            write_header_of(body, family);
        }
        let waited = Duration::from_micros(stats.total().queued_micros).as_secs_f64();
        write_sample(body, family.name, &[(family.labels[0], name)], waited);
    }
}

fn push_histograms<'a>(
    body: &mut String,
    family: &Family,
    entities: impl Iterator<Item = (&'a Arc<str>, HistogramSnapshot)>,
) {
    for (position, (name, histogram)) in entities.enumerate() {
        if position == 0 {
            write_header_of(body, family);
        }
        write_histogram(body, family.name, &[(family.labels[0], name)], &histogram);
    }
}

fn write_header_of(body: &mut String, family: &Family) {
    write_header(body, family.name, family.kind.label(), family.help);
}

/// The recorder of one scrape.
struct Scrape {
    recorder: PrometheusRecorder,
}

static METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, None);

impl Scrape {
    fn new() -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        for family in families::all() {
            let help = SharedString::const_str(family.help);
            match family.kind {
                Kind::Counter => recorder.describe_counter(family.name.into(), None, help),
                Kind::Gauge => recorder.describe_gauge(family.name.into(), None, help),
                Kind::FractionalCounter | Kind::Histogram => {}
            }
        }
        Self { recorder }
    }

    fn process(&self, process: &ProcessInfo) {
        self.gauge(&BUILD_INFO, 1.0, vec![Label::new("version", process.version)]);
        self.gauge(&START_TIME, seconds_since_epoch(process.started), Vec::new());
        let figures = [
            (&RESIDENT_BYTES, process.resident_bytes),
            (&OPEN_FDS, process.fds_open),
            (&FDS_MAX, process.fds_max),
        ];
        for (family, figure) in figures {
            if let Some(value) = figure {
                self.gauge(family, value as f64, Vec::new());
            }
        }
        self.counter(&SCRAPES_REFUSED, process.scrapes_refused, Vec::new());
    }

    fn control(&self, figures: &Figures) {
        let Figures { generation, reloads, suppressed, shards, sticks, access_log, .. } = figures;
        self.gauge(&CONFIG_GENERATION, *generation as f64, Vec::new());
        for (result, count) in [("ok", reloads.taken), ("failed", reloads.failed)] {
            self.counter(&CONFIG_RELOADS, count, with(&[], "result", result));
        }
        let last_ok = if reloads.last_taken { 1.0 } else { 0.0 };
        self.gauge(&CONFIG_LAST_RELOAD_OK, last_ok, Vec::new());
        let last_at = seconds_since_epoch(reloads.last_at);
        self.gauge(&CONFIG_LAST_RELOAD_TIME, last_at, Vec::new());
        for (index, shard) in shards.iter().enumerate() {
            let labels = [shard_label(index)];
            self.gauge(&CONFIG_SHARD_GENERATION, shard.generation as f64, labels.to_vec());
            self.counter(&CONFIG_COMMANDS_HELD, shard.commands_held, labels.to_vec());
        }
        for (event, count) in suppressed {
            self.counter(&LOG_SUPPRESSED, *count, with(&[], "event", event));
        }
        for stick in sticks {
            let labels = || vec![name_label("backend", &stick.backend)];
            self.gauge(&BACKEND_STICK_ENTRIES, stick.entries as f64, labels());
            self.gauge(&BACKEND_STICK_ENTRIES_MAX, stick.entries_max as f64, labels());
        }
        if let Some(counts) = access_log {
            self.scalars(ACCESS_LOG_SCALARS, counts, &[]);
            for (cause, count) in counts.dropped.iter() {
                self.counter(&ACCESS_LOG_DROPPED, count, with(&[], "cause", cause));
            }
        }
    }

    fn discovery(&self, discovery: &DiscoveryFigures) {
        self.counter(&LOOKUPS_DELAYED, discovery.lookups_delayed, Vec::new());
        for name in &discovery.names {
            let set = name_label("resolvers", &name.resolvers);
            let labels = || vec![set.clone(), Label::new("name", name.name.clone())];
            self.gauge(&NAME_ADDRESSES, name.addresses as f64, labels());
            self.gauge(&NAME_HELD, if name.held { 1.0 } else { 0.0 }, labels());
            for (result, count) in &name.results {
                self.counter(&NAME_RESOLUTIONS, *count, with(&labels(), "result", result));
            }
        }
        for resolver in &discovery.resolvers {
            let set = name_label("resolvers", &resolver.resolvers);
            let labels = [set, Label::new("resolver", resolver.address.to_string())];
            for (result, count) in [("answered", resolver.answered), ("failed", resolver.failed)] {
                self.counter(&RESOLVER_TRIES, count, with(&labels, "result", result));
            }
        }
        for template in &discovery.templates {
            let backend = name_label("backend", &template.backend);
            let labels = vec![backend, Label::new("name", template.name.clone())];
            self.gauge(&NAME_SURPLUS, template.surplus as f64, labels);
        }
    }

    fn health(&self, health: &HealthFigures) {
        let flag = |is: bool| if is { 1.0 } else { 0.0 };
        self.gauge(&CHECKS_IN_FLIGHT, health.checks_in_flight as f64, Vec::new());
        self.counter(&CHECKS_DELAYED, health.checks_delayed, Vec::new());
        for backend in &health.backends {
            let name = name_label("backend", &backend.name);
            let labels = || vec![name.clone()];
            self.gauge(&BACKEND_SERVERS_UP, backend.servers_up as f64, labels());
            self.gauge(&BACKEND_PANIC, flag(backend.panics), labels());
            self.counter(&BACKEND_EJECTIONS_CAPPED, backend.ejections_capped, labels());
            for server in &backend.servers {
                let labels = [name.clone(), name_label("server", &server.name)];
                self.gauge(&SERVER_UP, flag(server.up), labels.to_vec());
                self.gauge(&SERVER_EJECTED, flag(server.ejected), labels.to_vec());
                self.counter(&SERVER_EJECTIONS, server.counts.ejections, labels.to_vec());
                for (result, count) in server.counts.results.iter().enumerate() {
                    if *count > 0 {
                        let labels = with(&labels, "result", result_label(result));
                        self.counter(&SERVER_CHECKS, *count, labels);
                    }
                }
                if let Some(duration) = server.counts.last_duration {
                    let labels = labels.to_vec();
                    self.gauge(&SERVER_CHECK_DURATION, duration.as_secs_f64(), labels);
                }
                if let Some(max) = server.agent_max_connections {
                    self.gauge(&SERVER_AGENT_CONNECTIONS, f64::from(max), labels.to_vec());
                }
            }
        }
    }

    fn certificates(&self, certificates: &CertificateFigures) {
        self.gauge(&TLS_CERTIFICATES, certificates.loaded as f64, Vec::new());
        self.counter(&TLS_FILES_REPLACED, certificates.replaced, Vec::new());
        self.counter(&TLS_FILES_FAILED, certificates.failures, Vec::new());
        for end in &certificates.ends {
            let labels =
                vec![Label::new("file", end.file.clone()), Label::new("name", end.name.clone())];
            self.gauge(&TLS_CERTIFICATE_EXPIRY, seconds_since_epoch(end.not_after), labels);
        }
    }

    fn orders(&self, orders: &tidegate_acme::Figures) {
        self.counter(&ACME_ORDERS, orders.orders, Vec::new());
        self.counter(&ACME_FAILURES, orders.failures, Vec::new());
        for (name, at) in &orders.next {
            let labels = vec![Label::new("name", name.clone())];
            self.gauge(&ACME_NEXT, seconds_since_epoch(*at), labels);
        }
    }

    fn entities(&self, registry: &Registry) {
        for (shard, values) in registry.shards().snapshots().enumerate() {
            let labels = [shard_label(shard)];
            self.scalars(SHARD_SCALARS, &values, &labels);
            let longest = values.server_change_delay.max().as_secs_f64();
            self.gauge(&SHARD_CHANGE_DELAY_MAX, longest, labels.to_vec());
        }
        for (name, stats) in registry.frontends() {
            let frontend = name_label("frontend", name);
            for (shard, values) in stats.snapshots().enumerate() {
                let labels = [frontend.clone(), shard_label(shard)];
                self.scalars(FRONTEND_SHARD_SCALARS, &values, &labels);
                self.statuses(&FRONTEND_REQUESTS, &values.requests, &labels);
            }
            let (total, labels) = (stats.total(), [frontend]);
            self.scalars(FRONTEND_SCALARS, &total, &labels);
            self.reasons(&FRONTEND_REJECTED, &total.rejected, &labels);
            self.reasons(&FRONTEND_FAILED, &total.failures, &labels);
            self.reasons(&FRONTEND_TLS_FAILED, &total.tls_failed, &labels);
            self.reasons(&FRONTEND_ANSWERED, &total.answered, &labels);
            self.reasons(&FRONTEND_RULES_DROPPED, &total.rules_dropped, &labels);
            self.reasons(&FRONTEND_HTTP2_FLOODS, &total.http2_floods, &labels);
            self.reasons(&FRONTEND_HTTP2_ERRORS, &total.http2_errors, &labels);
            self.reasons(&FRONTEND_HTTP2_STREAM_ERRORS, &total.http2_stream_errors, &labels);
            self.counts(&FRONTEND_COMPRESSED, "coding", &total.compressed, &labels);
        }
        for (name, stats) in registry.backends() {
            let (total, labels) = (stats.total(), [name_label("backend", name)]);
            self.scalars(BACKEND_SCALARS, &total, &labels);
            self.statuses(&BACKEND_REQUESTS, &total.requests, &labels);
            self.reasons(&BACKEND_FAILED, &total.failures, &labels);
            self.counts(&BACKEND_COMPRESSED, "coding", &total.compressed, &labels);
            for (status, count) in total.grpc.iter().filter(|(_, count)| *count > 0) {
                self.counter(&BACKEND_GRPC, count, with(&labels, "grpc_status", status));
            }
        }
        for (backend, server, stats) in registry.servers() {
            let labels = [name_label("backend", backend), name_label("server", server)];
            let mut total = stats.total();
            // What lies where any shard may take it is open and idle, and counted by none.
            let shelved = total.connections_shelved.saturating_sub(total.connections_unshelved);
            total.connections_open += shelved;
            total.connections_idle += shelved;
            self.server(&total, &labels);
        }
    }

    /// A reason is a series per server only once it has occurred: thousands of servers times every
    /// reason would be a scrape of zeros.
    fn server(&self, total: &ServerSnapshot, labels: &[Label]) {
        self.scalars(SERVER_SCALARS, total, labels);
        self.statuses(&SERVER_REQUESTS, &total.requests, labels);
        for (reason, count) in total.failures.iter().filter(|(_, count)| *count > 0) {
            self.counter(&SERVER_FAILED, count, with(labels, "reason", reason));
        }
        for (reason, count) in total.http2_ended.iter().filter(|(_, count)| *count > 0) {
            self.counter(&SERVER_HTTP2_ENDED, count, with(labels, "reason", reason));
        }
    }

    fn scalars<S>(&self, scalars: &[Scalar<S>], values: &S, labels: &[Label]) {
        for Scalar { family, value } in scalars {
            let value = value(values);
            match family.kind {
                Kind::Gauge => self.gauge(family, value as f64, labels.to_vec()),
                Kind::Counter | Kind::FractionalCounter | Kind::Histogram => {
                    self.counter(family, value, labels.to_vec());
                }
            }
        }
    }

    fn statuses(&self, family: &Family, counts: &StatusCounts, labels: &[Label]) {
        for (class, count) in counts.iter() {
            self.counter(family, count, with(labels, "status", class.label()));
        }
    }

    fn reasons(&self, family: &Family, counts: &ReasonCounts, labels: &[Label]) {
        self.counts(family, "reason", counts, labels);
    }

    fn counts(
        &self,
        family: &Family,
        label: &'static str,
        counts: &ReasonCounts,
        labels: &[Label],
    ) {
        for (value, count) in counts.iter() {
            self.counter(family, count, with(labels, label, value));
        }
    }

    fn counter(&self, family: &Family, value: u64, labels: Vec<Label>) {
        self.recorder.register_counter(&key(family, labels), &METADATA).absolute(value);
    }

    fn gauge(&self, family: &Family, value: f64, labels: Vec<Label>) {
        self.recorder.register_gauge(&key(family, labels), &METADATA).set(value);
    }
}

fn seconds_since_epoch(at: SystemTime) -> f64 {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

fn key(family: &Family, labels: Vec<Label>) -> Key {
    debug_assert!(
        family.labels.iter().copied().eq(labels.iter().map(Label::key)),
        "{}",
        family.name
    );
    Key::from_parts(family.name, labels)
}

fn with(labels: &[Label], name: &'static str, value: &'static str) -> Vec<Label> {
    labels.iter().cloned().chain([Label::from_static_parts(name, value)]).collect()
}

fn shard_label(shard: usize) -> Label {
    Label::new("shard", shard.to_string())
}

/// The exporter takes a backslash before another, or before a quote, for an escape already made, so
/// two names could become one series. Doubled, each comes out as the escape of one.
fn name_label(label: &'static str, name: &Arc<str>) -> Label {
    if name.contains('\\') {
        return Label::new(label, name.replace('\\', "\\\\"));
    }
    Label::new(label, Arc::clone(name))
}
