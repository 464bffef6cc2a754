//! TLS at run time: the files behind it, and what the process does for its keys.
//!
//! Owns the timer's business; leaves the certificates to `certificates`. Invariant: keys are
//! logged only where the configuration says so.

use std::time::SystemTime;

use tidegate_config::{Config, Global};

use super::Runtime;
use crate::log::{Level, Line};
use crate::process;

impl Runtime {
    /// Follows the certificates of `config`, and does for keys what it says.
    pub(super) fn follow_certificates(&self, config: &Config) -> Result<(), String> {
        open_key_log(&config.global)?;
        process::allow_core_dumps(config.global.core_dumps);
        self.orders.borrow_mut().follow(config, &self.publisher.borrow().challenges)?;
        self.certificates.borrow_mut().follow(config);
        self.look_at_certificates();
        Ok(())
    }

    /// Looks at the files of certificates, and sets the timer for the next look.
    pub(super) fn look_at_certificates(&self) {
        let (lines, next) = self.certificates.borrow_mut().look(SystemTime::now());
        lines.into_iter().for_each(Line::write);
        if let Some(next) = next {
            let now = self.shard.clock.now();
            self.shard.timers.borrow_mut().set(self.certificate_look, now + next);
        }
    }
}

fn open_key_log(global: &Global) -> Result<(), String> {
    let Some(log) = &global.tls_key_log else { return Ok(()) };
    log.open().map_err(|error| {
        format!("global.tls_key_log: cannot write {}: {error}", log.path().display())
    })?;
    Line::new(Level::Warn, "tls_key_log")
        .with("file", log.path().display())
        .with("help", "whoever reads it reads all traffic: remove global.tls_key_log when it is no longer needed")
        .write();
    Ok(())
}
