//! What clients are known by in a backend's table, in requests and in responses.
//!
//! Owns the way from a head to the mark of its key; leaves the keys to `tidegate-routing` and the table to `tidegate-stick`.
//! Invariant: a key of a response is that of the response as the server sent it.

use std::hash::RandomState;
use std::net::IpAddr;

use tidegate_http1::{RequestHead, ResponseHead};
use tidegate_routing::ResponseView;
use tidegate_rules::Key;
use tidegate_stick::{Kind, Mark, Pins};

use super::Scratch;
use super::fields::{ReceivedRequest, ReceivedResponse};
use super::running::{Ends, Judge, Notes, Received, view};
use crate::site::Backend;

fn mark(pins: &Pins<RandomState>, key: Key<'_>) -> Mark {
    match key {
        Key::Text(text) => pins.mark(Kind::Text, text),
        Key::Address(address) => match address.to_canonical() {
            IpAddr::V4(address) => pins.mark(Kind::Address, &address.octets()),
            IpAddr::V6(address) => pins.mark(Kind::Address, &address.octets()),
        },
    }
}

impl Judge<'_> {
    /// The mark of a request in the table of `backend`; none: there is no table, or the request has no such thing.
    #[inline]
    pub(crate) fn mark(
        &self,
        received: &Received<'_>,
        notes: &Notes,
        backend: &Backend,
    ) -> Option<Mark> {
        let stick = backend.stick.as_ref()?;
        let Scratch { workspace, verified, started, .. } = &mut *self.scratch.borrow_mut();
        let world = self.world(verified, *started);
        let headers = ReceivedRequest { head: received.head, bytes: received.bytes };
        let view = view(received, &headers, &world, &notes.id, self.frontend.needs);
        stick.key.of_request(&view, &notes.overlay, workspace, |key| mark(&stick.pins, key))
    }

    /// The mark by which a client will be known, as a response says; none: it does not. `request` is the head of its request where
    /// anybody asks about that.
    pub(crate) fn mark_of_response(
        &self,
        ends: Ends<'_>,
        request: &RequestHead,
        (head, bytes): (&ResponseHead, &[u8]),
        notes: &Notes,
        backend: &Backend,
    ) -> Option<Mark> {
        let stick = backend.stick.as_ref()?;
        let learn = stick.learn.as_ref()?;
        let Scratch { workspace, verified, started, .. } = &mut *self.scratch.borrow_mut();
        let world = self.world(verified, *started);
        let received = Received { head: request, bytes: &notes.head, ends };
        let headers = ReceivedRequest { head: request, bytes: &notes.head };
        let view = view(&received, &headers, &world, &notes.id, self.frontend.needs);
        let fields = ReceivedResponse { head, bytes };
        let response = ResponseView { headers: &fields, status: head.status() };
        let pins = &stick.pins;
        learn.of_response(&view, &notes.overlay, &response, workspace, |key| mark(pins, key))
    }
}
