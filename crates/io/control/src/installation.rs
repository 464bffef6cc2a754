//! What is the same at every start of the program on one machine.
//!
//! Owns the secret that signs tokens where the configuration has none; leaves keys of the configuration to it. Invariant: a
//! restart does not change the secret, and whoever sees tokens does not learn it.

use std::fs;

use tidegate_persistence::{Key, Persistence, Settings};

/// Where a machine's id is, the longest lasting first: that of the installation, and that of the boot, for machines without
/// the first, such as most containers.
const IDS: [&str; 2] = ["/etc/machine-id", "/proc/sys/kernel/random/boot_id"];

/// A backend's persistence, with the machine's key if the configuration has none.
pub(crate) fn persistence<'n>(
    settings: &Settings,
    backend: &str,
    servers: impl Iterator<Item = &'n str>,
) -> Persistence {
    if !settings.keys.is_empty() {
        return Persistence::new(settings, backend, servers);
    }
    let keys = vec![Key::derived(secret(&IDS).as_bytes(), backend.as_bytes())];
    Persistence::new(&Settings { keys, ..settings.clone() }, backend, servers)
}

/// The first id that there is. The one of the boot is the kernel's own, so that there always is one.
fn secret(paths: &[&str]) -> String {
    let ids = paths.iter().filter_map(|path| fs::read_to_string(path).ok());
    let mut ids = ids.map(|id| id.trim().to_owned()).filter(|id| id.len() >= 32);
    ids.next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_lasts_and_is_there() {
        assert_eq!(secret(&IDS), secret(&IDS));
        assert!(secret(&["/nowhere", IDS[1]]).len() >= 32, "the kernel has an id of the boot");
        assert_ne!(secret(&["/dev/null", IDS[1]]), "");
    }
}
