//! Edits of a rule, compiled.
//!
//! Owns their order, which is that of `tidegate_routing::Edit`, and what surrounds them: authentication, mirrors. Leaves
//! endings to `finish`, and the checks of fixed text to `location`.
//!
//! Invariant: an edit that is left out has been reported.

use std::sync::Arc;

use tidegate_passwords::Users;
use tidegate_routing::{Authenticate, Edit, HeaderName, LogValue, Mirror, RequestRule};
use tidegate_rules::Template;

use super::authenticate::{AuthenticateDraft, UsersDraft};
use super::compile::{Compiler, Scope, rule_name};
use super::edits::{EditsDraft, HeaderDraft, MirrorDraft};
use super::{RuleDraft, location};
use crate::diagnostic::{Problem, quoted};
use crate::suggest;
use crate::text::Text;

impl Compiler<'_> {
    /// A rule of requests without its condition; none if its ending is wrong.
    pub(super) fn request_rule(
        &mut self,
        scope: Scope<'_>,
        rule: &RuleDraft,
        index: usize,
    ) -> Option<RequestRule> {
        let edits = self.edits(scope, &rule.edits);
        let authenticate = rule.authenticate.as_ref().and_then(|draft| self.authenticate(draft));
        let ending = match rule.endings.first() {
            None => None,
            Some((_, draft)) => Some(self.ending(scope, draft.as_ref()?)?),
        };
        Some(RequestRule { name: rule_name(rule, "rules", index), edits, authenticate, ending })
    }

    /// The edits of a rule in the order in which they apply.
    pub(super) fn edits(&mut self, scope: Scope<'_>, draft: &EditsDraft) -> Vec<Edit> {
        draft.check(self.problems);
        let mut edits = Vec::new();
        for (name, value) in self.header_values(scope, &draft.set_headers) {
            edits.push(Edit::SetHeader(name, value));
        }
        for (name, value) in self.header_values(scope, &draft.add_headers) {
            edits.push(Edit::AddHeader(name, value));
        }
        edits.extend(draft.remove_headers.iter().map(|(name, _)| Edit::RemoveHeader(name.clone())));
        edits.extend(draft.set_method.clone().map(Edit::SetMethod));
        edits.extend(self.fixed(scope, draft.set_path.as_ref(), location::PATH).map(Edit::SetPath));
        edits.extend(draft.rewrite_path.clone().map(Edit::RewritePath));
        edits.extend(
            self.fixed(scope, draft.set_query.as_ref(), location::QUERY).map(Edit::SetQuery),
        );
        edits.extend(self.fixed(scope, draft.set_host.as_ref(), location::HOST).map(Edit::SetHost));
        for (name, text) in &draft.set_variable {
            let template = self.template(scope, text);
            // A name that is wrong was reported when all were declared.
            let variable = self.names.declare_variable(&name.value).ok();
            edits.extend(
                variable.zip(template).map(|(to, template)| Edit::SetVariable(to, template)),
            );
        }
        for (name, text) in &draft.log_field {
            let Some(value) = self.template(scope, text) else { continue };
            let name = name.value.as_str().into();
            edits.push(Edit::LogField(LogValue { name, field: None, value }));
        }
        edits.extend(draft.set_timeouts.map(Edit::SetTimeouts));
        edits.extend(draft.set_priority.map(Edit::SetPriority));
        edits.extend(draft.mirror.as_ref().and_then(|draft| self.mirror(draft)).map(Edit::Mirror));
        edits
    }

    fn fixed(
        &mut self,
        scope: Scope<'_>,
        text: Option<&Text>,
        kind: location::Kind,
    ) -> Option<Template> {
        let text = text?;
        let template = self.template(scope, text)?;
        location::check(text, &template, kind, self.problems).then_some(template)
    }

    /// Names with their values, of which the fixed parts can stand in a header field.
    pub(super) fn header_values(
        &mut self,
        scope: Scope<'_>,
        headers: &[HeaderDraft],
    ) -> Vec<(HeaderName, Template)> {
        let mut values = Vec::new();
        for header in headers {
            let Some(value) = self.template(scope, &header.value) else { continue };
            if location::check(&header.value, &value, location::HEADER, self.problems) {
                values.push((header.name.clone(), value));
            }
        }
        values
    }

    fn mirror(&self, draft: &MirrorDraft) -> Option<Mirror> {
        let name = draft.backend.as_ref()?;
        let backend = self.backends.find(&name.value, name.span)?;
        Some(Mirror { backend, share: draft.share })
    }

    fn authenticate(&self, draft: &AuthenticateDraft) -> Option<Authenticate> {
        let users = match draft.users.as_ref()? {
            UsersDraft::List(name) => self.user_list(name)?,
            UsersDraft::Own(users) => {
                let users = users.iter().map(|(name, hash)| (name.as_str(), hash.clone()));
                // A table has each key once.
                Arc::new(Users::new(users).ok()?)
            }
        };
        Some(Authenticate { realm: draft.realm_bytes(), users })
    }

    fn user_list(&self, name: &Text) -> Option<Arc<Users>> {
        if let Some(users) = self.user_lists.get(&name.value) {
            return Some(users.clone());
        }
        let message = format!("there is no user list {}", quoted(&name.value));
        let problem = Problem::error(name.span, message).absent();
        let near = suggest::nearest(&name.value, self.user_lists.keys().map(String::as_str));
        self.problems.push(match near {
            Some(near) => problem.help(format!("did you mean {}?", quoted(near))),
            None => problem.help("add one: [user_lists.NAME] with users = { admin = \"$6$…\" }"),
        });
        None
    }
}
