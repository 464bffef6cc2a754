//! Certificates that are replaced again and again while clients connect all the time.
//!
//! Owns the figure of handshakes that fail meanwhile, which is none; leaves what becomes of single files to `tls_files`. How often
//! is said by `TIDEGATE_SWAPS`.

#[path = "support/tls.rs"]
mod tls;

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tidegate_testkit::{Client, Identity, Origin, TlsClient, TlsVersion, script};
use tls::{Ground, NAME, World, put, tls_site};

/// A run of usual length.
const SWAPS: usize = 100;

/// Of so many swaps one is left to be found by the program itself, which looks every two seconds; the others are told to it.
const FOUND_EACH: usize = 50;

/// Identities that take turns.
const IDENTITIES: usize = 5;

/// What clients have seen.
#[derive(Default)]
struct Seen {
    made: AtomicUsize,
    resumed: AtomicUsize,
    failed: AtomicUsize,
}

impl Seen {
    fn of(counter: &AtomicUsize) -> usize {
        counter.load(Ordering::SeqCst)
    }
}

/// One connection with one request; whether it went on with an earlier session.
fn visit(world: &World, tls: &TlsClient) -> io::Result<bool> {
    let mut client = Client::try_connect_tls(world.tidegate.address("web"), tls)?;
    client.try_send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")?;
    let response = client.try_read_response_to("GET")?;
    assert_eq!((response.status, response.text()), (200, "hello"));
    Ok(client.tls().resumed)
}

fn visit_until(over: &AtomicBool, world: &World, tls: &TlsClient, seen: &Seen) {
    while !over.load(Ordering::SeqCst) {
        match visit(world, tls) {
            Ok(resumed) => {
                seen.made.fetch_add(1, Ordering::SeqCst);
                seen.resumed.fetch_add(usize::from(resumed), Ordering::SeqCst);
            }
            Err(error) => {
                eprintln!("a handshake failed: {error}");
                seen.failed.fetch_add(1, Ordering::SeqCst);
            }
        }
    }
}

/// Shows another certificate from now on.
#[track_caller]
fn swap(world: &World, config: &str, identity: &Identity, is_told: bool) {
    let mark = world.tidegate.process().lines_count();
    put(world.tidegate.directory(), "site.pem", identity.both());
    if is_told {
        assert!(world.tidegate.reload(config).is_event("reloaded"));
    } else {
        let is_found = |line: &tidegate_testkit::LogLine| line.is_event("certificate_replaced");
        world.tidegate.process().wait_line_after(mark, is_found);
    }
    let mut client = world.connect_as(&world.client().without_resumption().build());
    assert!(client.tls().was_shown(identity), "the new certificate is shown");
    assert_eq!(client.get("/").text(), "hello");
}

#[test]
fn certificates_are_swapped_under_load_without_one_failed_handshake() {
    let swaps =
        std::env::var("TIDEGATE_SWAPS").map_or(SWAPS, |text| text.parse().expect("a number"));
    let origin = Origin::start(script::answer_ok("hello"));
    let config = tls_site(2, [origin.address()], "", "");
    let world = Ground::new().start_on(&config);
    let identities: Vec<Identity> =
        (0..IDENTITIES).map(|_| world.authority.sign(&[NAME])).collect();
    let (over, seen) = (AtomicBool::new(false), Seen::default());
    std::thread::scope(|scope| {
        for version in TlsVersion::ALL {
            let full = world.client().version(version).without_resumption().build();
            let resuming = world.client().version(version).build();
            for tls in [full, resuming] {
                let (over, world, seen) = (&over, &world, &seen);
                scope.spawn(move || visit_until(over, world, &tls, seen));
            }
        }
        let swapping = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for number in 1..=swaps {
                let identity = &identities[number % IDENTITIES];
                swap(&world, &config, identity, number % FOUND_EACH != 0);
            }
        }));
        over.store(true, Ordering::SeqCst);
        swapping.unwrap_or_else(|why| std::panic::resume_unwind(why));
    });
    let (made, resumed) = (Seen::of(&seen.made), Seen::of(&seen.resumed));
    println!("{swaps} swaps, {made} handshakes, {resumed} of them resumed");
    assert_eq!(Seen::of(&seen.failed), 0);
    assert!(made > 2 * swaps && resumed > swaps / 2 && made - resumed > swaps, "{made} {resumed}");
    let metrics = world.tidegate.metrics();
    assert_eq!(metrics.count("tidegate_frontend_tls_handshakes_failed_total", &[]), 0);
    let found = u64::try_from(swaps / FOUND_EACH).expect("small");
    assert!(metrics.count("tidegate_tls_files_replaced_total", &[]) >= found);
}
