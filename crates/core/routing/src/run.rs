//! Running lists of rules: what goes in and what comes out.
//!
//! Owns the verdict and the working memory. Leaves carrying out to `request` and `response`, and acting
//! on the verdict to the data plane. Invariant: a run holds nothing of its request once it has
//! returned, but the credentials that it asks to verify.

use std::time::Duration;

use tidegate_passwords::Tag;
use tidegate_rules::{Cursor, Facts, Template};
use tidegate_semantics::basic_auth::Credentials;

use crate::facts::{RequestFacts, ResponseFacts};
use crate::headers::Dropped;
use crate::overlay::RequestOverlay;
use crate::request::RequestRun;
use crate::response::ResponseRun;
use crate::response_overlay::ResponseOverlay;
use crate::rewrite::Locations;
use crate::settings::{BackendIndex, RequestRule, ResponseRule, Rules};
use crate::view::{HeaderSource, RequestView, ResponseView, World};

/// The longest location of a redirect, in bytes: browsers and proxies refuse longer ones. A redirect to
/// one is answered with 400.
pub const LOCATION_BYTES_MAX: usize = 16_384;

/// The longest body that a template may make, in bytes: as for bodies that are configured. A longer one
/// is dropped, and the answer has none.
pub const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Working memory of runs. One serves all requests of a shard: nothing in it outlives a call but the
/// credentials, which stay until the next one.
#[derive(Debug, Default)]
pub struct Workspace {
    pub(crate) cursor: Cursor,
    /// What templates write.
    pub(crate) text: Vec<u8>,
    /// What a second one writes.
    pub(crate) second_text: Vec<u8>,
    pub(crate) locations: Locations,
    pub(crate) credentials: Vec<u8>,
    pub(crate) user_bytes: usize,
}

impl Workspace {
    /// Makes the text the value of a header field that the template writes.
    pub(crate) fn write_value<F: Facts>(
        &mut self,
        template: &Template,
        facts: &F,
    ) -> Result<(), Dropped> {
        let Self { cursor, text, .. } = self;
        text.clear();
        template.write_field_value(facts, &mut cursor.scratch, text).map_err(|_| Dropped)
    }

    /// Makes the text what the template writes.
    pub(crate) fn write<F: Facts>(&mut self, template: &Template, facts: &F) {
        let Self { cursor, text, .. } = self;
        text.clear();
        template.write(facts, &mut cursor.scratch, text);
    }

    /// The credentials to verify, right after a run ended with [`Outcome::Verify`].
    #[must_use]
    pub fn credentials(&self) -> Credentials<'_> {
        let parts = self.credentials.split_at_checked(self.user_bytes);
        let (user, rest) = parts.unwrap_or_default();
        Credentials { user, password: rest.get(1..).unwrap_or_default() }
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug)]
pub struct Verdict {
    /// The rule that decided, by its place in the list; none where none did.
    pub rule: Option<usize>,
    /// What it decided.
    pub outcome: Outcome,
}

/// What is to be done with a request.
#[derive(Clone, Copy, Debug)]
pub enum Outcome {
    /// No rule decided.
    Default,
    /// It goes to this backend.
    Backend(BackendIndex),
    /// It is redirected to [`RequestOverlay::location`].
    Redirect {
        /// 301, 302, 303, 307 or 308.
        status: u16,
    },
    /// It is answered by [`Rules::respond`] of the rule, with [`RequestOverlay::answer_headers`], and
    /// with [`RequestOverlay::answer_body`] where the body is a template.
    Respond,
    /// It is refused. 400 also where no location for a redirect could be made.
    Deny {
        /// The status.
        status: u16,
    },
    /// It is refused after a while.
    Tarpit {
        /// The status.
        status: u16,
        /// The while.
        delay: Duration,
    },
    /// Its connection is closed.
    Close,
    /// It is answered with 401 and the realm of [`Rules::authenticate`] of the rule.
    Unauthorized,
    /// The [credentials](Workspace::credentials) have to be verified, elsewhere, with the users of
    /// [`Rules::authenticate`] of the rule; then [`resume`] goes on.
    Verify(Pending),
}

/// Where a run goes on that waits for a verification.
#[derive(Clone, Copy, Debug)]
pub struct Pending {
    /// The rule that asked for it.
    pub rule: usize,
    /// What to remember if the credentials are right; none for a user who does not exist.
    pub tag: Option<Tag>,
}

impl Verdict {
    pub(crate) const DEFAULT: Self = Self { rule: None, outcome: Outcome::Default };
}

/// Runs a list over a request. `overlay` holds the edits of the lists that ran before, if any, and then
/// also those of this one. `random` gives 64 random bits; it is asked only by splits without a key and
/// by mirrors.
#[inline]
pub fn run_request<H: HeaderSource, W: World>(
    rules: &Rules<RequestRule>,
    view: &RequestView<'_, H, W>,
    overlay: &mut RequestOverlay,
    workspace: &mut Workspace,
    random: &mut impl FnMut() -> u64,
) -> Verdict {
    if rules.is_empty() {
        return Verdict::DEFAULT;
    }
    rules.conditions.start(&RequestFacts { view, overlay }, &mut workspace.cursor);
    RequestRun { rules, view, overlay, workspace, random }.go_on()
}

/// Goes on with a run that ended with [`Outcome::Verify`], over the same rules, request and overlay.
/// `is_right` is what came out. If it is true, put `pending.tag` into the memory of right credentials.
pub fn resume<H: HeaderSource, W: World>(
    rules: &Rules<RequestRule>,
    pending: &Pending,
    is_right: bool,
    view: &RequestView<'_, H, W>,
    overlay: &mut RequestOverlay,
    workspace: &mut Workspace,
    random: &mut impl FnMut() -> u64,
) -> Verdict {
    if !is_right {
        return Verdict { rule: Some(pending.rule), outcome: Outcome::Unauthorized };
    }
    rules.conditions.start_behind(pending.rule, &mut workspace.cursor);
    let mut run = RequestRun { rules, view, overlay, workspace, random };
    match run.carry_out(pending.rule) {
        Some(outcome) => Verdict { rule: Some(pending.rule), outcome },
        None => run.go_on(),
    }
}

/// Runs a list over a response. `overlay` is that of its request, for what the rules note; `edits`
/// holds the edits of the lists that ran before, if any, and then also those of this one.
#[inline]
pub fn run_response<H: HeaderSource, W: World, R: HeaderSource>(
    rules: &Rules<ResponseRule>,
    request: &RequestView<'_, H, W>,
    overlay: &mut RequestOverlay,
    view: &ResponseView<'_, R>,
    edits: &mut ResponseOverlay,
    workspace: &mut Workspace,
) {
    if rules.is_empty() {
        return;
    }
    let facts =
        ResponseFacts { request: RequestFacts { view: request, overlay }, view, overlay: edits };
    rules.conditions.start(&facts, &mut workspace.cursor);
    ResponseRun { rules, request, overlay, view, edits, workspace }.go_on();
}
