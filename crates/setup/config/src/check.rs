//! What only the whole file can tell: references, conflicts, things that are missing or never used.
//!
//! Owns the step from drafts to the finished [`Config`]; leaves single values and tables to the
//! section files.
//!
//! Invariant: a draft without problems becomes a configuration in which every reference resolves
//! and no two binds meet.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use tidegate_balance::Settings as Balance;
use tidegate_rules::Names;
use tidegate_tls::{KeyLog, Loader};

use crate::backend::BackendDraft;
use crate::diagnostic::{Problem, Span, quoted};
use crate::file::FileDraft;
use crate::files::Files;
use crate::frontend::{FrontendDraft, Reference};
use crate::global::AdminDraft;
use crate::model::{
    Admin, Backend, Bind, BindAddress, Config, Global, HashKey, Resolvers, Stick, Tables,
};
use crate::references::Backends;
use crate::rules::Compiler;
use crate::tls::{BindTlsDraft, check_challenges};
use crate::walk::Problems;
use crate::{balance, pages, resolvers, tables};

/// Checks the file as a whole. The result is usable if `problems` holds no error.
pub(crate) fn finish(file: FileDraft, directory: &Path, problems: &Problems) -> Config {
    let FileDraft {
        global,
        admin,
        frontends,
        backends,
        resolvers,
        lists,
        user_lists,
        frontends_obscured,
        backends_obscured,
        ..
    } = file;
    if frontends.is_empty() && !frontends_obscured {
        problems.push(no_frontend());
    }
    let admin = admin.map(|(draft, span)| finish_admin(draft, span, problems));
    let admin_binds = admin.iter().flat_map(|admin| &admin.bind);
    let binds = frontends.iter().flat_map(|draft| &draft.frontend.binds);
    check_binds(admin_binds.chain(binds), problems);
    frontends.iter().for_each(|draft| check_frontend(draft, global.max_connections, problems));
    check_challenges(&frontends, problems);
    let names = backends.iter().map(|draft| draft.backend.name.clone()).collect();
    let references = Backends::new(names, backends_obscured, problems);
    let files = Files::new(directory, problems);
    let (global, loader) = with_tls(global, directory);
    let (user_lists, users_written) = tables::user_lists(user_lists, &files, problems);
    let mut names = Names::default();
    let lists = tables::lists(lists, &mut names, &files, problems);
    let mut compiler = Compiler {
        problems,
        files: &files,
        backends: &references,
        user_lists: &user_lists,
        names,
        maps: Vec::new(),
    };
    compiler.declare(frontends.iter().map(|draft| &draft.rules));
    let resolved = |draft: FrontendDraft| {
        let mut frontend = draft.frontend;
        if let Reference::Name(name, span) = &draft.default_backend {
            frontend.default_backend = references.find(name, *span);
        }
        frontend.error_pages = pages::load(&draft.error_pages, &files, problems);
        frontend.rules = compiler.frontend(&draft.rules);
        give_tls(&mut frontend.binds, &draft.bind_tls, &loader, &files, problems);
        frontend
    };
    let frontends = frontends.into_iter().map(resolved).collect();
    let keys: Vec<_> = backends
        .iter()
        .map(|draft| {
            let key = balance::finish(&draft.balance, &mut compiler, problems);
            let persistence = draft.persistence.as_ref();
            (key, persistence.and_then(|draft| draft.stick(&mut compiler, problems)))
        })
        .collect();
    let Compiler { names, maps, .. } = compiler;
    let maps = tables::maps(&maps, &files, problems);
    check_backends(&references, &backends, problems);
    let resolvers = resolvers::with_default(resolvers);
    let backends = finished(backends, keys, &loader, &resolvers, &files, problems);
    let tables = Tables { names, lists, maps, users_written, files: files.into_list() };
    Config { global, admin, frontends, backends, resolvers, tables, warnings: Vec::new() }
}

fn finish_admin(draft: AdminDraft, span: Span, problems: &Problems) -> Admin {
    if !draft.bind_written {
        let problem = Problem::error(span, "`admin` has no `bind`").absent();
        problems.push(problem.help("for example bind = [\"127.0.0.1:8404\"]"));
    }
    draft.admin
}

/// The process's settings with the path of the key log as it is, and what makes TLS of all binds and backends.
fn with_tls(global: Global, directory: &Path) -> (Global, Loader) {
    let written = global.tls_key_log.as_ref();
    let key_log = written.map(|log| Arc::new(KeyLog::new(directory.join(log.path()))));
    (Global { tls_key_log: key_log.clone(), ..global }, Loader::new(key_log))
}

/// Reads the files of the binds' TLS.
fn give_tls(
    binds: &mut [Bind],
    drafts: &[Option<BindTlsDraft>],
    loader: &Loader,
    files: &Files<'_>,
    problems: &Problems,
) {
    for (bind, draft) in binds.iter_mut().zip(drafts) {
        let draft = draft.as_ref();
        bind.tls = draft.and_then(|tls| tls.finish(&bind.protocols, loader, files, problems));
    }
}

/// The backends with what could only be read or compiled at the end.
fn finished(
    drafts: Vec<BackendDraft>,
    keys: Vec<(Option<HashKey>, Option<Stick>)>,
    loader: &Loader,
    all_resolvers: &[Resolvers],
    files: &Files<'_>,
    problems: &Problems,
) -> Vec<Backend> {
    let finished = |(draft, (hash_key, stick)): (BackendDraft, _)| Backend {
        tls: draft.tls.as_ref().and_then(|tls| tls.finish(draft.alpn(), loader, files, problems)),
        error_pages: pages::load(&draft.error_pages, files, problems),
        persistence: draft
            .persistence
            .and_then(|persistence| persistence.finish(&draft.backend.name, files, problems)),
        balance: Balance { policy: draft.balance.policy, ..draft.backend.balance },
        hash_key,
        stick,
        resolvers: resolvers::find(draft.resolvers.as_ref(), all_resolvers, problems),
        ..draft.backend
    };
    drafts.into_iter().zip(keys).map(finished).collect()
}

fn no_frontend() -> Problem {
    Problem::error(Span::default(), "there is no frontend: nothing would be listened on")
        .absent()
        .help("add one: [frontends.web] with bind = [\"127.0.0.1:8080\"] and default_backend = \"app\"")
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
    // A frontend whose rules end requests may mean to answer the others with 503.
    let ends_some = draft.rules.request.iter().any(|rule| !rule.endings.is_empty());
    if matches!(draft.default_backend, Reference::Absent) && !ends_some {
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

fn check_backends(references: &Backends<'_>, backends: &[BackendDraft], problems: &Problems) {
    for (index, draft) in backends.iter().enumerate() {
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
        if !references.is_used(index) {
            problems.push(
                Problem::warning(draft.name_span, format!("backend {} is not used", quoted(name)))
                    .absent()
                    .help("no rule and no `default_backend` names it"),
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
