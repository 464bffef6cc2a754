//! Owns the grammar: text to a tree with a place for every node.
//!
//! Leaves meaning to `check`. The grammar is CEL's (the language definition, "Syntax"), less what no
//! condition can use: maps, messages, bytes, unsigned numbers, `null` and arithmetic are refused by
//! name. It is parsed here and not by a crate for the reasons in ADR-0007. Invariant: every tree is
//! at most [`DEPTH_MAX`] deep, so that walks over it and its drop may recurse.

mod lexer;
mod parser;

pub(crate) use lexer::is_identifier;
pub(crate) use parser::{parse, parse_braced};

use std::ops::Range;

/// The longest expression or template, in bytes: a condition that a person can read is below 1 KiB,
/// and a list of many values belongs in a file. It bounds all work that is done for one text.
pub const EXPRESSION_BYTES_MAX: usize = 16 * 1024;

/// How deep an expression may nest. An expression of eight levels is hard to read already; a level
/// takes about 2 KiB of stack while it is parsed and checked.
pub const DEPTH_MAX: u16 = 48;

/// A node.
#[derive(Clone, Debug)]
pub(crate) struct Expr {
    pub(crate) kind: Kind,
    pub(crate) span: Range<usize>,
    /// Levels below this node, itself included.
    pub(crate) depth: u16,
}

impl Expr {
    /// Calls `visit` with every node, this one first.
    pub(crate) fn visit(&self, visit: &mut dyn FnMut(&Self)) {
        visit(self);
        for child in self.kind.children() {
            child.visit(visit);
        }
    }
}

/// What a node is.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Text(String),
    Int(i64),
    Float(f64),
    Bool(bool),
    Name(String),
    Select { operand: Box<Expr>, field: String, field_span: Range<usize> },
    Index { operand: Box<Expr>, key: Box<Expr> },
    Call { target: Option<Box<Expr>>, name: String, name_span: Range<usize>, arguments: Vec<Expr> },
    List(Vec<Expr>),
    Not(Box<Expr>),
    Relation { relation: Relation, left: Box<Expr>, right: Box<Expr> },
    All(Vec<Expr>),
    Any(Vec<Expr>),
    Sum(Vec<Expr>),
    If(Box<[Expr; 3]>),
}

/// An operator between two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Relation {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
}

impl Relation {
    pub(crate) const fn sign(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::In => "in",
        }
    }
}
