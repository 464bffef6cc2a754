//! A coded body decodes to what went in, whatever its pieces, flushes and room for output; a flush
//! brings out everything; a state that was used before makes no difference.

use std::io::Read;

use brotli::enc::StandardAlloc;
use brotli::{BrotliDecompressStream, BrotliResult, BrotliState};
use miniz_oxide::inflate::stream::{InflateState, inflate};
use miniz_oxide::{DataFormat, MZFlush, MZStatus};
use tidegate_compression::{
    BrotliLevel, Coding, Encoder, GzipLevel, Level, PRODUCED_MIN, Pool, PoolLimits, ZstdLevel,
};

/// Every level of every coding.
pub fn levels() -> Vec<Level> {
    let gzip = (0..=u8::MAX).filter_map(GzipLevel::new).map(Level::Gzip);
    let brotli = (0..=u8::MAX).filter_map(BrotliLevel::new).map(Level::Brotli);
    let zstd = (0..=u8::MAX).filter_map(ZstdLevel::new).map(Level::Zstd);
    gzip.chain(brotli).chain(zstd).collect()
}

/// A piece of a body, and what follows it.
#[derive(Clone, Debug)]
pub struct Piece {
    pub bytes: Vec<u8>,
    pub flush: Flush,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    None,
    /// Until it is complete.
    Whole,
    /// One call, complete or not.
    Begun,
}

/// Runs the script that `data` spells: a level, the room for output, and pieces.
pub fn check(data: &[u8]) {
    let (&[level, room, ref script @ ..], levels) = (data, levels()) else {
        return;
    };
    let level = levels[usize::from(level) % levels.len()];
    let produced_max = PRODUCED_MIN << (room % 12);
    check_pieces(level, &pieces(script), produced_max);
}

/// A control byte says how many bytes follow, how often they repeat, and whether to flush.
fn pieces(mut script: &[u8]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    while let [control, rest @ ..] = script {
        let (bytes, rest) = rest.split_at(usize::from(control & 0x0F).min(rest.len()));
        let flush = match control >> 6 {
            2 => Flush::Begun,
            3 => Flush::Whole,
            _ => Flush::None,
        };
        pieces.push(Piece { bytes: bytes.repeat(1 << (3 * ((control >> 4) & 3))), flush });
        script = rest;
    }
    pieces
}

/// Encodes twice, with a new state and, after a body that was given up, with a used one.
pub fn check_pieces(level: Level, pieces: &[Piece], produced_max: usize) {
    let pool = Pool::new(PoolLimits::default());
    let first = encode(&mut start(&pool, level), pieces, produced_max);
    let body: Vec<u8> = pieces.iter().flat_map(|piece| piece.bytes.iter().copied()).collect();
    assert_eq!(decode(level.coding(), &first), Ok(body));

    let mut given_up = start(&pool, level);
    let secret: Vec<u8> =
        b"set-cookie: session=secret".iter().copied().cycle().take(1000).collect();
    given_up.encode(&secret, &mut Vec::new(), PRODUCED_MIN).expect("it encodes");
    given_up.flush(&mut Vec::new(), PRODUCED_MIN).expect("it encodes");
    drop(given_up);
    let second = encode(&mut start(&pool, level), pieces, produced_max);
    assert!(first == second, "a used state of {level:?} encodes differently");
    assert_eq!(pool.active_bytes(), 0);
}

pub fn start(pool: &Pool, level: Level) -> Encoder {
    pool.start(level).expect("the pool has room")
}

/// The coded body; checks each call and each complete flush on the way.
pub fn encode(encoder: &mut Encoder, pieces: &[Piece], produced_max: usize) -> Vec<u8> {
    let coding = encoder.coding();
    let (mut out, mut body) = (Vec::new(), Vec::new());
    for piece in pieces {
        let mut rest = piece.bytes.as_slice();
        loop {
            let before = out.len();
            let progress = encoder.encode(rest, &mut out, produced_max).expect("it encodes");
            assert_eq!(out.len() - before, progress.produced);
            assert!(progress.produced <= produced_max);
            rest = &rest[progress.consumed..];
            if progress.is_done {
                break;
            }
        }
        assert!(rest.is_empty());
        body.extend_from_slice(&piece.bytes);
        match piece.flush {
            Flush::None => {}
            Flush::Begun => {
                encoder.flush(&mut out, produced_max).expect("it flushes");
            }
            Flush::Whole => {
                repeat(produced_max, &mut out, |out| encoder.flush(out, produced_max));
                let seen = decode_begun(coding, &out);
                assert!(seen == body, "a flush held back {} bytes", body.len() - seen.len());
            }
        }
    }
    repeat(produced_max, &mut out, |out| encoder.finish(out, produced_max));
    let finished = out.len();
    assert!(encoder.finish(&mut out, produced_max).expect("it has ended").is_done);
    assert_eq!(out.len(), finished, "an end adds nothing when repeated");
    out
}

fn repeat(
    produced_max: usize,
    out: &mut Vec<u8>,
    mut step: impl FnMut(
        &mut Vec<u8>,
    )
        -> Result<tidegate_compression::Progress, tidegate_compression::EncodeError>,
) {
    loop {
        let before = out.len();
        let progress = step(out).expect("it encodes");
        assert_eq!(progress.consumed, 0);
        assert_eq!(out.len() - before, progress.produced);
        assert!(progress.produced <= produced_max);
        if progress.is_done {
            break;
        }
    }
}

/// Decodes a whole coded body with a decoder of other hands than the encoder; bytes that are missing
/// or too many are errors.
pub fn decode(coding: Coding, coded: &[u8]) -> Result<Vec<u8>, String> {
    match coding {
        Coding::Gzip => decode_gzip(coded),
        Coding::Brotli => match decode_brotli(coded) {
            (body, coded_bytes, true) if coded_bytes == coded.len() => Ok(body),
            (_, coded_bytes, is_whole) => Err(format!("{coded_bytes} bytes, whole: {is_whole}")),
        },
        Coding::Zstd => {
            let (mut source, mut body) = (coded, Vec::new());
            let decoder = ruzstd::decoding::StreamingDecoder::new(&mut source);
            let mut decoder = decoder.map_err(|error| error.to_string())?;
            decoder.read_to_end(&mut body).map_err(|error| error.to_string())?;
            if source.is_empty() { Ok(body) } else { Err("bytes after the end".to_owned()) }
        }
    }
}

/// What a decoder gives out for a coded body that has not ended.
pub fn decode_begun(coding: Coding, coded: &[u8]) -> Vec<u8> {
    match coding {
        Coding::Gzip => inflate_deflated(coded.get(GZIP_HEAD.len()..).unwrap_or_default()).0,
        Coding::Brotli => decode_brotli(coded).0,
        Coding::Zstd => {
            let mut decoder = zstd_safe::DCtx::create();
            let mut source = zstd_safe::InBuffer::around(coded);
            let (mut body, mut buffer) = (Vec::new(), [0; 4096]);
            loop {
                let mut sink = zstd_safe::OutBuffer::around(&mut buffer[..]);
                decoder.decompress_stream(&mut sink, &mut source).expect("it is valid so far");
                let count = sink.pos();
                body.extend_from_slice(&buffer[..count]);
                if count == 0 && source.pos() == coded.len() {
                    break body;
                }
            }
        }
    }
}

/// Identification, deflate, no flags, no time; what follows are hints and the operating system.
const GZIP_HEAD: [u8; 10] = [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 0];

fn decode_gzip(coded: &[u8]) -> Result<Vec<u8>, String> {
    if coded.len() < GZIP_HEAD.len() || coded[..8] != GZIP_HEAD[..8] {
        return Err("the head is not of gzip".to_owned());
    }
    let (body, deflated_bytes, is_whole) = inflate_deflated(&coded[GZIP_HEAD.len()..]);
    if !is_whole {
        return Err("the body has no end".to_owned());
    }
    let length = u32::try_from(body.len() & 0xFFFF_FFFF).expect("it is masked");
    let trailer = [crc32(&body).to_le_bytes(), length.to_le_bytes()].concat();
    let found = &coded[GZIP_HEAD.len() + deflated_bytes..];
    if found == trailer { Ok(body) } else { Err(format!("trailer {found:?}, not {trailer:?}")) }
}

/// The body, the bytes that it took, and whether it has ended.
fn inflate_deflated(deflated: &[u8]) -> (Vec<u8>, usize, bool) {
    let mut state = InflateState::new_boxed(DataFormat::Raw);
    let (mut body, mut buffer, mut position) = (Vec::new(), [0; 4096], 0);
    loop {
        let result = inflate(&mut state, &deflated[position..], &mut buffer, MZFlush::None);
        position += result.bytes_consumed;
        body.extend_from_slice(&buffer[..result.bytes_written]);
        match result.status {
            Ok(MZStatus::StreamEnd) => return (body, position, true),
            Ok(_) if result.bytes_written > 0 || result.bytes_consumed > 0 => {}
            _ => return (body, position, false),
        }
    }
}

/// The body, the bytes that it took, and whether it has ended.
fn decode_brotli(coded: &[u8]) -> (Vec<u8>, usize, bool) {
    let heap = StandardAlloc::default;
    let mut state = BrotliState::new(heap(), heap(), heap());
    let (mut body, mut buffer, mut position) = (Vec::new(), [0; 4096], 0);
    loop {
        let (mut input_left, mut room, mut count) = (coded.len() - position, buffer.len(), 0);
        let result = BrotliDecompressStream(
            &mut input_left,
            &mut position,
            coded,
            &mut room,
            &mut count,
            &mut buffer,
            &mut 0,
            &mut state,
        );
        body.extend_from_slice(&buffer[..count]);
        match result {
            BrotliResult::ResultSuccess => return (body, position, true),
            BrotliResult::NeedsMoreOutput => {}
            // All input is read, and what the buffer had no room for is still to come.
            BrotliResult::NeedsMoreInput if count > 0 => {}
            BrotliResult::NeedsMoreInput | BrotliResult::ResultFailure => {
                return (body, position, false);
            }
        }
    }
}

/// The checksum of RFC 1952 §8, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
    let byte = |crc: u32, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc));
    !bytes.iter().fold(u32::MAX, byte)
}
