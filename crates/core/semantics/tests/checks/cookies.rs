//! Cookies are parts of their line that cannot hold what divides them, and finding one is looking
//! through all.

use tidegate_semantics::cookies::{find, iter};

/// Checks `data`: lines divided by LF, the values of several header lines.
pub fn check(data: &[u8]) {
    let lines = || data.split(|&b| b == b'\n');
    let all: Vec<(&[u8], &[u8])> = lines().flat_map(iter).collect();
    for &(name, value) in &all {
        assert!(!name.is_empty() && !name.iter().any(|b| b";=".contains(b)));
        assert!(!value.contains(&b';'));
        let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
        assert!(!blank(name.first()) && !blank(name.last()));
        let first = all.iter().find(|(other, _)| *other == name).map(|&(_, value)| value);
        assert_eq!(find(lines(), name), first, "the first of a name");
    }
    let pairs = data.split(|b| b";\n".contains(b)).filter(|pair| pair.contains(&b'='));
    assert!(all.len() <= pairs.count(), "no cookie out of nothing");
    assert_eq!(find(lines(), b"\0not sent\n"), None);

    // What is written plainly is read back.
    let plain: Vec<u8> =
        all.iter().flat_map(|(name, value)| [name, &b"=\""[..], value, b"\"; "].concat()).collect();
    assert_eq!(iter(&plain).collect::<Vec<_>>(), all);
}
