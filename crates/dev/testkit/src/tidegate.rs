//! Owns the program under test: started on a configuration, ready when it says so, reloaded and
//! stopped by signals.
//!
//! Leaves what it should do to the tests. It knows the program by its log lines alone
//! (`event=listening`, `ready`, `reloaded`, `reload_failed`). Invariant: a test that fails shows
//! the program's log, and a panic inside the program fails the test even if nobody looked.

use crate::client::Client;
use crate::deadline::Deadline;
use crate::log::LogLine;
use crate::metrics::Metrics;
use crate::process::{Exit, Process};
use crate::temp_dir::TempDir;
use rustix::process::Signal;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

/// The variable that Cargo and nextest set to the program's path.
const BINARY_VARIABLE: &str = "CARGO_BIN_EXE_tidegate";

/// What a program under test is started with.
#[must_use]
pub struct Builder {
    binary: PathBuf,
    directory: TempDir,
    command: Option<Command>,
    listeners: Vec<TcpListener>,
}

impl Builder {
    /// Adds an environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command().env(name, value);
        self
    }

    /// Runs the program through another one, such as `["taskset", "-c", "0"]`.
    ///
    /// # Panics
    /// When `wrapper` is empty.
    pub fn wrapped_in(mut self, wrapper: &[&str]) -> Self {
        let (program, arguments) = wrapper.split_first().expect("a wrapper has a program");
        let mut command = Command::new(program);
        command.args(arguments).arg(&self.binary);
        self.command = Some(command);
        self
    }

    /// Hands a listening socket to the program as descriptor 3 (the next one 4, …): `fd@3` in the
    /// configuration.
    pub fn inherit(mut self, listener: TcpListener) -> Self {
        self.listeners.push(listener);
        self
    }

    /// The test's own directory, which holds the configuration: for Unix sockets and further files.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Runs `tidegate run` on this configuration and waits until it is ready.
    ///
    /// # Panics
    /// When it exits or does not become ready.
    #[must_use]
    #[track_caller]
    pub fn start(mut self, config: &str) -> Tidegate {
        let config_path = self.directory.write("tidegate.toml", config);
        self.command().arg("run").arg("-c").arg(&config_path);
        let process = self.spawn();
        process.wait_line(|line| line.is_event("ready"));
        Tidegate { process, directory: self.directory, config_path, may_panic: false }
    }

    /// Runs `tidegate run` on this configuration, which must make it exit by itself.
    ///
    /// # Panics
    /// When it does not exit.
    #[track_caller]
    pub fn run_to_exit(mut self, config: &str) -> Exit {
        let config_path = self.directory.write("tidegate.toml", config);
        self.command().arg("run").arg("-c").arg(&config_path);
        self.spawn().into_exit(Deadline::default())
    }

    /// Runs the program with these arguments until it exits.
    ///
    /// # Panics
    /// When it does not exit.
    #[track_caller]
    pub fn run_arguments(mut self, arguments: &[&str]) -> Exit {
        self.command().args(arguments);
        self.spawn().into_exit(Deadline::default())
    }

    /// Starts the program with these arguments and leaves the rest to the caller.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    #[track_caller]
    pub fn spawn_arguments(mut self, arguments: &[&str]) -> Process {
        self.command().args(arguments);
        self.spawn()
    }

    fn command(&mut self) -> &mut Command {
        self.command.get_or_insert_with(|| Command::new(&self.binary))
    }

    #[track_caller]
    fn spawn(&mut self) -> Process {
        let command = self.command.take().expect("the arguments were added");
        let listeners: Vec<&TcpListener> = self.listeners.iter().collect();
        let process = Process::spawn_with_listeners("tidegate", command, &listeners);
        // The program has its own copies now; ours would keep the ports open after its end.
        self.listeners.clear();
        process
    }
}

/// The running program. Dropping it kills it.
pub struct Tidegate {
    process: Process,
    directory: TempDir,
    config_path: PathBuf,
    may_panic: bool,
}

impl Tidegate {
    /// Starts the program that the environment variable `CARGO_BIN_EXE_tidegate` names.
    ///
    /// # Panics
    /// When the variable is not set, or as [`Builder::start`].
    #[must_use]
    #[track_caller]
    pub fn start(config: &str) -> Self {
        let binary = std::env::var_os(BINARY_VARIABLE)
            .unwrap_or_else(|| panic!("{BINARY_VARIABLE} is not set"));
        Self::with_binary(PathBuf::from(binary)).start(config)
    }

    /// Names the program, which a test knows as `env!("CARGO_BIN_EXE_tidegate")`.
    pub fn with_binary(path: impl Into<PathBuf>) -> Builder {
        Builder {
            binary: path.into(),
            directory: TempDir::new(),
            command: None,
            listeners: Vec::new(),
        }
    }

    /// The address that the frontend is bound to; of the first bind that said so, when it has
    /// several.
    ///
    /// # Panics
    /// When there is none, or it is not a TCP address.
    #[must_use]
    #[track_caller]
    pub fn address(&self, frontend: &str) -> SocketAddr {
        let addresses = self.addresses(frontend);
        let first =
            addresses.first().unwrap_or_else(|| panic!("frontend {frontend} does not listen"));
        first
            .parse()
            .unwrap_or_else(|_| panic!("frontend {frontend} listens on {first}, which is not TCP"))
    }

    /// Every address that the frontend said it is bound to, in order.
    #[must_use]
    pub fn addresses(&self, frontend: &str) -> Vec<String> {
        self.listening(|line| line.field("frontend").as_deref() == Some(frontend))
    }

    /// The address of the admin listener.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    #[track_caller]
    pub fn admin(&self) -> SocketAddr {
        let addresses = self.listening(|line| line.field("admin").as_deref() == Some("true"));
        let first = addresses.first().expect("the configuration has an admin listener");
        first
            .parse()
            .unwrap_or_else(|_| panic!("the admin listener is on {first}, which is not TCP"))
    }

    fn listening(&self, whose: impl Fn(&LogLine) -> bool) -> Vec<String> {
        let lines = self.process.lines().into_iter();
        let lines = lines.filter(|line| line.is_event("listening") && whose(line));
        lines.filter_map(|line| line.field("address")).collect()
    }

    /// Fetches `/metrics` from the admin listener.
    ///
    /// # Panics
    /// When it does not answer with valid metrics.
    #[must_use]
    #[track_caller]
    pub fn metrics(&self) -> Metrics {
        let response = Client::connect(self.admin()).get("/metrics");
        assert_eq!(response.status, 200, "{}", response.text());
        Metrics::parse(response.text())
            .unwrap_or_else(|error| panic!("{error} in:\n{}", response.text()))
    }

    /// Fetches `/metrics` until they satisfy `condition`, and returns those. A shard publishes its
    /// own figures when it has nothing to do, a moment after the bytes that a client saw.
    ///
    /// # Panics
    /// As [`Tidegate::metrics`], or when `condition` stays unsatisfied; `what` is for the message.
    #[track_caller]
    pub fn wait_metrics(&self, what: &str, mut condition: impl FnMut(&Metrics) -> bool) -> Metrics {
        self.process.wait_until(what, || Some(self.metrics()).filter(|metrics| condition(metrics)))
    }

    /// Fetches a path from the admin listener and returns its status and body.
    ///
    /// # Panics
    /// When there is no well-formed answer.
    #[must_use]
    #[track_caller]
    pub fn admin_get(&self, path: &str) -> (u16, String) {
        let response = Client::connect(self.admin()).get(path);
        (response.status, response.text().to_owned())
    }

    /// Replaces the configuration file, without telling the program.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn rewrite_config(&self, config: &str) {
        self.directory.write("tidegate.toml", config);
    }

    /// Replaces the configuration file, sends SIGHUP, and waits for the outcome: the line with
    /// `event=reloaded` or `event=reload_failed`.
    ///
    /// # Panics
    /// When neither comes.
    #[track_caller]
    pub fn reload(&self, config: &str) -> LogLine {
        self.rewrite_config(config);
        let mark = self.process.lines_count();
        self.process.signal(Signal::HUP);
        self.process.wait_line_after(mark, |line| {
            line.is_event("reloaded") || line.is_event("reload_failed")
        })
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// When the program is gone.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Waits until the program exits.
    ///
    /// # Panics
    /// When the deadline passes first.
    #[track_caller]
    pub fn wait_exit(&mut self, deadline: Deadline) -> ExitStatus {
        self.process.wait_exit(deadline)
    }

    /// Waits for a log line, among those printed already and those to come.
    ///
    /// # Panics
    /// When none comes.
    #[track_caller]
    pub fn wait_log(&self, matches: impl FnMut(&LogLine) -> bool) -> LogLine {
        self.process.wait_line(matches)
    }

    /// The process: its id, its descriptors, its lines.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// How many file descriptors the program has open.
    ///
    /// # Panics
    /// When the program is gone.
    #[must_use]
    #[track_caller]
    pub fn open_fds(&self) -> usize {
        self.process.open_fds()
    }

    /// The test's own directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Where the configuration is.
    #[must_use]
    pub fn config_path(&self) -> &Path {
        &self.config_path
    }

    /// Lets the program panic without failing the test: for tests of how a panic is contained.
    pub fn allow_panics(&mut self) {
        self.may_panic = true;
    }
}

impl Drop for Tidegate {
    fn drop(&mut self) {
        if self.may_panic || std::thread::panicking() {
            return;
        }
        let panic = self.process.lines().into_iter().find(|line| line.text.contains("panicked at"));
        assert!(panic.is_none(), "the program panicked: {:?}", panic.map(|line| line.text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shell script that prints and reacts as the program does.
    const STAND_IN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/stand-in.sh");

    #[test]
    fn addresses_are_learned_from_the_log() {
        let tidegate =
            Tidegate::with_binary(STAND_IN).env("STAND_IN_ADMIN", "127.0.0.1:9").start("");
        assert_eq!(tidegate.address("web"), SocketAddr::from(([127, 0, 0, 1], 1234)));
        assert_eq!(tidegate.addresses("web"), ["127.0.0.1:1234", "unix:/run/web"]);
        assert_eq!(tidegate.admin(), SocketAddr::from(([127, 0, 0, 1], 9)));
    }

    #[test]
    fn a_reload_is_awaited_and_tells_its_outcome() {
        let tidegate = Tidegate::with_binary(STAND_IN).start("good");
        assert!(tidegate.reload("good").is_event("reloaded"));
        let failed = tidegate.reload("bad");
        assert!(failed.is_event("reload_failed"));
        assert_eq!(failed.field("error").as_deref(), Some("it is bad"));
        assert!(tidegate.reload("good").is_event("reloaded"));
    }

    #[test]
    fn termination_gives_the_exit_status() {
        let mut tidegate = Tidegate::with_binary(STAND_IN).start("");
        tidegate.signal(Signal::TERM);
        assert!(tidegate.wait_exit(Deadline::default()).success());
    }

    #[test]
    fn a_program_that_exits_by_itself_is_collected() {
        let exit = Tidegate::with_binary(STAND_IN).run_arguments(&["check"]);
        assert_eq!(
            (exit.status.code(), exit.stderr_text().as_str()),
            (Some(2), "no configuration\n")
        );
        let wrapped =
            Tidegate::with_binary(STAND_IN).wrapped_in(&["env", "A=b"]).run_arguments(&["check"]);
        assert_eq!(wrapped.status.code(), Some(2));
    }

    #[test]
    #[should_panic(expected = "did not print the expected line")]
    fn a_program_that_exits_instead_of_becoming_ready_fails_the_test() {
        let _never = Tidegate::with_binary(STAND_IN).start("exit");
    }

    #[test]
    #[should_panic(expected = "the program panicked")]
    fn a_panic_in_the_program_fails_the_test() {
        let _tidegate = Tidegate::with_binary(STAND_IN).start("panic");
    }

    #[test]
    fn a_panic_that_the_test_allows_does_not() {
        let mut tidegate = Tidegate::with_binary(STAND_IN).start("panic");
        tidegate.allow_panics();
    }
}
