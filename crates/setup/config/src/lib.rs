//! The configuration file: text to validated types.
//!
//! Owns the file's format, its defaults and its error messages; leaves sockets, certificates and everything that happens
//! at run time to others. It reads the one file that it is given and nothing else.
//!
//! Invariant: [`parse`] and [`load`] either return a [`Config`] that is usable as it stands, or every problem of the file at
//! once, in the order of the file.

pub mod defaults;
mod diagnostic;
mod model;
mod source;

pub use diagnostic::{Diagnostic, Place, Report, Severity, Span};
pub use model::*;
