//! Values of the file in one spelling, to tell whether two files say the same.
//!
//! Owns the spelling. Invariant: values that differ in more than blanks, comments, quotes and the order of keys are spelled
//! differently, wherever they stand; and passwords, which may be among them, are not shown.

use std::fmt::{self, Write as _};

use toml::de::DeValue;

use crate::walk::Node;

/// A part of the file.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Written(String);

impl Written {
    /// Appends a key and its value.
    pub fn spell(&mut self, node: &Node<'_>) {
        write!(self.0, "{:?}=", node.name).expect("a String takes everything");
        spell(node.value, &mut self.0);
    }

    /// Appends another part.
    pub fn append(&mut self, other: &Self) {
        self.0.push_str(&other.0);
    }
}

impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Written({} bytes)", self.0.len())
    }
}

/// Appends `value`.
fn spell(value: &DeValue<'_>, out: &mut String) {
    match value {
        DeValue::String(text) => write!(out, "{text:?}"),
        DeValue::Integer(integer) => write!(out, "{integer}"),
        DeValue::Float(float) => write!(out, "{float}"),
        DeValue::Boolean(boolean) => write!(out, "{boolean}"),
        DeValue::Datetime(time) => write!(out, "{time}"),
        DeValue::Array(elements) => {
            out.push('[');
            for element in elements.iter() {
                spell(element.get_ref(), out);
                out.push(',');
            }
            return out.push(']');
        }
        DeValue::Table(table) => {
            out.push('{');
            for (key, value) in table {
                write!(out, "{:?}=", key.get_ref()).expect("a String takes everything");
                spell(value.get_ref(), out);
                out.push(',');
            }
            return out.push('}');
        }
    }
    .expect("a String takes everything");
}
