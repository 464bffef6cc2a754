//! Whether a response may be compressed on its way.
//!
//! Owns the judgement. Leaves to [`compressed_head`](crate::compressed_head) what one client gets of
//! it, and what changes in the head. The judgement does not look at the request: a response that
//! passes depends on `Accept-Encoding` even if this client gets it as it is.
//!
//! Invariant: a response that says it must not be transformed, that is encoded, that is a part, or
//! whose digest is announced is never judged to be one that can be compressed.

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
    /// The status is interim, or has no body (204, 205).
    Status,
    /// `Content-Range` in what is no 206: a part of something.
    Part,
    /// `Content-Encoding` other than `identity`.
    Encoded,
    /// `Cache-Control: no-transform` (RFC 9111 §5.2.2.6).
    NoTransform,
    /// A digest of the content is announced (RFC 9530), and would be wrong.
    Digest,
    /// No media type, or none that is wanted.
    Type,
    /// Shorter than [`Policy::bytes_min`], or empty.
    TooSmall,
    /// Longer than [`Policy::bytes_max`].
    TooLarge,
}

/// What a response without obstacles is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suited {
    /// A whole one: it can be compressed.
    Whole,
    /// 206: a part of one that can be. Ranges count bytes before coding, so that it is sent as it is.
    Part,
    /// 304: about one that can be, as far as it says. Without a body.
    NotModified,
}

/// Judges a response by its status and its header lines, as names and values.
///
/// # Errors
/// Why it must or should be sent as it is; of several reasons the first in the order of
/// [`Obstacle`].
pub fn judge<'a>(
    policy: &Policy,
    status: u16,
    headers: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
) -> Result<Suited, Obstacle> {
    let suited = match status {
        ..200 | 204 | 205 => return Err(Obstacle::Status),
        206 => Suited::Part,
        304 => Suited::NotModified,
        _ => Suited::Whole,
    };
    let found = Found::among(headers);
    let is_whole = suited == Suited::Whole;
    let has_type = found.content_type.map(|content_type| policy.types.contain(content_type));
    // A 304 need not repeat the media type (RFC 9110 §15.4.5).
    let is_of_type = has_type.unwrap_or(suited == Suited::NotModified);
    let length_is =
        |out_of_bounds: &dyn Fn(u64) -> bool| is_whole && found.length.is_some_and(out_of_bounds);
    if found.is_part && is_whole {
        Err(Obstacle::Part)
    } else if found.is_encoded {
        Err(Obstacle::Encoded)
    } else if found.no_transform {
        Err(Obstacle::NoTransform)
    } else if found.has_digest {
        Err(Obstacle::Digest)
    } else if !is_of_type {
        Err(Obstacle::Type)
    } else if length_is(&|length| length < policy.bytes_min.max(1)) {
        Err(Obstacle::TooSmall)
    } else if length_is(&|length| policy.bytes_max.is_some_and(|bytes_max| length > bytes_max)) {
        Err(Obstacle::TooLarge)
    } else {
        Ok(suited)
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
                6 | 11 | 14 if is_digest(name) => found.has_digest = true,
                7 if is("trailer") => found.has_digest |= list(value).any(is_digest),
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

/// Whether a field of this name holds a digest of the content.
fn is_digest(name: &[u8]) -> bool {
    ["digest", "content-md5", "repr-digest", "content-digest"]
        .iter()
        .any(|digest| name.eq_ignore_ascii_case(digest.as_bytes()))
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
