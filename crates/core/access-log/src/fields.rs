//! The fields of the access log, by name.
//!
//! Owns the table that templates, JSON and the configuration reference share; leaves values to `value`. Invariant:
//! names are unique, and the example of each is what the field gives for the example record of the tests.

/// One field, for the configuration reference.
#[derive(Clone, Copy, Debug)]
pub struct FieldInfo {
    /// Its name: `{name}` in a template, the key in JSON. `NAME` stands for what the writer chooses.
    pub name: &'static str,
    /// What a template gives for it.
    pub example: &'static str,
    /// What it is, with its unit and what stands there when there is no value.
    pub doc: &'static str,
    pub(crate) field: Field,
    /// Whether JSON has it: not if it is another field in another form.
    pub(crate) in_json: bool,
}

/// What a field is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    Protocol,
    AcceptedAt,
    AcceptDate,
    AcceptedAtMicros,
    StartedAt,
    StartDate,
    StartedAtMicros,
    ClientIp,
    ClientPort,
    FrontendIp,
    FrontendPort,
    Frontend,
    TlsMark,
    Backend,
    Server,
    Tls,
    TlsVersion,
    TlsCipher,
    Alpn,
    Sni,
    Request,
    Method,
    Target,
    Path,
    Query,
    Version,
    InvalidRequest,
    Status,
    RequestHeadMillis,
    QueueMillis,
    ConnectMillis,
    ResponseHeadMillis,
    TotalMillis,
    RequestHeadMicros,
    QueueMicros,
    ConnectMicros,
    ResponseHeadMicros,
    TotalMicros,
    BytesReceived,
    BytesSent,
    Retries,
    Redispatched,
    RedispatchMark,
    ProcessConnections,
    FrontendConnections,
    BackendConnections,
    ServerConnections,
    ServerQueue,
    BackendQueue,
    RequestHeaders,
    ResponseHeaders,
    RequestCookie,
    ResponseCookie,
    Rule,
    RequestId,
    GrpcStatus,
    Termination,
    Reason,
    Stage,
    Detail,
    Fields,
    /// These three take a name.
    RequestHeader,
    ResponseHeader,
    Extra,
}

const fn row(
    name: &'static str,
    field: Field,
    example: &'static str,
    doc: &'static str,
) -> FieldInfo {
    FieldInfo { name, example, doc, field, in_json: true }
}

/// A field in another form.
const fn form(
    name: &'static str,
    field: Field,
    example: &'static str,
    doc: &'static str,
) -> FieldInfo {
    FieldInfo { name, example, doc, field, in_json: false }
}

/// Every field, in the order of the JSON format. In JSON an absent value is `null`, times in ms are numbers with
/// three decimals, and captured headers and added fields are objects.
#[rustfmt::skip]
pub const FIELDS: &[FieldInfo] = &[
    row("protocol", Field::Protocol, "http", "`http` or `tcp`."),
    row("accepted_at", Field::AcceptedAt, "2026-04-01T12:00:00.123456Z", "When the connection was accepted, RFC 3339 with microseconds."),
    form("accept_date", Field::AcceptDate, "01/Apr/2026:12:00:00.123", "The same in the form of HAProxy's log, without a zone."),
    row("accepted_at_us", Field::AcceptedAtMicros, "1775044800123456", "The same in microseconds since 1970."),
    row("started_at", Field::StartedAt, "2026-04-01T12:00:07.000001Z", "When the request's first byte came; for TCP when the connection was accepted."),
    form("start_date", Field::StartDate, "01/Apr/2026:12:00:07.000", "The same in the form of HAProxy's log, without a zone."),
    row("started_at_us", Field::StartedAtMicros, "1775044807000001", "The same in microseconds since 1970."),
    row("client_ip", Field::ClientIp, "203.0.113.7", "The client's address; `unix` for a Unix socket."),
    row("client_port", Field::ClientPort, "51234", "The client's port; 0 for a Unix socket."),
    row("frontend_ip", Field::FrontendIp, "2001:db8::1", "The address that the client connected to."),
    row("frontend_port", Field::FrontendPort, "443", "The port that the client connected to."),
    row("frontend", Field::Frontend, "web", "The frontend's name."),
    form("tls_mark", Field::TlsMark, "~", "`~` if the client's connection uses TLS, otherwise nothing."),
    row("backend", Field::Backend, "app", "The backend's name; the frontend's if none was chosen."),
    row("server", Field::Server, "app1", "The name of the last server that was tried; `<NOSRV>` if none was."),
    row("tls", Field::Tls, "true", "Whether the client's connection uses TLS here."),
    row("tls_version", Field::TlsVersion, "TLSv1.3", "The version of TLS; `-` without TLS."),
    row("tls_cipher", Field::TlsCipher, "TLS13_AES_128_GCM_SHA256", "The cipher suite; `-` without TLS."),
    row("alpn", Field::Alpn, "http/1.1", "The application protocol agreed on in TLS; `-` without one."),
    row("sni", Field::Sni, "www.example.com", "The server name that the client asked for in TLS; `-` without one."),
    form("request", Field::Request, "GET /items/7?x=1 HTTP/1.1", "The request line; `<BADREQ>` if there was no valid one."),
    row("method", Field::Method, "GET", "The method; `-` without a valid request."),
    row("target", Field::Target, "/items/7?x=1", "The target as the client sent it, cut at 4096 bytes; `-` without a valid request."),
    form("path", Field::Path, "/items/7", "The target up to the first `?`; `-` without a valid request."),
    form("query", Field::Query, "x=1", "The target after the first `?`; `-` without one."),
    row("version", Field::Version, "HTTP/1.1", "The protocol's version; `-` without a valid request."),
    row("invalid_request", Field::InvalidRequest, "-", "The first line of what is not a valid request, cut at 4096 bytes; `-` if there is none."),
    row("status", Field::Status, "200", "The status sent to the client; `-1` if none was."),
    row("request_head_ms", Field::RequestHeadMillis, "1", "From the request's first byte to the end of its head, whole ms; `-1` if it did not come to that."),
    row("queue_ms", Field::QueueMillis, "0", "Waiting for a server, attempts that failed included, or in a tarpit, whole ms; `-1` if it did not come to that."),
    row("connect_ms", Field::ConnectMillis, "2", "Making the last connection to the server, 0 for one that was reused, whole ms; `-1` if it did not come to that."),
    row("response_head_ms", Field::ResponseHeadMillis, "30", "Waiting for the response's head, whole ms; `-1` if it did not come to that."),
    row("total_ms", Field::TotalMillis, "34", "From the request's first byte to the response's last, whole ms; for TCP from accepting to closing."),
    row("request_head_us", Field::RequestHeadMicros, "1200", "`request_head_ms` in µs."),
    row("queue_us", Field::QueueMicros, "0", "`queue_ms` in µs."),
    row("connect_us", Field::ConnectMicros, "2050", "`connect_ms` in µs."),
    row("response_head_us", Field::ResponseHeadMicros, "30999", "`response_head_ms` in µs."),
    row("total_us", Field::TotalMicros, "34567", "`total_ms` in µs."),
    row("bytes_received", Field::BytesReceived, "431", "Bytes read from the client, heads included."),
    row("bytes_sent", Field::BytesSent, "2750", "Bytes sent to the client, heads included."),
    row("retries", Field::Retries, "1", "Attempts after the first."),
    row("redispatched", Field::Redispatched, "true", "Whether the last attempt went to another server than the first."),
    form("redispatch_mark", Field::RedispatchMark, "+", "`+` if the last attempt went to another server than the first, otherwise nothing."),
    row("process_connections", Field::ProcessConnections, "5", "Connections of the process when the line is written."),
    row("frontend_connections", Field::FrontendConnections, "4", "Connections of the frontend then."),
    row("backend_connections", Field::BackendConnections, "3", "Requests that the backend handles then."),
    row("server_connections", Field::ServerConnections, "2", "Requests that the server handles then."),
    row("server_queue", Field::ServerQueue, "0", "Requests that left the server's queue before this one."),
    row("backend_queue", Field::BackendQueue, "6", "Requests that left the backend's queue before this one."),
    row("request_headers", Field::RequestHeaders, "{www.example.com|curl/8}", "The captured headers of the request in braces."),
    row("response_headers", Field::ResponseHeaders, "{nginx}", "The captured headers of the response in braces."),
    row("request_cookie", Field::RequestCookie, "-", "The captured cookie of the request; `-` without one."),
    row("response_cookie", Field::ResponseCookie, "-", "The captured cookie of the response; `-` without one."),
    row("rule", Field::Rule, "static_files", "The rule that decided; `-` if none did."),
    row("request_id", Field::RequestId, "01J2-77", "The request's id; `-` without one."),
    row("grpc_status", Field::GrpcStatus, "-", "The status of a gRPC call, as a number, 17 for one that gRPC does not know; `-` if it is none, or has none."),
    row("termination", Field::Termination, "--VN", "HAProxy's termination state: four letters, two for TCP."),
    row("reason", Field::Reason, "complete", "How it ended, as a word."),
    row("stage", Field::Stage, "end", "How far it had come: `request`, `queue`, `connect`, `response_head`, `data`, `last_data`, `tarpit`, or `end` if it was complete."),
    row("detail", Field::Detail, "-", "Which rule of the protocol was broken; `-` if none was."),
    row("fields", Field::Fields, "tenant=blue plan=a b", "The fields that rules added, as `name=value`; `-` without any."),
    form("request_header.NAME", Field::RequestHeader, "curl/8", "A header of the request, which is captured for it; `-` if it has none."),
    form("response_header.NAME", Field::ResponseHeader, "nginx", "A header of the response, which is captured for it; `-` if it has none."),
    form("field.NAME", Field::Extra, "blue", "A field that a rule added with `log_field`; `-` if none did."),
];
