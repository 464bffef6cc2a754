//! Bodies come back as they were from decoders of other hands, at every level, in any pieces.

mod checks;

use checks::stream::{Flush, Piece, check, check_pieces, decode, encode, levels, start};
use tidegate_compression::{Coding, Levels, PRODUCED_MIN, Pool, PoolLimits};
use tidegate_testkit::{Rng, for_each_seed, json, seed};

fn whole(bytes: &[u8]) -> Vec<Piece> {
    vec![Piece { bytes: bytes.to_vec(), flush: Flush::None }]
}

#[test]
fn bodies_of_every_kind_come_back_at_every_level() {
    let seed = seed();
    let mut rng = seed.rng();
    let bodies = [
        Vec::new(),
        b"x".to_vec(),
        vec![0; 300_000],
        rng.bytes(300_000),
        json(seed.value(), 200_000),
    ];
    for level in levels() {
        for body in &bodies {
            check_pieces(level, &whole(body), 16 * 1024);
        }
    }
}

#[test]
fn an_empty_body_is_a_valid_coded_body() {
    for level in levels() {
        let pool = Pool::new(PoolLimits::default());
        let coded = encode(&mut start(&pool, level), &[], PRODUCED_MIN);
        assert!(!coded.is_empty());
        assert_eq!(decode(level.coding(), &coded), Ok(Vec::new()), "{level:?}");
    }
}

#[test]
fn random_pieces_flushes_and_room_make_no_difference_to_the_decoder() {
    let seed = seed();
    let mut rng = seed.rng();
    let levels = levels();
    for _ in 0..100 {
        let length = *rng.choose(&[0, 1, 100, 5_000, 80_000]);
        let body = if rng.below(3) == 0 {
            rng.bytes(length)
        } else {
            json(rng.next_u64(), length.max(100))
        };
        let produced_max = *rng.choose(&[PRODUCED_MIN, 17, 64, 4_096, 65_536]);
        let pieces = split(&mut rng, &body);
        check_pieces(*rng.choose(&levels), &pieces, produced_max);
    }
}

/// Pieces of random sizes; few flushes, since each is checked by decoding all that came before.
fn split(rng: &mut Rng, mut body: &[u8]) -> Vec<Piece> {
    let piece_max = *rng.choose(&[1, 50, 2_000, 20_000]);
    let mut pieces = Vec::new();
    while !body.is_empty() && pieces.len() < 500 {
        let (bytes, rest) = body.split_at((rng.below(piece_max) + 1).min(body.len()));
        let flush = match rng.below(40) {
            0 => Flush::Whole,
            1..4 => Flush::Begun,
            _ => Flush::None,
        };
        pieces.push(Piece { bytes: bytes.to_vec(), flush });
        body = rest;
    }
    pieces.extend(whole(body));
    pieces
}

#[test]
fn every_event_of_a_stream_is_out_when_it_was_flushed() {
    for level in levels() {
        let event = |number| {
            let bytes = format!("id: {number}\ndata: {{\"price\": {}}}\n\n", number * 7);
            Piece { bytes: bytes.into_bytes(), flush: Flush::Whole }
        };
        check_pieces(level, &(0..50).map(event).collect::<Vec<_>>(), 1024);
    }
}

#[test]
fn a_state_changes_its_level_without_a_trace_of_the_last() {
    let (first, second) = (json(1, 100_000), json(2, 100_000));
    for before in levels() {
        for after in levels() {
            if before.coding() != after.coding() {
                continue;
            }
            let fresh = Pool::new(PoolLimits::default());
            let expected = encode(&mut start(&fresh, after), &whole(&second), 65_536);
            let used = Pool::new(PoolLimits::default());
            encode(&mut start(&used, before), &whole(&first), 65_536);
            let found = encode(&mut start(&used, after), &whole(&second), 65_536);
            assert!(found == expected, "{after:?} after {before:?}");
        }
    }
}

/// Where a body pauses, a library may look at what lies beyond it in its window: bytes of the body
/// before, if they are still there.
#[test]
fn a_body_that_pauses_shows_nothing_of_the_body_before() {
    let pieces: Vec<Piece> = json(2, 40_000)
        .chunks(50)
        .map(|bytes| Piece { bytes: bytes.to_vec(), flush: Flush::Begun })
        .collect();
    for level in levels() {
        let pool = Pool::new(PoolLimits::default());
        let expected = encode(&mut start(&pool, level), &pieces, 1024);
        for length in [5_000, 65_535, 65_536, 200_000] {
            encode(&mut start(&pool, level), &whole(&json(1, length)), 1024);
            let found = encode(&mut start(&pool, level), &pieces, 1024);
            assert!(found == expected, "{level:?} after {length} bytes");
        }
    }
}

#[test]
fn json_shrinks_to_a_third_at_the_default_levels() {
    let body = json(1, 65_536);
    let pool = Pool::new(PoolLimits::default());
    for coding in Coding::ALL {
        let mut encoder = start(&pool, Levels::default().of(coding));
        let coded = encode(&mut encoder, &whole(&body), 65_536);
        assert!(coded.len() * 3 < body.len(), "{coding:?}: {} bytes", coded.len());
    }
}

#[test]
fn wrong_bodies_are_noticed_by_the_decoders() {
    let body = json(1, 10_000);
    let pool = Pool::new(PoolLimits::default());
    for level in levels() {
        let coded = encode(&mut start(&pool, level), &whole(&body), 65_536);
        let short = &coded[..coded.len() - 1];
        assert!(decode(level.coding(), short).as_ref() != Ok(&body), "{level:?} without its end");
        let long = [&coded[..], b"x"].concat();
        assert!(decode(level.coding(), &long).as_ref() != Ok(&body), "{level:?} with more");
    }
}

#[test]
fn the_corpus_comes_back() {
    for_each_seed("compress", check);
}

#[test]
fn random_scripts_come_back() {
    let seed = seed();
    let mut rng = seed.rng();
    for _ in 0..300 {
        let length = rng.below(200);
        check(&rng.bytes(length));
    }
}
