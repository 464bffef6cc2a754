//! Starting: configurations, every kind of address, the command line, and what is said when it
//! cannot be.
//!
//! Owns the way from `tidegate` on a command line to serving. Leaves reloads, the end and
//! `daemon = true` to the other `ops_` files.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use tidegate_testkit::{
    Builder, Client, Deadline, Exit, Origin, Signal, Tidegate, refused_address, script, site,
};

fn tidegate() -> Builder {
    Tidegate::with_binary(env!("CARGO_BIN_EXE_tidegate"))
}

/// The configuration with its frontend on this address.
fn bound_to(address: &str, config: &str) -> String {
    let free = "frontends.web.bind = [\"127.0.0.1:0\"]";
    assert!(config.contains(free), "{config}");
    config.replace(free, &format!("frontends.web.bind = [\"{address}\"]"))
}

/// Which server answered: the origins answer with their own name.
fn answers(address: SocketAddr, count: usize) -> Vec<String> {
    let mut client = Client::connect(address);
    let mut names: Vec<String> = (0..count).map(|_| client.get("/").text().to_owned()).collect();
    names.sort();
    names
}

#[test]
fn the_smallest_configuration_serves_both_servers_in_turn() {
    let origins = ["one", "two"].map(|name| Origin::start(script::answer_ok(name)));
    let config = format!(
        "# One frontend, one backend, two servers, round robin: a complete file.\n\
         [frontends.web]\n\
         bind = [\"127.0.0.1:0\"]\n\
         default_backend = \"app\"\n\n\
         [backends.app.servers]\n\
         app1 = \"{}\"\n\
         app2 = \"{}\"\n",
        origins[0].address(),
        origins[1].address()
    );
    let tidegate = tidegate().start(&config);
    // One shard for each CPU, and each shard goes round on its own: one connection sees the turns.
    assert_eq!(answers(tidegate.address("web"), 4), ["one", "one", "two", "two"]);
}

#[test]
fn a_production_configuration_serves_on_all_its_addresses() {
    let origins = ["one", "two", "three"].map(|name| Origin::start(script::answer_ok(name)));
    let [one, two, three] = origins.each_ref().map(Origin::address);
    let config = format!(
        r#"
        [global]
        cores = "auto"                      # one shard per core; or a list of CPUs: [0, 2, 4]
        max_connections = 50_000            # the next one waits in the listen queue
        daemon = false                      # true: go to the background once ready

        [defaults]
        mode = "http"
        forwarded_for = true                # X-Forwarded-For
        reuse_server_connections = true     # false: one server connection per request

        [defaults.timeouts]
        connect = "5s"
        client = "30s"
        server = "30s"

        [frontends.web]
        default_backend = "web_servers"

        [[frontends.web.bind]]
        address = "*:0"

        [[frontends.web.bind]]
        address = "127.0.0.1:0"

        [backends.web_servers]
        balance = "round_robin"

        [backends.web_servers.servers]
        app1 = "{one}"
        app2 = "{two}"
        app3 = "{three}"
        "#
    );
    let tidegate = tidegate().start(&config);
    let addresses = tidegate.addresses("web");
    assert_eq!(addresses.len(), 2, "{addresses:?}");
    for address in addresses {
        let port = address.parse::<SocketAddr>().expect("a TCP address").port();
        let names = answers(SocketAddr::from(([127, 0, 0, 1], port)), 3);
        assert_eq!(names, ["one", "three", "two"], "{address}");
    }
    let request = origins[0].wait_requests(1);
    assert_eq!(request.headers.value("x-forwarded-for"), Some("127.0.0.1"));
}

#[test]
fn every_kind_of_address_is_listened_on() {
    for shards in [1, 2] {
        let origin = Origin::start(script::answer_ok("hello"));
        let builder = tidegate();
        let path = builder.directory().join("web.sock");
        let binds = format!(
            "frontends.a.bind = [\"*:0\"]\nfrontends.a.default_backend = \"app\"\n\
             frontends.b.bind = [\"[::1]:0\"]\nfrontends.b.default_backend = \"app\"\n\
             frontends.c.bind = [\"[::]:0\"]\nfrontends.c.default_backend = \"app\"\n\
             frontends.d.bind = [\"unix:{}\"]\nfrontends.d.default_backend = \"app\"\n",
            path.display()
        );
        let mut tidegate = builder.start(&(site(shards, [origin.address()]) + &binds));
        let every_ipv4 = tidegate.address("a");
        assert!(every_ipv4.ip().is_unspecified() && every_ipv4.is_ipv4(), "{every_ipv4}");
        for reachable in [
            SocketAddr::from(([127, 0, 0, 1], every_ipv4.port())),
            SocketAddr::from(([127, 1, 2, 3], every_ipv4.port())),
            tidegate.address("b"),
            SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, tidegate.address("c").port())),
        ] {
            assert_eq!(Client::connect(reachable).get("/").text(), "hello", "{reachable}");
        }
        assert_eq!(tidegate.addresses("d"), [format!("unix:{}", path.display())]);
        for _ in 0..4 {
            assert_eq!(Client::connect_unix(&path).get("/").text(), "hello");
        }
        tidegate.signal(Signal::TERM);
        assert!(tidegate.wait_exit(Deadline::default()).success());
        assert!(!path.exists(), "the socket's file is gone with the program");
    }
}

#[test]
fn servers_are_reached_over_unix_sockets_and_ipv6() {
    let origin = Origin::start(script::answer_ok("hello"));
    // A program in front of a program: the first serves on addresses that an origin cannot have.
    let builder = tidegate();
    let path = builder.directory().join("app.sock");
    let more = format!("frontends.web6.bind = [\"[::1]:0\", \"unix:{}\"]\n", path.display())
        + "frontends.web6.default_backend = \"app\"\n";
    let behind = builder.start(&(site(1, [origin.address()]) + &more));
    let addresses = behind.addresses("web6");
    let tidegate = tidegate().start(&site(2, &addresses));
    for client in 0..4 {
        let mut client_connection = Client::connect(tidegate.address("web"));
        for _ in 0..4 {
            assert_eq!(client_connection.get("/").text(), "hello", "client {client}");
        }
    }
    let metrics = tidegate.metrics();
    for server in ["s1", "s2"] {
        let labels = [("server", server), ("status", "2xx")];
        assert_eq!(metrics.count("tidegate_server_requests_total", &labels), 8, "{server}");
    }
}

#[test]
fn an_inherited_socket_is_served_from_its_first_connection_on() {
    for shards in [1, 2] {
        let origin = Origin::start(script::answer_ok("hello"));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("a bound socket has an address");
        // Connected before anybody accepts: nothing is lost while the program starts.
        let mut early = Client::connect(address);
        let config = bound_to("fd@3", &site(shards, [origin.address()]));
        let mut tidegate = tidegate().inherit(listener).start(&config);
        assert_eq!(tidegate.addresses("web"), ["fd@3"]);
        assert_eq!(early.get("/").text(), "hello");
        let mut others: Vec<Client> = (0..20).map(|_| Client::connect(address)).collect();
        for client in &mut others {
            assert_eq!(client.get("/").text(), "hello");
        }
        tidegate.signal(Signal::TERM);
        assert!(tidegate.wait_exit(Deadline::default()).success());
    }
}

#[test]
fn a_descriptor_that_is_no_listening_socket_is_refused() {
    let exit = tidegate().run_to_exit(&bound_to("fd@9", &site(1, ["127.0.0.1:1"])));
    assert_cannot_listen(&exit, "fd@9");
}

#[track_caller]
fn assert_cannot_listen(exit: &Exit, address: &str) {
    let text = exit.stderr_text();
    assert_eq!(exit.status.code(), Some(1), "{text}");
    let line = exit.lines.iter().find(|line| line.is_event("start_failed"));
    let reason = line.and_then(|line| line.field("reason")).unwrap_or_default();
    assert!(reason.contains(&format!("cannot listen on {address}: ")), "{text}");
    assert!(!exit.lines.iter().any(|line| line.is_event("ready")), "{text}");
}

#[test]
fn an_address_in_use_is_named_and_nothing_is_served() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = taken.local_addr().expect("a bound socket has an address").to_string();
    let free = site(2, ["127.0.0.1:1"]);
    let admin = free.replace("admin.bind = [", &format!("admin.bind = [\"{address}\", "));
    let frontend = free.replace("web.bind = [", &format!("web.bind = [\"{address}\", "));
    for config in [admin, frontend] {
        let exit = tidegate().run_to_exit(&config);
        assert_cannot_listen(&exit, &address);
        assert!(exit.stderr_text().contains("another process listens there"));
    }
}

#[test]
fn two_programs_do_not_share_an_address_unnoticed() {
    let first = tidegate().start(&site(2, ["127.0.0.1:1"]));
    let address = first.address("web").to_string();
    let config = bound_to(&address, &site(2, ["127.0.0.1:1"]));
    assert_cannot_listen(&tidegate().run_to_exit(&config), &address);
}

#[test]
fn an_address_of_another_machine_is_named() {
    // 192.0.2.0/24 is for documentation: no machine has it.
    let exit = tidegate().run_to_exit(&bound_to("192.0.2.1:8080", &site(1, ["127.0.0.1:1"])));
    assert_cannot_listen(&exit, "192.0.2.1:8080");
    assert!(exit.stderr_text().contains("this machine does not have the address"));
}

#[test]
fn a_unix_socket_is_taken_over_from_the_dead_and_not_from_the_living() {
    let origin = Origin::start(script::answer_ok("hello"));
    let builder = tidegate();
    let path = builder.directory().join("web.sock");
    let config = site(1, [origin.address()])
        + &format!(
            "frontends.local.bind = [\"unix:{}\"]\nfrontends.local.default_backend = \"app\"\n",
            path.display()
        );
    let mut first = builder.start(&config);
    let exit = tidegate().run_to_exit(&config);
    assert_cannot_listen(&exit, &format!("unix:{}", path.display()));
    assert_eq!(Client::connect_unix(&path).get("/").text(), "hello", "the living one still serves");

    first.signal(Signal::KILL);
    assert!(!first.wait_exit(Deadline::default()).success());
    assert!(path.exists(), "a killed program leaves its file");
    let second = tidegate().start(&config);
    assert_eq!(Client::connect_unix(&path).get("/").text(), "hello");
    drop(second);
}

#[test]
fn the_next_program_finds_the_address_of_one_that_was_killed_or_ended() {
    let origin = Origin::start(script::answer_ok("hello"));
    for signal in [Signal::KILL, Signal::TERM, Signal::INT] {
        let mut first = tidegate().start(&site(2, [origin.address()]));
        let address = first.address("web");
        // Connections in every state, so that there is something to take apart.
        let mut clients: Vec<Client> = (0..50).map(|_| Client::connect(address)).collect();
        clients.iter_mut().take(25).for_each(|client| {
            assert_eq!(client.get("/").text(), "hello");
        });
        first.signal(signal);
        first.wait_exit(Deadline::default());
        let second =
            tidegate().start(&bound_to(&address.to_string(), &site(2, [origin.address()])));
        assert_eq!(Client::connect(address).get("/").text(), "hello");
        drop(second);
    }
}

fn run(arguments: &[&str]) -> Exit {
    tidegate().run_arguments(arguments)
}

#[test]
fn check_accepts_a_good_file_without_touching_what_it_names() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = taken.local_addr().expect("a bound socket has an address");
    let builder = tidegate();
    let path = builder.directory().join("good.toml");
    let text = site(1, [refused_address().address()])
        + &format!(
            "frontends.more.bind = [\"{address}\"]\nfrontends.more.default_backend = \"app\"\n"
        );
    std::fs::write(&path, text).expect("the test's directory takes files");
    let exit = builder.run_arguments(&["check", "-c", text_of(&path)]);
    assert_eq!(exit.status.code(), Some(0), "{}", exit.stderr_text());
    let said = exit.stdout_text();
    assert!(said.ends_with("good.toml: ok (2 frontends, 1 backend, 1 server)\n"), "{said}");
}

#[test]
fn check_and_run_report_every_problem_at_once() {
    let broken = "[global]\nmax_conections = 5\n[frontends.web]\nbind = [\"127.0.0.1:99999\"]\n\
                  default_backend = \"ap\"\n[backends.app.servers]\none = \"127.0.0.1:9001\"\n\
                  [defaults.timeouts]\nserver = \"30\"\n";
    for command in ["check", "run"] {
        let builder = tidegate();
        let path = builder.directory().join("bad.toml");
        std::fs::write(&path, broken).expect("the test's directory takes files");
        let exit = builder.run_arguments(&[command, "-c", text_of(&path)]);
        let said = exit.stderr_text();
        assert_eq!(exit.status.code(), Some(2), "{said}");
        for problem in
            ["bad.toml:2:1: ", "bad.toml:4:9: ", "bad.toml:5:19: ", "bad.toml:9:10: ", "4 errors"]
        {
            assert!(said.contains(problem), "{command} does not say {problem:?}:\n{said}");
        }
        assert!(said.contains("max_connections"), "the nearest key is suggested:\n{said}");
        assert_eq!(exit.stdout_text(), "");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    for command in ["check", "run"] {
        let exit = run(&[command, "-c", "/nonexistent/tidegate.toml"]);
        assert_eq!(exit.status.code(), Some(2));
        assert!(
            exit.stderr_text().contains("/nonexistent/tidegate.toml"),
            "{}",
            exit.stderr_text()
        );
    }
}

#[test]
fn the_version_is_said_on_standard_output() {
    let exit = run(&["--version"]);
    assert_eq!(exit.status.code(), Some(0));
    assert_eq!(exit.stdout_text(), concat!("tidegate ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn unknown_arguments_are_errors_that_point_to_the_help() {
    for arguments in [
        &[][..],
        &["start"],
        &["--frobnicate"],
        &["run"],
        &["run", "-c", "a", "--fast"],
        &["check", "a"],
    ] {
        let exit = run(arguments);
        assert_eq!(exit.status.code(), Some(2), "{arguments:?}");
        let said = exit.stderr_text();
        assert!(said.starts_with("tidegate") && said.contains("--help"), "{arguments:?}: {said}");
        assert_eq!(exit.stdout_text(), "", "{arguments:?}");
    }
    let help = run(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(help.stdout_text().contains("tidegate run -c FILE"));
}

fn text_of(path: &Path) -> &str {
    path.to_str().expect("the test's directory has a name in UTF-8")
}
