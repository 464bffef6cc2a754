//! Negotiation: only what is accepted is chosen, nothing accepted is better, and the choice does not
//! depend on case or on how the list is divided into lines.

use tidegate_semantics::accept_encoding::{Accepted, Choice, Coding};

const OFFERS: [&[Coding]; 6] = [
    &[],
    &[Coding::Gzip],
    &[Coding::Brotli],
    &[Coding::Brotli, Coding::Zstd, Coding::Gzip],
    &[Coding::Gzip, Coding::Zstd, Coding::Brotli],
    &[Coding::Zstd, Coding::Zstd],
];

/// Checks `data` as one value.
pub fn check(data: &[u8]) {
    let accepted = Accepted::parse([data]);
    for offered in OFFERS {
        let choice = accepted.choose(offered);
        match choice {
            Choice::Encode(coding) => {
                assert!(offered.contains(&coding) && accepted.accepts(coding));
                assert_eq!(accepted.choose(&[coding]), choice, "still good when it is alone");
            }
            Choice::Identity => assert!(accepted.accepts_identity()),
            Choice::NothingAcceptable => {
                assert!(!accepted.accepts_identity());
                assert!(!offered.iter().any(|&coding| accepted.accepts(coding)));
            }
        }
    }
    assert_eq!(Accepted::parse(data.split(|&b| b == b',')), accepted, "one line or several");
    assert_eq!(Accepted::parse([&*data.to_ascii_uppercase()]), accepted, "in either case");
    let spaced = data.split(|&b| b == b',').collect::<Vec<_>>().join(&b" ,\t, "[..]);
    assert_eq!(Accepted::parse([&*spaced]), accepted, "with blanks and empty elements");

    let refused = [b"*;q=0, identity;q=0, br;q=0, zstd;q=0, gzip;q=0,", data].concat();
    assert_eq!(Accepted::parse([&*refused]).choose(OFFERS[3]), Choice::NothingAcceptable);
}
