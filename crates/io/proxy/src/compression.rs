//! Compression of responses as it is configured.
//!
//! Owns the settings, and which encoder a negotiated coding means; leaves which responses are compressed to
//! `tidegate-semantics`, encoding to `tidegate-compression`. Invariant: every coding that can be negotiated has an encoder and
//! a counter.

use tidegate_compression::{Coding as Encoded, Level, Levels};
use tidegate_semantics::accept_encoding::Coding;
use tidegate_semantics::compressible::Policy;

/// The codings by which compressed responses are counted.
pub(crate) static LABELS: [&str; 3] =
    [Encoded::Gzip.token(), Encoded::Brotli.token(), Encoded::Zstd.token()];

/// Which responses are compressed, and how.
#[derive(Clone, Debug)]
pub struct Compression {
    /// Which are worth it.
    pub policy: Policy,
    /// What is offered, the preferred first.
    pub codings: Vec<Coding>,
    /// How hard each coding tries.
    pub levels: Levels,
}

impl Compression {
    /// The encoder of a coding.
    pub(crate) fn level(&self, coding: Coding) -> Level {
        self.levels.of(match coding {
            Coding::Gzip => Encoded::Gzip,
            Coding::Brotli => Encoded::Brotli,
            Coding::Zstd => Encoded::Zstd,
        })
    }
}

/// The place of a coding among the labels.
pub(crate) fn label_index(coding: Coding) -> usize {
    match coding {
        Coding::Gzip => 0,
        Coding::Brotli => 1,
        Coding::Zstd => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_semantics::compressible::MediaTypes;

    #[test]
    fn codings_have_one_name_on_both_sides() {
        let types = MediaTypes::parse(["*/*"]).expect("a pattern");
        let policy = Policy { types, bytes_min: 0, bytes_max: None };
        let settings = Compression { policy, codings: Vec::new(), levels: Levels::default() };
        for coding in [Coding::Gzip, Coding::Brotli, Coding::Zstd] {
            assert_eq!(settings.level(coding).coding().token(), coding.name());
            assert_eq!(LABELS[label_index(coding)], coding.name());
        }
    }
}
