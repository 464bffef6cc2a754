//! `stick_on` and what belongs to it: a table by which clients are known again.
//!
//! Owns compiling its keys, and which of them can be keys at all; leaves reading them to `persistence`. Invariant: what comes out
//! tells requests apart, and what is learned is a response's.

use std::time::Duration;

use tidegate_routing::BalanceKey;
use tidegate_rules::{ATTRIBUTES, Phase, Template};

use crate::defaults;
use crate::diagnostic::Problem;
use crate::model::{HashKey, Stick};
use crate::rules::Compiler;
use crate::text::Text;
use crate::walk::Problems;

/// A table while it is read.
pub(crate) struct StickDraft {
    pub on: Option<Text>,
    pub learn: Option<Text>,
    pub entries_max: usize,
    pub expire: Duration,
}

impl Default for StickDraft {
    fn default() -> Self {
        Self {
            on: None,
            learn: None,
            entries_max: defaults::STICK_ENTRIES_MAX,
            expire: defaults::STICK_EXPIRE,
        }
    }
}

impl StickDraft {
    /// The table, if there is a `stick_on`.
    pub fn finish(&self, compiler: &mut Compiler<'_>, problems: &Problems) -> Option<Stick> {
        let on = self.on.as_ref()?;
        let key = compiler.key(on);
        if key.as_ref().is_some_and(|key| key.as_literal().is_some()) {
            let problem = Problem::error(on.span, "the key is the same for every request");
            problems.push(problem.help("name something of the request, such as source.ip"));
        }
        let learned = self.learn.as_ref().map(|learn| (learn, compiler.response_key(learn)));
        if let Some((learn, Some(key))) = &learned
            && !asks_about_response(key)
        {
            let problem = Problem::error(learn.span, "the key says nothing of the response");
            problems.push(problem.help(
                "name what servers send, such as response.cookies[\"SID\"]; without `learn` the keys of requests are learned",
            ));
        }
        let learn = match learned {
            Some((text, key)) => Some(named(text, key?)),
            None => None,
        };
        let (entries_max, expire) = (self.entries_max, self.expire);
        Some(Stick { on: named(on, key?), learn, entries_max, expire })
    }
}

fn asks_about_response(key: &Template) -> bool {
    let of_responses = ATTRIBUTES.iter().filter(|row| row.phase == Phase::Response);
    of_responses.into_iter().any(|row| key.uses().asks(row.attribute))
}

fn named(text: &Text, key: Template) -> HashKey {
    HashKey { expression: text.value.clone(), depth: None, key: BalanceKey::new(key, None) }
}
