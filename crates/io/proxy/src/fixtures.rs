//! What the tests of this package start from.
//!
//! Owns a snapshot with one frontend and one backend of given servers; leaves what is done with it to each test. Invariant: all its
//! servers are up and without limits, and no time in it is over while a test runs.

use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use tidegate_balance::{Availability, Plan, Policy as Balance, ServerSettings as Balanced, Weight};
use tidegate_exchange::Policy;
use tidegate_health::Standing;
use tidegate_http1::Limits;
use tidegate_log::Logs;
use tidegate_queue::Hub;
use tidegate_ring::Settings;
use tidegate_routing::Rules;
use tidegate_shard::{Shard, drive, queue, spawn};
use tidegate_telemetry::Registry;

use crate::budget::Budget;
use crate::settings::{
    BackendProtocol, BackendSettings, BindSettings, ClientTimeouts, FrontendSettings,
    HandshakeLimits, OnMarkedDown, OwnFieldSettings, PoolSettings, RepeatSettings,
    ServerHttp2Settings, ServerSettings, Snapshot, reasons,
};
use crate::upstream::place::Location;
use crate::worker::Worker;

/// Longer than any test takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

const POOL: PoolSettings =
    PoolSettings { idle_max: 16, idle_timeout: PATIENCE, max_lifetime: None, max_requests: None };

const HTTP2: ServerHttp2Settings =
    ServerHttp2Settings { streams_max: 100, ping_after: PATIENCE, ping_timeout: PATIENCE };

/// A server that is well.
pub(crate) fn up() -> Standing {
    Standing {
        availability: Availability::Up,
        weight: Weight::default(),
        since: None,
        healthy: true,
        max_connections: None,
    }
}

/// For one shard: the frontend `web` and the backend `app` with these servers, by name and place.
pub(crate) fn snapshot(
    generation: u64,
    balance: Balance,
    servers: &[(&str, Location)],
) -> Arc<Snapshot> {
    let mut registry = Registry::new(1, reasons());
    let backends = vec![backend(&mut registry, balance, servers)];
    Arc::new(Snapshot {
        generation,
        shards_count: 1,
        accept_burst_max: 16,
        frontends: vec![frontend(&mut registry)],
        backends,
        tables: Arc::default(),
        verifier: None,
        challenges: Arc::default(),
        hub: Arc::new(Hub::new(1)),
        connections: Arc::new(Budget::new(u32::MAX)),
        handshakes: HandshakeLimits { concurrent_max: 100, share_percent: 50 },
        shards: registry.shards().clone(),
    })
}

fn backend(
    registry: &mut Registry,
    balance: Balance,
    servers: &[(&str, Location)],
) -> BackendSettings {
    let server = |(name, address): &(&str, Location)| ServerSettings {
        shelf: Arc::default(),
        limit: None,
        name: (*name).into(),
        address: address.clone(),
        tls_name: None,
        standing: up(),
        stats: registry.server("app", name).clone(),
    };
    BackendSettings {
        name: "app".into(),
        balance: Plan::new(balance.into(), &vec![Balanced::default(); servers.len()]),
        balance_key: None,
        servers: servers.iter().map(server).collect(),
        tls: None,
        protocol: BackendProtocol::default(),
        http2: HTTP2,
        exchange: Policy::default(),
        persistence: None,
        stick: None,
        repeats: RepeatSettings::default(),
        tunnel_timeout: PATIENCE,
        reuse: true,
        error_pages: Arc::default(),
        compression: None,
        error_statuses: None,
        on_marked_down: OnMarkedDown::default(),
        pool: POOL,
        line: None,
        stats: registry.backend("app").clone(),
    }
}

fn frontend(registry: &mut Registry) -> FrontendSettings {
    FrontendSettings {
        name: "web".into(),
        default_backend: Some(0),
        binds: vec![BindSettings::default()],
        timeouts: ClientTimeouts {
            tls_handshake: Duration::from_secs(10),
            client: PATIENCE,
            request_head: PATIENCE,
            request_body: PATIENCE,
            keep_alive: PATIENCE,
            http2_lifetime: PATIENCE,
        },
        limits: Limits::default(),
        rules: Rules::default(),
        response_rules: Rules::default(),
        error_pages: Arc::default(),
        own_fields: OwnFieldSettings::default(),
        compression: None,
        log: None,
        connections: Arc::new(Budget::new(u32::MAX)),
        stats: registry.frontend("web").clone(),
    }
}

/// The shard stops when its test is over, however it ends.
struct Stop(Rc<Worker>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.shard.stop();
    }
}

/// Runs `test` as a task of a shard that works from `snapshot`.
pub(crate) fn on_a_shard<F, T>(snapshot: Arc<Snapshot>, test: F)
where
    F: FnOnce(Rc<Worker>) -> T + Send + 'static,
    T: Future<Output = ()> + 'static,
{
    let (_commands, for_shard) = queue(1);
    let (from_shard, _reports) = queue(64);
    let (passed, has_passed) = mpsc::channel();
    let shard = spawn("shard", None, move || async move {
        let shard = Shard::new(&Settings::default()).expect("io_uring");
        let (_logs, mut writers) = Logs::start(1, |_| {}).expect("a thread");
        let writer = writers.pop().expect("one for each shard");
        let worker = Worker::new(&shard, 0, &snapshot, from_shard, writer);
        let stop = Stop(worker.clone());
        shard.tasks.spawn(async move {
            let stop = stop;
            test(stop.0.clone()).await;
            passed.send(()).expect("it is waited for");
        });
        drive(&shard, &*worker, for_shard).await;
        shard.tasks.clear();
        worker.site.borrow().servers().for_each(|server| worker.close_idle(server));
    });
    shard.expect("a thread").join().expect("the shard does not panic");
    has_passed.try_recv().expect("the test does not panic");
}
