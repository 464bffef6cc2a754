//! Clients that stay with their server: where tokens meet heads.
//!
//! Owns the adapters between `tidegate-persistence` and the encoder, and the words of the access log; leaves tokens to that
//! package and following them to the pick. Invariant: other cookies pass as they are, and nothing is allocated once the
//! buffers are warm.

use std::cell::RefCell;
use std::time::SystemTime;

use tidegate_access_log::{RequestCookie, ResponseCookie};
use tidegate_http1::{HeaderEdits, RequestHead, ResponseHead};
use tidegate_persistence::{Answer, Persistence, Pin, RequestState, ResponseState, Unix};

/// The wall clock.
pub(crate) fn unix() -> Unix {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Unix(since.as_secs())
}

/// The token of a request; what servers see of its field instead goes to `shown`, and whether that differs from what was
/// received is told.
pub(crate) fn find(
    persistence: &Persistence,
    head: &RequestHead,
    bytes: &[u8],
    shown: &mut Vec<u8>,
) -> (Pin, bool) {
    shown.clear();
    let pin = persistence.find(head.headers(bytes), unix());
    let Some(field) = persistence.hidden_in().filter(|_| pin.state != RequestState::Absent) else {
        return (pin, false);
    };
    let values = head.headers(bytes).filter(|(name, _)| name.eq_ignore_ascii_case(field));
    persistence.hide(values.map(|(_, value)| value), shown);
    (pin, true)
}

/// What the log says of a request's token.
pub(crate) const fn logged_request(state: RequestState) -> RequestCookie {
    match state {
        RequestState::Absent => RequestCookie::None,
        RequestState::Invalid => RequestCookie::Invalid,
        RequestState::Expired => RequestCookie::Expired,
        RequestState::Old => RequestCookie::Old,
        RequestState::Valid => RequestCookie::Valid,
    }
}

/// What the log says of a response's.
pub(crate) const fn logged_response(state: ResponseState) -> ResponseCookie {
    match state {
        ResponseState::Absent => ResponseCookie::None,
        ResponseState::Inserted => ResponseCookie::Inserted,
        ResponseState::Updated => ResponseCookie::Updated,
        ResponseState::Rewritten => ResponseCookie::Rewritten,
        ResponseState::Deleted => ResponseCookie::Deleted,
    }
}

/// The changes of a request's header lines, with one field replaced that servers are not to see as it is.
pub(crate) struct Hiding<'a, H> {
    pub(crate) rest: H,
    pub(crate) field: &'a [u8],
    /// What is shown instead; empty: the field is left out.
    pub(crate) shown: &'a [u8],
}

impl<H: HeaderEdits> HeaderEdits for Hiding<'_, H> {
    fn removes_any(&self) -> bool {
        true
    }

    fn removes(&self, name: &[u8]) -> bool {
        name.eq_ignore_ascii_case(self.field) || self.rest.removes(name)
    }

    fn each_added(&self, mut add: impl FnMut(&[u8], &[u8])) {
        self.rest.each_added(&mut add);
        // A rule that writes the field anew has the last word.
        if !self.shown.is_empty() && !self.rest.removes(self.field) {
            add(self.field, self.shown);
        }
    }
}

/// The changes of a response's header lines, with the token that the client is given.
pub(crate) struct Telling<'a, H> {
    rest: H,
    persistence: &'a Persistence,
    answer: Answer,
    received: (&'a ResponseHead, &'a [u8]),
    /// The server sent a field of its own with that name.
    has_own: bool,
    value: &'a RefCell<Vec<u8>>,
}

impl<'a, H> Telling<'a, H> {
    /// For the response of `server`. `value` is working memory.
    pub(crate) fn new(
        rest: H,
        persistence: &'a Persistence,
        (pin, server): (&Pin, u32),
        received: (&'a ResponseHead, &'a [u8]),
        value: &'a RefCell<Vec<u8>>,
    ) -> Telling<'a, H> {
        let answer = persistence.answer(pin, server, unix());
        let (head, bytes) = received;
        let has_own = head.headers(bytes).any(|(name, value)| persistence.is_own(name, value));
        Telling { rest, persistence, answer, received, has_own, value }
    }

    pub(crate) fn state(&self) -> ResponseState {
        self.persistence.state(&self.answer, self.has_own)
    }
}

impl<H: HeaderEdits> HeaderEdits for Telling<'_, H> {
    fn removes_any(&self) -> bool {
        self.has_own || self.rest.removes_any()
    }

    fn removes(&self, name: &[u8]) -> bool {
        self.rest.removes(name)
            || (self.has_own && name.eq_ignore_ascii_case(self.persistence.field()))
    }

    fn each_added(&self, mut add: impl FnMut(&[u8], &[u8])) {
        self.rest.each_added(&mut add);
        let (field, value) = (self.persistence.field(), &mut *self.value.borrow_mut());
        // Where one of several lines is the server's own, all of them are written anew.
        if self.has_own && !self.rest.removes(field) {
            let (head, bytes) = self.received;
            for (name, received) in head.headers(bytes) {
                if !name.eq_ignore_ascii_case(field) {
                    continue;
                }
                value.clear();
                if !self.persistence.is_own(name, received) {
                    add(field, received);
                } else if self.persistence.rewrite(&self.answer, received, value) {
                    add(field, value);
                }
            }
        }
        value.clear();
        if self.persistence.write(&self.answer, value) {
            add(field, value);
        }
    }
}
