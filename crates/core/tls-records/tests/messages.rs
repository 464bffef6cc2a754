//! Messages after the handshake and alerts: which may come, from whom, how many.

mod checks;

use proptest::collection::vec;
use proptest::prelude::*;
use tidegate_tls_records::{
    Alert, AlertError, KEY_UPDATES_MAX, KeyUpdate, Kind, MESSAGE_BYTES_MAX, Message, MessageError,
    Messages, Notice, Peer, RENEGOTIATIONS_MAX, TICKETS_MAX, Version, read_alert,
};

fn message(code: u8, content: &[u8]) -> Vec<u8> {
    let [.., a, b, c] = content.len().to_be_bytes();
    [&[code, a, b, c], content].concat()
}

fn refused(version: Version, peer: Peer, bytes: &[u8]) -> Result<(), MessageError> {
    let mut messages = Messages::new(version, peer);
    messages.push(bytes)?;
    while messages.next()?.is_some() {}
    Ok(())
}

#[test]
fn key_updates_and_tickets_are_read() {
    let mut messages = Messages::new(Version::Tls13, Peer::Server);
    messages.push(&[message(4, b"one"), message(4, b""), message(24, &[1])].concat()).unwrap();
    assert_eq!(messages.next(), Ok(Some(Message::NewSessionTicket(b"one"))));
    assert_eq!(messages.next(), Ok(Some(Message::NewSessionTicket(b""))));
    assert_eq!(messages.next(), Ok(Some(Message::KeyUpdate(KeyUpdate::Requested))));
    assert_eq!(messages.next(), Ok(None));
    let mut messages = Messages::new(Version::Tls13, Peer::Client);
    messages.push(&KeyUpdate::NotRequested.encode()).unwrap();
    assert_eq!(messages.next(), Ok(Some(Message::KeyUpdate(KeyUpdate::NotRequested))));
}

#[test]
fn what_may_not_come_is_refused_at_its_header() {
    use MessageError::{BeforeKeyChange, Length, TooLong, Unexpected, Value};
    let (tls13, tls12) = (Version::Tls13, Version::Tls12);
    let update = message(24, &[0]);
    let cases: [(Version, Peer, &[u8], MessageError); 15] = [
        (tls13, Peer::Client, &[4, 0, 0, 9], Unexpected(4)),
        (tls13, Peer::Client, &[1, 0, 0, 9], Unexpected(1)),
        (tls13, Peer::Client, &[11, 0, 0, 9], Unexpected(11)),
        (tls13, Peer::Server, &[13, 0, 0, 9], Unexpected(13)),
        (tls13, Peer::Server, &[0, 0, 0, 0], Unexpected(0)),
        (tls13, Peer::Server, &[4, 1, 0, 0], TooLong),
        (tls13, Peer::Client, &[24, 0, 0, 0], Length),
        (tls13, Peer::Server, &[24, 0, 0, 2], Length),
        (tls13, Peer::Server, &[24, 0, 0, 1, 2], Value),
        (tls13, Peer::Client, &[&update[..], &[24]].concat(), BeforeKeyChange),
        (tls13, Peer::Client, &[&update[..], &update].concat(), BeforeKeyChange),
        (tls12, Peer::Client, &[24, 0, 0, 1], Unexpected(24)),
        (tls12, Peer::Client, &[0, 0, 0, 0], Unexpected(0)),
        (tls12, Peer::Server, &[0, 0, 0, 1], Length),
        (tls12, Peer::Client, &[1, 1, 0, 0], TooLong),
    ];
    for (version, peer, bytes, error) in cases {
        assert_eq!(refused(version, peer, bytes), Err(error), "{version:?} {peer:?} {bytes:?}");
    }
}

#[test]
fn a_long_message_is_put_together_and_then_forgotten() {
    let ticket = vec![7; MESSAGE_BYTES_MAX];
    let mut messages = Messages::new(Version::Tls13, Peer::Server);
    let stream = message(4, &ticket);
    let (last, records) = stream.split_last().unwrap();
    for record in records.chunks(1000) {
        messages.push(record).unwrap();
        assert_eq!(messages.next(), Ok(None));
        assert_eq!(messages.check_order(Kind::ApplicationData), Err(MessageError::Interleaved));
        assert_eq!(messages.check_order(Kind::Alert), Err(MessageError::Interleaved));
        assert_eq!(messages.check_order(Kind::Handshake), Ok(()));
    }
    messages.push(&[*last]).unwrap();
    assert_eq!(messages.next(), Ok(Some(Message::NewSessionTicket(&ticket))));
    assert_eq!(messages.next(), Ok(None));
    assert_eq!(messages.check_order(Kind::ApplicationData), Ok(()));
}

#[test]
fn what_is_never_asked_for_is_not_held_without_end() {
    let mut messages = Messages::new(Version::Tls13, Peer::Server);
    let pushes = (0..100).map_while(|_| messages.push(&[0; 16_384]).ok()).count();
    assert!(pushes <= 5, "{pushes} records are held");
}

#[test]
fn tickets_after_the_most_are_passed_over() {
    let mut messages = Messages::new(Version::Tls13, Peer::Server);
    let mut taken = 0;
    for _ in 0..100 {
        messages.push(&message(4, &[1; 200])[..100]).unwrap();
        assert_eq!(messages.next(), Ok(None));
        assert_eq!(messages.check_order(Kind::ApplicationData), Err(MessageError::Interleaved));
        messages.push(&message(4, &[1; 200])[100..]).unwrap();
        while messages.next().unwrap().is_some() {
            taken += 1;
        }
        assert_eq!(messages.check_order(Kind::ApplicationData), Ok(()));
    }
    assert_eq!(taken, TICKETS_MAX);
    messages.push(&message(24, &[0])).unwrap();
    assert_eq!(messages.next(), Ok(Some(Message::KeyUpdate(KeyUpdate::NotRequested))));
}

#[test]
fn key_updates_are_taken_so_many_times_whatever_comes_between_them() {
    let mut messages = Messages::new(Version::Tls13, Peer::Client);
    for _ in 0..KEY_UPDATES_MAX {
        messages.push(&message(24, &[1])).unwrap();
        assert_eq!(messages.next(), Ok(Some(Message::KeyUpdate(KeyUpdate::Requested))));
        assert_eq!(messages.next(), Ok(None));
        assert_eq!(messages.check_order(Kind::ApplicationData), Ok(()));
    }
    messages.push(&message(24, &[1])).unwrap();
    assert_eq!(messages.next(), Err(MessageError::TooManyKeyUpdates));
}

#[test]
fn renegotiations_are_reported_and_their_bytes_passed_over() {
    let hello = message(1, &[24; 40_000]);
    let asks: [(Peer, &[u8]); 2] = [(Peer::Client, &hello), (Peer::Server, &[0, 0, 0, 0])];
    for (peer, ask) in asks {
        let mut messages = Messages::new(Version::Tls12, peer);
        for _ in 0..RENEGOTIATIONS_MAX {
            let mut reports = 0;
            for record in ask.chunks(16_384) {
                messages.push(record).unwrap();
                while let Some(message) = messages.next().unwrap() {
                    assert_eq!(message, Message::Renegotiation);
                    reports += 1;
                }
            }
            assert_eq!(reports, 1);
            assert_eq!(messages.check_order(Kind::ApplicationData), Ok(()));
        }
        messages.push(&ask[..ask.len().min(100)]).unwrap();
        assert_eq!(messages.next(), Err(MessageError::TooManyRenegotiations));
    }
}

#[test]
fn alerts_mean_what_the_versions_say() {
    use Notice::{Closed, Fatal, Warning};
    let (tls13, tls12) = (Version::Tls13, Version::Tls12);
    let cases: [(Version, &[u8], Result<Notice, AlertError>); 16] = [
        (tls13, &[1, 0], Ok(Closed)),
        (tls13, &[2, 0], Ok(Closed)),
        (tls12, &[1, 0], Ok(Closed)),
        (tls12, &[2, 0], Ok(Closed)),
        (tls13, &[1, 90], Ok(Warning(Alert::USER_CANCELED))),
        (tls12, &[1, 90], Ok(Warning(Alert::USER_CANCELED))),
        (tls12, &[2, 90], Ok(Fatal(Alert::USER_CANCELED))),
        (tls12, &[1, 100], Ok(Warning(Alert::NO_RENEGOTIATION))),
        (tls13, &[1, 100], Ok(Fatal(Alert::NO_RENEGOTIATION))),
        (tls13, &[1, 200], Ok(Fatal(Alert(200)))),
        (tls12, &[2, 20], Ok(Fatal(Alert::BAD_RECORD_MAC))),
        (tls12, &[3, 0], Err(AlertError::Level)),
        (tls13, &[0, 0], Err(AlertError::Level)),
        (tls13, &[1], Err(AlertError::Length)),
        (tls13, &[], Err(AlertError::Length)),
        (tls12, &[1, 0, 1, 0], Err(AlertError::Length)),
    ];
    for (version, bytes, expected) in cases {
        assert_eq!(read_alert(version, bytes), expected, "{version:?} {bytes:?}");
    }
}

#[test]
fn alerts_are_sent_at_their_level() {
    assert_eq!(Alert::CLOSE_NOTIFY.encode(), [1, 0]);
    assert_eq!(Alert::USER_CANCELED.encode(), [1, 90]);
    assert_eq!(Alert::NO_RENEGOTIATION.encode(), [1, 100]);
    assert_eq!(Alert::BAD_RECORD_MAC.encode(), [2, 20]);
    assert_eq!(Alert(40).to_string(), "handshake_failure");
    assert_eq!(Alert(200).to_string(), "alert 200");
}

/// Streams that are messages more often than chance would make them.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let code = prop_oneof![Just(0_u8), Just(1), Just(4), Just(24), any::<u8>()];
    let content = prop_oneof![Just(vec![]), Just(vec![0]), Just(vec![1]), vec(any::<u8>(), 0..90)];
    vec((code, content).prop_map(|(code, content)| message(code, &content)), 0..9)
        .prop_map(|messages| messages.concat())
}

proptest! {
    #[test]
    fn records_may_be_cut_anywhere(side in any::<u8>(), cut in any::<u8>(), stream in stream()) {
        checks::handshake_messages::check(&[&[side, cut][..], &stream].concat());
    }
}
