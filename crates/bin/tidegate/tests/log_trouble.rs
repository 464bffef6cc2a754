//! Owns targets of the access log in trouble while load runs: a full disk, a syslog daemon that does not read, that goes and
//! that comes back.
//!
//! Leaves targets in order to `log_targets`. Invariant: no request waits for a log, and every request's line is counted once, as
//! written or as dropped.

#[path = "support/access_log.rs"]
mod access_log;

use access_log::{DROPPED, WRITTEN, builder};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tidegate_testkit::tools::Load;
use tidegate_testkit::{Client, Metrics, Origin, Tidegate, script, site, tools};

/// How long a request may take under load on a busy machine. A log that is waited for is waited for without end here.
const DELAY_MAX: Duration = Duration::from_secs(3);

/// Loads the program for two seconds while single requests are timed; all must be answered.
#[track_caller]
fn load(tidegate: &Tidegate) -> Load {
    let url = format!("http://{}/", tidegate.address("web"));
    let loading = std::thread::spawn(move || tools::wrk(&url, 16, 2, &[]));
    let mut client = Client::connect(tidegate.address("web"));
    while !loading.is_finished() {
        let began = Instant::now();
        assert_eq!(client.get("/").status, 200);
        assert!(began.elapsed() < DELAY_MAX, "{:?}", began.elapsed());
    }
    let load = loading.join().expect("wrk runs");
    assert_eq!((load.failed_statuses_count, load.errors_count), (0, 0), "{load:?}");
    assert!(load.requests_count > 1000, "{load:?}");
    load
}

fn requests(metrics: &Metrics) -> u64 {
    metrics.count("tidegate_frontend_requests_total", &[("frontend", "web")])
}

/// Closes the log, which gives up what its target does not take, and holds the counts against each other.
#[track_caller]
fn expect_all_counted(tidegate: &Tidegate, config: &str) -> Metrics {
    assert!(tidegate.reload(config).is_event("reloaded"));
    tidegate.wait_metrics("every line counted", |metrics| {
        let counted = metrics.count(WRITTEN, &[]) + metrics.count(DROPPED, &[]);
        assert!(counted <= requests(metrics), "a line was counted twice");
        counted == requests(metrics)
    })
}

fn dropped(metrics: &Metrics, cause: &str) -> u64 {
    metrics.count(DROPPED, &[("cause", cause)])
}

#[test]
fn a_full_disk_loses_lines_and_no_request() {
    let origin = Origin::start(script::answer_ok("hello"));
    let plain = site(2, [origin.address()]);
    let tidegate = builder().start(&(plain.clone() + "global.log.to = \"/dev/full\"\n"));
    load(&tidegate);
    tidegate.wait_log(|line| {
        line.is_event("access_log_failed") && line.field("reason").as_deref() == Some("no_space")
    });
    let metrics = expect_all_counted(&tidegate, &plain);
    assert_eq!(metrics.count(WRITTEN, &[]), 0);
    assert!(dropped(&metrics, "no_space") > 0, "more was asked than is kept");
    assert!(dropped(&metrics, "closed") > 0, "what was kept is given up in the end");
}

/// A file system of a few pages, unmounted by its drop.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// None where mounting is not allowed: that takes root in a namespace of its own, which not every machine gives.
    fn mount(path: &Path) -> Option<SmallDisk> {
        std::fs::create_dir(path).expect("the directory is new");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"])
            .arg(path)
            .output()
            .expect("mount is a part of the system");
        mounted.status.success().then(|| SmallDisk(path.to_owned()))
    }

    /// Gives it room for all that is to come.
    fn grow(&self) {
        let status = Command::new("mount").args(["-o", "remount,size=64m"]).arg(&self.0).status();
        assert!(status.expect("mount is a part of the system").success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn a_disk_that_fills_up_and_has_room_again_has_whole_lines() {
    let origin = Origin::start(script::answer_ok("hello"));
    let plain = site(2, [origin.address()]);
    let builder = builder();
    let directory = builder.directory().join("disk");
    // `/dev/full` stands for a disk where none can be mounted; see the test above.
    let Some(disk) = SmallDisk::mount(&directory) else { return };
    let path = directory.join("access.log");
    let tidegate = builder.start(&(plain.clone() + &access_log::to(&path)));
    load(&tidegate);
    tidegate.wait_log(|line| {
        line.is_event("access_log_failed") && line.field("reason").as_deref() == Some("no_space")
    });
    disk.grow();
    tidegate.wait_log(|line| line.is_event("access_log_restored"));
    let metrics = expect_all_counted(&tidegate, &plain);
    assert!(dropped(&metrics, "no_space") > 0, "more was asked than there is room for");
    let lines = access_log::read_lines(&path);
    let is_notice = |line: &&String| line.starts_with("tidegate: ");
    let notices = lines.iter().filter(is_notice).count();
    assert!(notices > 0, "the log tells what it lost");
    assert_eq!((lines.len() - notices) as u64, metrics.count(WRITTEN, &[]));
    let parsed =
        lines.iter().filter(|line| !is_notice(line)).map(|line| access_log::Line::parse(line));
    assert!(parsed.map(|line| line.status).all(|status| status == 200));
    // Before the directory that it is in.
    drop(disk);
}

#[test]
fn a_syslog_daemon_that_does_not_read_loses_lines_and_no_request() {
    let origin = Origin::start(script::answer_ok("hello"));
    let plain = site(2, [origin.address()]);
    let builder = builder();
    let path = builder.directory().join("log.sock");
    let daemon = UnixDatagram::bind(&path).expect("the path is free");
    let more = format!("global.log.to = \"unix://{}\"\n", path.display());
    let tidegate = builder.start(&(plain.clone() + &more));
    load(&tidegate);
    let metrics = tidegate.wait_metrics("lost lines", |metrics| dropped(metrics, "slow") > 0);
    assert!(metrics.count(WRITTEN, &[]) > 0, "a socket's queue holds some");

    // It goes, and comes back: what is kept goes to the new one.
    drop(daemon);
    std::fs::remove_file(&path).expect("it was there");
    load(&tidegate);
    tidegate.wait_log(|line| {
        line.is_event("access_log_failed") && line.field("reason").as_deref() == Some("unavailable")
    });
    let daemon = UnixDatagram::bind(&path).expect("the path is free");
    let reading = std::thread::spawn(move || {
        let (mut message, mut notices) = ([0; 9000], 0);
        daemon.set_read_timeout(Some(Duration::from_secs(4))).expect("a duration");
        while let Ok(length) = daemon.recv(&mut message) {
            let text = String::from_utf8_lossy(&message[..length]);
            notices += usize::from(text.contains("lines lost ("));
        }
        notices
    });
    tidegate.wait_log(|line| line.is_event("access_log_restored"));
    tidegate.wait_log(|line| line.is_event("access_log_lines_lost"));
    let metrics = expect_all_counted(&tidegate, &plain);
    assert!(metrics.count("tidegate_access_log_reconnects_total", &[]) > 0);
    assert_eq!(dropped(&metrics, "closed"), 0, "the daemon takes what was kept");
    assert!(reading.join().expect("it only reads") > 0, "the log tells what it lost");
}

#[test]
fn a_daemon_that_was_never_there_loses_lines_and_no_request() {
    let origin = Origin::start(script::answer_ok("hello"));
    let plain = site(1, [origin.address()]);
    let builder = builder();
    let path = builder.directory().join("log.sock");
    let more = format!("global.log.to = \"unix://{}\"\n", path.display());
    let tidegate = builder.start(&(plain.clone() + &more));
    load(&tidegate);
    let metrics = expect_all_counted(&tidegate, &plain);
    assert_eq!(metrics.count(WRITTEN, &[]), 0);
}

#[test]
fn a_file_takes_every_line_of_a_load() {
    let origin = Origin::start(script::answer_ok("hello"));
    let plain = site(2, [origin.address()]);
    let builder = builder();
    let path = builder.directory().join("access.log");
    let tidegate = builder.start(&(plain.clone() + &access_log::to(&path)));
    load(&tidegate);
    let metrics = expect_all_counted(&tidegate, &plain);
    let lines = access_log::read_lines(&path);
    let notices = lines.iter().filter(|line| line.starts_with("tidegate: ")).count();
    assert_eq!((lines.len() - notices) as u64, metrics.count(WRITTEN, &[]));
    let parsed = lines.iter().filter(|line| !line.starts_with("tidegate: "));
    for line in parsed.map(|line| access_log::Line::parse(line)) {
        // At its end the client leaves in the middle of its last requests.
        let has_left = line.status == -1 && line.termination.starts_with('C');
        assert!(line.status == 200 || has_left, "{} {}", line.status, line.termination);
    }
}
