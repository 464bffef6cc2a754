//! Owns the tools of the end-to-end tests: the program under test, scripted origins, clients that
//! check every byte, and the external tools the tests drive.
//!
//! Leaves what is tested to the tests. Everything here blocks and uses threads: it runs beside the
//! program, never in it. Invariant: every wait ends at an event or fails the test at a deadline,
//! ports are chosen by the system, and nothing a test started outlives it.
//!
//! ```no_run
//! use tidegate_testkit::{Client, Origin, Tidegate, script};
//!
//! # let path_of_the_program = "";
//! let origin = Origin::start(script::answer_ok("hello"));
//! let config = format!(
//!     "frontends.web.bind = [\"127.0.0.1:0\"]\nfrontends.web.default_backend = \"app\"\n\
//!      backends.app.servers.one = \"{}\"\n",
//!     origin.address()
//! );
//! let tidegate = Tidegate::with_binary(path_of_the_program).start(&config);
//! let response = Client::connect(tidegate.address("web")).get("/");
//! assert_eq!(response.text(), "hello");
//! assert_eq!(origin.requests_count(), 1);
//! ```

mod certificates;
mod client;
mod corpus;
mod deadline;
mod dnsmasq;
pub mod hpack;
pub mod http2;
mod http2_server;
mod json;
mod log;
pub mod malformed;
mod message;
mod metrics;
mod name_server;
mod nginx;
mod observe;
mod origin;
mod pebble;
mod ports;
mod process;
mod redis;
pub mod script;
mod seed;
mod site;
mod stream;
mod temp_dir;
mod tidegate;
mod tls;
pub mod tools;

pub use certificates::{Authority, Identity, Validity};
pub use client::Client;
pub use corpus::for_each_seed;
pub use deadline::{Deadline, Gate, PATIENCE};
pub use dnsmasq::Dnsmasq;
pub use http2::Http2Client;
pub use http2_server::{Http2Connection, Http2Origin, Http2Request};
pub use json::json;
pub use log::{LogLine, Output};
pub use message::{Fields, Framing, Request, Response};
pub use metrics::{Metrics, Sample};
pub use name_server::{Asked, Conduct, Data, NameServer};
pub use nginx::Nginx;
pub use origin::{Connection, Origin};
pub use pebble::{Pebble, PebbleBuilder};
pub use ports::{ReservedPort, SilentAddress, refused_address};
pub use process::{Exit, Process, raise_descriptor_limit};
pub use redis::Redis;
pub use rustix::process::Signal;
pub use seed::{Rng, SEED_VARIABLE, Seed, seed};
pub use site::site;
pub use stream::End;
pub use temp_dir::TempDir;
pub use tidegate::{Builder, Tidegate};
pub use tls::{TlsClient, TlsClientBuilder, TlsFacts, TlsServer, TlsVersion};
