//! The copy of a request's head that goes to servers.
//!
//! Owns which edits of rules can be made at all, and the fields that the proxy adds; leaves writing to `tidegate-http1`.
//! Invariant: what is written is a request that this proxy would accept itself, whatever rules made.

use std::cell::RefMut;

use tidegate_http1::{
    ConnectionHeader, Method, NewStart, RequestEdits, encode_request_head, is_authority,
    is_origin_target,
};
use tidegate_persistence::{Persistence, Pin};
use tidegate_semantics::path;

use super::Server;
use super::head::local_host;
use crate::client::Client;
use crate::rules::{
    Dropped, Ends, Notes, Received, RequestFields, Scratch, Sender, may_replace_method,
};
use crate::site::Frontend;
use crate::upstream::persist::{self, Hiding};

/// Writes the head of one request, as often as it is needed.
pub(super) struct HeadWriter<'a> {
    received: &'a Received<'a>,
    frontend: &'a Frontend,
    notes: &'a Notes,
    scratch: RefMut<'a, Scratch>,
    /// The scratch holds a target.
    has_target: bool,
    new_method: Option<&'a [u8]>,
    new_host: Option<&'a [u8]>,
    /// The host of a request without one.
    own_host: String,
    /// The field that servers see as the scratch has it.
    hidden: Option<&'a [u8]>,
}

impl<'a> HeadWriter<'a> {
    pub(super) fn new(
        server: &'a Server,
        client: &Client,
        frontend: &'a Frontend,
        received: &'a Received<'a>,
        notes: &'a Notes,
    ) -> HeadWriter<'a> {
        let Received { head, bytes, ends: Ends { peer, local, spoken, tls } } = *received;
        let (overlay, mut scratch) = (&notes.overlay, server.worker.scratch.rules.borrow_mut());
        let Scratch { own, random, .. } = &mut *scratch;
        let sender = Sender {
            head,
            bytes,
            overlay,
            peer: peer.map(|peer| peer.ip()),
            spoken,
            local_port: local.map(|local| local.port()),
            has_tls: tls.is_some(),
            id_made: notes.id_is_made.then_some(&*notes.id),
        };
        own.make(&frontend.own_fields, &sender, random);
        let drop = |dropped: Dropped| frontend.stats.rules_dropped.increment(dropped.index());
        let new_method = overlay.method().filter(|new| {
            let may = may_replace_method(head.method(), Method::from_token(new));
            if !may {
                drop(Dropped::Method);
            }
            may
        });
        let new_host = overlay.host().filter(|host| {
            let is_valid = is_authority(host);
            if !is_valid {
                drop(Dropped::Edit);
            }
            is_valid
        });
        let (received_path, query) = path::split_query(head.path_and_query(bytes));
        let has_target = overlay.path_and_query(received_path, query).is_some_and(|target| {
            let out = &mut scratch.target;
            out.clear();
            out.extend_from_slice(target.path);
            if let Some(query) = target.query {
                out.push(b'?');
                out.extend_from_slice(query);
            }
            let is_valid = is_origin_target(out);
            if !is_valid {
                drop(Dropped::Edit);
            }
            is_valid
        });
        let has_host = new_host.is_some() || !head.host(bytes).is_empty();
        let own_host = if has_host { String::new() } else { local_host(client) };
        HeadWriter {
            received,
            frontend,
            notes,
            scratch,
            has_target,
            new_method,
            new_host,
            own_host,
            hidden: None,
        }
    }

    /// Finds the token by which the client is known, and hides it from servers if they are not to see it.
    pub(super) fn hide_token(&mut self, persistence: &'a Persistence) -> Pin {
        let Received { head, bytes, .. } = *self.received;
        let (pin, is_changed) = persist::find(persistence, head, bytes, &mut self.scratch.shown);
        self.hidden = persistence.hidden_in().filter(|_| is_changed);
        pin
    }

    /// The method that the servers get.
    pub(super) fn method(&self, received: Method) -> Method {
        self.new_method.map_or(received, Method::from_token)
    }

    /// Appends the head.
    pub(super) fn write(
        &self,
        connection: ConnectionHeader,
        expect_continue: bool,
        out: &mut Vec<u8>,
    ) {
        let Received { head, bytes, .. } = *self.received;
        let own_host = Some(self.own_host.as_bytes()).filter(|host| !host.is_empty());
        let start = NewStart {
            method: self.new_method,
            target: self.has_target.then_some(&*self.scratch.target),
            host: self.new_host.or(own_host),
        };
        let is_new = start != NewStart::default();
        let edits = RequestEdits {
            connection,
            expect_continue,
            start: is_new.then_some(&start),
            ..RequestEdits::default()
        };
        let (overlay, own) = (&self.notes.overlay, &self.scratch.own);
        let settings = &self.frontend.own_fields;
        if let Some(field) = self.hidden {
            let rest = RequestFields { overlay, own, settings };
            let headers = Hiding { rest, field, shown: &self.scratch.shown };
            return encode_request_head(out, bytes, head, &edits.with_headers(headers));
        }
        if overlay.is_empty() && own.is_empty() {
            return encode_request_head(out, bytes, head, &edits);
        }
        let headers = RequestFields { overlay, own, settings };
        encode_request_head(out, bytes, head, &edits.with_headers(headers));
    }
}
