//! Messages to and from account servers.

mod address;
mod change;
mod description;
mod read;
mod row;
#[cfg(test)]
mod tests;

pub use address::AccountAddress;
pub use change::{ChangeAccountRequest, ChangeVerb};
pub use description::{AbsentAccount, AccountDescription, PolicyUsage};
pub use read::ReadAccountRequest;
pub use row::ContainerRowRequest;
