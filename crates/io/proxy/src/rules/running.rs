//! Running a frontend's rules over heads of requests and responses.
//!
//! Owns what one connection task keeps of the request it serves; leaves the edits themselves to `tidegate-routing`.
//! Invariant: the received bytes are looked at only while they are lent, and what outlives them is a copy in the notes.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use tidegate_http1::{BodyLength, Method, RequestHead, ResponseHead};
use tidegate_passwords::VerifiedCache;
use tidegate_routing::{
    Outcome, Pending, RequestOverlay, RequestView, ResponseView, Tls, TlsClient, Verdict,
    Workspace, resume, run_request, run_response,
};
use tidegate_semantics::{path, request_id};

use super::fields::{ReceivedRequest, ReceivedResponse};
use super::own_fields::scheme;
use super::world::ShardWorld;
use super::{Answered, Dropped, Needs, Question, Route, Scratch};
use crate::site::{Backend, Frontend};
use crate::spoken::Spoken;
use crate::stream::Facts;

/// What a connection task keeps of a request between its head and its end. Reused, so that a warm task allocates nothing.
#[derive(Default)]
pub(crate) struct Notes {
    pub(crate) overlay: RequestOverlay,
    /// The request's id; empty without.
    pub(crate) id: Vec<u8>,
    /// The id is not the one that was received.
    pub(crate) id_is_made: bool,
    /// The received head, where rules of responses ask about it.
    pub(super) head: Vec<u8>,
    /// The rule that decided.
    pub(crate) rule: Option<usize>,
    /// What an authority is answered.
    pub(crate) challenge: Option<Arc<[u8]>>,
    /// There is something of the last request in the overlay.
    is_used: bool,
    /// Edits that had been dropped when they were last counted.
    dropped_counted: u32,
}

/// A request's head as it was received, and where from.
#[derive(Clone, Copy)]
pub(crate) struct Received<'a> {
    pub(crate) head: &'a RequestHead,
    pub(crate) bytes: &'a [u8],
    pub(crate) ends: Ends<'a>,
}

/// What is known of the connection that a request came on.
#[derive(Clone, Copy)]
pub(crate) struct Ends<'a> {
    /// The client's address; none where it has none (a local socket).
    pub(crate) peer: Option<SocketAddr>,
    /// The address of this side, where it is asked for.
    pub(crate) local: Option<SocketAddr>,
    /// The version that the client spoke.
    pub(crate) spoken: Spoken,
    /// What the client's TLS handshake has said, if there was one.
    pub(crate) tls: Option<&'a Facts>,
}

/// A frontend's rules with a shard's memory for them.
pub(crate) struct Judge<'a> {
    pub(crate) frontend: &'a Frontend,
    pub(crate) scratch: &'a RefCell<Scratch>,
    /// The shard's time.
    pub(crate) now: std::time::Instant,
}

impl Notes {
    /// Begins a request.
    pub(crate) fn clear(&mut self) {
        self.id.clear();
        self.id_is_made = false;
        self.rule = None;
        self.challenge = None;
        if std::mem::take(&mut self.is_used) {
            self.overlay.clear();
            self.head.clear();
            self.dropped_counted = 0;
        }
    }
}

impl Judge<'_> {
    /// Runs the rules of requests, from the first one.
    #[inline]
    pub(crate) fn decide(&self, received: &Received<'_>, notes: &mut Notes) -> Route {
        notes.clear();
        self.find_id(received, notes);
        notes.challenge = self.challenge(received);
        if notes.challenge.is_some() {
            return Route::Answer(Answered::Challenge);
        }
        if self.frontend.needs.head_for_response {
            notes.head.extend_from_slice(&received.bytes[..received.head.head_bytes()]);
            notes.is_used = true;
        }
        if self.frontend.rules.is_empty() {
            return self.default_route();
        }
        notes.is_used = true;
        self.with_view(received, notes, |view, overlay, scratch| {
            let (workspace, random) = (&mut scratch.workspace, &mut scratch.random);
            run_request(&self.frontend.rules, view, overlay, workspace, &mut || random.next())
        })
    }

    /// Goes on behind a comparison of a password.
    pub(crate) fn resume(
        &self,
        received: &Received<'_>,
        notes: &mut Notes,
        pending: &Pending,
        is_right: bool,
    ) -> Route {
        if is_right && let Some(tag) = &pending.tag {
            let scratch = &mut *self.scratch.borrow_mut();
            let now = self.now.saturating_duration_since(scratch.started);
            if let Some(verified) = scratch.verified.get_mut() {
                VerifiedCache::insert(verified, tag, now);
            }
        }
        self.with_view(received, notes, |view, overlay, scratch| {
            let (workspace, random) = (&mut scratch.workspace, &mut scratch.random);
            let rules = &self.frontend.rules;
            resume(rules, pending, is_right, view, overlay, workspace, &mut || random.next())
        })
    }

    /// The number that stands for the request at `backend`; none: its servers are not picked by a hash, or the request has
    /// no such thing.
    #[inline]
    pub(crate) fn balance_key(
        &self,
        received: &Received<'_>,
        notes: &Notes,
        backend: &Backend,
    ) -> Option<u64> {
        let key = backend.balance_key.as_ref()?;
        let Scratch { workspace, verified, started, .. } = &mut *self.scratch.borrow_mut();
        let world = self.world(verified, *started);
        let headers = ReceivedRequest { head: received.head, bytes: received.bytes };
        let view = view(received, &headers, &world, &notes.id, self.frontend.needs);
        key.hash(&view, &notes.overlay, workspace)
    }

    /// The answer to an authority that looks whether a domain is ours; rules, such as a redirect to TLS, are not asked.
    #[inline]
    fn challenge(&self, received: &Received<'_>) -> Option<Arc<[u8]>> {
        let (path, _) = path::split_query(received.head.path_and_query(received.bytes));
        let text = self.frontend.challenges.text(path)?;
        matches!(received.head.method(), Method::Get | Method::Head).then_some(text)
    }

    fn default_route(&self) -> Route {
        self.frontend.backend.clone().map_or(Route::Nowhere, Route::Backend)
    }

    fn with_view(
        &self,
        received: &Received<'_>,
        notes: &mut Notes,
        run: impl FnOnce(
            &RequestView<'_, ReceivedRequest<'_>, ShardWorld<'_>>,
            &mut RequestOverlay,
            &mut RunScratch<'_>,
        ) -> Verdict,
    ) -> Route {
        let Scratch { workspace, random, verified, started, .. } = &mut *self.scratch.borrow_mut();
        let world = self.world(verified, *started);
        let headers = ReceivedRequest { head: received.head, bytes: received.bytes };
        let view = view(received, &headers, &world, &notes.id, self.frontend.needs);
        let verdict = run(&view, &mut notes.overlay, &mut RunScratch { workspace, random });
        self.count_dropped(notes);
        notes.rule = verdict.rule;
        match verdict.outcome {
            Outcome::Verify(pending) => self.question(pending, workspace),
            outcome => self.route(outcome),
        }
    }

    pub(super) fn world<'a>(
        &'a self,
        verified: &'a std::cell::OnceCell<VerifiedCache>,
        started: std::time::Instant,
    ) -> ShardWorld<'a> {
        ShardWorld {
            tables: &self.frontend.tables,
            servers_up: self.frontend.backend.as_ref().map_or(0, |backend| backend.servers_up()),
            verified,
            now: self.now.saturating_duration_since(started),
        }
    }

    fn question(&self, pending: Pending, workspace: &Workspace) -> Route {
        let Some(asked) = self.frontend.rules.authenticate(pending.rule) else {
            return Route::Answer(Answered::Unauthorized);
        };
        let credentials = workspace.credentials();
        Route::Verify(Box::new(Question {
            pending,
            users: asked.users.clone(),
            user: credentials.user.to_vec(),
            password: credentials.password.to_vec(),
        }))
    }

    fn route(&self, outcome: Outcome) -> Route {
        let answer = Route::Answer;
        match outcome {
            Outcome::Default => self.default_route(),
            Outcome::Backend(index) => {
                self.frontend.backend_at(index).map_or(Route::Nowhere, Route::Backend)
            }
            Outcome::Redirect { status } => answer(Answered::Redirect(status)),
            Outcome::Respond => answer(Answered::Respond),
            Outcome::Deny { status } => answer(Answered::Deny(status)),
            Outcome::Tarpit { status, delay } => answer(Answered::Tarpit(status, delay)),
            Outcome::Close => answer(Answered::Close),
            Outcome::Unauthorized | Outcome::Verify(_) => answer(Answered::Unauthorized),
        }
    }

    fn find_id(&self, received: &Received<'_>, notes: &mut Notes) {
        let Some(name) = &self.frontend.own_fields.request_id else { return };
        let mut values = received
            .head
            .headers(received.bytes)
            .filter(|(known, _)| known.eq_ignore_ascii_case(name.lower()))
            .map(|(_, value)| value);
        match (values.next(), values.next()) {
            (Some(id), None) if request_id::is_sane(id) => notes.id.extend_from_slice(id),
            _ => {
                let random = self.scratch.borrow_mut().random.bytes();
                request_id::push_new(random, &mut notes.id);
                notes.id_is_made = true;
            }
        }
    }

    /// Runs the rules of responses over a final one. `request` parses the request's head again, if anyone asks about it;
    /// the edits are in the scratch's overlay.
    pub(crate) fn edit_response(
        &self,
        ends: Ends<'_>,
        request: &RequestHead,
        response: (&ResponseHead, &[u8]),
        notes: &mut Notes,
    ) {
        let scratch = &mut *self.scratch.borrow_mut();
        let Scratch { workspace, response: edits, verified, started, .. } = scratch;
        edits.clear();
        if self.frontend.response_rules.is_empty() {
            return;
        }
        notes.is_used = true;
        let world = self.world(verified, *started);
        let bytes = std::mem::take(&mut notes.head);
        let received = Received { head: request, bytes: &bytes, ends };
        let headers = ReceivedRequest { head: request, bytes: &bytes };
        let view = view(&received, &headers, &world, &notes.id, self.frontend.needs);
        let (head, bytes_of_response) = response;
        let fields = ReceivedResponse { head, bytes: bytes_of_response };
        let response = ResponseView { headers: &fields, status: head.status() };
        let rules = &self.frontend.response_rules;
        run_response(rules, &view, &mut notes.overlay, &response, edits, workspace);
        let dropped = edits.edits_dropped();
        notes.head = bytes;
        for _ in 0..dropped {
            self.frontend.stats.rules_dropped.increment(Dropped::Edit.index());
        }
        self.count_dropped(notes);
    }

    fn count_dropped(&self, notes: &mut Notes) {
        let dropped = notes.overlay.edits_dropped();
        for _ in notes.dropped_counted..dropped {
            self.frontend.stats.rules_dropped.increment(Dropped::Edit.index());
        }
        notes.dropped_counted = dropped;
    }
}

impl Notes {
    /// The received head, if it was kept.
    pub(crate) fn head(&self) -> &[u8] {
        &self.head
    }
}

/// The parts of the scratch that a run changes.
struct RunScratch<'a> {
    workspace: &'a mut Workspace,
    random: &'a mut super::random::Random,
}

/// What rules see of a request. Over an empty head, one that was never parsed, everything is empty.
pub(super) fn view<'a>(
    received: &Received<'a>,
    headers: &'a ReceivedRequest<'a>,
    world: &'a ShardWorld<'a>,
    id: &'a [u8],
    needs: Needs,
) -> RequestView<'a, ReceivedRequest<'a>, ShardWorld<'a>> {
    let Received { head, bytes, ends: Ends { peer, local, spoken, tls } } = *received;
    let (path, query) = path::split_query(head.path_and_query(bytes));
    RequestView {
        headers,
        world,
        method: head.method_bytes(bytes),
        uri: head.target(bytes),
        path,
        query,
        authority: head.host(bytes),
        scheme: scheme(tls.is_some()).as_bytes(),
        protocol: spoken.text().as_bytes(),
        body_bytes: match head.body() {
            BodyLength::None => Some(0),
            BodyLength::Length(bytes) => Some(bytes),
            BodyLength::Chunked | BodyLength::UntilClose | BodyLength::Tunnel => None,
        },
        peer,
        local,
        id,
        unix_ms: if needs.time { unix_ms() } else { 0 },
        tls: tls.map(tls_view),
    }
}

fn tls_view(facts: &Facts) -> Tls<'_> {
    let Facts { session, server_name } = facts;
    Tls {
        version: session.version.as_bytes(),
        cipher: session.cipher.as_bytes(),
        sni: server_name.as_deref().unwrap_or_default().as_bytes(),
        alpn: session.protocol.map_or(&[][..], |protocol| protocol.alpn().as_bytes()),
        client: session.peer.as_ref().map(|peer| TlsClient {
            subject: peer.subject.as_bytes(),
            issuer: peer.issuer.as_bytes(),
            serial: peer.serial.as_bytes(),
            fingerprint: peer.fingerprint.as_bytes(),
        }),
    }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Whether one method may replace another: the framing of the request and of its response must stay right.
pub(crate) fn may_replace_method(received: Method, new: Method) -> bool {
    let is_special = |method| matches!(method, Method::Head | Method::Connect);
    received == new || !(is_special(received) || is_special(new))
}
