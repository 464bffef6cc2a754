//! Whether a response may be compressed on its way, and what that changes in its head.
//!
//! Owns the judgement and the edits of `ETag` and `Vary`. Leaves to
//! [`accept_encoding`](crate::accept_encoding) which coding the client gets, and encoding itself.
//! The judgement does not look at what the client accepts: a response that passes needs
//! `Vary: Accept-Encoding` even if this client gets it as it is, since another would not (RFC 9110
//! §12.5.5).
//!
//! Whoever compresses also removes `Content-Length` and `Accept-Ranges`, sets `Content-Encoding`,
//! and flushes the encoder whenever the server pauses, or event streams stall.
//!
//! Invariant: a response that says it must not be transformed, that is encoded, that is a part, or
//! whose digest is announced is never judged compressible.

use crate::grammar::{is_token, list, split_at_byte, trim};

/// Which responses an operator wants compressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The media types.
    pub types: MediaTypes,
    /// The fewest bytes worth it. A response of unknown length is taken to be long enough.
    pub bytes_min: u64,
    /// The most bytes, if that is limited: what takes too long for a shard that serves others too.
    pub bytes_max: Option<u64>,
}

/// Patterns of media types, at most [`MediaTypes::PATTERNS_MAX`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaTypes {
    patterns: Vec<Pattern>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    /// `*/*`
    Any,
    /// `text/*`: the type with its slash.
    Type(Box<[u8]>),
    /// `application/*+json`: the type with its slash, and the suffix with its plus sign.
    Suffix(Box<[u8]>, Box<[u8]>),
    /// `application/json`
    Exact(Box<[u8]>),
}

/// Why a list of media types is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaTypesError {
    /// The pattern at this place of the list is none of `type/subtype`, `type/*`, `type/*+suffix`
    /// and `*/*`.
    Malformed(usize),
    /// There are more than [`MediaTypes::PATTERNS_MAX`].
    TooMany,
}

impl MediaTypes {
    /// The most patterns: each is compared for each response, and the media types worth compressing
    /// are about thirty.
    pub const PATTERNS_MAX: usize = 64;

    /// Reads patterns; letters match in either case.
    ///
    /// # Errors
    /// The first pattern that is malformed, or that there are too many.
    pub fn parse<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self, MediaTypesError> {
        let mut parsed = Vec::new();
        for (place, pattern) in patterns.into_iter().enumerate() {
            if place == Self::PATTERNS_MAX {
                return Err(MediaTypesError::TooMany);
            }
            parsed.push(Pattern::parse(pattern).ok_or(MediaTypesError::Malformed(place))?);
        }
        Ok(Self { patterns: parsed })
    }

    /// Whether the media type of `content_type`, a `Content-Type` value, fits a pattern. Parameters
    /// do not count.
    #[must_use]
    pub fn contain(&self, content_type: &[u8]) -> bool {
        let media_type = trim(split_at_byte(content_type, b';').0);
        self.patterns.iter().any(|pattern| pattern.fits(media_type))
    }
}

impl Pattern {
    fn parse(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase().into_bytes();
        let (kind, subtype) = split_at_byte(&text, b'/');
        let with_slash = || text[..=kind.len()].into();
        match (kind, subtype?) {
            (b"*", b"*") => Some(Self::Any),
            (kind, _) if !is_token(kind) || kind.contains(&b'*') => None,
            (_, b"*") => Some(Self::Type(with_slash())),
            (_, [b'*', suffix @ ..])
                if suffix.len() > 1
                    && suffix.starts_with(b"+")
                    && is_token(suffix)
                    && !suffix.contains(&b'*') =>
            {
                Some(Self::Suffix(with_slash(), suffix.into()))
            }
            (_, subtype) if is_token(subtype) && !subtype.contains(&b'*') => {
                Some(Self::Exact(text.as_slice().into()))
            }
            _ => None,
        }
    }

    fn fits(&self, media_type: &[u8]) -> bool {
        let begins_with = |start: &[u8]| {
            media_type.get(..start.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(start))
        };
        match self {
            Self::Any => !media_type.is_empty(),
            Self::Type(kind) => begins_with(kind),
            Self::Suffix(kind, suffix) => {
                let subtype = media_type.get(kind.len()..).unwrap_or_default();
                let end = subtype.len().checked_sub(suffix.len()).map(|start| &subtype[start..]);
                begins_with(kind) && end.is_some_and(|end| end.eq_ignore_ascii_case(suffix))
            }
            Self::Exact(exact) => media_type.eq_ignore_ascii_case(exact),
        }
    }
}

/// Why a response is sent as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Obstacle {
    /// The request was HEAD or CONNECT: there is no body.
    NoBody,
    /// The status is interim, has no body (204, 205, 304), or is that of a part (206).
    Status,
    /// `Content-Range`: a part of something.
    Part,
    /// `Content-Encoding` other than `identity`.
    Encoded,
    /// `Cache-Control: no-transform` (RFC 9111 §5.2.2.6).
    NoTransform,
    /// A digest of the content is announced (RFC 9530), and would be wrong.
    Digest,
    /// No media type, or none that is wanted.
    Type,
    /// Shorter than [`Policy::bytes_min`].
    TooSmall,
    /// Longer than [`Policy::bytes_max`].
    TooLarge,
}

/// What was asked for, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requested {
    /// A response with a body: any method but those below.
    Body,
    /// None: HEAD or CONNECT.
    Head,
}

/// Judges a response by its status and its header lines, as names and values.
///
/// # Errors
/// Why it must or should be sent as it is; of several reasons the first in the order of
/// [`Obstacle`].
pub fn judge<'a>(
    policy: &Policy,
    requested: Requested,
    status: u16,
    headers: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
) -> Result<(), Obstacle> {
    if requested == Requested::Head {
        return Err(Obstacle::NoBody);
    }
    if status < 200 || matches!(status, 204 | 205 | 206 | 304) {
        return Err(Obstacle::Status);
    }
    let found = Found::among(headers);
    let length_is = |out_of_bounds: &dyn Fn(u64) -> bool| found.length.is_some_and(out_of_bounds);
    if found.is_part {
        Err(Obstacle::Part)
    } else if found.is_encoded {
        Err(Obstacle::Encoded)
    } else if found.no_transform {
        Err(Obstacle::NoTransform)
    } else if found.has_digest {
        Err(Obstacle::Digest)
    } else if !found.content_type.is_some_and(|content_type| policy.types.contain(content_type)) {
        Err(Obstacle::Type)
    } else if length_is(&|length| length < policy.bytes_min) {
        Err(Obstacle::TooSmall)
    } else if length_is(&|length| policy.bytes_max.is_some_and(|bytes_max| length > bytes_max)) {
        Err(Obstacle::TooLarge)
    } else {
        Ok(())
    }
}

/// The header lines that matter.
#[derive(Default)]
struct Found<'a> {
    content_type: Option<&'a [u8]>,
    length: Option<u64>,
    is_part: bool,
    is_encoded: bool,
    no_transform: bool,
    has_digest: bool,
}

impl<'a> Found<'a> {
    fn among(headers: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> Self {
        let mut found = Self::default();
        for (name, value) in headers {
            let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
            match name.len() {
                6 if is("digest") => found.has_digest = true,
                11 if is("content-md5") || is("repr-digest") => found.has_digest = true,
                14 if is("content-digest") => found.has_digest = true,
                12 if is("content-type") => found.content_type = Some(value),
                13 if is("content-range") => found.is_part = true,
                13 if is("cache-control") => found.no_transform |= forbids_transforming(value),
                14 if is("content-length") => found.length = length(value),
                16 if is("content-encoding") => {
                    found.is_encoded |= list(value).any(|c| !c.eq_ignore_ascii_case(b"identity"));
                }
                _ => {}
            }
        }
        found
    }
}

/// A directive with an argument (`no-transform=x`) counts as well: to err is to send the response
/// as it is.
fn forbids_transforming(cache_control: &[u8]) -> bool {
    list(cache_control).any(|directive| {
        trim(split_at_byte(directive, b'=').0).eq_ignore_ascii_case(b"no-transform")
    })
}

/// The parsers have checked the length; a value that is none is taken for unknown here.
fn length(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// Appends the entity tag that the compressed response carries in the place of `etag`: the weak one
/// of the same text (RFC 9110 §8.8.1), as the bytes are not those that the server tagged. What is
/// no tag is kept.
pub fn push_weak_etag(etag: &[u8], out: &mut Vec<u8>) {
    if etag.first() == Some(&b'"') {
        out.extend_from_slice(b"W/");
    }
    out.extend_from_slice(etag);
}

/// Whether a response with these `Vary` values needs another `Vary: Accept-Encoding`: unless one
/// names it or is `*`.
#[must_use]
pub fn needs_vary<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> bool {
    let names_it = |name: &[u8]| name == b"*" || name.eq_ignore_ascii_case(b"accept-encoding");
    !values.into_iter().flat_map(list).any(names_it)
}

/// Appends the one `Vary` value that says what `values` say and `Accept-Encoding`.
pub fn push_vary<'a>(
    values: impl IntoIterator<Item = &'a [u8], IntoIter: Clone>,
    out: &mut Vec<u8>,
) {
    let values = values.into_iter();
    let own = needs_vary(values.clone()).then_some(&b"Accept-Encoding"[..]);
    for (place, name) in values.flat_map(list).chain(own).enumerate() {
        if place > 0 {
            out.extend_from_slice(b", ");
        }
        out.extend_from_slice(name);
    }
}
