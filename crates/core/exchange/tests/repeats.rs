//! Requests that are sent again: what is, what must not be, the time of a try, and a second try beside the first.

mod support;

use std::time::Duration;

use support::{CONTINUE, OK, PROGRESS, REFUSED, Trace, picked, reused};
use tidegate_exchange::{BudgetSettings, ConnectFailure, Input, Policy, RetryCause, RetryOn};

/// A policy that tries everything again.
fn repeating() -> Policy {
    let all = RetryCause::WORDS.iter().fold(RetryOn::NONE, |set, (_, cause)| set.with(*cause));
    let retry_on = all.with_status(503).expect("a status");
    Policy { retry_on, ..Policy::default() }
}

/// What a try may fail by once the request was sent, as inputs.
const FAILURES: [&[Input]; 6] = [
    &[Input::ServerClosed],
    &[Input::ServerReset],
    &[Input::StreamReset],
    &[Input::BadResponse("x")],
    &[Input::ResponseBytes, Input::ServerClosed],
    &[Input::ResponseHead { status: 503, interim: false }],
];

#[test]
fn what_the_policy_lists_is_sent_again_to_another_server() {
    for failure in FAILURES {
        let sent = [picked(2), Input::Connected, Input::RequestSent];
        let mut trace = Trace::new(&repeating(), true).after(&sent);
        let (last, before) = failure.split_last().expect("an input");
        trace = trace.after(before);
        assert_eq!(trace.word(*last), "pick!2", "{failure:?}");
        assert!(trace.exchange.retried().is_some());
        assert_eq!(trace.word(reused(0)), "send:0");
        assert_eq!(trace.word(Input::RequestSent), ".");
        assert_eq!(trace.word(OK), "relay");
    }
    let sent = [picked(2), Input::Connected, Input::RequestSent];
    let mut trace = Trace::new(&repeating(), true).after(&sent);
    assert_eq!(trace.expire(), "pick!2", "a server that does not answer in time");
    for (status, expected) in [(14, "pick!2"), (5, ".")] {
        let mut trace = Trace::new(&repeating(), true).after(&sent);
        assert_eq!(trace.word(Input::GrpcStatus(status)), expected, "a status of gRPC");
    }
    let mut trace = Trace::new(&repeating(), false).after(&sent);
    assert_eq!(trace.word(Input::GrpcStatus(14)), ".", "a call that must not be repeated");
    assert_eq!(trace.word(OK), "relay");
}

#[test]
fn nothing_is_sent_again_that_must_not_be() {
    let sent = [picked(2), Input::Connected, Input::RequestSent];
    let with_body = [picked(2), Input::Connected, PROGRESS, Input::RequestSent];
    let relayed = [picked(2), Input::Connected, Input::RequestSent, CONTINUE];
    let none_left = Policy { retries_max: 0, ..repeating() };
    let nothing = BudgetSettings { percent: 0, per_second_min: 0 };
    for failure in FAILURES {
        for (policy, budget, repeatable, before) in [
            (repeating(), BudgetSettings::default(), false, &sent[..]),
            (repeating(), BudgetSettings::default(), true, &with_body),
            (repeating(), BudgetSettings::default(), true, &relayed),
            (none_left, BudgetSettings::default(), true, &sent),
            (repeating(), nothing, true, &sent),
            (Policy::default(), BudgetSettings::default(), true, &sent),
        ] {
            let mut trace = Trace::with_budget(&policy, budget, repeatable).after(before);
            let (last, inputs) = failure.split_last().expect("an input");
            trace = trace.after(inputs);
            let ended = trace.word(*last);
            assert!(["502", "relay"].contains(&&*ended), "{failure:?} {before:?}: {ended}");
            assert_eq!(trace.exchange.is_over_budget(), budget == nothing);
        }
    }
}

#[test]
fn a_body_that_is_kept_is_sent_again() {
    let kept = Input::RequestProgress { kept: true };
    let mut trace = Trace::new(&repeating(), true).after(&[picked(2), Input::Connected, kept]);
    assert_eq!(trace.word(Input::ServerReset), "pick!2");
    let mut trace = trace.after(&[picked(1), Input::Connected, kept, PROGRESS]);
    assert_eq!(trace.word(Input::ServerReset), "502", "the rest was too large");
}

#[test]
fn the_last_try_passes_on_what_it_got() {
    let busy = Input::ResponseHead { status: 503, interim: false };
    let mut trace = Trace::new(&Policy { retries_max: 2, ..repeating() }, true);
    for (server, expected) in [(0, "pick!0"), (1, "pick!0!1"), (2, "relay")] {
        trace = trace.after(&[picked(server), Input::Connected, Input::RequestSent]);
        assert_eq!(trace.word(busy), expected);
    }
    assert_eq!(trace.exchange.retries(), 2);
}

#[test]
fn a_try_has_its_own_time_if_another_one_can_follow() {
    let try_timeout = Some(Duration::from_secs(2));
    let policy = Policy { try_timeout, retries_max: 1, ..Policy::default() };
    let sent = [picked(0), Input::Connected, Input::RequestSent];
    let mut trace = Trace::new(&policy, true).after(&sent);
    assert_eq!(trace.left(), try_timeout);
    trace.now += Duration::from_secs(1);
    let mut trace = trace.after(&[Input::ResponseBytes]);
    assert_eq!(trace.left(), Some(Duration::from_secs(1)), "bytes of a head do not prolong it");
    assert_eq!(trace.expire(), "pick!0");
    // The last one has all the time that the server has.
    let mut trace = trace.after(&[picked(1), Input::Connected, Input::RequestSent]);
    assert_eq!(trace.expire(), ".");
    assert_eq!(trace.left(), Some(policy.server_timeout - Duration::from_secs(2)));
    assert_eq!(trace.expire(), "504");
    // One that cannot be repeated too, and one for which the budget has nothing left.
    let nothing = BudgetSettings { percent: 0, per_second_min: 0 };
    for (budget, repeatable) in [(BudgetSettings::default(), false), (nothing, true)] {
        let mut trace = Trace::with_budget(&policy, budget, repeatable).after(&sent);
        assert_eq!(trace.expire(), ".");
        assert_eq!(trace.expire(), "504");
    }
    // A response that has begun is no try any more.
    let trace = Trace::new(&policy, true).after(&sent).after(&[OK]);
    assert_eq!(trace.left(), Some(policy.server_timeout));
}

#[test]
fn only_listed_failures_to_connect_are_tried_again() {
    let policy = Policy { retry_on: RetryOn::NONE.with(RetryCause::Refused), ..Policy::default() };
    let mut trace = Trace::new(&policy, true).after(&[picked(0)]);
    assert_eq!(trace.word(REFUSED), "pick!0");
    let mut trace = trace.after(&[picked(1)]);
    assert_eq!(trace.word(Input::ConnectFailed(ConnectFailure::Reset)), "503");
}

/// A policy that makes a second try after one second.
fn hedging() -> Policy {
    Policy { hedge_after: Some(Duration::from_secs(1)), ..Policy::default() }
}

#[test]
fn a_slow_server_gets_company_and_the_first_to_answer_wins() {
    let sent = [picked(0), Input::Connected, Input::RequestSent];
    let mut trace = Trace::new(&hedging(), true).after(&sent);
    assert_eq!(trace.left(), Some(Duration::from_secs(1)));
    assert_eq!(trace.expire(), "hedge![0]");
    assert_eq!(trace.left(), Some(hedging().server_timeout - Duration::from_secs(1)));
    assert_eq!(trace.word(Input::HedgeWon { server: 2 }), "adopt:2");
    assert_eq!(trace.exchange.server(), Some(2));
    assert_eq!(trace.left(), Some(hedging().server_timeout));
    assert_eq!(trace.word(OK), "relay");
    assert_eq!(trace.exchange.retries(), 0, "it is no retry");
    // The first one answers after all.
    let mut trace = Trace::new(&hedging(), true).after(&sent);
    assert_eq!(trace.expire(), "hedge![0]");
    assert_eq!(trace.word(Input::ResponseBytes), ".");
    assert_eq!(trace.word(Input::HedgeWon { server: 2 }), ".", "too late");
    assert_eq!(trace.exchange.server(), Some(0));
    assert_eq!(trace.word(OK), "relay");
}

#[test]
fn there_is_one_hedge_and_only_of_what_can_be_repeated() {
    let sent = [picked(0), Input::Connected, Input::RequestSent];
    let with_body = [picked(0), Input::Connected, PROGRESS, Input::RequestSent];
    let begun = [picked(0), Input::Connected, Input::RequestSent, Input::ResponseBytes];
    let nothing = BudgetSettings { percent: 0, per_second_min: 0 };
    for (repeatable, budget, inputs) in [
        (false, BudgetSettings::default(), &sent[..]),
        (true, BudgetSettings::default(), &with_body),
        (true, BudgetSettings::default(), &begun),
        (true, nothing, &sent),
    ] {
        let mut trace = Trace::with_budget(&hedging(), budget, repeatable).after(inputs);
        assert_eq!(trace.expire(), ".", "{inputs:?}");
        assert_eq!(trace.expire(), "504");
    }
    let mut trace = Trace::new(&hedging(), true).after(&sent);
    assert_eq!(trace.expire(), "hedge![0]");
    assert_eq!(trace.expire(), "504");
}
