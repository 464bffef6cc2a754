//! Carrying out a configuration: the first one and every one after it.
//!
//! Owns opening what it wants before anything changes, and telling the shards; leaves translating it to `publish`.
//! Invariant: when something it wants cannot be opened, nothing has changed.

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt::Display;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tidegate_config::{Config, Global, Severity};
use tidegate_proxy::{Command, ListenerSpec, Snapshot};
use tidegate_ring::Listener;

use super::{AdminListener, Phase, Runtime, START_PATIENCE};
use crate::listen::{Fresh, Place, places};
use crate::log::{self, Level, Line};

/// Why a reload changed nothing.
enum Failure {
    /// The file has errors, which have been reported.
    Wrong { problems: usize },
    /// Something that it wants cannot be had.
    Refused(String),
}

/// The keys in which `now` differs from what the process was started with and keeps to its end, with both values.
fn needs_restart(started: &Global, now: &Global) -> Vec<(&'static str, String, String)> {
    let differing = |key, old: &dyn Display, new: &dyn Display| {
        let (old, new) = (old.to_string(), new.to_string());
        (old != new).then_some((key, old, new))
    };
    let keys = [
        differing("global.cores", &started.cores, &now.cores),
        differing("global.daemon", &started.daemon, &now.daemon),
        differing("global.user", &or_none(&started.user), &or_none(&now.user)),
        differing("global.group", &or_none(&started.group), &or_none(&now.group)),
    ];
    keys.into_iter().flatten().collect()
}

fn or_none(value: &Option<impl Display>) -> String {
    value.as_ref().map_or_else(|| "none".into(), ToString::to_string)
}

impl Runtime {
    /// Opens what `config` wants that is not open yet, and makes its snapshot. Nothing is changed on an error.
    pub(super) fn prepare(
        &self,
        config: &Config,
        shards: usize,
    ) -> Result<(Arc<Snapshot>, Vec<Vec<ListenerSpec>>), String> {
        let logs = self.logs.borrow().as_ref().map_or(Ok(Vec::new()), |logs| logs.open(config))?;
        let backlog = config.global.listen_backlog;
        let patience =
            if self.phase.get() == Phase::Starting { START_PATIENCE } else { Duration::ZERO };
        let frontends: Vec<Vec<Place>> = config
            .frontends
            .iter()
            .map(|frontend| places(&frontend.name, &frontend.binds))
            .collect();
        let admin = places("admin", config.admin.as_ref().map_or(&[], |admin| &admin.bind));
        let (mut opened, mut opened_admin) = (Fresh::default(), Fresh::default());
        for place in
            frontends.iter().flatten().filter(|place| self.addresses.borrow().get(place).is_none())
        {
            opened
                .open(place.clone(), backlog, shards, patience)
                .map_err(|error| error.to_string())?;
        }
        for place in admin
            .iter()
            .filter(|place| !self.admin.borrow().iter().any(|known| known.place == **place))
        {
            opened_admin
                .open(place.clone(), backlog, 1, patience)
                .map_err(|error| error.to_string())?;
        }
        self.follow_certificates(config)?;
        // Nothing can fail from here on.
        let mut sockets = HashMap::new();
        for (place, opened) in opened.keep() {
            let id = self.addresses.borrow_mut().insert(place, opened.address);
            sockets.insert(id, opened.sockets);
        }
        for (place, mut opened) in opened_admin.keep() {
            if let Some(socket) = opened.sockets.pop() {
                self.listen_admin(place, opened.address, socket);
            }
        }
        for known in self.admin.borrow().iter() {
            // No socket that listens is refused it.
            let _ = known.place.backlog(backlog).map(|backlog| known.listener.set_backlog(backlog));
        }
        let mut specs: Vec<Vec<ListenerSpec>> = (0..shards).map(|_| Vec::new()).collect();
        for (frontend, (bind, place)) in frontends
            .iter()
            .enumerate()
            .flat_map(|(index, own)| own.iter().enumerate().map(move |own| (index, own)))
        {
            let addresses = self.addresses.borrow();
            let Some((id, _)) = addresses.get(place) else { continue };
            let mut own = sockets.remove(id).unwrap_or_default().into_iter();
            for shard in &mut specs {
                let (shared, socket) = (place.is_shared(), own.next());
                let backlog = place.backlog(backlog);
                shard.push(ListenerSpec { id: *id, frontend, bind, shared, backlog, socket });
            }
        }
        self.addresses.borrow_mut().retain(&frontends.into_iter().flatten().collect());
        self.forget_admin_but(&admin);
        let snapshot = self.publisher.borrow_mut().publish(config, logs);
        self.generation.set(snapshot.generation);
        Ok((snapshot, specs))
    }

    pub(super) fn forget_admin_but(&self, kept: &[Place]) {
        self.admin.borrow_mut().retain(|known| {
            let keep = kept.contains(&known.place);
            if !keep {
                known.place.remove_file();
                known.stopping.set(true);
                self.shard.tasks.wake(known.task);
            }
            keep
        });
    }

    pub(super) fn listen_admin(&self, place: Place, now: String, socket: std::os::fd::OwnedFd) {
        let Some(server) = self.server.borrow().clone() else { return };
        let stopping = Rc::new(Cell::new(false));
        let listener = Rc::new(Listener::new(&self.shard.ring, socket));
        let task = self.shard.tasks.spawn(server.accept(listener.clone(), stopping.clone()));
        self.admin.borrow_mut().push(AdminListener { place, now, listener, stopping, task });
    }

    /// Opens the files of access logs anew, then reads the file again and carries it out, or says why not and changes nothing.
    pub(super) fn reload(&self) {
        if let Some(logs) = &*self.logs.borrow() {
            logs.reopen();
        }
        if matches!(self.phase.get(), Phase::Draining | Phase::Ending) {
            return;
        }
        if self.links.borrow().is_empty() {
            return self.refuse_reload();
        }
        let path = self.options.borrow().config_path.clone();
        let outcome = self.take(&path);
        let (before, now) = (self.reloads.get(), SystemTime::now());
        self.reloads.set(match outcome {
            Ok(()) => before.and_taken(now),
            Err(_) => before.and_failed(now),
        });
        if let Err(failure) = outcome {
            let line = Line::new(Level::Error, "reload_failed").with("file", path.display());
            match failure {
                Failure::Wrong { problems } => line.with("problems", problems).write(),
                Failure::Refused(reason) => line.with("reason", reason).write(),
            }
        }
    }

    /// Warns at the start of what a reload could not read again, now that the process is another user's.
    pub(super) fn check_reading(&self) {
        let Some(user) = &self.started.user else { return };
        let path = self.options.borrow().config_path.clone();
        if let Err(report) = tidegate_config::load(&path) {
            log::write_text(report.to_string());
            Line::new(Level::Warn, "reload_would_fail")
                .with("file", path.display())
                .with("user", user)
                .with(
                    "help",
                    "a reload reads all files as this user: let it, or its group, read them",
                )
                .write();
        }
    }

    fn take(&self, path: &Path) -> Result<(), Failure> {
        let config = tidegate_config::load(path).map_err(|report| {
            log::write_text(report.to_string());
            Failure::Wrong { problems: report.count(Severity::Error) }
        })?;
        for warning in &config.warnings {
            log::write_text(warning.to_string());
        }
        let shards = self.links.borrow().len();
        let (snapshot, listeners) = self.prepare(&config, shards).map_err(Failure::Refused)?;
        self.send_to_all(&snapshot, listeners);
        self.look_at_traffic();
        for (key, old, new) in needs_restart(&self.started, &config.global) {
            Line::new(Level::Warn, "needs_restart")
                .with("key", key)
                .with("old", old)
                .with("new", new)
                .with("help", "only a start looks at it: restart to change it")
                .write();
        }
        *self.config.borrow_mut() = config;
        Ok(())
    }

    fn send_to_all(&self, snapshot: &Arc<Snapshot>, listeners: Vec<Vec<ListenerSpec>>) {
        let now = self.shard.clock.now();
        for (link, listeners) in self.links.borrow_mut().iter_mut().zip(listeners) {
            link.send(Command::Apply(snapshot.clone(), listeners), now);
        }
        self.check_lag();
    }
}

#[cfg(test)]
mod tests {
    use tidegate_config::Cores;

    use super::*;

    #[test]
    fn only_what_a_start_alone_looks_at_needs_a_restart() {
        let started = Global::default();
        let now = Global {
            max_connections: 7,
            shutdown_timeout: Duration::from_secs(7),
            listen_backlog: 7,
            ..started.clone()
        };
        assert!(needs_restart(&started, &now).is_empty());
        let now = Global { cores: Cores::List(vec![0, 2]), daemon: true, ..now };
        let needed = needs_restart(&started, &now);
        let needed: Vec<_> =
            needed.iter().map(|(key, old, new)| (*key, old.as_str(), new.as_str())).collect();
        assert_eq!(
            needed,
            [("global.cores", "auto", "[0, 2]"), ("global.daemon", "false", "true")]
        );
    }
}
