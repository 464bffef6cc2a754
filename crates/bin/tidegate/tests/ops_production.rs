//! A production site as an operator writes it: `support/production.toml`, not a byte of it changed.
//!
//! Owns that this text works from the start as root to the end, all of it at once: TLS, the redirect to it, three checked servers,
//! syslog, another user. Leaves the parts to other files. The addresses, ports and paths in it are the machine's, so the test runs
//! in a network and a mount namespace of its own, which needs root.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use std::{env, fs};

use tidegate_testkit::{
    Authority, Deadline, Origin, PATIENCE, Signal, TempDir, Tidegate, script, tools,
};

const CONFIG: &str = include_str!("support/production.toml");

/// Set for the process that the test runs itself as, within its namespaces.
const INSIDE: &str = "TIDEGATE_TEST_INSIDE";

/// A network with the addresses of the servers; empty file systems where certificates and devices were, with new nodes of the
/// devices that every program needs, and syslog's socket in the test's own directory. Nothing of the machine's is mounted below
/// that directory, which is removed at the end with all that it holds.
const GROUND: &str = r#"
ip link set lo up
for last in 1 2 3; do ip addr add 10.0.0.$last/32 dev lo; done
mount --make-rprivate /
mount -t tmpfs tmpfs /etc/ssl/certs
mount -t tmpfs tmpfs /dev
mknod -m 666 /dev/null c 1 3
mknod -m 666 /dev/zero c 1 5
mknod -m 666 /dev/full c 1 7
mknod -m 666 /dev/random c 1 8
mknod -m 666 /dev/urandom c 1 9
ln -s "$1/log" /dev/log
"#;

#[test]
fn the_production_example_works_as_it_is_written() {
    if env::var_os(INSIDE).is_some() {
        return inside();
    }
    let itself = env::current_exe().expect("a test has a path");
    let run = Command::new(tools::require_tool("unshare"))
        .args(["--net", "--mount", "--"])
        .arg(itself)
        .args(["--exact", "the_production_example_works_as_it_is_written", "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .expect("unshare can be run");
    let said = |bytes| String::from_utf8_lossy(bytes).into_owned();
    assert!(run.status.success(), "{}\n{}", said(&run.stdout), said(&run.stderr));
}

fn prepare(directory: &Path) -> UnixDatagram {
    let made = Command::new("sh").args(["-e", "-c", GROUND, "sh"]).arg(directory).status();
    assert!(made.expect("a shell").success());
    let syslog = UnixDatagram::bind(directory.join("log")).expect("nobody else is there");
    // As syslog daemons have it: everybody may log.
    let everybody = fs::Permissions::from_mode(0o666);
    fs::set_permissions(directory.join("log"), everybody).expect("it is ours");
    syslog.set_read_timeout(Some(PATIENCE)).expect("a time that is not zero");
    syslog
}

fn next_line(syslog: &UnixDatagram) -> String {
    let mut bytes = [0; 4096];
    let count = syslog.recv(&mut bytes).expect("a line in time");
    String::from_utf8_lossy(&bytes[..count]).into_owned()
}

fn inside() {
    let directory = TempDir::new();
    let syslog = prepare(directory.path());
    let authority = Authority::new("Authority of tests");
    fs::write("/etc/ssl/certs/site.pem", authority.sign(&["www.example.com"]).both())
        .expect("a file system of our own");
    let trusted = directory.write("ca.pem", authority.pem());
    let origins = [1, 2, 3].map(|last| {
        let address = format!("10.0.0.{last}:8080").parse().expect("an address");
        Origin::start_at(address, script::answer_ok(&format!("app{last}")))
    });
    let mut tidegate = Tidegate::with_binary(env!("CARGO_BIN_EXE_tidegate")).start(CONFIG);
    let curl = |arguments: &[&str]| {
        let mut all = vec!["--connect-to", "::127.0.0.1:", "--cacert"];
        all.push(trusted.to_str().expect("UTF-8"));
        all.extend(arguments);
        tools::curl_ok(&all)
    };

    let head = curl(&["--head", "http://www.example.com/a?b=c"]);
    assert!(head.starts_with("HTTP/1.1 301 "), "{head}");
    assert!(head.contains("\r\nLocation: https://www.example.com/a?b=c\r\n"), "{head}");
    let line = next_line(&syslog);
    // local0 is 16, and 16 × 8 + 6 is what it says of an ordinary line.
    assert!(line.starts_with("<134>"), "{line}");
    assert!(line.contains(" 301 ") && line.contains("\"HEAD /a?b=c HTTP/1.1\""), "{line}");

    for (option, version, in_log) in
        [("--http1.1", "1.1", "HTTP/1.1"), ("--http2", "2", "HTTP/2.0")]
    {
        let mut served: Vec<String> = Vec::new();
        for _ in 0..3 {
            let answer =
                curl(&[option, "-w", " %{http_code} %{http_version}", "https://www.example.com/x"]);
            let (body, rest) = answer.split_once(' ').expect("the format has blanks");
            assert_eq!(rest, format!("200 {version}"));
            served.push(body.to_owned());
            let line = next_line(&syslog);
            assert!(line.contains(&format!("web_servers/{body} ")), "{line}");
            assert!(line.contains(&format!("\"GET /x {in_log}\"")), "{line}");
        }
        assert_eq!(served.len(), 3);
    }
    // Each shard takes turns of its own: which servers three connections meet is chance, that all are well is not.
    for origin in &origins {
        let checks = |request: &tidegate_testkit::Request| request.target == "/health";
        origin.wait_requests(1);
        assert!(origin.requests().iter().any(checks), "it has been checked");
    }
    let forwarded = origins.iter().flat_map(Origin::requests);
    let mut forwarded = forwarded.filter(|request| request.target == "/x").peekable();
    assert!(forwarded.peek().is_some());
    assert!(forwarded.all(|request| request.headers.value("x-forwarded-for") == Some("127.0.0.1")));

    let status = fs::read_to_string(format!("/proc/{}/status", tidegate.process().id()));
    let status = status.expect("it runs");
    assert!(status.contains("\nUid:\t65534\t65534\t65534\t65534\n"), "{status}");
    assert!(status.contains("\nGid:\t65534\t65534\t65534\t65534\n"), "{status}");

    let reloaded = tidegate.reload(CONFIG);
    assert!(reloaded.is_event("reloaded"), "{}", reloaded.text);
    assert!(curl(&["--http2", "https://www.example.com/x"]).starts_with("app"));
    tidegate.signal(Signal::TERM);
    let ended = tidegate.wait_exit(Deadline::after(Duration::from_secs(20)));
    assert_eq!(ended.code(), Some(0));
}
