//! Why a message was refused: one variant per distinct reason, its status and its stable label.
//!
//! Owns the mapping from fault to status and label; answering and counting is the caller's work.
//! Invariant: labels are unique within an enum and never change meaning, because logs, metrics and
//! alerts are keyed on them.

use std::fmt;

use crate::fault::Fault;

/// Declares an error enum whose variants each carry a status, a label and a sentence.
macro_rules! reasons {
    ($(#[$meta:meta])* $name:ident { $($variant:ident => $status:literal, $label:literal, $text:literal;)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $(#[doc = concat!($text, ".")] $variant,)+
        }

        impl $name {
            /// Every variant, in the order of [`Self::index`].
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The status code that this reason calls for.
            pub fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)+ }
            }

            /// The stable `snake_case` label for logs and metrics.
            pub fn reason(self) -> &'static str {
                match self { $(Self::$variant => $label,)+ }
            }

            /// The position of this reason in [`Self::ALL`], for counters kept in an array.
            #[inline]
            pub fn index(self) -> usize {
                self as usize
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $text,)+ })
            }
        }

        impl std::error::Error for $name {}
    };
}

reasons! {
    /// Why a request head is refused; nothing of it may reach a server, and the connection closes after the answer.
    RequestError {
        LeadingEmptyLines => 400, "leading_empty_lines", "more than one empty line before the request line";
        MethodInvalid => 400, "method_invalid", "the method is not a token";
        MethodTooLong => 400, "method_too_long", "the method is longer than any known one";
        RequestLineSpacing => 400, "request_line_spacing", "the request line's parts are not separated by single spaces";
        VersionMissing => 400, "version_missing", "the request line has no protocol version";
        VersionMalformed => 400, "version_malformed", "the protocol version is malformed";
        VersionUnsupported => 505, "version_unsupported", "the protocol version is not HTTP/1.0 or HTTP/1.1";
        TargetTooLong => 414, "target_too_long", "the request target exceeds its limit";
        TargetByteInvalid => 400, "target_byte_invalid", "the request target contains a byte that URIs do not allow there";
        TargetPercentInvalid => 400, "target_percent_invalid", "a percent sign in the path is not followed by two hex digits";
        TargetFragment => 400, "target_fragment", "the request target has a fragment";
        TargetFormInvalid => 400, "target_form_invalid", "the request target is not a valid form for its method";
        TargetSchemeUnsupported => 400, "target_scheme_unsupported", "the absolute target's scheme is not http or https";
        TargetUserinfo => 400, "target_userinfo", "the target's authority contains user information";
        TargetAuthorityInvalid => 400, "target_authority_invalid", "the target's authority is not a valid host and port";
        BareLf => 400, "bare_lf", "a line ends with LF alone";
        BareCr => 400, "bare_cr", "a CR is not followed by LF";
        FoldedLine => 400, "folded_line", "a header line starts with whitespace";
        HeaderNameEmpty => 400, "header_name_empty", "a header line has an empty name";
        HeaderNameInvalid => 400, "header_name_invalid", "a header name is not a token";
        SpaceBeforeColon => 400, "space_before_colon", "whitespace stands before a header's colon";
        HeaderColonMissing => 400, "header_colon_missing", "a header line has no colon";
        HeaderControlByte => 400, "header_control_byte", "a header value contains a control byte";
        HeadTooLarge => 431, "head_too_large", "the head exceeds its limit in bytes";
        TooManyHeaders => 431, "too_many_headers", "the head has more header lines than allowed";
        HostMissing => 400, "host_missing", "an HTTP/1.1 request has no Host";
        HostRepeated => 400, "host_repeated", "the request has more than one Host";
        HostInvalid => 400, "host_invalid", "the Host is not a valid host and port";
        ContentLengthInvalid => 400, "content_length_invalid", "Content-Length is not a decimal number";
        ContentLengthList => 400, "content_length_list", "Content-Length is a list";
        ContentLengthOverflow => 400, "content_length_overflow", "Content-Length does not fit 64 bits";
        ContentLengthRepeated => 400, "content_length_repeated", "Content-Length occurs more than once";
        ContentLengthWithTransferEncoding => 400, "content_length_with_transfer_encoding", "Content-Length and Transfer-Encoding are both present";
        TransferEncodingUnsupported => 400, "transfer_encoding_unsupported", "Transfer-Encoding is not a single chunked";
        TransferEncodingRepeated => 400, "transfer_encoding_repeated", "Transfer-Encoding occurs more than once";
        TransferEncodingInHttp10 => 400, "transfer_encoding_in_http10", "Transfer-Encoding in an HTTP/1.0 message";
        ConnectionInvalid => 400, "connection_invalid", "Connection is not a list of tokens";
        ConnectionOptionsTooMany => 400, "connection_options_too_many", "Connection lists more options than allowed";
        ConnectionListsEssential => 400, "connection_lists_essential", "Connection lists a field that must reach the recipient";
        ExpectationUnsupported => 417, "expectation_unsupported", "Expect is not 100-continue";
    }
}

reasons! {
    /// Why a server's response head is refused: to the client, every one of them is a bad gateway.
    ResponseError {
        StatusLineMalformed => 502, "status_line_malformed", "the status line is malformed";
        VersionUnsupported => 502, "version_unsupported", "the protocol version is not HTTP/1.0 or HTTP/1.1";
        StatusInvalid => 502, "status_invalid", "the status is not three digits from 100 up";
        ReasonInvalid => 502, "reason_invalid", "the reason phrase contains a control byte";
        SwitchNotRequested => 502, "switch_not_requested", "the server switched protocols without being asked";
        BareLf => 502, "bare_lf", "a line ends with LF alone";
        BareCr => 502, "bare_cr", "a CR is not followed by LF";
        FoldedLine => 502, "folded_line", "a header line starts with whitespace";
        HeaderNameEmpty => 502, "header_name_empty", "a header line has an empty name";
        HeaderNameInvalid => 502, "header_name_invalid", "a header name is not a token";
        SpaceBeforeColon => 502, "space_before_colon", "whitespace stands before a header's colon";
        HeaderColonMissing => 502, "header_colon_missing", "a header line has no colon";
        HeaderControlByte => 502, "header_control_byte", "a header value contains a control byte";
        HeadTooLarge => 502, "head_too_large", "the head exceeds its limit in bytes";
        TooManyHeaders => 502, "too_many_headers", "the head has more header lines than allowed";
        ContentLengthInvalid => 502, "content_length_invalid", "Content-Length is not a decimal number";
        ContentLengthList => 502, "content_length_list", "Content-Length is a list";
        ContentLengthOverflow => 502, "content_length_overflow", "Content-Length does not fit 64 bits";
        ContentLengthRepeated => 502, "content_length_repeated", "Content-Length occurs more than once";
        ContentLengthWithTransferEncoding => 502, "content_length_with_transfer_encoding", "Content-Length and Transfer-Encoding are both present";
        TransferEncodingUnsupported => 502, "transfer_encoding_unsupported", "Transfer-Encoding is not a single chunked";
        TransferEncodingRepeated => 502, "transfer_encoding_repeated", "Transfer-Encoding occurs more than once";
        TransferEncodingInHttp10 => 502, "transfer_encoding_in_http10", "Transfer-Encoding in an HTTP/1.0 message";
        ConnectionInvalid => 502, "connection_invalid", "Connection is not a list of tokens";
        ConnectionOptionsTooMany => 502, "connection_options_too_many", "Connection lists more options than allowed";
        ConnectionListsEssential => 502, "connection_lists_essential", "Connection lists a field that must reach the recipient";
    }
}

reasons! {
    /// Why a chunked body is refused. The status is that of a request; from a server it is a bad gateway.
    ChunkedError {
        SizeMissing => 400, "chunk_size_missing", "a chunk-size line has no size";
        SizeInvalid => 400, "chunk_size_invalid", "a chunk size is not hexadecimal";
        SizeOverflow => 400, "chunk_size_overflow", "a chunk size has more than 16 digits";
        LineTooLong => 400, "chunk_line_too_long", "a chunk-size line exceeds its limit";
        BareLf => 400, "chunk_bare_lf", "a line of the chunked framing ends with LF alone";
        BareCr => 400, "chunk_bare_cr", "a CR in the chunked framing is not followed by LF";
        ExtensionInvalid => 400, "chunk_extension_invalid", "a chunk extension is malformed";
        DataUnterminated => 400, "chunk_data_unterminated", "chunk data is not followed by CRLF";
        TrailerNameEmpty => 400, "trailer_name_empty", "a trailer line has an empty name";
        TrailerNameInvalid => 400, "trailer_name_invalid", "a trailer name is not a token followed by a colon";
        TrailerFolded => 400, "trailer_folded", "a trailer line starts with whitespace";
        TrailerControlByte => 400, "trailer_control_byte", "a trailer value contains a control byte";
        TrailerForbidden => 400, "trailer_forbidden", "a trailer field is one that must not be sent in trailers";
        TrailersTooLarge => 431, "trailers_too_large", "the trailer section exceeds its limit";
    }
}

/// Maps the faults that heads of both kinds share onto an error enum of the same variant names.
macro_rules! from_fault {
    ($name:ident: $($variant:ident)+) => {
        impl From<Fault> for $name {
            fn from(fault: Fault) -> Self {
                match fault { $(Fault::$variant => Self::$variant,)+ }
            }
        }
    };
}

from_fault! { RequestError:
    BareLf BareCr FoldedLine HeaderNameEmpty HeaderNameInvalid SpaceBeforeColon HeaderColonMissing HeaderControlByte
    TooManyHeaders ContentLengthInvalid ContentLengthList ContentLengthOverflow ContentLengthRepeated
    ContentLengthWithTransferEncoding TransferEncodingUnsupported TransferEncodingRepeated TransferEncodingInHttp10
    ConnectionInvalid ConnectionOptionsTooMany ConnectionListsEssential
}

from_fault! { ResponseError:
    BareLf BareCr FoldedLine HeaderNameEmpty HeaderNameInvalid SpaceBeforeColon HeaderColonMissing HeaderControlByte
    TooManyHeaders ContentLengthInvalid ContentLengthList ContentLengthOverflow ContentLengthRepeated
    ContentLengthWithTransferEncoding TransferEncodingUnsupported TransferEncodingRepeated TransferEncodingInHttp10
    ConnectionInvalid ConnectionOptionsTooMany ConnectionListsEssential
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_labels(labels: &[&str]) {
        for (position, label) in labels.iter().enumerate() {
            assert!(
                label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
            );
            assert!(!labels[..position].contains(label), "label {label} twice");
        }
    }

    #[test]
    fn labels_are_snake_case_and_unique_and_indices_follow_all() {
        check_labels(&RequestError::ALL.iter().map(|e| e.reason()).collect::<Vec<_>>());
        check_labels(&ResponseError::ALL.iter().map(|e| e.reason()).collect::<Vec<_>>());
        check_labels(&ChunkedError::ALL.iter().map(|e| e.reason()).collect::<Vec<_>>());
        assert!(RequestError::ALL.iter().enumerate().all(|(i, e)| e.index() == i));
        assert!(ResponseError::ALL.iter().enumerate().all(|(i, e)| e.index() == i));
        assert!(ChunkedError::ALL.iter().enumerate().all(|(i, e)| e.index() == i));
    }

    #[test]
    fn request_and_chunked_reasons_share_no_label() {
        for error in ChunkedError::ALL {
            assert!(RequestError::ALL.iter().all(|e| e.reason() != error.reason()));
        }
    }
}
