//! `tidegate run`: loads the configuration and serves it.
//!
//! Owns the order of things before and after serving; leaves serving to `tidegate_control` and
//! going to the background to `daemon`. Invariant: warnings and errors of the file are written
//! once, by the process that the user started.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tidegate_config::Config;
use tidegate_control::{Options, Ready};

use crate::args::{Run, StartedBy};
use crate::console::{self, Exit};
use crate::daemon;

/// Serves until a signal ends it, or starts the process in the background that does.
pub(crate) fn run(arguments: &Run) -> Exit {
    let path = &arguments.config;
    if arguments.started_by == StartedBy::Foreground {
        daemon::detach();
    }
    let config = match tidegate_config::load(path) {
        Ok(config) => config,
        Err(report) => {
            console::complain(&report.to_string());
            return Exit::REFUSED;
        }
    };
    match arguments.started_by {
        StartedBy::User => {
            for warning in &config.warnings {
                console::complain(&warning.to_string());
            }
            if config.global.daemon { daemon::start(path) } else { serve(path, config, |_| {}) }
        }
        StartedBy::Foreground => serve(path, config, |_| daemon::let_go()),
    }
}

/// Serves `config` until a signal ends it.
pub(crate) fn serve(
    path: &Path,
    config: Config,
    on_ready: impl FnOnce(&Ready) + Send + 'static,
) -> Exit {
    let serving = Arc::new(AtomicBool::new(false));
    let noted = serving.clone();
    let on_ready = move |ready: &Ready| {
        noted.store(true, Ordering::Relaxed);
        on_ready(ready);
    };
    let options = Options { config_path: path.to_owned(), on_ready: Some(Box::new(on_ready)) };
    match tidegate_control::run(options, config) {
        Ok(()) => Exit::SUCCESS,
        Err(error) if serving.load(Ordering::Relaxed) => console::fail("failed", &error),
        Err(error) => console::start_failed(&error),
    }
}
