//! Why a request is malformed (RFC 9113 §8.1.1): its stream ends with PROTOCOL_ERROR.
//!
//! Owns the list and the labels by which they are counted.

/// A rule of RFC 9113 §8 that a request breaks. What is wrong above this level, a path with bytes that URIs do not have for
/// instance, is `tidegate-http1`'s to refuse, with a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The method is no token.
    MethodInvalid,
    /// No `:scheme`, or neither `http` nor `https`.
    SchemeInvalid,
    /// No `:path`.
    PathMissing,
    /// It does not begin with a slash and is not `*`, or has bytes other than visible ASCII.
    PathInvalid,
    /// The `:authority` has bytes other than visible ASCII, or user information.
    AuthorityInvalid,
    /// `Host` says something else than `:authority` (§8.3.1).
    AuthorityMismatch,
    /// More than one `Host`.
    HostRepeated,
    /// The name of a field is no token in lower case (§8.2.1).
    NameInvalid,
    /// The value of a field has a control byte, or a blank at an end (§8.2.1).
    ValueInvalid,
    /// A field of the connection (§8.2.2).
    ConnectionField,
    /// `TE` says something else than `trailers` (§8.2.2).
    TeInvalid,
    /// `Content-Length` is no number, or stands twice.
    ContentLengthInvalid,
    /// `Content-Length` promises content and the stream ends without.
    ContentLengthUnmet,
    /// A request that asks for another protocol, or `CONNECT`, lacks what it needs or has what it must not have.
    ConnectInvalid,
}

impl Malformed {
    /// All of them, in the order of [`Malformed::index`].
    pub const ALL: [Malformed; 14] = [
        Malformed::MethodInvalid,
        Malformed::SchemeInvalid,
        Malformed::PathMissing,
        Malformed::PathInvalid,
        Malformed::AuthorityInvalid,
        Malformed::AuthorityMismatch,
        Malformed::HostRepeated,
        Malformed::NameInvalid,
        Malformed::ValueInvalid,
        Malformed::ConnectionField,
        Malformed::TeInvalid,
        Malformed::ContentLengthInvalid,
        Malformed::ContentLengthUnmet,
        Malformed::ConnectInvalid,
    ];

    /// Its place among all.
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }

    /// How it is called in logs and metrics.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Malformed::MethodInvalid => "h2_method_invalid",
            Malformed::SchemeInvalid => "h2_scheme_invalid",
            Malformed::PathMissing => "h2_path_missing",
            Malformed::PathInvalid => "h2_path_invalid",
            Malformed::AuthorityInvalid => "h2_authority_invalid",
            Malformed::AuthorityMismatch => "h2_authority_mismatch",
            Malformed::HostRepeated => "h2_host_repeated",
            Malformed::NameInvalid => "h2_name_invalid",
            Malformed::ValueInvalid => "h2_value_invalid",
            Malformed::ConnectionField => "h2_connection_field",
            Malformed::TeInvalid => "h2_te_invalid",
            Malformed::ContentLengthInvalid => "h2_content_length_invalid",
            Malformed::ContentLengthUnmet => "h2_content_length_unmet",
            Malformed::ConnectInvalid => "h2_connect_invalid",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_follow_all_and_labels_differ() {
        for (place, malformed) in Malformed::ALL.iter().enumerate() {
            assert_eq!(malformed.index(), place);
            assert!(Malformed::ALL[..place].iter().all(|one| one.reason() != malformed.reason()));
        }
    }
}
