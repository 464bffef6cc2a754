//! Owns where lines of the access log go: each kind of target, several of them, rotation, and reloads.
//!
//! Leaves what a line says to `log_requests`. Invariant: what is expected of a target is read at its other end.

#[path = "support/access_log.rs"]
mod access_log;
#[path = "support/http.rs"]
mod support;

use access_log::{DROPPED, Line, builder, read_lines, to, wait_written};
use std::io::Read;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::UnixDatagram;
use support::client;
use tidegate_testkit::{
    Deadline, LogLine, Origin, Output, PATIENCE, Signal, Tidegate, script, site,
};

fn origin() -> Origin {
    Origin::start(script::answer_ok("hello"))
}

/// Asks for `/0`, `/1`, … on one connection.
#[track_caller]
fn ask(tidegate: &Tidegate, count: usize) {
    let mut client = client(tidegate);
    for number in 0..count {
        assert_eq!(client.get(&format!("/{number}")).status, 200);
    }
}

/// The message of a syslog line with this header, which ends in `tidegate[PID]: `.
#[track_caller]
fn without_header<'a>(text: &'a str, tidegate: &Tidegate, start: &str, tag: &str) -> &'a str {
    assert!(text.starts_with(start), "{text}");
    let mark = format!(" {tag}[{}]: ", tidegate.process().id());
    text.split_once(&mark).unwrap_or_else(|| panic!("no {mark:?} in {text}")).1
}

/// Whether these are the lines of [`ask`], from the first on.
#[track_caller]
fn expect_asked<'a>(lines: impl IntoIterator<Item = &'a str>, count: usize) {
    let lines: Vec<Line> = lines.into_iter().map(Line::parse).collect();
    assert_eq!(lines.len(), count);
    for (number, line) in lines.iter().enumerate() {
        assert_eq!(line.request, format!("GET /{number} HTTP/1.1"));
    }
}

#[test]
fn a_datagram_socket_gets_a_message_for_each_request() {
    let builder = builder();
    let path = builder.directory().join("log.sock");
    let socket = UnixDatagram::bind(&path).expect("the path is free");
    socket.set_read_timeout(Some(PATIENCE)).expect("a duration");
    let origin = origin();
    // By its name, and as what is found at a path, where a file's framing is usual.
    for target in [format!("unix://{}", path.display()), path.display().to_string()] {
        let config = site(1, [origin.address()])
            + &format!(
                "global.log = {{ to = \"{target}\", facility = \"local3\", tag = \"lb\", framing = \"rfc3164\" }}\n"
            );
        let tidegate = access_log::builder().start(&config);
        ask(&tidegate, 3);
        let mut message = [0; 9000];
        for number in 0..3 {
            let length = socket.recv(&mut message).expect("a message comes");
            let text = std::str::from_utf8(&message[..length]).expect("text");
            // local3.info
            let line = Line::parse(without_header(text, &tidegate, "<158>", "lb"));
            assert_eq!(line.request, format!("GET /{number} HTTP/1.1"));
        }
    }
}

#[test]
fn udp_names_the_host_and_the_severity() {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    socket.set_read_timeout(Some(PATIENCE)).expect("a duration");
    let refusing = Origin::start(script::answer(script::response(404, "Not Found", &[], "")));
    let address = socket.local_addr().expect("bound");
    let config = site(1, [refusing.address()])
        + &format!(
            "global.log = {{ to = \"udp://{address}\", framing = \"rfc5424\", host = \"lb1\" }}\n"
        );
    let tidegate = builder().start(&config);
    client(&tidegate).get("/");
    let mut message = [0; 9000];
    let length = socket.recv(&mut message).expect("a message comes");
    let text = std::str::from_utf8(&message[..length]).expect("text");
    // local0.notice
    assert!(text.starts_with("<133>1 2"), "{text}");
    let mark = format!("Z lb1 tidegate {} - - ", tidegate.process().id());
    let (_, line) = text.split_once(&mark).unwrap_or_else(|| panic!("no {mark:?} in {text}"));
    assert_eq!(Line::parse(line).status, 404);
}

#[test]
fn tcp_carries_messages_with_their_length_and_is_opened_again() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let origin = origin();
    let config = site(1, [origin.address()])
        + &format!("global.log = {{ to = \"tcp://{address}\", host = \"lb1\" }}\n");
    let tidegate = builder().start(&config);
    listener.set_nonblocking(true).expect("a socket");
    for round in 0..2 {
        ask(&tidegate, 2);
        let accepted = || listener.accept().ok();
        let (mut stream, _) = tidegate.process().wait_until("a connection", accepted);
        stream.set_nonblocking(false).expect("a socket");
        stream.set_read_timeout(Some(PATIENCE)).expect("a duration");
        for number in 0..2 {
            let mut length = String::new();
            let mut byte = [0];
            while !length.ends_with(' ') {
                stream.read_exact(&mut byte).expect("a length comes");
                length.push(byte[0].into());
            }
            let mut message = vec![0; length.trim_end().parse().expect("a number")];
            stream.read_exact(&mut message).expect("a message comes");
            let text = String::from_utf8(message).expect("text");
            let line = Line::parse(without_header(&text, &tidegate, "<134>", "lb1 tidegate"));
            assert_eq!(line.request, format!("GET /{number} HTTP/1.1"), "round {round}");
        }
        // The next round is on another connection, once the end of this one has been heard of.
        drop(stream);
        if round == 0 {
            tidegate.wait_log(|line| line.is_event("access_log_failed"));
        }
    }
    tidegate.wait_log(|line| line.is_event("access_log_restored"));
}

#[test]
fn both_outputs_are_targets() {
    let origin = origin();
    for (name, output) in [("stdout", Output::Stdout), ("stderr", Output::Stderr)] {
        let config = site(1, [origin.address()]) + &format!("global.log.to = \"{name}\"\n");
        let tidegate = builder().start(&config);
        ask(&tidegate, 3);
        let is_last = |line: &LogLine| line.text.ends_with("\"GET /2 HTTP/1.1\"");
        tidegate.wait_log(is_last);
        let lines = tidegate.process().lines();
        let of_requests = lines.iter().filter(|line| line.text.ends_with("HTTP/1.1\""));
        let of_requests: Vec<&LogLine> = of_requests.collect();
        assert!(of_requests.iter().all(|line| line.output == output), "{name}: {lines:?}");
        expect_asked(of_requests.iter().map(|line| &*line.text), 3);
    }
}

#[test]
fn each_of_several_targets_gets_every_line() {
    let builder = builder();
    let paths = ["one", "two"].map(|name| builder.directory().join(name));
    let targets = paths.each_ref().map(|path| format!("{:?}", path.display().to_string()));
    let origin = origin();
    let more = format!("global.log.to = [{}]\n", targets.join(", "));
    let tidegate = builder.start(&(site(1, [origin.address()]) + &more));
    ask(&tidegate, 5);
    wait_written(&tidegate, 10);
    for path in &paths {
        expect_asked(read_lines(path).iter().map(String::as_str), 5);
    }
}

#[test]
fn a_rotated_file_is_opened_anew_whatever_the_configuration_is_worth() {
    let builder = builder();
    let path = builder.directory().join("access.log");
    let origin = origin();
    let config = site(2, [origin.address()]) + &to(&path);
    let tidegate = builder.start(&config);
    let mut written = 0;
    for (round, config) in [&*config, "no configuration"].into_iter().enumerate() {
        ask(&tidegate, 20);
        written += 20;
        wait_written(&tidegate, written);
        let rotated = path.with_extension(format!("{round}"));
        std::fs::rename(&path, &rotated).expect("it is there");
        // Until the signal lines go to the file that they went to.
        ask(&tidegate, 1);
        written += 1;
        wait_written(&tidegate, written);
        tidegate.reload(config);
        ask(&tidegate, 1);
        written += 1;
        wait_written(&tidegate, written);
        let lines = read_lines(&rotated);
        expect_asked(lines[lines.len() - 21..lines.len() - 1].iter().map(String::as_str), 20);
        expect_asked(read_lines(&path).iter().map(String::as_str), 1);
    }
    assert_eq!(tidegate.metrics().count(DROPPED, &[]), 0);
}

#[test]
fn a_reload_changes_targets_and_formats_and_loses_no_line() {
    let builder = builder();
    let paths = ["one", "two"].map(|name| builder.directory().join(name));
    let origin = origin();
    let plain = site(2, [origin.address()]);
    let tidegate = builder.start(&(plain.clone() + &to(&paths[0])));
    ask(&tidegate, 10);
    let reload = |config: &str| assert!(tidegate.reload(config).is_event("reloaded"));
    reload(&(plain.clone() + &to(&paths[1]) + "defaults.log_format = \"{status} {target}\"\n"));
    ask(&tidegate, 10);
    reload(&plain);
    ask(&tidegate, 10);
    reload(&(plain + &to(&paths[0])));
    ask(&tidegate, 10);
    wait_written(&tidegate, 30);
    let lines = read_lines(&paths[0]);
    expect_asked(lines[..10].iter().map(String::as_str), 10);
    expect_asked(lines[10..].iter().map(String::as_str), 10);
    let expected: Vec<String> = (0..10).map(|number| format!("200 /{number}")).collect();
    assert_eq!(read_lines(&paths[1]), expected);
    assert_eq!(tidegate.metrics().count(DROPPED, &[]), 0);
}

#[test]
fn a_target_that_cannot_be_opened_is_refused() {
    let origin = origin();
    let plain = site(1, [origin.address()]);
    let config = plain.clone() + "global.log.to = \"/nowhere/at/all/access.log\"\n";
    let exit = builder().run_to_exit(&config);
    let said = exit.stderr_text();
    assert!(said.contains("start_failed") && said.contains("/nowhere/at/all/access.log"), "{said}");
    let tidegate = builder().start(&plain);
    let line = tidegate.reload(&config);
    assert!(line.is_event("reload_failed"), "{}", line.text);
    assert!(
        line.text.contains("cannot open the access log /nowhere/at/all/access.log"),
        "{}",
        line.text
    );
    ask(&tidegate, 1);
}

#[test]
fn what_was_answered_before_the_end_is_written_before_the_end() {
    for signal in [Signal::TERM, Signal::INT] {
        let builder = builder();
        let path = builder.directory().join("access.log");
        let origin = origin();
        let mut tidegate = builder.start(&(site(2, [origin.address()]) + &to(&path)));
        ask(&tidegate, 500);
        tidegate.signal(signal);
        assert!(tidegate.wait_exit(Deadline::default()).success());
        expect_asked(read_lines(&path).iter().map(String::as_str), 500);
    }
}
