//! An authenticated S3 request, and the names and parameters in it.

use std::sync::Arc;

use apus_cluster::constraints::S3_MAX_KEY_LENGTH;
use apus_cluster::{AccountName, ClientName, ContainerName, ContainerPath, ObjectPath, percent};
use apus_daemon::Body;
use apus_daemon::http::header;
use apus_store::access::Identity;
use apus_store::operation::VersionId;
use apus_store::{Consistency, Context};

use super::acl::BucketOwner;
use super::error::{Code, Result, S3Error};
use super::operation::Operation;
use super::sign::Payload;
use super::{address, object};
use crate::config::ProxyConfig;
use crate::deps::ProxyDeps;

/// A request whose signature has been verified.
pub(super) struct S3Request {
    pub(super) operation: Operation,
    pub(super) head: http::request::Parts,
    pub(super) body: Body,
    pub(super) payload: Payload,
    pub(super) query: Vec<(String, String)>,
    /// The account of the bucket.
    pub(super) account: AccountName,
    /// The account of the bucket that a copy reads.
    pub(super) source_account: Option<AccountName>,
    pub(super) bucket: Option<String>,
    pub(super) key: Option<String>,
    pub(super) cx: Context,
    /// The owner of the bucket, as it is shown.
    pub(super) owner: String,
}

impl S3Request {
    /// A header as text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        header(&self.head.headers, name)
    }

    /// A query parameter; the first of several with one name.
    pub(super) fn param(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The name of the bucket; empty without one.
    pub(super) fn bucket(&self) -> &str {
        self.bucket.as_deref().unwrap_or_default()
    }

    /// The key of the object; empty without one.
    pub(super) fn key(&self) -> &str {
        self.key.as_deref().unwrap_or_default()
    }

    /// The container that the bucket is.
    pub(super) fn container(&self) -> Result<ContainerPath> {
        let name = self.bucket();
        if !address::may_be_bucket(name) {
            return Err(address::invalid_bucket_name(name));
        }
        let name = ContainerName::parse(name).map_err(|_| address::invalid_bucket_name(name))?;
        Ok(ContainerPath::new(self.account.clone(), name))
    }

    /// The object in the bucket.
    pub(super) fn object(&self) -> Result<ObjectPath> {
        object_named(&self.container()?, self.key())
    }

    /// The URL of the object: below the cluster's public URL, or else in the style in which the
    /// request names its bucket.
    pub(super) fn location(&self, config: &ProxyConfig) -> String {
        let headers = &self.head.headers;
        let base = config.public_url.base(headers).unwrap_or_default();
        let key = percent::encode_path(self.key());
        match address::bucket_of_host(headers, &config.storage_domains) {
            Some(_) if !config.public_url.is_set() => format!("{base}/{key}"),
            _ => format!("{base}/{}/{key}", percent::encode_path(self.bucket())),
        }
    }

    /// The version that the request names, if any.
    pub(super) fn version(&self) -> Result<Option<VersionId>> {
        self.param("versionId").map(parse_version).transpose()
    }

    /// The owners of buckets that the caller expects, each with the name of its header.
    pub(super) fn expected_owners(&self) -> Result<Vec<ExpectedOwner>> {
        let mut found = Vec::new();
        let mut add = |header: &'static str, container: Option<ContainerPath>| {
            let Some(container) = container else { return };
            for value in self.head.headers.get_all(header) {
                let (container, id) = (container.clone(), value.as_bytes().to_owned());
                found.push(ExpectedOwner { header, container, id });
            }
        };
        add(EXPECTED_OWNER, self.bucket.as_ref().and_then(|_| self.container().ok()));
        let copies = matches!(self.operation, Operation::CopyObject | Operation::UploadPartCopy);
        if copies && self.head.headers.contains_key(EXPECTED_SOURCE_OWNER) {
            let source = object::copy::source(self)?.head.object.container;
            add(EXPECTED_SOURCE_OWNER, Some(source));
        }
        Ok(found)
    }
}

const EXPECTED_OWNER: &str = "x-amz-expected-bucket-owner";
const EXPECTED_SOURCE_OWNER: &str = "x-amz-source-expected-bucket-owner";

/// The owner that the caller expects a bucket to have.
pub(super) struct ExpectedOwner {
    header: &'static str,
    container: ContainerPath,
    id: Vec<u8>,
}

impl ExpectedOwner {
    /// Refuses a bucket of another owner: the canonical id is that of the owner, or of its account.
    /// That a bucket does not exist is reported by the operation.
    pub(super) async fn check(self, deps: &ProxyDeps, cx: &Context) -> Result<()> {
        let Self { header, container, id } = self;
        let owner = match (BucketOwner { cx, container: &container }).id(deps).await {
            Err(error) if error.code == Code::NoSuchBucket => return Ok(()),
            owner => owner?,
        };
        match id == owner.as_bytes() || id == container.account.as_str().as_bytes() {
            true => Ok(()),
            false => Err(S3Error::new(Code::AccessDenied)
                .text(format!("Access Denied: the bucket's owner is not the one of {header}"))),
        }
    }
}

/// The owner of the buckets of an account, as it is shown: to callers of that account their own name,
/// as in Swift, and to others the account.
pub(super) fn owner(
    identity: &Identity,
    own: Option<&AccountName>,
    account: &AccountName,
) -> String {
    match &identity.user {
        Some(user) if own == Some(account) => user.clone(),
        _ => account.to_string(),
    }
}

/// A version id in a request.
pub(super) fn parse_version(id: &str) -> Result<VersionId> {
    VersionId::parse(id).ok_or_else(|| {
        let text = match id.is_empty() {
            true => "Version id cannot be the empty string",
            false => "Invalid version id specified",
        };
        S3Error::new(Code::InvalidArgument).text(text).argument("versionId", id)
    })
}

/// The context of a request of this caller.
pub(super) fn context(trans_id: Arc<str>, identity: Identity) -> Context {
    Context { consistency: Consistency::Strong, ..Context::client(identity, trans_id) }
}

/// The object with this key: at most 1,024 bytes, and without NUL, with which the cluster's own
/// names begin.
pub(super) fn object_named(container: &ContainerPath, key: &str) -> Result<ObjectPath> {
    if key.len() > S3_MAX_KEY_LENGTH {
        return Err(S3Error::new(Code::KeyTooLongError)
            .with("Size", key.len().to_string())
            .with("MaxSizeAllowed", S3_MAX_KEY_LENGTH.to_string()));
    }
    let invalid = |text: &str| S3Error::new(Code::InvalidArgument).text(text).argument("Key", key);
    let name = ClientName::plain(key)
        .and_then(|name| name.object())
        .map_err(|error| invalid(&format!("Key: {error}")))?;
    Ok(container.object(name))
}

impl S3Request {
    /// A request of the user `a:u` whose signature is not verified, for tests and fuzzing.
    pub(super) fn unverified(operation: Operation, head: http::request::Parts) -> Result<Self> {
        let address = address::parse(&head, &[])?;
        let account =
            AccountName::parse("AUTH_a").map_err(|_| S3Error::new(Code::InternalError))?;
        let identity = Identity { user: Some("a:u".to_owned()), ..Identity::default() };
        let cx = context("tx".into(), identity);
        Ok(Self {
            operation,
            query: address::query(head.uri.query().unwrap_or_default())?,
            head,
            body: Body::default(),
            payload: Payload::Unsigned,
            account,
            source_account: None,
            bucket: address.bucket,
            key: address.key,
            cx,
            owner: "a:u".to_owned(),
        })
    }
}

#[cfg(test)]
impl S3Request {
    /// A read of the user `a:u`.
    pub(super) fn example(method: &str, uri: &str, headers: &[(&str, &str)]) -> Self {
        let mut request = http::Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        Self::unverified(Operation::GetObject, head).unwrap()
    }
}
