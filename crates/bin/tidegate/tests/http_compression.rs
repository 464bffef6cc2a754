//! Owns bodies that are compressed on their way: that they decode to what the server sent, arrive when they are news, and are
//! never taken for whole when they are not.
//!
//! Leaves heads, and which responses are compressed, to `http_compression_heads`, and memory to `http_memory`. Invariant:
//! bodies are decoded by curl, which shares no code with the program.

#[path = "support/http.rs"]
mod support;

use std::io;
use std::process::Command;

use support::{builder, chunked, client, on_one_and_two_shards, start, wait_in_flight};
use tidegate_testkit::tools::{curl_ok, require_tool};
use tidegate_testkit::{
    Connection, Deadline, Framing, Gate, Origin, Process, Request, Response, Rng, TempDir,
    Tidegate, json, script, seed, site,
};

const CODINGS: [&str; 3] = ["gzip", "br", "zstd"];

/// Sizes around those that buffers and blocks have.
const SIZES: [usize; 10] =
    [1, 100, 1_000, 16_376, 16_384, 32_768, 65_537, 131_073, 300_000, 2_000_000];

/// Text that compresses, noise that does not, and noise behind text.
fn body(kind: &str, size: usize) -> Vec<u8> {
    let text = || if size < 100 { vec![b'x'; size] } else { json(size as u64, size) };
    let noise = |count| Rng::new(size as u64).bytes(count);
    match kind {
        "text" => text(),
        "noise" => noise(size),
        _ => [&text()[..size / 2], &noise(size - size / 2)].concat(),
    }
}

const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Kept: yes\r\n";

/// Answers `/framing/kind/size` so.
fn serve(mut connection: Connection) -> io::Result<()> {
    while let Some(request) = connection.read_request()? {
        let parts: Vec<&str> = request.target.split('/').skip(1).collect();
        let &[framing, kind, size] = parts.as_slice() else { panic!("{}", request.target) };
        let body = body(kind, size.parse().expect("a size"));
        match framing {
            "length" => {
                let length = format!("{HEAD}Content-Length: {}\r\n\r\n", body.len());
                connection.send([length.as_bytes(), &body].concat())?;
            }
            "pieces" => {
                connection.send(format!("{HEAD}Content-Length: {}\r\n\r\n", body.len()))?;
                body.chunks(1 + body.len() / 7).try_for_each(|piece| connection.send(piece))?;
            }
            "chunks" => {
                let chunks = chunked(&body, 1 + body.len() / 50);
                let head = format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n");
                connection.send([head.as_bytes(), &chunks].concat())?;
            }
            _ => {
                connection.send(format!("{HEAD}\r\n"))?;
                connection.send(&body)?;
                return connection.finish();
            }
        }
    }
    Ok(())
}

const EVERYTHING: &str = "frontends.web.compression = { types = [\"*/*\"], min_size = \"0B\", codings = [\"gzip\", \"br\", \"zstd\"] }";

/// Fetches all of them with one curl, which decodes them, and compares them.
fn fetch(tidegate: &Tidegate, coding: &str, version: &str, targets: &[String]) {
    let directory = TempDir::new();
    let mut arguments = vec![
        "--compressed".to_owned(),
        version.to_owned(),
        "--header".to_owned(),
        format!("Accept-Encoding: {coding}"),
        "--write-out".to_owned(),
        "%{http_code} %header{content-encoding} %header{x-kept}\n".to_owned(),
    ];
    let address = tidegate.address("web");
    let file = |number: usize| directory.file(&number.to_string());
    for (number, target) in targets.iter().enumerate() {
        arguments.push(format!("http://{address}{target}"));
        arguments.push("--output".to_owned());
        arguments.push(file(number).display().to_string());
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let written = curl_ok(&arguments);
    let lines: Vec<&str> = written.lines().collect();
    assert_eq!(lines, vec![format!("200 {coding} yes"); targets.len()], "{targets:?}");
    for (number, target) in targets.iter().enumerate() {
        let parts: Vec<&str> = target.split('/').skip(2).collect();
        let expected = body(parts[0], parts[1].parse().expect("a size"));
        let fetched = std::fs::read(file(number)).expect("curl has written it");
        assert!(fetched == expected, "{coding} {target}: {} bytes came", fetched.len());
    }
}

#[test]
fn every_body_decodes_to_what_the_server_sent() {
    on_one_and_two_shards(|shards| {
        let origin = Origin::start(serve);
        let tidegate = start(shards, [origin.address()], EVERYTHING);
        let mut targets = Vec::new();
        for framing in ["length", "pieces", "chunks", "close"] {
            for kind in ["text", "noise", "mixed"] {
                targets.extend(SIZES.map(|size| format!("/{framing}/{kind}/{size}")));
            }
        }
        for coding in CODINGS {
            fetch(&tidegate, coding, "--http1.1", &targets);
        }
        let metrics = tidegate.metrics();
        for coding in CODINGS {
            for side in ["frontend", "backend"] {
                let name = format!("tidegate_{side}_responses_compressed_total");
                let count = metrics.count(&name, &[("coding", coding)]);
                assert_eq!(count, targets.len() as u64, "{name} {coding}");
            }
        }
        let bytes = 3 * 4 * 3 * SIZES.iter().sum::<usize>() as u64;
        for side in ["frontend", "backend"] {
            let of = |what| metrics.count(&format!("tidegate_{side}_compression_{what}"), &[]);
            assert_eq!(of("in_bytes_total"), bytes);
            assert!((1..bytes).contains(&of("out_bytes_total")));
            assert_eq!(of("skipped_total"), 0);
        }
    });
}

#[test]
fn a_client_that_speaks_http10_gets_it_until_the_connection_closes() {
    let origin = Origin::start(serve);
    let tidegate = start(1, [origin.address()], EVERYTHING);
    let targets: Vec<String> = ["length", "chunks", "close"]
        .iter()
        .flat_map(|framing| SIZES.map(|size| format!("/{framing}/text/{size}")))
        .collect();
    for coding in CODINGS {
        fetch(&tidegate, coding, "--http1.0", &targets);
    }
    let mut client = client(&tidegate);
    client.send(
        "GET /chunks/text/100 HTTP/1.0\r\nConnection: keep-alive\r\nAccept-Encoding: br\r\n\r\n",
    );
    let response = client.read_response();
    assert_eq!(response.framing, Framing::UntilClose);
    assert_eq!(response.headers.value("connection"), Some("close"));
    assert_eq!(response.headers.value("content-encoding"), Some("br"));
}

/// A gzip client's answer to a GET.
#[track_caller]
fn get(client: &mut tidegate_testkit::Client, target: &str) -> Response {
    client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n"));
    client.read_response()
}

#[test]
fn trailers_follow_the_coded_body() {
    let trailers = "0\r\nX-Sum: 1\r\nX-Two: a\r\n\r\n";
    let message = format!(
        "{HEAD}Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n5;secret=1\r\nhello\r\n{trailers}"
    );
    let origin = Origin::start(move |mut connection: Connection| {
        while let Some(request) = connection.read_request()? {
            match &*request.target {
                "/bytewise" => connection.send_bytewise(&message)?,
                _ => connection.send(&message)?,
            }
        }
        Ok(())
    });
    let tidegate = start(1, [origin.address()], EVERYTHING);
    let mut client = client(&tidegate);
    for target in ["/", "/bytewise", "/"] {
        let response = get(&mut client, target);
        assert_eq!(response.headers.value("content-encoding"), Some("gzip"), "{target}");
        assert_eq!(response.trailers.value("x-sum"), Some("1"), "{target}");
        assert_eq!(response.trailers.value("x-two"), Some("a"), "{target}");
    }
    assert_eq!(origin.connections_count(), 1);
    let url = format!("http://{}/", tidegate.address("web"));
    assert_eq!(curl_ok(&["--compressed", &url]), "hello");
}

#[test]
fn events_arrive_while_the_server_pauses() {
    for coding in CODINGS {
        let gates: Vec<Gate> = (0..3).map(|_| Gate::new()).collect();
        let opened = gates.clone();
        let origin = Origin::start(move |mut connection: Connection| {
            let Some(_) = connection.read_request()? else { return Ok(()) };
            connection.send(
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
            )?;
            for (number, gate) in opened.iter().enumerate() {
                let event = format!("data: {number}\n\n");
                connection.send(format!("{:x}\r\n{event}\r\n", event.len()))?;
                gate.wait();
            }
            connection.send("0\r\n\r\n")
        });
        let tidegate = start(1, [origin.address()], "frontends.web.compression = {}");
        let mut command = Command::new(require_tool("curl"));
        command.args(["--disable", "--silent", "--no-buffer", "--compressed", "--header"]);
        command.arg(format!("Accept-Encoding: {coding}"));
        command.arg(format!("http://{}/", tidegate.address("web")));
        let reader = Process::spawn("curl", command);
        for (number, gate) in gates.iter().enumerate() {
            // The server sends nothing further until this one has arrived.
            reader.wait_line(|line| line.text == format!("data: {number}"));
            gate.open();
        }
        assert!(reader.into_exit(Deadline::default()).status.success(), "{coding}");
        let compressed = tidegate
            .metrics()
            .count("tidegate_frontend_responses_compressed_total", &[("coding", coding)]);
        assert_eq!(compressed, 1);
    }
}

#[test]
fn the_head_does_not_wait_for_the_body() {
    let gate = Gate::new();
    let opened = gate.clone();
    let origin = Origin::start(move |mut connection: Connection| {
        let Some(_) = connection.read_request()? else { return Ok(()) };
        connection.send(format!("{HEAD}\r\n"))?;
        opened.wait();
        Ok(())
    });
    let tidegate = start(1, [origin.address()], EVERYTHING);
    let mut client = client(&tidegate);
    client.send("GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n");
    assert_eq!(client.read_head().headers.value("content-encoding"), Some("gzip"));
    gate.open();
}

/// Sends a part of a response, and ends the connection in the way that the target names.
fn breaks_off(mut connection: Connection) -> io::Result<()> {
    let Some(Request { target, .. }) = connection.read_request()? else { return Ok(()) };
    let part = json(1, 50_000);
    let sized = format!("{HEAD}Content-Length: 100000\r\n\r\n");
    let chunked_head = format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n");
    match target.as_str() {
        "/length" => connection.send([sized.as_bytes(), &part].concat()),
        "/head" => connection.send(sized),
        "/chunks" => connection.send([chunked_head.as_bytes(), b"fffff\r\n", &part].concat()),
        "/last" => connection.send([chunked_head.as_bytes(), b"5\r\nhello\r\n0\r\n"].concat()),
        "/trailer" => {
            connection.send([chunked_head.as_bytes(), b"5\r\nhello\r\n0\r\nX: y\r\n"].concat())
        }
        "/reset" => {
            connection.send([sized.as_bytes(), &part].concat())?;
            connection.reset()
        }
        _ => {
            connection.send([chunked_head.as_bytes(), b"c350\r\n", &part, b"\r\n"].concat())?;
            connection.send("broken\r\n")?;
            connection.finish()
        }
    }
}

#[test]
fn a_body_that_breaks_off_is_not_taken_for_whole() {
    let origin = Origin::start(breaks_off);
    let tidegate = start(1, [origin.address()], EVERYTHING);
    for target in ["/length", "/head", "/chunks", "/last", "/trailer", "/reset", "/broken"] {
        for coding in CODINGS {
            let mut client = client(&tidegate);
            client.send(format!(
                "GET {target} HTTP/1.1\r\nHost: a\r\nAccept-Encoding: {coding}\r\n\r\n"
            ));
            let head = client.read_head();
            assert_eq!(head.headers.value("content-encoding"), Some(coding), "{target}");
            let rest = client.read_to_end();
            assert!(!rest.ends_with(b"0\r\n\r\n"), "{target} {coding}: it looks whole");
            let mut client = support::client(&tidegate);
            client.send(format!("GET {target} HTTP/1.0\r\nAccept-Encoding: {coding}\r\n\r\n"));
            let ended = client.try_read_response_to("GET").expect_err("it is cut");
            assert_eq!(ended.kind(), io::ErrorKind::ConnectionReset, "{target} {coding}");
        }
    }
}

#[test]
fn a_part_that_is_broken_at_once_is_answered_as_ever() {
    let origin = Origin::start(script::answer_and_close(format!(
        "{HEAD}Transfer-Encoding: chunked\r\n\r\nbroken\r\n"
    )));
    let tidegate = start(1, [origin.address()], EVERYTHING);
    let response = get(&mut client(&tidegate), "/");
    assert_eq!(response.status, 502);
    assert!(!response.headers.contains("content-encoding"));
}

#[test]
fn with_all_encoders_at_work_responses_are_sent_as_they_are() {
    // An encoder of brotli's level 5 costs 6 MiB of the shard's 64.
    const ENCODERS_MAX: usize = 10;
    let gate = Gate::new();
    let opened = gate.clone();
    let origin = Origin::start(move |mut connection: Connection| {
        while let Some(request) = connection.read_request()? {
            connection.send(format!("{HEAD}Content-Length: 10\r\n\r\n01234"))?;
            if request.target == "/slow" {
                opened.wait();
            }
            connection.send("56789")?;
        }
        Ok(())
    });
    let text = site(1, [origin.address()])
        + "frontends.web.compression = { min_size = \"0B\", level = { br = 5 } }\n";
    let tidegate = builder().start(&text);
    let request =
        |target: &str| format!("GET {target} HTTP/1.1\r\nHost: a\r\nAccept-Encoding: br\r\n\r\n");
    let mut slow: Vec<_> = (0..ENCODERS_MAX).map(|_| client(&tidegate)).collect();
    for client in &mut slow {
        client.send(request("/slow"));
    }
    origin.wait_requests(ENCODERS_MAX);
    wait_in_flight(&tidegate, ENCODERS_MAX as u64);
    tidegate.wait_metrics("all encoders are at work", |metrics| {
        metrics.count("tidegate_frontend_responses_compressed_total", &[]) == ENCODERS_MAX as u64
    });
    let mut late = client(&tidegate);
    late.send(request("/"));
    let response = late.read_response();
    assert_eq!((response.text(), response.framing), ("0123456789", Framing::Length(10)));
    assert_eq!(response.headers.value("vary"), Some("Accept-Encoding"));
    assert!(!response.headers.contains("content-encoding"));
    for side in ["frontend", "backend"] {
        let name = format!("tidegate_{side}_compression_skipped_total");
        assert_eq!(tidegate.metrics().count(&name, &[]), 1);
    }
    gate.open();
    for client in &mut slow {
        assert_eq!(client.read_response().headers.value("content-encoding"), Some("br"));
    }
    late.send(request("/"));
    assert_eq!(late.read_response().headers.value("content-encoding"), Some("br"));
}

#[test]
fn a_client_that_leaves_gives_its_encoder_back() {
    let origin = Origin::start(|mut connection: Connection| {
        let Some(_) = connection.read_request()? else { return Ok(()) };
        connection.send(format!("{HEAD}\r\n01234"))?;
        connection.hang()
    });
    let text = site(1, [origin.address()])
        + "frontends.web.compression = { min_size = \"0B\", level = { br = 6 } }\n";
    let tidegate = builder().start(&text);
    // More than there are encoders, one after the other.
    for _ in 0..20 {
        let mut client = client(&tidegate);
        client.send("GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: br\r\n\r\n");
        assert_eq!(client.read_head().headers.value("content-encoding"), Some("br"));
        drop(client);
        support::wait_nothing_in_flight(&tidegate);
    }
}

/// Chunks of any sizes, in segments of any sizes, with pauses.
#[test]
fn random_pieces_are_joined_again() {
    let seed = seed();
    let mut rng = seed.rng();
    let bodies: Vec<Vec<u8>> = (0..12)
        .map(|number| {
            let length = 100 + rng.below(200_000);
            json(number, length)
        })
        .collect();
    let messages: Vec<Vec<Vec<u8>>> = bodies
        .iter()
        .map(|body| {
            let mut message = format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
            let mut rest = body.as_slice();
            while !rest.is_empty() {
                let (chunk, after) = rest.split_at((1 + rng.below(40_000)).min(rest.len()));
                message.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                message.extend_from_slice(chunk);
                message.extend_from_slice(b"\r\n");
                rest = after;
            }
            message.extend_from_slice(b"0\r\n\r\n");
            let mut segments = Vec::new();
            while !message.is_empty() {
                let rest = message.split_off((1 + rng.below(50_000)).min(message.len()));
                segments.push(std::mem::replace(&mut message, rest));
            }
            segments
        })
        .collect();
    let origin = Origin::start(move |mut connection: Connection| {
        while let Some(request) = connection.read_request()? {
            let number: usize = request.target[1..].parse().expect("a number");
            messages[number].iter().try_for_each(|segment| connection.send(segment))?;
        }
        Ok(())
    });
    let tidegate = start(1, [origin.address()], EVERYTHING);
    for coding in CODINGS {
        for (number, body) in bodies.iter().enumerate() {
            let url = format!("http://{}/{number}", tidegate.address("web"));
            let header = format!("Accept-Encoding: {coding}");
            let text = curl_ok(&["--compressed", "--header", &header, &url]);
            assert!(text.as_bytes() == body, "{coding} {number}, {} bytes", body.len());
        }
    }
}
