//! What rules do: edits of requests and responses, and how the list of rules ends.
//!
//! Owns the actions of rules as typed settings, the edits that lie over a received head, and the run of a list of rules to
//! its verdict. Leaves conditions and templates to `tidegate-rules`, sockets and heads as bytes to the data plane, and the
//! file that rules stand in to the configuration. Invariant: whatever rules do, what the edited head holds are valid names
//! and values, and nothing that frames a message.

mod settings;

pub use settings::{
    Authenticate, BackendChoice, BackendIndex, BackendShare, Edit, Ending, ErrorPages, HeaderName,
    LogValue, Mirror, NamedBackends, Redirect, RedirectTarget, RequestRule, Respond, RespondBody, ResponseRule,
    RewritePath, Rules, Share, Split, TimeoutEdits,
};
