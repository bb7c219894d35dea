//! The operations and their replies.

mod account;
mod bucket;
mod container;
mod link;
mod object;
mod queue;
mod settings;
mod upload;
mod version;
mod write_conditions;

pub use account::{
    AccountHead, Authorize, ContainerList, DeleteAccount, HeadAccount, ListContainers, PostAccount,
    PutAccount,
};
pub use bucket::{CreateBucket, CreatedBucket, FindBucket};
pub use container::{
    ContainerHead, DeleteContainer, HeadContainer, ListObjects, ObjectList, Page, PostContainer,
    PutContainer,
};
pub use link::{LinkTarget, PutSymlink};
pub use object::{
    Conditions, CopyBody, CopyObject, DeleteObject, Deleted, FailedDeletion, GetObject, HeadObject,
    ObjectHead, ObjectRead, ObjectWritten, PartHead, PartsPage, PostObject, PutManifest, PutObject,
    QueueDeletions, Segment, SegmentFate, Served,
};
pub use queue::{QueueRow, UpdateQueue};
pub use settings::{SettingChange, UpdateObject};
pub use upload::{
    AbortUpload, CompleteUpload, CompletedPart, CreateUpload, FaultyPart, ListParts, ListUploads,
    Part, PartCheck, PartList, PutPart, PutPartCopy, Seal, StartedUpload, Upload, UploadList,
};
pub use version::{
    ARCHIVE_CONTAINER, ARCHIVE_MODE, ListVersions, ListedVersion, RestoreVersion,
    VERSIONS_CONTAINER, VERSIONS_ENABLED, VersionEntry, VersionId, VersionList, Versioning,
};
pub use write_conditions::{LockCheck, WriteConditions};
