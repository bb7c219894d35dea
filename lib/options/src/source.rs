//! What options are read from.

use crate::{OptionDeclaration, OptionValue};

/// The texts of options: a section of a file.
pub trait OptionSource {
    /// The error of a value that is not as declared.
    type Error;

    /// The text of an option, if it is given.
    fn text(&self, name: &str) -> Option<&str>;

    /// The error for a value that is not as expected.
    fn refuse(&self, name: &str, value: &str, expected: &str) -> Self::Error;

    /// The error for a value of a declared option; a key is not shown.
    fn refuse_declared(&self, declaration: &OptionDeclaration, value: &str) -> Self::Error {
        let value = if declaration.is_secret { "(hidden)" } else { value };
        self.refuse(declaration.name, value, &declaration.expected())
    }

    /// The value of an option, or its default.
    ///
    /// # Errors
    /// A value that is not as declared.
    fn read<T: OptionValue>(&self, declaration: &OptionDeclaration) -> Result<T, Self::Error> {
        let default = declaration.default.text();
        let (value, text) = match self.text(declaration.name) {
            Some(text) if declaration.accepts(text) => (T::from_text(text), text),
            Some(text) => (None, text),
            None => match &default {
                Some(text) => (T::from_text(text), text.as_ref()),
                None => (T::unset(), ""),
            },
        };
        value.ok_or_else(|| self.refuse_declared(declaration, text))
    }
}
