//! What the frames of a peer cost: counted from their headers, before any of them is decoded.
//!
//! Owns the budgets and the reading of frame headers in whatever pieces they come; leaves the meaning of frames to the library
//! and ending the connection to its owner. Invariant: each frame is charged once, when its header is complete (a window update
//! when its increment is), however the bytes are cut.
//!
//! A budget holds so many units at most, loses them to frames and gets them back by time: what is paid for by time alone bounds
//! the work of a connection in a second, and what it holds is a burst that well-behaved clients have. The rates follow from what
//! a frame costs here, well below a microsecond for most: at its full rate no budget takes more than a hundredth of a core, but
//! for the streams, whose work is that of requests.

use std::time::Instant;

use crate::preface::PREFACE;

/// RST_STREAM: a page that is left cancels what it was loading, at most all streams at once, a few times in a row. A client
/// that opens and resets without end (CVE-2023-44487) gets 20 in a second.
pub const RESETS_MAX: Rate = Rate { burst: 200, per_second: 20 };

/// Streams opened and not answered by the end of the response: those that were reset or refused. Others cost nothing here.
pub const STREAMS_UNANSWERED_MAX: Rate = Rate { burst: 1_000, per_second: 50 };

/// PING without ACK: libraries that estimate the bandwidth send one for each round trip in which data came, and on loopback
/// that is thousands in a second.
pub const PINGS_MAX: Rate = Rate { burst: 2_000, per_second: 2_000 };

/// SETTINGS without ACK: one at the beginning, and hardly another. Each is to be acknowledged.
pub const SETTINGS_MAX: Rate = Rate { burst: 100, per_second: 10 };

/// PRIORITY: deprecated; browsers sent a handful at the beginning and one or two with each stream.
pub const PRIORITIES_MAX: Rate = Rate { burst: 1_000, per_second: 1_000 };

/// WINDOW_UPDATE, of which one with an increment below `TINY_INCREMENT_BYTES` counts four times: it makes for a tiny frame of
/// data. Simple clients send two for each frame of data that they get.
pub const WINDOW_UPDATES_MAX: Rate = Rate { burst: 20_000, per_second: 10_000 };

/// DATA without content and without the end of its stream (CVE-2019-9518).
pub const EMPTY_DATA_MAX: Rate = Rate { burst: 100, per_second: 100 };

/// RST_STREAM of a server: each ends a request of ours, and servers send one behind every response that came before the end of
/// its request. What is beyond the rate of requests that one connection can carry resets what is not there.
pub const SERVER_RESETS_MAX: Rate = Rate { burst: 20_000, per_second: 20_000 };

/// HEADERS of a server that are neither a final response nor trailers that were waited for: interim responses, and what comes on
/// streams that have ended.
pub const SERVER_HEADERS_MAX: Rate = Rate { burst: 1_000, per_second: 100 };

/// CONTINUATION frames of one block of fields: as many as the largest block needs in frames of 16 KiB, and one.
pub const CONTINUATIONS_MAX: u32 = 5;

/// Bytes of one block of fields, compressed.
pub const HEADER_BLOCK_BYTES_MAX: u32 = 64 * 1024;

/// An increment below it is tiny.
const TINY_INCREMENT_BYTES: u32 = 256;

/// How large a burst may be, and what comes back in a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Units that a budget holds at most.
    pub burst: u32,
    /// Units that it gets back in a second.
    pub per_second: u32,
}

/// A budget that is spent, or a limit that was passed: the connection is to end with ENHANCE_YOUR_CALM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flood {
    /// [`RESETS_MAX`]
    Resets,
    /// [`STREAMS_UNANSWERED_MAX`]
    Streams,
    /// [`PINGS_MAX`]
    Pings,
    /// [`SETTINGS_MAX`]
    Settings,
    /// [`PRIORITIES_MAX`]
    Priorities,
    /// [`WINDOW_UPDATES_MAX`]
    WindowUpdates,
    /// [`EMPTY_DATA_MAX`]
    EmptyData,
    /// [`CONTINUATIONS_MAX`]
    Continuations,
    /// [`HEADER_BLOCK_BYTES_MAX`]
    HeaderBytes,
    /// A limit of the library: fields that are too large once they are decoded, or too many errors.
    Library,
}

impl Flood {
    /// How they are called in metrics, in the order of [`Flood::index`].
    pub const LABELS: [&'static str; 10] = [
        "resets",
        "streams",
        "pings",
        "settings",
        "priorities",
        "window_updates",
        "empty_data",
        "continuations",
        "header_bytes",
        "library",
    ];

    /// Its place among the labels.
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }

    /// How it is called.
    #[must_use]
    pub fn label(self) -> &'static str {
        Self::LABELS[self.index()]
    }
}

const METERED: usize = 7;
const RATES: [Rate; METERED] = [
    RESETS_MAX,
    STREAMS_UNANSWERED_MAX,
    PINGS_MAX,
    SETTINGS_MAX,
    PRIORITIES_MAX,
    WINDOW_UPDATES_MAX,
    EMPTY_DATA_MAX,
];

/// What servers may spend.
const SERVER_RATES: [Rate; METERED] = [
    SERVER_RESETS_MAX,
    SERVER_HEADERS_MAX,
    PINGS_MAX,
    SETTINGS_MAX,
    PRIORITIES_MAX,
    WINDOW_UPDATES_MAX,
    EMPTY_DATA_MAX,
];

const HEADER_BYTES: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;

/// What a server has said so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// SETTINGS, with which every server begins (RFC 9113 §3.4).
    pub settings: bool,
    /// GOAWAY: no stream is to be opened any more.
    pub goaway: bool,
    /// Frames of responses: HEADERS and DATA.
    pub frames: u64,
}

/// The frames of one connection.
#[derive(Debug)]
pub struct Meter {
    rates: &'static [Rate; METERED],
    /// What a server has been seen to say; of clients it is not kept account of.
    heard: Option<Heard>,
    /// Units that have been spent of each budget.
    spent: [u32; METERED],
    /// When time last paid.
    paid_at: Instant,
    /// Bytes to be passed over: the preface, or the rest of a frame.
    skip: u32,
    /// A header, or the beginning of a payload that has to be known.
    held: [u8; HEADER_BYTES + 4],
    held_bytes: u8,
    /// The highest stream that was opened.
    opened: u32,
    /// CONTINUATION frames and bytes of the block of fields that is being received.
    continuations: u32,
    block_bytes: u32,
}

impl Meter {
    /// A connection of which nothing has been received.
    #[must_use]
    pub fn new(now: Instant) -> Meter {
        #[expect(clippy::cast_possible_truncation, reason = "24 bytes")]
        let skip = PREFACE.len() as u32;
        Meter {
            rates: &RATES,
            heard: None,
            spent: [0; METERED],
            paid_at: now,
            skip,
            held: [0; HEADER_BYTES + 4],
            held_bytes: 0,
            opened: 0,
            continuations: 0,
            block_bytes: 0,
        }
    }

    /// A connection to a server, of which nothing has been received.
    #[must_use]
    pub fn of_server(now: Instant) -> Meter {
        // A server's preface is a frame (RFC 9113 §3.4).
        let heard = Some(Heard::default());
        Meter { rates: &SERVER_RATES, heard, skip: 0, ..Meter::new(now) }
    }

    /// What the server has said so far.
    #[must_use]
    pub fn heard(&self) -> Heard {
        self.heard.unwrap_or_default()
    }

    /// A response has been sent to its end; of a server's: one of its blocks of fields was waited for.
    pub fn note_answered(&mut self) {
        let streams = &mut self.spent[Flood::Streams.index()];
        *streams = streams.saturating_sub(1);
    }

    /// Takes what has been received.
    ///
    /// # Errors
    /// A budget is spent. Nothing more is to be metered.
    pub fn receive(&mut self, mut bytes: &[u8], now: Instant) -> Result<(), Flood> {
        self.pay(now);
        while !bytes.is_empty() {
            if self.skip > 0 {
                let skipped = bytes.len().min(self.skip as usize);
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "at most what is to be skipped, a u32"
                )]
                let skipped_u32 = skipped as u32;
                self.skip -= skipped_u32;
                bytes = &bytes[skipped..];
                continue;
            }
            let held = usize::from(self.held_bytes);
            let taken = bytes.len().min(self.wanted() - held);
            self.held[held..held + taken].copy_from_slice(&bytes[..taken]);
            #[expect(clippy::cast_possible_truncation, reason = "at most 13 are held")]
            let taken_u8 = taken as u8;
            self.held_bytes += taken_u8;
            bytes = &bytes[taken..];
            if usize::from(self.held_bytes) == self.wanted() {
                self.charge_frame()?;
            }
        }
        Ok(())
    }

    /// Bytes that have to be held before a frame can be charged.
    fn wanted(&self) -> usize {
        let is_known = usize::from(self.held_bytes) >= HEADER_BYTES;
        if is_known && self.held[3] == WINDOW_UPDATE && self.length() >= 4 {
            HEADER_BYTES + 4
        } else {
            HEADER_BYTES
        }
    }

    fn length(&self) -> u32 {
        u32::from_be_bytes([0, self.held[0], self.held[1], self.held[2]])
    }

    /// Time pays in whole units; what is left over is lost.
    fn pay(&mut self, now: Instant) {
        let millis = now.saturating_duration_since(self.paid_at).as_millis();
        // In less the slowest budget gets no unit.
        if millis < 100 {
            return;
        }
        self.paid_at = now;
        let millis = u64::try_from(millis).unwrap_or(u64::MAX);
        for (spent, rate) in self.spent.iter_mut().zip(self.rates) {
            let units = millis.saturating_mul(u64::from(rate.per_second)) / 1000;
            *spent = spent.saturating_sub(u32::try_from(units).unwrap_or(u32::MAX));
        }
    }

    fn charge(&mut self, flood: Flood, units: u32) -> Result<(), Flood> {
        let spent = &mut self.spent[flood.index()];
        *spent = spent.saturating_add(units);
        if *spent > self.rates[flood.index()].burst { Err(flood) } else { Ok(()) }
    }

    /// Charges the frame whose header is held, and passes over the rest of it.
    fn charge_frame(&mut self) -> Result<(), Flood> {
        let held = usize::from(std::mem::take(&mut self.held_bytes));
        let (length, kind, flags) = (self.length(), self.held[3], self.held[4]);
        let id = u32::from_be_bytes([self.held[5], self.held[6], self.held[7], self.held[8]]);
        let id = id & 0x7fff_ffff;
        #[expect(clippy::cast_possible_truncation, reason = "at most 13 are held")]
        let payload_held = (held - HEADER_BYTES) as u32;
        self.skip = length - payload_held;
        if let Some(heard) = &mut self.heard {
            heard.settings |= kind == SETTINGS;
            heard.goaway |= kind == GOAWAY;
            heard.frames += u64::from(matches!(kind, DATA | HEADERS));
        }
        match kind {
            DATA if flags & END_STREAM == 0 && length <= u32::from(flags & PADDED != 0) => {
                self.charge(Flood::EmptyData, 1)
            }
            HEADERS => {
                (self.continuations, self.block_bytes) = (0, 0);
                self.add_to_block(length, flags)?;
                if self.heard.is_some() {
                    return self.charge(Flood::Streams, 1);
                }
                if id > self.opened {
                    self.opened = id;
                    self.charge(Flood::Streams, 1)?;
                }
                Ok(())
            }
            PRIORITY => self.charge(Flood::Priorities, 1),
            RST_STREAM => self.charge(Flood::Resets, 1),
            SETTINGS if flags & ACK == 0 => self.charge(Flood::Settings, 1),
            PING if flags & ACK == 0 => self.charge(Flood::Pings, 1),
            WINDOW_UPDATE if payload_held == 4 => {
                let increment = &self.held[HEADER_BYTES..];
                let increment =
                    u32::from_be_bytes([increment[0], increment[1], increment[2], increment[3]]);
                let is_tiny = increment & 0x7fff_ffff < TINY_INCREMENT_BYTES;
                self.charge(Flood::WindowUpdates, if is_tiny { 4 } else { 1 })
            }
            CONTINUATION => {
                self.continuations += 1;
                if self.continuations > CONTINUATIONS_MAX {
                    return Err(Flood::Continuations);
                }
                self.add_to_block(length, flags)
            }
            _ => Ok(()),
        }
    }

    fn add_to_block(&mut self, length: u32, flags: u8) -> Result<(), Flood> {
        self.block_bytes = self.block_bytes.saturating_add(length);
        if self.block_bytes > HEADER_BLOCK_BYTES_MAX {
            return Err(Flood::HeaderBytes);
        }
        if flags & END_HEADERS != 0 {
            (self.continuations, self.block_bytes) = (0, 0);
        }
        Ok(())
    }
}
