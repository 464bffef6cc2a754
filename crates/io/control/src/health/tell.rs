//! The log lines of what happens to servers.
//!
//! Owns their words; leaves when there are too many of them to `flood`. Invariant: one line an event.

use tidegate_health::{Duty, Event, What};

use super::WatchedBackend;
use crate::log::{Level, Line};

/// The line of one event of `backend`.
pub(crate) fn tell(backend: &WatchedBackend, event: &Event) -> Line {
    let (level, name) = match &event.what {
        What::Down(_) => (Level::Warn, "server_down"),
        What::Up => (Level::Info, "server_up"),
        What::Duty(_) => (Level::Info, "server_duty"),
        What::Limit(_) => (Level::Info, "server_limit"),
        What::Ejected { .. } => (Level::Warn, "server_ejected"),
        What::Returned => (Level::Info, "server_returned"),
        What::PanicBegan { .. } => (Level::Error, "backend_panic"),
        What::PanicEnded => (Level::Info, "backend_panic_over"),
        What::NoneUp => (Level::Error, "backend_down"),
        What::SomeUp => (Level::Info, "backend_up"),
    };
    let mut line = Line::new(level, name).with("backend", &backend.name);
    if let Some(server) = event.server.and_then(|server| backend.servers.get(server)) {
        line = line.with("server", &server.name);
    }
    line = match &event.what {
        What::Down(failure) => {
            line.with("reason", failure.fault).with_some("detail", &failure.detail)
        }
        What::Duty(duty) => line.with(
            "duty",
            match duty {
                Duty::Ready => "ready",
                Duty::Drain => "drain",
                Duty::Maintenance => "maint",
            },
        ),
        What::Limit(max) => line.with("max_connections", max),
        What::Ejected { sign, time, times } => line
            .with("reason", sign.label())
            .with("detail", sign)
            .with("for", humantime::format_duration(*time))
            .with("times", times),
        What::PanicBegan { healthy, of } => line.with("healthy", healthy).with("of", of),
        What::Up | What::Returned | What::PanicEnded | What::NoneUp | What::SomeUp => line,
    };
    let up = backend.group.healthy_count();
    line.with("servers_up", up).with("servers", backend.servers.len())
}
