//! Messages to and from container servers.

mod address;
mod delete;
mod description;
mod post;
mod put;
mod read;
mod redirect;
mod row;
#[cfg(test)]
mod tests;
mod update;

pub use address::ContainerAddress;
pub use delete::DeleteContainerRequest;
pub use description::{ContainerDescription, ContainerTimes, ListingContents};
pub use post::PostContainerRequest;
pub use put::{ContainerPolicy, PutContainerRequest};
pub use read::{ListingFormat, ReadContainerRequest, RecordType};
pub use redirect::RowRedirect;
pub use row::{ObjectRowRequest, RowHeaders, RowVerb};
pub use update::UpdateRowsRequest;
