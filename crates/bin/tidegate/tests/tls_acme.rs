//! Certificates that are ordered from a real authority (Pebble), renewed and kept.
//!
//! Owns orders; leaves handshakes with certificates that are there to `tls_clients`.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use tidegate_testkit::{
    Builder, Client, LogLine, Origin, Pebble, PebbleBuilder, TempDir, Tidegate, TlsClient, script,
    site,
};

const NAME: &str = "a.example";

/// The sockets that an authority looks at, which the program inherits, an origin, and a storage that outlives the program.
struct Ground {
    plain: TcpListener,
    secure: TcpListener,
    origin: Origin,
    storage: TempDir,
}

impl Ground {
    fn new() -> Self {
        Self {
            plain: TcpListener::bind("127.0.0.1:0").expect("a port is free"),
            secure: TcpListener::bind("127.0.0.1:0").expect("a port is free"),
            origin: Origin::start(script::answer_ok("hello")),
            storage: TempDir::new(),
        }
    }

    fn authority(&self) -> PebbleBuilder {
        Pebble::looking_at(address(&self.plain).port(), address(&self.secure).port())
    }

    /// The program before its start, with whom the authority's server is believed from beside its configuration.
    fn builder(&self, authority: &Pebble) -> Builder {
        let clone = |listener: &TcpListener| listener.try_clone().expect("a descriptor is free");
        let builder = Tidegate::with_binary(env!("CARGO_BIN_EXE_tidegate"));
        let builder = builder.inherit(clone(&self.plain)).inherit(clone(&self.secure));
        fs::write(builder.directory().join("ca.pem"), authority.server_authority())
            .expect("the test's directory takes files");
        builder
    }

    /// A configuration that orders a certificate for these names; `more` is keys of `acme`.
    fn config(&self, authority: &Pebble, names: &[&str], more: &str) -> String {
        let plain = site(1, [self.origin.address()]);
        let bind = "frontends.web.bind = [\"127.0.0.1:0\"]";
        assert!(plain.contains(bind), "{plain}");
        plain.replace(bind, "")
            + &format!(
                "frontends.web.rules = [{{ when = 'request.scheme == \"http\"', redirect = {{ scheme = \"https\" }} }}]\n\
                 [[frontends.web.bind]]\naddress = \"fd@3\"\n\
                 [[frontends.web.bind]]\naddress = \"fd@4\"\n\
                 [frontends.web.bind.tls.acme]\ndomains = {names:?}\ndirectory = \"{}\"\n\
                 directory_ca = \"ca.pem\"\nstorage = \"{}\"\n{more}\n",
                authority.url(),
                self.storage.path().display(),
            )
    }

    fn connect(&self, authority: &Pebble, name: &str) -> Client {
        let tls = TlsClient::believing(&authority.root(), name).without_resumption().build();
        Client::connect_tls(address(&self.secure), &tls)
    }

    /// The only file in the storage whose name ends so.
    fn kept(&self, ending: &str) -> PathBuf {
        let mut found = files(self.storage.path());
        found.retain(|path| path.display().to_string().ends_with(ending));
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }
}

fn address(listener: &TcpListener) -> SocketAddr {
    listener.local_addr().expect("a bound socket has an address")
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        }
        found.push(path);
    }
    found
}

/// Waits until the program shows the certificate that it has got.
#[track_caller]
fn wait_in_use(tidegate: &Tidegate, mark: usize) {
    tidegate.process().wait_line_after(mark, |line| {
        line.is_event("certificate_added") || line.is_event("certificate_replaced")
    });
}

#[track_caller]
fn wait_event(tidegate: &Tidegate, event: &str) -> LogLine {
    tidegate.wait_log(|line| line.is_event(event))
}

fn count(tidegate: &Tidegate, event: &str) -> usize {
    tidegate.process().lines().iter().filter(|line| line.is_event(event)).count()
}

#[test]
fn a_certificate_is_ordered_shown_and_kept() {
    for challenge in ["http-01", "tls-alpn-01"] {
        let ground = Ground::new();
        let authority = ground.authority().start();
        ["a.example", "b.example"].into_iter().for_each(|name| authority.knows(name));
        let more = format!("email = \"ops@a.example\"\nchallenge = \"{challenge}\"");
        let config = ground.config(&authority, &["a.example", "B.example"], &more);
        let tidegate = ground.builder(&authority).start(&config);
        wait_in_use(&tidegate, 0);
        for name in ["a.example", "b.example"] {
            let mut client = ground.connect(&authority, name);
            assert_eq!(client.get("/").text(), "hello", "{challenge}");
        }
        let order = wait_event(&tidegate, "acme_order");
        assert_eq!(order.field("domains").as_deref(), Some("a.example,b.example"));
        let got = wait_event(&tidegate, "acme_certificate");
        assert!(got.field("not_after").is_some() && got.field("renew_at").is_some());
        let metrics = tidegate.metrics();
        assert_eq!(metrics.count("tidegate_acme_orders_total", &[]), 1);
        assert_eq!(metrics.count("tidegate_acme_failures_total", &[]), 0);
        let next = metrics.sum("tidegate_acme_next_attempt_seconds", &[("name", "a.example")]);
        let end = metrics.sum("tidegate_tls_certificate_expiry_seconds", &[("name", "a.example")]);
        let days = (end - next) / 86_400.0;
        assert!((30.0..38.0).contains(&days), "renewed {days} days before its end");
        // Nobody but the owner reads what is kept, and nothing else is.
        for path in files(ground.storage.path()) {
            let mode = fs::metadata(&path).expect("there").permissions().mode() & 0o777;
            let wanted = if path.is_dir() { 0o700 } else { 0o600 };
            assert_eq!(mode, wanted, "{}", path.display());
        }
        ground.kept(".pem");
        // Once the order is over, nothing is answered any more.
        let asked = Client::connect(address(&ground.plain)).get("/.well-known/acme-challenge/x");
        assert_eq!(asked.status, 301, "rules are asked again");
    }
}

#[test]
fn a_restart_uses_what_is_kept_and_the_account_stays() {
    let ground = Ground::new();
    let authority = ground.authority().start();
    ["a.example", "b.example"].into_iter().for_each(|name| authority.knows(name));
    let config = ground.config(&authority, &[NAME], "");
    let first = ground.builder(&authority).start(&config);
    wait_in_use(&first, 0);
    let account = fs::read(ground.kept("account.json")).expect("kept");
    drop(first);
    let second = ground.builder(&authority).start(&config);
    assert_eq!(ground.connect(&authority, NAME).get("/").text(), "hello", "from the start on");
    second.wait_metrics("the worker has looked", |metrics| {
        metrics.sum("tidegate_acme_next_attempt_seconds", &[("name", NAME)]) > 0.0
    });
    assert_eq!(count(&second, "acme_order"), 0);
    // Other domains are ordered by the same account, and those that were there go on meanwhile.
    let more = ground.config(&authority, &[NAME, "b.example"], "");
    let mark = second.process().lines_count();
    second.reload(&more);
    assert_eq!(ground.connect(&authority, NAME).get("/").text(), "hello", "the old stands in");
    wait_in_use(&second, mark);
    assert_eq!(ground.connect(&authority, "b.example").get("/").text(), "hello");
    assert_eq!(count(&second, "acme_account"), 0);
    assert_eq!(fs::read(ground.kept("account.json")).expect("kept"), account);
}

#[test]
fn until_the_first_certificate_handshakes_are_refused_and_say_why() {
    let ground = Ground::new();
    let authority = ground.authority().start();
    // The authority does not know the name.
    let config = ground.config(&authority, &[NAME], "retry_delay = \"1h\"");
    let tidegate = ground.builder(&authority).start(&config);
    let failed = wait_event(&tidegate, "acme_failed");
    assert_eq!(failed.field("step").as_deref(), Some("challenge"), "{}", failed.text);
    let problem = failed.field("problem").unwrap_or_default();
    assert!(problem.starts_with("urn:ietf:params:acme:error:"), "{}", failed.text);
    let reason = failed.field("reason").unwrap_or_default();
    assert!(reason.starts_with("a.example: ") && reason.len() > 20, "{}", failed.text);
    assert!(failed.field("next").is_some(), "{}", failed.text);
    let tls = TlsClient::believing(&authority.root(), NAME).build();
    let refused = Client::try_connect_tls(address(&ground.secure), &tls);
    let refused = refused.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(refused.contains("UnrecognisedName"), "{refused}");
    let told = wait_event(&tidegate, "tls_handshake_failed");
    assert_eq!(told.field("reason").as_deref(), Some("unknown_name"), "{}", told.text);
    let asked = TlsClient::believing(&authority.root(), NAME).alpn(&["acme-tls/1"]).build();
    assert!(Client::try_connect_tls(address(&ground.secure), &asked).is_err(), "no order");
    assert_eq!(tidegate.metrics().count("tidegate_acme_failures_total", &[]), 1);
    let answer = Client::connect(address(&ground.plain)).get("/");
    assert_eq!(answer.status, 301, "the rest goes on");
}

#[test]
fn a_certificate_is_renewed_before_its_end() {
    let ground = Ground::new();
    let authority = ground.authority().valid_for(12).start();
    authority.knows(NAME);
    let tidegate = ground.builder(&authority).start(&ground.config(&authority, &[NAME], ""));
    wait_in_use(&tidegate, 0);
    let before = fs::read(ground.kept(".pem")).expect("kept");
    let mut established = ground.connect(&authority, NAME);
    tidegate.wait_log(|line| line.is_event("certificate_replaced"));
    assert_eq!(ground.connect(&authority, NAME).get("/").text(), "hello");
    assert_eq!(established.get("/").text(), "hello", "what was there goes on");
    assert_ne!(fs::read(ground.kept(".pem")).expect("kept"), before);
    assert_eq!(count(&tidegate, "acme_account"), 1);
    let renewal = tidegate.wait_log(|line| line.field("reason").as_deref() == Some("renewal"));
    assert!(renewal.is_event("acme_order"), "{}", renewal.text);
}

#[test]
fn an_authority_that_is_away_is_asked_again_and_may_have_forgotten_us() {
    let ground = Ground::new();
    let mut authority = ground.authority().start();
    ["a.example", "b.example"].into_iter().for_each(|name| authority.knows(name));
    let with = |names: &[&str]| ground.config(&authority, names, "retry_delay = \"1s\"");
    let (one, both) = (with(&[NAME]), with(&[NAME, "b.example"]));
    let tidegate = ground.builder(&authority).start(&one);
    wait_in_use(&tidegate, 0);
    authority.stop();
    let mark = tidegate.process().lines_count();
    tidegate.reload(&both);
    let failed = wait_event(&tidegate, "acme_failed");
    assert_eq!(failed.field("step").as_deref(), Some("account"), "{}", failed.text);
    assert!(failed.field("reason").is_some_and(|why| why.contains("/dir")), "{}", failed.text);
    assert!(failed.field("in_use_until").is_none(), "{}", failed.text);
    tidegate.wait_log(|line| line.field("failures").as_deref() == Some("2"));
    authority.start_again();
    wait_event(&tidegate, "acme_account_unknown");
    wait_in_use(&tidegate, mark);
    assert_eq!(ground.connect(&authority, "b.example").get("/").text(), "hello");
    assert!(tidegate.metrics().count("tidegate_acme_failures_total", &[]) >= 2);
}

#[test]
fn nonces_may_be_refused() {
    let ground = Ground::new();
    let authority = ground.authority().env("PEBBLE_WFE_NONCEREJECT", "60").start();
    authority.knows(NAME);
    let tidegate = ground.builder(&authority).start(&ground.config(&authority, &[NAME], ""));
    wait_in_use(&tidegate, 0);
    assert_eq!(count(&tidegate, "acme_failed"), 0);
}

#[test]
fn a_reload_in_the_middle_of_an_order_lets_it_go_on_or_gives_it_up() {
    let ground = Ground::new();
    let authority =
        ground.authority().env("PEBBLE_VA_NOSLEEP", "0").env("PEBBLE_VA_SLEEPTIME", "3").start();
    ["a.example", "b.example"].into_iter().for_each(|name| authority.knows(name));
    let config = ground.config(&authority, &[NAME], "");
    let tidegate = ground.builder(&authority).start(&config);
    wait_event(&tidegate, "acme_order");
    tidegate.reload(&config);
    wait_in_use(&tidegate, 0);
    assert_eq!(tidegate.metrics().count("tidegate_acme_orders_total", &[]), 1);
    let both = ground.config(&authority, &[NAME, "b.example"], "");
    let mark = tidegate.process().lines_count();
    tidegate.reload(&both);
    tidegate.process().wait_line_after(mark, |line| line.is_event("acme_order"));
    let other = ground.config(&authority, &["b.example"], "");
    tidegate.reload(&other);
    let ordered = tidegate.wait_log(|line| line.field("domains").as_deref() == Some("b.example"));
    assert!(ordered.is_event("acme_order"), "{}", ordered.text);
    tidegate.wait_log(|line| {
        line.is_event("acme_certificate") && line.field("domains").as_deref() == Some("b.example")
    });
    assert_eq!(count(&tidegate, "acme_failed"), 0);
}

#[test]
fn two_processes_with_one_storage_order_once() {
    let ground = Ground::new();
    let authority =
        ground.authority().env("PEBBLE_VA_NOSLEEP", "0").env("PEBBLE_VA_SLEEPTIME", "3").start();
    authority.knows(NAME);
    let config = ground.config(&authority, &[NAME], "challenge = \"http-01\"");
    let first = ground.builder(&authority).start(&config);
    wait_event(&first, "acme_order");
    // It must not share the sockets: the authority would ask either of the two.
    let other = config.replace("fd@3", "127.0.0.1:0").replace("fd@4", "127.0.0.1:0");
    let second = ground.builder(&authority).start(&other);
    wait_event(&second, "acme_waits");
    wait_in_use(&first, 0);
    wait_in_use(&second, 0);
    let orders = |tidegate: &Tidegate| tidegate.metrics().count("tidegate_acme_orders_total", &[]);
    assert_eq!((orders(&first), orders(&second)), (1, 0));
}

#[test]
fn an_account_may_have_to_name_another_one() {
    const KEY: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let ground = Ground::new();
    let authority = ground.authority().wants_external_account("kid-1", KEY).start();
    authority.knows(NAME);
    let without = ground.config(&authority, &[NAME], "retry_delay = \"1h\"");
    let builder = ground.builder(&authority);
    fs::write(builder.directory().join("eab.key"), format!("{KEY}\n")).expect("written");
    let tidegate = builder.start(&without);
    let failed = wait_event(&tidegate, "acme_failed");
    let problem = failed.field("problem");
    assert_eq!(
        problem.as_deref(),
        Some("urn:ietf:params:acme:error:externalAccountRequired"),
        "{}",
        failed.text
    );
    let with = ground.config(
        &authority,
        &[NAME],
        "external_account = { key_id = \"kid-1\", hmac_key_file = \"eab.key\" }",
    );
    tidegate.reload(&with);
    wait_in_use(&tidegate, 0);
    assert!(!fs::read_to_string(ground.kept("account.json")).expect("kept").contains(KEY));
}

#[test]
fn a_storage_that_cannot_be_written_in_is_told_at_the_start() {
    let ground = Ground::new();
    let authority = ground.authority().start();
    let config = ground
        .config(&authority, &[NAME], "")
        .replace(&ground.storage.path().display().to_string(), "/proc/tidegate");
    let exit = ground.builder(&authority).run_to_exit(&config);
    assert!(!exit.status.success());
    assert!(exit.stderr_text().contains("acme storage: /proc/tidegate/"), "{}", exit.stderr_text());
}
