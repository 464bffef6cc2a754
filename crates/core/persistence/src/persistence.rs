//! A backend's tokens: which servers they name and how long they hold.
//!
//! Owns the judgement of a token; leaves where it stands in messages to `request` and `response`. Invariant: a server that
//! is returned is one of the backend's, by its index.

use std::time::Duration;

use crate::response::Answer;
use crate::settings::{Carrier, Cookie, Mode, Settings};
use crate::token::{self, Claims, ServerMark, Signer, Token, Unix};

/// How the clients of one backend are known again.
#[derive(Clone, Debug)]
pub struct Persistence {
    pub(crate) carrier: Carrier,
    signers: Vec<Signer>,
    marks: Vec<ServerMark>,
    /// The same by their order, with the servers' indices.
    by_mark: Vec<(ServerMark, u32)>,
    max_idle: Option<Duration>,
    max_life: Option<Duration>,
}

/// What a request's token said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pin {
    /// The server that it names, where it holds.
    pub server: Option<u32>,
    /// What it is like.
    pub state: RequestState,
    /// When the client got its first token.
    first: Unix,
    /// When it got this one.
    renewed: Unix,
}

/// What a request's token is like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RequestState {
    /// There is none.
    #[default]
    Absent,
    /// No key of ours signed it, or it names a server that the backend does not have.
    Invalid,
    /// It was not used for too long.
    Expired,
    /// The client's first one was made too long ago.
    Old,
    /// It names a server.
    Valid,
}

impl Persistence {
    /// For the servers of a backend, in their order. Of two with one name the first is found.
    ///
    /// # Panics
    /// Without a key.
    #[must_use]
    pub fn new<'n>(
        settings: &Settings,
        backend: &str,
        servers: impl IntoIterator<Item = &'n str>,
    ) -> Self {
        assert!(!settings.keys.is_empty(), "a token without a key could be anybody's");
        let mark = |name: &str| ServerMark::of(&format!("{backend}\0{name}"));
        let marks: Vec<_> = servers.into_iter().map(mark).collect();
        let mut by_mark: Vec<_> = marks.iter().copied().zip(0..).collect();
        by_mark.sort_unstable();
        Self {
            carrier: settings.carrier.clone(),
            signers: settings.keys.iter().map(Signer::new).collect(),
            marks,
            by_mark,
            max_idle: settings.max_idle,
            max_life: settings.max_life,
        }
    }

    /// A token for a server of the backend.
    #[must_use]
    pub fn token(&self, server: u32, first: Unix, now: Unix) -> Token {
        let mark = self.marks.get(server as usize).copied().unwrap_or(ServerMark([0; 8]));
        let claims = Claims { server: mark, first, renewed: now };
        self.signers.first().expect("there is a key, since `new` asks for one").sign(&claims)
    }

    /// Judges what a request has for a token.
    pub(crate) fn judge(&self, text: &[u8], now: Unix) -> Pin {
        let invalid = Pin { state: RequestState::Invalid, ..Pin::default() };
        let Some(bytes) = token::bytes_of(text) else { return invalid };
        let Some(claims) = self.signers.iter().find_map(|signer| signer.read(&bytes)) else {
            return invalid;
        };
        let Some(server) = self.server(claims.server) else { return invalid };
        let Claims { first, renewed, .. } = claims;
        let age = |since: Unix| Duration::from_secs(now.0.saturating_sub(since.0));
        let state = if self.max_life.is_some_and(|limit| age(first) > limit) {
            RequestState::Old
        } else if self.max_idle.is_some_and(|limit| age(renewed) > limit) {
            RequestState::Expired
        } else {
            return Pin { server: Some(server), state: RequestState::Valid, first, renewed };
        };
        Pin { server: None, state, first, renewed }
    }

    fn server(&self, mark: ServerMark) -> Option<u32> {
        let at = self.by_mark.partition_point(|(known, _)| *known < mark);
        self.by_mark.get(at).filter(|(known, _)| *known == mark).map(|(_, index)| *index)
    }

    /// What the response of `server` tells the client, whose request brought `pin`.
    #[must_use]
    pub fn answer(&self, pin: &Pin, server: u32, now: Unix) -> Answer {
        let stays = pin.server == Some(server);
        // Renewed eight times in its life, so that not every response of a busy client has a new one.
        let age = Duration::from_secs(now.0.saturating_sub(pin.renewed.0));
        let is_due = self.max_idle.is_some_and(|limit| age > limit / 8);
        let first = if stays { pin.first } else { now };
        let own = match &self.carrier {
            Carrier::Cookie(Cookie { mode: Mode::Prefix | Mode::Rewrite, .. }) => false,
            Carrier::Cookie(_) | Carrier::Header(_) => !stays || is_due,
        };
        Answer { server, first, now, own, renews: stays }
    }
}
