//! Endings of a rule, compiled.
//!
//! Owns the choice of backends, redirects and answers; leaves names of backends to `references` and fixed text to
//! `location`.
//!
//! Invariant: an ending that is made points at backends that exist, and answers with what can be sent.

use std::sync::Arc;

use tidegate_routing::{
    BackendChoice, BackendShare, Ending, NamedBackends, Redirect, RedirectTarget, Respond,
    RespondBody, Split,
};
use tidegate_semantics::header_rules;
use tidegate_semantics::redirect::Query;

use super::compile::{Compiler, Scope};
use super::endings::{EndingDraft, RedirectDraft, RespondDraft, SplitDraft, TargetDraft};
use super::location;
use crate::defaults;
use crate::diagnostic::{Problem, quoted};
use crate::pages;
use crate::text::Text;

/// Whether the list surely ends: a backend by a name that is made may not exist.
pub(super) fn is_certain(ending: &Ending) -> bool {
    !matches!(ending, Ending::Backend(BackendChoice::Named(_)))
}

impl Compiler<'_> {
    pub(super) fn ending(&mut self, scope: Scope<'_>, draft: &EndingDraft) -> Option<Ending> {
        Some(match draft {
            EndingDraft::Backend(TargetDraft::Name(name)) => {
                Ending::Backend(self.backend(scope, name)?)
            }
            EndingDraft::Backend(TargetDraft::Split(split)) => {
                Ending::Backend(BackendChoice::Split(self.split(scope, split)?))
            }
            EndingDraft::Redirect(redirect) => Ending::Redirect(self.redirect(scope, redirect)?),
            EndingDraft::Respond(respond) => Ending::Respond(self.respond(scope, respond)?),
            EndingDraft::Deny { status } => Ending::Deny { status: *status },
            EndingDraft::Tarpit { status, delay } => {
                Ending::Tarpit { status: *status, delay: *delay }
            }
            EndingDraft::Close => Ending::Close,
        })
    }

    /// A backend by its name, or by a template that some backend's name fits.
    fn backend(&mut self, scope: Scope<'_>, name: &Text) -> Option<BackendChoice> {
        // Names of backends have no braces.
        if !name.value.contains(['{', '}']) {
            return Some(BackendChoice::One(self.backends.find(&name.value, name.span)?));
        }
        let template = self.template(scope, name)?;
        if let Some(literal) = template.as_literal() {
            let literal = String::from_utf8_lossy(literal);
            return Some(BackendChoice::One(self.backends.find(&literal, name.span)?));
        }
        let backends = self.backends.matching(|known| template.could_write(known.as_bytes()));
        if backends.is_empty() && !self.backends.are_obscured() {
            let message = format!("no backend has a name like {}", quoted(&name.value));
            let problem = Problem::error(name.span, message).absent();
            self.problems.push(match self.backends.shown() {
                Some(names) => problem.help(format!("there is {names}")),
                None => problem,
            });
            return None;
        }
        Some(BackendChoice::Named(NamedBackends { name: template, backends: Arc::new(backends) }))
    }

    fn split(&mut self, scope: Scope<'_>, draft: &SplitDraft) -> Option<Split> {
        let shares: Vec<_> = draft
            .shares
            .iter()
            .filter_map(|(name, weight)| {
                let backend = self.backends.find(&name.value, name.span)?;
                Some(BackendShare { backend, weight: *weight })
            })
            .collect();
        let sum = shares.iter().map(|share| share.weight).sum();
        let key = match &draft.by {
            Some(by) => Some(self.expression(scope, by)?),
            None => None,
        };
        Some(Split { shares, sum, key })
    }

    fn redirect(&mut self, scope: Scope<'_>, draft: &RedirectDraft) -> Option<Redirect> {
        let is_whole = draft.location.is_some();
        let target = if let Some(location) = &draft.location {
            RedirectTarget::Location(self.checked(scope, Some(location), location::LOCATION)??)
        } else {
            let has_origin = draft.scheme.is_some() || draft.host.is_some();
            let prefix_kind = if has_origin { location::PATH_PREFIX } else { location::PREFIX };
            let host = self.checked(scope, draft.host.as_ref(), location::HOST);
            let prefix = self.checked(scope, draft.prefix.as_ref(), prefix_kind);
            RedirectTarget::Parts { scheme: draft.scheme, host: host?, prefix: prefix? }
        };
        // A whole location says what it wants of the query.
        let keeps_query = draft.keep_query.unwrap_or(!is_whole);
        Some(Redirect {
            status: draft.status.unwrap_or(defaults::REDIRECT_STATUS),
            target,
            query: if keeps_query { Query::Keep } else { Query::Drop },
        })
    }

    fn respond(&mut self, scope: Scope<'_>, draft: &RespondDraft) -> Option<Respond> {
        let headers = self.header_values(scope, &draft.headers);
        let written_type = draft.content_type.as_ref();
        let content_type = written_type.and_then(|text| self.content_type(text));
        let (body, default_type) = match (&draft.body, &draft.file) {
            (_, Some(file)) => {
                let bytes = self.files.bytes(file, defaults::PAGE_BYTES_MAX)?;
                let by_name = pages::content_type(&file.value);
                if by_name.is_none() && written_type.is_none() {
                    let problem = pages::unknown_type(file);
                    self.problems.push(problem.help("say it: content_type = \"…\""));
                }
                (RespondBody::Bytes(bytes), by_name)
            }
            (Some(text), None) => (self.body(scope, text)?, Some(defaults::BODY_CONTENT_TYPE)),
            (None, None) => (RespondBody::Bytes(Arc::default()), None),
        };
        Some(Respond {
            status: draft.status.unwrap_or(200),
            content_type: content_type.or_else(|| default_type.map(|text| text.as_bytes().into())),
            headers,
            body,
        })
    }

    fn content_type(&self, text: &Text) -> Option<Box<[u8]>> {
        let value = text.value.as_bytes();
        if header_rules::check_value(value).is_ok() && value.contains(&b'/') {
            return Some(value.into());
        }
        let message = format!("{} is not a content type", quoted(&text.value));
        let problem = Problem::error(text.span, message);
        self.problems.push(problem.help("write type and subtype, such as \"text/plain\""));
        None
    }

    /// A text with expressions in it; braces of its own are doubled.
    fn body(&mut self, scope: Scope<'_>, text: &Text) -> Option<RespondBody> {
        if text.value.len() > defaults::PAGE_BYTES_MAX {
            let message = format!("the body is longer than {} bytes", defaults::PAGE_BYTES_MAX);
            self.problems.push(Problem::error(text.span, message));
            return None;
        }
        let template = self.template(scope, text)?;
        Some(match template.as_literal() {
            Some(literal) => RespondBody::Bytes(literal.into()),
            None => RespondBody::Template(template),
        })
    }

    /// A template whose fixed text is of `kind`: inside, none if there is no text.
    #[expect(clippy::option_option, reason = "no text is not the same as one that is wrong")]
    fn checked(
        &mut self,
        scope: Scope<'_>,
        text: Option<&Text>,
        kind: location::Kind,
    ) -> Option<Option<tidegate_rules::Template>> {
        let Some(text) = text else { return Some(None) };
        let template = self.template(scope, text)?;
        location::check(text, &template, kind, self.problems).then_some(Some(template))
    }
}
