//! What the driver tells an exchange and what the exchange asks of the driver.
//!
//! Owns the two vocabularies; the decisions between them are the machine's. Invariant: an input is an
//! edge (a head, the end, a failure), never a chunk's content, so that the cost of an exchange does not
//! depend on the size of its bodies.

use crate::avoided::Avoided;
use crate::failure::{ConnectFailure, Failure, NoServerCause};

/// Something that happened, told by the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Answer to [`Action::Pick`]: a server was picked and its slot acquired.
    Picked {
        /// The server's index in its backend.
        server: u32,
        /// An idle connection to it was taken from the pool; otherwise one has to be made.
        reused: bool,
    },
    /// Answer to [`Action::Pick`]: there is none.
    NoServer(NoServerCause),
    /// The connection asked for by [`Action::Connect`] is established.
    Connected,
    /// The connection asked for by [`Action::Connect`] cannot be established.
    ConnectFailed(ConnectFailure),
    /// Some of the request's body has been taken for sending: the server's clock starts again.
    RequestProgress {
        /// All that has been taken so far is kept, and is there for another connection.
        kept: bool,
    },
    /// The whole request, head and body, was handed over for sending.
    RequestSent,
    /// The server owes nothing for now: the client has to deliver more of the request, or to accept
    /// more of the response. Stops the server's clock until the next progress; the driver's client
    /// clock runs meanwhile. Not to be given while the client waits for a `100 Continue`.
    WaitingOnClient,
    /// Bytes of a response arrived; its head is not complete.
    ResponseBytes,
    /// A response's head is complete and valid.
    ResponseHead {
        /// Its status code.
        status: u16,
        /// It is an interim response and another one follows (RFC 9110 §15.2). `101` is not: nothing
        /// of HTTP follows it.
        interim: bool,
    },
    /// Bytes of the response's body arrived, or the client accepted some after a
    /// [`Input::WaitingOnClient`].
    ResponseProgress,
    /// The response is complete, by its framing or because it was delimited by the connection's end; a
    /// tunnel has ended.
    ResponseDone,
    /// The server closed the connection in an orderly way and everything received before was handled.
    ServerClosed,
    /// The connection to the server broke, and everything received before was handled. A failed send
    /// after the response's head is no such input: the rest of the request is dropped instead.
    ServerReset,
    /// The server has ended the request's stream; the connection, which carries others, is there.
    StreamReset,
    /// The connection takes no more requests, and this one came after the last that it took (RFC 9113 §6.8): the same proof, and no
    /// word against the server.
    StreamUnseen,
    /// The request's stream was refused: proof that the server has done nothing with the request (RFC 9113
    /// §8.7). Not to be given once something of a response has come.
    StreamRefused,
    /// What the server sent is not a valid response; the reason names the rule it breaks.
    BadResponse(&'static str),
    /// The reused connection turned out to be dead before the kernel took one byte of the request for
    /// it. This is proof that the server has seen nothing of the request.
    PoolLost,
    /// The response that has come is nothing but this status of a gRPC call; its head follows, unless another try is made.
    GrpcStatus(u8),
    /// The second try that [`Action::Hedge`] asked for has the first byte of a response, or is all that is left: the first
    /// one has not, and is given up.
    HedgeWon {
        /// The second try's server, whose slot is held instead.
        server: u32,
    },
    /// The time [`Exchange::deadline`](crate::Exchange::deadline) gave has passed. Given too early, or
    /// after the deadline has moved, it is ignored: a timer need not be moved on each progress.
    Deadline,
    /// The client closed or reset its connection and will not see a response.
    ClientGone,
    /// The client did not deliver the request's body, or accept the response, in time.
    ClientTimeout,
    /// The rest of the request is invalid: a bad chunk, for one.
    ClientBad {
        /// The status to answer with if no response has begun.
        status: u16,
        /// The rule it breaks, in `snake_case`.
        detail: &'static str,
    },
}

/// What the driver has to do next. At most one server slot is held at a time, and one more by a hedge: `Pick` and every terminal
/// action give it back at once, before anything else is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "an action that is not carried out stalls the exchange"]
pub enum Action {
    /// Give back the slot and the connection of an earlier server, pick one, and answer
    /// [`Input::Picked`] or [`Input::NoServer`], at once or after waiting in the queue.
    Pick {
        /// Servers that failed: take another one if any other is usable.
        avoid: Avoided,
        /// Do not take an idle connection from the pool.
        fresh_only: bool,
    },
    /// Drop the connection in hand, if any, and make a new one to this server, whose slot is held.
    Connect {
        /// The server.
        server: u32,
    },
    /// Send the request, from its first byte, on the connection to this server.
    Send {
        /// The server.
        server: u32,
    },
    /// Drop the connection in hand, if any, and keep the slot: the same server is tried again at the deadline.
    Delay,
    /// Go on with what is under way until the next input or the deadline.
    Wait,
    /// Go on, and send the request to another server beside the first one. Should there be none, nothing happens. What comes
    /// of it is told by [`Input::HedgeWon`] or not at all; its slot is given back with that of the first.
    Hedge {
        /// Servers that are not asked, the first one among them.
        avoid: Avoided,
    },
    /// Give back the slot and the connection of the first try and go on with the second, which has been sent.
    Adopt {
        /// Its server.
        server: u32,
    },
    /// Pass this response head to the client, and after a final one its body.
    Relay {
        /// What becomes of the part of the request that is not sent yet.
        upload: Upload,
    },
    /// Terminal. Nothing of a final response has reached the client: answer with the failure's status.
    Respond(Failure),
    /// Terminal. A response has begun and cannot be completed: close the client's connection, so that
    /// the client sees that it is incomplete (RFC 9112 §8).
    Cut(Failure),
    /// Terminal. The client is gone: close both sides.
    Abort(Failure),
    /// Terminal. The exchange is complete.
    Finish {
        /// Both connections stand at a message boundary: the whole request was sent and no protocol
        /// was switched. Otherwise neither can carry another request.
        reuse: bool,
    },
}

impl Action {
    /// What a new exchange asks for.
    pub const FIRST: Self = Self::Pick { avoid: Avoided::NONE, fresh_only: false };

    /// Whether the exchange is over: no input has an effect any more.
    #[inline]
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        match self {
            Self::Respond(_) | Self::Cut(_) | Self::Abort(_) | Self::Finish { .. } => true,
            Self::Pick { .. }
            | Self::Connect { .. }
            | Self::Send { .. }
            | Self::Delay
            | Self::Hedge { .. }
            | Self::Adopt { .. }
            | Self::Wait
            | Self::Relay { .. } => false,
        }
    }
}

/// What becomes of the rest of the request once a response head has come (RFC 9112 §9.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upload {
    /// There is no rest: the request was sent whole.
    Complete,
    /// The response is interim or successful: the server reads on, so keep sending.
    Continue,
    /// The server answered without wanting the rest: stop sending. Neither connection carries another
    /// request after this one.
    Stop,
}
