//! Which fields must not travel in a trailer section (RFC 9110 §6.5.1).
//!
//! Owns the list. Trailers that a recipient merges into the head could change how the message is
//! framed, routed, authenticated or read after it was decided; those fields are refused. Everything
//! else, `grpc-status` or `Server-Timing` for instance, passes.

/// The most bytes of a name that [`is_forbidden`] needs to see; the longest forbidden name has 25.
pub(crate) const NAME_BYTES_SEEN: usize = 26;

/// Content fields that are computed while the content is sent, and exist for trailers (RFC 9530 §2,
/// RFC 1864).
const CONTENT_ALLOWED: [&[u8]; 2] = [b"content-digest", b"content-md5"];

/// Besides everything that begins with `content-`.
const FORBIDDEN: [&[u8]; 47] = [
    // Framing and connection management.
    b"connection",
    b"expect",
    b"http2-settings",
    b"keep-alive",
    b"proxy-connection",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
    // Routing and the client's identity.
    b"forwarded",
    b"host",
    b"max-forwards",
    b"origin",
    b"referer",
    b"x-client-ip",
    b"x-forwarded-for",
    b"x-forwarded-host",
    b"x-forwarded-port",
    b"x-forwarded-prefix",
    b"x-forwarded-proto",
    b"x-real-ip",
    // Request modifiers and negotiation.
    b"accept",
    b"accept-encoding",
    b"accept-language",
    b"cache-control",
    b"if-match",
    b"if-modified-since",
    b"if-none-match",
    b"if-range",
    b"if-unmodified-since",
    b"pragma",
    b"range",
    // Authentication and state.
    b"authentication-info",
    b"authorization",
    b"cookie",
    b"proxy-authenticate",
    b"proxy-authentication-info",
    b"proxy-authorization",
    b"set-cookie",
    b"www-authenticate",
    // Response control data.
    b"age",
    b"date",
    b"expires",
    b"location",
    b"retry-after",
    b"vary",
    b"warning",
];

/// Whether the field with this lower-case name, cut to [`NAME_BYTES_SEEN`] bytes, must not be a
/// trailer.
pub(crate) fn is_forbidden(name: &[u8]) -> bool {
    if name.starts_with(b"content-") {
        return !CONTENT_ALLOWED.contains(&name);
    }
    FORBIDDEN.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_forbidden_name_is_lower_case_and_fits_the_bytes_seen() {
        for name in FORBIDDEN {
            assert!(name.len() < NAME_BYTES_SEEN, "{}", String::from_utf8_lossy(name));
            assert!(!name.iter().any(u8::is_ascii_uppercase));
        }
    }
}
