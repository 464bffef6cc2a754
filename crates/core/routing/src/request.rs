//! A list of rules, carried out over one request.
//!
//! Owns the order: which rule applies, what its edits change, what ends the list. Leaves conditions and
//! templates to `tidegate-rules` and what edits mean to the overlay. Invariant: each rule sees the
//! edits of all before it, and an edit that cannot be made is dropped, counted, and changes nothing.

use tidegate_passwords::Tag;
use tidegate_rules::{Change, Facts, Key, Keyed, Template, Text};
use tidegate_semantics::basic_auth;
use tidegate_semantics::redirect::{Destination, Redirected, Scheme, push_location};

use crate::choice;
use crate::facts::RequestFacts;
use crate::headers::Dropped;
use crate::overlay::RequestOverlay;
use crate::run::{ANSWER_BYTES_MAX, LOCATION_BYTES_MAX, Outcome, Pending, Verdict, Workspace};
use crate::settings::{
    Authenticate, BackendChoice, BackendIndex, Edit, Ending, Redirect, RedirectTarget, RequestRule,
    Respond, RespondBody, Rules,
};
use crate::target::trim;
use crate::view::{HeaderSource, RequestView, World};

/// A list over one request.
pub(crate) struct RequestRun<'a, 'v, H, W, G> {
    pub(crate) rules: &'a Rules<RequestRule>,
    pub(crate) view: &'a RequestView<'v, H, W>,
    pub(crate) overlay: &'a mut RequestOverlay,
    pub(crate) workspace: &'a mut Workspace,
    pub(crate) random: &'a mut G,
}

/// What is known of a request's credentials.
enum Access {
    Granted,
    Refused,
    Unknown(Option<Tag>),
}

impl<'a, H: HeaderSource, W: World, G: FnMut() -> u64> RequestRun<'a, '_, H, W, G> {
    #[inline]
    pub(crate) fn go_on(&mut self) -> Verdict {
        loop {
            let facts = RequestFacts { view: self.view, overlay: self.overlay };
            let next = self.rules.conditions.next_match(&facts, &mut self.workspace.cursor);
            let Some(place) = next else { return Verdict::DEFAULT };
            if let Some(outcome) = self.meet(place) {
                return Verdict { rule: Some(place), outcome };
            }
        }
    }

    /// Carries out a rule whose condition holds, from its beginning; what it ends the list with.
    fn meet(&mut self, place: usize) -> Option<Outcome> {
        let rule = self.rules.rules.get(place)?;
        match rule.authenticate.as_ref().map(|asked| self.access(asked)) {
            None | Some(Access::Granted) => self.carry_out(place),
            Some(Access::Refused) => Some(Outcome::Unauthorized),
            Some(Access::Unknown(tag)) => Some(Outcome::Verify(Pending { rule: place, tag })),
        }
    }

    fn access(&mut self, asked: &Authenticate) -> Access {
        let facts = RequestFacts { view: self.view, overlay: self.overlay };
        let value = facts.keyed(Keyed::RequestHeaders, b"authorization");
        let parsed = value.and_then(|value| {
            let credentials = basic_auth::parse(value, &mut self.workspace.credentials).ok()?;
            let tag = asked.users.hash_of(credentials.user).map(|hash| {
                self.view.world.with_verified(|cache, now| {
                    let tag = cache.tag(hash, credentials.user, credentials.password);
                    (tag, cache.contains(&tag, now))
                })
            });
            Some((credentials.user.len(), tag))
        });
        let Some((user_bytes, tag)) = parsed else { return Access::Refused };
        self.workspace.user_bytes = user_bytes;
        match tag {
            Some((_, true)) => Access::Granted,
            Some((tag, false)) => Access::Unknown(Some(tag)),
            None => Access::Unknown(None),
        }
    }

    /// The edits and the ending of a rule.
    pub(crate) fn carry_out(&mut self, place: usize) -> Option<Outcome> {
        let rules = self.rules;
        let rule = rules.rules.get(place)?;
        for edit in &rule.edits {
            match self.apply(edit) {
                Ok(Some(change)) => rules.conditions.changed(change, &mut self.workspace.cursor),
                Ok(None) => {}
                Err(Dropped) => self.overlay.count_dropped(),
            }
        }
        self.end(rule.ending.as_ref()?)
    }

    fn apply(&mut self, edit: &'a Edit) -> Result<Option<Change<'a>>, Dropped> {
        match edit {
            Edit::SetHeader(name, _) | Edit::AddHeader(name, _) | Edit::RemoveHeader(name) => {
                self.apply_to_headers(edit)?;
                return Ok(Some(Change::RequestHeader(name.lower())));
            }
            Edit::SetMethod(method) => {
                self.overlay.set_method(method)?;
                return Ok(Some(Change::Method));
            }
            Edit::SetPath(path) => {
                self.write(path);
                self.overlay.set_path(&self.workspace.text)?;
                return Ok(Some(Change::Path));
            }
            Edit::RewritePath(rewrite) => {
                let Workspace { text, locations, .. } = &mut *self.workspace;
                text.clear();
                let facts = RequestFacts { view: self.view, overlay: self.overlay };
                if rewrite.rewrite(facts.text(Text::Path), locations, text) {
                    self.overlay.set_path(text)?;
                    return Ok(Some(Change::Path));
                }
            }
            Edit::SetQuery(query) => {
                self.write(query);
                self.overlay.set_query(&self.workspace.text)?;
                return Ok(Some(Change::Query));
            }
            Edit::SetHost(host) => {
                self.write(host);
                self.overlay.set_host(&self.workspace.text)?;
                return Ok(Some(Change::Host));
            }
            Edit::SetVariable(variable, value) => {
                self.write(value);
                self.overlay.set_variable(*variable, &self.workspace.text)?;
                return Ok(Some(Change::Variable(*variable)));
            }
            Edit::LogField(log) => {
                self.write(&log.value);
                self.overlay.set_log_field(log, &self.workspace.text)?;
            }
            Edit::SetTimeouts(timeouts) => self.overlay.set_timeouts(*timeouts),
            Edit::SetPriority(priority) => self.overlay.set_priority(*priority),
            Edit::Mirror(mirror) => {
                if mirror.share.takes(self.random) {
                    self.overlay.mirror(mirror.backend)?;
                }
            }
        }
        Ok(None)
    }

    fn apply_to_headers(&mut self, edit: &Edit) -> Result<(), Dropped> {
        match edit {
            Edit::SetHeader(name, value) => {
                self.write_value(value)?;
                self.overlay.set_header(name, trim(&self.workspace.text))
            }
            Edit::AddHeader(name, value) => {
                self.write_value(value)?;
                self.overlay.add_header(name, trim(&self.workspace.text))
            }
            Edit::RemoveHeader(name) => self.overlay.remove_header(name),
            _ => Ok(()),
        }
    }

    /// What a rule ends the list with; none where the list goes on.
    fn end(&mut self, ending: &Ending) -> Option<Outcome> {
        Some(match ending {
            Ending::Backend(choice) => Outcome::Backend(self.choose(choice)?),
            Ending::Redirect(redirect) => self.redirect(redirect),
            Ending::Respond(respond) => self.respond(respond),
            Ending::Deny { status } => Outcome::Deny { status: *status },
            Ending::Tarpit { status, delay } => Outcome::Tarpit { status: *status, delay: *delay },
            Ending::Close => Outcome::Close,
        })
    }

    fn choose(&mut self, choice: &BackendChoice) -> Option<BackendIndex> {
        match choice {
            BackendChoice::One(backend) => Some(*backend),
            BackendChoice::Split(split) => split.pick(match &split.key {
                None => (self.random)(),
                Some(key) => {
                    let facts = RequestFacts { view: self.view, overlay: self.overlay };
                    let scratch = &mut self.workspace.cursor.scratch;
                    let spread = key.with_key(&facts, scratch, choice::spread);
                    spread.unwrap_or_else(|| choice::spread(Key::Text(b"")))
                }
            }),
            BackendChoice::Named(named) => {
                self.write(&named.name);
                named.backends.get(self.workspace.text.as_slice()).copied()
            }
        }
    }

    fn redirect(&mut self, redirect: &Redirect) -> Outcome {
        let mut location = std::mem::take(&mut self.overlay.answer.location);
        location.clear();
        let is_made = self.push_location(redirect, &mut location).is_some();
        let is_short = location.len() <= LOCATION_BYTES_MAX;
        self.overlay.answer.location = location;
        match is_made && is_short {
            true => Outcome::Redirect { status: redirect.status },
            false => Outcome::Deny { status: 400 },
        }
    }

    fn push_location(&mut self, redirect: &Redirect, out: &mut Vec<u8>) -> Option<()> {
        let Workspace { cursor, text, second_text, .. } = &mut *self.workspace;
        let facts = RequestFacts { view: self.view, overlay: self.overlay };
        text.clear();
        second_text.clear();
        let request = Redirected {
            scheme: if self.view.scheme == b"https" { Scheme::Https } else { Scheme::Http },
            authority: self.overlay.host().unwrap_or(self.view.authority),
            path: self.overlay.current_path(self.view.path),
            query: self.overlay.current_query(self.view.query),
        };
        match &redirect.target {
            RedirectTarget::Parts { scheme, host, prefix } => {
                if let Some(host) = host {
                    host.write(&facts, &mut cursor.scratch, text);
                }
                if let Some(prefix) = prefix {
                    prefix.write(&facts, &mut cursor.scratch, second_text);
                }
                let host = host.as_ref().map(|_| text.as_slice());
                let destination = Destination::Parts { scheme: *scheme, host, prefix: second_text };
                push_location(&destination, &request, redirect.query, out).ok()?;
                // Two slashes that the request put at the beginning do not name a host.
                let is_own = prefix.as_ref().is_none_or(|prefix| {
                    prefix.as_literal().is_some() || prefix.leading_literal().len() > 1
                });
                if !is_own && out.starts_with(b"//") {
                    out.splice(..0, *b"/.");
                }
            }
            RedirectTarget::Location(location) => {
                location.write(&facts, &mut cursor.scratch, text);
                let fixed_bytes = location.leading_literal().len();
                let destination = Destination::Location { text, fixed_bytes };
                push_location(&destination, &request, redirect.query, out).ok()?;
            }
        }
        Some(())
    }

    fn respond(&mut self, respond: &Respond) -> Outcome {
        for (name, value) in &respond.headers {
            let outcome = self
                .write_value(value)
                .and_then(|()| self.overlay.add_answer_header(name, trim(&self.workspace.text)));
            if outcome.is_err() {
                self.overlay.count_dropped();
            }
        }
        if let RespondBody::Template(template) = &respond.body {
            let mut body = std::mem::take(&mut self.overlay.answer.body);
            body.clear();
            let facts = RequestFacts { view: self.view, overlay: self.overlay };
            template.write(&facts, &mut self.workspace.cursor.scratch, &mut body);
            if body.len() > ANSWER_BYTES_MAX {
                body = Vec::new();
                self.overlay.count_dropped();
            }
            self.overlay.answer.body = body;
        }
        Outcome::Respond
    }

    /// Puts what the template makes into the workspace.
    fn write(&mut self, template: &Template) {
        let facts = RequestFacts { view: self.view, overlay: self.overlay };
        self.workspace.write(template, &facts);
    }

    /// The same for the value of a header field.
    fn write_value(&mut self, template: &Template) -> Result<(), Dropped> {
        let facts = RequestFacts { view: self.view, overlay: self.overlay };
        self.workspace.write_value(template, &facts)
    }
}
