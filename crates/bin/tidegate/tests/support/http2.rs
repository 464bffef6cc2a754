//! Owns what the HTTP/2 tests share: the program in front of one origin, speaking HTTP/2 in the clear.
//!
//! Leaves behaviour to the tests. Invariant: a client of HTTP/1.1 is not served by it.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::fmt::Display;

use tidegate_testkit::{Http2Client, Tidegate, site};

/// The program in front of these servers, with further lines of configuration.
#[track_caller]
pub fn start_http2<A: Display>(
    shards: usize,
    servers: impl IntoIterator<Item = A>,
    more: &str,
) -> Tidegate {
    let config = site(shards, servers) + more + "\n";
    let config = config.replace(
        "frontends.web.bind = [\"127.0.0.1:0\"]",
        "frontends.web.bind = [{ address = \"127.0.0.1:0\", protocols = [\"h2\"] }]",
    );
    assert!(config.contains("h2"), "the site has another form:\n{config}");
    Tidegate::with_binary(env!("CARGO_BIN_EXE_tidegate")).start(&config)
}

/// A client connected to the program.
#[track_caller]
pub fn client(tidegate: &Tidegate) -> Http2Client {
    Http2Client::connect(tidegate.address("web"))
}
