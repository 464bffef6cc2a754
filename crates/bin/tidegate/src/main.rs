//! The program: arguments to subcommands, outcomes to exit codes.
//!
//! Owns the way in and the way out; leaves serving to `tidegate_control` and the configuration file
//! to `tidegate_config`. Invariant: what a script needs to know is in the exit code, and what a
//! person needs to know has been written before the program ends.

mod args;
mod check;
mod console;
mod daemon;
mod quickstart;
mod run;

use std::process::{ExitCode, Termination as _};

use args::Command;
use console::Exit;

fn main() -> ExitCode {
    let exit = match args::parse(std::env::args_os().skip(1)) {
        Ok(command) => execute(&command),
        Err(error) => {
            console::complain(&error.to_string());
            Exit::REFUSED
        }
    };
    exit.report()
}

fn execute(command: &Command) -> Exit {
    match command {
        Command::Run(arguments) => run::run(arguments),
        Command::Check { config } => check::check(config),
        Command::Quickstart(arguments) => quickstart::run(arguments),
        Command::Help(topic) => console::answer(topic.text()),
        Command::Version => console::answer(concat!("tidegate ", env!("CARGO_PKG_VERSION"))),
    }
}
