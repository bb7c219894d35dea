//! Permissions of requests: the actions of S3, policies that allow or deny them, and their evaluation.
//!
//! Nothing here does I/O: the authorizer of the proxy applies these rules. A document is compiled when
//! it is parsed. What cannot be evaluated is an error then, which names the element. `evaluate` is AWS's
//! order of decision for one document, `identity` for a caller's documents together with the bucket's,
//! `public` its definition of a public bucket policy.
//!
//! Source: the IAM User Guide (JSON policy element reference, evaluation logic) and the S3 User Guide
//! (condition keys, meaning of "public").
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

mod action;
mod arn;
mod condition;
pub mod document;
pub mod evaluate;
pub mod facts;
mod glob;
pub mod identity;
mod json;
pub mod permission;
pub mod principal;
mod public;
mod variables;

pub use document::{DocumentError, DocumentKind, PolicyDocument};
pub use evaluate::{PolicyOutcome, PolicyRequest};
pub use facts::{ConditionContext, ConditionValues};
pub use identity::{AccessDocuments, AccessOutcome, IdentityPolicies};
pub use permission::{Permission, PermissionScope};
pub use principal::PolicyCaller;
