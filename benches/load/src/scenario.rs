//! The situations in which proxies are compared. Owns their names and parameters; nothing here
//! runs. Invariant: a scenario's name is stable, because results of different days are compared.

use crate::protocol::http1::Persistence;

/// What the proxies do besides passing requests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setup {
    /// Nothing.
    Plain,
    /// They log each request: Tidegate and nginx into a file, HAProxy, which writes none, to a syslog socket.
    Logged,
    /// They choose the backend by many rules, the last of which holds. nginx, which has no such rules, does not take part.
    Rules,
}

/// Traffic of one shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scenario {
    /// In file names and on the command line.
    pub name: &'static str,
    /// In headings.
    pub title: &'static str,
    /// What is asked for.
    pub path: &'static str,
    /// The body of a correct answer.
    pub body_bytes: u64,
    /// Concurrent connections.
    pub connections: usize,
    /// One request per connection or many.
    pub persistence: Persistence,
    /// Whether the plain baselines can take part (they keep connections and know small bodies).
    pub suits_spikes: bool,
    /// What is done besides.
    pub setup: Setup,
}

/// Name of the scenario that measures memory and CPU time of idle connections.
pub const IDLE: &str = "idle";
/// Name of the scenario that compares Tidegate on one core with Tidegate on two.
pub const SHARDS: &str = "shards";

/// Keep-alive, 64 connections.
pub const KEEPALIVE_64: Scenario = Scenario {
    name: "keepalive-64",
    title: "Keep-alive, 64 connections, 100-byte bodies",
    path: "/100",
    body_bytes: 100,
    connections: 64,
    persistence: Persistence::KeepAlive,
    suits_spikes: true,
    setup: Setup::Plain,
};

/// All scenarios with traffic, in the order in which they run.
pub const TRAFFIC: [Scenario; 7] = [
    KEEPALIVE_64,
    Scenario {
        name: "keepalive-64-log",
        title: "Keep-alive, 64 connections, 100-byte bodies, each request logged",
        suits_spikes: false,
        setup: Setup::Logged,
        ..KEEPALIVE_64
    },
    Scenario {
        name: "rules",
        title: "Keep-alive, 64 connections, 100-byte bodies, the last of 200 rules",
        suits_spikes: false,
        setup: Setup::Rules,
        ..KEEPALIVE_64
    },
    Scenario {
        name: "keepalive-2000",
        title: "Keep-alive, 2,000 connections, 100-byte bodies",
        connections: 2_000,
        ..KEEPALIVE_64
    },
    Scenario {
        name: "per-request",
        title: "A connection per request, 64 at a time, 100-byte bodies",
        persistence: Persistence::Close,
        suits_spikes: false,
        ..KEEPALIVE_64
    },
    Scenario {
        name: "body-16k",
        title: "Keep-alive, 64 connections, 16 KiB bodies",
        path: "/16k",
        body_bytes: 16 << 10,
        suits_spikes: false,
        ..KEEPALIVE_64
    },
    Scenario {
        name: "body-1m",
        title: "Keep-alive, 16 connections, 1 MiB bodies",
        path: "/1m",
        body_bytes: 1 << 20,
        connections: 16,
        suits_spikes: false,
        ..KEEPALIVE_64
    },
];

/// The scenario of a name.
pub fn by_name(name: &str) -> Option<Scenario> {
    TRAFFIC.into_iter().find(|scenario| scenario.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::origin::body_bytes;

    #[test]
    fn every_scenario_asks_for_the_body_it_expects() {
        for scenario in TRAFFIC {
            assert_eq!(
                body_bytes(scenario.path.as_bytes()).map(|bytes| bytes as u64),
                Some(scenario.body_bytes),
                "{}",
                scenario.name
            );
            assert_eq!(by_name(scenario.name), Some(scenario));
        }
    }
}
