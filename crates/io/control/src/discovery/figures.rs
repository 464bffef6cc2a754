//! What is known of names, for `/metrics`.
//!
//! Owns the figures; leaves their text to `admin::metrics`. Invariant: the figures of a scrape are of one moment.

use std::net::SocketAddr;
use std::sync::Arc;

use super::Discovery;

/// All names.
#[derive(Clone, Debug, Default)]
pub(crate) struct DiscoveryFigures {
    pub(crate) names: Vec<NameFigures>,
    pub(crate) resolvers: Vec<ResolverFigures>,
    pub(crate) templates: Vec<TemplateFigures>,
    pub(crate) lookups_delayed: u64,
}

/// One name.
#[derive(Clone, Debug)]
pub(crate) struct NameFigures {
    pub(crate) resolvers: Arc<str>,
    pub(crate) name: String,
    pub(crate) addresses: usize,
    pub(crate) held: bool,
    /// Rounds of questions by result.
    pub(crate) results: Vec<(&'static str, u64)>,
}

/// One resolver.
#[derive(Clone, Debug)]
pub(crate) struct ResolverFigures {
    pub(crate) resolvers: Arc<str>,
    pub(crate) address: SocketAddr,
    pub(crate) answered: u64,
    pub(crate) failed: u64,
}

/// The slots of one name in one backend.
#[derive(Clone, Debug)]
pub(crate) struct TemplateFigures {
    pub(crate) backend: Arc<str>,
    pub(crate) name: String,
    pub(crate) surplus: usize,
}

impl Discovery {
    /// How it is now.
    pub(crate) fn figures(&self) -> DiscoveryFigures {
        let names = self.names.iter().map(|(key, name)| NameFigures {
            resolvers: key.resolvers.clone(),
            name: key.name.to_string(),
            addresses: name.watch.endpoints().len(),
            held: name.watch.is_holding(),
            results: name.results.iter().map(|(result, count)| (*result, *count)).collect(),
        });
        let resolvers = self.sets.iter().flat_map(|(name, set)| {
            set.tries.iter().map(|(address, [answered, failed])| ResolverFigures {
                resolvers: name.clone(),
                address: *address,
                answered: *answered,
                failed: *failed,
            })
        });
        let templates = self.templates.iter().map(|template| TemplateFigures {
            backend: template.backend.clone(),
            name: template.key.name.to_string(),
            surplus: template.slots.surplus(),
        });
        DiscoveryFigures {
            names: names.collect(),
            resolvers: resolvers.collect(),
            templates: templates.collect(),
            lookups_delayed: self.delayed_total,
        }
    }
}
