//! Command-line arguments: `--name value`, `--switch`, durations and sizes. Owns parsing and its
//! errors; what an option means belongs to the subcommand.
//!
//! Invariant: an argument that no one asked for is an error, so a mistyped option never measures
//! something else in silence.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

/// What is wrong with the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageError(pub String);

impl fmt::Display for UsageError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

/// The arguments not yet taken.
#[derive(Debug)]
pub struct Args {
    left: VecDeque<OsString>,
    /// What follows `--`.
    rest: Vec<OsString>,
}

impl Args {
    /// Splits off what follows `--`.
    pub fn new(arguments: impl IntoIterator<Item = OsString>) -> Self {
        let mut left: VecDeque<OsString> = arguments.into_iter().collect();
        let rest = match left.iter().position(|argument| argument == "--") {
            Some(at) => left.split_off(at).into_iter().skip(1).collect(),
            None => Vec::new(),
        };
        Self { left, rest }
    }

    /// What followed `--`.
    pub fn take_rest(&mut self) -> Vec<OsString> {
        std::mem::take(&mut self.rest)
    }

    /// Whether `--name` was given.
    pub fn switch(&mut self, name: &str) -> bool {
        let flag = format!("--{name}");
        let at = self.left.iter().position(|argument| *argument == *flag);
        at.and_then(|at| self.left.remove(at)).is_some()
    }

    /// The text after `--name`.
    ///
    /// # Errors
    /// When nothing follows or it is not UTF-8.
    pub fn text(&mut self, name: &str) -> Result<Option<String>, UsageError> {
        let flag = format!("--{name}");
        let Some(at) = self.left.iter().position(|argument| *argument == *flag) else {
            return Ok(None);
        };
        self.left.remove(at);
        match self.left.remove(at).map(OsString::into_string) {
            Some(Ok(value)) if !value.starts_with("--") => Ok(Some(value)),
            _ => Err(UsageError(format!("--{name} needs a value"))),
        }
    }

    /// The value after `--name`, parsed.
    ///
    /// # Errors
    /// When it does not parse.
    pub fn value<T: FromStr>(&mut self, name: &str) -> Result<Option<T>, UsageError> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        match text.replace('_', "").parse() {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(UsageError(format!("--{name}: {text:?} is not valid"))),
        }
    }

    /// The address after `--name`, which must be there.
    ///
    /// # Errors
    /// When it is missing or no `IP:PORT`.
    pub fn address(&mut self, name: &str) -> Result<SocketAddr, UsageError> {
        self.value(name)?.ok_or_else(|| UsageError(format!("--{name} IP:PORT is required")))
    }

    /// The duration after `--name` (`500ms`, `10s`, `2m`), or `default`.
    ///
    /// # Errors
    /// When it has no known unit.
    pub fn duration(&mut self, name: &str, default: Duration) -> Result<Duration, UsageError> {
        let Some(text) = self.text(name)? else { return Ok(default) };
        parse_duration(&text)
            .ok_or_else(|| UsageError(format!("--{name}: {text:?} is no duration like 10s")))
    }

    /// The comma-separated list after `--name`.
    ///
    /// # Errors
    /// When an element does not parse.
    pub fn list<T: FromStr>(&mut self, name: &str) -> Result<Option<Vec<T>>, UsageError> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let parsed: Result<Vec<T>, _> = text.split(',').map(str::parse).collect();
        match parsed {
            Ok(values) => Ok(Some(values)),
            Err(_) => Err(UsageError(format!("--{name}: {text:?} is not valid"))),
        }
    }

    /// All values of a repeatable option.
    ///
    /// # Errors
    /// When one of them is missing.
    pub fn all(&mut self, name: &str) -> Result<Vec<String>, UsageError> {
        let mut values = Vec::new();
        while let Some(value) = self.text(name)? {
            values.push(value);
        }
        Ok(values)
    }

    /// Ends parsing.
    ///
    /// # Errors
    /// When something was not taken.
    pub fn finish(self) -> Result<(), UsageError> {
        match self.left.front().or(self.rest.first()) {
            None => Ok(()),
            Some(left) => {
                Err(UsageError(format!("unexpected argument {:?}", left.to_string_lossy())))
            }
        }
    }
}

fn parse_duration(text: &str) -> Option<Duration> {
    let units = [("ms", 0.001), ("s", 1.0), ("m", 60.0)];
    let (number, unit) =
        units.iter().find_map(|(suffix, unit)| Some((text.strip_suffix(suffix)?, *unit)))?;
    let seconds = number.parse::<f64>().ok()? * unit;
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &str) -> Args {
        Args::new(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn takes_values_switches_and_lists_in_any_order() {
        let mut args = args("--json --rate 20_000 --levels 25,50 --spike a --spike b -- x --y");
        assert_eq!(args.value::<u64>("rate"), Ok(Some(20_000)));
        assert!(args.switch("json"));
        assert!(!args.switch("json"));
        assert_eq!(args.list::<u64>("levels"), Ok(Some(vec![25, 50])));
        assert_eq!(args.all("spike"), Ok(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(args.take_rest(), ["x", "--y"]);
        assert_eq!(args.finish(), Ok(()));
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        assert!(args("--ratte 5").finish().is_err());
        assert!(args("--rate").value::<u64>("rate").is_err());
        assert!(args("--rate --json").value::<u64>("rate").is_err());
        assert!(args("--rate many").value::<u64>("rate").is_err());
        assert!(args("").address("target").is_err());
    }

    #[test]
    fn durations_have_units() {
        let cases = [
            ("10s", Some(Duration::from_secs(10))),
            ("500ms", Some(Duration::from_millis(500))),
            ("2m", Some(Duration::from_secs(120))),
            ("0.5s", Some(Duration::from_millis(500))),
            ("10", None),
            ("-1s", None),
            ("s", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_duration(text), expected, "{text}");
        }
    }
}
