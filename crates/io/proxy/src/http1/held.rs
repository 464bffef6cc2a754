//! A request that waits here and not at a server: in a tarpit, or for its password to be compared.
//!
//! Owns its line in the access log when the wait is cut off from outside, by the end of the process or by a panic; leaves
//! every other end to who waits. Invariant: a request that is held has one line, whatever becomes of it.

use tidegate_access_log::Ending;
use tidegate_exchange::Stage;

use super::Server;
use super::head::Incoming;
use super::trace::Outcome;
use crate::client::Client;
use crate::site::Frontend;

/// Counts and logs a request when it is dropped, unless its wait ended before that.
pub(super) struct Held<'a> {
    server: &'a Server,
    client: &'a Client,
    frontend: &'a Frontend,
    incoming: &'a mut Incoming,
    /// What it is when it is ended from outside.
    killed: Ending,
    is_over: bool,
}

impl<'a> Held<'a> {
    pub(super) fn new(
        server: &'a Server,
        client: &'a Client,
        frontend: &'a Frontend,
        incoming: &'a mut Incoming,
        killed: Ending,
    ) -> Held<'a> {
        Held { server, client, frontend, incoming, killed, is_over: false }
    }

    /// The wait has ended by itself.
    pub(super) fn end(mut self) {
        self.is_over = true;
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let ending =
            if std::thread::panicking() { Ending::Internal(Stage::Request) } else { self.killed };
        self.frontend.stats.requests.record(0);
        let trace = std::mem::take(&mut self.incoming.trace);
        let outcome = Outcome { ending, status: None, sent: 0 };
        self.server.log_refused(self.client, self.frontend, self.incoming.started, trace, &outcome);
    }
}
