//! Where a server is, by address or by name, and the servers that one name stands for.
//!
//! Owns the keys that go together for that, and the names of a template's servers; leaves addresses as text to `address`.
//!
//! Invariant: servers of one name stand one after another, and no two of a backend have the same name.

use std::collections::HashMap;
use std::sync::Arc;

use tidegate_discovery::DnsName;

use crate::address;
use crate::defaults::SERVER_PORT;
use crate::diagnostic::{Problem, Span, quoted};
use crate::model::{Server, ServerAddress, Slot};
use crate::walk::Node;

/// What a server says of where it is, while it is read.
#[derive(Default)]
pub(crate) struct PlaceDraft {
    pub address: Option<ServerAddress>,
    pub address_key: Option<Span>,
    pub name: Option<DnsName>,
    pub name_key: Option<Span>,
    pub port: Option<u16>,
    pub port_key: Option<Span>,
    pub slots: Option<u32>,
    pub slots_key: Option<Span>,
}

/// Where servers are.
pub(crate) struct Place {
    pub address: ServerAddress,
    /// None: one server, named as it is written.
    slots: Option<u32>,
}

impl PlaceDraft {
    /// What it comes to; what does not go together is reported.
    pub(crate) fn finish(self, entry: &Node<'_>) -> Option<Place> {
        let of_server = |what: &str| format!("server {} has {what}", quoted(entry.name));
        let report = |span, message: String, help: &str| {
            entry.report(Problem::error(span, message).help(help));
        };
        let table = entry.value.is_table();
        if table && self.address_key.is_none() && self.name_key.is_none() {
            if !entry.obscures("address") && !entry.obscures("name") {
                entry.report(
                    Problem::error(entry.name_span, of_server("no `address`")).absent().help(
                        "for example address = \"10.0.0.1:8080\", or name = \"app.internal\"",
                    ),
                );
            }
            return None;
        }
        if let (Some(address), Some(name)) = (self.address_key, self.name_key) {
            let (first, second) =
                if name.start < address.start { (name, address) } else { (address, name) };
            let problem = Problem::error(second, of_server("both `address` and `name`"));
            entry.report(problem.note("the other one", first).help("keep one of them"));
            return None;
        }
        let (name, port) = match (self.address, self.name) {
            (Some(ServerAddress::Name { name, port }), _) => {
                if let Some(span) = self.port_key {
                    report(
                        span,
                        of_server("a `port` besides its address"),
                        "it belongs to `name`; an address has its port in it",
                    );
                    return None;
                }
                (name, port)
            }
            (Some(address), _) => {
                if let Some(span) = self.slots_key.or(self.port_key) {
                    let help = "`slots` and `port` are for servers with a `name`, which may stand for several addresses";
                    report(
                        span,
                        format!("the address of server {} is no name", quoted(entry.name)),
                        help,
                    );
                }
                return Some(Place { address, slots: None });
            }
            (None, Some(name)) if name.is_service() => {
                if let Some(span) = self.port_key {
                    report(
                        span,
                        format!("{} is a service with a port", quoted(name.as_str())),
                        "its records say the port: remove `port`",
                    );
                }
                (name, None)
            }
            (None, Some(name)) => (name, Some(self.port.unwrap_or(SERVER_PORT))),
            // What is there could not be read, which has been reported.
            (None, None) => return None,
        };
        let slots = match (self.slots_key, self.slots) {
            (Some(_), None) => return None,
            (_, slots) => slots,
        };
        Some(Place { address: ServerAddress::Name { name, port }, slots })
    }
}

impl Place {
    /// The names of the servers there, with their slots.
    pub(crate) fn servers<'p>(
        &'p self,
        name: &'p str,
    ) -> impl Iterator<Item = (Arc<str>, Option<Slot>)> + 'p {
        let named = matches!(self.address, ServerAddress::Name { .. });
        let template: Arc<str> = name.into();
        (0..self.slots.unwrap_or(1)).map(move |index| {
            let server = match self.slots {
                Some(_) => format!("{name}{}", index + 1).into(),
                None => template.clone(),
            };
            let slot = Slot { template: template.clone(), index: index as usize };
            (server, named.then_some(slot))
        })
    }
}

/// Reports servers of templates that are named like others of the backend.
pub(crate) fn check_unique<'s>(node: &Node<'_>, servers: impl Iterator<Item = &'s Server>) {
    let mut known: HashMap<&str, &Server> = HashMap::new();
    for server in servers {
        if let Some(other) = known.insert(&server.name, server) {
            let of = |server: &Server| server.slot.as_ref().map(|slot| slot.template.clone());
            let template = of(server).or_else(|| of(other)).unwrap_or_else(|| server.name.clone());
            let message = format!(
                "{} has two servers {}: one of them is a slot of {}",
                quoted(node.parent),
                quoted(&server.name),
                quoted(&template)
            );
            node.report(Problem::error(node.name_span, message).help(
                "slots are named after their key and counted from 1: rename one of the keys",
            ));
            return;
        }
    }
}

/// A server's address.
pub(crate) fn address(node: &Node<'_>) -> Option<ServerAddress> {
    match address::server(node.string()?) {
        Ok(address) => Some(address),
        Err(error) => {
            node.report(Problem::error(node.span, error.message).help(error.help));
            None
        }
    }
}

/// A server's name.
pub(crate) fn name(node: &Node<'_>) -> Option<DnsName> {
    let text = node.string()?;
    match text.parse::<DnsName>() {
        Ok(name) => Some(name),
        Err(error) => {
            let message = format!("{} is not a name: {error}", quoted(text));
            let help = "a name looks like \"app.internal\" or \"_http._tcp.app.internal\"; its port is a key of its own";
            node.report(Problem::error(node.span, message).help(help));
            None
        }
    }
}
