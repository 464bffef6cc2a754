//! What is known of the servers' health, for `/metrics`.
//!
//! Owns the figures; leaves their text to `admin::metrics`. Invariant: the figures of a scrape are of one moment.

use std::sync::Arc;

use super::{Counts, Health};

/// All backends.
#[derive(Clone, Debug, Default)]
pub(crate) struct HealthFigures {
    pub(crate) backends: Vec<BackendFigures>,
    pub(crate) checks_in_flight: usize,
    pub(crate) checks_delayed: u64,
}

/// One backend.
#[derive(Clone, Debug)]
pub(crate) struct BackendFigures {
    pub(crate) name: Arc<str>,
    pub(crate) servers_up: usize,
    pub(crate) panics: bool,
    pub(crate) ejections_capped: u64,
    pub(crate) servers: Vec<ServerFigures>,
}

/// One server.
#[derive(Clone, Debug)]
pub(crate) struct ServerFigures {
    pub(crate) name: Arc<str>,
    pub(crate) up: bool,
    pub(crate) ejected: bool,
    /// Connections that its agent allows.
    pub(crate) agent_max_connections: Option<u32>,
    pub(crate) counts: Counts,
}

impl Health {
    /// How it is now.
    pub(crate) fn figures(&self) -> HealthFigures {
        let backends = self.backends.iter().map(|backend| BackendFigures {
            name: backend.name.clone(),
            servers_up: backend.group.healthy_count(),
            panics: backend.group.panics(),
            ejections_capped: backend.group.ejections_capped(),
            servers: backend
                .servers
                .iter()
                .enumerate()
                .map(|(index, server)| {
                    let standing = backend.group.standing(index);
                    ServerFigures {
                        name: server.name.clone(),
                        up: standing.is_some_and(|standing| standing.healthy),
                        ejected: backend.group.is_ejected(index),
                        agent_max_connections: standing.and_then(|known| known.max_connections),
                        counts: server.counts,
                    }
                })
                .collect(),
        });
        HealthFigures {
            backends: backends.collect(),
            checks_in_flight: self.in_flight,
            checks_delayed: self.delayed_total,
        }
    }
}
