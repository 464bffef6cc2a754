//! "Did you mean": the nearest of the names that would have been right.
//!
//! Owns the measure of nearness; leaves the sentence to the caller.
//!
//! Invariant: nothing is suggested that is not close; a wrong suggestion costs more than none.

/// The candidate nearest to `written`, if it is near: about one slip in three characters, in the
/// same words.
pub(crate) fn nearest<'c>(
    written: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<&'c str> {
    let normal = |text: &str| text.to_lowercase().replace(['-', ' '], "_");
    let written = normal(written);
    let allowed = (written.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (distance(&written, &normal(candidate)), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Edits from one to the other; a missing or additional word at either end ("max_conns" for
/// "max_connections", "backend" for "default_backend") counts as one.
fn distance(written: &str, candidate: &str) -> usize {
    const WORD_CHARACTERS_MIN: usize = 4;
    let edits = strsim::damerau_levenshtein(written, candidate);
    let (short, long) =
        if written.len() < candidate.len() { (written, candidate) } else { (candidate, written) };
    let part =
        short.len() >= WORD_CHARACTERS_MIN && (long.starts_with(short) || long.ends_with(short));
    if part { edits.min(1) } else { edits }
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn suggests_only_what_is_close() {
        let keys = ["max_connections", "cores", "daemon", "default_backend", "bind"];
        for (written, expected) in [
            ("max_conections", Some("max_connections")),
            ("max-connections", Some("max_connections")),
            ("MaxConnections", Some("max_connections")),
            ("core", Some("cores")),
            ("demon", Some("daemon")),
            ("backend", Some("default_backend")),
            ("bnid", Some("bind")),
            ("binding", Some("bind")),
            ("nbproc", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(written, keys), expected, "{written}");
        }
    }

    #[test]
    fn an_exact_match_wins_over_a_longer_one() {
        assert_eq!(nearest("server", ["server_pool", "server", "servers"]), Some("server"));
    }
}
