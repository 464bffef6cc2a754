//! Owns the dependency table: which package may name which, and what each layer may never reach.
//!
//! Leaves versions and licences to `cargo deny`. Invariant: the table is exact, so that a new
//! dependency is a decision made here, and the layer rules hold whatever the table says, so that
//! the table cannot decide against them.

use crate::Complaint;
use std::collections::{BTreeMap, BTreeSet};

/// How close to the outside a package is. Lower layers know nothing of higher ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    /// L0: no I/O, no clock, no threads, no globals.
    Core,
    /// L1: text and certificates to typed values.
    Setup,
    /// L2: executors, rings, sockets.
    Io,
    /// L3: the program.
    Program,
    /// Beside the layers: tests and benches. Nothing that ships depends on it.
    Dev,
}

/// What one package may name.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The package.
    pub package: &'static str,
    /// Its layer.
    pub layer: Layer,
    /// Its dependencies, those of the workspace without their `tidegate-`.
    pub dependencies: &'static [&'static str],
    /// What its tests may name besides.
    pub dev_dependencies: &'static [&'static str],
}

const fn row(
    package: &'static str,
    layer: Layer,
    dependencies: &'static [&'static str],
    dev_dependencies: &'static [&'static str],
) -> Row {
    Row { package, layer, dependencies, dev_dependencies }
}

/// The table: every package of the workspace and exactly what it names.
pub const TABLE: &[Row] = &[
    row("tidegate-http1", Layer::Core, &["httparse"], &["proptest", "tidegate-testkit"]),
    row(
        "tidegate-http2",
        Layer::Core,
        &["aws-lc-rs", "tidegate-http1"],
        &["proptest", "tidegate-testkit"],
    ),
    row("tidegate-balance", Layer::Core, &[], &["proptest"]),
    row("tidegate-exchange", Layer::Core, &[], &["tidegate-testkit"]),
    row("tidegate-idle", Layer::Core, &["crossbeam-queue"], &[]),
    row("tidegate-discovery", Layer::Core, &["domain"], &["proptest", "tidegate-testkit"]),
    row("tidegate-queue", Layer::Core, &["crossbeam-queue"], &["proptest"]),
    row(
        "tidegate-health",
        Layer::Core,
        &["regex", "tidegate-balance", "tidegate-http1"],
        &["proptest", "tidegate-testkit"],
    ),
    row(
        "tidegate-rules",
        Layer::Core,
        &["aho-corasick", "memchr", "regex", "strsim"],
        &["cel", "stats_alloc", "tidegate-testkit"],
    ),
    row("tidegate-semantics", Layer::Core, &[], &["proptest", "stats_alloc", "tidegate-testkit"]),
    row(
        "tidegate-passwords",
        Layer::Core,
        &["argon2", "bcrypt", "hmac", "sha-crypt", "sha2", "subtle"],
        &["proptest"],
    ),
    row(
        "tidegate-tls-records",
        Layer::Core,
        &["aws-lc-rs"],
        &["proptest", "rcgen", "rustls", "stats_alloc", "tidegate-testkit"],
    ),
    row("tidegate-persistence", Layer::Core, &["hmac", "sha2"], &["proptest"]),
    row("tidegate-stick", Layer::Core, &[], &["proptest"]),
    row(
        "tidegate-routing",
        Layer::Core,
        &["regex", "tidegate-passwords", "tidegate-rules", "tidegate-semantics"],
        &["proptest", "stats_alloc"],
    ),
    row("tidegate-telemetry", Layer::Core, &[], &["proptest"]),
    row(
        "tidegate-compression",
        Layer::Core,
        &["brotli", "zlib-rs", "zstd-safe"],
        &["miniz_oxide", "ruzstd", "stats_alloc", "tidegate-testkit"],
    ),
    row(
        "tidegate-access-log",
        Layer::Core,
        &["strsim", "tidegate-exchange"],
        &["proptest", "serde_json", "stats_alloc", "tidegate-testkit"],
    ),
    row(
        "tidegate-tls",
        Layer::Setup,
        &["arc-swap", "aws-lc-rs", "rustls", "rustls-native-certs", "x509-cert", "zeroize"],
        &["proptest", "rcgen"],
    ),
    row(
        "tidegate-config",
        Layer::Setup,
        &[
            "nix",
            "strsim",
            "tidegate-access-log",
            "tidegate-balance",
            "tidegate-discovery",
            "tidegate-exchange",
            "tidegate-health",
            "tidegate-http1",
            "tidegate-passwords",
            "tidegate-persistence",
            "tidegate-routing",
            "tidegate-rules",
            "tidegate-semantics",
            "tidegate-tls",
            "toml",
        ],
        &["proptest", "rcgen"],
    ),
    row(
        "tidegate-ring",
        Layer::Io,
        &["io-uring", "libc", "rustix", "socket2"],
        &["glommio", "tidegate-testkit"],
    ),
    row(
        "tidegate-log",
        Layer::Io,
        &["rtrb", "rustix", "socket2", "tidegate-access-log", "tidegate-telemetry"],
        &["stats_alloc", "tidegate-testkit"],
    ),
    row("tidegate-shard", Layer::Io, &["glommio", "rtrb", "tidegate-ring"], &["proptest"]),
    row(
        "tidegate-proxy",
        Layer::Io,
        &[
            "bytes",
            "h2",
            "http",
            // For the feature that silences libraries.
            "log",
            "rustix",
            "socket2",
            "tidegate-access-log",
            "tidegate-balance",
            "tidegate-compression",
            "tidegate-exchange",
            "tidegate-health",
            "tidegate-http1",
            "tidegate-http2",
            "tidegate-idle",
            "tidegate-passwords",
            "tidegate-persistence",
            "tidegate-log",
            "tidegate-queue",
            "tidegate-ring",
            "tidegate-routing",
            "tidegate-rules",
            "tidegate-semantics",
            "tidegate-shard",
            "tidegate-stick",
            "tidegate-telemetry",
            "tidegate-tls",
            "tidegate-tls-records",
            "tokio",
            "tracing",
        ],
        &["stats_alloc", "tidegate-testkit"],
    ),
    row(
        "tidegate-acme",
        Layer::Io,
        &[
            "base64",
            "bytes",
            "http",
            "httpdate",
            "instant-acme",
            "rcgen",
            "rustix",
            "serde",
            "serde_json",
            "tidegate-tls",
            "ureq",
            "zeroize",
        ],
        &[],
    ),
    row(
        "tidegate-control",
        Layer::Io,
        &[
            "humantime",
            "metrics",
            "metrics-exporter-prometheus",
            "nix",
            "rustix",
            "signal-hook",
            "socket2",
            "tidegate-access-log",
            "tidegate-acme",
            "tidegate-balance",
            "tidegate-compression",
            "tidegate-config",
            "tidegate-discovery",
            "tidegate-exchange",
            "tidegate-health",
            "tidegate-http1",
            "tidegate-idle",
            "tidegate-log",
            "tidegate-persistence",
            "tidegate-proxy",
            "tidegate-queue",
            "tidegate-ring",
            "tidegate-rules",
            "tidegate-semantics",
            "tidegate-shard",
            "tidegate-stick",
            "tidegate-telemetry",
            "tidegate-tls",
        ],
        &["proptest"],
    ),
    row(
        "tidegate",
        Layer::Program,
        &["lexopt", "rustix", "tidegate-config", "tidegate-control"],
        &["tidegate-testkit"],
    ),
    row(
        "tidegate-simulation",
        Layer::Dev,
        &[
            "tidegate-balance",
            "tidegate-exchange",
            "tidegate-health",
            "tidegate-idle",
            "tidegate-queue",
            "tidegate-testkit",
        ],
        &[],
    ),
    row("tidegate-testkit", Layer::Dev, &["rcgen", "rustix", "rustls", "socket2"], &[]),
    row("tidegate-tidy", Layer::Dev, &["cargo_metadata"], &[]),
    row(
        "tidegate-icount",
        Layer::Dev,
        &[
            "serde_json",
            "tidegate-access-log",
            "tidegate-balance",
            "tidegate-compression",
            "tidegate-exchange",
            "tidegate-http1",
            "tidegate-passwords",
            "tidegate-routing",
            "tidegate-rules",
            "tidegate-semantics",
            "tidegate-stick",
            "tidegate-testkit",
        ],
        &[],
    ),
    row(
        "tidegate-load",
        Layer::Dev,
        &["hdrhistogram", "rustix", "serde", "serde_json", "tidegate-tls"],
        &[],
    ),
];

/// External packages that only the I/O crates may name: the executor, the ring, the system's
/// interface.
const IO_ONLY: [&str; 3] = ["glommio", "io-uring", "libc"];

/// External packages that the pure crates may name: they do no I/O either.
const PURE: [&str; 17] = [
    "aho-corasick",
    "argon2",
    "aws-lc-rs",
    "bcrypt",
    "brotli",
    "crossbeam-queue",
    "domain",
    "hmac",
    "httparse",
    "memchr",
    "regex",
    "sha-crypt",
    "sha2",
    "strsim",
    "subtle",
    "zlib-rs",
    "zstd-safe",
];

/// Pairs of packages of which the first must not reach the second, however far: the data plane
/// serves what it is given.
const NEVER_REACHES: [(&str, &str); 4] = [
    ("tidegate-proxy", "tidegate-control"),
    ("tidegate-proxy", "tidegate-config"),
    ("tidegate-shard", "tidegate-proxy"),
    ("tidegate-ring", "tidegate-shard"),
];

/// A package as Cargo sees it.
#[derive(Clone, Debug)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Normal and build dependencies.
    pub dependencies: BTreeSet<String>,
    /// Dependencies of its tests.
    pub dev_dependencies: BTreeSet<String>,
}

/// Checks the packages against the table and the rules of the layers.
#[must_use]
pub fn check(packages: &[Package], table: &[Row]) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for package in packages {
        match table.iter().find(|row| row.package == package.name) {
            Some(row) => {
                complaints.extend(check_row(package, row));
                complaints.extend(check_layer(package, row, table));
            }
            None => complaints.push(Complaint::new(&package.name, "not in the dependency table")),
        }
    }
    let is_gone = |row: &&Row| !packages.iter().any(|package| package.name == row.package);
    let gone = table.iter().filter(is_gone);
    complaints.extend(gone.map(|row| {
        Complaint::new(row.package, "in the dependency table, but not in the workspace")
    }));
    complaints.extend(check_reach(packages));
    complaints
}

fn check_row(package: &Package, row: &Row) -> Vec<Complaint> {
    let pairs = [
        (&package.dependencies, row.dependencies, "dependency"),
        (&package.dev_dependencies, row.dev_dependencies, "dev-dependency"),
    ];
    let mut complaints = Vec::new();
    for (found, allowed, kind) in pairs {
        let allowed: BTreeSet<String> = allowed.iter().map(ToString::to_string).collect();
        let extra =
            found.difference(&allowed).map(|name| format!("{kind} {name} is not in the table"));
        let stale = allowed
            .difference(found)
            .map(|name| format!("the table has {kind} {name}, the package has not"));
        complaints.extend(extra.chain(stale).map(|message| Complaint::new(&package.name, message)));
    }
    complaints
}

fn check_layer(package: &Package, row: &Row, table: &[Row]) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let mut complain = |message: String| complaints.push(Complaint::new(&package.name, message));
    for name in &package.dependencies {
        let internal = table.iter().find(|row| row.package == *name);
        match internal {
            Some(named) if named.layer > row.layer => {
                complain(format!("names {name} of a higher layer"));
            }
            Some(_) => {}
            None if row.layer == Layer::Core && !PURE.contains(&name.as_str()) => {
                complain(format!("names {name}; a pure crate may name {PURE:?}"));
            }
            None if row.layer != Layer::Io
                && row.layer != Layer::Dev
                && IO_ONLY.contains(&name.as_str()) =>
            {
                complain(format!("names {name}, which only the I/O crates may"));
            }
            None => {}
        }
    }
    complaints
}

fn check_reach(packages: &[Package]) -> Vec<Complaint> {
    let names: BTreeMap<&str, &Package> =
        packages.iter().map(|package| (package.name.as_str(), package)).collect();
    let reaches = |from: &str, to: &str| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(name) = next.pop() {
            if let Some(package) = names.get(name)
                && seen.insert(name)
            {
                next.extend(package.dependencies.iter().map(String::as_str));
            }
        }
        from != to && seen.contains(to)
    };
    let broken = NEVER_REACHES.iter().filter(|(from, to)| reaches(from, to));
    broken.map(|(from, to)| Complaint::new(*from, format!("reaches {to}, and must not"))).collect()
}

#[cfg(test)]
#[path = "layers_tests.rs"]
mod tests;
