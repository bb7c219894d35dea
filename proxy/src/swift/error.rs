//! Refusals of the Swift API, and the status of each failed operation.

use apus_store::operation::ObjectHead;
use apus_store::{Error, Kind, Subject};
use http::StatusCode;

/// The result of a Swift request.
pub(super) type Result<T> = std::result::Result<T, SwiftError>;

/// The reason why a request did not succeed.
#[derive(Debug)]
pub(super) enum SwiftError {
    /// An operation failed.
    Operation(Box<Error>),
    /// The dialect refuses the request.
    Refused(Box<Refusal>),
    /// A joined object has no part of the number that was asked for.
    NoSuchPart {
        /// The object.
        head: Box<ObjectHead>,
        /// The body of the response.
        text: &'static str,
    },
}

/// A refusal with its status, text and headers.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    /// A line of text; when it is empty, the page of the status is sent.
    pub(super) text: String,
    /// Whether the text is labelled as HTML, as Swift's own texts are.
    pub(super) is_html: bool,
    pub(super) headers: Vec<(&'static str, String)>,
}

impl SwiftError {
    /// A refusal with a line of plain text, or the page of its status.
    pub(super) fn refused(status: StatusCode, text: impl Into<String>) -> Self {
        let refusal = Refusal { status, text: text.into(), is_html: false, headers: Vec::new() };
        Self::Refused(Box::new(refusal))
    }

    /// A refusal with a text of Swift's that is labelled as HTML. The text must not repeat what the
    /// client sent.
    pub(super) fn refused_as_html(status: StatusCode, text: impl Into<String>) -> Self {
        let refusal = Refusal { status, text: text.into(), is_html: true, headers: Vec::new() };
        Self::Refused(Box::new(refusal))
    }

    /// The same refusal with another header.
    #[must_use]
    pub(super) fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        if let Self::Refused(refusal) = &mut self {
            refusal.headers.push((name, value.into()));
        }
        self
    }

    /// The status of the response.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Operation(error) => status_of(error),
            Self::Refused(refusal) => refusal.status,
            Self::NoSuchPart { .. } => StatusCode::RANGE_NOT_SATISFIABLE,
        }
    }
}

impl From<Error> for SwiftError {
    fn from(error: Error) -> Self {
        Self::Operation(Box::new(error))
    }
}

/// The status of a failed operation.
pub(super) fn status_of(error: &Error) -> StatusCode {
    match error.kind {
        Kind::RecentlyDeleted => StatusCode::GONE,
        Kind::NotFound | Kind::IsDeleteMarker => StatusCode::NOT_FOUND,
        Kind::AlreadyExists | Kind::NotEmpty | Kind::Conflict => StatusCode::CONFLICT,
        Kind::Invalid | Kind::InvalidPart | Kind::InvalidPartOrder | Kind::PartTooSmall => {
            StatusCode::BAD_REQUEST
        }
        Kind::TooLarge | Kind::QuotaExceeded => StatusCode::PAYLOAD_TOO_LARGE,
        Kind::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
        Kind::IsLink => StatusCode::TEMPORARY_REDIRECT,
        Kind::NotModified => StatusCode::NOT_MODIFIED,
        Kind::RangeNotSatisfiable { .. } => StatusCode::RANGE_NOT_SATISFIABLE,
        Kind::ChecksumMismatch => StatusCode::UNPROCESSABLE_ENTITY,
        Kind::Unauthorized => StatusCode::UNAUTHORIZED,
        Kind::Locked if error.subject == Subject::Container => StatusCode::CONFLICT,
        Kind::Forbidden | Kind::Locked => StatusCode::FORBIDDEN,
        Kind::ClientGone | Kind::Body => {
            StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST)
        }
        Kind::ReadOnly => StatusCode::METHOD_NOT_ALLOWED,
        Kind::Blocked => StatusCode::from_u16(497).unwrap_or(StatusCode::FORBIDDEN),
        Kind::RateLimited => StatusCode::from_u16(498).unwrap_or(StatusCode::TOO_MANY_REQUESTS),
        Kind::ClientTimeout => StatusCode::REQUEST_TIMEOUT,
        Kind::Unavailable | Kind::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Undecryptable => StatusCode::INTERNAL_SERVER_ERROR,
        Kind::NotSupported => StatusCode::NOT_IMPLEMENTED,
    }
}
