//! What can go wrong with an operation, without HTTP.

use std::fmt;

/// The result of an operation.
pub type Result<T> = std::result::Result<T, Error>;

/// What the error is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// An account.
    Account,
    /// A container.
    Container,
    /// An object.
    Object,
    /// A multipart upload.
    Upload,
    /// The request as a whole.
    Request,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// There is none of this name.
    NotFound,
    /// It was deleted and its name is not free yet.
    RecentlyDeleted,
    /// It is there already and must not be.
    AlreadyExists,
    /// It is not empty.
    NotEmpty,
    /// Something newer or different is in the way.
    Conflict,
    /// The request makes no sense; the text says why.
    Invalid,
    /// Valid, but more than allowed.
    TooLarge,
    /// A condition of the request does not hold.
    PreconditionFailed,
    /// A condition says that the client has it already.
    NotModified,
    /// No range lies in the object, which has this many bytes.
    RangeNotSatisfiable {
        /// Length of the object in bytes.
        size: u64,
    },
    /// The body does not match a digest that came with it.
    ChecksumMismatch,
    /// Nobody is signed in and the operation needs somebody.
    Unauthorized,
    /// Somebody is signed in and may not.
    Forbidden,
    /// The client went away or its body broke off.
    ClientGone,
    /// The client's body took too long.
    ClientTimeout,
    /// Too few nodes answered.
    Unavailable,
    /// There is more to do than there is room for: come back later.
    Overloaded,
    /// We do not do this.
    NotSupported,
    /// A part of a multipart upload is missing or differs.
    InvalidPart,
    /// Parts are not in ascending order.
    InvalidPartOrder,
    /// A part other than the last is too small.
    PartTooSmall,
    /// It was done to a symbolic link, and the client may have meant what that leads to.
    IsLink,
    /// The body itself failed for a reason that only the dialect knows.
    Body,
}

/// An error of an operation.
#[derive(Debug, Clone)]
pub struct Error {
    /// What went wrong.
    pub kind: Kind,
    /// With what.
    pub subject: Subject,
    /// Words for the client; empty for the usual ones.
    pub client_text: String,
    /// Words for the log.
    pub cause: String,
    /// The object that a condition was about, where the answer shows its headers; of an object that
    /// was deleted its time alone.
    pub head: Option<Box<crate::operation::ObjectHead>>,
    /// The path it is about, percent-encoded, when a link was followed there or leads there.
    pub location: Option<String>,
    /// The part of a multipart upload that it is about.
    pub part: Option<Box<crate::operation::FaultyPart>>,
}

impl Error {
    /// An error without words of its own.
    pub fn new(kind: Kind, subject: Subject) -> Self {
        Self {
            kind,
            subject,
            client_text: String::new(),
            cause: String::new(),
            head: None,
            location: None,
            part: None,
        }
    }

    /// The same with words for the client.
    #[must_use]
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.client_text = text.into();
        self
    }

    /// The same with words for the log.
    #[must_use]
    pub fn because(mut self, cause: impl fmt::Display) -> Self {
        self.cause = cause.to_string();
        self
    }

    /// The same about one part of an upload.
    #[must_use]
    pub fn about_part(mut self, part: crate::operation::FaultyPart) -> Self {
        self.part = Some(Box::new(part));
        self
    }

    /// A request that makes no sense.
    pub fn invalid(text: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, Subject::Request).text(text)
    }

    /// Too few nodes.
    pub fn unavailable(cause: impl fmt::Display) -> Self {
        Self::new(Kind::Unavailable, Subject::Request).because(cause)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?}", self.subject, self.kind)?;
        if !self.client_text.is_empty() {
            write!(f, ": {}", self.client_text)?;
        }
        if !self.cause.is_empty() {
            write!(f, " ({})", self.cause)?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}
