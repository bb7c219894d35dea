//! Proof of a granted operation, which only the gate can construct.

/// Proof that the gate allowed an operation. Every function of the quorum that acts for a caller
/// takes one.
///
/// Only the gate can construct it. Code outside this crate has neither a constructor nor access to
/// the field, and inside the crate the constructor is visible to the module `gate` alone:
///
/// ```compile_fail,E0624
/// let permit = apus_store::gate::Permit::new();
/// ```
///
/// ```compile_fail,E0451
/// let permit = apus_store::gate::Permit { _constructed_by_gate: () };
/// ```
#[derive(Debug)]
pub struct Permit {
    _constructed_by_gate: (),
}

impl Permit {
    pub(super) fn new() -> Self {
        Self { _constructed_by_gate: () }
    }
}
