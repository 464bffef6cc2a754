//! What templates write.

mod support;

use support::{Request, names};
use tidegate_rules::{
    Attribute, Conditions, ControlByte, Environment, Key, Phase, Scratch, Template, Text, ValueMap,
};

fn compile(phase: Phase, text: &str) -> Template {
    let (mut names, conditions) = (names(), Conditions::default());
    let mut environment = Environment { names: &mut names, conditions: &conditions, phase };
    Template::compile(text, &mut environment).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn sample() -> Request {
    Request {
        method: b"GET".to_vec(),
        host: b"shop.example".to_vec(),
        path: b"/a".to_vec(),
        source: Some([10, 0, 0, 1].into()),
        code: 404,
        tls: true,
        rate: 0.25,
        map: ValueMap::from_text("shop.example blue").expect("a map"),
        ..Request::default()
    }
}

#[test]
fn templates_write_what_the_table_says() {
    let table = [
        ("", ""),
        ("plain", "plain"),
        ("app-{request.host}", "app-shop.example"),
        ("{request.host}-{request.method.lowerAscii()}!", "shop.example-get!"),
        ("{{{request.host}}}", "{shop.example}"),
        ("{{}}", "{}"),
        ("{now}", "1712345678123"),
        ("{source.ip}", "10.0.0.1"),
        ("{destination.ip}", ""),
        ("{response.code}/{connection.tls}/{rate(source.ip, \"per_client\")}", "404/true/0.25"),
        ("{ connection.tls ? \"on\" : \"off\" }", "on"),
        ("{lookup(\"hosts.map\", request.host)}", "blue"),
        ("{request.host + \"}\" + 'é{'}", "shop.example}é{"),
        ("{request.headers[\"x-none\"]}", ""),
        ("{request.id} {request.path.size()}", "id-1 2"),
        ("{response.code in [404] ? request.path : \"\"}", "/a"),
    ];
    let (request, mut scratch) = (sample(), Scratch::default());
    for (text, expected) in table {
        let mut out = b"> ".to_vec();
        compile(Phase::Response, text).write(&request, &mut scratch, &mut out);
        assert_eq!(String::from_utf8_lossy(&out), format!("> {expected}"), "{text}");
    }
}

#[test]
fn fields_of_the_log_are_known_to_the_log() {
    let (request, mut scratch, mut out) = (sample(), Scratch::default(), Vec::new());
    compile(Phase::Log, "{reason} {times.total_ms}").write(&request, &mut scratch, &mut out);
    assert_eq!(out, b"-- 41");
}

#[test]
fn control_bytes_are_refused_in_header_fields() {
    let template = compile(Phase::Request, "v={request.path}");
    let mut scratch = Scratch::default();
    for byte in 0..=u8::MAX {
        let mut request = sample();
        request.path = vec![b'a', byte, b'b'];
        let mut out = b"kept".to_vec();
        let written = template.write_field_value(&request, &mut scratch, &mut out);
        if (byte < 0x20 && byte != b'\t') || byte == 0x7f {
            assert_eq!((written, &*out), (Err(ControlByte(byte)), &b"kept"[..]));
        } else {
            assert_eq!(written, Ok(()));
            assert_eq!(out, [b"keptv=a", &[byte][..], b"b"].concat());
        }
    }
}

#[test]
fn literal_parts_are_known() {
    assert_eq!(compile(Phase::Request, "a{{b").as_literal(), Some(&b"a{b"[..]));
    assert_eq!(compile(Phase::Request, "").as_literal(), Some(&b""[..]));
    let template = compile(Phase::Request, "a{request.path}b");
    assert_eq!(template.as_literal(), None);
    assert_eq!(template.literals().collect::<Vec<_>>(), [b"a", b"b"]);
    assert!(template.uses().asks(Attribute::Text(Text::Path)));
}

#[test]
fn names_that_a_template_cannot_write_are_known() {
    let could = |text: &str, name: &str| compile(Phase::Request, text).could_write(name.as_bytes());
    assert!(could("app-{request.host}", "app-1"));
    assert!(could("app-{request.host}", "app-"));
    assert!(!could("app-{request.host}", "web"));
    assert!(could("{request.host}-app", "x-app"));
    assert!(!could("{request.host}-app", "x-apps"));
    assert!(could("a{request.host}b{request.path}c", "a1b2c"));
    assert!(!could("a{request.host}b{request.path}c", "a12c"));
    assert!(!could("ab{request.host}bc", "abc"));
    assert!(could("web", "web") && !could("web", "we"));
    assert!(could("{request.host}", ""));
}

#[test]
fn keys_are_addresses_or_texts() {
    let (mut names, conditions) = (names(), Conditions::default());
    let mut environment =
        Environment { names: &mut names, conditions: &conditions, phase: Phase::Request };
    let mut scratch = Scratch::default();
    let mut key = |text: &str| {
        let template = Template::compile_expression(text, &mut environment).expect("it is right");
        template.with_key(&sample(), &mut scratch, |key| match key {
            Key::Address(address) => format!("address {address}"),
            Key::Text(bytes) => format!("text {}", String::from_utf8_lossy(bytes)),
        })
    };
    assert_eq!(key("source.ip").as_deref(), Some("address 10.0.0.1"));
    assert_eq!(key("destination.ip"), None);
    assert_eq!(key("request.host").as_deref(), Some("text shop.example"));
    assert_eq!(key("request.host + request.path").as_deref(), Some("text shop.example/a"));
    assert_eq!(key("source.port").as_deref(), Some("text 0"));
}
