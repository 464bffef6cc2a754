//! What rules do: edits of requests and responses, and how the list of rules ends.
//!
//! Owns the actions of rules as typed settings, the edits that lie over a received head, and the run of a list of rules to
//! its verdict. Leaves conditions and templates to `tidegate-rules`, sockets and heads as bytes to the data plane, and the
//! file that rules stand in to the configuration. Invariant: whatever rules do, what the edited head holds are valid names
//! and values, and nothing that frames a message.
//!
//! For each request the data plane clears a [`RequestOverlay`], makes a [`RequestView`] over the parsed
//! head, and calls [`run_request`] with the rules of the frontend, then perhaps with those of the
//! backend. It acts on the [`Verdict`] and writes the head with what the overlay says. A rule that
//! asks for credentials may end the run with [`Outcome::Verify`], because verifying is slow and is
//! done elsewhere; [`resume`] goes on behind it.
//!
//! What the bounds ([`HEADER_EDITS_MAX`], [`ARENA_BYTES_MAX`], [`VARIABLE_BYTES_MAX`], [`MIRRORS_MAX`])
//! leave no room for is dropped and counted in [`RequestOverlay::edits_dropped`], and so is what cannot
//! stand in a head: the value of a field with a control byte, a host that is none. Bytes that a path or
//! a query cannot have become percent escapes.

mod arena;
mod balance_key;
mod choice;
mod derived;
mod facts;
mod headers;
mod overlay;
mod request;
mod response;
mod response_overlay;
mod rewrite;
mod run;
mod settings;
mod target;
mod view;

pub use arena::ARENA_BYTES_MAX;
pub use balance_key::BalanceKey;
pub use facts::{RequestFacts, ResponseFacts};
pub use headers::HEADER_EDITS_MAX;
pub use overlay::{MIRRORS_MAX, RequestOverlay, Target, VARIABLE_BYTES_MAX};
pub use response_overlay::ResponseOverlay;
pub use rewrite::RewritePath;
pub use run::{
    ANSWER_BYTES_MAX, LOCATION_BYTES_MAX, Outcome, Pending, Verdict, Workspace, resume,
    run_request, run_response,
};
pub use settings::{
    Authenticate, BackendChoice, BackendIndex, BackendShare, Edit, Ending, ErrorPage, ErrorPages,
    HeaderName, LogValue, Mirror, NamedBackends, Redirect, RedirectTarget, RequestRule, Respond,
    RespondBody, ResponseRule, Rules, Share, Split, TimeoutEdits,
};
pub use view::{HeaderSource, RequestView, ResponseView, Tls, TlsClient, World};
