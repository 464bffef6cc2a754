//! Certificates that are ordered, as the control plane sees them.
//!
//! Owns what of a configuration goes to the thread that orders, and what the log says of it; leaves the rest to `tidegate_acme`.
//! A certificate that came is taken into use like any file that has changed. Invariant: a storage that cannot be written in is
//! told before anything is ordered.

use std::sync::Arc;
use std::time::SystemTime;

use tidegate_acme::{Event, Figures, Reason, Worker};
use tidegate_config::Config;
use tidegate_tls::Challenges;

use crate::log::{Level, Line};

/// The thread that orders, once a configuration asks for it.
#[derive(Default)]
pub(crate) struct Orders(Option<Worker>);

impl Orders {
    /// Orders what `config` asks for from now on, and nothing else; authorities are answered from `challenges`.
    ///
    /// # Errors
    /// A storage cannot be written in, or there is no thread to be had.
    pub(crate) fn follow(
        &mut self,
        config: &Config,
        challenges: &Arc<Challenges>,
    ) -> Result<(), String> {
        let binds = config.frontends.iter().flat_map(|frontend| &frontend.binds);
        let mut wanted = Vec::new();
        for tls in binds.filter_map(|bind| bind.tls.as_ref()) {
            if let Some(settings) = &tls.settings().automatic {
                tidegate_acme::prepare(settings).map_err(|why| format!("acme storage: {why}"))?;
                tls.answer_from(challenges);
                wanted.push(settings.clone());
            }
        }
        if self.0.is_none() && !wanted.is_empty() {
            let started = Worker::start(challenges.clone(), Box::new(|event| line(&event).write()));
            self.0 = Some(started.map_err(|error| format!("acme: no thread: {error}"))?);
        }
        if let Some(worker) = &self.0 {
            worker.follow(wanted);
        }
        Ok(())
    }

    /// Gives up what is under way: the process ends.
    pub(crate) fn stop(&self) {
        if let Some(worker) = &self.0 {
            worker.stop();
        }
    }

    pub(crate) fn figures(&self) -> Figures {
        self.0.as_ref().map(Worker::figures).unwrap_or_default()
    }
}

fn line(event: &Event) -> Line {
    let time = |at: &SystemTime| humantime::format_rfc3339_seconds(*at).to_string();
    let domains = |domains: &[String]| domains.join(",");
    match event {
        Event::Ordering { domains: names, directory, reason } => {
            let reason = match reason {
                Reason::Missing => "there is none",
                Reason::OtherNames => "other domains",
                Reason::Renewal => "renewal",
            };
            Line::new(Level::Info, "acme_order")
                .with("domains", domains(names))
                .with("directory", directory)
                .with("reason", reason)
        }
        Event::Obtained { domains: names, file, not_after, renew_at } => {
            Line::new(Level::Info, "acme_certificate")
                .with("domains", domains(names))
                .with("file", file.display())
                .with("not_after", time(not_after))
                .with("renew_at", time(renew_at))
        }
        Event::Failed { domains: names, directory, failure, failures, next, until } => {
            let line = Line::new(Level::Error, "acme_failed")
                .with("domains", domains(names))
                .with("directory", directory)
                .with("step", failure.step)
                .with_some("problem", &failure.problem)
                .with("reason", &failure.detail)
                .with("failures", failures)
                .with("next", time(next));
            match until {
                Some(until) => line.with("in_use_until", time(until)),
                None => line.with("help", "there is no certificate for these domains yet"),
            }
        }
        Event::Waiting { domains: names } => Line::new(Level::Info, "acme_waits")
            .with("domains", domains(names))
            .with("reason", "another process orders with the same storage"),
        Event::AccountMade { directory, account, file } => Line::new(Level::Info, "acme_account")
            .with("directory", directory)
            .with("account", account)
            .with("file", file.display()),
        Event::AccountUnknown { directory } => Line::new(Level::Warn, "acme_account_unknown")
            .with("directory", directory)
            .with("help", "it is registered again"),
        Event::Unusable { file, reason } => Line::new(Level::Warn, "acme_file_unusable")
            .with("file", file.display())
            .with("reason", reason)
            .with("help", "another certificate is ordered"),
    }
}
