//! A list of rules, carried out over one response.
//!
//! Owns the order, as `request` does for requests. Leaves what edits mean to the overlays. Invariant:
//! each rule sees the edits of all before it, and an edit that cannot be made is dropped, counted, and
//! changes nothing.

use tidegate_rules::Change;

use crate::facts::{RequestFacts, ResponseFacts};
use crate::overlay::RequestOverlay;
use crate::response_overlay::ResponseOverlay;
use crate::run::Workspace;
use crate::settings::{Edit, ResponseRule, Rules};
use crate::target::trim;
use crate::view::{HeaderSource, RequestView, ResponseView, World};

/// A list over one response.
pub(crate) struct ResponseRun<'a, 'v, 'r, H, W, R> {
    pub(crate) rules: &'a Rules<ResponseRule>,
    pub(crate) request: &'a RequestView<'v, H, W>,
    pub(crate) overlay: &'a mut RequestOverlay,
    pub(crate) view: &'a ResponseView<'r, R>,
    pub(crate) edits: &'a mut ResponseOverlay,
    pub(crate) workspace: &'a mut Workspace,
}

impl<'a, H: HeaderSource, W: World, R: HeaderSource> ResponseRun<'a, '_, '_, H, W, R> {
    pub(crate) fn go_on(&mut self) {
        let rules = self.rules;
        while let Some(place) = self.next_match() {
            let Some(rule) = rules.rules.get(place) else { return };
            for edit in &rule.edits {
                if let Some(change) = self.apply(edit) {
                    rules.conditions.changed(change, &mut self.workspace.cursor);
                }
            }
            if let Some(status) = rule.set_status {
                self.edits.set_status(status);
            }
        }
    }

    fn next_match(&mut self) -> Option<usize> {
        let request = RequestFacts { view: self.request, overlay: self.overlay };
        let facts = ResponseFacts { request, view: self.view, overlay: self.edits };
        self.rules.conditions.next_match(&facts, &mut self.workspace.cursor)
    }

    /// What changed.
    fn apply(&mut self, edit: &'a Edit) -> Option<Change<'a>> {
        let request = RequestFacts { view: self.request, overlay: self.overlay };
        let facts = ResponseFacts { request, view: self.view, overlay: self.edits };
        let workspace = &mut *self.workspace;
        match edit {
            Edit::SetHeader(name, value) => {
                let written = workspace.write_value(value, &facts);
                let outcome =
                    written.and_then(|()| self.edits.set_header(name, trim(&workspace.text)));
                self.edits.count(outcome).then_some(Change::ResponseHeader(name.lower()))
            }
            Edit::AddHeader(name, value) => {
                let written = workspace.write_value(value, &facts);
                let outcome =
                    written.and_then(|()| self.edits.add_header(name, trim(&workspace.text)));
                self.edits.count(outcome).then_some(Change::ResponseHeader(name.lower()))
            }
            Edit::RemoveHeader(name) => {
                let outcome = self.edits.remove_header(name);
                self.edits.count(outcome).then_some(Change::ResponseHeader(name.lower()))
            }
            Edit::SetVariable(variable, value) => {
                workspace.write(value, &facts);
                let outcome = self.overlay.set_variable(*variable, &workspace.text);
                self.overlay.count(outcome).then_some(Change::Variable(*variable))
            }
            Edit::LogField(log) => {
                workspace.write(&log.value, &facts);
                let outcome = self.overlay.set_log_field(log, &workspace.text);
                self.overlay.count(outcome);
                None
            }
            // The configuration has no others in the rules of responses: it is too late for them.
            Edit::SetMethod(_)
            | Edit::SetPath(_)
            | Edit::RewritePath(_)
            | Edit::SetQuery(_)
            | Edit::SetHost(_)
            | Edit::SetTimeouts(_)
            | Edit::SetPriority(_)
            | Edit::Mirror(_) => None,
        }
    }
}
