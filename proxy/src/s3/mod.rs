//! The S3 API: parse, perform, render. A translation and nothing else.

mod address;
mod bucket;
mod catalogue;
mod checksum;
mod chunked;
mod error;
mod listing;
mod object;
mod request_headers;
mod route;
mod sign;
mod unset;
mod unsigned;
mod upload;
mod xml;

use std::sync::Arc;

use apus_cluster::constraints::S3_MAX_KEY_LENGTH;
use apus_cluster::{AccountName, ClientName, ContainerName, ContainerPath, ObjectPath, percent};
use apus_daemon::Body;
use apus_daemon::http::{header, set};
use apus_store::access::Identity;
use apus_store::{Authority, Consistency, Context};
use http::{Method, Request, Response};

use self::address::Address;
use self::catalogue::Resource;
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
            return Err(address::invalid_bucket_name(name));
        }
        let name = ContainerName::parse(name).map_err(|_| address::invalid_bucket_name(name))?;
        Ok(ContainerPath::new(self.account.clone(), name))
    }

    fn object(&self) -> Result<ObjectPath> {
        let key = self.key.as_deref().unwrap_or_default();
        object_named(&self.container()?, key)
    }

    /// The address of the object: below the cluster's public URL, or else in the style in which the
    /// request names its bucket.
    fn location(&self, parts: &Parts) -> String {
        let headers = &self.head.headers;
        let base = parts.public_url.base(headers).unwrap_or_default();
        let bucket = self.bucket.as_deref().unwrap_or_default();
        let key = percent::encode_path(self.key.as_deref().unwrap_or_default());
        match address::bucket_of_host(headers, &parts.storage_domains) {
            Some(_) if !parts.public_url.is_set() => format!("{base}/{key}"),
            _ => format!("{base}/{}/{key}", percent::encode_path(bucket)),
        }
    }

    /// Nothing is done to a bucket of another owner than the caller expects. All buckets that a key
    /// reaches are those of its account, whose owner listings show.
    fn check_owner(&self) -> Result<()> {
        let copies = matches!(self.operation, Operation::CopyObject | Operation::UploadPartCopy);
        for (name, applies) in [
            ("x-amz-expected-bucket-owner", self.bucket.is_some()),
            ("x-amz-source-expected-bucket-owner", copies),
        ] {
            let mut expected = self.head.headers.get_all(name).iter();
            if applies && expected.any(|owner| owner.as_bytes() != self.owner.as_bytes()) {
                return Err(S3Error::new(Code::AccessDenied)
                    .text(format!("Access Denied: the bucket's owner is not the one of {name}")));
            }
        }
        Ok(())
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
    let name = ClientName::plain(key)
        .and_then(|name| name.object())
        .map_err(|error| invalid(&format!("Key: {error}")))?;
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
        if let Some(reply) = unsigned::keystone(&request) {
            return reply;
        }
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
        let (mut head, body) = request.into_parts();
        let address = address::parse(&head, &self.parts.storage_domains)?;
        unsigned::check(&head, &address)?;
        let Address { bucket, key } = address;
        let writes = matches!(head.method, Method::PUT | Method::POST);
        let max = self.parts.constraints.max_object_name_length;
        if writes && key.as_ref().is_some_and(|key| key.len() > max) {
            return Err(S3Error::new(Code::KeyTooLongError));
        }
        let query = address::query(head.uri.query().unwrap_or_default())?;
        let signed = sign::verify(&self.parts, &mut head, &query)?;
        let Signed { identity, account, payload } = signed.ok_or_else(unsigned::refusal)?;
        let owner = identity.user.clone().unwrap_or_default();
        let account = AccountName::parse(&account).map_err(|_| S3Error::new(Code::AccessDenied))?;
        let resource = match (&bucket, &key) {
            (None, _) => Resource::Service,
            (Some(_), None) => Resource::Bucket,
            (Some(_), Some(_)) => Resource::Key,
        };
        let operation = route::operation(&head.method, resource, &query, &head.headers)?;
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
        let request = S3Request {
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
            anonymous: false,
        };
        request.check_owner()?;
        Ok(request)
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
            Operation::GetUnset(unset) => unset::get(parts, request, unset).await,
            Operation::DeleteUnset(unset) => unset::delete(parts, request, unset).await,
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
