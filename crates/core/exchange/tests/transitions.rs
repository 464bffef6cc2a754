//! Every input in every state, and the traces that matter: retries, redispatch, stale connections,
//! early and interim responses, clocks that stop.

mod support;

use std::time::{Duration, Instant};

use support::{CONTINUE, OK, PROGRESS, REFUSED, Trace, picked, reused, word};
use tidegate_exchange::{
    Action, BudgetSettings, ConnectFailure, Exchange, FailureKind, Input, NoServerCause, Policy,
    Redispatch, Request, RetryBudget, Stage,
};

/// The columns of the table. A due deadline is added as the last one.
const INPUTS: [Input; 26] = [
    Input::Picked { server: 3, reused: true },
    Input::Picked { server: 3, reused: false },
    Input::NoServer(NoServerCause::AllDown),
    Input::Connected,
    REFUSED,
    Input::RequestProgress { kept: false },
    Input::RequestSent,
    Input::WaitingOnClient,
    Input::ResponseBytes,
    OK,
    Input::ResponseHead { status: 413, interim: false },
    CONTINUE,
    Input::ResponseProgress,
    Input::ResponseDone,
    Input::ServerClosed,
    Input::ServerReset,
    Input::BadResponse("x"),
    Input::PoolLost,
    Input::StreamReset,
    Input::StreamRefused,
    Input::StreamUnseen,
    Input::GrpcStatus(14),
    Input::Deadline,
    Input::ClientGone,
    Input::ClientTimeout,
    Input::ClientBad { status: 400, detail: "x" },
];

/// How each state is reached, and the action for each input in it.
#[rustfmt::skip]
const STATES: [(&str, &[Input], &str); 9] = [
    ("picking", &[],
     "send:3 connect:3 503 . . . . . . . . . . . . . . . . . . . . abort:CQ 408 400 503"),
    ("backing off", &[Input::Picked { server: 1, reused: false }, REFUSED, Input::Picked { server: 1, reused: false }],
     ". . . . . . . . . . . . . . . . . . . . . . . abort:CC 408 400 connect:1"),
    ("connecting", &[Input::Picked { server: 1, reused: false }],
     ". . . send:1 pick!1 . . . . . . . . . . . . . . . . . . abort:CC 408 400 pick!1"),
    ("sending on a fresh connection", &[Input::Picked { server: 1, reused: false }, Input::Connected],
     ". . . . . . . . . relay+ relay- relay+ . . 502 502 502 502 502 pick!1 connect:1 . . abort:CH 408 400 504"),
    ("sending on a reused connection", &[Input::Picked { server: 1, reused: true }],
     ". . . . . . . . . relay+ relay- relay+ . . connect:1 connect:1 502 connect:1 502 pick!1 connect:1 . . abort:CH 408 400 504"),
    ("awaiting a response", &[Input::Picked { server: 1, reused: true }, Input::RequestSent],
     ". . . . . . . . . relay relay relay . . connect:1 connect:1 502 connect:1 502 pick!1 connect:1 . . abort:CH 408 400 504"),
    ("within a response head", &[Input::Picked { server: 1, reused: true }, Input::RequestSent, Input::ResponseBytes],
     ". . . . . . . . . relay relay relay . . 502 502 502 502 502 503 503 . . abort:CH 408 400 504"),
    ("relaying", &[Input::Picked { server: 1, reused: true }, Input::RequestSent, OK],
     ". . . . . . . . . . . . . finish cut:SD cut:SD cut:PD cut:SD cut:SD cut:SD cut:SD . . abort:CD cut:cD cut:PD cut:sD"),
    ("over", &[Input::ClientGone],
     ". . . . . . . . . . . . . . . . . . . . . . . . . . -"),
];

#[test]
fn every_input_in_every_state_has_an_action() {
    for (state, path, row) in STATES {
        let expected: Vec<&str> = row.split_whitespace().collect();
        let mut actual: Vec<String> =
            INPUTS.iter().map(|&input| Trace::default().after(path).word(input)).collect();
        let mut trace = Trace::default().after(path);
        actual.push(trace.left().map_or("-".into(), |_| trace.expire()));
        assert_eq!(actual, expected, "{state}");
    }
}

#[test]
fn any_two_further_inputs_keep_the_invariants() {
    for (_, path, _) in STATES {
        for first in INPUTS {
            for second in INPUTS {
                let mut trace = Trace::default().after(path).after(&[first, second]);
                while trace.left().is_some() {
                    trace.expire();
                }
                assert!(
                    trace.exchange.is_over()
                        || first == Input::WaitingOnClient
                        || second == Input::WaitingOnClient,
                    "{path:?} {first:?} {second:?}"
                );
            }
        }
    }
}

#[test]
fn a_refused_connection_is_retried_elsewhere_until_the_retries_are_spent() {
    let mut trace = Trace::default();
    for (server, next) in [(0, "pick!0"), (1, "pick!0!1"), (2, "pick!0!1!2"), (3, "503")] {
        assert_eq!(trace.word(picked(server)), format!("connect:{server}"));
        assert_eq!(trace.word(REFUSED), next);
    }
    assert_eq!(trace.exchange.retries(), 3);
}

#[test]
fn the_only_server_is_tried_again_after_delays_that_double_and_differ() {
    let (min, max) = (Duration::from_millis(100), Duration::from_millis(300));
    let policy = Policy { delay_min: min, delay_max: max, retries_max: 4, ..Policy::default() };
    let budget = RetryBudget::new(BudgetSettings::default(), Instant::now());
    let mut firsts = Vec::new();
    for seed in 0..100 {
        let mut now = Instant::now();
        let request = Request { repeatable: false, seed };
        let mut exchange = Exchange::new(&policy, Some(&budget), request, now);
        let _connect = exchange.handle(now, picked(0));
        for whole in [min, 2 * min, max, max] {
            assert_eq!(word(exchange.handle(now, REFUSED)), "pick!0");
            assert_eq!(exchange.handle(now, picked(0)), Action::Delay);
            let delay = exchange.deadline().expect("a delay ends") - now;
            assert!(delay >= whole / 2 && delay <= whole, "{delay:?} of {whole:?}");
            if whole == min {
                firsts.push(delay);
            }
            now += delay;
            assert_eq!(exchange.handle(now, Input::Deadline), Action::Connect { server: 0 });
        }
        assert_eq!(word(exchange.handle(now, REFUSED)), "503");
    }
    firsts.sort_unstable();
    firsts.dedup();
    assert!(firsts.len() > 30, "requests that failed together come back together");
}

#[test]
fn redispatch_says_which_retries_go_elsewhere() {
    for (redispatch, expected) in [
        (Redispatch::Never, ["delay connect:0", "delay connect:0", "503"]),
        (Redispatch::LastRetry, ["delay connect:0", "pick!0 connect:1", "503"]),
        (Redispatch::EveryRetry, ["pick!0 connect:1", "pick!0!1 connect:1", "503"]),
    ] {
        let policy = Policy { retries_max: 2, redispatch, ..Policy::default() };
        let mut trace = Trace::new(&policy, true).after(&[picked(0)]);
        for step in expected {
            let mut words = vec![trace.word(REFUSED)];
            if words[0] == "delay" {
                words.push(trace.expire());
            } else if words[0] != "503" {
                let action = trace.word(picked(1));
                words.push(if action == "delay" { trace.expire() } else { action });
            }
            assert_eq!(words.join(" "), step, "{redispatch:?}");
        }
    }
}

#[test]
fn without_retries_the_first_failure_is_final_but_a_stale_connection_is_not() {
    let policy = Policy { retries_max: 0, ..Policy::default() };
    let mut trace = Trace::new(&policy, true).after(&[picked(0)]);
    assert_eq!(trace.word(REFUSED), "503");
    let mut trace = Trace::new(&policy, true).after(&[reused(0), Input::RequestSent]);
    assert_eq!(trace.word(Input::ServerClosed), "connect:0");
    assert_eq!(trace.word(REFUSED), "503");
}

#[test]
fn a_connect_failure_names_its_cause_and_server() {
    let policy = Policy { retries_max: 0, ..Policy::default() };
    let mut trace = Trace::new(&policy, true).after(&[picked(5)]);
    trace.now = trace.exchange.deadline().expect("connecting has a deadline");
    let Action::Respond(failure) = trace.handle(Input::Deadline) else { panic!("an answer") };
    assert_eq!(failure.kind, FailureKind::Connect(ConnectFailure::TimedOut));
    assert_eq!((failure.stage, failure.server), (Stage::Connect, Some(5)));
    assert_eq!(failure.flags().to_string(), "sC");
}

#[test]
fn a_stale_connection_is_replaced_once_and_the_pool_is_not_asked_again() {
    let mut trace = Trace::default().after(&[reused(2), Input::RequestSent]);
    assert_eq!(trace.word(Input::ServerReset), "connect:2");
    assert_eq!(trace.exchange.retries(), 1);
    assert_eq!(trace.word(REFUSED), "fresh!2");
    assert_eq!(trace.word(picked(1)), "connect:1");
    assert_eq!(trace.word(Input::Connected), "send:1");
    assert_eq!(trace.word(Input::RequestSent), ".");
    assert_eq!(trace.word(Input::ServerClosed), "502");
}

#[test]
fn what_a_server_has_not_looked_at_is_sent_again_whatever_it_is() {
    let unrepeatable = |inputs: &[Input]| Trace::new(&Policy::default(), false).after(inputs);
    assert_eq!(unrepeatable(&[reused(0), Input::RequestSent]).word(Input::StreamRefused), "pick!0");
    assert_eq!(
        unrepeatable(&[reused(0), Input::RequestSent]).word(Input::StreamUnseen),
        "connect:0"
    );
    // Once: the next connection that takes no more is a refusal.
    let again = [reused(0), Input::StreamUnseen, Input::Connected, Input::RequestSent];
    assert_eq!(unrepeatable(&again).word(Input::StreamUnseen), "fresh!0");
    // A body that is not there any more cannot be.
    let taken = [reused(0), Input::RequestProgress { kept: false }];
    assert_eq!(unrepeatable(&taken).word(Input::StreamRefused), "503");
    assert_eq!(unrepeatable(&taken).word(Input::StreamUnseen), "503");
    // A reset says nothing of what was done.
    assert_eq!(unrepeatable(&[reused(0), Input::RequestSent]).word(Input::StreamReset), "502");
}

#[test]
fn a_request_that_cannot_be_repeated_is_sent_again_only_if_nothing_was_sent() {
    let unrepeatable = |inputs: &[Input]| Trace::new(&Policy::default(), false).after(inputs);
    assert_eq!(unrepeatable(&[reused(0)]).word(Input::PoolLost), "connect:0");
    assert_eq!(unrepeatable(&[reused(0)]).word(Input::ServerClosed), "502");
    assert_eq!(unrepeatable(&[reused(0), PROGRESS]).word(Input::PoolLost), "502");
    assert_eq!(unrepeatable(&[reused(0), Input::RequestSent]).word(Input::ServerClosed), "502");
    // Handed over whole, but the kernel took none of it.
    assert_eq!(unrepeatable(&[reused(0), Input::RequestSent]).word(Input::PoolLost), "connect:0");
    let with_body = [reused(0), PROGRESS, Input::RequestSent];
    assert_eq!(unrepeatable(&with_body).word(Input::PoolLost), "502");
    assert_eq!(unrepeatable(&[picked(0)]).word(REFUSED), "pick!0");
}

#[test]
fn a_retry_says_what_it_makes_good() {
    let reset = Some(FailureKind::ServerReset);
    for (input, expected) in [
        (Input::ServerReset, reset),
        (Input::PoolLost, reset),
        (Input::ServerClosed, Some(FailureKind::EmptyResponse)),
    ] {
        let mut trace = Trace::default().after(&[reused(2)]);
        assert_eq!(trace.exchange.retried(), None);
        assert_eq!(trace.word(input), "connect:2", "{input:?}");
        assert_eq!(trace.exchange.retried(), expected, "{input:?}");
    }
    let mut trace = Trace::default().after(&[picked(0)]);
    assert_eq!(trace.word(REFUSED), "pick!0");
    let refused = FailureKind::Connect(ConnectFailure::Refused);
    assert_eq!(trace.exchange.retried(), Some(refused));
}

#[test]
fn nothing_is_repeated_once_something_of_a_response_has_come() {
    for something in [Input::ResponseBytes, CONTINUE] {
        let mut trace = Trace::default().after(&[reused(0), Input::RequestSent, something]);
        assert_eq!(trace.word(Input::ServerClosed), "502", "{something:?}");
    }
}

#[test]
fn a_response_before_the_end_of_the_request_decides_about_the_rest() {
    let head = |status| Input::ResponseHead { status, interim: false };
    for (status, relay) in [(200, "relay+"), (302, "relay-"), (401, "relay-"), (500, "relay-")] {
        let mut trace = Trace::default().after(&[reused(0), PROGRESS]);
        assert_eq!(trace.word(head(status)), relay);
        assert_eq!(trace.word(Input::ResponseDone), "close", "the request is unfinished");
    }
    let mut trace = Trace::default().after(&[reused(0), OK]);
    assert_eq!(trace.word(Input::RequestSent), ".");
    assert_eq!(trace.word(Input::ResponseDone), "finish");
}

#[test]
fn switched_protocols_end_both_connections() {
    let switching = Input::ResponseHead { status: 101, interim: false };
    let mut trace = Trace::default().after(&[reused(0), Input::RequestSent]);
    assert_eq!(trace.word(switching), "relay");
    assert_eq!(trace.word(Input::ResponseDone), "close");
}

#[test]
fn interim_responses_are_relayed_up_to_their_limit_and_a_final_one_may_still_fail() {
    let mut trace = Trace::default().after(&[picked(0), Input::Connected]);
    for _ in 0..Exchange::INTERIMS_MAX {
        assert_eq!(trace.word(CONTINUE), "relay+");
    }
    assert_eq!(trace.word(CONTINUE), "502");
    let mut trace = Trace::default().after(&[picked(0), Input::Connected, CONTINUE]);
    assert_eq!(trace.expire(), "504");
}

#[test]
fn progress_of_the_server_moves_its_deadline() {
    let timeout = Policy::default().server_timeout;
    let mut trace = Trace::default().after(&[reused(0)]);
    for input in
        [PROGRESS, Input::RequestSent, Input::ResponseBytes, CONTINUE, OK, Input::ResponseProgress]
    {
        trace.now += timeout / 2;
        let _action = trace.handle(input);
        assert_eq!(trace.left(), Some(timeout), "{input:?}");
    }
    assert_eq!(trace.expire(), "cut:sD");
}

#[test]
fn the_servers_clock_stops_while_the_client_is_waited_for() {
    let mut trace = Trace::default().after(&[reused(0), Input::WaitingOnClient]);
    assert_eq!(trace.left(), None);
    let _action = trace.handle(PROGRESS);
    assert!(trace.left().is_some(), "the body goes on");
    let _action = trace.handle(Input::RequestSent);
    let _action = trace.handle(Input::WaitingOnClient);
    assert!(trace.left().is_some(), "the client owes nothing once the request is sent");
    let mut trace = trace.after(&[OK, Input::WaitingOnClient]);
    assert_eq!(trace.left(), None);
    assert_eq!(trace.word(Input::ClientTimeout), "cut:cD");
}

#[test]
fn a_timer_that_fires_early_changes_nothing() {
    let mut trace = Trace::default().after(&[reused(0), Input::RequestSent]);
    let deadline = trace.exchange.deadline().expect("a server is waited for");
    trace.now = deadline - Duration::from_nanos(1);
    assert_eq!(trace.word(Input::Deadline), ".");
    assert_eq!(trace.exchange.deadline(), Some(deadline));
    trace.now = deadline;
    assert_eq!(trace.word(Input::Deadline), "504");
}

#[test]
fn the_queue_has_its_own_timeout_each_time_a_server_is_picked() {
    let mut trace = Trace::default();
    let queue_timeout = Policy::default().queue_timeout;
    assert_eq!(trace.left(), Some(queue_timeout));
    trace.now += queue_timeout / 2;
    let mut trace = trace.after(&[picked(0), REFUSED]);
    assert_eq!(trace.left(), Some(queue_timeout));
    assert_eq!(trace.expire(), "503");
}

#[test]
fn a_backend_without_servers_is_a_failed_connection_to_the_log() {
    for (cause, flags) in [
        (NoServerCause::AllDown, "SC"),
        (NoServerCause::Empty, "PC"),
        (NoServerCause::PoolFull, "PQ"),
    ] {
        let Action::Respond(failure) = Trace::default().handle(Input::NoServer(cause)) else {
            panic!("an answer")
        };
        assert_eq!((failure.status(), failure.flags().as_str()), (Some(503), flags));
        assert_eq!(failure.server, None);
    }
}

#[test]
fn the_longest_timeouts_do_not_overflow_the_clock() {
    let policy = Policy {
        connect_timeout: Duration::MAX,
        server_timeout: Duration::MAX,
        queue_timeout: Duration::MAX,
        ..Policy::default()
    };
    let trace = Trace::new(&policy, true).after(&[reused(0), Input::RequestSent]);
    assert_eq!(trace.left(), Some(Policy::TIMEOUT_MAX));
}

#[test]
fn an_exchange_is_small() {
    assert!(size_of::<Exchange<'_>>() <= 192, "one is held by each request in flight");
}
