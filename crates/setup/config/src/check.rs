//! What only the whole file can tell: references, conflicts, things that are missing or never used.
//!
//! Owns the step from drafts to the finished [`Config`]; leaves single values and tables to the
//! section files.
//!
//! Invariant: a draft without problems becomes a configuration in which every reference resolves
//! and no two binds meet.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::path::Path;

use crate::backend::BackendDraft;
use crate::diagnostic::{Problem, Span, quoted};
use crate::file::FileDraft;
use crate::frontend::{FrontendDraft, Reference};
use crate::model::{BackendIndex, Bind, BindAddress, Config, Tables};
use crate::suggest;
use crate::walk::Problems;

/// Checks the file as a whole. The result is usable if `problems` holds no error.
pub(crate) fn finish(file: FileDraft, problems: &Problems) -> Config {
    let FileDraft {
        global, admin, frontends, backends, frontends_obscured, backends_obscured, ..
    } = file;
    if frontends.is_empty() && !frontends_obscured {
        problems.push(
            Problem::error(Span::default(), "there is no frontend: nothing would be listened on")
                .absent()
                .help("add one: [frontends.web] with bind = [\"127.0.0.1:8080\"] and default_backend = \"app\""),
        );
    }
    if let Some((draft, span)) = &admin
        && !draft.bind_written
    {
        let problem = Problem::error(*span, "`admin` has no `bind`").absent();
        problems.push(problem.help("for example bind = [\"127.0.0.1:8404\"]"));
    }
    let admin = admin.map(|(draft, _)| draft.admin);
    let admin_binds = admin.iter().flat_map(|admin| &admin.bind);
    check_binds(
        admin_binds.chain(frontends.iter().flat_map(|draft| &draft.frontend.binds)),
        problems,
    );
    for draft in &frontends {
        check_frontend(draft, global.max_connections, problems);
    }
    check_backends(&frontends, &backends, problems);
    let indices: HashMap<_, _> = backends
        .iter()
        .enumerate()
        .map(|(index, draft)| (&*draft.backend.name, BackendIndex(index)))
        .collect();
    let resolved = |draft: FrontendDraft| {
        let mut frontend = draft.frontend;
        if let Reference::Name(name, span) = &draft.default_backend {
            frontend.default_backend = indices.get(&**name).copied();
            if frontend.default_backend.is_none() && !backends_obscured {
                problems.push(missing_backend(name, *span, &backends));
            }
        }
        frontend
    };
    let frontends = frontends.into_iter().map(resolved).collect();
    let backends = backends.into_iter().map(|draft| draft.backend).collect();
    Config { global, admin, frontends, backends, tables: Tables::default(), warnings: Vec::new() }
}

fn check_frontend(draft: &FrontendDraft, connections_max: u32, problems: &Problems) {
    let name = &draft.frontend.name;
    if !draft.bind_written {
        problems.push(
            Problem::error(draft.name_span, format!("frontend {} has no `bind`", quoted(name)))
                .absent()
                .help("say where it listens, for example bind = [\"127.0.0.1:8080\"]"),
        );
    }
    if matches!(draft.default_backend, Reference::Absent) {
        problems.push(
            Problem::warning(
                draft.name_span,
                format!("frontend {} has no `default_backend`", quoted(name)),
            )
            .absent()
            .help("every request to it is answered with 503"),
        );
    }
    if let Some(limit) = draft.frontend.max_connections.filter(|limit| *limit > connections_max) {
        let message =
            format!("{limit} is more than `global.max_connections`, which is {connections_max}");
        problems.push(
            Problem::warning(draft.max_connections_span, message)
                .absent()
                .help("the lower of the two holds"),
        );
    }
}

fn missing_backend(name: &str, span: Span, backends: &[BackendDraft]) -> Problem {
    const NAMES_SHOWN_MAX: usize = 8;
    let problem = Problem::error(span, format!("there is no backend {}", quoted(name))).absent();
    let names = || backends.iter().map(|draft| &*draft.backend.name);
    if let Some(near) = suggest::nearest(name, names()) {
        return problem.help(format!("did you mean {}?", quoted(near)));
    }
    let mut shown: Vec<_> = names().take(NAMES_SHOWN_MAX).map(quoted).collect();
    if backends.len() > NAMES_SHOWN_MAX {
        shown.push("…".to_owned());
    }
    problem.help(if shown.is_empty() {
        "add one: [backends.NAME.servers] with app1 = \"10.0.0.1:8080\"".to_owned()
    } else {
        format!("there is {}", shown.join(", "))
    })
}

fn check_backends(frontends: &[FrontendDraft], backends: &[BackendDraft], problems: &Problems) {
    let used: HashSet<_> = frontends
        .iter()
        .filter_map(|draft| match &draft.default_backend {
            Reference::Name(name, _) => Some(&**name),
            Reference::Absent | Reference::Unreadable => None,
        })
        .collect();
    for draft in backends {
        let name = &draft.backend.name;
        if !draft.servers_written {
            problems.push(
                Problem::error(
                    draft.name_span,
                    format!("backend {} has no `servers`", quoted(name)),
                )
                .absent()
                .help(format!("add [backends.{name}.servers] with app1 = \"10.0.0.1:8080\"")),
            );
        }
        if !used.contains(&**name) {
            problems.push(
                Problem::warning(draft.name_span, format!("backend {} is not used", quoted(name)))
                    .absent()
                    .help("no frontend names it as its `default_backend`"),
            );
        }
    }
}

/// What two binds must share to be able to meet.
#[derive(PartialEq, Eq, Hash)]
enum Meeting<'b> {
    Tcp { ipv6: bool, port: u16 },
    Unix(&'b Path),
    Fd(i32),
}

/// Reports each bind that meets an earlier one: the same address, or one of them every address of
/// that port.
fn check_binds<'b>(binds: impl Iterator<Item = &'b Bind>, problems: &Problems) {
    let mut binds: Vec<_> = binds.collect();
    binds.sort_by_key(|bind| bind.span.start);
    let mut earlier: HashMap<Meeting<'_>, Vec<&Bind>> = HashMap::new();
    for bind in binds {
        let meeting = match &bind.address {
            // The kernel chooses a free port for each.
            BindAddress::Tcp(socket) if socket.port() == 0 => continue,
            BindAddress::Tcp(socket) => {
                Meeting::Tcp { ipv6: socket.is_ipv6(), port: socket.port() }
            }
            BindAddress::Unix(path) => Meeting::Unix(path),
            BindAddress::Fd(fd) => Meeting::Fd(*fd),
        };
        let known = earlier.entry(meeting).or_default();
        match known.iter().find(|other| overlaps(&bind.address, &other.address)) {
            Some(other) if other.address == bind.address => problems.push(
                Problem::error(bind.span, format!("{} is bound twice", quoted(&bind.address.to_string())))
                    .note("first bound at", other.span)
                    .help("one listener would take the connections of the other: remove one"),
            ),
            Some(other) => problems.push(
                Problem::error(
                    bind.span,
                    format!(
                        "{} conflicts with {}",
                        quoted(&bind.address.to_string()),
                        quoted(&other.address.to_string())
                    ),
                )
                .note("bound at", other.span)
                .help("one of them covers the other on that port: remove one, or give it another port"),
            ),
            None => known.push(bind),
        }
    }
}

fn overlaps(one: &BindAddress, other: &BindAddress) -> bool {
    let every = |socket: &SocketAddr| socket.ip().is_unspecified();
    match (one, other) {
        (BindAddress::Tcp(one), BindAddress::Tcp(other)) => {
            one == other || every(one) || every(other)
        }
        _ => one == other,
    }
}
