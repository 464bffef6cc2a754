//! From drafts to compiled rules, once the whole file is read.
//!
//! Owns the compiling of conditions and templates, the places of their problems, and the order of edits; leaves endings to
//! `finish` and the checks of fixed text to `location`.
//!
//! Invariant: a rule that is left out has been reported, so that a configuration that is used has all of its rules.

use std::collections::HashMap;
use std::sync::Arc;

use tidegate_passwords::Users;
use tidegate_routing::{RequestRule, ResponseRule, Rules};
use tidegate_rules::{
    ATTRIBUTES, CONDITIONS_MAX, Condition, Conditions, Environment, Names, Phase, Template,
};

use super::{RuleDraft, RulesDraft};
use crate::diagnostic::{Problem, quoted};
use crate::files::Files;
use crate::model::FrontendRules;
use crate::references::Backends;
use crate::text::Text;
use crate::walk::Problems;

/// Compiles the rules of all frontends against the same names.
pub(crate) struct Compiler<'c> {
    pub problems: &'c Problems,
    pub files: &'c Files<'c>,
    pub backends: &'c Backends<'c>,
    /// `[user_lists.NAME]`.
    pub user_lists: &'c HashMap<String, Arc<Users>>,
    pub names: Names,
    /// Where each map was first named, in the order of their index.
    pub maps: Vec<Text>,
}

/// What an expression of one frontend is compiled against.
#[derive(Clone, Copy)]
pub(super) struct Scope<'s> {
    pub conditions: &'s Conditions,
    pub phase: Phase,
}

impl<'c> Compiler<'c> {
    /// Declares what rules of any frontend set, so that every expression may name it.
    pub fn declare<'d>(&mut self, drafts: impl IntoIterator<Item = &'d RulesDraft>) {
        for draft in drafts {
            for rule in draft.request.iter().chain(&draft.response) {
                for (name, _) in &rule.edits.set_variable {
                    if let Err(problem) = self.names.declare_variable(&name.value) {
                        self.problems.push(at(name.span, problem));
                    }
                }
            }
        }
    }

    /// The rules of one frontend.
    pub fn frontend(&mut self, draft: &RulesDraft) -> FrontendRules {
        let conditions = self.conditions(&draft.conditions);
        let scope = Scope { conditions: &conditions, phase: Phase::Request };
        let mut request = Vec::new();
        for (index, rule) in draft.request.iter().enumerate() {
            let when = self.when(scope, rule);
            if let (Some(when), Some(rule)) = (when, self.request_rule(scope, rule, index)) {
                request.push((when, rule));
            }
        }
        let scope = Scope { conditions: &conditions, phase: Phase::Response };
        let mut response = Vec::new();
        for (index, rule) in draft.response.iter().enumerate() {
            let when = self.when(scope, rule);
            let edits = self.edits(scope, &rule.edits);
            if let Some(when) = when {
                let name = rule_name(rule, "response_rules", index);
                response.push((when, ResponseRule { name, edits, set_status: rule.set_status }));
            }
        }
        self.warn_of_unreachable(draft, &request);
        for name in conditions.unused() {
            let Some((name, _)) = draft.conditions.iter().find(|(known, _)| known.value == name)
            else {
                continue;
            };
            let message = format!("condition {} is not used", quoted(&name.value));
            let problem = Problem::warning(name.span, message).absent();
            self.problems.push(problem.help("no rule of this frontend names it"));
        }
        FrontendRules {
            request: Rules::new(request),
            response: Rules::new(response),
            written: draft.written.clone(),
        }
    }

    fn conditions(&mut self, written: &[(Text, Text)]) -> Conditions {
        let mut entries: Vec<(&Text, &Text)> = Vec::new();
        if let Some((name, _)) = written.get(CONDITIONS_MAX) {
            let message = format!("more than {CONDITIONS_MAX} conditions");
            self.problems.push(Problem::error(name.span, message));
        }
        for (name, text) in written.iter().take(CONDITIONS_MAX) {
            match check_condition_name(&name.value) {
                Ok(()) => entries.push((name, text)),
                Err((message, help)) => {
                    self.problems.push(Problem::error(name.span, message).help(help));
                }
            }
        }
        let texts = entries.iter().map(|(name, text)| (&*name.value, &*text.value));
        let (conditions, found) = Conditions::compile(&mut self.names, texts);
        for found in found {
            let entry = entries.iter().find(|(name, _)| name.value == found.name);
            if let Some((_, text)) = entry {
                self.report(text, vec![found.problem]);
            }
        }
        for (_, text) in entries {
            self.note_maps(text);
        }
        conditions
    }

    /// The rule's condition: inside, none if it always applies.
    #[expect(clippy::option_option, reason = "no condition is not the same as one that is wrong")]
    fn when(&mut self, scope: Scope<'_>, rule: &RuleDraft) -> Option<Option<Condition>> {
        let Some(text) = &rule.when else { return Some(None) };
        let condition = self.condition(scope, text)?;
        if condition.as_constant() == Some(false) {
            let message = "the condition never holds: the rule does nothing";
            self.problems.push(Problem::warning(text.span, message).absent());
        }
        Some(Some(condition))
    }

    fn condition(&mut self, scope: Scope<'_>, text: &Text) -> Option<Condition> {
        let compiled = self.with(scope, |environment| Condition::compile(&text.value, environment));
        self.compiled(text, compiled)
    }

    /// A text with `{expression}` in it.
    pub(super) fn template(&mut self, scope: Scope<'_>, text: &Text) -> Option<Template> {
        let mut compiled =
            self.with(scope, |environment| Template::compile(&text.value, environment));
        for problem in compiled.as_mut().err().into_iter().flatten() {
            // Braces that were meant as such, as those of JSON are, rarely hold an expression.
            if problem.message.starts_with("expected ") && problem.help.is_none() {
                problem.help =
                    Some("write `{{` and `}}` for braces that stand for themselves".to_owned());
            }
        }
        self.compiled(text, compiled)
    }

    /// An expression without braces.
    pub(super) fn expression(&mut self, scope: Scope<'_>, text: &Text) -> Option<Template> {
        let compiled =
            self.with(scope, |environment| Template::compile_expression(&text.value, environment));
        self.compiled(text, compiled)
    }

    /// An expression outside of any frontend, which names no condition.
    pub fn key(&mut self, text: &Text) -> Option<Template> {
        self.key_in(Phase::Request, text)
    }

    /// The same for responses.
    pub fn response_key(&mut self, text: &Text) -> Option<Template> {
        self.key_in(Phase::Response, text)
    }

    fn key_in(&mut self, phase: Phase, text: &Text) -> Option<Template> {
        let conditions = Conditions::default();
        self.expression(Scope { conditions: &conditions, phase }, text)
    }

    fn with<T>(&mut self, scope: Scope<'_>, compile: impl FnOnce(&mut Environment<'_>) -> T) -> T {
        let Scope { conditions, phase } = scope;
        compile(&mut Environment { names: &mut self.names, conditions, phase })
    }

    fn compiled<T>(
        &mut self,
        text: &Text,
        compiled: Result<T, Vec<tidegate_rules::Problem>>,
    ) -> Option<T> {
        self.note_maps(text);
        match compiled {
            Ok(compiled) => Some(compiled),
            Err(found) => {
                self.report(text, found);
                None
            }
        }
    }
}

/// Problems at their places, and what this version refuses.
impl Compiler<'_> {
    /// Reports what is wrong inside of `text`.
    pub(super) fn report(&self, text: &Text, found: Vec<tidegate_rules::Problem>) {
        for found in found {
            let names_nothing = ["there is no ", "no rule sets "]
                .iter()
                .any(|start| found.message.starts_with(start));
            let problem = if found.message.starts_with("there is no limit") {
                Problem::inside(text, found.span, "`rate` is not supported by this version").help(
                    "remove it; it is refused because ignoring it would leave out what it asks for",
                )
            } else {
                let problem = Problem::inside(text, found.span, found.message);
                Problem { help: found.help, ..problem }
            };
            self.problems.push(if names_nothing { problem.absent() } else { problem });
        }
    }

    /// Remembers where maps were first named: only the text that was just compiled can have named new ones.
    fn note_maps(&mut self, text: &Text) {
        for name in self.names.maps().iter().skip(self.maps.len()) {
            let inside = text.value.find(name.as_str()).map(|start| start..start + name.len());
            self.maps.push(Text { value: name.clone(), span: text.span, inside });
        }
    }

    /// Warns of the first rule behind one that ends the list for everything.
    fn warn_of_unreachable(
        &self,
        draft: &RulesDraft,
        compiled: &[(Option<Condition>, RequestRule)],
    ) {
        // Places correspond only while every rule was compiled; otherwise there are errors to correct first.
        if compiled.len() != draft.request.len() {
            return;
        }
        let ends_always = |(when, rule): &(Option<Condition>, RequestRule)| {
            let always = when.as_ref().is_none_or(|when| when.as_constant() == Some(true));
            always && rule.ending.as_ref().is_some_and(super::finish::is_certain)
        };
        let Some(last) = compiled.iter().position(ends_always) else { return };
        if let Some(unreachable) = draft.request.get(last + 1) {
            let problem = Problem::warning(unreachable.span, "this rule is never reached");
            self.problems.push(
                problem
                    .absent()
                    .note("every request ends with the rule at", draft.request[last].span)
                    .help("give that one a `when`, or put this one before it"),
            );
        }
    }
}

/// A problem of a name, which is about the whole of it.
fn at(span: crate::diagnostic::Span, problem: tidegate_rules::Problem) -> Problem {
    Problem { help: problem.help, ..Problem::error(span, problem.message) }
}

/// What a rule is called in the log: its name, or its list and its place in it, from 1.
pub(super) fn rule_name(rule: &RuleDraft, list: &str, index: usize) -> Arc<str> {
    match &rule.name {
        Some(name) => name.value.as_str().into(),
        None => format!("{list}[{}]", index + 1).into(),
    }
}

/// Whether a condition may have the name; otherwise what is wrong and what to do.
fn check_condition_name(name: &str) -> Result<(), (String, String)> {
    // A variable's name follows the same rules.
    if let Err(problem) = Names::default().declare_variable(name) {
        let help = problem.help.unwrap_or_default();
        return Err((format!("{} cannot be the name of a condition", quoted(name)), help));
    }
    let is_taken =
        name == "vars" || ATTRIBUTES.iter().any(|row| row.name.split('.').next() == Some(name));
    if is_taken {
        return Err((
            format!("{} cannot be the name of a condition: attributes begin with it", quoted(name)),
            format!("take another name, such as `is_{name}`"),
        ));
    }
    Ok(())
}
