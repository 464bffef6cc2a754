//! Running unattended: in the background, at rest, and as the demonstration.
//!
//! Owns `daemon = true`, what an idle program costs, and `tidegate quickstart`. Leaves what is
//! served to the other files.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};

use tidegate_testkit::{
    Builder, Client, Deadline, Exit, Gate, LogLine, Origin, Process, Signal, TempDir, Tidegate,
    script, site,
};

fn tidegate() -> Builder {
    Tidegate::with_binary(env!("CARGO_BIN_EXE_tidegate"))
}

/// A program in the background, which nobody has as a child: killed on drop by its number.
struct Daemon {
    pid: u32,
    directory: TempDir,
}

impl Daemon {
    /// Runs `tidegate run`, its log in a file, to its end.
    fn command(directory: &TempDir, config: &str) -> Exit {
        let log = directory.file("daemon.log");
        let path = directory.write("tidegate.toml", config.to_owned() + "global.daemon = true\n");
        let redirect = format!("exec \"$@\" 2>> {}", log.display());
        let arguments = ["run", "-c", path.to_str().expect("a name in UTF-8")];
        tidegate().wrapped_in(&["bash", "-c", &redirect, "bash"]).run_arguments(&arguments)
    }

    /// Starts one, which must serve when the command returns.
    #[track_caller]
    fn start(config: &str) -> Self {
        let directory = TempDir::new();
        let exit = Self::command(&directory, config);
        let mut daemon = Self { pid: 0, directory };
        let log = daemon.log();
        assert_eq!(exit.status.code(), Some(0), "{log}");
        assert_eq!(exit.stdout_text(), "");
        let ready = log.lines().find(|line| line.contains(" event=ready "));
        let pid = ready.and_then(|line| line.split("pid=").nth(1)?.trim().parse().ok());
        daemon.pid = pid.unwrap_or_else(|| panic!("it has returned without being ready:\n{log}"));
        daemon
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.file("daemon.log")).expect("the log is there")
    }

    fn address(&self, key: &str) -> SocketAddr {
        let log = self.log();
        let line =
            log.lines().find(|line| line.contains(" event=listening ") && line.contains(key));
        let address = line.and_then(|line| line.split("address=").nth(1));
        address
            .and_then(|address| address.parse().ok())
            .unwrap_or_else(|| panic!("no {key} in {log}"))
    }

    fn signal(&self, name: &str) {
        let pid = self.pid.to_string();
        let killed = std::process::Command::new("kill").args([name, &pid]).status();
        assert!(killed.is_ok_and(|status| status.success()), "kill {name} {pid}");
    }

    fn is_running(&self) -> bool {
        // A process that has ended and was not waited for by its parent is a zombie.
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        stat.rsplit(") ").next().is_some_and(|state| !state.is_empty() && !state.starts_with('Z'))
    }

    #[track_caller]
    fn wait_until(&self, what: &str, mut condition: impl FnMut() -> bool) {
        let (deadline, pause) = (Deadline::default(), Gate::new());
        while !condition() {
            assert!(deadline.remaining().is_some(), "waited for {what}:\n{}", self.log());
            assert!(!pause.wait_at_most(Duration::from_millis(5)), "nobody opens it");
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.pid > 0 && self.is_running() {
            self.signal("-KILL");
        }
    }
}

#[test]
fn the_command_returns_when_the_daemon_serves_and_signals_reach_it() {
    for shards in [1, 2] {
        let [one, two] = ["one", "two"].map(|name| Origin::start(script::answer_ok(name)));
        let daemon = Daemon::start(&site(shards, [one.address()]));
        let mut client = Client::connect(daemon.address("frontend=web"));
        assert_eq!(client.get("/").text(), "one");
        let session = |pid: &str| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
            let fields = stat.rsplit(") ").next().expect("the fields follow the name").to_owned();
            fields.split(' ').nth(3).expect("the fourth is the session").to_owned()
        };
        assert_ne!(session(&daemon.pid.to_string()), session("self"), "it has left the session");
        for stream in ["0", "1"] {
            let target = std::fs::read_link(format!("/proc/{}/fd/{stream}", daemon.pid));
            assert_eq!(target.expect("it runs"), Path::new("/dev/null"));
        }
        daemon.directory.write("tidegate.toml", site(shards, [two.address()]));
        daemon.signal("-HUP");
        daemon.wait_until("the reload", || daemon.log().contains(" event=reloaded"));
        assert_eq!(client.get("/").text(), "two");
        daemon.signal("-TERM");
        client.expect_eof();
        drop(client);
        daemon.wait_until("the end", || !daemon.is_running());
        assert!(daemon.log().contains(" event=ended"), "{}", daemon.log());
    }
}

#[test]
fn a_daemon_that_cannot_start_is_told_to_whom_started_it() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = taken.local_addr().expect("a bound socket has an address");
    let in_use = site(1, ["127.0.0.1:1"])
        .replace("web.bind = [\"127.0.0.1:0\"]", &format!("web.bind = [\"{address}\"]"));
    let wrong = site(1, ["127.0.0.1:1"]) + "global.cors = 1\n";
    for (config, code, said) in
        [(in_use, 1, format!("cannot listen on {address}: ")), (wrong, 2, "unknown key".to_owned())]
    {
        let directory = TempDir::new();
        let exit = Daemon::command(&directory, &config);
        let log = std::fs::read_to_string(directory.file("daemon.log")).expect("the log is there");
        assert_eq!(exit.status.code(), Some(code), "{log}");
        assert_eq!(log.matches(&said).count(), 1, "{said:?} in:\n{log}");
    }
}

#[test]
fn an_idle_program_takes_no_cpu_time() {
    for shards in [1, 2] {
        let origin = Origin::start(script::answer_ok("hello"));
        let tidegate = tidegate().start(&site(shards, [origin.address()]));
        // With connections that are open and idle, as they are in real life.
        let mut clients: Vec<Client> =
            (0..50).map(|_| Client::connect(tidegate.address("web"))).collect();
        for client in &mut clients {
            assert_eq!(client.get("/").text(), "hello");
        }
        let idle = Duration::from_secs(3);
        let (before, start) = (tidegate.process().cpu_time(), Instant::now());
        assert!(!Gate::new().wait_at_most(idle), "nobody opens it");
        let used = tidegate.process().cpu_time() - before;
        // 0.2 % of a core: it wakes to look through idle server connections, once a second.
        let allowed = start.elapsed() / 500;
        assert!(used <= allowed, "{used:?} of CPU time in {:?}, {shards} shards", start.elapsed());
    }
}

fn quickstart(arguments: &[&str]) -> Process {
    tidegate().spawn_arguments(&[&["quickstart"], arguments].concat())
}

/// The address after `open      http://` in the introduction.
fn opened(process: &Process) -> SocketAddr {
    let line = process.wait_line(|line| line.text.trim_start().starts_with("open "));
    let url = line.text.split("http://").nth(1).expect("it says what to open");
    url.trim_end_matches('/').parse().expect("an address")
}

#[test]
fn the_quick_start_serves_from_all_three_servers_and_ends_by_itself() {
    let process = quickstart(&["--port", "0", "--seconds", "2"]);
    let address = opened(&process);
    let mut client = Client::connect(address);
    let mut answers: Vec<String> = (0..30)
        .map(|_| {
            let response = client.get("/");
            assert_eq!(response.status, 200);
            response.text().to_owned()
        })
        .collect();
    answers.sort();
    for name in ["app1", "app2", "app3"] {
        let count = answers.iter().filter(|answer| answer.contains(name)).count();
        assert_eq!(count, 10, "{name} in {answers:?}");
    }
    let is_view = |line: &LogLine| line.text.contains(" requests=30 ");
    let view = process.wait_line(is_view);
    assert!(view.text.ends_with(" app1=10 app2=10 app3=10"), "{}", view.text);
    let change = process.wait_line(|line| line.text.trim_start().starts_with("change "));
    let file =
        change.text.split(' ').find(|word| word.contains(".toml")).expect("it names the file");
    let file = file.trim_end_matches(',').to_owned();
    assert!(Path::new(&file).exists(), "{file}");
    drop(client);
    let exit = process.into_exit(Deadline::default());
    assert_eq!(exit.status.code(), Some(0), "{}", exit.stderr_text());
    let said = exit.stdout_text();
    assert!(said.contains("The demo servers answered 30 requests: app1 10 "), "{said}");
    assert!(!Path::new(&file).exists(), "{file} is gone with the demonstration");
}

#[test]
fn ctrl_c_ends_the_quick_start() {
    let mut process = quickstart(&["--port", "0"]);
    let address = opened(&process);
    assert_eq!(Client::connect(address).get("/").status, 200);
    process.signal(Signal::INT);
    assert_eq!(process.wait_exit(Deadline::default()).code(), Some(0));
    assert!(Client::try_connect(address).is_err());
}

#[test]
fn the_quick_start_says_that_a_port_is_taken() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = taken.local_addr().expect("a bound socket has an address").port().to_string();
    let exit = quickstart(&["--port", &port]).into_exit(Deadline::default());
    assert_eq!(exit.status.code(), Some(1), "{}", exit.stderr_text());
    assert!(exit.stderr_text().contains(&format!("127.0.0.1:{port}")), "{}", exit.stderr_text());
}
