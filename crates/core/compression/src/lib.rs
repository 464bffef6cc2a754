//! Compression of response bodies as they pass: pieces of a body in, pieces of a content coding
//! out.
//!
//! This crate owns the encoders (gzip, brotli, zstd), their levels, and the pool that bounds their
//! memory on a shard. It leaves to others which coding a client accepts, which responses are worth
//! it, the header fields that change (RFC 9110 §8.4, §12.5.3), and moving bytes.
//!
//! Invariant: no body makes it panic, no call appends more than it was told, the memory of all
//! encoders of a pool stays under the pool's limit, and what an encoder emits depends on nothing but
//! its level and its own body: a state that served another response leaves no trace of it.
//!
//! ```
//! use tidegate_compression::{Coding, Levels, Pool, PoolLimits};
//!
//! let pool = Pool::new(PoolLimits::default());
//! let mut encoder = pool.start(Levels::default().of(Coding::Gzip)).expect("the pool is empty");
//! let (mut out, mut body) = (Vec::new(), &b"a response"[..]);
//! loop {
//!     let progress = encoder.encode(body, &mut out, 16 * 1024)?;
//!     body = &body[progress.consumed..];
//!     if progress.is_done {
//!         break;
//!     }
//! }
//! while !encoder.finish(&mut out, 16 * 1024)?.is_done {}
//! # Ok::<(), tidegate_compression::EncodeError>(())
//! ```

mod brotli;
mod encoder;
mod gzip;
mod level;
mod pool;
mod zstd;

pub use encoder::{EncodeError, Encoder, PRODUCED_MIN, Progress};
pub use level::{BrotliLevel, Coding, GzipLevel, Level, Levels, ZstdLevel};
pub use pool::{Pool, PoolLimits};
