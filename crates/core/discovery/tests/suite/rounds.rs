//! What follows from all answers about one name.

use std::net::IpAddr;

use crate::support::name;
use tidegate_discovery::{
    Absence, Endpoint, Family, Fault, Finding, Kind, Outcome, Question, Record, Round,
};

const NONE: Finding = Finding::Absent(Absence::NoRecords);
const GONE: Finding = Finding::Absent(Absence::NoSuchName);
const LATE: Finding = Finding::Failed(Fault::TimedOut);

fn records(ttl: u32, addresses: &[&str]) -> Finding {
    let record = |text: &&str| Record::Address(text.parse().expect("an address"));
    Finding::Records { records: addresses.iter().map(record).collect(), ttl }
}

fn service(priority: u16, weight: u16, port: u16, target: &str) -> Record {
    Record::Service { priority, weight, port, target: name(target) }
}

/// The outcome when each question has this finding.
fn resolve(of: &str, family: Family, finding: impl Fn(&Question) -> Finding) -> Outcome {
    let (mut round, mut questions) = Round::new(&name(of), family);
    while let Some(question) = questions.pop() {
        assert!(!round.is_over());
        questions.extend(round.found(&question, finding(&question)));
    }
    assert!(round.is_over());
    round.outcome()
}

fn host(address: &str) -> Endpoint {
    let address = address.parse::<IpAddr>().expect("an address");
    Endpoint { tier: 0, address, port: None, share: 256 }
}

#[test]
fn a_host_has_the_addresses_of_the_family_that_is_wanted() {
    let (four, six) = (records(60, &["192.0.2.2", "192.0.2.1"]), records(30, &["2001:db8::1"]));
    let found = |addresses: &[&str], ttl, fault| Outcome::Found {
        endpoints: addresses.iter().map(|address| host(address)).collect(),
        ttl,
        fault,
    };
    let both = ["192.0.2.1", "192.0.2.2", "2001:db8::1"];
    for (family, a, aaaa, expected) in [
        (Family::Ipv4First, &four, &six, found(&both[..2], 30, None)),
        (Family::Ipv4First, &four, &LATE, found(&both[..2], 60, None)),
        (Family::Ipv4First, &NONE, &six, found(&both[2..], 30, None)),
        (Family::Ipv4First, &LATE, &six, found(&both[2..], 30, Some(Fault::TimedOut))),
        (Family::Ipv4First, &LATE, &NONE, Outcome::Failed(Fault::TimedOut)),
        (Family::Ipv4First, &NONE, &NONE, Outcome::Absent(Absence::NoRecords)),
        (Family::Ipv4First, &GONE, &NONE, Outcome::Absent(Absence::NoSuchName)),
        (Family::Ipv6First, &four, &six, found(&both[2..], 30, None)),
        (Family::Ipv6First, &four, &NONE, found(&both[..2], 60, None)),
        (Family::Ipv4, &four, &LATE, found(&both[..2], 60, None)),
        (Family::Ipv6, &LATE, &six, found(&both[2..], 30, None)),
        (Family::Both, &four, &six, found(&both, 30, None)),
        (Family::Both, &four, &LATE, found(&both[..2], 60, Some(Fault::TimedOut))),
    ] {
        let finding = |question: &Question| match question.kind {
            Kind::A => a.clone(),
            Kind::Aaaa => aaaa.clone(),
            Kind::Srv => panic!("a host is not asked for services"),
        };
        assert_eq!(resolve("app.test", family, finding), expected, "{family:?} {a:?} {aaaa:?}");
    }
}

#[test]
fn a_service_is_where_its_hosts_are_with_their_shares() {
    let listed = Finding::Records {
        records: vec![
            service(10, 60, 8080, "one.test"),
            service(10, 20, 8081, "two.test"),
            service(20, 0, 8082, "two.test"),
            service(20, 0, 8083, "gone.test"),
        ],
        ttl: 90,
    };
    let finding = |question: &Question| match (question.name.as_str(), question.kind) {
        ("_http._tcp.app.test", Kind::Srv) => listed.clone(),
        ("one.test", Kind::A) => records(40, &["192.0.2.1"]),
        ("two.test", Kind::A) => records(60, &["192.0.2.2"]),
        ("gone.test", _) => GONE,
        _ => NONE,
    };
    let endpoint = |tier, last, port, share| Endpoint {
        tier,
        address: [192, 0, 2, last].into(),
        port: Some(port),
        share,
    };
    let endpoints =
        vec![endpoint(10, 1, 8080, 256), endpoint(10, 2, 8081, 86), endpoint(20, 2, 8082, 256)];
    assert_eq!(
        resolve("_http._tcp.app.test", Family::Ipv4First, finding),
        Outcome::Found { endpoints, ttl: 40, fault: None }
    );
}

#[test]
fn a_service_without_answers_about_its_hosts_has_none_itself() {
    let listed = |_: &Question| Finding::Records {
        records: vec![service(1, 1, 80, "one.test"), service(1, 1, 80, "two.test")],
        ttl: 60,
    };
    let with = |one: Finding, two: Finding| {
        resolve("_http._tcp.app.test", Family::Ipv4, move |question| match question.name.as_str() {
            "one.test" => one.clone(),
            "two.test" => two.clone(),
            _ => listed(question),
        })
    };
    assert_eq!(with(LATE, NONE), Outcome::Failed(Fault::TimedOut));
    assert_eq!(with(GONE, NONE), Outcome::Absent(Absence::NoRecords));
    let Outcome::Found { endpoints, fault, .. } = with(LATE, records(60, &["192.0.2.2"])) else {
        panic!("one host is known")
    };
    assert_eq!((endpoints.len(), fault), (1, Some(Fault::TimedOut)));
    let of = |finding: &Finding| resolve("_http._tcp.app.test", Family::Ipv4, |_| finding.clone());
    assert_eq!(of(&GONE), Outcome::Absent(Absence::NoSuchName));
    assert_eq!(of(&LATE), Outcome::Failed(Fault::TimedOut));
}

#[test]
fn the_questions_and_the_addresses_of_one_name_are_bounded() {
    let records: Vec<_> =
        (0..1000).map(|host| service(1, 1, 80, &format!("h{host}.test"))).collect();
    let asked = std::cell::Cell::new(0);
    let outcome = resolve("_http._tcp.app.test", Family::Both, |question| {
        asked.set(asked.get() + 1);
        match question.kind {
            Kind::Srv => Finding::Records { records: records.clone(), ttl: 60 },
            Kind::Aaaa => NONE,
            Kind::A => {
                let host = question.name.as_str()[1..].split('.').next().expect("a part");
                let host = host.parse::<u8>().expect("the first 256 are asked for");
                let address = |last| Record::Address([10, 0, host, last].into());
                Finding::Records { records: (0..20).map(address).collect(), ttl: 60 }
            }
        }
    });
    assert_eq!(asked.get(), 1 + 2 * tidegate_discovery::TARGETS_MAX);
    let Outcome::Found { endpoints, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!(endpoints.len(), tidegate_discovery::ENDPOINTS_MAX);
}

#[test]
fn addresses_that_are_known_without_asking_are_used_as_if_asked_for() {
    let addresses = ["127.0.0.1", "::1"].map(|text| text.parse().expect("an address"));
    let of = |family| Round::of_addresses(&name("localhost"), family, &addresses);
    let found =
        |address: &str| Outcome::Found { endpoints: vec![host(address)], ttl: 0, fault: None };
    assert_eq!(of(Family::Ipv4First), found("127.0.0.1"));
    assert_eq!(of(Family::Ipv6), found("::1"));
}
