//! Errors of operations, independent of HTTP.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

/// The result of an operation.
pub type Result<T> = std::result::Result<T, Error>;

/// The subject of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// An account.
    Account,
    /// A container.
    Container,
    /// An object.
    Object,
    /// A version of an object.
    Version,
    /// A multipart upload.
    Upload,
    /// The request as a whole.
    Request,
}

/// The kind of an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// The name does not exist.
    NotFound,
    /// It was deleted, and its name cannot be used again yet.
    RecentlyDeleted,
    /// It exists and must not.
    AlreadyExists,
    /// It is not empty.
    NotEmpty,
    /// A newer or different version exists.
    Conflict,
    /// The request is invalid; the text has the reason.
    Invalid,
    /// Valid, but larger than allowed.
    TooLarge,
    /// A quota of the account or container has no room for it.
    QuotaExceeded,
    /// A condition of the request does not hold.
    PreconditionFailed,
    /// The condition shows that the client has the current version.
    NotModified,
    /// No range is within the object, which has this many bytes.
    RangeNotSatisfiable {
        /// Length of the object in bytes.
        size: u64,
    },
    /// The body does not match a digest that came with it.
    ChecksumMismatch,
    /// The operation needs a user, and the caller is anonymous.
    Unauthorized,
    /// The user has no right to the operation.
    Forbidden,
    /// The client disconnected or its body broke off.
    ClientGone,
    /// The client's body arrived too slowly.
    ClientTimeout,
    /// Too few nodes answered.
    Unavailable,
    /// The server has no capacity for the request; the client should retry later.
    Overloaded,
    /// The operation is not supported.
    NotSupported,
    /// A part of a multipart upload is missing or differs.
    InvalidPart,
    /// Parts are not in ascending order.
    InvalidPartOrder,
    /// A part other than the last is too small.
    PartTooSmall,
    /// It was applied to a symbolic link, and the client may have meant its target.
    IsLink,
    /// The version is a delete marker, which has no content.
    IsDeleteMarker,
    /// It is encrypted, and the key is missing, another one, or its description is damaged.
    Undecryptable,
    /// An object lock protects it.
    Locked,
    /// The account or the cluster is read-only.
    ReadOnly,
    /// Too many requests of the account or container; the client should slow down.
    RateLimited,
    /// The operator refuses all requests to the account.
    Blocked,
    /// The body itself failed; the cause has the dialect's reason.
    Body,
}

impl Kind {
    /// Whether a retry of the same request may succeed, since the error is caused by the state of
    /// the cluster and not by the request or the stored data.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Unavailable | Self::Overloaded | Self::RateLimited)
    }
}

/// An error of an operation.
#[derive(Debug, Clone)]
pub struct Error {
    /// The kind.
    pub kind: Kind,
    /// The subject.
    pub subject: Subject,
    /// Text for the client; empty for the default one.
    pub client_text: String,
    /// The object to which a condition applied, where the response has its headers; of a deleted
    /// object only the time.
    pub head: Option<Box<crate::operation::ObjectHead>>,
    /// The path of the target, percent-encoded, when the error is about the target of a link.
    pub location: Option<String>,
    /// The part of a multipart upload that the error is about.
    pub part: Option<Box<crate::operation::FaultyPart>>,
    /// The cause, for logs and for the dialect that knows its type.
    pub cause: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error without text and cause.
    pub fn new(kind: Kind, subject: Subject) -> Self {
        Self {
            kind,
            subject,
            client_text: String::new(),
            head: None,
            location: None,
            part: None,
            cause: None,
        }
    }

    /// Adds a text for the client.
    #[must_use]
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.client_text = text.into();
        self
    }

    /// Adds the cause: an error, or a text for the log.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.cause = Some(Arc::from(cause.into()));
        self
    }

    /// The cause, if it is of this type.
    pub fn cause_as<T: StdError + 'static>(&self) -> Option<&T> {
        self.cause.as_deref().and_then(|cause| cause.downcast_ref())
    }

    /// Whether a retry of the same request may succeed.
    pub fn is_temporary(&self) -> bool {
        self.kind.is_temporary()
    }

    /// Adds the part of an upload that the error is about.
    #[must_use]
    pub fn about_part(mut self, part: crate::operation::FaultyPart) -> Self {
        self.part = Some(Box::new(part));
        self
    }

    /// An invalid request.
    pub fn invalid(text: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, Subject::Request).text(text)
    }

    /// Too few nodes answered.
    pub fn unavailable(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new(Kind::Unavailable, Subject::Request).because(cause)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?}", self.subject, self.kind)?;
        if !self.client_text.is_empty() {
            write!(f, ": {}", self.client_text)?;
        }
        match &self.cause {
            Some(cause) => write!(f, " ({cause})"),
            None => Ok(()),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_keeps_its_cause_and_its_type() {
        let io = std::io::Error::other("reset");
        let error = Error::new(Kind::ClientGone, Subject::Request).because(io);
        assert_eq!(error.to_string(), "Request ClientGone (reset)");
        assert!(error.cause_as::<std::io::Error>().is_some() && error.source().is_some());
        assert!(error.cause_as::<fmt::Error>().is_none());
        let texts = Error::invalid("no such header").because("parsing");
        assert_eq!(texts.to_string(), "Request Invalid: no such header (parsing)");
        assert!(Error::new(Kind::NotFound, Subject::Object).source().is_none());
    }

    #[test]
    fn only_errors_of_the_cluster_are_temporary() {
        assert!(Error::unavailable("no answer").is_temporary());
        assert!(Kind::Overloaded.is_temporary());
        for kind in [Kind::NotFound, Kind::Conflict, Kind::Invalid, Kind::ClientTimeout] {
            assert!(!kind.is_temporary(), "{kind:?}");
        }
    }
}
