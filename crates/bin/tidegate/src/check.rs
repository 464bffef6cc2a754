//! `tidegate check`: says whether a configuration can be served.
//!
//! Owns the wording of the verdict; leaves finding problems to `tidegate_config`. Invariant: it
//! opens nothing but the files, so it can run beside the server that uses the same configuration.

use std::path::Path;

use tidegate_config::Config;

use crate::console::{self, Exit};

/// Checks the file at `path` and says what was found.
pub(crate) fn check(path: &Path) -> Exit {
    match tidegate_config::load(path) {
        Ok(config) => console::answer(&verdict(path, &config)),
        Err(report) => {
            console::complain(&report.to_string());
            Exit::REFUSED
        }
    }
}

/// The line for a file that can be served, after its warnings.
fn verdict(path: &Path, config: &Config) -> String {
    let servers = config.backends.iter().map(|backend| backend.servers.len()).sum();
    let mut text = String::new();
    for warning in &config.warnings {
        text.push_str(&format!("{warning}\n"));
    }
    text.push_str(&format!(
        "{}: ok ({}, {}, {})",
        path.display(),
        counted(config.frontends.len(), "frontend"),
        counted(config.backends.len(), "backend"),
        counted(servers, "server"),
    ));
    text
}

fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE_OF_EACH: &str = "[frontends.web]\nbind = [\"127.0.0.1:0\"]\n\
        default_backend = \"app\"\n[backends.app.servers]\na = \"127.0.0.1:1\"\n";

    fn verdict_of(text: &str) -> String {
        verdict(Path::new("a.toml"), &tidegate_config::parse("a.toml", text).expect("valid"))
    }

    #[test]
    fn the_verdict_counts_what_the_file_holds() {
        assert_eq!(verdict_of(ONE_OF_EACH), "a.toml: ok (1 frontend, 1 backend, 1 server)");
        let more = format!("{ONE_OF_EACH}b = \"127.0.0.1:2\"\n");
        assert_eq!(verdict_of(&more), "a.toml: ok (1 frontend, 1 backend, 2 servers)");
    }

    #[test]
    fn warnings_come_before_the_verdict() {
        let text = format!("{ONE_OF_EACH}[backends.spare.servers]\nb = \"127.0.0.1:2\"\n");
        let verdict = verdict_of(&text);
        assert!(verdict.starts_with("a.toml:"), "{verdict}");
        assert!(verdict.contains("warning:"), "{verdict}");
        assert!(verdict.ends_with("\na.toml: ok (1 frontend, 2 backends, 2 servers)"), "{verdict}");
    }
}
