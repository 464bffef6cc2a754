//! Rules on the data plane: what they run over, where their time and chance come from, and their limits.
//!
//! Owns the way from a parsed head to a verdict and from edits to a written head; leaves what rules mean to
//! `tidegate-routing`, and acting on the verdict to `http1`. Invariant: nothing here waits, and what one request leaves
//! behind no other sees.

mod fields;
mod needs;
mod outcome;
mod own_fields;
mod random;
mod running;
mod sticking;
mod verifier;
mod world;

pub(crate) use fields::{CodedFields, RequestFields, ResponseFields};
pub(crate) use needs::Needs;
pub(crate) use outcome::{Answered, Dropped, Route};
pub(crate) use own_fields::{OwnFields, Sender};
pub(crate) use running::{Ends, Judge, Notes, Received, may_replace_method};
pub use verifier::Verifier;
pub(crate) use verifier::{PATIENCE as VERIFICATION_PATIENCE, Question, Refusal};

use std::cell::OnceCell;
use std::time::Instant;

use tidegate_passwords::VerifiedCache;
use tidegate_routing::{ResponseOverlay, Workspace};

use random::Random;

/// A shard's working memory for rules, borrowed for as long as one head is looked at.
pub(crate) struct Scratch {
    pub(crate) workspace: Workspace,
    pub(crate) response: ResponseOverlay,
    pub(crate) own: OwnFields,
    /// A target that edits made.
    pub(crate) target: Vec<u8>,
    /// What servers see of the field with a client's token.
    pub(crate) shown: Vec<u8>,
    pub(crate) random: Random,
    /// Credentials that were right; made when a rule first asks.
    pub(crate) verified: OnceCell<VerifiedCache>,
    /// The start of the time that those count in.
    pub(crate) started: Instant,
}

impl Default for Scratch {
    fn default() -> Scratch {
        Scratch {
            workspace: Workspace::default(),
            response: ResponseOverlay::default(),
            own: OwnFields::default(),
            target: Vec::new(),
            shown: Vec::new(),
            random: Random::new(),
            verified: OnceCell::new(),
            started: Instant::now(),
        }
    }
}
