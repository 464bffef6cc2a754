//! The access logs of the process: from the configuration to open targets, and back to the event log.
//!
//! Owns what is opened and when; leaves lines to the shards and writing to `tidegate-log`. Invariant: a configuration whose
//! targets cannot be opened opens none for good: what it asked for is closed when it is dropped.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tidegate_config::{Config, LogTargets};
use tidegate_log::{Counts, Event, Log, Logs, Notices, Settings, Writer};
use tidegate_proxy::AccessLog;

use crate::log::{Level, Line};

/// The logs and the thread that writes them.
pub(crate) struct AccessLogs(Logs);

impl AccessLogs {
    /// Starts the thread; one writer for each shard.
    pub(crate) fn start(shards_count: usize) -> io::Result<(AccessLogs, Vec<Writer>)> {
        let (logs, writers) = Logs::start(shards_count, |event| tell(&event))?;
        Ok((AccessLogs(logs), writers))
    }

    /// Opens what `config` wants; what each of its frontends logs to, in their order.
    pub(crate) fn open(&self, config: &Config) -> Result<Vec<Option<Arc<AccessLog>>>, String> {
        let Some(wanted) = &config.global.log else {
            return Ok(config.frontends.iter().map(|_| None).collect());
        };
        let is_json = config.frontends.iter().all(|frontend| frontend.log.format.is_json());
        let open = |target| {
            let settings = settings(wanted, target, is_json);
            let failed = |error| format!("cannot open the access log {}: {error}", settings.target);
            self.0.open(&settings).map_err(failed)
        };
        let targets = wanted.to.iter().map(open).collect::<Result<Vec<Log>, String>>()?;
        let logs = config.frontends.iter().map(|frontend| {
            Some(Arc::new(AccessLog {
                targets: targets.clone(),
                format: frontend.log.format.clone(),
                captures: frontend.log.captures.clone(),
                sampling: frontend.log.sampling,
                least_severe: wanted.level,
                empty_connections: frontend.log.empty_connections,
            }))
        });
        Ok(logs.collect())
    }

    /// Opens files anew under their names.
    pub(crate) fn reopen(&self) {
        self.0.reopen();
    }

    /// What was written and lost since the start.
    pub(crate) fn totals(&self) -> Counts {
        self.0.totals()
    }

    /// Writes what the shards have left behind, no longer than `patience`.
    pub(crate) fn stop(self, patience: Duration) {
        // What was not written has been told as lost.
        let _ = self.0.stop(patience);
    }
}

fn settings(wanted: &LogTargets, target: &tidegate_access_log::Target, is_json: bool) -> Settings {
    let usual = Settings::new(target.clone());
    let machine = || rustix::system::uname().nodename().to_string_lossy().into_owned();
    Settings {
        framing: wanted.framing.unwrap_or(usual.framing),
        facility: wanted.facility,
        host: wanted.host.clone().or_else(|| target.is_remote().then(machine)),
        tag: wanted.tag.clone(),
        notices: if is_json { Notices::Json } else { Notices::Text },
        ..usual
    }
}

/// Tells the event log what happened to a target. Called on the thread that writes, and hands over without waiting.
fn tell(event: &Event<'_>) {
    match event {
        Event::Failed { log, cause, error } => Line::new(Level::Error, "access_log_failed")
            .with("log", log)
            .with("reason", cause.label())
            .with("error", error)
            .write(),
        Event::Restored { log } => {
            Line::new(Level::Info, "access_log_restored").with("log", log).write();
        }
        Event::Lost { log, lines, cause } => Line::new(Level::Warn, "access_log_lines_lost")
            .with("log", log)
            .with("count", lines)
            .with("reason", cause.label())
            .write(),
    }
}
