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
    let directory = TempDir::new();
    let ground = Ground::new();
    let mut identity = ground.authority.sign(&[NAME, "localhost"]).both();
    identity.push('\n');
    ground.write("site.pem", identity);
    let authority = directory.write("ca.pem", ground.authority.pem());
    let world = ground.start(1, [server], "alpn = [\"h2\", \"http/1.1\"]", "");
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
