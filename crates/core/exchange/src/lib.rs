//! One request and its response as a state machine, without I/O.
//!
//! This crate owns the decisions between a complete request head and the end of the exchange: pick,
//! connect, send, retry, give up, relay, cut. It also owns the one mapping from a failure to its
//! status, log letters, metric label and retry ([`FailureKind`]).
//!
//! It leaves to others: bytes and framing (`tidegate-http1`), which server is picked
//! (`tidegate-balance`), sockets, timers and the client's own clocks (the driver). Time comes in as an
//! argument.
//!
//! Invariant: every input has a defined action in every state, a server is never waited for without a
//! deadline, and a request that a server may have acted on is sent again only if it can be repeated, which
//! draws on a budget.
//!
//! The driver's loop is: start with [`Action::FIRST`]; carry out the action; turn what happened into an
//! [`Input`]; hand it to [`Exchange::handle`]; stop after a terminal action.
//!
//! ```
//! use std::time::Instant;
//! use tidegate_exchange::{
//!     Action, Avoided, BudgetSettings, Exchange, Input, Policy, Request, RetryBudget, Upload,
//! };
//!
//! let now = Instant::now();
//! let (policy, budget) = (Policy::default(), RetryBudget::new(BudgetSettings::default(), now));
//! let request = Request { repeatable: true, seed: 7 };
//! let mut exchange = Exchange::new(&policy, Some(&budget), request, now);
//! assert_eq!(Action::FIRST, Action::Pick { avoid: Avoided::NONE, fresh_only: false });
//! assert_eq!(exchange.handle(now, Input::Picked { server: 7, reused: true }), Action::Send { server: 7 });
//! assert_eq!(exchange.handle(now, Input::RequestSent), Action::Wait);
//! let head = Input::ResponseHead { status: 200, interim: false };
//! assert_eq!(exchange.handle(now, head), Action::Relay { upload: Upload::Complete });
//! assert_eq!(exchange.handle(now, Input::ResponseDone), Action::Finish { reuse: true });
//! ```

mod avoided;
mod budget;
mod failure;
mod machine;
mod policy;
mod protocol;
mod retry_on;

pub use avoided::Avoided;
pub use budget::{BudgetSettings, RetryBudget};
pub use failure::{
    ConnectFailure, Failure, FailureKind, NoServerCause, Origin, Retry, Stage, TerminationFlags,
};
pub use machine::Exchange;
pub use policy::{Policy, Redispatch, Request};
pub use protocol::{Action, Input, Upload};
pub use retry_on::{RetryCause, RetryOn};
