//! A client stays with its server, without I/O.
//!
//! This crate owns the tokens by which a client is known again, in a cookie or a header: what they say, their signature, and
//! what becomes of them in requests and responses. It leaves to others: whether a server still takes such clients
//! (`tidegate-balance`), the time, and writing messages.
//!
//! Invariant: a client is sent to a server by its token only if this process, or another one with the same key, made that
//! token; and neither reading nor making one allocates.
//!
//! ```
//! use tidegate_persistence::{Carrier, Cookie, Key, Mode, Persistence, RequestState, Settings, Unix};
//!
//! let cookie = Cookie { name: b"SRV".to_vec(), mode: Mode::Insert, indirect: true, attributes: b"; Path=/".to_vec() };
//! let keys = vec![Key::derived(b"a secret of at least sixteen bytes", b"app")];
//! let settings = Settings { carrier: Carrier::Cookie(cookie), keys, max_idle: None, max_life: None };
//! let persistence = Persistence::new(&settings, "app", ["a", "b"]);
//! let token = persistence.token(1, Unix(1_800_000_000), Unix(1_800_000_000));
//! let line = [b"theme=dark; SRV=", &token.as_bytes()[..]].concat();
//! let pin = persistence.find([(&b"Cookie"[..], &line[..])], Unix(1_800_000_060));
//! assert_eq!((pin.server, pin.state), (Some(1), RequestState::Valid));
//! ```

mod base64;
mod persistence;
mod request;
mod response;
mod settings;
mod token;

pub use persistence::{Persistence, Pin, RequestState};
pub use response::{Answer, ResponseState, TOKEN_MARK};
pub use settings::{Carrier, Cookie, Key, Mode, Settings};
pub use token::{TOKEN_BYTES, Token, Unix};
