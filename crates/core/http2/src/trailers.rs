//! The rest of a request's body in the chunked form (RFC 9112 §7.1).
//!
//! Owns the text of chunks and trailers. Invariant: what is written is what `tidegate-http1` reads back, or nothing.

use tidegate_http1::{CHUNK_END, encode_chunk_header};

use crate::error::Malformed;
use crate::grammar::{is_name, is_value};

/// Appends `data`, which is not empty, as one chunk.
pub fn push_chunk(data: &[u8], out: &mut Vec<u8>) {
    debug_assert!(!data.is_empty(), "an empty chunk would end the body");
    encode_chunk_header(out, data.len());
    out.extend_from_slice(data);
    out.extend_from_slice(CHUNK_END);
}

/// Appends the end of a body and its trailers, which may be none.
///
/// # Errors
/// A field is malformed, or belongs to the connection.
pub fn push_trailers<'a>(
    fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    out.extend_from_slice(b"0\r\n");
    for (name, value) in fields {
        if !is_name(name) {
            return Err(Malformed::NameInvalid);
        }
        if !is_value(value) {
            return Err(Malformed::ValueInvalid);
        }
        for part in [name, b": ", value, b"\r\n"] {
            out.extend_from_slice(part);
        }
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}
