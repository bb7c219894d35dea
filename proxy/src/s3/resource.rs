//! The kinds of resources that a request can name.

/// The kind of resource that a request names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resource {
    /// The service: the list of buckets.
    Service,
    /// A bucket.
    Bucket,
    /// An object.
    Key,
}

impl Resource {
    /// AWS's name for it in error documents.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Service => "SERVICE",
            Self::Bucket => "BUCKET",
            Self::Key => "OBJECT",
        }
    }
}
