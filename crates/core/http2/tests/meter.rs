//! Budgets of frames: what each costs, that time pays, and that cuts do not matter.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use tidegate_http2::{
    CONTINUATIONS_MAX, EMPTY_DATA_MAX, Flood, HEADER_BLOCK_BYTES_MAX, Meter, PINGS_MAX, PREFACE,
    PRIORITIES_MAX, RESETS_MAX, Rate, SETTINGS_MAX, STREAMS_UNANSWERED_MAX, WINDOW_UPDATES_MAX,
};

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short");
    let mut frame = length.to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

fn begun(now: Instant) -> Meter {
    let mut meter = Meter::new(now);
    meter.receive(PREFACE, now).expect("the preface costs nothing");
    meter
}

/// A burst passes, one more does not; and after a second so many pass again.
#[track_caller]
fn check(flood: Flood, rate: Rate, cost: u32, frame: impl Fn(u32) -> Vec<u8>) {
    let start = Instant::now();
    let mut meter = begun(start);
    let mut number = 0;
    let mut send = |meter: &mut Meter, count: u32, now| {
        (0..count).try_for_each(|_| {
            number += 1;
            meter.receive(&frame(number), now)
        })
    };
    assert_eq!(send(&mut meter, rate.burst / cost, start), Ok(()));
    let later = start + Duration::from_secs(1);
    assert_eq!(send(&mut meter, rate.per_second / cost, later), Ok(()), "what a second pays");
    assert_eq!(send(&mut meter, 1, later), Err(flood));
}

#[test]
fn each_kind_has_its_budget_and_time_pays_it_back() {
    check(Flood::Resets, RESETS_MAX, 1, |n| frame(3, 0, 2 * n - 1, &[0; 4]));
    check(Flood::Streams, STREAMS_UNANSWERED_MAX, 1, |n| frame(1, 5, 2 * n - 1, b"\x82"));
    check(Flood::Pings, PINGS_MAX, 1, |_| frame(6, 0, 0, &[0; 8]));
    check(Flood::Settings, SETTINGS_MAX, 1, |_| frame(4, 0, 0, &[]));
    check(Flood::Priorities, PRIORITIES_MAX, 1, |_| frame(2, 0, 1, &[0; 5]));
    check(Flood::WindowUpdates, WINDOW_UPDATES_MAX, 1, |_| frame(8, 0, 0, &[0, 0, 1, 0]));
    check(Flood::WindowUpdates, WINDOW_UPDATES_MAX, 4, |_| frame(8, 0, 1, &[0, 0, 0, 1]));
    check(Flood::EmptyData, EMPTY_DATA_MAX, 1, |_| frame(0, 0, 1, &[]));
    check(Flood::EmptyData, EMPTY_DATA_MAX, 1, |_| frame(0, 8, 1, &[0]));
}

#[test]
fn what_is_cheap_or_answered_costs_nothing() {
    let now = Instant::now();
    let mut meter = begun(now);
    for number in 0..10_000 {
        for free in [
            frame(0, 0, 1, b"x"),
            frame(0, 1, 1, b""),
            frame(4, 1, 0, b""),
            frame(6, 1, 0, &[0; 8]),
            frame(1, 5, 1, b"\x82"),
            frame(1, 5, 2 * number + 3, b"\x82"),
        ] {
            assert_eq!(meter.receive(&free, now), Ok(()));
        }
        meter.note_answered();
    }
}

#[test]
fn a_block_of_fields_has_few_continuations_and_bytes() {
    let now = Instant::now();
    let mut meter = begun(now);
    assert_eq!(meter.receive(&frame(1, 0, 1, b""), now), Ok(()));
    for _ in 0..CONTINUATIONS_MAX {
        assert_eq!(meter.receive(&frame(9, 0, 1, b""), now), Ok(()));
    }
    assert_eq!(meter.receive(&frame(9, 4, 1, b""), now), Err(Flood::Continuations));

    let mut meter = begun(now);
    let half = vec![0; HEADER_BLOCK_BYTES_MAX as usize / 2];
    for stream in [1, 3] {
        assert_eq!(meter.receive(&frame(1, 0, stream, &half), now), Ok(()));
        assert_eq!(meter.receive(&frame(9, 4, stream, &half), now), Ok(()));
    }
    assert_eq!(meter.receive(&frame(1, 0, 5, &half), now), Ok(()));
    assert_eq!(meter.receive(&frame(9, 0, 5, &half), now), Ok(()));
    assert_eq!(meter.receive(&frame(9, 0, 5, b"x"), now), Err(Flood::HeaderBytes));
}

proptest! {
    #[test]
    fn any_cut_charges_the_same(
        frames in proptest::collection::vec((0_u8..11, any::<u8>(), 0_u32..9, 0_usize..20), 0..300),
        cuts in proptest::collection::vec(1_usize..40, 1..30),
    ) {
        let now = Instant::now();
        let mut bytes = PREFACE.to_vec();
        for (kind, flags, stream, length) in frames {
            bytes.extend(frame(kind, flags, stream, &vec![0; length]));
        }
        let (mut whole, mut cut) = (Meter::new(now), Meter::new(now));
        let mut rest = &bytes[..];
        let mut verdict = Ok(());
        for length in cuts.iter().cycle() {
            let (piece, behind) = rest.split_at((*length).min(rest.len()));
            verdict = cut.receive(piece, now);
            rest = behind;
            if rest.is_empty() || verdict.is_err() {
                break;
            }
        }
        prop_assert_eq!(verdict, whole.receive(&bytes, now));
    }
}
