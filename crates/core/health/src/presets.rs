//! Exchanges that are known by the name of what they check.
//!
//! Owns their bytes; each does the least that shows the service at work. Invariant: an answer that
//! says no fails the check at once, not at its timeout.

use crate::pattern::Pattern;
use crate::steps::Step;

/// A service with an exchange of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Preset {
    /// `PING` and `+PONG`, as the RESP protocol has them.
    Redis,
    /// The server's greeting; with a user, its log-in without a password.
    MySql,
    /// The answer to a request for TLS, whichever; with a user, the server's demand for a password.
    PostgreSql,
    /// Greeting, `EHLO`, `QUIT` (RFC 5321).
    Smtp,
}

impl Preset {
    /// Every preset with its name.
    pub const ALL: [(&'static str, Self); 4] = [
        ("redis", Self::Redis),
        ("mysql", Self::MySql),
        ("postgresql", Self::PostgreSql),
        ("smtp", Self::Smtp),
    ];

    /// Whether it makes use of a user's name.
    #[must_use]
    pub const fn takes_user(self) -> bool {
        matches!(self, Self::MySql | Self::PostgreSql)
    }

    /// Its steps; `user` is passed over where there is no use for one.
    #[must_use]
    pub fn steps(self, user: Option<&str>) -> Vec<Step> {
        match (self, user) {
            (Self::Redis, _) => {
                vec![send(b"*1\r\n$4\r\nPING\r\n"), expect(r"^\+PONG\r\n", "^-")]
            }
            (Self::MySql, None) => vec![mysql_greeting()],
            (Self::MySql, Some(user)) => {
                // The packet numbered 2 is the answer, wherever the greeting ended. 0x00: OK. 0xfe: the server asks for
                // another way to authenticate, so it knows the user.
                let answer = expect(r"\x00\x02[\x00\xfe]", r"\x00\x02\xff");
                let quit = send(b"\x01\x00\x00\x00\x01");
                vec![mysql_greeting(), Step::Send(mysql_login(user)), answer, quit]
            }
            (Self::PostgreSql, None) => {
                vec![send(b"\x00\x00\x00\x08\x04\xd2\x16\x2f"), expect("^[SN]", "^E")]
            }
            (Self::PostgreSql, Some(user)) => {
                vec![Step::Send(postgresql_startup(user)), expect("^R", "^E")]
            }
            (Self::Smtp, _) => vec![
                expect(r"(?m)^220(?: .*)?\r\n", r"(?m)^[45]\d\d[ -]"),
                send(b"EHLO tidegate.invalid\r\n"),
                expect(r"(?m)^250(?: .*)?\r\n", r"(?m)^[45]\d\d[ -]"),
                send(b"QUIT\r\n"),
                expect("(?m)^221", r"(?m)^[45]\d\d[ -]"),
            ],
        }
    }
}

fn send(bytes: &[u8]) -> Step {
    Step::Send(bytes.to_vec())
}

fn expect(pattern: &str, refusal: &str) -> Step {
    let regex = |source| Pattern::regex(source).expect("the presets' expressions are tested");
    Step::Expect { pattern: regex(pattern), refusal: Some(regex(refusal)) }
}

/// A whole greeting packet of protocol 10; an error packet (too many connections, host blocked) is none.
fn mysql_greeting() -> Step {
    expect(r"(?s)^.{4}\x0a.*\x00[\x00-\xff]{10}", r"(?s)^.{4}\xff")
}

/// `HandshakeResponse41` without a password: CLIENT_LONG_PASSWORD, CLIENT_PROTOCOL_41, CLIENT_SECURE_CONNECTION.
fn mysql_login(user: &str) -> Vec<u8> {
    let mut payload = vec![0x01, 0x82, 0x00, 0x00];
    payload.extend_from_slice(&[0x00, 0x00, 0x00, 0x01, 0x21]);
    payload.extend_from_slice(&[0; 23]);
    payload.extend_from_slice(user.as_bytes());
    payload.extend_from_slice(&[0, 0]);
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes();
    let mut packet = vec![length[0], length[1], length[2], 1];
    packet.extend_from_slice(&payload);
    packet
}

/// `StartupMessage` of protocol 3.0.
fn postgresql_startup(user: &str) -> Vec<u8> {
    let mut message = vec![0x00, 0x03, 0x00, 0x00];
    for text in ["user", user, "database", user] {
        message.extend_from_slice(text.as_bytes());
        message.push(0);
    }
    message.push(0);
    let length = u32::try_from(message.len() + 4).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], &message].concat()
}
