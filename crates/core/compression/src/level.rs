//! Owns the names of the codings and the levels that each may have.
//!
//! Leaves what a level does to the encoders. Invariant: a level in hand is one that its encoder
//! takes, with a price in memory and in time per call that a shard can pay.

/// A content coding (RFC 9110 §8.4.1) that this crate can apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Coding {
    /// RFC 1952.
    Gzip,
    /// RFC 7932.
    Brotli,
    /// RFC 8878, with a window that RFC 9659 lets every client decode.
    Zstd,
}

impl Coding {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Gzip, Self::Brotli, Self::Zstd];

    /// Its name in `Accept-Encoding` and `Content-Encoding`.
    #[must_use]
    pub const fn token(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }
}

macro_rules! level {
    ($(#[$doc:meta])* $name:ident, $min:literal ..= $max:literal, $(#[$default_doc:meta])* $default:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $name(u8);

        impl $name {
            /// The lowest: the least CPU time.
            pub const MIN: Self = Self($min);
            /// The highest: the most CPU time.
            pub const MAX: Self = Self($max);

            /// `None` outside of [`MIN`](Self::MIN) to [`MAX`](Self::MAX).
            #[must_use]
            pub const fn new(level: u8) -> Option<Self> {
                if level < $min || level > $max { None } else { Some(Self(level)) }
            }

            /// The number itself.
            #[must_use]
            pub const fn value(self) -> u8 {
                self.0
            }
        }

        impl Default for $name {
            $(#[$default_doc])*
            fn default() -> Self {
                Self($default)
            }
        }
    };
}

level! {
    /// A level of gzip, 1 to 9 as everywhere. At each one JSON gets smaller than with zlib at the same
    /// level, for less CPU time; other text at most 1 % larger (ADR 0010).
    GzipLevel, 1..=9,
    /// 1, as in nginx: level 6 makes JSON 8 % smaller for 2.5 times the CPU time.
    1
}

level! {
    /// A level of brotli (its "quality"), 2 to 6. Level 1 costs more than gzip's level 1 and
    /// compresses less. Levels from 7 on take 11 MB and more for a response, and up to 17 ms of the
    /// shard's time in one call, since brotli encodes a block of 64 KiB at once.
    BrotliLevel, 2..=6,
    /// 4: level 5 makes 64 KiB of JSON 6 % smaller for 1.7 times the CPU time, and 1 MiB of it larger.
    4
}

level! {
    /// A level of zstd, 1 to 9. Higher ones get their gain from tables that this crate does not grant
    /// them; at 9 a call takes up to 1 ms of the shard's time.
    ZstdLevel, 1..=9,
    /// 3, the library's own default: 9 % less output than gzip's level 1 for 0.6 of the CPU time.
    3
}

/// A coding with its level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// gzip at this level.
    Gzip(GzipLevel),
    /// brotli at this level.
    Brotli(BrotliLevel),
    /// zstd at this level.
    Zstd(ZstdLevel),
}

impl Level {
    /// The coding whose level it is.
    #[must_use]
    pub const fn coding(self) -> Coding {
        match self {
            Self::Gzip(_) => Coding::Gzip,
            Self::Brotli(_) => Coding::Brotli,
            Self::Zstd(_) => Coding::Zstd,
        }
    }

    /// The most memory that an encoder of this level holds, in bytes: what it costs in
    /// [`PoolLimits`](crate::PoolLimits).
    #[must_use]
    pub const fn state_bytes_max(self) -> usize {
        match self {
            Self::Gzip(_) => crate::gzip::STATE_BYTES_MAX,
            Self::Brotli(level) => crate::brotli::state_bytes_max(level),
            Self::Zstd(_) => crate::zstd::STATE_BYTES_MAX,
        }
    }
}

/// The level of each coding, for a place in the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Levels {
    /// For gzip.
    pub gzip: GzipLevel,
    /// For brotli.
    pub brotli: BrotliLevel,
    /// For zstd.
    pub zstd: ZstdLevel,
}

impl Levels {
    /// The level of one coding.
    #[must_use]
    pub const fn of(&self, coding: Coding) -> Level {
        match coding {
            Coding::Gzip => Level::Gzip(self.gzip),
            Coding::Brotli => Level::Brotli(self.brotli),
            Coding::Zstd => Level::Zstd(self.zstd),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_outside_their_range_are_refused() {
        for value in 0..=u8::MAX {
            assert_eq!(GzipLevel::new(value).is_some(), (1..=9).contains(&value));
            assert_eq!(BrotliLevel::new(value).is_some(), (2..=6).contains(&value));
            assert_eq!(ZstdLevel::new(value).is_some(), (1..=9).contains(&value));
        }
    }

    #[test]
    fn every_default_is_a_level_of_its_coding() {
        let levels = Levels::default();
        assert!(GzipLevel::new(levels.gzip.value()).is_some());
        assert!(BrotliLevel::new(levels.brotli.value()).is_some());
        assert!(ZstdLevel::new(levels.zstd.value()).is_some());
        for coding in Coding::ALL {
            assert_eq!(levels.of(coding).coding(), coding);
        }
    }
}
