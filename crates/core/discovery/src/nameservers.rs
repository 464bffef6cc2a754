//! Which resolver is asked first.
//!
//! Owns what is known of each: whether it has failed to answer lately. Invariant: all of them are in the order, so that one that has
//! failed is asked when the others have not answered.

use std::time::{Duration, Instant};

/// Resolvers of one set: each costs a try when none of them answers.
pub const NAMESERVERS_MAX: usize = 8;

/// How long a resolver that did not answer is asked last.
const SHUNNED_FOR: Duration = Duration::from_secs(30);

/// The resolvers of one set, in the order of their configuration.
#[derive(Clone, Debug, Default)]
pub struct Nameservers {
    shunned_until: Vec<Option<Instant>>,
}

impl Nameservers {
    /// `count` resolvers, of which the first [`NAMESERVERS_MAX`] are asked.
    #[must_use]
    pub fn new(count: usize) -> Self {
        Self { shunned_until: vec![None; count.min(NAMESERVERS_MAX)] }
    }

    /// In which order to ask them: those that answer, then those that have not answered lately.
    #[must_use]
    pub fn order(&self, now: Instant) -> Vec<usize> {
        let shunned = |at: &usize| self.shunned_until[*at].is_some_and(|until| until > now);
        let all = 0..self.shunned_until.len();
        let (last, first): (Vec<_>, Vec<_>) = all.partition(shunned);
        first.into_iter().chain(last).collect()
    }

    /// Takes note of whether one answered.
    pub fn note(&mut self, server: usize, answered: bool, now: Instant) {
        if let Some(until) = self.shunned_until.get_mut(server) {
            *until = (!answered).then(|| now + SHUNNED_FOR);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_does_not_answer_is_asked_last_for_a_while() {
        let now = Instant::now();
        let mut servers = Nameservers::new(3);
        assert_eq!(servers.order(now), [0, 1, 2]);
        servers.note(0, false, now);
        assert_eq!(servers.order(now), [1, 2, 0]);
        servers.note(2, false, now);
        assert_eq!(servers.order(now), [1, 0, 2]);
        servers.note(2, true, now);
        assert_eq!(servers.order(now), [1, 2, 0]);
        assert_eq!(servers.order(now + SHUNNED_FOR), [0, 1, 2]);
        assert_eq!(Nameservers::new(100).order(now).len(), NAMESERVERS_MAX);
    }
}
