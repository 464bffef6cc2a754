//! Checks against scripted servers: what is sent, and what the answers come to, however they are split.

use tidegate_health::{
    ANSWER_BYTES_MAX, AgentReport, Conversation, Fault, HttpCheck, Next, Outcome, Pattern, Preset,
    Probe, StatusSet, Step,
};
use tidegate_testkit::Rng;

/// The other side: what it says after so many bytes from here.
struct Script<'a>(&'a [(&'a [u8], &'a [u8])]);

/// Runs a check against `script`: after each expected text has come, its answer is said in pieces; then the server
/// closes.
fn run(probe: &Probe, script: &Script<'_>, rng: &mut Rng) -> Outcome {
    let mut conversation = Conversation::new(probe, "10.0.0.1:80");
    let mut turns = script.0.iter();
    let mut heard = Vec::new();
    let mut pending: Vec<u8> = Vec::new();
    let mut turn = turns.next();
    let mut next = conversation.connected();
    loop {
        if let Some((wanted, answer)) = turn
            && heard == *wanted
        {
            pending.extend_from_slice(answer);
            heard.clear();
            turn = turns.next();
        }
        next = match next {
            Next::Ended(outcome) => return outcome,
            Next::Send(bytes) => {
                heard.extend_from_slice(&bytes);
                conversation.sent()
            }
            Next::Receive if pending.is_empty() => return conversation.closed(),
            Next::Receive => {
                let count = 1 + rng.below(pending.len());
                let piece: Vec<u8> = pending.drain(..count).collect();
                conversation.received(&piece)
            }
        };
    }
}

#[track_caller]
fn check(probe: &Probe, script: &[(&[u8], &[u8])], expected: Result<(), Fault>) {
    for seed in 0..20 {
        let outcome = run(probe, &Script(script), &mut Rng::new(seed));
        let came = match &outcome {
            Outcome::Passed => Ok(()),
            Outcome::Failed(failure) => Err(failure.fault),
            other => panic!("{other:?}"),
        };
        assert_eq!(came, expected, "{outcome:?}, seed {seed}");
    }
}

fn http(expect_body: Option<Pattern>) -> HttpCheck {
    HttpCheck {
        method: "GET".into(),
        path: "/health".into(),
        host: None,
        headers: Vec::new(),
        body: Vec::new(),
        expect_status: StatusSet::range(200, 399),
        expect_body,
    }
}

const REQUEST: &[u8] = b"GET /health HTTP/1.1\r\nHost: 10.0.0.1:80\r\n\
    User-Agent: tidegate-health-check\r\nConnection: close\r\n\r\n";

#[test]
fn a_response_is_judged_by_its_status() {
    let probe = Probe::Http(Box::new(http(None)));
    for (answer, expected) in [
        (&b"HTTP/1.1 200 OK\r\n\r\n"[..], Ok(())),
        (b"HTTP/1.0 302 Found\r\nContent-Length: 1000\r\n\r\n", Ok(())),
        (b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", Ok(())),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", Err(Fault::Status)),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 400 Bad\r\n\r\n", Err(Fault::Status)),
        (b"HTTP/1.1 700 What\r\n\r\n", Err(Fault::Status)),
        (b"HTTP/1.1 200 OK\r\n", Err(Fault::Closed)),
        (b"", Err(Fault::Closed)),
        (b"220 smtp\r\n\r\n", Err(Fault::Malformed)),
        (b"HTTP/2 200 OK\r\n\r\n", Err(Fault::Malformed)),
    ] {
        check(&probe, &[(REQUEST, answer)], expected);
    }
}

#[test]
fn a_body_must_hold_the_text_or_match_the_expression() {
    let text = Probe::Http(Box::new(http(Some(Pattern::text("all good")))));
    let regex = Probe::Http(Box::new(http(Some(Pattern::regex("^ok$").expect("valid")))));
    let endless = [b"HTTP/1.1 200 OK\r\n\r\n", &[b'x'; 2 * ANSWER_BYTES_MAX][..]].concat();
    for (probe, answer, expected) in [
        (&text, &b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nyes, all good"[..], Ok(())),
        (&text, b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nall good", Err(Fault::Body)),
        (&text, b"HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\nbut cut", Err(Fault::Closed)),
        (&text, b"HTTP/1.1 200 OK\r\n\r\nuntil the end all good.", Ok(())),
        (&text, b"HTTP/1.1 200 OK\r\n\r\nuntil the end", Err(Fault::Body)),
        (&text, b"HTTP/1.1 204 No Content\r\n\r\n", Err(Fault::Body)),
        (
            &text,
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nall \r\n4\r\ngood\r\n0\r\n\r\n",
            Ok(()),
        ),
        (
            &text,
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nall\r\n0\r\n\r\n good",
            Err(Fault::Body),
        ),
        (
            &text,
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
            Err(Fault::Malformed),
        ),
        (&text, &endless, Err(Fault::Body)),
        (&regex, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Ok(())),
        (&regex, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nokay", Err(Fault::Body)),
        (&regex, b"HTTP/1.1 500 Bad\r\nContent-Length: 2\r\n\r\nok", Err(Fault::Status)),
    ] {
        check(probe, &[(REQUEST, answer)], expected);
    }
}

#[test]
fn a_request_says_what_is_configured() {
    let check = HttpCheck {
        method: "POST".into(),
        path: "/ping?deep".into(),
        host: Some("www.example.com".into()),
        headers: vec![("user-agent".into(), "probe".into()), ("X-A".into(), "1".into())],
        body: b"hello".to_vec(),
        ..http(None)
    };
    let expected: &[u8] =
        b"POST /ping?deep HTTP/1.1\r\nHost: www.example.com\r\nuser-agent: probe\r\n\
        X-A: 1\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
    assert_eq!(check.request("10.0.0.1:80"), expected);
    // A HEAD response has no body, whatever it announces.
    let head = Probe::Http(Box::new(HttpCheck { method: "HEAD".into(), ..http(None) }));
    let mut conversation = Conversation::new(&head, "a:1");
    assert!(matches!(conversation.connected(), Next::Send(_)));
    let next = conversation.received(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
    assert_eq!(next, Next::Ended(Outcome::Passed));
}

#[test]
fn steps_are_gone_through_in_their_order() {
    let expect = |text: &str| Step::Expect { pattern: Pattern::text(text), refusal: None };
    let probe = Probe::Exchange(vec![
        expect("hello"),
        Step::Send(b"who".to_vec()),
        Step::Send(b"?".to_vec()),
        expect("me"),
        expect("me"),
        Step::Send(b"bye".to_vec()),
    ]);
    check(&probe, &[(b"", b"hello"), (b"who?", b"me and me")], Ok(()));
    check(&probe, &[(b"", b"hello"), (b"who?", b"me")], Err(Fault::Closed));
    check(&probe, &[(b"", b"me me hell")], Err(Fault::Closed));
    check(&probe, &[(b"", &[b'x'; 2 * ANSWER_BYTES_MAX])], Err(Fault::Unexpected));
    check(&Probe::Exchange(Vec::new()), &[], Ok(()));
    check(&Probe::Tcp, &[], Ok(()));
}

#[test]
fn presets_know_a_service_that_is_well_from_one_that_is_not() {
    let preset = |preset: Preset, user| Probe::Exchange(preset.steps(user));
    let ping: &[u8] = b"*1\r\n$4\r\nPING\r\n";
    check(&preset(Preset::Redis, None), &[(ping, b"+PONG\r\n")], Ok(()));
    let loading: &[u8] = b"-LOADING Redis is loading the dataset in memory\r\n";
    check(&preset(Preset::Redis, None), &[(ping, loading)], Err(Fault::Unexpected));

    let greeting: &[u8] = b"\x4a\x00\x00\x00\x0a8.0.36\x00\x08\x00\x00\x00\x01\x02\x03\x04\x05\x06\x07\x08\x00\xff\xff\xff";
    check(&preset(Preset::MySql, None), &[(b"", greeting)], Ok(()));
    let full: &[u8] = b"\x17\x00\x00\x00\xff\x10\x04Too many connections";
    check(&preset(Preset::MySql, None), &[(b"", full)], Err(Fault::Unexpected));
    let capabilities: &[u8] = b"\x27\0\0\x01\x01\x82\0\0\0\0\0\x01\x21";
    let login = [capabilities, &[0; 23], b"check\0\0"].concat();
    let user = preset(Preset::MySql, Some("check"));
    check(
        &user,
        &[(b"", greeting), (&login, b"\x07\x00\x00\x02\x00\x00\x00\x02\x00\x00\x00")],
        Ok(()),
    );
    let denied: &[u8] = b"\x10\x00\x00\x02\xff\x15\x04#28000Access denied";
    check(&user, &[(b"", greeting), (&login, denied)], Err(Fault::Unexpected));

    let tls: &[u8] = b"\0\0\0\x08\x04\xd2\x16\x2f";
    check(&preset(Preset::PostgreSql, None), &[(tls, b"N")], Ok(()));
    check(&preset(Preset::PostgreSql, None), &[(tls, b"E\0\0\0")], Err(Fault::Unexpected));
    let startup: &[u8] = b"\0\0\0\x1d\0\x03\0\0user\0pg\0database\0pg\0\0";
    let user = preset(Preset::PostgreSql, Some("pg"));
    check(&user, &[(startup, b"R\0\0\0\x08\0\0\0\x03")], Ok(()));
    check(&user, &[(startup, b"E\0\0\0\x20SFATAL\0")], Err(Fault::Unexpected));

    let ehlo: &[u8] = b"EHLO tidegate.invalid\r\n";
    let answers: &[u8] = b"250-mail.example\r\n250-SIZE 10\r\n250 HELP\r\n";
    let smtp = preset(Preset::Smtp, None);
    let well: &[(&[u8], &[u8])] =
        &[(b"", b"220-mail\r\n220 ESMTP\r\n"), (ehlo, answers), (b"QUIT\r\n", b"221 Bye\r\n")];
    check(&smtp, well, Ok(()));
    check(&smtp, &[(b"", b"554 No SMTP service here\r\n")], Err(Fault::Unexpected));
    check(&smtp, &[(b"", b"220 x\r\n"), (ehlo, b"421 busy\r\n")], Err(Fault::Unexpected));
}

#[test]
fn an_agents_line_is_its_report() {
    let probe = Probe::Agent(b"state\n".to_vec());
    let report = AgentReport { up: Some(true), weight_percent: Some(75), ..AgentReport::default() };
    for (answer, expected) in
        [(&b"up 75%\n"[..], Outcome::Said(report.clone())), (b"up 75%", Outcome::Said(report))]
    {
        let script: [(&[u8], &[u8]); 1] = [(b"state\n", answer)];
        assert_eq!(run(&probe, &Script(&script), &mut Rng::new(1)), expected);
    }
    check(&probe, &[(b"state\n", b"nonsense\n")], Err(Fault::Agent));
    check(&probe, &[(b"state\n", &[b'x'; 2000])], Err(Fault::Agent));
    check(&probe, &[(b"state\n", b"")], Err(Fault::Closed));
}

#[test]
fn no_answer_makes_a_check_panic_or_hold_much() {
    let seed = tidegate_testkit::seed();
    let mut rng = seed.rng();
    let samples: [&[u8]; 6] = [
        b"HTTP/1.1 200 OK\r\n",
        b"\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"5\r\n",
        b"+",
        b"220 ",
    ];
    for _ in 0..2_000 {
        let probes = [
            Probe::Tcp,
            Probe::Http(Box::new(http(Some(Pattern::text("nowhere"))))),
            Probe::Exchange(Preset::ALL[rng.below(4)].1.steps(None)),
            Probe::Agent(Vec::new()),
        ];
        let mut conversation = Conversation::new(&probes[rng.below(4)], "a:1");
        let mut next = conversation.connected();
        for _ in 0..rng.below(12) {
            let piece =
                if rng.below(2) == 0 { rng.bytes(20) } else { rng.choose(&samples).to_vec() };
            next = match next {
                Next::Ended(_) => break,
                Next::Send(_) => conversation.sent(),
                Next::Receive => conversation.received(&piece),
            };
        }
        if next == Next::Receive {
            assert!(!matches!(conversation.timed_out(), Outcome::Passed));
        }
    }
}
