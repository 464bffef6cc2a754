//! `[resolvers.NAME]`: who says which addresses a name stands for.
//!
//! Owns its keys, and the resolvers that there are without one; leaves asking them to the control plane, and names themselves to
//! `address`.
//!
//! Invariant: there always is a set of resolvers named `default`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use tidegate_discovery::{Family, NAMESERVERS_MAX, Settings};
use toml::de::DeValue;

use crate::defaults;
use crate::diagnostic::{Problem, Span, quoted};
use crate::model::{Init, Resolvers};
use crate::walk::{Key, Node, Problems, key, set, walk};
use crate::{suggest, text::Text};

/// The set that is used where none is named.
const DEFAULT_NAME: &str = "default";

/// A set of resolvers while it is read.
pub(crate) struct ResolversDraft {
    pub resolvers: Resolvers,
    ttl_min: Option<Span>,
    ttl_max: Option<Span>,
}

pub(crate) const RESOLVERS_KEYS: &[Key<ResolversDraft>] = &[
    key("nameservers", "[\"10.0.0.2\", \"10.0.0.3:5353\"]", |draft, node| {
        set(&mut draft.resolvers.nameservers, nameservers(node).map(Some));
    }),
    key("resolv_conf", "\"/etc/resolv.conf\"", |draft, node| {
        set(&mut draft.resolvers.resolv_conf, absolute(node));
    }),
    key("hosts", "\"/etc/hosts\"", |draft, node| match node.value {
        DeValue::Boolean(false) => draft.resolvers.hosts = None,
        DeValue::String(_) => set(&mut draft.resolvers.hosts, absolute(node).map(Some)),
        _ => {
            node.wrong_type::<()>("a path in quotes, or false");
        }
    }),
    key("timeout", "\"1s\"", |draft, node| {
        set(&mut draft.resolvers.settings.timeout, node.timeout());
    }),
    key("tries", "2", |draft, node| {
        set(&mut draft.resolvers.settings.tries, node.integer(defaults::RESOLVE_TRIES_RANGE));
    }),
    key("ttl_min", "\"1s\"", |draft, node| {
        draft.ttl_min = Some(node.span);
        set(&mut draft.resolvers.settings.ttl_min, node.timeout());
    }),
    key("ttl_max", "\"5m\"", |draft, node| {
        draft.ttl_max = Some(node.span);
        set(&mut draft.resolvers.settings.ttl_max, node.timeout());
    }),
    key("hold", "\"1h\"", |draft, node| set(&mut draft.resolvers.settings.hold, node.delay())),
    key("hold_absent", "\"30s\"", |draft, node| {
        set(&mut draft.resolvers.settings.hold_absent, node.delay());
    }),
    key("family", "\"ipv4_first\"", |draft, node| {
        let words = [
            ("ipv4_first", Family::Ipv4First),
            ("ipv6_first", Family::Ipv6First),
            ("ipv4", Family::Ipv4),
            ("ipv6", Family::Ipv6),
            ("both", Family::Both),
        ];
        set(&mut draft.resolvers.settings.family, node.word(&words));
    }),
    key("init", "\"none\"", |draft, node| {
        let words = [("none", Init::None), ("fail", Init::Fail)];
        set(&mut draft.resolvers.init, node.word(&words));
    }),
];

impl Default for Resolvers {
    fn default() -> Self {
        Self {
            name: DEFAULT_NAME.into(),
            nameservers: None,
            resolv_conf: PathBuf::from(defaults::RESOLV_CONF),
            hosts: Some(PathBuf::from(defaults::HOSTS)),
            settings: Settings {
                timeout: defaults::RESOLVE_TIMEOUT,
                tries: defaults::RESOLVE_TRIES,
                ttl_min: defaults::RESOLVE_TTL_MIN,
                ttl_max: defaults::RESOLVE_TTL_MAX,
                hold: defaults::RESOLVE_HOLD,
                hold_absent: defaults::RESOLVE_HOLD_ABSENT,
                family: Family::default(),
            },
            init: Init::default(),
        }
    }
}

/// Reads `[resolvers.NAME]`.
pub(crate) fn read(node: &Node<'_>) -> Resolvers {
    let resolvers = Resolvers { name: node.name.into(), ..Resolvers::default() };
    let mut draft = ResolversDraft { resolvers, ttl_min: None, ttl_max: None };
    walk(node, RESOLVERS_KEYS, &mut draft);
    let settings = &mut draft.resolvers.settings;
    if settings.ttl_min > settings.ttl_max {
        let message = format!("`ttl_min` is more than `ttl_max`, in {}", quoted(&node.path()));
        let span = draft.ttl_min.or(draft.ttl_max).unwrap_or(node.name_span);
        let problem = Problem::error(span, message);
        node.report(problem.help(
            "a name could be asked for neither sooner nor later: lower one or raise the other",
        ));
        settings.ttl_min = settings.ttl_max;
    }
    draft.resolvers
}

/// The sets of the file, and the one that is used where none is named.
pub(crate) fn with_default(mut written: Vec<Resolvers>) -> Vec<Resolvers> {
    if !written.iter().any(|known| &*known.name == DEFAULT_NAME) {
        written.push(Resolvers::default());
    }
    written
}

/// The set that a backend names; `default` without a name.
pub(crate) fn find(named: Option<&Text>, all: &[Resolvers], problems: &Problems) -> usize {
    let name = named.map_or(DEFAULT_NAME, |name| &name.value);
    let found = all.iter().position(|known| *known.name == *name);
    if let (None, Some(text)) = (found, named) {
        let names = all.iter().map(|known| &*known.name);
        let message = format!("there are no resolvers {}", quoted(name));
        let problem = Problem::error(text.span, message);
        problems.push(match suggest::nearest(name, names) {
            Some(near) => problem.help(format!("did you mean \"{near}\"?")),
            None => problem.help(format!(
                "add [resolvers.{}] with nameservers = [\"10.0.0.2\"], or name those that there are",
                quoted(name).trim_matches('`')
            )),
        });
    }
    found.unwrap_or_default()
}

fn nameservers(node: &Node<'_>) -> Option<Vec<SocketAddr>> {
    let elements = node.elements()?;
    if elements.is_empty() || elements.len() > NAMESERVERS_MAX {
        let message = format!("{} has {} entries", quoted(&node.path()), elements.len());
        let help = format!(
            "name 1 to {NAMESERVERS_MAX} resolvers, or leave it out to use those of the system"
        );
        node.report(Problem::error(node.span, message).help(help));
        return None;
    }
    let read: Vec<_> = elements.iter().filter_map(nameserver).collect();
    (read.len() == elements.len()).then_some(read)
}

fn nameserver(node: &Node<'_>) -> Option<SocketAddr> {
    let text = node.string()?;
    let with_port = text.parse::<SocketAddr>().ok().filter(|socket| socket.port() > 0);
    let alone = || Some(SocketAddr::new(text.parse::<IpAddr>().ok()?, defaults::RESOLVER_PORT));
    let socket = with_port.or_else(alone).filter(|socket| !socket.ip().is_unspecified());
    if socket.is_none() {
        let message = format!("{} is not the address of a resolver", quoted(text));
        let help = "write an IP address, with its port unless that is 53: \"10.0.0.2\", \"10.0.0.2:5353\", \"[::1]:5353\"";
        node.report(Problem::error(node.span, message).help(help));
    }
    socket
}

fn absolute(node: &Node<'_>) -> Option<PathBuf> {
    let path = PathBuf::from(node.string()?);
    if !path.is_absolute() {
        let message = format!("{} is not an absolute path", quoted(&path.display().to_string()));
        node.report(Problem::error(node.span, message).help("write the whole path, from / on"));
        return None;
    }
    Some(path)
}
