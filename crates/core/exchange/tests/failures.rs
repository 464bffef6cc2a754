//! The table of failures: what status, log letters, fault and retry each kind has, in full.

use tidegate_exchange::{
    ConnectFailure, Failure, FailureKind, NoServerCause, Origin, Retry, Stage, TerminationFlags,
};

/// One line for each kind: reason, status, letter, fault, retry.
const TABLE: &str = "
    request_head_timeout      408   c  Client  Never
    bad_request               400   P  Client  Never
    client_timeout            408   c  Client  Never
    client_gone               -     C  Client  Never
    no_server_up              503   S  Server  Never
    no_server_configured      503   P  Proxy   Never
    servers_full              503   P  Proxy   Never
    queue_timeout             503   s  Proxy   Never
    connect_refused           503   S  Server  Connect
    connect_timeout           503   s  Server  Connect
    connect_unreachable       503   S  Server  Connect
    connect_reset             503   S  Server  Connect
    connect_local_resource    503   R  Proxy   Connect
    empty_response            502   S  Server  FreshConnection
    incomplete_response_head  502   S  Server  Repeat
    server_reset              502   S  Server  FreshConnection
    bad_response              502   P  Server  Repeat
    server_timeout            504   s  Server  Repeat
    truncated_response        502   S  Server  Never
    loop_detected             508   P  Proxy   Never
    response_status           503   S  Server  Repeat
    connect_tls               503   S  Server  Connect
    connect_protocol          503   S  Server  Connect
    stream_refused            503   S  Server  Connect
    grpc_status               503   S  Server  Repeat
";

#[test]
fn every_kind_has_its_line() {
    let lines: Vec<String> = TABLE
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|line| !line.is_empty())
        .collect();
    let kinds: Vec<String> = FailureKind::ALL
        .iter()
        .map(|&kind| {
            let failure = Failure { kind, stage: Stage::Head, server: None };
            let status = failure.status().map_or("-".to_owned(), |status| status.to_string());
            let letter = &failure.flags().to_string()[..1];
            format!("{} {status} {letter} {:?} {:?}", kind.reason(), kind.origin(), kind.retry())
        })
        .collect();
    assert_eq!(kinds, lines);
}

#[test]
fn reasons_are_indexed_and_distinct() {
    for (index, kind) in FailureKind::ALL.into_iter().enumerate() {
        assert_eq!((kind.index(), Failure::REASONS[index]), (index, kind.reason()));
        let snake_case = |c: char| c.is_ascii_lowercase() || c == '_';
        assert!(kind.reason().chars().all(snake_case), "{}", kind.reason());
    }
    let mut reasons = Failure::REASONS.to_vec();
    reasons.sort_unstable();
    reasons.dedup();
    assert_eq!(reasons.len(), FailureKind::ALL.len());
}

#[test]
fn a_bad_request_has_the_status_and_the_detail_of_its_rule() {
    let rejected = |status| Failure::in_request(FailureKind::BadRequest { status, detail: "x" });
    for status in [400, 408, 413, 414, 431, 501, 505, 599] {
        assert_eq!(rejected(status).status(), Some(status));
    }
    for status in [0, 100, 200, 399, 600, u16::MAX] {
        assert_eq!(rejected(status).status(), Some(400), "not a status for an error: {status}");
    }
    assert_eq!(rejected(400).kind.detail(), Some("x"));
    assert_eq!(FailureKind::BadResponse { detail: "y" }.detail(), Some("y"));
    assert_eq!(FailureKind::ClientGone.detail(), None);
    assert_eq!(rejected(431).reason(), "bad_request");
    assert_eq!(rejected(431).flags().as_str(), "PR");
}

#[test]
fn the_letters_tell_who_ended_it_and_when() {
    let flags = |kind, stage| Failure { kind, stage, server: Some(1) }.flags().to_string();
    let timed_out = FailureKind::Connect(ConnectFailure::TimedOut);
    assert_eq!(flags(FailureKind::RequestHeadTimeout, Stage::Request), "cR");
    assert_eq!(flags(FailureKind::QueueTimeout, Stage::Queue), "sQ");
    assert_eq!(flags(timed_out, Stage::Connect), "sC");
    assert_eq!(flags(FailureKind::NoServer(NoServerCause::AllDown), Stage::Connect), "SC");
    assert_eq!(flags(FailureKind::ServerTimeout, Stage::Head), "sH");
    assert_eq!(flags(FailureKind::TruncatedResponse, Stage::Data), "SD");
    assert_eq!(flags(FailureKind::ClientGone, Stage::Data), "CD");
    assert_eq!(TerminationFlags::NORMAL.to_string(), "--");
    assert_eq!(format!("[{:>3}]", TerminationFlags::NORMAL), "[ --]");
}

#[test]
fn no_status_is_given_once_a_response_has_begun() {
    for kind in FailureKind::ALL {
        assert_eq!(Failure { kind, stage: Stage::Data, server: None }.status(), None);
        assert_eq!(Failure::in_request(kind).status().is_none(), kind == FailureKind::ClientGone);
    }
}

#[test]
fn only_the_client_is_blamed_for_what_the_client_did() {
    for kind in FailureKind::ALL {
        let by_client = kind.origin() == Origin::Client;
        let is_4xx = Failure::in_request(kind).status().is_none_or(|status| status < 500);
        assert_eq!(by_client, is_4xx, "{}", kind.reason());
        assert!(!by_client || kind.retry() == Retry::Never);
    }
}
