//! Templates: every field's example is true, errors say where and what, and captured headers keep their places.

mod samples;

use samples::{example, line};
use std::collections::BTreeSet;
use std::ops::Range;
use tidegate_access_log::{
    CAPTURES_MAX, Captures, FIELDS, FORMAT_BYTES_MAX, Format, FormatErrorKind,
};

fn template(text: &str) -> Format {
    let mut captures = Captures::new();
    captures.add_request("Host").expect("there is room");
    captures.add_request("User-Agent").expect("there is room");
    captures.add_response("Server").expect("there is room");
    Format::parse(text, &mut captures).expect("the template is right")
}

/// The name with what a reader of the reference would write for `NAME`.
fn written(name: &str) -> String {
    let chosen = match name.split_once('.') {
        Some(("request_header", _)) => "user-agent",
        Some(("response_header", _)) => "Server",
        _ => "tenant",
    };
    name.replace("NAME", chosen)
}

#[test]
fn every_field_has_a_true_example() {
    for row in FIELDS {
        let text = line(&template(&format!("{{{}}}", written(row.name))), &example());
        assert_eq!(text, row.example, "{}", row.name);
        assert!(row.doc.ends_with('.') && row.doc.len() > 10, "{}", row.name);
    }
}

#[test]
fn names_are_unique_and_in_the_projects_style() {
    let names: BTreeSet<&str> = FIELDS.iter().map(|row| row.name).collect();
    assert_eq!(names.len(), FIELDS.len());
    for name in names {
        let plain = name.strip_suffix(".NAME").unwrap_or(name);
        let style = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
        assert!(plain.bytes().all(style), "{name}");
    }
}

#[test]
fn a_template_can_say_what_the_http_format_says() {
    let text = "{client_ip}:{client_port} [{start_date}] {frontend}{tls_mark} {backend}/{server} \
                {request_head_ms}/{queue_ms}/{connect_ms}/{response_head_ms}/{total_ms} {status} {bytes_sent} \
                {request_cookie} {response_cookie} {termination} \
                {process_connections}/{frontend_connections}/{backend_connections}/{server_connections}/\
                {redispatch_mark}{retries} {server_queue}/{backend_queue} {request_headers} {response_headers} \
                \"{request}\"";
    assert_eq!(line(&template(text), &example()), line(&Format::HTTP, &example()));
}

#[test]
fn braces_are_written_double() {
    assert_eq!(line(&template("{{{status}}} {{}} é"), &example()), "{200} {} é");
}

#[test]
fn what_is_not_there_is_a_dash() {
    let text = "{request_header.X-None} {response_header.X-None} {field.none} {invalid_request}";
    assert_eq!(line(&template(text), &example()), "- - - -");
}

#[test]
fn headers_are_captured_once_and_in_order() {
    let mut captures = Captures::new();
    captures.add_request("Host").expect("there is room");
    let text = "{request_header.User-Agent} {request_header.HOST} {request_header.user-agent} {response_header.ETag}";
    Format::parse(text, &mut captures).expect("the template is right");
    assert_eq!(captures.request(), ["Host", "User-Agent"]);
    assert_eq!(captures.response(), ["ETag"]);
}

#[test]
fn errors_say_where_and_what_would_be_right() {
    use FormatErrorKind as Kind;
    let long = "x".repeat(FORMAT_BYTES_MAX) + "{status}";
    let many: String =
        (0..=CAPTURES_MAX).map(|at| format!("{{request_header.X-{at:02}}}")).collect();
    let cases: [(&str, Kind, Range<usize>, Option<&str>); 18] = [
        ("htp", Kind::NoField, 0..3, Some("http")),
        ("jsn", Kind::NoField, 0..3, Some("json")),
        ("", Kind::NoField, 0..0, None),
        ("combined", Kind::NoField, 0..8, None),
        ("status }", Kind::NoField, 0..8, None),
        ("a {stat} b", Kind::UnknownField, 2..8, Some("status")),
        ("{client_Ip}", Kind::UnknownField, 0..11, Some("client_ip")),
        ("é{clientip}", Kind::UnknownField, 2..12, Some("client_ip")),
        ("{}", Kind::UnknownField, 0..2, None),
        ("{something_else_altogether}", Kind::UnknownField, 0..27, None),
        ("{request_headr.Host}", Kind::UnknownField, 0..20, Some("request_header")),
        ("{request_header.}", Kind::NotAName, 0..17, None),
        ("{field.a b}", Kind::NotAName, 0..11, None),
        ("{status} {method", Kind::Unclosed, 9..10, None),
        ("{status {method}", Kind::Unclosed, 0..1, None),
        ("{status} }", Kind::Unopened, 9..10, None),
        ("{status}\n{method}", Kind::ControlCharacter, 8..9, None),
        (&long, Kind::TooLong, 0..long.len(), None),
    ];
    for (text, kind, span, suggestion) in cases {
        let error = Format::parse(text, &mut Captures::new()).expect_err("the template is wrong");
        assert_eq!((error.kind, error.span.clone()), (kind, span), "{text}");
        assert_eq!(error.suggestion, suggestion, "{text}");
        assert!(!error.to_string().is_empty());
    }
    let error = Format::parse(&many, &mut Captures::new()).expect_err("there are too many");
    assert_eq!(error.kind, Kind::TooManyCaptures);
    assert_eq!(&many[error.span], "{request_header.X-32}");
}
