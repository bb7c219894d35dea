//! S3 error codes, and the code of each failed operation.

use apus_cluster::constraints::S3_MIN_PART_SIZE;
use apus_store::encryption::EncryptionFault;
use apus_store::operation::FaultyPart;
use apus_store::{Error, Kind, Subject};

use super::body_error::PayloadHashMismatch;

/// The result of an S3 request.
pub(super) type Result<T> = std::result::Result<T, S3Error>;

macro_rules! codes {
    ($($code:ident $status:literal $message:literal,)*) => {
        /// The S3 error codes in use.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Code { $(#[doc = $message] $code,)* }

        impl Code {
            pub(super) fn name(self) -> &'static str {
                match self {
                    // The one name that is not a word.
                    Self::KmsNotFoundException => "KMS.NotFoundException",
                    $(#[allow(unreachable_patterns, reason = "the name above is one of them")]
                    Self::$code => stringify!($code),)*
                }
            }

            pub(super) fn status(self) -> u16 {
                match self { $(Self::$code => $status,)* }
            }

            fn message(self) -> &'static str {
                match self { $(Self::$code => $message,)* }
            }

            /// All codes.
            #[cfg(test)]
            pub(super) const ALL: &[Self] = &[$(Self::$code,)*];

            /// The code of this name.
            pub(super) fn named(name: &str) -> Option<Self> {
                match name { $(stringify!($code) => Some(Self::$code),)* _ => None }
            }
        }
    };
}

codes! {
    AccessControlListNotSupported 400 "The bucket does not allow ACLs",
    AccessDenied 403 "Access Denied",
    AuthorizationHeaderMalformed 400 "The authorization header is malformed.",
    AuthorizationQueryParametersError 400 "The authorization query parameters are not valid.",
    BadDigest 400 "The Content-MD5 you specified did not match what we received.",
    BucketAlreadyExists 409 "The requested bucket name is not available.",
    BucketAlreadyOwnedByYou 409 "Your previous request to create the named bucket succeeded and you already own it.",
    BucketNotEmpty 409 "The bucket you tried to delete is not empty.",
    ConditionalRequestConflict 409 "The conditional request cannot succeed due to a conflicting operation against this resource.",
    EntityTooLarge 400 "Your proposed upload exceeds the maximum allowed object size.",
    EntityTooSmall 400 "Your proposed upload is smaller than the minimum allowed object size.",
    IllegalVersioningConfigurationException 400 "The versioning configuration specified in the request is invalid.",
    IncompleteBody 400 "You did not provide the number of bytes specified by the Content-Length HTTP header.",
    InternalError 500 "We encountered an internal error. Please try again.",
    InvalidAccessKeyId 403 "The AWS access key ID that you provided does not exist in our records.",
    InvalidArgument 400 "Invalid Argument",
    InvalidBucketAclWithObjectOwnership 400 "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting",
    InvalidBucketName 400 "The specified bucket is not valid.",
    InvalidBucketState 409 "The request is not valid with the current state of the bucket.",
    InvalidDigest 400 "The Content-MD5 you specified was invalid.",
    InvalidEncryptionAlgorithmError 400 "The encryption request that you specified is not valid. The valid value is AES256.",
    InvalidObjectState 403 "The operation is not valid for the object's storage class",
    InvalidPart 400 "One or more of the specified parts could not be found. The part might not have been uploaded, or the specified entity tag might not have matched the part's entity tag.",
    InvalidPartOrder 400 "The list of parts was not in ascending order. The parts list must be specified in order by part number.",
    InvalidPolicyDocument 400 "The content of the form does not meet the conditions specified in the policy document.",
    InvalidRange 416 "The requested range is not satisfiable",
    InvalidRequest 400 "Invalid Request",
    InvalidTag 400 "The tag provided was not a valid tag. This error can occur if the tag did not pass input validation.",
    InvalidRetentionPeriod 400 "The retention period specified in the request is not valid.",
    InvalidStorageClass 400 "The storage class that you specified is not valid.",
    InvalidTargetBucketForLogging 400 "The target bucket for logging does not exist",
    InvalidToken 400 "The provided token is malformed or otherwise not valid.",
    InvalidURI 400 "The specified URI couldn't be parsed.",
    KeyTooLongError 400 "Your key is too long",
    KmsNotFoundException 400 "The key of the key management service does not exist.",
    MalformedACLError 400 "The ACL that you provided was not well formed or did not validate against our published schema.",
    MalformedTrailerError 400 "The request contained trailing data that was not well-formed or did not conform to our published schema.",
    MalformedPolicy 400 "This policy contains invalid Json",
    MalformedXML 400 "The XML that you provided was not well formed or did not validate against our published schema.",
    MalformedPOSTRequest 400 "The body of your POST request is not well-formed multipart/form-data.",
    MaxPostPreDataLengthExceeded 400 "Your POST request fields preceding the upload file were too large.",
    MetadataTooLarge 400 "Your metadata headers exceed the maximum allowed metadata size.",
    MethodNotAllowed 405 "The specified method is not allowed against this resource.",
    MissingContentLength 411 "You must provide the Content-Length HTTP header.",
    MissingSecurityHeader 400 "Your request was missing a required header.",
    NoSuchBucket 404 "The specified bucket does not exist",
    NoSuchKey 404 "The specified key does not exist.",
    NoSuchUpload 404 "The specified multipart upload does not exist. The upload ID might be invalid, or the multipart upload might have been aborted or completed.",
    NoSuchVersion 404 "The version ID specified in the request does not match an existing version.",
    NotImplemented 501 "A header you provided implies functionality that is not implemented.",
    NotModified 304 "Not Modified",
    OperationAborted 409 "A conflicting conditional action is currently in progress against this resource. Try again.",
    PreconditionFailed 412 "At least one of the preconditions that you specified did not hold.",
    QuotaExceeded 403 "The quota of the bucket or of its account has no room for the object.",
    RequestTimeTooSkewed 403 "The difference between the request time and the server's time is too large.",
    RequestTimeout 400 "Your socket connection to the server was not read from or written to within the timeout period.",
    ServiceUnavailable 503 "Service is unable to handle request.",
    SignatureDoesNotMatch 403 "The request signature we calculated does not match the signature you provided. Check your key and signing method.",
    SlowDown 503 "Please reduce your request rate.",
    UnexpectedContent 400 "This request does not support content.",
    UnresolvableGrantByEmailAddress 400 "The email address you provided does not match any account on record.",
    UserKeyMustBeSpecified 400 "The key of an object must be specified.",
    XAmzContentSHA256Mismatch 400 "The provided 'x-amz-content-sha256' header does not match what was computed.",
    AccessForbidden 403 "CORSResponse: CORS is not enabled for this bucket.",
    BadRequest 400 "Bad Request",
    MetadataConfigurationNotFound 404 "The metadata configuration does not exist.",
    NoSuchBucketPolicy 404 "The bucket policy does not exist",
    NoSuchConfiguration 404 "The specified configuration does not exist.",
    NoSuchCORSConfiguration 404 "The CORS configuration does not exist",
    NoSuchLifecycleConfiguration 404 "The lifecycle configuration does not exist",
    NoSuchObjectLockConfiguration 404 "The specified object does not have a ObjectLock configuration",
    NoSuchPublicAccessBlockConfiguration 404 "The public access block configuration was not found",
    NoSuchTagSet 404 "The TagSet does not exist",
    NoSuchWebsiteConfiguration 404 "The specified bucket does not have a website configuration",
    ObjectLockConfigurationNotFoundError 404 "Object Lock configuration does not exist for this bucket",
    OwnershipControlsNotFoundError 404 "The bucket ownership controls were not found",
    ReplicationConfigurationNotFoundError 404 "The replication configuration was not found",
    ServerSideEncryptionConfigurationNotFoundError 404 "The server side encryption configuration was not found",
}

/// The text for a request without a signature that is not allowed to all.
const ANONYMOUS_REFUSAL: &str =
    "Access Denied: the request is not signed, and what it asks for is not allowed to all";

/// An error of an S3 request.
#[derive(Debug, Clone)]
pub(super) struct S3Error {
    pub(super) code: Code,
    pub(super) message: String,
    pub(super) extra: Vec<(&'static str, String)>,
    pub(super) source: Option<Box<Error>>,
}

impl S3Error {
    pub(super) fn new(code: Code) -> Self {
        Self { code, message: code.message().to_owned(), extra: Vec::new(), source: None }
    }

    pub(super) fn text(mut self, text: impl Into<String>) -> Self {
        self.message = text.into();
        self
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.extra.push((name, value.into()));
        self
    }

    /// Names the header or parameter that is not valid.
    pub(super) fn argument(self, name: &str, value: &str) -> Self {
        self.with("ArgumentName", name).with("ArgumentValue", value)
    }

    /// Names a part of an upload.
    fn about(self, part: &FaultyPart) -> Self {
        let sizes = part.size.filter(|_| self.code == Code::EntityTooSmall);
        let own = match sizes {
            Some(size) => self
                .with("ProposedSize", size.to_string())
                .with("MinSizeAllowed", S3_MIN_PART_SIZE.to_string()),
            None => self,
        };
        let own = own.with("PartNumber", part.number.to_string());
        match part.etag.is_empty() {
            true => own,
            false => own.with("ETag", part.etag.clone()),
        }
    }
}

/// The code of a failure of encryption.
fn encryption_code(fault: &EncryptionFault) -> Code {
    match fault {
        EncryptionFault::KeyNeeded
        | EncryptionFault::OtherKey
        | EncryptionFault::PartKeyNeeded
        | EncryptionFault::PartKeyUnexpected => Code::InvalidRequest,
        EncryptionFault::NoKmsKey => Code::InvalidArgument,
        EncryptionFault::UnknownKmsKey(_) => Code::KmsNotFoundException,
        EncryptionFault::NoRootSecret => Code::NotImplemented,
        EncryptionFault::LostKey(_) | EncryptionFault::WrongKey | EncryptionFault::Damaged(_) => {
            Code::InternalError
        }
    }
}

impl From<Error> for S3Error {
    fn from(error: Error) -> Self {
        let code = match (&error.kind, error.subject) {
            (Kind::NotFound, Subject::Container | Subject::Account) => Code::NoSuchBucket,
            (Kind::NotFound, Subject::Upload) => Code::NoSuchUpload,
            (Kind::NotFound, Subject::Version) => Code::NoSuchVersion,
            (Kind::IsDeleteMarker, _) => Code::MethodNotAllowed,
            (Kind::NotFound, Subject::Object | Subject::Request) => Code::NoSuchKey,
            (Kind::Locked, Subject::Container) => Code::InvalidBucketState,
            (Kind::Locked, _) => Code::AccessDenied,
            (Kind::RecentlyDeleted, _) => Code::AccessDenied,
            (Kind::AlreadyExists, _) => Code::BucketAlreadyExists,
            (Kind::NotEmpty, _) => Code::BucketNotEmpty,
            (Kind::Conflict, Subject::Container) => Code::BucketAlreadyExists,
            (Kind::Conflict, Subject::Object) => Code::ConditionalRequestConflict,
            (Kind::Conflict, _) => Code::OperationAborted,
            (Kind::Invalid, Subject::Upload) => Code::MalformedXML,
            (Kind::Invalid, _) => Code::InvalidArgument,
            (Kind::TooLarge, _) => Code::EntityTooLarge,
            (Kind::QuotaExceeded, _) => Code::QuotaExceeded,
            (Kind::PreconditionFailed, _) => Code::PreconditionFailed,
            (Kind::NotModified, _) => Code::NotModified,
            (Kind::RangeNotSatisfiable { .. }, _) => Code::InvalidRange,
            (Kind::ChecksumMismatch, _) => Code::BadDigest,
            (Kind::Unauthorized | Kind::Forbidden, _) => Code::AccessDenied,
            (Kind::ClientGone, _) => Code::IncompleteBody,
            (Kind::ClientTimeout, _) => Code::RequestTimeout,
            (Kind::Unavailable, _) => Code::ServiceUnavailable,
            (Kind::Overloaded | Kind::RateLimited, _) => Code::SlowDown,
            (Kind::ReadOnly, _) => Code::MethodNotAllowed,
            (Kind::Blocked, _) => Code::AccessDenied,
            (Kind::Undecryptable, _) => Code::InternalError,
            (Kind::NotSupported | Kind::IsLink, _) => Code::NotImplemented,
            (Kind::InvalidPart, _) => Code::InvalidPart,
            (Kind::InvalidPartOrder, _) => Code::InvalidPartOrder,
            (Kind::PartTooSmall, _) => Code::EntityTooSmall,
            // Wrappers of the body name the code in the text.
            (Kind::Body, _) => {
                let name = error.client_text.split(": ").next().unwrap_or_default();
                Code::named(name).unwrap_or(Code::IncompleteBody)
            }
        };
        let mut own = Self::new(code);
        let has_text = matches!(error.kind, Kind::Invalid | Kind::ReadOnly | Kind::Blocked);
        if has_text && !error.client_text.is_empty() {
            own.message.clone_from(&error.client_text);
        }
        if let (Kind::Body, Some((_, message))) = (&error.kind, error.client_text.split_once(": "))
        {
            own.message = message.to_owned();
        }
        if error.kind == Kind::Locked && code == Code::AccessDenied {
            own.message = "Access Denied because object protected by object lock.".to_owned();
        }
        if error.kind == Kind::Unauthorized {
            own.message = ANONYMOUS_REFUSAL.to_owned();
        }
        if let Some(fault) = error.cause_as::<EncryptionFault>() {
            own.message = fault.to_string();
            own.code = encryption_code(fault);
        }
        if let Kind::RangeNotSatisfiable { size } = error.kind {
            own = own.with("ActualObjectSize", size.to_string());
        }
        let mismatch = error.cause.as_ref().and_then(|cause| cause.downcast_ref());
        if let Some(PayloadHashMismatch { declared, computed }) = mismatch {
            own = own.with("ClientComputedContentSHA256", declared.clone());
            own = own.with("S3ComputedContentSHA256", computed.clone());
        }
        if let Some(part) = &error.part {
            own = own.about(part);
        }
        own.source = Some(Box::new(error));
        own
    }
}
