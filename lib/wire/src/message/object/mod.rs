//! Messages to and from object servers.

mod absent;
mod address;
mod conditions;
mod delete;
mod fence;
mod partition;
mod post;
mod put;
mod read;
mod repair;
mod reserve;
mod rows;
mod stored;
#[cfg(test)]
mod tests;
mod version;
mod write_reply;

pub use absent::AbsentObject;
pub use address::ObjectAddress;
pub use conditions::ReadConditions;
pub use delete::DeleteObjectRequest;
pub use fence::WriteFence;
pub use partition::{
    PartitionAddress, ReplicatePartitionRequest, ReplicatePurpose, ReplicateReply, SsyncReply,
    SsyncRequest,
};
pub use post::PostObjectRequest;
pub use put::{PutFraming, PutObjectRequest};
pub use read::{ReadObjectRequest, ReadVerb};
pub use repair::RepairRequest;
pub use reserve::{ReleaseRequest, ReserveReply, ReserveRequest};
pub use rows::{ObjectRowTargets, QueueTargets};
pub use stored::{ServedBody, StoredObject};
pub use version::ObjectVersion;
pub use write_reply::ObjectWriteReply;
