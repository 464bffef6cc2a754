//! Questions and answers as bytes: the good, the foreign, and the hostile.

use crate::support::{CNAME, CUT, OK, Written, a, answer, code, name, srv, wire};
use proptest::prelude::*;
use tidegate_discovery::{Absence, Fault, Kind, NotRead, Record, Reply, read_reply, write_query};

const APP: (&str, Kind) = ("app.test", Kind::A);
const SERVICE: (&str, Kind) = ("_http._tcp.app.test", Kind::Srv);

fn read(bytes: &[u8]) -> Result<Reply, NotRead> {
    read_reply(bytes, 7, &name("app.test"), Kind::A)
}

fn addresses(last: &[u8], ttl: u32) -> Result<Reply, NotRead> {
    let record = |last: &u8| Record::Address([192, 0, 2, *last].into());
    Ok(Reply::Records { records: last.iter().map(record).collect(), ttl })
}

fn alias(owner: &'static str, ttl: u32, to: &str) -> Written {
    (owner, CNAME, ttl, wire(to))
}

#[test]
fn a_question_is_what_resolvers_expect() {
    let query = write_query(0x1234, &name("app.test"), Kind::Aaaa, true);
    let head = [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    let limit = [0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0];
    assert_eq!(query, [&head[..], &wire("app.test"), &[0, 28, 0, 1], &limit].concat());
    let plain = write_query(1, &name("app.test"), Kind::A, false);
    assert_eq!(plain.len(), 12 + 10 + 4);
    let longest = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(61));
    assert_eq!(write_query(1, &name(&longest), Kind::Srv, true).len(), 12 + 255 + 4 + 11);
}

#[test]
fn answers_are_read() {
    let two = [a("app.test", 60, 1), a("APP.test", 30, 2)];
    for (what, bytes, expected) in [
        ("two addresses, the lower TTL", answer(7, OK, APP, &two), addresses(&[1, 2], 30)),
        (
            "a name that stands for another, in any order",
            answer(
                7,
                OK,
                APP,
                &[
                    a("c.test", 90, 3),
                    alias("b.test", 20, "c.test"),
                    alias("app.test", 40, "b.test"),
                ],
            ),
            addresses(&[3], 20),
        ),
        (
            "a name that stands for one that is not in the answer",
            answer(7, OK, APP, &[alias("app.test", 40, "b.test")]),
            Ok(Reply::Alias { to: name("b.test"), ttl: 40, aliases: 1 }),
        ),
        (
            "records of others",
            answer(7, OK, APP, &[a("other.test", 60, 9), a("app.test", 60, 1)]),
            addresses(&[1], 60),
        ),
        ("nothing", answer(7, OK, APP, &[]), Ok(Reply::Absent(Absence::NoRecords))),
        ("no such name", answer(7, code(3), APP, &[]), Ok(Reply::Absent(Absence::NoSuchName))),
        ("a failure", answer(7, code(2), APP, &[]), Ok(Reply::Failed(Fault::ServerFailure))),
        ("a refusal", answer(7, code(5), APP, &[]), Ok(Reply::Failed(Fault::Refused))),
        ("an old resolver", answer(7, code(1), APP, &[]), Ok(Reply::NoExtensions)),
        ("cut off", answer(7, CUT, APP, &[]), Ok(Reply::Truncated)),
        (
            "a TTL that is none",
            answer(7, OK, APP, &[a("app.test", 1 << 31, 1)]),
            addresses(&[1], 0),
        ),
    ] {
        assert_eq!(read(&bytes), expected, "{what}");
    }
}

#[test]
fn services_are_read() {
    let records = [
        srv(SERVICE.0, 60, [10, 5, 8080], "one.test"),
        srv(SERVICE.0, 50, [20, 0, 8081], "two.test"),
        // Not offered, in two ways.
        srv(SERVICE.0, 40, [0, 0, 80], "."),
        srv(SERVICE.0, 40, [0, 0, 0], "three.test"),
    ];
    let reply = read_reply(&answer(7, OK, SERVICE, &records), 7, &name(SERVICE.0), Kind::Srv);
    let service = |priority, weight, port, target: &str| Record::Service {
        priority,
        weight,
        port,
        target: name(target),
    };
    let records = vec![service(10, 5, 8080, "one.test"), service(20, 0, 8081, "two.test")];
    assert_eq!(reply, Ok(Reply::Records { records, ttl: 40 }));
}

#[test]
fn what_answers_another_question_is_foreign() {
    let record = [a("app.test", 60, 1)];
    for (what, bytes) in [
        ("another id", answer(8, OK, APP, &record)),
        ("another name", answer(7, OK, ("other.test", Kind::A), &record)),
        ("another type", answer(7, OK, ("app.test", Kind::Aaaa), &record)),
        ("a question", answer(7, 0x0100, APP, &[])),
        ("another kind of message", answer(7, OK | 0x2000, APP, &record)),
        ("half a head", answer(7, OK, APP, &record)[..11].to_vec()),
        ("no question", [7, OK, 0, 0, 0, 0].map(u16::to_be_bytes).concat()),
    ] {
        assert_eq!(read(&bytes), Err(NotRead::Foreign), "{what}");
    }
    let refusal = [7, code(1), 0, 0, 0, 0].map(u16::to_be_bytes).concat();
    assert_eq!(read(&refusal), Ok(Reply::NoExtensions), "who cannot read it cannot repeat it");
}

#[test]
fn hostile_answers_are_malformed_or_bounded() {
    let whole = answer(7, OK, APP, &[a("app.test", 60, 1)]);
    assert_eq!(read(&whole[..whole.len() - 1]), Err(NotRead::Malformed), "cut within a record");
    let mut promised = answer(7, OK, APP, &[]);
    promised[6..8].copy_from_slice(&[0xff, 0xff]);
    assert_eq!(read(&promised), Err(NotRead::Malformed), "more records than there are");
    let short = ("app.test", 1, 60, vec![192, 0, 2]);
    assert_eq!(read(&answer(7, OK, APP, &[short])), Err(NotRead::Malformed), "half an address");
    // A pointer to itself, and one ahead.
    for pointer in [[0xc0, 26], [0xc0, 40]] {
        let mut bytes = answer(7, OK, APP, &[]);
        bytes[6..8].copy_from_slice(&[0, 1]);
        bytes.extend(pointer);
        bytes.extend([0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1, 0, 0]);
        assert_eq!(read(&bytes), Err(NotRead::Malformed), "{pointer:?}");
    }
    let circle = [alias("app.test", 60, "b.test"), alias("b.test", 60, "app.test")];
    assert!(matches!(read(&answer(7, OK, APP, &circle)), Ok(Reply::Alias { aliases: 12, .. })));
    let odd = answer(7, OK, APP, &[alias("app.test", 60, "a b.test")]);
    assert_eq!(read(&odd), Err(NotRead::Malformed), "a name that cannot be asked for");
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = read(&bytes);
        let _ = read_reply(&bytes, 7, &name(SERVICE.0), Kind::Srv);
    }

    #[test]
    fn nor_does_a_good_answer_with_wrong_bytes(
        at in 12_usize..140,
        to in any::<u8>(),
        cut in 0_usize..160,
    ) {
        let records = [alias("app.test", 40, "b.test"), a("b.test", 60, 1), a("b.test", 60, 2)];
        let mut bytes = answer(7, OK, APP, &records);
        let at = at.min(bytes.len() - 1);
        bytes[at] = to;
        bytes.truncate(cut.max(12));
        let _ = read(&bytes);
    }
}
