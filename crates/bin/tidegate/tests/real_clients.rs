//! Clients that others have written, and scanners, against a frontend with TLS and both versions of HTTP.
//!
//! Owns that they are served and find nothing. Leaves curl, nghttp and h2load to the files of what they are used for.

#[path = "support/tls.rs"]
mod support;

use std::process::Command;

use support::{Ground, NAME, World};
use tidegate_testkit::{Deadline, Exit, Origin, Process, TempDir, script, tools};

/// The interpreter with the libraries that scripts/install-test-tools.sh installs.
const PYTHON: &str = "tidegate-test-python";

/// Runs a script to its end.
fn python(text: &str, arguments: &[&str]) -> Exit {
    tools::run(PYTHON, &[&["-c", text], arguments].concat(), Deadline::default())
}

/// The program that believes in both versions, and the file of its authority.
fn start(server: impl std::fmt::Display) -> (World, TempDir, String) {
    start_with(server, "")
}

/// As [`start`], with further lines of its configuration.
fn start_with(server: impl std::fmt::Display, more: &str) -> (World, TempDir, String) {
    let directory = TempDir::new();
    let ground = Ground::new();
    let mut identity = ground.authority.sign(&[NAME, "localhost"]).both();
    identity.push('\n');
    ground.write("site.pem", identity);
    let authority = directory.write("ca.pem", ground.authority.pem());
    let world = ground.start(1, [server], "alpn = [\"h2\", \"http/1.1\"]", more);
    (world, directory, authority.to_str().expect("UTF-8").to_owned())
}

#[test]
fn httpx_speaks_http2() {
    let origin = Origin::start(script::answer_ok("hello"));
    let (world, _directory, authority) = start(origin.address());
    let url = format!("https://localhost:{}/", world.tidegate.address("web").port());
    let exit = python(include_str!("support/clients/httpx_http2.py"), &[&url, &authority]);
    let said = exit.stdout_text();
    assert_eq!(said.trim(), "{(200, 'HTTP/2', 'hello')}", "{}", exit.stderr_text());
    assert_eq!(origin.requests_count(), 221);
}

#[test]
fn websockets_run_over_tls_and_over_streams() {
    let text = include_str!("support/clients/websocket.py");
    let mut command = Command::new(tools::require_tool(PYTHON));
    command.args(["-c", text, "serve"]);
    let server = Process::spawn("websockets", command);
    let port = server.wait_line(|line| line.field("port").is_some());
    let port = port.field("port").expect("it was waited for");
    let (world, _directory, authority) = start(format!("127.0.0.1:{port}"));
    let front = world.tidegate.address("web").port().to_string();
    for kind in ["http1", "http2"] {
        let exit = python(text, &[kind, NAME, &front, &authority]);
        assert_eq!(exit.stdout_text().trim(), "echoed", "{kind}: {}", exit.stderr_text());
    }
}

#[test]
fn grpcio_calls_through_tls_and_http2_in_every_manner() {
    let text = include_str!("support/clients/grpcio_calls.py");
    let mut command = Command::new(tools::require_tool(PYTHON));
    command.args(["-c", text, "serve"]);
    let server = Process::spawn("grpcio", command);
    let port = server.wait_line(|line| line.field("port").is_some());
    let port = port.field("port").expect("it was waited for");
    let more = "backends.app.protocol = \"h2\"\n";
    let (world, _directory, authority) = start_with(format!("127.0.0.1:{port}"), more);
    let target = format!("localhost:{}", world.tidegate.address("web").port());
    let exit = python(text, &["call", &target, &authority]);
    assert_eq!(exit.stdout_text().trim(), "called", "{}", exit.stderr_text());
    let metrics = world.tidegate.metrics();
    let calls =
        |status| metrics.count("tidegate_backend_grpc_calls_total", &[("grpc_status", status)]);
    // The one that was late has no status of the server, who saw it cancelled.
    assert_eq!((calls("ok"), calls("not_found"), calls("unimplemented")), (1_505, 1, 1));
    assert_eq!(metrics.count("tidegate_frontend_http2_connections_total", &[]), 1);
    let floods = metrics.count("tidegate_frontend_http2_floods_total", &[]);
    assert_eq!(floods, 0, "a client that behaves is no flood");
}

/// The port of the system's choice on which this process listens.
fn listening_port(process: &Process) -> u16 {
    let owned = process.descriptors();
    let table = std::fs::read_to_string(format!("/proc/{}/net/tcp", process.id()));
    let table = table.expect("the process runs");
    let sockets = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut ports = sockets.filter_map(|fields| match fields[..] {
        [_, local, _, "0A", _, _, _, _, _, inode, ..] => {
            let is_own = owned.iter().any(|what| what.ends_with(&format!("socket:[{inode}]")));
            is_own.then(|| local.split_once(':').expect("an address").1)
        }
        _ => None,
    });
    u16::from_str_radix(ports.next().expect("it listens"), 16).expect("hexadecimal")
}

/// Whether the trailers of nghttpd, which it announces and sends behind content with a length, come to clients of both versions.
#[track_caller]
fn check_trailers(world: &World) {
    let mut client = world.connect();
    for _ in 0..2 {
        let response = client.get("/big");
        assert_eq!((response.body.len(), response.trailers.value("x-sum")), (3_000_000, Some("7")));
    }
    let url = format!("https://localhost:{}/big", world.tidegate.address("web").port());
    let exit = tools::run("nghttp", &["--verbose", "--null-out", &url], Deadline::default());
    let said = exit.stdout_text();
    let (_, behind) = said.rsplit_once("recv DATA frame").expect("content comes");
    assert!(behind.contains("x-sum: 7"), "{behind}");
}

#[test]
fn nghttpd_is_spoken_to_over_http2_with_and_without_tls() {
    for tls in [false, true] {
        let ground = Ground::new();
        let files = TempDir::new();
        files.write("html/big", vec![b'x'; 3_000_000]);
        let identity = ground.authority.sign(&["s1.example"]);
        let chain = files.write("chain.pem", &identity.chain);
        let key = files.write("key.pem", &identity.key);
        let mut command = Command::new(tools::require_tool("nghttpd"));
        command.args(["--address=127.0.0.1", "--trailer=x-sum: 7", "--htdocs"]);
        command.args([&files.file("html")]).args(["--echo-upload", "-v"]);
        if tls {
            command.arg("0").args([&key, &chain]);
        } else {
            command.args(["--no-tls", "0"]);
        }
        let server = Process::spawn("nghttpd", command);
        server.wait_line(|line| line.text.contains("listen "));
        let address = format!("127.0.0.1:{}", listening_port(&server));
        let mut more = "backends.app.protocol = \"h2\"\n".to_owned();
        if tls {
            more += "backends.app.tls = { ca = \"ca.pem\", server_name = \"s1.example\" }\n";
        }
        let world = ground.start(1, [address], "alpn = [\"h2\", \"http/1.1\"]", &more);
        let told = ["--silent", "--output", "/dev/null", "--write-out"];
        let format = ["%{http_code} %{http_version} %{size_download}"];
        for (version, name) in [("--http2", "2"), ("--http1.1", "1.1")] {
            let ask = |path, more: &[&str]| {
                world.curl(path, &[&told[..], &format, &[version], more].concat())
            };
            assert_eq!(ask("/big", &[]), format!("200 {name} 3000000"));
            assert!(ask("/none", &[]).starts_with(&format!("404 {name} ")));
            assert_eq!(ask("/echo", &["--data", "hello"]), format!("200 {name} 5"));
        }
        check_trailers(&world);
        let opened = world.tidegate.metrics();
        let opened = opened.count("tidegate_server_connections_total", &[]);
        assert_eq!(opened, 1, "TLS: {tls}");
    }
}

#[test]
fn sslyze_finds_a_default_bind_to_be_what_mozilla_recommends() {
    let origin = Origin::start(script::answer_ok("hello"));
    let (world, directory, authority) = start(origin.address());
    let target = format!("localhost:{}", world.tidegate.address("web").port());
    let report = directory.file("report.json");
    let report = report.to_str().expect("UTF-8");
    let arguments =
        ["-m", "sslyze", "--certinfo_ca_file", &authority, "--json_out", report, &target];
    let exit = tools::run(PYTHON, &arguments, Deadline::default());
    let said = exit.stdout_text();
    assert!(said.contains("SCANS COMPLETED"), "{said}\n{}", exit.stderr_text());
    // The authority of the test is nobody's, which the certificate's check says; nothing else may be found.
    let (_, findings) = said.split_once("COMPLIANCE").expect("it compares");
    let found = findings.lines().map(str::trim).filter(|line| line.starts_with("* "));
    let found: Vec<_> = found.filter(|line| !line.contains("certificate_")).collect();
    assert!(found.is_empty(), "{found:#?}");
    for weakness in ["VULNERABLE", "WEAK", "Insecure"] {
        let lines = said.lines().filter(|line| line.contains(weakness));
        let lines: Vec<_> = lines.filter(|line| !line.contains("OK")).collect();
        assert!(lines.is_empty(), "{lines:#?}");
    }
}
