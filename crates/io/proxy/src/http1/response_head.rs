//! The head of a server's response on its way to the client.
//!
//! Owns what rules and compression make of it and how the body will be framed; leaves writing to `tidegate-http1`. Invariant:
//! the framing announced is the one that the body gets.

use tidegate_exchange::{Action, Input, Upload as Rest};
use tidegate_http1::{
    BodyFraming, BodyLength, ConnectionHeader, HeaderEdits, Parsed, RequestHead, ResponseEdits,
    ResponseHead, Version, encode_response_head, parse_request,
};
use tidegate_routing::ResponseOverlay;
use tidegate_semantics::compressed_head::Change;
use tidegate_semantics::via::{self, ReceivedProtocol};

use super::body::{Output, Sink};
use super::exchange::Ending;
use super::head::ends;
use super::response::{Head, Relay};
use crate::compression::label_index;
use crate::http2::servers::Grpc;
use crate::rules::{CodedFields, Dropped, Judge, ResponseFields};
use crate::upstream::persist::{self, Telling};

/// What a final head is to become.
struct Plan {
    change: Change,
    /// The body is to be coded: the encoder is there.
    is_coded: bool,
    /// Rules have run over the head, or compression looks at it: the edits are in the scratch.
    is_edited: bool,
}

impl Relay<'_, '_> {
    /// Decides how the head goes on to the client and puts it into the sink.
    pub(super) fn relay_head(
        &self,
        head: &ResponseHead,
        bytes: &[u8],
        sink: &mut Sink<'_>,
    ) -> Result<Head, Action> {
        let (status, interim) = (head.status(), head.is_interim());
        if !interim {
            self.attempt.slot.server.stats.requests.record(status);
            let now = self.driver.alarm.now();
            let sent = self.driver.marks.connected.get().unwrap_or(now);
            let latency = now.saturating_duration_since(sent);
            if self.attempt.slot.is_current() {
                self.driver.backend.note_answer(&self.attempt.slot.server, status, latency);
            }
        }
        if let Some(Grpc { status, is_alone: true }) = self.attempt.grpc().filter(|_| !interim) {
            let action = self.driver.input(Input::GrpcStatus(status));
            if action != Action::Wait {
                return Err(self.counted(action));
            }
        }
        let rest = match self.driver.input(Input::ResponseHead { status, interim }) {
            Action::Relay { upload } => upload,
            action => return Err(self.counted(action)),
        };
        let client_version = self.incoming.version;
        if interim {
            // RFC 9110 §15.2: no interim response to an HTTP/1.0 client.
            if client_version != Version::Http10 {
                let edits = ResponseEdits { client_version, ..ResponseEdits::default() };
                encode_response_head(sink.tail(), bytes, head, &edits);
            }
            return Ok(Head { interim, body: head.body(), rest });
        }
        self.driver.marks.answered.set(Some(self.driver.alarm.now()));
        self.incoming.trace.note_response(self.driver.frontend, head, bytes);
        self.attempt.persists.set(head.keep_alive());
        self.remember(head, bytes);
        let plan = self.plan(head, bytes);
        let (output, delimited) = match (plan.is_coded, client_version) {
            (false, _) => output_for(head.body(), client_version),
            (true, Version::Http10) => (Output::Content, false),
            (true, Version::Http11) => (Output::Chunks, true),
        };
        let persists = delimited
            && self.incoming.keep_alive
            && rest != Rest::Stop
            && !self.driver.worker.is_draining();
        self.ending.set(match (persists, delimited) {
            (true, _) => Ending::Persistent,
            (false, true) => Ending::Closing,
            (false, false) => Ending::Undelimited,
        });
        let connection = match head.body() {
            BodyLength::Tunnel => ConnectionHeader::Upgrade,
            _ if persists => ConnectionHeader::KeepAlive,
            _ => ConnectionHeader::Close,
        };
        let body = match (plan.change, output) {
            (Change::Announce(_), _) => BodyFraming::Undeclared,
            (_, Output::AsReceived) => BodyFraming::AsReceived,
            (_, Output::Content) => BodyFraming::UntilClose,
            (_, Output::Chunks) => BodyFraming::Chunked,
        };
        let edits = ResponseEdits { connection, client_version, body, ..ResponseEdits::default() };
        self.driver.status.set(self.write_head(head, bytes, edits, &plan, sink));
        Ok(Head { interim, body: head.body(), rest })
    }

    /// Runs rules over a final head, and decides whether the response is compressed.
    fn plan(&self, head: &ResponseHead, bytes: &[u8]) -> Plan {
        let (driver, frontend) = (self.driver, self.driver.frontend);
        let is_ruled = !frontend.response_rules.is_empty() || frontend.own_fields.via.is_some();
        let mut plan = Plan { change: Change::Nothing, is_coded: false, is_edited: is_ruled };
        let settings = self.incoming.asked.as_ref().zip(frontend.compression(driver.backend));
        if is_ruled || settings.is_some() {
            self.run_rules(head, bytes);
        }
        let Some((asked, settings)) = settings else { return plan };
        let edits = &driver.worker.scratch.rules.borrow().response;
        // Of the statuses that rules can give it, only 206 means something here, and only what was a part is one.
        let status = edits.status().filter(|new| *new == 206).unwrap_or(head.status());
        let lines = edited_lines(head, bytes, edits);
        plan.change = Change::decide(&settings.policy, &settings.codings, asked, status, lines);
        if let Change::Encode(coding) = plan.change {
            let (frontend, backend) = (&frontend.stats, &driver.backend.stats);
            let encoder = driver.worker.encoders.start(settings.level(coding));
            plan.is_coded = encoder.is_some();
            self.encoder.set(encoder);
            if plan.is_coded {
                frontend.compressed.increment(label_index(coding));
                backend.compressed.increment(label_index(coding));
            } else {
                plan.change = Change::Vary;
                frontend.compression_skipped.increment();
                backend.compression_skipped.increment();
            }
        }
        plan.is_edited |= plan.change != Change::Nothing;
        plan
    }

    /// Puts a final head with its edits into the sink; the status that it has then.
    fn write_head(
        &self,
        head: &ResponseHead,
        bytes: &[u8],
        edits: ResponseEdits,
        plan: &Plan,
        sink: &mut Sink<'_>,
    ) -> u16 {
        if !plan.is_edited {
            return self.encode(head, bytes, edits, sink);
        }
        let frontend = self.driver.frontend;
        let all_scratch = &self.driver.worker.scratch;
        let scratch = &mut *all_scratch.rules.borrow_mut();
        scratch.target.clear();
        if let Some(pseudonym) = &frontend.own_fields.via {
            let protocol = match head.version() {
                Version::Http10 => ReceivedProtocol::Http10,
                Version::Http11 => ReceivedProtocol::Http11,
            };
            via::push_entry(protocol, pseudonym, &mut scratch.target);
        }
        let (overlay, status) = (&scratch.response, scratch.response.status());
        let fields = ResponseFields { overlay, via: &scratch.target };
        let edits = ResponseEdits { status, ..edits };
        let written = if plan.change == Change::Nothing {
            self.encode(head, bytes, edits.with_headers(fields), sink)
        } else {
            let mut weak_etag = all_scratch.weak_etag.borrow_mut();
            let lines = edited_lines(head, bytes, overlay);
            let fields = CodedFields { fields, coding: plan.change.edits(lines, &mut weak_etag) };
            self.encode(head, bytes, edits.with_headers(fields), sink)
        };
        if status.is_some_and(|status| status != written) {
            frontend.stats.rules_dropped.increment(Dropped::Status.index());
        }
        written
    }

    /// Encodes the head with the token that the client is given, if it is to stay with the server.
    fn encode<H: HeaderEdits>(
        &self,
        head: &ResponseHead,
        bytes: &[u8],
        edits: ResponseEdits<H>,
        sink: &mut Sink<'_>,
    ) -> u16 {
        let driver = self.driver;
        let (Some(persistence), Some(server)) =
            (&driver.backend.persistence, driver.last_server.get())
        else {
            return encode_response_head(sink.tail(), bytes, head, &edits);
        };
        let ResponseEdits { connection, client_version, body, status, headers } = edits;
        let (received, value) = ((head, bytes), &driver.worker.scratch.token);
        let pin = (&self.incoming.pin, server);
        let headers = Telling::new(headers, persistence, pin, received, value);
        driver.marks.response_cookie.set(persist::logged_response(headers.state()));
        let edits = ResponseEdits { connection, client_version, body, status, headers };
        encode_response_head(sink.tail(), bytes, head, &edits)
    }

    /// Leaves what rules make of the head in the scratch.
    fn run_rules(&self, head: &ResponseHead, bytes: &[u8]) {
        let (driver, scratch) = (self.driver, &self.driver.worker.scratch);
        let notes = &mut *driver.notes.borrow_mut();
        let judge =
            Judge { frontend: driver.frontend, scratch: &scratch.rules, now: driver.alarm.now() };
        let ends = ends(driver.client, driver.frontend, self.incoming.version);
        if !driver.frontend.needs.head_for_response {
            let unknown = RequestHead::new();
            return judge.edit_response(ends, &unknown, (head, bytes), notes);
        }
        let mut request = scratch.request.borrow_mut();
        let parsed = parse_request(notes.head(), &driver.frontend.limits, &mut request);
        debug_assert!(matches!(parsed, Ok(Parsed::Complete { .. })), "it was parsed before");
        judge.edit_response(ends, &request, (head, bytes), notes);
    }
}

/// The header lines that rules leave and those that they add.
fn edited_lines<'a>(
    head: &'a ResponseHead,
    bytes: &'a [u8],
    edits: &'a ResponseOverlay,
) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
    head.headers(bytes).filter(|(name, _)| !edits.removes(name)).chain(edits.added())
}

/// How a body that is not coded goes to a client of this version, and whether its end can be told without closing.
pub(super) fn output_for(body: BodyLength, client: Version) -> (Output, bool) {
    match (body, client) {
        (BodyLength::Chunked, Version::Http10) => (Output::Content, false),
        (BodyLength::UntilClose, Version::Http10) => (Output::AsReceived, false),
        (BodyLength::UntilClose, Version::Http11) => (Output::Chunks, true),
        (
            BodyLength::None | BodyLength::Length(_) | BodyLength::Chunked | BodyLength::Tunnel,
            _,
        ) => (Output::AsReceived, true),
    }
}
