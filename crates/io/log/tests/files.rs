//! Files: rotation, full disks, pipes, many shards at once, reloads.

mod stage;

use stage::{Stage, line, number, push};
use std::fs::{read_to_string, rename};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, Instant};
use tidegate_access_log::Target;
use tidegate_log::{Cause, LOGS_MAX, Notices, Pushed, Settings};
use tidegate_testkit::{PATIENCE, TempDir};

fn numbers(path: &Path) -> Vec<usize> {
    read_to_string(path).expect("it can be read").lines().map(number).collect()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the path is text")
}

#[test]
fn lines_are_appended_and_a_new_file_is_not_for_everybody() {
    let directory = TempDir::new();
    let path = directory.file("access.log");
    std::fs::write(&path, "before\n").expect("it can be written");
    let new = directory.file("new.log");
    let mut stage = Stage::new(1);
    let (log, other) = (stage.open(text(&path)), stage.open(text(&new)));
    stage.push(&log, 0..2);
    stage.push(&other, 2..3);
    stage.flush();
    let expected = format!("before\n{}\n{}\n", line(0), line(1));
    assert_eq!(read_to_string(&path).expect("it can be read"), expected);
    assert_eq!(numbers(&new), [2]);
    let mode = std::fs::metadata(&new).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o7137, 0, "{mode:o}");
    let (counts, totals) = (log.counts(), stage.logs.totals());
    assert_eq!((counts.lines, counts.dropped.total(), totals.lines), (2, 0, 3));
    assert_eq!(counts.bytes, (line(0).len() + line(1).len() + 2) as u64);
}

#[test]
fn a_rotated_file_is_written_until_it_is_reopened() {
    let directory = TempDir::new();
    let (path, rotated) = (directory.file("access.log"), directory.file("access.log.1"));
    let mut stage = Stage::new(1);
    let log = stage.open(text(&path));
    stage.push(&log, 0..100);
    stage.flush();
    rename(&path, &rotated).expect("it can be renamed");
    stage.push(&log, 100..200);
    stage.flush();
    assert!(!path.exists());
    stage.push(&log, 200..300);
    stage.logs.reopen();
    stage.flush();
    stage.push(&log, 300..400);
    stage.flush();
    assert_eq!(numbers(&rotated), (0..300).collect::<Vec<_>>());
    assert_eq!(numbers(&path), (300..400).collect::<Vec<_>>());
    assert_eq!(log.counts().lines, 400);
}

#[test]
fn a_file_that_cannot_be_reopened_is_written_on() {
    let directory = TempDir::new();
    let below = directory.file("below");
    std::fs::create_dir(&below).expect("it can be made");
    let (path, moved) = (below.join("access.log"), directory.file("moved"));
    let mut stage = Stage::new(1);
    let log = stage.open(text(&path));
    stage.push(&log, 0..10);
    stage.flush();
    rename(&below, &moved).expect("it can be renamed");
    stage.logs.reopen();
    stage.push(&log, 10..20);
    stage.flush();
    assert_eq!(numbers(&moved.join("access.log")), (0..20).collect::<Vec<_>>());
    assert_eq!(stage.events(), ["failed unavailable"]);
}

/// Pushes lines until at least so many were dropped by this cause.
fn push_until_dropped(stage: &mut Stage, log: &tidegate_log::Log, cause: Cause) -> usize {
    let (mut pushed, started) = (0, Instant::now());
    while log.counts().dropped_by(cause) < 100 {
        assert!(started.elapsed() < PATIENCE, "{:?}", log.counts());
        stage.push(log, pushed..pushed + 1000);
        pushed += 1000;
        let _ = stage.logs.flush(Duration::ZERO);
    }
    pushed
}

#[test]
fn a_full_disk_costs_lines_that_are_counted_and_told_once_there_is_room() {
    let directory = TempDir::new();
    let (path, room) = (directory.file("access.log"), directory.file("room.log"));
    symlink("/dev/full", &path).expect("it can be made");
    let mut stage = Stage::new(1);
    let log = stage.open(text(&path));
    let pushed = push_until_dropped(&mut stage, &log, Cause::NoSpace);
    assert_eq!(log.counts().lines, 0);
    assert_eq!(stage.events(), ["failed no_space"]);
    std::fs::remove_file(&path).expect("it can be removed");
    symlink(&room, &path).expect("it can be made");
    stage.logs.reopen();
    stage.flush();
    let counts = log.counts();
    let lost = counts.dropped_by(Cause::NoSpace);
    assert_eq!(counts.lines + counts.dropped.total(), pushed as u64);
    assert_eq!(lost, counts.dropped.total());
    let text = read_to_string(&room).expect("it can be read");
    let (notices, lines): (Vec<_>, Vec<_>) =
        text.lines().partition(|text| text.starts_with("tidegate:"));
    assert_eq!(notices, [format!("tidegate: {lost} lines lost (no_space)")]);
    let lines: Vec<usize> = lines.into_iter().map(number).collect();
    assert_eq!(lines, (0..lines.len()).collect::<Vec<_>>());
    assert_eq!(lines.len() as u64, counts.lines);
    assert_eq!(stage.events()[1..], ["restored".to_owned(), format!("lost {lost} no_space")]);
}

#[test]
fn a_disk_that_stays_full_does_not_hold_up_the_end() {
    let mut stage = Stage::new(1);
    let log = stage.open("/dev/full");
    let pushed = push_until_dropped(&mut stage, &log, Cause::NoSpace);
    let started = Instant::now();
    assert!(!stage.logs.stop(Duration::from_millis(50)));
    assert!(started.elapsed() < PATIENCE / 2);
    let counts = log.counts();
    assert_eq!((counts.lines, counts.dropped.total()), (0, pushed as u64));
    assert!(counts.dropped_by(Cause::Closed) > 0);
}

#[test]
fn lost_lines_are_told_in_json_among_json() {
    let directory = TempDir::new();
    let (path, room) = (directory.file("access.log"), directory.file("room.log"));
    symlink("/dev/full", &path).expect("it can be made");
    let mut stage = Stage::new(1);
    let target = Target::parse(text(&path)).expect("it is a target");
    let settings = Settings { notices: Notices::Json, ..Settings::new(target) };
    let log = stage.logs.open(&settings).expect("it opens");
    push_until_dropped(&mut stage, &log, Cause::NoSpace);
    std::fs::remove_file(&path).expect("it can be removed");
    symlink(&room, &path).expect("it can be made");
    stage.logs.reopen();
    stage.flush();
    let lost = log.counts().dropped_by(Cause::NoSpace);
    let text = read_to_string(&room).expect("it can be read");
    let expected = format!("{{\"event\":\"lines_lost\",\"lines\":{lost},\"cause\":\"no_space\"}}");
    assert!(text.lines().any(|line| line == expected));
}

#[test]
fn many_shards_write_whole_lines_each_in_its_order() {
    const SHARDS: usize = 3;
    const LINES: usize = 60_000;
    let directory = TempDir::new();
    let path = directory.file("access.log");
    let mut stage = Stage::new(SHARDS);
    let log = stage.open(text(&path));
    let id = log.id();
    let dropped: usize = std::thread::scope(|scope| {
        let shards: Vec<_> = stage
            .writers
            .iter_mut()
            .enumerate()
            .map(|(shard, writer)| {
                scope.spawn(move || {
                    let numbers = (0..LINES).map(|number| number * SHARDS + shard);
                    numbers.filter(|number| push(writer, id, *number) == Pushed::Dropped).count()
                })
            })
            .collect();
        shards.into_iter().map(|shard| shard.join().expect("it pushed")).sum()
    });
    assert!(stage.logs.stop(PATIENCE));
    let counts = log.counts();
    assert_eq!(counts.dropped.total(), dropped as u64);
    assert_eq!(counts.lines, (SHARDS * LINES - dropped) as u64);
    let text = read_to_string(&path).expect("it can be read");
    let lines: Vec<usize> =
        text.lines().filter(|text| !text.starts_with("tidegate:")).map(number).collect();
    assert_eq!(lines.len() as u64, counts.lines);
    for shard in 0..SHARDS {
        let of_shard: Vec<usize> =
            lines.iter().copied().filter(|number| number % SHARDS == shard).collect();
        assert!(of_shard.is_sorted_by(|one, next| one < next));
    }
}

#[test]
fn a_reload_changes_targets_while_lines_come() {
    let directory = TempDir::new();
    let paths: Vec<_> = (0..200).map(|at| directory.file(&format!("{at}.log"))).collect();
    let mut stage = Stage::new(1);
    let mut log = stage.open(text(&paths[0]));
    for (at, path) in paths.iter().enumerate() {
        let next = stage.open(text(path));
        // The shard changes over, and then the old log is let go.
        stage.push(&log, at * 10..at * 10 + 5);
        stage.push(&next, at * 10 + 5..at * 10 + 10);
        log = next;
    }
    stage.flush();
    let mut found: Vec<usize> = paths.iter().flat_map(|path| numbers(path)).collect();
    found.sort_unstable();
    assert_eq!(found, (0..2000).collect::<Vec<_>>());
    assert_eq!(stage.logs.totals().lines, 2000);
    assert_eq!(stage.logs.totals().dropped.total(), 0);
}

#[test]
fn equal_settings_are_one_log_and_there_is_a_limit() {
    let directory = TempDir::new();
    let stage = Stage::new(0);
    let path = |at: usize| directory.file(&format!("{at}.log"));
    let logs: Vec<_> = (0..LOGS_MAX).map(|at| stage.open(text(&path(at)))).collect();
    assert_eq!(stage.open(text(&path(7))).id(), logs[7].id());
    let more = Settings::new(Target::File(text(&path(LOGS_MAX)).to_owned()));
    assert!(stage.logs.open(&more).is_err());
    drop(logs);
    stage.wait_until(|| stage.logs.open(&more).is_ok());
}

#[test]
fn a_file_that_cannot_be_opened_is_an_error() {
    let directory = TempDir::new();
    let stage = Stage::new(0);
    for path in [directory.file("no/access.log"), directory.path().to_owned()] {
        let settings = Settings::new(Target::File(text(&path).to_owned()));
        assert!(stage.logs.open(&settings).is_err());
    }
}
