//! What servers keep over reloads: their slots and the queue of their backend where they have a limit, and the idle connections that
//! all shards share.
//!
//! Owns when these are the same as before. Invariant: a server with the same name and address in the same backend keeps counting
//! its connections, and a queue stays as long as the servers that it is for.

use std::sync::Arc;

use tidegate_config::{Backend, ServerAddress};
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
    shelf: Arc<Shelf<Handed>>,
}

/// What a server keeps over reloads.
pub(crate) struct Kept {
    /// Its slots, if they are limited.
    pub(crate) limit: Option<Arc<Limit>>,
    /// Its idle connections that any shard may take.
    pub(crate) shelf: Arc<Shelf<Handed>>,
}

impl Known {
    fn is_as(&self, other: &Known) -> bool {
        self.name == other.name
            && self.address == other.address
            && self.limit.as_ref().map(Arc::as_ptr) == other.limit.as_ref().map(Arc::as_ptr)
    }
}

impl Queue {
    /// Takes a backend's new settings: its line, and its servers' limits in their order.
    pub(crate) fn follow(
        &mut self,
        backend: &Backend,
        shards_count: usize,
    ) -> (Option<Arc<Line>>, Vec<Kept>) {
        let servers: Vec<_> = backend
            .servers
            .iter()
            .map(|server| Known {
                name: server.name.clone(),
                address: server.address.clone(),
                limit: server.max_connections.map(|max| {
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

    fn limit(&self, name: &Arc<str>, address: &ServerAddress) -> Option<Arc<Limit>> {
        self.known(name, address)?.limit.clone()
    }

    fn known(&self, name: &Arc<str>, address: &ServerAddress) -> Option<&Known> {
        self.servers.iter().find(|known| known.name == *name && known.address == *address)
    }
}
