//! HAProxy's agent protocol: one line in which a server says how it is.
//!
//! Owns reading the line; leaves what follows to `group`. As in HAProxy, what a line does not mention
//! stays as it is. Invariant: every line is read or refused as a whole.

use std::fmt;

/// Whether a server is to be given requests, by its own word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Duty {
    /// `ready`
    #[default]
    Ready,
    /// `drain`: what is pinned to it, nothing new.
    Drain,
    /// `maint`: nothing.
    Maintenance,
}

/// What a line says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentReport {
    /// `up`: true; `down`, `stopped`, `fail`: false.
    pub up: Option<bool>,
    /// `ready`, `drain`, `maint`.
    pub duty: Option<Duty>,
    /// `75%`: of the configured weight.
    pub weight_percent: Option<u16>,
    /// `maxconn:30`; 0: as many as come.
    pub max_connections: Option<u32>,
    /// What follows a `#`.
    pub reason: String,
}

/// Why a line is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentError {
    /// It says nothing.
    Empty,
    /// This word is not of the protocol.
    Unknown(String),
}

impl fmt::Display for AgentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the agent's line is empty"),
            Self::Unknown(word) => write!(f, "the agent says `{word}`"),
        }
    }
}

impl std::error::Error for AgentError {}

/// The greatest share of a weight: from the smallest to the largest there is.
const PERCENT_MAX: u16 = 25_600;

/// Reads one line, with or without its end.
///
/// # Errors
/// Nothing is said, or something unknown.
pub fn parse_agent(line: &[u8]) -> Result<AgentReport, AgentError> {
    let end = line.iter().position(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or(line.len());
    let (words, reason) = match line[..end].iter().position(|byte| *byte == b'#') {
        Some(at) => (&line[..at], &line[at + 1..end]),
        None => (&line[..end], &[][..]),
    };
    let reason = reason.trim_ascii().escape_ascii().to_string();
    let mut report = AgentReport { reason, ..AgentReport::default() };
    let mut said = false;
    for word in words.split(|byte| matches!(byte, b' ' | b'\t' | b',')) {
        if !word.is_empty() {
            said = true;
            read_word(&word.to_ascii_lowercase(), &mut report)?;
        }
    }
    if said { Ok(report) } else { Err(AgentError::Empty) }
}

fn read_word(word: &[u8], report: &mut AgentReport) -> Result<(), AgentError> {
    match word {
        b"up" => report.up = Some(true),
        b"down" | b"stopped" | b"fail" => report.up = Some(false),
        b"ready" => report.duty = Some(Duty::Ready),
        b"drain" => report.duty = Some(Duty::Drain),
        b"maint" => report.duty = Some(Duty::Maintenance),
        other => {
            let text = std::str::from_utf8(other).unwrap_or_default();
            if let Some(percent) = text.strip_suffix('%').and_then(number::<u32>) {
                let percent = percent.min(PERCENT_MAX.into());
                report.weight_percent = u16::try_from(percent).ok();
            } else if let Some(max) = text.strip_prefix("maxconn:").and_then(number::<u32>) {
                report.max_connections = Some(max);
            } else {
                return Err(AgentError::Unknown(other.escape_ascii().to_string()));
            }
        }
    }
    Ok(())
}

fn number<N: std::str::FromStr>(text: &str) -> Option<N> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(line: &str) -> Result<AgentReport, AgentError> {
        parse_agent(line.as_bytes())
    }

    #[test]
    fn reads_what_haproxys_agents_say() {
        let none = AgentReport::default();
        let up = AgentReport { up: Some(true), ..none.clone() };
        let down = AgentReport { up: Some(false), ..none.clone() };
        let duty = |duty| AgentReport { duty: Some(duty), ..none.clone() };
        for (line, expected) in [
            ("up\n", up.clone()),
            ("UP", up.clone()),
            ("up 75%\r\n", AgentReport { weight_percent: Some(75), ..up.clone() }),
            ("75%", AgentReport { weight_percent: Some(75), ..none.clone() }),
            ("0%", AgentReport { weight_percent: Some(0), ..none.clone() }),
            ("4000000000%", AgentReport { weight_percent: Some(PERCENT_MAX), ..none.clone() }),
            ("down", down.clone()),
            ("stopped", down.clone()),
            ("fail #disk full\n", AgentReport { reason: "disk full".into(), ..down.clone() }),
            ("down#x\0", AgentReport { reason: "x\\x00".into(), ..down }),
            ("ready", duty(Duty::Ready)),
            ("drain", duty(Duty::Drain)),
            ("maint\nup", duty(Duty::Maintenance)),
            ("maxconn:30", AgentReport { max_connections: Some(30), ..none.clone() }),
            (
                "ready up, 50%\tmaxconn:10\r\n",
                AgentReport {
                    duty: Some(Duty::Ready),
                    weight_percent: Some(50),
                    max_connections: Some(10),
                    ..up
                },
            ),
        ] {
            assert_eq!(read(line), Ok(expected), "{line:?}");
        }
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        for line in ["", "\n", " , ", "#up"] {
            assert_eq!(read(line), Err(AgentError::Empty), "{line:?}");
        }
        for word in ["hello", "-5%", "+5%", "%x", "maxconn:", "maxconn:x", "99999999999%"] {
            let unknown = Err(AgentError::Unknown(word.into()));
            // An empty number is none.
            if word != "maxconn:" {
                assert_eq!(read(word), unknown, "{word}");
            }
            assert!(read(&format!("up {word}")).is_err(), "{word}");
        }
        assert!(matches!(parse_agent(b"\xff\xfe"), Err(AgentError::Unknown(_))));
    }

    proptest! {
        #[test]
        fn no_line_makes_it_panic(line in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = parse_agent(&line);
        }
    }
}
