//! Records against the RFCs: what is opened, what is refused, how much fits.

mod checks;

use checks::forge::{ALERT, DATA, HANDSHAKE, SUITES, Suite};
use proptest::collection::vec;
use proptest::prelude::*;
use tidegate_tls_records::{
    Alert, Cipher, KeyError, KeyUpdate, Kind, Opened, Opener, PLAINTEXT_BYTES_MAX,
    RECORD_BYTES_MAX, RECORDS_PER_KEY_MAX, RECORDS_UNTIL_UPDATE_MAX, RECORDS_WITHOUT_DATA_MAX,
    RecordError, SealError, Sealer, Secret, UpdateError, Version,
};

fn open(opener: &mut Opener, record: &[u8]) -> Result<(Kind, Vec<u8>), RecordError> {
    let mut bytes = record.to_vec();
    match opener.open(&mut bytes)? {
        Opened::Record { kind, plaintext, taken } => {
            assert_eq!(taken, record.len());
            Ok((kind, bytes[plaintext].to_vec()))
        }
        Opened::Incomplete { needed } => panic!("{needed} needed of {}", record.len()),
    }
}

fn tls13() -> impl Iterator<Item = Suite> {
    SUITES.into_iter().filter(|suite| suite.version == Version::Tls13)
}

fn tls12() -> impl Iterator<Item = Suite> {
    SUITES.into_iter().filter(|suite| suite.version == Version::Tls12)
}

#[test]
fn each_kind_is_opened() {
    for suite in SUITES {
        let mut opener = suite.opener(7);
        let kinds =
            [(ALERT, Kind::Alert), (HANDSHAKE, Kind::Handshake), (DATA, Kind::ApplicationData)];
        for (number, (code, kind)) in kinds.into_iter().enumerate() {
            let record = suite.plain(7 + number as u64, code, b"some bytes");
            assert_eq!(open(&mut opener, &record), Ok((kind, b"some bytes".to_vec())), "{suite:?}");
        }
    }
}

#[test]
fn each_part_of_a_record_is_incomplete_and_says_what_is_needed() {
    for suite in SUITES {
        let (mut opener, record) = (suite.opener(0), suite.plain(0, DATA, b"some bytes"));
        for end in 0..record.len() {
            let mut bytes = record[..end].to_vec();
            let needed = if end < 5 { 5 } else { record.len() };
            assert_eq!(opener.open(&mut bytes), Ok(Opened::Incomplete { needed }), "{suite:?}");
            assert_eq!(bytes, record[..end]);
        }
        assert!(open(&mut opener, &record).is_ok());
    }
}

#[test]
fn every_flipped_bit_is_refused() {
    for suite in SUITES {
        let record = suite.plain(0, DATA, b"some bytes");
        for bit in 0..record.len() * 8 {
            let (mut opener, mut changed) = (suite.opener(0), record.clone());
            changed[bit / 8] ^= 1 << (bit % 8);
            // A length that grew waits for more, and is refused with it.
            changed.resize(RECORD_BYTES_MAX, 0);
            let outcome = opener.open(&mut changed);
            assert!(
                outcome.is_err()
                    || matches!(outcome, Ok(Opened::Incomplete { needed }) if needed > record.len()),
                "{suite:?}, bit {bit}: {outcome:?}"
            );
            assert!(bit / 8 < 5 || outcome == Err(RecordError::BadMac), "{suite:?}, bit {bit}");
        }
    }
}

#[test]
fn every_record_that_was_cut_is_refused() {
    for suite in SUITES {
        let record = suite.plain(0, DATA, b"some bytes");
        for cut in 1..=record.len() - 5 {
            let mut changed = record[..record.len() - cut].to_vec();
            let length = u16::try_from(changed.len() - 5).unwrap();
            changed[3..5].copy_from_slice(&length.to_be_bytes());
            assert_eq!(
                open(&mut suite.opener(0), &changed),
                Err(RecordError::BadMac),
                "{suite:?}, {cut}"
            );
        }
    }
}

#[test]
fn records_out_of_order_repeated_or_left_out_are_refused() {
    for suite in SUITES {
        let records: Vec<_> = (0..3).map(|number| suite.plain(number, DATA, b"x")).collect();
        let mut opener = suite.opener(0);
        assert!(open(&mut opener, &records[0]).is_ok());
        assert_eq!(open(&mut opener, &records[0]), Err(RecordError::BadMac));
        assert_eq!(open(&mut opener, &records[2]), Err(RecordError::BadMac));
        assert!(open(&mut opener, &records[1]).is_ok());
    }
}

#[test]
fn headers_that_may_not_be_are_refused_before_the_rest_is_there() {
    let types13 = [0, 20, 21, 22, 24, 255]
        .map(|code| ([code, 3, 3, 0, 40], RecordError::UnexpectedType(code)));
    let types12 =
        [0, 20, 24, 255].map(|code| ([code, 3, 3, 0, 40], RecordError::UnexpectedType(code)));
    let both = [
        ([23, 3, 1, 0, 40], RecordError::Version(0x301)),
        ([23, 3, 4, 0, 40], RecordError::Version(0x304)),
        ([23, 2, 3, 0, 40], RecordError::Version(0x203)),
        ([23, 3, 3, 0xff, 0xff], RecordError::Overflow),
        ([23, 3, 3, 0, 0], RecordError::BadMac),
        ([23, 3, 3, 0, 15], RecordError::BadMac),
    ];
    for suite in SUITES {
        let types = if suite.version == Version::Tls13 { &types13[..] } else { &types12[..] };
        for (header, error) in types.iter().chain(&both) {
            assert_eq!(
                suite.opener(0).open(&mut header.clone()),
                Err(*error),
                "{suite:?} {header:?}"
            );
        }
    }
}

#[test]
fn a_record_carries_at_most_the_most() {
    let most = vec![b'x'; PLAINTEXT_BYTES_MAX];
    for suite in SUITES {
        let record = suite.plain(0, DATA, &most);
        assert!(record.len() <= RECORD_BYTES_MAX);
        assert_eq!(open(&mut suite.opener(0), &record), Ok((Kind::ApplicationData, most.clone())));
        let record = suite.plain(0, DATA, &[&most[..], b"x"].concat());
        assert_eq!(open(&mut suite.opener(0), &record), Err(RecordError::Overflow), "{suite:?}");
    }
    for suite in tls13() {
        // The type and the padding count (RFC 8446 §5.4): one more byte is one too many, whatever it is.
        let padded = [&most[1..], &[DATA, 0]].concat();
        assert_eq!(
            open(&mut suite.opener(0), &suite.record(0, DATA, &padded)).unwrap().1,
            most[1..]
        );
        let padded = [&most[..], &[DATA, 0]].concat();
        let record = suite.record(0, DATA, &padded);
        assert_eq!(open(&mut suite.opener(0), &record), Err(RecordError::Overflow));
    }
    for length in [PLAINTEXT_BYTES_MAX + 256, PLAINTEXT_BYTES_MAX + 257, PLAINTEXT_BYTES_MAX + 2049]
    {
        let [.., high, low] = length.to_be_bytes();
        for suite in SUITES {
            let outcome = suite.opener(0).open(&mut [23, 3, 3, high, low]);
            assert_eq!(outcome, Err(RecordError::Overflow));
        }
    }
}

#[test]
fn inside_of_tls13_only_what_may_be() {
    let cases: [(&[u8], RecordError); 9] = [
        (b"", RecordError::OnlyPadding),
        (&[0], RecordError::OnlyPadding),
        (&[0; 300], RecordError::OnlyPadding),
        (&[ALERT], RecordError::Empty),
        (&[HANDSHAKE, 0, 0], RecordError::Empty),
        (&[1, 20], RecordError::UnexpectedType(20)),
        (&[1, 24, 0], RecordError::UnexpectedType(24)),
        (&[23, 1], RecordError::UnexpectedType(1)),
        (&[1, 255, 0], RecordError::UnexpectedType(255)),
    ];
    for (suite, (content, error)) in tls13().flat_map(|suite| cases.map(|case| (suite, case))) {
        let record = suite.record(0, DATA, content);
        assert_eq!(open(&mut suite.opener(0), &record), Err(error), "{suite:?} {content:?}");
        assert_eq!(error.alert(), Alert::UNEXPECTED_MESSAGE);
    }
    for (suite, code) in tls12().flat_map(|suite| [ALERT, HANDSHAKE].map(|code| (suite, code))) {
        let record = suite.record(0, code, b"");
        assert_eq!(
            open(&mut suite.opener(0), &record),
            Err(RecordError::Empty),
            "{suite:?} {code}"
        );
    }
}

#[test]
fn records_without_data_are_a_flood_in_a_row_alone() {
    let quiet: [(u8, &[u8]); 3] = [(DATA, b""), (ALERT, &[1, 90]), (HANDSHAKE, &[0, 0, 0, 0])];
    for (suite, (code, plaintext)) in
        SUITES.into_iter().flat_map(|suite| quiet.map(|quiet| (suite, quiet)))
    {
        let (mut opener, mut number) = (suite.opener(0), 0);
        let mut next = |code, plaintext: &[u8]| {
            number += 1;
            open(&mut opener, &suite.plain(number - 1, code, plaintext)).map(|_| ())
        };
        for _ in 0..3 {
            for _ in 0..RECORDS_WITHOUT_DATA_MAX {
                assert_eq!(next(code, plaintext), Ok(()));
            }
            assert_eq!(next(DATA, b"x"), Ok(()));
        }
        for _ in 0..RECORDS_WITHOUT_DATA_MAX {
            assert_eq!(next(code, plaintext), Ok(()));
        }
        assert_eq!(next(code, plaintext), Err(RecordError::Flood), "{suite:?} {code}");
    }
}

#[test]
fn sequence_numbers_do_not_wrap() {
    for suite in SUITES {
        let last = suite.plain(u64::MAX, DATA, b"x");
        let mut opener = suite.opener(u64::MAX - 1);
        assert!(open(&mut opener, &suite.plain(u64::MAX - 1, DATA, b"x")).is_ok());
        assert_eq!(open(&mut opener, &last), Err(RecordError::SequenceExhausted));
        let (mut sealer, mut out) = (suite.sealer(u64::MAX - 1), b"before".to_vec());
        assert_eq!(sealer.alert(Alert::CLOSE_NOTIFY, &mut out), Ok(()));
        let length = out.len();
        assert_eq!(sealer.alert(Alert::CLOSE_NOTIFY, &mut out), Err(SealError::KeyExhausted));
        assert_eq!(out.len(), length);
    }
}

#[test]
fn a_key_seals_as_many_records_as_it_may() {
    for suite in SUITES {
        let is_limited = suite.cipher != Cipher::ChaCha20Poly1305;
        assert!(!suite.sealer(RECORDS_UNTIL_UPDATE_MAX - 1).needs_key_update());
        assert_eq!(
            suite.sealer(RECORDS_UNTIL_UPDATE_MAX).needs_key_update(),
            is_limited,
            "{suite:?}"
        );
        let (mut sealer, mut out) = (suite.sealer(RECORDS_PER_KEY_MAX - 1), Vec::new());
        let two = vec![b'x'; PLAINTEXT_BYTES_MAX + 1];
        let exhausted = if is_limited { Err(SealError::KeyExhausted) } else { Ok(()) };
        assert_eq!(sealer.seal(Kind::ApplicationData, &two, &mut out), exhausted);
        assert_eq!(out.is_empty(), is_limited, "a part of the plaintext was sealed");
        let mut sealer = suite.sealer(RECORDS_PER_KEY_MAX - 1);
        assert_eq!(sealer.seal(Kind::ApplicationData, b"x", &mut out), Ok(()));
        assert_eq!(sealer.seal(Kind::ApplicationData, b"x", &mut out), exhausted);
        // Enough is left to end the connection, or to change the key and go on.
        assert_eq!(sealer.alert(Alert::CLOSE_NOTIFY, &mut out), Ok(()));
        let updated = sealer.update_key(KeyUpdate::NotRequested, &suite.secret(), &mut out);
        if suite.version == Version::Tls13 {
            assert_eq!(updated, Ok(()));
            assert_eq!(sealer.seal(Kind::ApplicationData, b"x", &mut out), Ok(()));
        } else {
            assert_eq!(updated, Err(UpdateError::Key(KeyError::NoKeyUpdate)));
        }
    }
}

#[test]
fn keys_are_changed_on_both_sides() {
    for suite in tls13() {
        let next = Secret { iv: b"another one!", ..suite.secret() };
        let (mut sealer, mut opener) = (suite.sealer(40), suite.opener(40));
        let (mut old, mut new) = (Vec::new(), Vec::new());
        sealer.update_key(KeyUpdate::Requested, &next, &mut old).unwrap();
        sealer.seal(Kind::ApplicationData, b"new", &mut new).unwrap();
        assert_eq!(
            open(&mut opener, &old),
            Ok((Kind::Handshake, KeyUpdate::Requested.encode().to_vec()))
        );
        assert_eq!(open(&mut opener, &new), Err(RecordError::BadMac));
        opener.rekey(&next).unwrap();
        assert_eq!(open(&mut opener, &new), Ok((Kind::ApplicationData, b"new".to_vec())));
    }
    for suite in tls12() {
        assert_eq!(suite.opener(0).rekey(&suite.secret()), Err(KeyError::NoKeyUpdate));
    }
}

#[test]
fn secrets_of_other_lengths_are_refused() {
    for suite in SUITES {
        let good = suite.secret();
        for secret in [
            Secret { key: &good.key[1..], ..good },
            Secret { key: &[0; 64], ..good },
            Secret { iv: &good.iv[..4], ..good },
            Secret { iv: b"", ..good },
        ] {
            assert_eq!(Opener::new(suite.version, &secret, 0).err(), Some(KeyError::Length));
            assert_eq!(Sealer::new(suite.version, &secret, 0).err(), Some(KeyError::Length));
        }
    }
}

#[test]
fn a_sealed_record_is_what_the_rfcs_say() {
    for suite in SUITES.into_iter().filter(|suite| !suite.is_explicit()) {
        for (kind, code) in
            [(Kind::Alert, ALERT), (Kind::Handshake, HANDSHAKE), (Kind::ApplicationData, DATA)]
        {
            let mut out = b"before".to_vec();
            suite.sealer(5).seal(kind, b"some bytes", &mut out).unwrap();
            assert_eq!(
                out,
                [&b"before"[..], &suite.plain(5, code, b"some bytes")].concat(),
                "{suite:?}"
            );
        }
    }
}

#[test]
fn explicit_nonces_are_none_twice() {
    for suite in tls12().filter(|suite| suite.is_explicit()) {
        let (mut sealer, mut out) = (suite.sealer(0), Vec::new());
        let mut nonces = std::collections::BTreeSet::new();
        for _ in 0..1000 {
            out.clear();
            sealer.seal(Kind::ApplicationData, b"x", &mut out).unwrap();
            assert!(nonces.insert(out[5..13].to_vec()), "a nonce came twice");
        }
    }
}

#[test]
fn openers_and_sealers_are_small() {
    assert!(size_of::<Opener>() <= 56, "{}", size_of::<Opener>());
    assert!(size_of::<Sealer>() <= 48, "{}", size_of::<Sealer>());
}

fn suites() -> impl Strategy<Value = Suite> {
    (0..SUITES.len()).prop_map(|at| SUITES[at])
}

/// Everything that the wire's bytes carry, delivered in such pieces.
fn received(suite: Suite, wire: &[u8], pieces: &[usize]) -> Result<Vec<u8>, RecordError> {
    let (mut opener, mut buffer, mut plain) = (suite.opener(0), Vec::new(), Vec::new());
    let (mut left, mut pieces) = (wire, pieces.iter().cycle());
    loop {
        match opener.open(&mut buffer)? {
            Opened::Record { plaintext, taken, .. } => {
                plain.extend_from_slice(&buffer[plaintext]);
                buffer.drain(..taken);
            }
            Opened::Incomplete { needed } => {
                assert!(needed > buffer.len());
                if left.is_empty() {
                    assert!(buffer.is_empty());
                    return Ok(plain);
                }
                let piece = pieces.next().map_or(1, |piece| *piece).min(left.len());
                buffer.extend_from_slice(&left[..piece]);
                left = &left[piece..];
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_was_sealed_in_any_parts_is_opened_in_any_pieces(
        suite in suites(),
        parts in vec(vec(any::<u8>(), 0..20_000), 0..5),
        cuts in vec(1_usize..30_000, 1..5),
    ) {
        let whole = parts.concat();
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        let (mut sealer, mut wire) = (suite.sealer(0), Vec::new());
        sealer.seal_parts(Kind::ApplicationData, &parts, &mut wire).unwrap();
        prop_assert_eq!(wire.len(), sealer.sealed_bytes(whole.len()));
        let mut at_once = Vec::new();
        suite.sealer(0).seal(Kind::ApplicationData, &whole, &mut at_once).unwrap();
        prop_assert_eq!(&wire, &at_once);
        prop_assert_eq!(received(suite, &wire, &cuts), Ok(whole));
    }

    #[test]
    fn any_padding_is_taken_off(
        plaintext in vec(any::<u8>(), 1..2000),
        padding in 0_usize..PLAINTEXT_BYTES_MAX - 2000,
    ) {
        for suite in tls13() {
            let content = [&plaintext[..], &[DATA], &vec![0; padding]].concat();
            let opened = open(&mut suite.opener(0), &suite.record(0, DATA, &content));
            prop_assert_eq!(opened, Ok((Kind::ApplicationData, plaintext.clone())));
        }
    }

    #[test]
    fn any_script_is_judged_as_the_rfcs_say(script in vec(any::<u8>(), 0..600)) {
        checks::records::check(&script);
    }
}
