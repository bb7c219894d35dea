//! The S3 API: parses a request, performs one operation, renders the reply.

mod acl;
mod address;
mod anonymous;
mod body_error;
mod bucket;
mod bucket_config;
mod bucket_encryption;
mod bucket_lifecycle;
mod bucket_lock;
mod bucket_logging;
mod bucket_notification;
mod bucket_policy;
mod bucket_tagging;
mod catalogue;
mod checksum;
mod chunked;
mod configuration;
mod cors;
mod encryption;
mod error;
mod error_document;
mod facts;
mod form;
pub(crate) mod fuzzing;
mod list_versions;
mod listing;
mod namespace;
mod object;
mod operation;
mod ownership;
mod public_access;
mod request;
mod request_headers;
mod resource;
mod route;
mod sign;
#[cfg(test)]
mod snapshots;
mod unset;
mod unsigned;
mod upload;
mod versioning;
mod website;
mod xml;

use std::sync::{Arc, OnceLock};

use apus_bucket::TagSet;
use apus_bucket::cors::CorsRules;
use apus_bucket::encryption::BucketEncryption;
use apus_bucket::lifecycle::LifecycleConfiguration;
use apus_bucket::notification::NotificationConfiguration;
use apus_bucket::object_lock::ObjectLockConfig;
use apus_bucket::ownership::OwnershipControls;
use apus_bucket::public_access::PublicAccessBlock;
use apus_bucket::website::Website;
use apus_cluster::AccountName;
use apus_daemon::Body;
use apus_daemon::http::{header, set};
use apus_store::Context;
use apus_store::access::Identity;
use http::{Method, Request};
use http_body::Body as _;

use self::address::Address;
use self::error::{Code, Result, S3Error};
use self::error_document::RequestTarget;
use self::facts::AuthType;
use self::operation::Operation;
use self::request::S3Request;
use self::resource::Resource;
use self::sign::{Payload, Signed};
use crate::audit::RequestNotes;
use crate::deps::ProxyDeps;
use crate::reply::Reply;

/// The S3 dialect.
#[derive(Debug)]
pub(crate) struct S3 {
    deps: ProxyDeps,
}

impl S3 {
    pub(crate) fn new(deps: ProxyDeps) -> Self {
        Self { deps }
    }

    /// Whether a request is an S3 request: signed as one, to a bucket's host name, or to a path
    /// that is not Swift's.
    pub(crate) fn speaks(request: &Request<Body>, deps: &ProxyDeps) -> bool {
        let authorization = header(request.headers(), "authorization").unwrap_or_default();
        if authorization.starts_with("AWS4-HMAC-SHA256") || authorization.starts_with("AWS ") {
            return true;
        }
        let query = request.uri().query().unwrap_or_default();
        let has = |name: &str| query.split('&').any(|pair| pair.split('=').next() == Some(name));
        if has("X-Amz-Algorithm") || has("X-Amz-Signature") || has("AWSAccessKeyId") {
            return true;
        }
        if address::bucket_of_host(request.headers(), &deps.config.storage_domains).is_some() {
            return true;
        }
        if website::bucket_of(request.headers(), deps).is_some() {
            return true;
        }
        let path = request.uri().path();
        let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
        let is_version =
            |word: &str| deps.constraints.valid_api_versions.iter().any(|valid| valid == word);
        let swift = path.starts_with("//") || matches!(first, "auth" | "") || is_version(first);
        let token = request.headers().contains_key("x-auth-token");
        !swift && !token
    }

    pub(crate) async fn handle(&self, request: Request<Body>, trans_id: Arc<str>) -> Reply {
        if let Some(reply) = unsigned::keystone(&request) {
            return reply;
        }
        let origin = cors::CrossOrigin::of(&self.deps, &request);
        // Known rules are those before the request, which may delete the bucket.
        let signer = OnceLock::new();
        let rules = match &origin {
            Some(origin) if request.method() != Method::OPTIONS => {
                origin.rules(&self.deps, &signer, &trans_id).await
            }
            _ => None,
        };
        let mut response = self.respond(request, &signer, &trans_id).await;
        if let Some(origin) = &origin {
            let rules = match (rules, signer.get()) {
                (None, Some(_)) => origin.rules(&self.deps, &signer, &trans_id).await,
                (rules, _) => rules,
            };
            if let Some(rules) = rules {
                origin.allow(&rules, response.headers_mut());
            }
        }
        set(response.headers_mut(), "x-amz-request-id", &trans_id);
        set(response.headers_mut(), "x-amz-id-2", &trans_id);
        response
    }

    /// Performs a request and renders the result. `signer` receives the account of a form's signer.
    async fn respond(
        &self,
        request: Request<Body>,
        signer: &OnceLock<AccountName>,
        trans_id: &Arc<str>,
    ) -> Reply {
        let is_head = request.method() == Method::HEAD;
        let target = RequestTarget::of(&request);
        let notes = RequestNotes::of(request.extensions());
        notes.note(|noted| noted.dialect = Some("s3"));
        let site = website::bucket_of(request.headers(), &self.deps);
        let is_site = site.is_some();
        let form = form::post::target(&request, &self.deps).filter(|_| !is_site);
        let result = match (site, form) {
            _ if *request.method() == Method::OPTIONS => {
                Box::pin(cors::preflight(&self.deps, &request.into_parts().0, trans_id)).await
            }
            (Some(bucket), _) => {
                let head = request.into_parts().0;
                Box::pin(website::serve(&self.deps, head, bucket, trans_id.clone())).await
            }
            (None, Some(form)) => {
                let post = form::post::post(&self.deps, request, form, trans_id.clone(), signer);
                Box::pin(post).await
            }
            (None, None) => match Box::pin(self.parse(request, trans_id.clone())).await {
                Ok(request) => Box::pin(self.perform(request)).await,
                Err(error) => Err(error),
            },
        };
        result.unwrap_or_else(|error| {
            notes.note(|noted| noted.error = Some(error.code.name().to_owned()));
            if is_site && error.code != Code::NotModified {
                return website::error_page(&error, trans_id);
            }
            let elements = target.elements(&error, &self.deps.config.storage_domains);
            error_document::render(&error, &elements, trans_id, is_head)
        })
    }

    async fn parse(&self, request: Request<Body>, trans_id: Arc<str>) -> Result<S3Request> {
        let (mut head, body) = request.into_parts();
        let address = address::parse(&head, &self.deps.config.storage_domains)?;
        let Address { bucket, key } = address;
        let writes = matches!(head.method, Method::PUT | Method::POST);
        let max = self.deps.constraints.max_object_name_length;
        if writes && key.as_ref().is_some_and(|key| key.len() > max) {
            return Err(S3Error::new(Code::KeyTooLongError));
        }
        let query = address::query(head.uri.query().unwrap_or_default())?;
        let notes = RequestNotes::of(&head.extensions);
        notes.note(|noted| {
            (noted.bucket, noted.key) = (bucket.clone(), key.clone());
            noted.claimed = sign::claimed_access_key(&head.headers, &query);
        });
        let signed = sign::verify(&self.deps, &mut head, &query).await?;
        let (identity, own, payload) = match signed {
            Some(Signed { identity, account, payload }) => {
                let account = AccountName::parse(&account);
                let account = account.map_err(|_| S3Error::new(Code::AccessDenied))?;
                (identity, Some(account), payload)
            }
            None if query.iter().any(|(name, _)| name.starts_with("response-")) => {
                return Err(S3Error::new(Code::InvalidRequest).text(
                    "Request specific response headers cannot be used for anonymous GET requests.",
                ));
            }
            None => (Identity::default(), None, Payload::Unsigned),
        };
        if body.is_end_stream() {
            sign::check_empty_body(&payload)?;
        }
        let resource = match (&bucket, &key) {
            (None, _) => Resource::Service,
            (Some(_), None) => Resource::Bucket,
            (Some(_), Some(_)) => Resource::Key,
        };
        notes.note(|noted| {
            noted.user.clone_from(&identity.user);
            noted.account = own.as_ref().map(ToString::to_string);
        });
        let operation = route::operation(&head.method, resource, &query, &head.headers)?;
        notes.note(|noted| noted.operation = Some(operation.name()));
        let identity =
            Identity { referrer: header(&head.headers, "referer").map(str::to_owned), ..identity };
        let permission = operation.permission();
        let auth = match identity.user {
            Some(_) => AuthType::Request,
            None => AuthType::None,
        };
        let facts = Some(facts::of(&self.deps, &head, operation, auth, &query));
        let encryption = encryption::of_request(operation, &head.headers)?;
        let cx = Context { permission, facts, encryption, ..request::context(trans_id, identity) };
        let names = (operation, bucket.as_deref());
        let account = namespace::of_request(&self.deps, &cx, own.as_ref(), names).await?;
        notes.note(|noted| noted.account = Some(account.as_str().to_owned()));
        let source_account = match object::copy::source_bucket(operation, &head.headers) {
            Some(name) => Some(namespace::account(&self.deps, &cx, own.as_ref(), &name).await?),
            None => None,
        };
        Ok(S3Request {
            operation,
            head,
            body,
            payload,
            query,
            owner: request::owner(&cx.identity, own.as_ref(), &account),
            account,
            source_account,
            bucket,
            key,
            cx,
        })
    }

    async fn perform(&self, request: S3Request) -> Result<Reply> {
        let deps = &self.deps;
        for expected in request.expected_owners()? {
            expected.check(deps, &request.cx).await?;
        }
        match request.operation {
            Operation::ListBuckets => bucket::list_buckets(deps, request).await,
            Operation::CreateBucket => bucket::create(deps, request).await,
            Operation::HeadBucket => bucket::head(deps, request).await,
            Operation::DeleteBucket => bucket::delete(deps, request).await,
            Operation::GetBucketLocation => bucket::location(deps, request).await,
            Operation::GetBucketVersioning => versioning::get(deps, request).await,
            Operation::PutBucketVersioning => versioning::put(deps, request).await,
            Operation::GetBucketLifecycle => {
                bucket_config::get::<LifecycleConfiguration>(deps, request).await
            }
            Operation::PutBucketLifecycle => {
                bucket_config::put::<LifecycleConfiguration>(deps, request).await
            }
            Operation::DeleteBucketLifecycle => {
                bucket_config::delete::<LifecycleConfiguration>(deps, request).await
            }
            Operation::GetBucketCors => bucket_config::get::<CorsRules>(deps, request).await,
            Operation::PutBucketCors => bucket_config::put::<CorsRules>(deps, request).await,
            Operation::DeleteBucketCors => bucket_config::delete::<CorsRules>(deps, request).await,
            Operation::GetBucketNotification => {
                bucket_config::get::<NotificationConfiguration>(deps, request).await
            }
            Operation::PutBucketNotification => {
                bucket_config::put::<NotificationConfiguration>(deps, request).await
            }
            Operation::GetBucketWebsite => bucket_config::get::<Website>(deps, request).await,
            Operation::PutBucketWebsite => bucket_config::put::<Website>(deps, request).await,
            Operation::DeleteBucketWebsite => bucket_config::delete::<Website>(deps, request).await,
            Operation::GetBucketEncryption => {
                bucket_config::get::<BucketEncryption>(deps, request).await
            }
            Operation::PutBucketEncryption => {
                bucket_config::put::<BucketEncryption>(deps, request).await
            }
            Operation::DeleteBucketEncryption => {
                bucket_config::delete::<BucketEncryption>(deps, request).await
            }
            Operation::GetBucketTagging => bucket_config::get::<TagSet>(deps, request).await,
            Operation::PutBucketTagging => bucket_config::put::<TagSet>(deps, request).await,
            Operation::DeleteBucketTagging => bucket_config::delete::<TagSet>(deps, request).await,
            Operation::GetBucketLogging => bucket_logging::get(deps, request).await,
            Operation::PutBucketLogging => bucket_logging::put(deps, request).await,
            Operation::GetBucketPolicy => bucket_policy::get(deps, request).await,
            Operation::PutBucketPolicy => bucket_policy::put(deps, request).await,
            Operation::DeleteBucketPolicy => bucket_policy::delete(deps, request).await,
            Operation::GetBucketPolicyStatus => bucket_policy::public_status(deps, request).await,
            Operation::GetUnset(unset) => configuration::get(deps, request, unset).await,
            Operation::DeleteUnset(unset) => configuration::delete(deps, request, unset).await,
            Operation::GetBucketAcl => acl::get_bucket(deps, request).await,
            Operation::PutBucketAcl => acl::put_bucket(deps, request).await,
            Operation::GetObjectAcl => acl::get_object(deps, request).await,
            Operation::PutObjectAcl => acl::put_object(deps, request).await,
            Operation::GetBucketOwnershipControls => {
                bucket_config::get::<OwnershipControls>(deps, request).await
            }
            Operation::PutBucketOwnershipControls => ownership::put(deps, request).await,
            Operation::DeleteBucketOwnershipControls => {
                bucket_config::delete::<OwnershipControls>(deps, request).await
            }
            Operation::GetPublicAccessBlock => {
                bucket_config::get::<PublicAccessBlock>(deps, request).await
            }
            Operation::PutPublicAccessBlock => {
                bucket_config::put::<PublicAccessBlock>(deps, request).await
            }
            Operation::DeletePublicAccessBlock => {
                bucket_config::delete::<PublicAccessBlock>(deps, request).await
            }
            Operation::ListObjects | Operation::ListObjectsV2 => listing::list(deps, request).await,
            Operation::ListObjectVersions => list_versions::list(deps, request).await,
            Operation::DeleteObjects => object::delete_many::delete(deps, request).await,
            Operation::GetObjectAttributes => object::attributes::get(deps, request).await,
            Operation::GetObject | Operation::HeadObject => object::get::get(deps, request).await,
            Operation::PutObject => object::put::put(deps, request).await,
            Operation::PostObject => Err(form::post::not_a_form()),
            Operation::CopyObject => object::copy::copy(deps, request).await,
            Operation::DeleteObject => object::delete::delete(deps, request).await,
            Operation::GetObjectLockConfiguration => {
                bucket_config::get::<ObjectLockConfig>(deps, request).await
            }
            Operation::PutObjectLockConfiguration => bucket_lock::put(deps, request).await,
            Operation::GetObjectRetention => object::lock::get_retention(deps, request).await,
            Operation::PutObjectRetention => object::lock::put_retention(deps, request).await,
            Operation::GetObjectLegalHold => object::lock::get_hold(deps, request).await,
            Operation::PutObjectLegalHold => object::lock::put_hold(deps, request).await,
            Operation::GetObjectTagging => object::tagging::get(deps, request).await,
            Operation::PutObjectTagging => object::tagging::put(deps, request).await,
            Operation::DeleteObjectTagging => object::tagging::delete(deps, request).await,
            Operation::RestoreObject => object::restore::restore(deps, request).await,
            Operation::CreateMultipartUpload => upload::create(deps, request).await,
            Operation::UploadPart => upload::part(deps, request).await,
            Operation::UploadPartCopy => upload::part_copy(deps, request).await,
            Operation::CompleteMultipartUpload => upload::complete(deps, request).await,
            Operation::AbortMultipartUpload => upload::abort(deps, request).await,
            Operation::ListParts => upload::list_parts(deps, request).await,
            Operation::ListMultipartUploads => upload::list_uploads(deps, request).await,
        }
    }
}
