//! Owns the names that expressions may use beside the attributes: lists, limits, maps, variables,
//! fields of the log, and the conditions of a frontend.
//!
//! Leaves what stands behind the names to the data plane. Invariant: an index, once given, stays.

use crate::check::{Checker, Needs};
use crate::condition::Uses;
use crate::facts::{FieldIndex, LimitIndex, ListIndex, MapIndex, VariableIndex};
use crate::logic::Logic;
use crate::problem::Problem;
use crate::syntax::{self, Expr, is_identifier};
use crate::{ATTRIBUTES, Phase};
use std::cell::Cell;

/// The most conditions of one frontend: ten times what the largest configurations we know have.
pub const CONDITIONS_MAX: usize = 1000;

/// The names of one configuration. Frontends share them, so that an index means the same everywhere.
#[derive(Clone, Debug, Default)]
pub struct Names {
    pub(crate) lists: Vec<String>,
    pub(crate) limits: Vec<String>,
    pub(crate) maps: Vec<String>,
    pub(crate) variables: Vec<String>,
    pub(crate) fields: Vec<(String, FieldType)>,
}

/// The type of a field of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldType {
    /// A string.
    Text,
    /// A whole number.
    Number,
}

impl Names {
    /// A list that `inList` may name; the same index for the same name.
    pub fn declare_list(&mut self, name: &str) -> ListIndex {
        ListIndex(intern(&mut self.lists, name))
    }

    /// A limit that `rate` may name; the same index for the same name.
    pub fn declare_limit(&mut self, name: &str) -> LimitIndex {
        LimitIndex(intern(&mut self.limits, name))
    }

    /// A variable that a rule sets; expressions call it `vars.NAME`. The same index for the same
    /// name.
    ///
    /// # Errors
    ///
    /// What is wrong with the name, at its place in it.
    pub fn declare_variable(&mut self, name: &str) -> Result<VariableIndex, Problem> {
        check_name(name)?;
        Ok(VariableIndex(intern(&mut self.variables, name)))
    }

    /// A field that expressions of [`Phase::Log`] may name, dots included; the same index for the
    /// same name.
    pub fn declare_field(&mut self, name: &str, field: FieldType) -> FieldIndex {
        let known = self.fields.iter().position(|(known, _)| known == name);
        let place = known.unwrap_or_else(|| {
            self.fields.push((name.to_owned(), field));
            self.fields.len() - 1
        });
        FieldIndex(number(place))
    }

    /// The maps that `lookup` named so far, in the order of their index; the caller loads them.
    #[must_use]
    pub fn maps(&self) -> &[String] {
        &self.maps
    }

    /// The variables, in the order of their index.
    #[must_use]
    pub fn variables(&self) -> &[String] {
        &self.variables
    }

    pub(crate) fn map(&mut self, name: &str) -> MapIndex {
        MapIndex(intern(&mut self.maps, name))
    }
}

fn intern(names: &mut Vec<String>, name: &str) -> u32 {
    let known = names.iter().position(|known| known == name);
    number(known.unwrap_or_else(|| {
        names.push(name.to_owned());
        names.len() - 1
    }))
}

fn number(place: usize) -> u32 {
    u32::try_from(place).expect("a configuration has fewer names than bytes")
}

/// Whether the name can stand in an expression.
fn check_name(name: &str) -> Result<(), Problem> {
    if is_identifier(name) && name != "not" {
        return Ok(());
    }
    Err(Problem::new(0..name.len(), format!("{name:?} cannot be a name in expressions"))
        .help("use letters, digits and _, no digit first, and no word of the language"))
}

/// The named conditions of a frontend.
#[derive(Clone, Debug, Default)]
pub struct Conditions {
    pub(crate) named: Vec<Named>,
}

/// A condition with a name.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    pub(crate) name: String,
    /// None when something is wrong with it, which was told.
    pub(crate) logic: Option<Logic>,
    pub(crate) needs: Option<Needs>,
    pub(crate) uses: Uses,
    /// The conditions that it refers to.
    references: Vec<usize>,
    is_used: Cell<bool>,
}

/// What is wrong with a named condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionProblem {
    /// The condition.
    pub name: String,
    /// What is wrong with its text.
    pub problem: Problem,
}

impl Conditions {
    /// Compiles named conditions, which may refer to each other in any order. What is right with them
    /// can be used even when something is wrong with others.
    pub fn compile<'a>(
        names: &mut Names,
        entries: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> (Self, Vec<ConditionProblem>) {
        let mut problems = Vec::new();
        let mut conditions = Self::default();
        let mut trees: Vec<Option<(Expr, &str)>> = Vec::new();
        for (name, text) in entries {
            let mut tree = None;
            match check_entry(name, conditions.named.len()).and_then(|()| syntax::parse(text)) {
                Ok(parsed) => tree = Some((parsed, text)),
                Err(problem) => {
                    problems.push(ConditionProblem { name: name.to_owned(), problem });
                }
            }
            conditions.named.push(Named {
                name: name.to_owned(),
                logic: None,
                needs: None,
                uses: Uses::default(),
                references: Vec::new(),
                is_used: Cell::new(false),
            });
            trees.push(tree);
        }
        for (place, tree) in trees.iter().enumerate() {
            if let Some((tree, _)) = tree {
                conditions.named[place].references = conditions.references_of(tree);
            }
        }
        conditions.compile_in_order(names, &mut trees, &mut problems);
        conditions.report_cycles(&trees, &mut problems);
        (conditions, problems)
    }

    /// Compiles each once those that it refers to are; what then remains refers to itself.
    fn compile_in_order(
        &mut self,
        names: &mut Names,
        trees: &mut [Option<(Expr, &str)>],
        problems: &mut Vec<ConditionProblem>,
    ) {
        loop {
            let is_ready = |place: &usize| {
                let settled = |reference: &usize| trees[*reference].is_none();
                trees[*place].is_some() && self.named[*place].references.iter().all(settled)
            };
            let ready: Vec<usize> = (0..trees.len()).filter(is_ready).collect();
            if ready.is_empty() {
                return;
            }
            for place in ready {
                let Some((tree, _)) = trees[place].take() else { continue };
                let mut checker = Checker::of_condition(names, self);
                let logic = checker.tree_of_condition(&tree);
                let (uses, needs) = (checker.uses(), checker.needs());
                let outcome = checker.finish(logic);
                let named = &mut self.named[place];
                (named.uses, named.needs) = (uses, needs);
                match outcome {
                    Ok(logic) => named.logic = Some(logic),
                    Err(found) => problems.extend(
                        found
                            .into_iter()
                            .map(|problem| ConditionProblem { name: named.name.clone(), problem }),
                    ),
                }
            }
        }
    }

    fn report_cycles(&self, trees: &[Option<(Expr, &str)>], problems: &mut Vec<ConditionProblem>) {
        let mut was_seen = vec![false; trees.len()];
        for start in 0..trees.len() {
            let (mut path, mut place) = (Vec::new(), start);
            while trees[place].is_some() && !was_seen[place] {
                was_seen[place] = true;
                path.push(place);
                let unsettled = |reference: &&usize| trees[**reference].is_some();
                place = *self.named[place].references.iter().find(unsettled).unwrap_or(&place);
            }
            let Some(begin) = path.iter().position(|seen| *seen == place) else { continue };
            let cycle = path[begin..].iter().chain([&place]);
            let names: Vec<&str> = cycle.map(|place| self.named[*place].name.as_str()).collect();
            let next = path.get(begin + 1).unwrap_or(&place);
            let span = trees[place]
                .as_ref()
                .and_then(|(tree, _)| place_of_name(tree, &self.named[*next].name));
            let message = format!("the condition refers to itself: {}", names.join(" → "));
            let problem = Problem::new(span.unwrap_or(0..0), message);
            problems.push(ConditionProblem { name: self.named[place].name.clone(), problem });
        }
    }

    fn references_of(&self, tree: &Expr) -> Vec<usize> {
        let mut found = Vec::new();
        tree.visit(&mut |expression| {
            if let syntax::Kind::Name(name) = &expression.kind {
                found.extend(self.named.iter().position(|named| named.name == *name));
            }
        });
        found
    }

    /// Those that no compiled expression came to use, in the order given.
    #[must_use]
    pub fn unused(&self) -> Vec<&str> {
        self.named.iter().filter(|named| !named.is_used.get()).map(|named| &*named.name).collect()
    }

    /// Marks a condition, and those that it refers to, as used.
    pub(crate) fn mark_used(&self, place: usize) {
        let mut pending = vec![place];
        while let Some(place) = pending.pop() {
            if !self.named[place].is_used.replace(true) {
                pending.extend(&self.named[place].references);
            }
        }
    }
}

fn check_entry(name: &str, place: usize) -> Result<(), Problem> {
    check_name(name)?;
    let root = |row: &crate::AttributeRow| row.name.split('.').next() == Some(name);
    if ATTRIBUTES.iter().any(root) || name == "vars" {
        return Err(Problem::new(0..0, format!("`{name}` is the name of attributes")));
    }
    if place >= CONDITIONS_MAX {
        return Err(Problem::new(0..0, format!("more than {CONDITIONS_MAX} conditions")));
    }
    Ok(())
}

fn place_of_name(tree: &Expr, wanted: &str) -> Option<std::ops::Range<usize>> {
    let mut found = None;
    tree.visit(&mut |expression| {
        if matches!(&expression.kind, syntax::Kind::Name(name) if name == wanted) {
            found.get_or_insert(expression.span.clone());
        }
    });
    found
}

/// What one expression is compiled against.
#[derive(Debug)]
pub struct Environment<'a> {
    /// Lists, limits, maps, variables.
    pub names: &'a mut Names,
    /// The frontend's conditions.
    pub conditions: &'a Conditions,
    /// When it is evaluated.
    pub phase: Phase,
}
