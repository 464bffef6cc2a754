//! Owns the start of most tests' configurations: one frontend, one backend, an admin listener.
//!
//! Leaves everything else to the tests, which append lines. Invariant: the text is whole keys at
//! the top level (`frontends.web.bind = …`), so that more of them may follow.

use std::fmt::{Display, Write as _};

/// A configuration with the frontend `web` on a free port, the backend `app` with the servers `s1`,
/// `s2`, … at these addresses, and an admin listener; on the first `shards_count` CPUs.
#[must_use]
pub fn site<A: Display>(shards_count: usize, servers: impl IntoIterator<Item = A>) -> String {
    let cpus: Vec<usize> = (0..shards_count).collect();
    let mut text = format!(
        "global.cores = {cpus:?}\n\
         admin.bind = [\"127.0.0.1:0\"]\n\
         frontends.web.bind = [\"127.0.0.1:0\"]\n\
         frontends.web.default_backend = \"app\"\n"
    );
    for (number, address) in (1..).zip(servers) {
        writeln!(text, "backends.app.servers.s{number} = \"{address}\"")
            .expect("a String takes everything");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_numbered_and_cpus_listed() {
        let text = site(2, ["127.0.0.1:1", "unix:/two"]);
        assert!(text.starts_with("global.cores = [0, 1]\n"), "{text}");
        assert!(text.contains("\nbackends.app.servers.s1 = \"127.0.0.1:1\"\n"), "{text}");
        assert!(text.ends_with("\nbackends.app.servers.s2 = \"unix:/two\"\n"), "{text}");
    }
}
