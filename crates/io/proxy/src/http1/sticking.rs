//! Clients that stay with their server by the backend's table.
//!
//! Owns when the table is asked and told, and the counts; leaves the keys to `rules`, the table to `tidegate-stick`, and following
//! it to the pick. Invariant: what is told is the server whose response the client gets.

use std::time::Instant;

use tidegate_http1::{Parsed, RequestHead, ResponseHead, parse_request};
use tidegate_stick::{Mark, Stored};

use super::head::ends;
use super::response::Relay;
use crate::rules::Judge;
use crate::site::Backend;

/// What the table says of a request's client.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stuck {
    /// What the client is known by.
    mark: Option<Mark>,
    /// The server that it has had.
    pub(super) server: Option<u32>,
}

impl Stuck {
    /// Looks a mark up.
    #[inline]
    pub(super) fn find(backend: &Backend, mark: Option<Mark>, now: Instant) -> Stuck {
        let (Some(stick), Some(found)) = (&backend.stick, mark) else { return Stuck::default() };
        let server = stick.pins.find(found, now);
        match server {
            Some(_) => backend.stats.stick_hits.increment(),
            None => backend.stats.stick_misses.increment(),
        }
        Stuck { mark, server }
    }
}

impl Relay<'_, '_> {
    /// Takes note of which server the client is with now.
    #[inline]
    pub(super) fn remember(&self, head: &ResponseHead, bytes: &[u8]) {
        let driver = self.driver;
        let (Some(stick), Some(server)) = (&driver.backend.stick, driver.last_server.get()) else {
            return;
        };
        let (pins, now) = (&stick.pins, driver.alarm.now());
        if let Some(mark) = self.incoming.stuck.mark {
            // Where servers say what their clients are known by, only they make entries: clients could fill the table.
            let stored = match &stick.learn {
                None => Some(pins.store(mark, server, now)),
                Some(_) => pins.update(mark, server, now),
            };
            self.count(stored);
        }
        if stick.learn.is_some()
            && let Some(mark) = self.learned(head, bytes)
        {
            self.count(Some(pins.store(mark, server, now)));
        }
    }

    fn learned(&self, head: &ResponseHead, bytes: &[u8]) -> Option<Mark> {
        let (driver, scratch) = (self.driver, &self.driver.worker.scratch);
        let notes = driver.notes.borrow();
        let (frontend, now) = (driver.frontend, driver.alarm.now());
        let judge = Judge { frontend, scratch: &scratch.rules, now };
        let ends = ends(driver.client, frontend, self.incoming.version);
        let mut request = scratch.request.borrow_mut();
        let unknown = RequestHead::new();
        let request = if frontend.needs.head_for_response {
            let parsed = parse_request(notes.head(), &frontend.limits, &mut request);
            debug_assert!(matches!(parsed, Ok(Parsed::Complete { .. })), "it was parsed before");
            &*request
        } else {
            &unknown
        };
        judge.mark_of_response(ends, request, (head, bytes), &notes, driver.backend)
    }

    fn count(&self, stored: Option<Stored>) {
        let stats = &self.driver.backend.stats;
        match stored {
            Some(Stored::Added | Stored::Moved) => stats.stick_stored.increment(),
            Some(Stored::Evicted) => {
                stats.stick_stored.increment();
                stats.stick_evicted.increment();
            }
            Some(Stored::Refused) => stats.stick_refused.increment(),
            Some(Stored::Kept) | None => {}
        }
    }
}
