//! Values of the file in one spelling, to tell whether two files say the same.
//!
//! Owns the spelling. Invariant: values that differ in more than blanks, comments, quotes and the order of keys are spelled
//! differently, wherever they stand.

use std::fmt::Write as _;

use toml::de::DeValue;

/// Appends `value`.
pub(crate) fn spell(value: &DeValue<'_>, out: &mut String) {
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
