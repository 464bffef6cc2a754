//! `retries` and its companions: what is tried again, where, when and how often.
//!
//! Owns their keys; leaves what they mean to `tidegate_exchange`.
//!
//! Invariant: a list that could be read holds no cause twice.

use tidegate_exchange::{BudgetSettings, Redispatch, RetryCause, RetryOn};
use toml::de::DeValue;

use crate::defaults;
use crate::diagnostic::{Problem, quoted};
use crate::model::Retries;
use crate::suggest;
use crate::walk::{Key, Node, key, set, walk};

pub(crate) const RETRY_DELAY_KEYS: &[Key<Retries>] = &[
    key("min", "\"100ms\"", |to, node| set(&mut to.delay_min, node.timeout())),
    key("max", "\"1s\"", |to, node| set(&mut to.delay_max, node.timeout())),
];

pub(crate) const RETRY_BUDGET_KEYS: &[Key<BudgetSettings>] = &[
    key("percent", "20", |to, node| {
        set(&mut to.percent, node.integer(defaults::RETRY_PERCENT_RANGE));
    }),
    key("min_per_second", "10", |to, node| {
        set(&mut to.per_second_min, node.integer(defaults::RETRY_PER_SECOND_RANGE));
    }),
];

const REDISPATCH: [(&str, Redispatch); 2] =
    [("every_retry", Redispatch::EveryRetry), ("last_retry", Redispatch::LastRetry)];

/// `redispatch`: true, false, or which retries.
pub(crate) fn redispatch(node: &Node<'_>) -> Option<Redispatch> {
    match node.value {
        DeValue::Boolean(true) => Some(Redispatch::EveryRetry),
        DeValue::Boolean(false) => Some(Redispatch::Never),
        DeValue::String(_) => node.word(&REDISPATCH),
        _ => node.wrong_type("true, false or a word"),
    }
}

/// `retry_delay`.
pub(crate) fn delay(node: &Node<'_>, retries: &mut Retries) {
    walk(node, RETRY_DELAY_KEYS, retries);
    if retries.delay_min > retries.delay_max {
        let message = format!("the shortest delay of {} is the longer one", quoted(&node.path()));
        node.report(Problem::error(node.span, message).help("`min` is at most `max`"));
    }
}

/// `retry_on`: words, and statuses as numbers or text.
pub(crate) fn retry_on(node: &Node<'_>) -> Option<RetryOn> {
    let mut set = RetryOn::NONE;
    let mut seen: Vec<String> = Vec::new();
    for element in node.elements()? {
        let written = match element.value {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) => number.to_string(),
            _ => return element.wrong_type("a list of words and statuses"),
        };
        if seen.contains(&written) {
            let message = format!("{} is listed twice", quoted(&written));
            node.report(Problem::error(element.span, message));
            return None;
        }
        let cause = RetryCause::WORDS.iter().find(|(word, _)| *word == written);
        let more = match (cause, written.parse::<u16>()) {
            (Some((_, cause)), _) => Some(set.with(*cause)),
            (None, Ok(status)) => set.with_status(status),
            (None, Err(_)) => None,
        };
        let Some(more) = more else {
            element.report(unknown_cause(&element, &written));
            return None;
        };
        set = more;
        seen.push(written);
    }
    Some(set)
}

fn unknown_cause(element: &Node<'_>, written: &str) -> Problem {
    let is_number = written.bytes().all(|byte| byte.is_ascii_digit());
    let message = format!("{} cannot hold {}", quoted(&element.path()), quoted(written));
    let words = RetryCause::WORDS.map(|(word, _)| word);
    // As HAProxy calls them, where ours are not near.
    let renamed = match written {
        "conn-failure" => Some("connect_failure"),
        "0rtt-rejected" | "all-retryable-errors" => None,
        _ => suggest::nearest(written, words),
    };
    Problem::error(element.span, message).help(match renamed {
        Some(near) => format!("did you mean \"{near}\"?"),
        None if is_number => "take a status from 400 to 463 or from 500 to 563".to_owned(),
        None => format!("write a status, or one of \"{}\"", words.join("\", \"")),
    })
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            max: defaults::RETRIES,
            redispatch: defaults::REDISPATCH,
            on: RetryOn::default(),
            non_idempotent: defaults::RETRY_NON_IDEMPOTENT,
            body_max: defaults::RETRY_BODY_MAX,
            budget: BudgetSettings {
                percent: defaults::RETRY_PERCENT,
                per_second_min: defaults::RETRY_PER_SECOND,
            },
            delay_min: defaults::RETRY_DELAY_MIN,
            delay_max: defaults::RETRY_DELAY_MAX,
            per_try: None,
            hedge_after: None,
        }
    }
}
