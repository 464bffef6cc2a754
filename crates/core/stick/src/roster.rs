//! The numbers by which entries name servers.
//!
//! Owns which name has which number, over changes of the configuration. Invariant: two names never have one number, and a number
//! that was given up is used again only when there is no other.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::table::Number;

/// The most numbers: what fits into an entry. Servers beyond it are not remembered.
pub const NUMBERS_MAX: usize = 1 << 16;

/// The servers of one backend by their names.
#[derive(Clone, Debug, Default)]
pub struct Roster {
    known: HashMap<Arc<str>, Number>,
    /// Given up, the longest ago first.
    free: VecDeque<Number>,
    /// The first number that nobody ever had.
    next: usize,
}

impl Roster {
    /// Takes the names of the servers that there are now: the number of each, and the numbers of those that are gone. `None`: there
    /// is no number left.
    pub fn follow<'n>(
        &mut self,
        names: impl IntoIterator<Item = &'n str>,
    ) -> (Vec<Option<Number>>, Vec<Number>) {
        let names: Vec<&str> = names.into_iter().collect();
        let mut known = std::mem::take(&mut self.known);
        let mut numbers: Vec<_> = names
            .iter()
            .map(|name| {
                let (name, number) = known.remove_entry(*name)?;
                self.known.insert(name, number);
                Some(number)
            })
            .collect();
        let mut gone: Vec<Number> = known.into_values().collect();
        gone.sort_unstable();
        for (name, number) in names.iter().zip(&mut numbers) {
            if number.is_none() {
                *number = self.known.get(*name).copied().or_else(|| self.fresh(name));
            }
        }
        self.free.extend(&gone);
        (numbers, gone)
    }

    fn fresh(&mut self, name: &str) -> Option<Number> {
        let number = match u16::try_from(self.next) {
            Ok(next) => {
                self.next += 1;
                Number(next)
            }
            Err(_) => self.free.pop_front()?,
        };
        self.known.insert(name.into(), number);
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_number_and_nobody_gets_one_that_was_just_given_up() {
        let mut roster = Roster::default();
        assert_eq!(roster.follow(["a", "b"]).0, [Some(Number(0)), Some(Number(1))]);
        let (numbers, gone) = roster.follow(["c", "b"]);
        assert_eq!((numbers, gone), (vec![Some(Number(2)), Some(Number(1))], vec![Number(0)]));
        let (numbers, gone) = roster.follow(["a", "b", "c", "a"]);
        let expected = [3, 1, 2, 3].map(|number| Some(Number(number)));
        assert_eq!((numbers, gone), (expected.to_vec(), Vec::new()));
    }

    #[test]
    fn numbers_end_and_are_used_again() {
        let mut roster = Roster::default();
        let names: Vec<String> = (0..=NUMBERS_MAX).map(|at| at.to_string()).collect();
        let (numbers, _) = roster.follow(names.iter().map(String::as_str));
        assert_eq!(numbers[NUMBERS_MAX - 1..], [Some(Number(u16::MAX)), None]);
        let (numbers, gone) = roster.follow(["new"]);
        assert_eq!((numbers, gone.len()), (vec![None], NUMBERS_MAX));
        // From the next time on: until then others may still write the old ones.
        assert_eq!(roster.follow(["new", "newer"]).0, [Some(Number(0)), Some(Number(1))]);
    }
}
