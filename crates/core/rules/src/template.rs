//! Owns texts with `{expression}` in them.

use crate::{Environment, Facts, Problem, Scratch};

/// A text that is partly evaluated: `app-{request.host}`. `{{` and `}}` stand for the braces.
#[derive(Clone, Debug)]
pub struct Template {}

/// A value held a byte that must not stand in a header field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlByte(pub u8);

impl Template {
    /// Compiles a template.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it.
    pub fn compile(_text: &str, _environment: &mut Environment<'_>) -> Result<Self, Vec<Problem>> {
        unimplemented!()
    }

    /// Compiles one expression without braces, such as the key of a limit.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it.
    pub fn compile_expression(
        _text: &str,
        _environment: &mut Environment<'_>,
    ) -> Result<Self, Vec<Problem>> {
        unimplemented!()
    }

    /// The whole text, when nothing in it is evaluated.
    #[must_use]
    pub fn as_literal(&self) -> Option<&[u8]> {
        unimplemented!()
    }

    /// Appends the text.
    pub fn write<F: Facts>(&self, _facts: &F, _scratch: &mut Scratch, _out: &mut Vec<u8>) {
        unimplemented!()
    }

    /// Appends the text, unless it holds a byte that no header field may hold.
    ///
    /// # Errors
    ///
    /// The first such byte; `out` is as it was.
    pub fn write_field_value<F: Facts>(
        &self,
        _facts: &F,
        _scratch: &mut Scratch,
        _out: &mut Vec<u8>,
    ) -> Result<(), ControlByte> {
        unimplemented!()
    }

    /// Whether some facts could make it write this; says too often yes, never wrongly no.
    #[must_use]
    pub fn could_write(&self, _bytes: &[u8]) -> bool {
        unimplemented!()
    }
}
