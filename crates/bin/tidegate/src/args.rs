//! The command line: arguments to a [`Command`].
//!
//! Owns the grammar, the help texts and the usage errors; leaves doing it to the subcommands.
//! Invariant: an argument that is not understood is an error and never ignored.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use lexopt::prelude::*;

/// What the user asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Serve.
    Run(Run),
    /// Say whether a configuration can be served.
    Check {
        /// The file.
        config: PathBuf,
    },
    /// Show what a load balancer does.
    Quickstart(Quickstart),
    /// Explain the command line.
    Help(Topic),
    /// Say which version this is.
    Version,
}

/// The arguments of `tidegate run`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// The configuration file.
    pub(crate) config: PathBuf,
    /// Who started this process.
    pub(crate) started_by: StartedBy,
}

/// Who started a `tidegate run`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StartedBy {
    /// A person or a service manager.
    User,
    /// A `tidegate run` that stays in the foreground until this one is ready.
    Foreground,
}

/// The arguments of `tidegate quickstart`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Quickstart {
    /// The port to listen on; `None`: 8080, or a free one when that is taken; 0: a free one.
    pub(crate) port: Option<u16>,
    /// End after this many seconds; `None`: at Ctrl-C.
    pub(crate) seconds: Option<u32>,
}

/// What help is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Topic {
    /// All of it.
    Tidegate,
    /// `tidegate run`
    Run,
    /// `tidegate check`
    Check,
    /// `tidegate quickstart`
    Quickstart,
}

/// The argument with which a process in the foreground starts the one that stays.
pub(crate) const DETACHED: &str = "--detached";

impl Topic {
    /// The help text.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Topic::Tidegate => HELP,
            Topic::Run => HELP_RUN,
            Topic::Check => HELP_CHECK,
            Topic::Quickstart => HELP_QUICKSTART,
        }
    }

    fn command(self) -> &'static str {
        match self {
            Topic::Tidegate => "tidegate",
            Topic::Run => "tidegate run",
            Topic::Check => "tidegate check",
            Topic::Quickstart => "tidegate quickstart",
        }
    }

    fn named(word: &str) -> Option<Topic> {
        match word {
            "run" => Some(Topic::Run),
            "check" => Some(Topic::Check),
            "quickstart" => Some(Topic::Quickstart),
            _ => None,
        }
    }
}

const HELP: &str = "\
Tidegate: a load balancer and reverse proxy

Usage:
  tidegate run -c FILE            serve what the configuration says
  tidegate check -c FILE          say everything that is wrong with a configuration
  tidegate quickstart             three demo servers, the balancer in front of them, and a live view
  tidegate COMMAND --help         more about one of them

Options:
  -h, --help                      this text
  -V, --version                   the version

Exit codes: 0 done, 1 cannot start, 2 wrong arguments or configuration.";

const HELP_RUN: &str = "\
Serve what the configuration says

Usage: tidegate run -c FILE

Options:
  -c, --config FILE               the configuration
  -h, --help                      this text

Signals: SIGHUP reads the file again, without closing a connection; SIGTERM serves on for
global.shutdown_delay while /readyz says 503, stops accepting, finishes what is in flight within
global.shutdown_timeout and ends; SIGINT ends at once.

With global.daemon = true the command returns once every address is being served, and the server
stays in the background: in a session of its own, in the same directory, its standard input and
output on /dev/null. The log stays where standard error is redirected to; a terminal is let go.";

const HELP_CHECK: &str = "\
Say everything that is wrong with a configuration

Usage: tidegate check -c FILE

Options:
  -c, --config FILE               the configuration
  -h, --help                      this text

Reads the file and what it names, opens no socket. Exit code 0: it can be served (warnings are
printed all the same); 2: it cannot, and every error is on standard error.";

const HELP_QUICKSTART: &str = "\
Three demo servers, the balancer in front of them, and a live view of who answers

Usage: tidegate quickstart [--port N] [--seconds N]

Options:
  --port N                        listen on this port of 127.0.0.1; 0: any free one
                                  (default: 8080, or a free one when 8080 is taken)
  --seconds N                     end after N seconds instead of at Ctrl-C
  -h, --help                      this text";

/// Why a command line is not understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UsageError {
    topic: Topic,
    message: String,
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let command = self.topic.command();
        write!(f, "{command}: {}\nTry '{command} --help'.", self.message)
    }
}

impl std::error::Error for UsageError {}

/// Reads the arguments that follow the program's name.
///
/// # Errors
/// Something is missing, given twice or not known.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, UsageError> {
    let mut parser = lexopt::Parser::from_args(arguments);
    let fail = |message: String| UsageError { topic: Topic::Tidegate, message };
    let word = match parser.next().map_err(|error| fail(error.to_string()))? {
        None => return Err(fail("a command is missing: run, check or quickstart".into())),
        Some(Short('h') | Long("help")) => return Ok(Command::Help(Topic::Tidegate)),
        Some(Short('V') | Long("version")) => return Ok(Command::Version),
        Some(Value(word)) => word,
        Some(other) => return Err(fail(other.unexpected().to_string())),
    };
    let word = word.to_string_lossy();
    let Some(topic) = Topic::named(&word) else {
        return Err(fail(format!("{word:?} is not a command: run, check and quickstart are")));
    };
    let command = match topic {
        Topic::Quickstart => parse_quickstart(&mut parser),
        Topic::Run | Topic::Check | Topic::Tidegate => parse_config(&mut parser, topic),
    };
    command.map_err(|error| UsageError { topic, message: error.to_string() })
}

fn parse_config(parser: &mut lexopt::Parser, topic: Topic) -> Result<Command, lexopt::Error> {
    let mut config: Option<PathBuf> = None;
    let mut started_by = StartedBy::User;
    while let Some(argument) = parser.next()? {
        match argument {
            Short('c') | Long("config") => once(&mut config, "--config", parser.value()?.into())?,
            Short('h') | Long("help") => return Ok(Command::Help(topic)),
            Long("detached") if topic == Topic::Run => started_by = StartedBy::Foreground,
            other => return Err(other.unexpected()),
        }
    }
    let config = config.ok_or("-c FILE is missing")?;
    Ok(match topic {
        Topic::Run => Command::Run(Run { config, started_by }),
        Topic::Check | Topic::Quickstart | Topic::Tidegate => Command::Check { config },
    })
}

fn parse_quickstart(parser: &mut lexopt::Parser) -> Result<Command, lexopt::Error> {
    let mut arguments = Quickstart::default();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("port") => once(&mut arguments.port, "--port", parser.value()?.parse()?)?,
            Long("seconds") => {
                once(&mut arguments.seconds, "--seconds", parser.value()?.parse()?)?;
            }
            Short('h') | Long("help") => return Ok(Command::Help(Topic::Quickstart)),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Command::Quickstart(arguments))
}

/// Two values for one option mean a mistake: which one was meant cannot be known.
fn once<T>(slot: &mut Option<T>, option: &str, value: T) -> Result<(), lexopt::Error> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(format!("{option} is given twice").into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use super::*;

    fn parse_text(line: &str) -> Result<Command, UsageError> {
        parse(line.split_whitespace().map(OsString::from))
    }

    fn run(config: &str, started_by: StartedBy) -> Command {
        Command::Run(Run { config: config.into(), started_by })
    }

    #[test]
    fn every_form_of_every_command_is_understood() {
        let check = || Command::Check { config: "a.toml".into() };
        let quickstart = |port, seconds| Command::Quickstart(Quickstart { port, seconds });
        let cases = [
            ("run -c a.toml", run("a.toml", StartedBy::User)),
            ("run --config a.toml", run("a.toml", StartedBy::User)),
            ("run --config=a.toml", run("a.toml", StartedBy::User)),
            ("run -ca.toml", run("a.toml", StartedBy::User)),
            ("run -c -odd-name", run("-odd-name", StartedBy::User)),
            ("run -c a.toml --detached", run("a.toml", StartedBy::Foreground)),
            ("check -c a.toml", check()),
            ("check --config a.toml", check()),
            ("quickstart", quickstart(None, None)),
            ("quickstart --port 0", quickstart(Some(0), None)),
            ("quickstart --port 65535 --seconds 3", quickstart(Some(65535), Some(3))),
            ("--version", Command::Version),
            ("-V", Command::Version),
            ("--help", Command::Help(Topic::Tidegate)),
            ("-h", Command::Help(Topic::Tidegate)),
            ("run --help", Command::Help(Topic::Run)),
            ("run -c a.toml -h", Command::Help(Topic::Run)),
            ("check --help", Command::Help(Topic::Check)),
            ("quickstart --help", Command::Help(Topic::Quickstart)),
        ];
        for (line, command) in cases {
            assert_eq!(parse_text(line), Ok(command), "{line}");
        }
    }

    #[test]
    fn what_is_not_understood_is_named_together_with_where_help_is() {
        let cases = [
            ("", "tidegate: a command is missing"),
            ("start", "tidegate: \"start\" is not a command"),
            ("--verbose", "tidegate: invalid option '--verbose'"),
            ("-c a.toml run", "tidegate: invalid option '-c'"),
            ("run", "tidegate run: -c FILE is missing"),
            ("run a.toml", "tidegate run: unexpected argument \"a.toml\""),
            ("run -c", "tidegate run: missing argument for option '-c'"),
            ("run -c a -c b", "tidegate run: --config is given twice"),
            ("run -c a --fast", "tidegate run: invalid option '--fast'"),
            ("check", "tidegate check: -c FILE is missing"),
            ("check -c a --detached", "tidegate check: invalid option '--detached'"),
            ("quickstart --port", "tidegate quickstart: missing argument for option '--port'"),
            ("quickstart --port 65536", "tidegate quickstart: cannot parse argument \"65536\""),
            ("quickstart --port x", "tidegate quickstart: cannot parse argument \"x\""),
            ("quickstart --seconds -1", "tidegate quickstart: cannot parse argument \"-1\""),
            ("quickstart --port 1 --port 2", "tidegate quickstart: --port is given twice"),
            ("quickstart now", "tidegate quickstart: unexpected argument \"now\""),
        ];
        for (line, beginning) in cases {
            let error = parse_text(line).expect_err(line).to_string();
            assert!(error.starts_with(beginning), "{line}: {error}");
            let (_, hint) = error.split_once('\n').expect("a hint in the second line");
            let command = beginning.split_once(':').expect("the command comes first").0;
            assert_eq!(hint, format!("Try '{command} --help'."), "{line}");
        }
    }

    #[test]
    fn a_file_name_need_not_be_text() {
        let name = OsString::from_vec(vec![b'a', 0xff]);
        let command = parse(["run".into(), "-c".into(), name.clone()]);
        let config = PathBuf::from(name);
        assert_eq!(command, Ok(Command::Run(Run { config, started_by: StartedBy::User })));
    }

    #[test]
    fn the_help_fits_a_terminal_and_names_every_command_and_option() {
        for topic in [Topic::Tidegate, Topic::Run, Topic::Check, Topic::Quickstart] {
            for line in topic.text().lines() {
                assert!(line.chars().count() <= 100, "{line}");
            }
            assert!(topic.text().contains(topic.command()));
            assert!(topic.text().contains("-h, --help"));
        }
        for word in ["run", "check", "quickstart", "--version"] {
            assert!(HELP.contains(word), "{word}");
        }
        for option in ["--port N", "--seconds N"] {
            assert!(HELP_QUICKSTART.contains(option), "{option}");
        }
    }
}
