//! The S3 API: parse, perform, render. A translation and nothing else.

mod address;
mod bucket;
mod checksum;
mod chunked;
mod error;
mod listing;
mod object;
mod route;
mod sign;
mod upload;
mod xml;

use std::sync::Arc;

use apus_cluster::constraints::S3_MAX_KEY_LENGTH;
use apus_cluster::{AccountName, ContainerName, ContainerPath, ObjectName, ObjectPath};
use apus_daemon::Body;
use apus_daemon::http::{header, set};
use apus_store::access::Identity;
use apus_store::{Authority, Consistency, Context};
use http::{Method, Request, Response};

use self::address::Address;
use self::error::{Code, S3Error};
use self::route::Operation;
use self::sign::{Payload, Signed};
use crate::edge::Parts;

/// An answer.
type Reply = Response<Body>;
type Result<T> = std::result::Result<T, S3Error>;

/// The dialect.
#[derive(Debug)]
pub(crate) struct S3 {
    parts: Parts,
}

/// A request whose sender is known.
struct S3Request {
    operation: Operation,
    head: http::request::Parts,
    body: Body,
    payload: Payload,
    query: Vec<(String, String)>,
    account: AccountName,
    bucket: Option<String>,
    key: Option<String>,
    cx: Context,
    owner: String,
    anonymous: bool,
}

impl S3Request {
    fn header(&self, name: &str) -> Option<&str> {
        header(&self.head.headers, name)
    }

    fn param(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn container(&self) -> Result<ContainerPath> {
        let name = self.bucket.as_deref().unwrap_or_default();
        if !address::may_be_bucket(name) {
            return Err(S3Error::new(Code::InvalidBucketName).with("BucketName", name));
        }
        let name = ContainerName::parse(name).map_err(|_| S3Error::new(Code::InvalidBucketName))?;
        Ok(ContainerPath::new(self.account.clone(), name))
    }

    fn object(&self) -> Result<ObjectPath> {
        let key = self.key.as_deref().unwrap_or_default();
        object_named(&self.container()?, key)
    }
}

/// A key of at most 1,024 bytes that no client is kept from naming in a path: without NUL, which
/// names of the cluster's own begin with.
fn object_named(container: &ContainerPath, key: &str) -> Result<ObjectPath> {
    if key.len() > S3_MAX_KEY_LENGTH {
        return Err(S3Error::new(Code::KeyTooLongError)
            .with("Size", key.len().to_string())
            .with("MaxSizeAllowed", S3_MAX_KEY_LENGTH.to_string()));
    }
    let invalid = |text: &str| S3Error::new(Code::InvalidArgument).text(text).argument("Key", key);
    if key.contains('\0') {
        return Err(invalid("A key must not hold the character NUL"));
    }
    let name = ObjectName::parse(key).map_err(|error| invalid(&format!("Key: {error}")))?;
    Ok(container.object(name))
}

impl S3 {
    pub(crate) fn new(parts: Parts) -> Self {
        Self { parts }
    }

    /// Whether a request is S3's: signed its way, to a bucket's host name, or to no path of
    /// Swift's.
    pub(crate) fn speaks(request: &Request<Body>, parts: &Parts) -> bool {
        let authorization = header(request.headers(), "authorization").unwrap_or_default();
        if authorization.starts_with("AWS4-HMAC-SHA256") || authorization.starts_with("AWS ") {
            return true;
        }
        let query = request.uri().query().unwrap_or_default();
        let has = |name: &str| query.split('&').any(|pair| pair.split('=').next() == Some(name));
        if has("X-Amz-Algorithm") || has("X-Amz-Signature") || has("AWSAccessKeyId") {
            return true;
        }
        if address::bucket_of_host(request.headers(), &parts.storage_domains).is_some() {
            return true;
        }
        let path = request.uri().path();
        let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
        let is_version =
            |word: &str| parts.constraints.valid_api_versions.iter().any(|valid| valid == word);
        let swift = path.starts_with("//") || matches!(first, "auth" | "") || is_version(first);
        let token = request.headers().contains_key("x-auth-token");
        !swift && !token
    }

    pub(crate) async fn handle(&self, request: Request<Body>, trans_id: Arc<str>) -> Reply {
        let is_head = request.method() == Method::HEAD;
        let place = error::Place::of(&request);
        let answer = match self.parse(request, trans_id.clone()) {
            Ok(request) => Box::pin(self.perform(request)).await,
            Err(error) => Err(error),
        };
        let mut response = match answer {
            Ok(response) => response,
            Err(error) => {
                let domains = &self.parts.storage_domains;
                error::render(&error, &place, domains, &trans_id, is_head)
            }
        };
        set(response.headers_mut(), "x-amz-request-id", &trans_id);
        set(response.headers_mut(), "x-amz-id-2", &trans_id);
        response
    }

    fn parse(&self, request: Request<Body>, trans_id: Arc<str>) -> Result<S3Request> {
        let (head, body) = request.into_parts();
        let Address { bucket, key } = address::parse(&head, &self.parts.storage_domains)?;
        let writes = matches!(head.method, Method::PUT | Method::POST);
        let max = self.parts.constraints.max_object_name_length;
        if writes && key.as_ref().is_some_and(|key| key.len() > max) {
            return Err(S3Error::new(Code::KeyTooLongError));
        }
        let query = address::query(head.uri.query().unwrap_or_default())?;
        let signed = sign::verify(&self.parts, &head, &query)?;
        let anonymous = signed.is_none();
        let (identity, account, payload, owner) = match signed {
            Some(Signed { identity, account, payload }) => {
                let owner = identity.user.clone().unwrap_or_default();
                (identity, account, payload, owner)
            }
            // Buckets belong to accounts, and an anonymous request names none.
            None => return Err(S3Error::new(Code::AccessDenied)),
        };
        let account = AccountName::parse(&account).map_err(|_| S3Error::new(Code::AccessDenied))?;
        let operation =
            route::operation(&head.method, bucket.is_some(), key.is_some(), &query, &head.headers)?;
        let identity =
            Identity { referrer: header(&head.headers, "referer").map(str::to_owned), ..identity };
        let cx = Context {
            trans_id,
            identity: Arc::new(identity),
            authority: Authority::Caller,
            consistency: Consistency::Strong,
            policy: None,
            open_expired: false,
        };
        Ok(S3Request {
            operation,
            head,
            body,
            payload,
            query,
            account,
            bucket,
            key,
            cx,
            owner,
            anonymous,
        })
    }

    async fn perform(&self, request: S3Request) -> Result<Reply> {
        let parts = &self.parts;
        match request.operation {
            Operation::ListBuckets => bucket::list_buckets(parts, request).await,
            Operation::CreateBucket => bucket::create(parts, request).await,
            Operation::HeadBucket => bucket::head(parts, request).await,
            Operation::DeleteBucket => bucket::delete(parts, request).await,
            Operation::GetBucketLocation => bucket::location(parts, request).await,
            Operation::GetBucketVersioning => bucket::versioning(parts, request).await,
            Operation::GetAcl => bucket::acl(parts, request).await,
            Operation::ListObjects => listing::list_v1(parts, request).await,
            Operation::ListObjectsV2 => listing::list_v2(parts, request).await,
            Operation::ListObjectVersions => listing::list_versions(parts, request).await,
            Operation::DeleteObjects => object::delete_many::delete(parts, request).await,
            Operation::GetObjectAttributes => object::attributes::get(parts, request).await,
            Operation::GetObject | Operation::HeadObject => object::get::get(parts, request).await,
            Operation::PutObject => object::put::put(parts, request).await,
            Operation::CopyObject => object::copy::copy(parts, request).await,
            Operation::DeleteObject => object::delete::delete(parts, request).await,
            Operation::CreateMultipartUpload => upload::create(parts, request).await,
            Operation::UploadPart => upload::part(parts, request).await,
            Operation::UploadPartCopy => upload::part_copy(parts, request).await,
            Operation::CompleteMultipartUpload => upload::complete(parts, request).await,
            Operation::AbortMultipartUpload => upload::abort(parts, request).await,
            Operation::ListParts => upload::list_parts(parts, request).await,
            Operation::ListMultipartUploads => upload::list_uploads(parts, request).await,
        }
    }
}

/// An XML document as an answer.
fn xml_reply(document: String) -> Reply {
    let mut response = Response::new(apus_daemon::http::full(document));
    set(response.headers_mut(), "content-type", "application/xml");
    response
}
