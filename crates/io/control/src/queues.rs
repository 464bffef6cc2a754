//! What servers keep over reloads: their slots and the queue of their backend where they have a limit, and the idle connections that
//! all shards share.
//!
//! Owns when these are the same as before. Invariant: a server with the same name and address in the same backend keeps counting
//! its connections, and a queue stays as long as the servers that it is for; a server whose agent may set a limit has its
//! connections counted from the first one on.

use std::sync::Arc;

use tidegate_config::{Backend, Server, ServerAddress};
use tidegate_health::Probe;
use tidegate_idle::Shelf;
use tidegate_proxy::Handed;
use tidegate_queue::{Limit, Line};

/// One backend's queue, and its servers with their limits.
#[derive(Default)]
pub(crate) struct Queue {
    servers: Vec<Known>,
    line: Option<Arc<Line>>,
}

#[derive(Clone)]
struct Known {
    name: Arc<str>,
    address: ServerAddress,
    limit: Option<Arc<Limit>>,
    /// What is configured.
    max: Option<u32>,
    shelf: Arc<Shelf<Handed>>,
}

/// What a server keeps over reloads.
pub(crate) struct Kept {
    /// Its slots, if they are limited.
    pub(crate) limit: Option<Arc<Limit>>,
    /// Its idle connections that any shard may take.
    pub(crate) shelf: Arc<Shelf<Handed>>,
}

/// Whether the connections of a server are limited, or may be by its agent.
fn is_counted(server: &Server) -> bool {
    let has_agent =
        server.check.as_ref().is_some_and(|check| matches!(*check.probe, Probe::Agent(_)));
    server.max_connections.is_some() || has_agent
}

/// The limit of a server. As in HAProxy, what its agent says stands in the place of what is configured, be it less or more, and
/// 0 is no limit.
fn effective(configured: Option<u32>, said: Option<u32>) -> u32 {
    match said {
        Some(0) => u32::MAX,
        Some(max) => max,
        None => configured.unwrap_or(u32::MAX),
    }
}

impl Known {
    fn is_as(&self, other: &Known) -> bool {
        self.name == other.name
            && self.address == other.address
            && self.limit.as_ref().map(Arc::as_ptr) == other.limit.as_ref().map(Arc::as_ptr)
    }
}

impl Queue {
    /// Takes a backend's new settings: its line, and its servers' limits in their order. `said` is what the agent of a server has
    /// said.
    pub(crate) fn follow(
        &mut self,
        backend: &Backend,
        shards_count: usize,
        said: impl Fn(usize) -> Option<u32>,
    ) -> (Option<Arc<Line>>, Vec<Kept>) {
        let servers: Vec<_> = backend
            .servers
            .iter()
            .enumerate()
            .map(|(index, server)| Known {
                name: server.name.clone(),
                address: server.address.clone(),
                max: server.max_connections,
                limit: is_counted(server).then(|| {
                    let max = effective(server.max_connections, said(index));
                    let waiting_max = server.max_queue.unwrap_or(u32::MAX);
                    let limit = self
                        .limit(&server.name, &server.address)
                        .unwrap_or_else(|| Arc::new(Limit::new(shards_count, max, waiting_max)));
                    limit.set_max(max);
                    limit.own().set_max(waiting_max);
                    limit
                }),
                shelf: self
                    .known(&server.name, &server.address)
                    .map_or_else(Arc::default, |known| known.shelf.clone()),
            })
            .collect();
        let is_same = servers.len() == self.servers.len()
            && servers.iter().zip(&self.servers).all(|(one, other)| one.is_as(other));
        let waiting_max = backend.max_queue.unwrap_or(u32::MAX);
        if servers.iter().all(|server| server.limit.is_none()) {
            self.line = None;
        } else if !is_same || self.line.is_none() {
            self.line = Some(Arc::new(Line::new(shards_count, waiting_max)));
        }
        if let Some(line) = &self.line {
            line.set_max(waiting_max);
        }
        self.servers = servers;
        let kept =
            |server: &Known| Kept { limit: server.limit.clone(), shelf: server.shelf.clone() };
        (self.line.clone(), self.servers.iter().map(kept).collect())
    }

    /// The agent of a server has said this.
    pub(crate) fn set_said(&self, server: usize, said: Option<u32>) {
        if let Some(known) = self.servers.get(server)
            && let Some(limit) = &known.limit
        {
            limit.set_max(effective(known.max, said));
        }
    }

    fn limit(&self, name: &Arc<str>, address: &ServerAddress) -> Option<Arc<Limit>> {
        self.known(name, address)?.limit.clone()
    }

    fn known(&self, name: &Arc<str>, address: &ServerAddress) -> Option<&Known> {
        self.servers.iter().find(|known| known.name == *name && known.address == *address)
    }
}
