//! From a validated configuration to the snapshot that the shards work from.
//!
//! Owns the translation and what outlives a configuration: counters and budgets by name. Invariant: a snapshot is complete
//! and immutable; the same name keeps its counters and its count of connections.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Weak};
use std::time::Instant;

use socket2::SockAddr;
use tidegate_balance::{self as balance, Plan};
use tidegate_compression::{BrotliLevel, GzipLevel, Levels, ZstdLevel};
use tidegate_config as config;
use tidegate_config::{Backend, Config, ForwardedHeader, Frontend, ServerAddress};
use tidegate_exchange::Policy;
use tidegate_health::Event;
use tidegate_proxy::{
    AccessLog, BackendProtocol, BackendSettings, BindSettings, Budget, ClientTimeouts, Compression,
    ForwardedField, Forwarding, FrontendSettings, Handed, HandshakeLimits, Location, OnMarkedDown,
    OwnFieldSettings, PoolSettings, RepeatSettings, ServerHttp2Settings, ServerSettings,
    ServerStates, Snapshot, StickSettings, Tables, Verifier, reasons,
};
use tidegate_queue::{self as slots, Hub};
use tidegate_rules::ValueList;
use tidegate_semantics::compressible;
use tidegate_stick::Keeper;
use tidegate_telemetry::{EntityName, Registry};
use tidegate_tls::Challenges;

use crate::discovery::Discovery;
use crate::figures::StickFigures;
use crate::health::{Health, WatchedBackend};
use crate::installation;
use crate::log::{Level, Line};
use crate::process;
use crate::queues::{Kept, Queue};
use crate::server_name::tls_name;

/// What is kept from one configuration to the next.
pub(crate) struct Publisher {
    pub(crate) registry: Registry,
    pub(crate) health: Health,
    pub(crate) discovery: Discovery,
    pub(crate) challenges: Arc<Challenges>,
    process: Arc<Budget>,
    /// A name's budget lives as long as a snapshot or a connection has it: a name that goes and comes back while its old
    /// connections are open goes on counting them.
    frontends: HashMap<Arc<str>, Weak<Budget>>,
    /// The longest listen queue so far: one that was shortened by a reload may still hold as many.
    backlog_max: u32,
    verifier: Option<Arc<Verifier>>,
    generation: u64,
    shards_count: u16,
    hub: Arc<Hub<Handed>>,
    queues: HashMap<Arc<str>, Queue>,
    /// The tables of clients, by backend.
    sticks: HashMap<Arc<str>, Keeper<RandomState>>,
}

impl Publisher {
    pub(crate) fn new(shards_count: u16) -> Publisher {
        Publisher {
            registry: Registry::new(usize::from(shards_count), reasons()),
            health: Health::new(RandomState::new().hash_one(0)),
            discovery: Discovery::default(),
            challenges: Arc::default(),
            process: Arc::new(Budget::new(0)),
            frontends: HashMap::new(),
            backlog_max: 0,
            verifier: None,
            generation: 0,
            shards_count,
            hub: Arc::new(Hub::new(usize::from(shards_count))),
            queues: HashMap::new(),
            sticks: HashMap::new(),
        }
    }

    /// Client connections open in the whole process.
    pub(crate) fn connections_open(&self) -> u32 {
        self.process.open()
    }

    /// The snapshot of `config`; `logs` are those of its frontends in their order, and whoever has none logs nowhere.
    pub(crate) fn publish(
        &mut self,
        config: &Config,
        logs: Vec<Option<Arc<AccessLog>>>,
    ) -> Arc<Snapshot> {
        self.generation += 1;
        let now = Instant::now();
        self.discovery.apply(config, now);
        self.health.apply(config, &self.discovery, &mut self.registry, self.generation, now);
        self.process.set_max(config.global.max_connections);
        let mut logs = logs.into_iter();
        let mut frontend = |frontend| self.frontend(frontend, logs.next().flatten());
        let frontends = config.frontends.iter().map(&mut frontend).collect();
        let backends = config.backends.iter().enumerate();
        let backends = backends.map(|(at, backend)| self.backend(at, backend)).collect();
        self.forget_what_is_not_in(config);
        Arc::new(Snapshot {
            generation: self.generation,
            shards_count: self.shards_count,
            accept_burst_max: self.accept_burst_max(config),
            frontends,
            backends,
            tables: Arc::new(tables(&config.tables)),
            verifier: self.verifier(config),
            connections: self.process.clone(),
            handshakes: HandshakeLimits {
                concurrent_max: config.global.tls_handshakes_max,
                share_percent: config.global.tls_handshake_share,
            },
            challenges: self.challenges.clone(),
            hub: self.hub.clone(),
            shards: self.registry.shards().clone(),
        })
    }

    /// The thread that compares passwords, once a rule asks for one. Without it, such requests are answered with 503.
    fn verifier(&mut self, config: &Config) -> Option<Arc<Verifier>> {
        let asks = |frontend: &Frontend| {
            frontend.rules.request.rules.iter().any(|rule| rule.authenticate.is_some())
        };
        if self.verifier.is_none() && config.frontends.iter().any(asks) {
            match Verifier::start() {
                Ok(verifier) => self.verifier = Some(Arc::new(verifier)),
                Err(error) => {
                    Line::new(Level::Error, "no_verifier").with("reason", error).write();
                }
            }
        }
        self.verifier.clone()
    }

    /// What all listen queues hold together.
    fn accept_burst_max(&mut self, config: &Config) -> u32 {
        self.backlog_max = self.backlog_max.max(config.global.listen_backlog);
        let queue = self.backlog_max.min(process::listen_queue_max());
        let binds: usize = config.frontends.iter().map(|frontend| frontend.binds.len()).sum();
        let queues =
            u32::try_from(binds).unwrap_or(u32::MAX).saturating_mul(self.shards_count.into());
        queues.saturating_mul(queue)
    }

    fn frontend(&mut self, frontend: &Frontend, log: Option<Arc<AccessLog>>) -> FrontendSettings {
        let connections = self.budget(&frontend.name);
        connections.set_max(frontend.max_connections.unwrap_or(u32::MAX));
        FrontendSettings {
            name: frontend.name.clone(),
            default_backend: frontend.default_backend.map(|index| index.0),
            binds: frontend.binds.iter().map(bind).collect(),
            timeouts: ClientTimeouts {
                tls_handshake: frontend.timeouts.tls_handshake,
                client: frontend.timeouts.client,
                request_head: frontend.timeouts.request_head,
                request_body: frontend.timeouts.request_body,
                keep_alive: frontend.timeouts.keep_alive,
                http2_lifetime: frontend.http2.max_lifetime,
            },
            limits: frontend.header_limits,
            rules: frontend.rules.request.clone(),
            response_rules: frontend.rules.response.clone(),
            error_pages: frontend.error_pages.0.clone(),
            own_fields: own_fields(frontend),
            compression: frontend.compression.as_ref().map(compression),
            log,
            connections,
            stats: self.registry.frontend(&frontend.name).clone(),
        }
    }

    fn budget(&mut self, frontend: &Arc<str>) -> Arc<Budget> {
        if let Some(known) = self.frontends.get(frontend).and_then(Weak::upgrade) {
            return known;
        }
        let budget = Arc::new(Budget::new(0));
        self.frontends.insert(frontend.clone(), Arc::downgrade(&budget));
        budget
    }

    fn backend(&mut self, at: usize, backend: &Backend) -> BackendSettings {
        let (line, kept) = self.queue(at, backend);
        let weighted: Vec<_> = backend.servers.iter().map(weighted).collect();
        let servers = backend
            .servers
            .iter()
            .zip(kept)
            .enumerate()
            .map(|(index, (server, Kept { limit, shelf }))| ServerSettings {
                standing: self.health.standing(at, index).expect("every server is watched"),
                limit,
                shelf,
                name: server.name.clone(),
                address: self.location(at, index, &server.address),
                tls_name: backend.tls.as_ref().and_then(|tls| tls_name(tls, &server.address)),
                stats: self.registry.server(&backend.name, &server.name).clone(),
            })
            .collect();
        BackendSettings {
            name: backend.name.clone(),
            balance: Plan::new(backend.balance, &weighted),
            balance_key: backend.hash_key.as_ref().map(|key| key.key.clone()),
            servers,
            tls: backend.tls.clone(),
            protocol: match backend.protocol {
                config::BackendProtocol::Http1 => BackendProtocol::Http1,
                config::BackendProtocol::Http2 => BackendProtocol::Http2,
                config::BackendProtocol::Auto => BackendProtocol::Auto,
            },
            http2: ServerHttp2Settings {
                streams_max: backend.http2.max_streams,
                ping_after: backend.http2.ping_after,
                ping_timeout: backend.http2.ping_timeout,
            },
            exchange: policy(backend),
            persistence: backend.persistence.as_ref().map(|settings| {
                let names = backend.servers.iter().map(|server| &*server.name);
                Arc::new(installation::persistence(settings, &backend.name, names))
            }),
            stick: self.stick(backend),
            repeats: RepeatSettings {
                non_idempotent: backend.retries.non_idempotent,
                body_bytes_max: backend.retries.body_max,
                budget: backend.retries.budget,
            },
            tunnel_timeout: backend.timeouts.tunnel,
            reuse: backend.reuse_server_connections,
            error_pages: backend.error_pages.0.clone(),
            compression: backend.compression.as_ref().map(compression),
            pool: PoolSettings {
                idle_max: usize::try_from(backend.pool.max_idle).unwrap_or(usize::MAX),
                idle_timeout: backend.pool.idle_timeout,
                max_lifetime: backend.pool.max_lifetime,
                max_requests: backend.pool.max_requests,
            },
            line,
            error_statuses: backend.passive_health.map(|passive| passive.statuses),
            on_marked_down: match backend.on_marked_down {
                config::OnMarkedDown::KeepSessions => OnMarkedDown::KeepSessions,
                config::OnMarkedDown::CloseSessions => OnMarkedDown::CloseSessions,
            },
            stats: self.registry.backend(&backend.name).clone(),
        }
    }

    fn location(&self, backend: usize, server: usize, address: &ServerAddress) -> Location {
        match address {
            ServerAddress::Tcp(socket) => (*socket).into(),
            ServerAddress::Unix(path) => Location::Fixed(
                SockAddr::unix(path).expect("the configuration holds the length of socket paths"),
            ),
            ServerAddress::Name { .. } => Location::Named {
                name: address.to_string().into(),
                spot: self.discovery.place(backend, server).map(|(spot, _)| spot),
            },
        }
    }

    /// The queue of a backend, and what its servers keep.
    fn queue(&mut self, at: usize, backend: &Backend) -> (Option<Arc<slots::Line>>, Vec<Kept>) {
        let shards_count = usize::from(self.shards_count);
        let said = |server| self.health.standing(at, server)?.max_connections;
        self.queues.entry(backend.name.clone()).or_default().follow(backend, shards_count, said)
    }

    /// Brings the standings of servers up to date, as [`Health::settle`] does, and the limits that agents have changed.
    pub(crate) fn settle(
        &mut self,
        now: Instant,
        told: impl FnMut(&WatchedBackend, &Event),
    ) -> Option<ServerStates> {
        let states = self.health.settle(now, told)?;
        for change in &states.changes {
            let name = self.health.backend_name(change.backend);
            if let Some(queue) = name.and_then(|name| self.queues.get(name)) {
                queue.set_said(change.server, change.standing.max_connections);
            }
        }
        Some(states)
    }

    /// The table of a backend's clients, the same as long as it has one.
    fn stick(&mut self, backend: &Backend) -> Option<StickSettings> {
        let Some(stick) = &backend.stick else {
            self.sticks.remove(&backend.name);
            return None;
        };
        let now = Instant::now();
        let keeper = self
            .sticks
            .entry(backend.name.clone())
            .or_insert_with(|| Keeper::new(stick.entries_max, now, RandomState::new()));
        let names = backend.servers.iter().map(|server| &*server.name);
        Some(StickSettings {
            pins: Arc::new(keeper.follow(stick.entries_max, stick.expire, names, now)),
            key: stick.on.key.clone(),
            learn: stick.learn.as_ref().map(|learn| learn.key.clone()),
        })
    }

    /// How full the tables of clients are, by the names of their backends.
    pub(crate) fn stick_figures(&self, now: Instant) -> Vec<StickFigures> {
        let figures = self.sticks.iter().map(|(backend, keeper)| StickFigures {
            backend: backend.clone(),
            entries: keeper.entries(now),
            entries_max: keeper.entries_max(),
        });
        figures.collect()
    }

    fn forget_what_is_not_in(&mut self, config: &Config) {
        self.frontends.retain(|_, budget| budget.strong_count() > 0);
        self.queues.retain(|name, _| config.backends.iter().any(|backend| backend.name == *name));
        self.sticks.retain(|name, _| config.backends.iter().any(|backend| backend.name == *name));
        self.registry.retain(|entity| match entity {
            EntityName::Frontend(name) => {
                config.frontends.iter().any(|frontend| *frontend.name == *name)
            }
            EntityName::Backend(name) => {
                config.backends.iter().any(|backend| *backend.name == *name)
            }
            EntityName::Server { backend, server } => config
                .backends
                .iter()
                .filter(|known| *known.name == *backend)
                .any(|known| known.servers.iter().any(|known| *known.name == *server)),
        });
    }
}

fn weighted(server: &config::Server) -> balance::ServerSettings {
    balance::ServerSettings {
        weight: server.weight,
        backup: server.backup,
        identity: balance::identity(&server.name),
    }
}

/// How requests for a backend are tried, and for how long.
fn policy(backend: &Backend) -> Policy {
    Policy {
        retries_max: backend.retries.max,
        redispatch: backend.retries.redispatch,
        retry_on: backend.retries.on,
        delay_min: backend.retries.delay_min,
        delay_max: backend.retries.delay_max,
        try_timeout: backend.retries.per_try,
        hedge_after: backend.retries.hedge_after,
        connect_timeout: backend.timeouts.connect,
        server_timeout: backend.timeouts.server,
        queue_timeout: backend.timeouts.queue,
    }
}

fn bind(bind: &config::Bind) -> BindSettings {
    BindSettings { tls: bind.tls.clone(), protocols: bind.protocols.clone() }
}

fn tables(tables: &config::Tables) -> Tables {
    Tables {
        lists: tables.lists.iter().map(|named| named.list.clone()).collect(),
        maps: tables.maps.iter().map(|named| named.map.clone()).collect(),
    }
}

fn own_fields(frontend: &Frontend) -> OwnFieldSettings {
    OwnFieldSettings {
        forwarding: frontend.forwarded_for.as_ref().map(forwarding),
        request_id: frontend.request_id.clone(),
        via: frontend.via.clone(),
        traceparent: frontend.traceparent,
    }
}

fn compression(compression: &config::Compression) -> Arc<Compression> {
    let in_range = "the configuration holds the ranges of levels";
    Arc::new(Compression {
        policy: compressible::Policy {
            types: compression.types.clone(),
            bytes_min: compression.bytes_min,
            bytes_max: None,
        },
        codings: compression.codings.clone(),
        levels: Levels {
            gzip: GzipLevel::new(compression.levels.gzip).expect(in_range),
            brotli: BrotliLevel::new(compression.levels.brotli).expect(in_range),
            zstd: ZstdLevel::new(compression.levels.zstd).expect(in_range),
        },
    })
}

fn forwarding(forwarding: &config::Forwarding) -> Forwarding {
    let networks: Vec<String> = forwarding.trust.iter().map(ToString::to_string).collect();
    let field = |header: &ForwardedHeader| match header {
        ForwardedHeader::For => ForwardedField::For,
        ForwardedHeader::Proto => ForwardedField::Proto,
        ForwardedHeader::Host => ForwardedField::Host,
        ForwardedHeader::Port => ForwardedField::Port,
        ForwardedHeader::Forwarded => ForwardedField::Forwarded,
    };
    Forwarding {
        fields: forwarding.headers.iter().map(field).collect(),
        trust: ValueList::new(networks.iter().map(String::as_str))
            .expect("a network is written as it is read"),
        trusted: forwarding.trusted,
        untrusted: forwarding.untrusted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A configuration with these frontends, the last with a further line.
    fn config(frontends: &[&str], line: &str) -> Config {
        let mut text = String::from(
            "[backends.app.servers]\na = \"127.0.0.1:9001\"\nb = \"127.0.0.1:9002\"\n",
        );
        for name in frontends {
            text += &format!(
                "[frontends.{name}]\nbind = [\"127.0.0.1:0\"]\ndefault_backend = \"app\"\n"
            );
        }
        tidegate_config::parse("test.toml", &(text + line)).expect("valid")
    }

    #[test]
    fn names_keep_their_counts_and_indices_point_into_the_snapshot() {
        let mut publisher = Publisher::new(2);
        let first = publisher.publish(&config(&["web"], ""), Vec::new());
        first.frontends[0].connections.take();
        first.frontends[0].stats.shard(1).connections_total.add(3);
        let second = publisher.publish(&config(&["web"], "max_connections = 7"), Vec::new());
        assert_eq!((first.generation, second.generation), (1, 2));
        assert_eq!(second.frontends[0].connections.room(), 6);
        assert_eq!(second.frontends[0].stats.shard(1).connections_total.value(), 3);
        let backend = &second.backends[second.frontends[0].default_backend.expect("set")];
        assert_eq!((&*backend.name, backend.servers.len()), ("app", 2));
        assert_eq!(backend.servers[1].standing.weight, balance::Weight::default());
    }

    #[test]
    fn every_level_that_can_be_configured_is_one() {
        for (coding, range) in [
            ("gzip", config::defaults::GZIP_LEVEL_RANGE),
            ("br", config::defaults::BROTLI_LEVEL_RANGE),
            ("zstd", config::defaults::ZSTD_LEVEL_RANGE),
        ] {
            for level in range {
                let line = format!("compression = {{ level = {{ {coding} = {level} }} }}");
                let snapshot = Publisher::new(1).publish(&config(&["web"], &line), Vec::new());
                let levels = snapshot.frontends[0].compression.as_ref().expect("set").levels;
                let of_coding = match coding {
                    "gzip" => levels.gzip.value(),
                    "br" => levels.brotli.value(),
                    _ => levels.zstd.value(),
                };
                assert_eq!(of_coding, level, "{coding}");
            }
        }
    }

    #[test]
    fn a_shortened_listen_queue_is_reckoned_with_as_long_as_it_was() {
        let mut publisher = Publisher::new(2);
        let burst_max = |publisher: &mut Publisher, backlog: u32| {
            let mut config = config(&["web", "more"], "");
            config.global.listen_backlog = backlog;
            publisher.publish(&config, Vec::new()).accept_burst_max
        };
        assert_eq!(burst_max(&mut publisher, 16), 2 * 2 * 16);
        assert_eq!(burst_max(&mut publisher, 32), 2 * 2 * 32);
        assert_eq!(burst_max(&mut publisher, 16), 2 * 2 * 32);
    }

    #[test]
    fn a_frontend_that_comes_back_counts_the_connections_that_it_left_open() {
        let mut publisher = Publisher::new(2);
        let first = publisher.publish(&config(&["web", "more"], ""), Vec::new());
        // As a client connection holds it, after the shards have given the snapshot back.
        let held = first.frontends[1].connections.clone();
        held.take();
        drop(first);
        drop(publisher.publish(&config(&["web"], ""), Vec::new()));
        let again = publisher.publish(&config(&["web", "more"], "max_connections = 7"), Vec::new());
        assert_eq!(again.frontends[1].connections.room(), 6);
        drop(again);
        // The last connection closes while the name is not configured: nothing is kept of it.
        held.give_back();
        drop(held);
        drop(publisher.publish(&config(&["web"], ""), Vec::new()));
        assert!(!publisher.frontends.contains_key("more"));
    }
}
