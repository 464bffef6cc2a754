//! The statuses of gRPC calls, and which one stands for a status of HTTP.
//!
//! Owns the list; leaves messages to others. Invariant: every value has a place in the list.

/// The names of the statuses by their number, as metrics and logs call them; the last one is any that is not known.
pub const GRPC_STATUSES: [&str; 18] = [
    "ok",
    "cancelled",
    "unknown",
    "invalid_argument",
    "deadline_exceeded",
    "not_found",
    "already_exists",
    "permission_denied",
    "resource_exhausted",
    "failed_precondition",
    "aborted",
    "out_of_range",
    "unimplemented",
    "internal",
    "unavailable",
    "data_loss",
    "unauthenticated",
    "other",
];

/// The number of a `grpc-status` field's value, or the last of [`GRPC_STATUSES`].
#[must_use]
pub fn read_grpc_status(value: &[u8]) -> u8 {
    const OTHER: u8 = 17;
    match value {
        [digit @ b'0'..=b'9'] => digit - b'0',
        [b'1', digit @ b'0'..=b'6'] => 10 + digit - b'0',
        _ => OTHER,
    }
}

/// Whether a media type is one of gRPC: `application/grpc`, alone or with a suffix or parameters.
#[must_use]
pub fn is_grpc(content_type: &[u8]) -> bool {
    const NAME: &[u8] = b"application/grpc";
    let Some((name, rest)) = content_type.split_at_checked(NAME.len()) else { return false };
    name.eq_ignore_ascii_case(NAME) && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
}

/// The status that a caller of gRPC is to see in the place of a status of HTTP: as the protocol maps them, but for what this side of the
/// two knows better: a gateway's time-out is one (`doc/http-grpc-status-mapping.md` of gRPC; there it is `UNAVAILABLE`).
#[must_use]
pub const fn grpc_status_for(http: u16) -> u8 {
    match http {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        504 => 4,
        408 | 429 | 502 | 503 => 14,
        413 | 431 => 8,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_numbers_or_other() {
        for number in 0..=16_u8 {
            assert_eq!(read_grpc_status(number.to_string().as_bytes()), number);
        }
        for value in ["", "17", "00", "-1", "1 ", "100", "a", "1a", "\u{661}"] {
            let place = usize::from(read_grpc_status(value.as_bytes()));
            assert_eq!(GRPC_STATUSES[place], "other", "{value}");
        }
    }

    #[test]
    fn media_types_of_grpc_are_known() {
        for (value, expected) in [
            ("application/grpc", true),
            ("Application/gRPC", true),
            ("application/grpc+proto", true),
            ("application/grpc;charset=utf-8", true),
            ("application/grpc-web", false),
            ("application/grpcx", false),
            ("application/json", false),
            ("", false),
        ] {
            assert_eq!(is_grpc(value.as_bytes()), expected, "{value}");
        }
    }

    #[test]
    fn statuses_of_http_have_one_of_grpc() {
        for (http, name) in [
            (400, "internal"),
            (401, "unauthenticated"),
            (403, "permission_denied"),
            (404, "unimplemented"),
            (408, "unavailable"),
            (413, "resource_exhausted"),
            (429, "unavailable"),
            (500, "unknown"),
            (502, "unavailable"),
            (503, "unavailable"),
            (504, "deadline_exceeded"),
        ] {
            assert_eq!(GRPC_STATUSES[usize::from(grpc_status_for(http))], name, "{http}");
        }
    }
}
