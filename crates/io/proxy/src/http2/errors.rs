//! The error codes of HTTP/2 by name.
//!
//! Owns how they are called in metrics and the log; leaves to the library which of them a fault is.

use h2::Reason;

/// The codes of RFC 9113 §7 in the order of their numbers, and one name for all others.
pub(crate) const ERROR_CODES: [&str; 15] = [
    "no_error",
    "protocol_error",
    "internal_error",
    "flow_control_error",
    "settings_timeout",
    "stream_closed",
    "frame_size_error",
    "refused_stream",
    "cancel",
    "compression_error",
    "connect_error",
    "enhance_your_calm",
    "inadequate_security",
    "http_1_1_required",
    "unknown",
];

/// Its place among [`ERROR_CODES`].
pub(super) fn error_index(reason: Reason) -> usize {
    let unknown = ERROR_CODES.len() - 1;
    usize::try_from(u32::from(reason)).map_or(unknown, |code| code.min(unknown))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_called_as_the_rfc_calls_them() {
        assert_eq!(ERROR_CODES[error_index(Reason::FRAME_SIZE_ERROR)], "frame_size_error");
        assert_eq!(ERROR_CODES[error_index(Reason::HTTP_1_1_REQUIRED)], "http_1_1_required");
        assert_eq!(ERROR_CODES[error_index(Reason::from(99))], "unknown");
    }
}
