//! Content codings that a client accepts (RFC 9110 §12.5.3) and the choice among those offered.
//!
//! Owns reading `Accept-Encoding` and the negotiation. Leaves to [`compressible`](crate::compressible)
//! whether the response may be encoded at all. Invariant: a coding is chosen only if the client
//! listed it, or `*`, with a weight above zero: without the header, though all codings would be
//! acceptable then, nothing is encoded, as such clients are those that cannot decode.
//!
//! An element that is malformed is skipped, and the others count. Of several elements for one coding
//! the first counts. `x-gzip` is `gzip` (RFC 9110 §8.4.1.3).

use crate::grammar::{is_token, list, split_at_byte, trim};

/// A content coding that responses can be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Coding {
    /// `br`, RFC 7932.
    Brotli,
    /// `zstd`, RFC 8878.
    Zstd,
    /// `gzip`, RFC 1952.
    Gzip,
}

impl Coding {
    /// Its name in `Content-Encoding`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }
}

/// What comes out of a negotiation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Encode with this coding.
    Encode(Coding),
    /// Send the response as it is.
    Identity,
    /// The client refuses all codings offered, and the response as it is as well. RFC 9110 lets the
    /// server answer 406 or send it all the same; a proxy sends it all the same.
    NothingAcceptable,
}

/// A weight in thousandths, 0 to 1,000.
type Weight = u16;

const WEIGHT_MAX: Weight = 1_000;

/// What a client accepts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    brotli: Option<Weight>,
    zstd: Option<Weight>,
    gzip: Option<Weight>,
    identity: Option<Weight>,
    any: Option<Weight>,
}

impl Accepted {
    /// Reads the values of a request's `Accept-Encoding` lines, in order.
    #[must_use]
    pub fn parse<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut accepted = Self::default();
        values.into_iter().for_each(|value| accepted.add(value));
        accepted
    }

    /// Reads one more line.
    pub fn add(&mut self, value: &[u8]) {
        for (name, weight) in list(value).filter_map(element) {
            if let Some(place) = self.place(name) {
                place.get_or_insert(weight);
            }
        }
    }

    fn place(&mut self, name: &[u8]) -> Option<&mut Option<Weight>> {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        match name.len() {
            1 if is("*") => Some(&mut self.any),
            2 if is("br") => Some(&mut self.brotli),
            4 if is("gzip") => Some(&mut self.gzip),
            4 if is("zstd") => Some(&mut self.zstd),
            6 if is("x-gzip") => Some(&mut self.gzip),
            8 if is("identity") => Some(&mut self.identity),
            _ => None,
        }
    }

    fn weight(&self, coding: Coding) -> Weight {
        let listed = match coding {
            Coding::Brotli => self.brotli,
            Coding::Zstd => self.zstd,
            Coding::Gzip => self.gzip,
        };
        listed.or(self.any).unwrap_or(0)
    }

    /// Whether the client takes `coding`.
    #[must_use]
    pub fn accepts(&self, coding: Coding) -> bool {
        self.weight(coding) > 0
    }

    /// Whether the client takes the response as it is: always, unless it says `identity;q=0`, or
    /// `*;q=0` without naming `identity`.
    #[must_use]
    pub fn accepts_identity(&self) -> bool {
        self.identity.or(self.any) != Some(0)
    }

    /// The coding of highest weight among those `offered`; with equal weights the one offered first.
    /// `identity` wins only if the client named it with a higher weight than that.
    #[must_use]
    pub fn choose(&self, offered: &[Coding]) -> Choice {
        let mut best: Option<(Coding, Weight)> = None;
        for &coding in offered {
            let weight = self.weight(coding);
            if weight > best.map_or(0, |(_, weight)| weight) {
                best = Some((coding, weight));
            }
        }
        match best {
            Some((coding, weight)) if self.identity.is_none_or(|identity| identity <= weight) => {
                Choice::Encode(coding)
            }
            _ if self.accepts_identity() => Choice::Identity,
            _ => Choice::NothingAcceptable,
        }
    }
}

/// `codings [ weight ]`; `None` if it is malformed.
fn element(element: &[u8]) -> Option<(&[u8], Weight)> {
    let (name, parameter) = split_at_byte(element, b';');
    let name = trim(name);
    let weight = match parameter {
        Some(parameter) => weight(trim(parameter))?,
        None => WEIGHT_MAX,
    };
    is_token(name).then_some((name, weight))
}

/// `"q=" qvalue` (RFC 9110 §12.4.2): at most three digits after the point, at most 1.
fn weight(parameter: &[u8]) -> Option<Weight> {
    let [b'q' | b'Q', b'=', value @ ..] = parameter else { return None };
    let (whole, fraction) = match value {
        [whole] => (whole, &b""[..]),
        [whole, b'.', fraction @ ..] if fraction.len() <= 3 => (whole, fraction),
        _ => return None,
    };
    if !matches!(whole, b'0' | b'1') || !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digit = |place: usize| fraction.get(place).map_or(0, |digit| Weight::from(digit - b'0'));
    let weight = Weight::from(whole - b'0') * 1_000 + digit(0) * 100 + digit(1) * 10 + digit(2);
    (weight <= WEIGHT_MAX).then_some(weight)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Choice::{Encode, Identity, NothingAcceptable};
    use Coding::{Brotli, Gzip, Zstd};

    #[test]
    fn the_best_offer_is_chosen() {
        let all = [Brotli, Zstd, Gzip];
        let cases: [(&[&str], &[Coding], Choice); 31] = [
            (&[], &all, Identity),
            (&[""], &all, Identity),
            (&["gzip"], &all, Encode(Gzip)),
            (&["gzip, deflate, br, zstd"], &all, Encode(Brotli)),
            (&["gzip, deflate, br, zstd"], &[Zstd, Brotli, Gzip], Encode(Zstd)),
            (&["gzip, deflate, br, zstd"], &[Gzip], Encode(Gzip)),
            (&["gzip, deflate, br, zstd"], &[], Identity),
            (&["gzip;q=1.0, br;q=0.5"], &all, Encode(Gzip)),
            (&["gzip", "br"], &all, Encode(Brotli)),
            (&["GZip;Q=0.8"], &all, Encode(Gzip)),
            (&["x-gzip"], &all, Encode(Gzip)),
            (&["gzip;q=0"], &all, Identity),
            (&["gzip;q=0.000"], &all, Identity),
            (&["gzip;q=0.001"], &all, Encode(Gzip)),
            (&["*"], &all, Encode(Brotli)),
            (&["*;q=0.1, br;q=0"], &all, Encode(Zstd)),
            (&["*;q=0"], &all, NothingAcceptable),
            (&["*;q=0, identity"], &all, Identity),
            (&["*;q=0, gzip"], &all, Encode(Gzip)),
            (&["*;q=0, gzip"], &[Brotli], NothingAcceptable),
            (&["identity;q=0"], &all, NothingAcceptable),
            (&["identity;q=0, gzip;q=0.1"], &all, Encode(Gzip)),
            (&["identity, gzip;q=0.5"], &all, Identity),
            (&["identity;q=0.5, gzip;q=0.5"], &all, Encode(Gzip)),
            (&["identity"], &all, Identity),
            (&["deflate, compress"], &all, Identity),
            (&["gzip ; q=0.5 , br ;\tq=0.7"], &all, Encode(Brotli)),
            (&[",, gzip ,"], &all, Encode(Gzip)),
            (&["br;q=x, gzip"], &all, Encode(Gzip)),
            (&["gzip;q=0, gzip"], &all, Identity),
            (&["bro, gzipp, zst"], &all, Identity),
        ];
        for (values, offered, expected) in cases {
            let accepted = Accepted::parse(values.iter().map(|value| value.as_bytes()));
            assert_eq!(accepted.choose(offered), expected, "{values:?} {offered:?}");
        }
    }

    #[test]
    fn malformed_elements_are_skipped() {
        for malformed in [
            "br;q=2",
            "br;q=1.001",
            "br;q=0.1234",
            "br;q=-1",
            "br;q=",
            "br;q",
            "br;",
            "br;q=1;a=b",
            "br;level=1",
            "br;q = 1",
            "br q=1",
            "b\u{e9}",
            ";q=1",
            "br;q=.5",
            "br;q=+1",
            "br;q=0,5",
        ] {
            assert!(!Accepted::parse([malformed.as_bytes()]).accepts(Brotli), "{malformed}");
            let with_another = format!("{malformed}, gzip");
            assert!(Accepted::parse([with_another.as_bytes()]).accepts(Gzip), "{malformed}");
        }
        for good in ["br;q=1.", "br;q=1.000", "br;q=0.9", "br;q=0.99", "br;q=0.999"] {
            assert!(Accepted::parse([good.as_bytes()]).accepts(Brotli), "{good}");
        }
    }
}
