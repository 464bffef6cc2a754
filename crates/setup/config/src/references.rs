//! Names of backends, wherever the file uses them.
//!
//! Owns their look-up, the memory of which are used, and the advice for one that is missing; leaves to `check` what follows.
//!
//! Invariant: an index that is given out points at the backend of that name.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::diagnostic::{Problem, Span, quoted};
use crate::model::BackendIndex;
use crate::suggest;
use crate::walk::Problems;

/// The backends of the file by name.
pub(crate) struct Backends<'p> {
    names: Vec<Arc<str>>,
    indices: HashMap<Arc<str>, BackendIndex>,
    /// There may be backends that were not read.
    obscured: bool,
    used: RefCell<HashSet<usize>>,
    problems: &'p Problems,
}

impl<'p> Backends<'p> {
    pub fn new(names: Vec<Arc<str>>, obscured: bool, problems: &'p Problems) -> Self {
        let numbered = names.iter().enumerate();
        let indices = numbered.map(|(index, name)| (name.clone(), BackendIndex(index))).collect();
        Self { names, indices, obscured, used: RefCell::default(), problems }
    }

    /// The backend `name`, which is used from now on; one that does not exist is reported at `span`.
    pub fn find(&self, name: &str, span: Span) -> Option<BackendIndex> {
        let index = self.indices.get(name).copied();
        match index {
            Some(index) => drop(self.used.borrow_mut().insert(index.0)),
            None if self.obscured => {}
            None => self.problems.push(self.missing(name, span)),
        }
        index
    }

    /// Those whose names `could_be` meant, which are used from now on.
    pub fn matching(&self, could_be: impl Fn(&str) -> bool) -> HashMap<Box<[u8]>, BackendIndex> {
        let found: HashMap<Box<[u8]>, _> = self
            .indices
            .iter()
            .filter(|(name, _)| could_be(name))
            .map(|(name, index)| (name.as_bytes().into(), *index))
            .collect();
        self.used.borrow_mut().extend(found.values().map(|index| index.0));
        found
    }

    /// Whether anything in the file leads to the backend.
    pub fn is_used(&self, index: usize) -> bool {
        self.used.borrow().contains(&index)
    }

    /// Whether there may be backends that were not read.
    pub fn are_obscured(&self) -> bool {
        self.obscured
    }

    fn missing(&self, name: &str, span: Span) -> Problem {
        let problem =
            Problem::error(span, format!("there is no backend {}", quoted(name))).absent();
        if let Some(near) = suggest::nearest(name, self.names.iter().map(|name| &**name)) {
            return problem.help(format!("did you mean {}?", quoted(near)));
        }
        problem.help(match self.shown() {
            None => "add one: [backends.NAME.servers] with app1 = \"10.0.0.1:8080\"".to_owned(),
            Some(names) => format!("there is {names}"),
        })
    }

    /// The names of the first few.
    pub fn shown(&self) -> Option<String> {
        const NAMES_SHOWN_MAX: usize = 8;
        let mut shown: Vec<_> =
            self.names.iter().take(NAMES_SHOWN_MAX).map(|name| quoted(name)).collect();
        if self.names.len() > NAMES_SHOWN_MAX {
            shown.push("…".to_owned());
        }
        (!shown.is_empty()).then(|| shown.join(", "))
    }
}
