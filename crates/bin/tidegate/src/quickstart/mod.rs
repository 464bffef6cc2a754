//! `tidegate quickstart`: demo servers, the real balancer in front of them, and a view of both.
//!
//! Owns the order of things and what is said before and after; leaves serving to `run`, the servers
//! to `demo`, the file to `settings` and the live view to `watch`. Invariant: the balancer is
//! started as any user would start it, from a file, and that file is gone when the command ends.

mod demo;
mod display;
mod history;
mod metrics;
mod settings;
mod watch;

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use tidegate_control::Ready;

use crate::args::Quickstart;
use crate::console::{self, Exit};
use demo::Server;
use settings::ConfigFile;
use watch::News;

/// The demo servers: name, and hue of the page in degrees.
const SERVERS: [(&str, u16); 3] = [("app1", 210), ("app2", 130), ("app3", 20)];

/// Shows what a load balancer does, until Ctrl-C.
pub(crate) fn run(arguments: &Quickstart) -> Exit {
    match show(arguments) {
        Ok(exit) => exit,
        Err(error) => console::start_failed(&error),
    }
}

fn show(arguments: &Quickstart) -> io::Result<Exit> {
    let port = settings::choose_port(arguments.port)?;
    let servers: Vec<Server> =
        SERVERS.iter().map(|(name, hue)| Server::start(name, *hue)).collect::<io::Result<_>>()?;
    let file = ConfigFile::create(&settings::configuration(port, &servers))?;
    let config = match tidegate_config::load(&file.path) {
        Ok(config) => config,
        Err(report) => return Err(io::Error::other(report.to_string())),
    };
    let (teller, news) = channel();
    let duration = arguments.seconds.map(|seconds| Duration::from_secs(seconds.into()));
    let watcher = std::thread::Builder::new()
        .name("watch".into())
        .spawn(move || watch::watch(&news, duration))?;
    let notice = settings::notice(arguments.port, port);
    let on_ready = beginning(teller.clone(), notice, file.path.clone(), file.text.clone());
    let exit = crate::run::serve(&file.path, config, on_ready);
    // It fails when the view has ended before: nobody reads standard output, or the time is up.
    let _ = teller.send(News::Ended);
    let _ = watcher.join();
    Ok(if exit == Exit::SUCCESS { console::answer(&summary(&servers)) } else { exit })
}

/// What happens once the balancer serves: the view begins.
fn beginning(
    teller: Sender<News>,
    notice: Option<String>,
    path: PathBuf,
    text: String,
) -> impl FnOnce(&Ready) + Send {
    move |ready| {
        let mut introduction = introduction(ready, &path, &text);
        if let Some(notice) = notice {
            introduction.insert_str(0, &format!("{notice}\n"));
        }
        let admin = ready.admin.first().cloned().unwrap_or_default();
        // The view waits for this, and without it there is nobody to tell.
        let _ = teller.send(News::Serving { introduction, admin });
    }
}

/// What to open, what to try, and what runs here.
fn introduction(ready: &Ready, path: &Path, text: &str) -> String {
    let listener = ready.listeners.first().map_or("", |(_, address)| address);
    let admin = ready.admin.first().map_or("", String::as_str);
    let indented: String = text
        .lines()
        .map(|line| if line.is_empty() { "\n".to_owned() } else { format!("    {line}\n") })
        .collect();
    format!(
        "\
Three demo servers, and Tidegate in front of them.

  open      http://{listener}/
  try       curl http://{listener}/
            for i in 1 2 3 4 5 6; do curl -s http://{listener}/; done
  metrics   curl http://{admin}/metrics
  change    edit {path}, then
            kill -HUP {process}     applied without closing a connection

The configuration, as it stands in that file until you press Ctrl-C:

{indented}",
        path = path.display(),
        process = std::process::id(),
    )
}

/// Who answered how much, as the servers themselves have counted.
fn summary(servers: &[Server]) -> String {
    let counts: Vec<(&str, u64)> =
        servers.iter().map(|server| (server.name, server.answered())).collect();
    let total: u64 = counts.iter().map(|(_, count)| count).sum();
    let mut text = format!("\nStopped. The demo servers answered {}", display::grouped(total));
    text.push_str(if total == 1 { " request" } else { " requests" });
    let separators = std::iter::once(':').chain(std::iter::repeat(','));
    for ((name, count), separator) in counts.into_iter().zip(separators) {
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "{separator} {name} {} ({})",
            display::grouped(count),
            display::share(count, total).trim_start()
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_introduction_shows_where_to_go_and_the_file_word_for_word() {
        let ready = Ready {
            listeners: vec![("web".into(), "127.0.0.1:8080".into())],
            admin: vec!["127.0.0.1:8404".into()],
        };
        let text = introduction(&ready, Path::new("/tmp/q.toml"), "[admin]\nbind = 1\n\n[x]\n");
        for part in [
            "open      http://127.0.0.1:8080/\n",
            "curl http://127.0.0.1:8404/metrics\n",
            "edit /tmp/q.toml, then\n",
            &format!("kill -HUP {} ", std::process::id()),
            "\n    [admin]\n    bind = 1\n\n    [x]\n",
        ] {
            assert!(text.contains(part), "{part:?} is not in {text}");
        }
    }

    #[test]
    fn the_summary_counts_what_the_servers_answered() {
        let servers: Vec<Server> =
            ["a", "b"].iter().map(|name| Server::start(name, 0).expect("loopback")).collect();
        assert_eq!(
            summary(&servers),
            "\nStopped. The demo servers answered 0 requests: a 0 (0.0 %), b 0 (0.0 %)"
        );
    }
}
