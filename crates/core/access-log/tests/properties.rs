//! Properties over random records: one line, harmless, bounded, and for JSON valid and true.

mod samples;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use samples::{example, line};
use tidegate_access_log::{
    Capture, Captures, Cookies, DateCache, Extra, Format, LINE_BYTES_MAX, Line, Micros,
    REQUEST_TARGET_BYTES_MAX, Record, Request, Times, Timestamp, Traffic, VALUE_BYTES_MAX,
};

/// What a peer can send: mostly bytes that hurt.
fn hostile(length: usize) -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"\r\n".to_vec()),
        Just(b"\"".to_vec()),
        Just(b"\\".to_vec()),
        Just(b"#{|}".to_vec()),
        Just("é\u{85}\u{2028}\u{2029}".as_bytes().to_vec()),
        Just(b"\xff\xe2\x82".to_vec()),
        Just(vec![b'a'; 300]),
        vec(any::<u8>(), 1..20),
    ];
    vec(piece, 0..length).prop_map(|pieces| pieces.concat())
}

#[derive(Debug)]
struct Parts {
    target: Vec<u8>,
    invalid: bool,
    cookie: Option<Vec<u8>>,
    id: Option<Vec<u8>>,
    headers: Vec<Option<Vec<u8>>>,
    extras: Vec<Vec<u8>>,
    name: String,
    number: u64,
}

fn parts() -> impl Strategy<Value = Parts> {
    (
        hostile(40),
        any::<bool>(),
        option::of(hostile(8)),
        option::of(hostile(8)),
        vec(option::of(hostile(6)), 0..32),
        vec(hostile(6), 0..40),
        "[a-z]{1,8}|\\PC{0,20}",
        any::<u64>(),
    )
        .prop_map(|(target, invalid, cookie, id, headers, extras, name, number)| Parts {
            target,
            invalid,
            cookie,
            id,
            headers,
            extras,
            name,
            number,
        })
}

fn with_record<T>(parts: &Parts, use_it: impl FnOnce(&Record<'_>) -> T) -> T {
    let headers: Vec<Capture<'_>> = parts
        .headers
        .iter()
        .map(|value| Capture { name: "X-A", value: value.as_deref() })
        .collect();
    let extras: Vec<Extra<'_>> =
        parts.extras.iter().map(|value| Extra { name: &parts.name, value }).collect();
    let request = if parts.invalid {
        Request::Invalid(&parts.target)
    } else {
        Request::Line { method: b"GET", target: &parts.target, version: "HTTP/1.1" }
    };
    let record = Record {
        started_at: Timestamp(parts.number),
        backend: Some(&parts.name),
        server: Some(&parts.name),
        request,
        times: Times {
            request_head: Some(Micros(parts.number)),
            queue: None,
            connect: None,
            response_head: None,
            total: Micros(parts.number >> 7),
        },
        traffic: Traffic { received: parts.number, sent: parts.number },
        request_headers: &headers,
        response_headers: &headers,
        cookies: Cookies {
            request: parts.cookie.as_deref(),
            response: parts.cookie.as_deref(),
            ..Cookies::default()
        },
        sni: parts.id.as_deref(),
        request_id: parts.id.as_deref(),
        extras: &extras,
        ..example()
    };
    use_it(&record)
}

fn written(format: &Format, record: &Record<'_>) -> Line {
    let mut line = Line::new();
    format.write(record, &mut DateCache::new(0), &mut line);
    line
}

/// The longest text that a cut value may have come from.
fn shown(value: &[u8], bytes_max: usize) -> String {
    String::from_utf8_lossy(&value[..value.len().min(bytes_max)]).into_owned()
}

/// `request_headers` with its quotes, so that a quote in a value would end it early.
const TEMPLATE: &str =
    "\"{request}\" \"{request_id}\" {request_headers} \"{field.a}\" \"{fields}\" {total_us}";

proptest! {
    #[test]
    fn a_record_is_one_printable_line_whatever_it_holds(parts in parts()) {
        let template = Format::parse(TEMPLATE, &mut Captures::new()).expect("the template is right");
        with_record(&parts, |record| {
            for format in [Format::HTTP, Format::TCP, template.clone()] {
                let line = written(&format, record);
                let text = line.as_bytes();
                assert!(text.len() <= LINE_BYTES_MAX);
                assert!(text.iter().all(|byte| (b' '..0x7F).contains(byte)), "{:?}", String::from_utf8_lossy(text));
            }
            let line = written(&Format::HTTP, record);
            let quotes = line.as_bytes().iter().filter(|byte| **byte == b'"').count();
            assert_eq!((quotes, line.as_bytes().last()), (2, Some(&b'"')));
            let blocks = line.as_bytes().iter().filter(|byte| matches!(byte, b'{')).count();
            let in_request = parts.target.iter().filter(|byte| **byte == b'{').count();
            let expected = if parts.headers.is_empty() { 0 } else { 2 };
            let in_request = if parts.invalid { 0 } else { in_request };
            assert!((expected..=expected + in_request).contains(&blocks));
        });
    }

    #[test]
    fn json_is_one_valid_object_that_says_what_came(parts in parts()) {
        with_record(&parts, |record| {
            let line = written(&Format::JSON, record);
            assert!(line.as_bytes().len() <= LINE_BYTES_MAX);
            let text = std::str::from_utf8(line.as_bytes()).expect("JSON is UTF-8");
            assert!(!text.chars().any(|one| one.is_control() || "\u{2028}\u{2029}".contains(one)), "{text}");
            let json: serde_json::Value = serde_json::from_str(text).expect("it is JSON");
            let key = if parts.invalid { "invalid_request" } else { "target" };
            let target = json[key].as_str().expect("it is text");
            let whole = shown(&parts.target, REQUEST_TARGET_BYTES_MAX);
            assert_eq!(json["truncated"] == true, line.is_cut());
            if line.is_cut() {
                assert!(whole.starts_with(target));
            } else {
                assert_eq!(target, whole);
                let id = parts.id.as_ref().map(|id| shown(id, VALUE_BYTES_MAX));
                assert_eq!(json["request_id"].as_str(), id.as_deref());
            }
            assert_eq!(json["total_us"].as_u64(), Some(parts.number >> 7));
            assert_eq!(json["bytes_sent"].as_u64(), Some(parts.number));
            let text = json["total_ms"].to_string();
            assert!(text.parse::<f64>().is_ok(), "{text}");
        });
    }

    #[test]
    fn templates_are_read_without_panic_and_written_without_control_characters(
        text in "([a-z {}.]|\\{status\\}|\\{\\{|\\}\\}|\\{field\\.a\\}){0,30}", parts in parts(),
    ) {
        if let Ok(format) = Format::parse(&text, &mut Captures::new()) {
            with_record(&parts, |record| {
                let line = line(&format, record);
                assert!(line.bytes().all(|byte| (b' '..0x7F).contains(&byte)));
            });
        }
    }
}
