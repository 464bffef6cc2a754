//! Whose rights the program has: `global.user` and `global.group`.
//!
//! Owns the change from root to another user, what it leaves and what it takes. Leaves what is served to the other files.
//! Needs root, from which there is something to change.

#[path = "support/tls.rs"]
mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use support::{Ground, tls_site};
use tidegate_testkit::{Builder, Client, Exit, Origin, Signal, Tidegate, script, site};

/// Debian's numbers of `nobody` and `nogroup`.
const NOBODY: u32 = 65534;

/// `CAP_NET_BIND_SERVICE` in the masks of proc(5).
const BIND: &str = "0000000000000400";

const NONE: &str = "0000000000000000";

fn tidegate() -> Builder {
    Tidegate::with_binary(env!("CARGO_BIN_EXE_tidegate"))
}

/// What `/proc` says of one thread.
struct Thread(String);

impl Thread {
    fn field(&self, key: &str) -> Vec<&str> {
        let line = self.0.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("no {key} in {}", self.0)).split_whitespace().collect()
    }

    fn name(&self) -> String {
        self.field("Name").concat()
    }
}

fn threads(tidegate: &Tidegate) -> Vec<Thread> {
    let tasks = format!("/proc/{}/task", tidegate.process().id());
    let tasks = fs::read_dir(tasks).expect("it runs");
    let read = |task: fs::DirEntry| fs::read_to_string(task.path().join("status")).ok();
    tasks.flatten().filter_map(read).map(Thread).collect()
}

/// An address with a port that only root, or who has the capability, may bind; no other test has the same.
fn low_address(number: u8) -> String {
    let [_, _, middle, last] = std::process::id().to_be_bytes();
    format!("127.{}.{middle}.{}:80", 100 + number, last.max(1))
}

/// A site that also listens on these addresses.
fn site_on(origin: &Origin, addresses: &[String], more: &str) -> String {
    let quoted: Vec<_> = addresses.iter().map(|address| format!("\"{address}\"")).collect();
    let binds = format!("web.bind = [\"127.0.0.1:0\", {}]", quoted.join(", "));
    site(2, [origin.address()]).replace("web.bind = [\"127.0.0.1:0\"]", &binds) + more
}

fn connect(address: &str) -> Client {
    Client::connect(address.parse().expect("an address"))
}

#[test]
fn every_thread_is_the_user_and_only_the_one_that_opens_sockets_may_bind_low_ports() {
    let origin = Origin::start(script::answer_ok("served"));
    let addresses = [low_address(0)];
    let users = "global.user = \"nobody\"\nglobal.group = \"daemon\"\n";
    let tidegate = tidegate().start(&site_on(&origin, &addresses, users));
    assert_eq!(connect(&addresses[0]).get("/").text(), "served");
    let group = fs::read_to_string("/etc/group").expect("readable");
    let daemon = group.lines().find_map(|line| line.strip_prefix("daemon:x:")?.split(':').next());
    let daemon = daemon.expect("a group that every system has");
    let threads = threads(&tidegate);
    assert!(threads.len() >= 6, "control, shards, logs, signals, main");
    for thread in &threads {
        assert_eq!(thread.field("Uid"), ["65534"; 4], "{}", thread.0);
        assert_eq!(thread.field("Gid"), [daemon; 4], "{}", thread.0);
        assert_eq!(thread.field("Groups"), [daemon], "{}", thread.0);
        assert_eq!(thread.field("NoNewPrivs"), ["1"], "{}", thread.0);
        let keeps = thread.field("CapEff") == [BIND];
        assert!(!keeps || thread.name().starts_with("control"), "{}", thread.0);
        let kept = if keeps { BIND } else { NONE };
        for (mask, expected) in
            [("CapPrm", kept), ("CapEff", kept), ("CapInh", NONE), ("CapAmb", NONE)]
        {
            assert_eq!(thread.field(mask), [expected], "{mask} of {}", thread.name());
        }
    }
    assert_eq!(threads.iter().filter(|thread| thread.field("CapEff") == [BIND]).count(), 1);
    let line = tidegate.wait_log(|line| line.is_event("privileges"));
    assert_eq!(line.field("user").as_deref(), Some("nobody"));
    assert_eq!(line.field("uid").as_deref(), Some("65534"));
    assert_eq!(line.field("capabilities").as_deref(), Some("net_bind_service"));
}

#[test]
fn a_user_has_its_own_groups_and_a_number_none() {
    let origin = Origin::start(script::answer_ok("served"));
    for (user, groups) in [
        ("\"nobody\"", &["65534"][..]),
        ("65534", &["65534"]),
        // No account has this number.
        ("\"54321\"\nglobal.group = 54322", &[]),
    ] {
        let config = site(1, [origin.address()]) + &format!("global.user = {user}\n");
        let tidegate = tidegate().start(&config);
        assert_eq!(Client::connect(tidegate.address("web")).get("/").text(), "served");
        for thread in threads(&tidegate) {
            assert_eq!(thread.field("Groups"), groups, "{user}: {}", thread.0);
            assert_ne!(thread.field("Uid"), ["0"; 4]);
        }
    }
}

#[test]
fn a_reload_serves_on_and_opens_low_ports() {
    let origin = Origin::start(script::answer_ok("served"));
    let (first, second) = (low_address(1), low_address(2));
    let user = "global.user = \"nobody\"\n";
    let tidegate = tidegate().start(&site_on(&origin, std::slice::from_ref(&first), user));
    let mut kept = connect(&first);
    assert_eq!(kept.get("/").text(), "served");
    let both = [first, second];
    let reloaded = tidegate.reload(&site_on(&origin, &both, user));
    assert!(reloaded.is_event("reloaded"), "{reloaded:?}");
    assert_eq!(kept.get("/").text(), "served");
    assert_eq!(connect(&both[1]).get("/").text(), "served");
    // Another user needs a start.
    tidegate.reload(&site_on(&origin, &both, "global.user = \"daemon\"\n"));
    let line = tidegate.wait_log(|line| line.field("key").as_deref() == Some("global.user"));
    assert_eq!(line.field("old").as_deref(), Some("nobody"));
    assert_eq!(line.field("new").as_deref(), Some("daemon"));
    assert_eq!(kept.get("/").text(), "served");
}

#[test]
fn a_key_that_only_root_reads_is_served_and_its_reload_warned_about_and_refused() {
    let origin = Origin::start(script::answer_ok("served"));
    let ground = Ground::new();
    let key = ground.builder.directory().join("site.pem");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("it is ours");
    let config = tls_site(1, [origin.address()], "", "global.user = \"nobody\"");
    let world = ground.start_on(&config);
    let line = world.tidegate.wait_log(|line| line.is_event("reload_would_fail"));
    assert_eq!(line.field("user").as_deref(), Some("nobody"));
    let mut client = world.connect();
    assert_eq!(client.get("/").text(), "served");
    world.tidegate.rewrite_config(&config);
    world.tidegate.signal(Signal::HUP);
    let failed = world.tidegate.wait_log(|line| line.is_event("reload_failed"));
    assert_eq!(failed.field("problems").as_deref(), Some("1"));
    world.tidegate.wait_log(|line| line.text.contains("Permission denied"));
    assert_eq!(client.get("/").text(), "served");
}

#[test]
fn memory_stays_private_unless_core_dumps_are_allowed() {
    let origin = Origin::start(script::answer_ok("served"));
    for (allowed, owner) in [(false, 0), (true, NOBODY)] {
        let more = format!("global.user = \"nobody\"\nglobal.core_dumps = {allowed}\n");
        let tidegate = tidegate().start(&(site(1, [origin.address()]) + &more));
        // The kernel gives these files to root where the process cannot be dumped (proc(5)).
        let memory = format!("/proc/{}/mem", tidegate.process().id());
        assert_eq!(fs::metadata(memory).expect("it runs").uid(), owner, "{allowed}");
    }
}

/// Runs the program as a user without rights.
fn as_nobody(capabilities: &str, config: &str) -> Exit {
    let options = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let more = format!("--inh-caps={capabilities}");
    let ambient = format!("--ambient-caps={capabilities}");
    let mut wrapper = options.to_vec();
    if !capabilities.is_empty() {
        wrapper.extend([more.as_str(), ambient.as_str()]);
    }
    tidegate().wrapped_in(&wrapper).run_to_exit(config)
}

#[test]
fn a_start_that_cannot_change_or_could_change_back_fails() {
    let config = site(1, ["127.0.0.1:1"]) + "global.user = \"daemon\"\n";
    let exit = as_nobody("", &config);
    assert_eq!(exit.status.code(), Some(1));
    let said = exit.stderr_text();
    assert!(said.contains("cannot become user daemon: initgroups: "), "{said}");
    assert!(said.contains("only root can"), "{said}");
    let exit = as_nobody("+setuid,+setgid", &config);
    assert_eq!(exit.status.code(), Some(1));
    let said = exit.stderr_text();
    assert!(said.contains("start_failed") && said.contains("still has Cap"), "{said}");
}

#[test]
fn who_is_the_user_already_needs_no_right() {
    let origin = Origin::start(script::answer_ok("served"));
    let wrapper = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let config = site(1, [origin.address()]) + "global.user = \"nobody\"\n";
    let tidegate = tidegate().wrapped_in(&wrapper).start(&config);
    assert_eq!(Client::connect(tidegate.address("web")).get("/").text(), "served");
}
