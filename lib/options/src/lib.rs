//! Declarations of configuration options: each option is declared once.
//!
//! From a declaration come the reading with its errors, the sample files in `etc/`, the page
//! `docs/reference/options.md`, `apus config check` and `apus config show`. A struct of options is declared
//! with [`options!`] where it is used; `FileDeclaration`s say in which sections of which files its options are
//! read. No I/O here.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

mod check;
mod declaration;
mod file;
mod nearest;
mod page;
mod sample;
mod source;
mod swift;
mod value;

pub use check::{GivenOption, OptionFinding, OptionProblem, check};
pub use declaration::{
    OptionDeclaration, OptionDefault, OptionKind, address, choice, family, flag, ip, list, number,
    path, port, size, text, whole,
};
pub use file::{FileDeclaration, OptionLookup, SectionDeclaration};
pub use nearest::nearest;
pub use page::page;
pub use sample::sample;
pub use source::OptionSource;
pub use swift::{SwiftFile, swift_file};
pub use value::{OptionValue, flag_value};

/// Declares a struct of options. A field is an option: its name, type, default, and as its doc comment the
/// sentence of samples and documents.
///
/// ```
/// use apus_options::{OptionSource, options, whole};
/// options! {
///     /// Options of `[ticker]`.
///     #[derive(Debug)]
///     pub struct TickerOptions {
///         /// Time between two ticks.
///         pub interval: u64 = whole(30).unit("seconds").from(1),
///     }
/// }
/// # struct Given;
/// # impl OptionSource for Given {
/// #     type Error = String;
/// #     fn text(&self, name: &str) -> Option<&str> { (name == "interval").then_some("0") }
/// #     fn refuse(&self, name: &str, value: &str, expected: &str) -> String {
/// #         format!("{name} = {value}: expected {expected}")
/// #     }
/// # }
/// let error = TickerOptions::read(&Given).unwrap_err();
/// assert_eq!(error, "interval = 0: expected whole seconds from 1");
/// assert_eq!(TickerOptions::OPTIONS[0].sentence(), "Time between two ticks.");
/// ```
#[macro_export]
macro_rules! options {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident {
            $(
                $(#[doc = $doc:literal])+
                $field_vis:vis $field:ident: $type:ty = $declaration:expr
            ),* $(,)?
        }
    ) => {
        $(#[$meta])*
        $vis struct $name {
            $( $(#[doc = $doc])+ $field_vis $field: $type, )*
        }

        impl $name {
            /// The declarations of the options, in the order of the fields.
            pub const OPTIONS: &'static [$crate::OptionDeclaration] = &[
                $( $declaration.named(stringify!($field)).explained(concat!($($doc),+)), )*
            ];

            /// Reads the options.
            ///
            /// # Errors
            /// An option whose value is not as declared.
            pub fn read<S: $crate::OptionSource>(source: &S) -> Result<Self, S::Error> {
                Ok(Self {
                    $( $field: {
                        const DECLARATION: $crate::OptionDeclaration =
                            $declaration.named(stringify!($field));
                        source.read(&DECLARATION)?
                    }, )*
                })
            }
        }
    };
}
