//! GetBucketPolicy, PutBucketPolicy, DeleteBucketPolicy and GetBucketPolicyStatus.
//!
//! The document is stored as it was sent. It is compiled when it is put, so that what cannot be evaluated
//! is refused.

use apus_bucket::{BucketPolicyConfig, ConfigKind, stored};
use apus_daemon::http::{full, set, status};
use apus_policy::{DocumentError, DocumentKind, PolicyDocument};
use apus_store::access::{BucketAccess, BucketPolicyState};
use apus_store::body::collect;
use apus_store::operation::{ContainerHead, PostContainer};
use http::StatusCode;

use super::bucket_config::{authorize, owners_head};
use super::error::{Code, Result, S3Error};
use super::object::put::verified_body;
use super::request::S3Request;
use super::xml::Writer;
use crate::deps::ProxyDeps;
use crate::reply::Reply;

/// Most bytes of a request that are read, so that a document over the limit is refused as one.
const BODY_BYTES_MAX: u64 = 64 * 1024;
/// The caller confirms that the policy may deny it changes of the policy.
const CONFIRM: &str = "x-amz-confirm-remove-self-bucket-access";

impl From<DocumentError> for S3Error {
    fn from(error: DocumentError) -> Self {
        let text = match &error {
            DocumentError::Json(_) => {
                format!("Policies must be valid JSON and the first byte must be '{{': {error}")
            }
            DocumentError::TooLong { .. } | DocumentError::Element { .. } => error.to_string(),
        };
        Self::new(Code::MalformedPolicy).text(text)
    }
}

/// The policy in a container's metadata.
fn of(head: &ContainerHead) -> Result<Option<BucketPolicyConfig>> {
    Ok(stored::load(ConfigKind::Policy, &head.headers)?)
}

pub(super) async fn get(deps: &ProxyDeps, request: S3Request) -> Result<Reply> {
    let container = request.container()?;
    let missing = S3Error::new(Code::NoSuchBucketPolicy).with("BucketName", request.bucket());
    let head = owners_head(deps, &request.cx, container).await?;
    let config = of(&head)?.ok_or(missing)?;
    let mut response = status(StatusCode::OK);
    set(response.headers_mut(), "content-type", "application/json");
    *response.body_mut() = full(config.document);
    Ok(response)
}

pub(super) async fn put(deps: &ProxyDeps, request: S3Request) -> Result<Reply> {
    let container = request.container()?;
    // Rights and the bucket come before the document.
    let known = owners_head(deps, &request.cx, container.clone()).await?;
    let confirms = request.header(CONFIRM).is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let bucket = request.bucket().to_owned();
    let S3Request { cx, head, body, payload, .. } = request;
    let verified = verified_body(deps, payload, &head.headers, body)?;
    let document = collect(verified.body, BODY_BYTES_MAX).await?;
    let config = parse(document.to_vec(), &bucket, confirms)?;
    let block = BucketAccess::of(&known.headers).public_access;
    if block.block_public_policy && config.is_public {
        return Err(S3Error::new(Code::AccessDenied).text(
            "Access Denied: the policy is public, which the bucket's BlockPublicPolicy refuses",
        ));
    }
    let metadata = stored::store(ConfigKind::Policy, &config.stored)?;
    deps.store.post_container(&cx, PostContainer { container, metadata, versioning: None }).await?;
    Ok(status(StatusCode::NO_CONTENT))
}

/// A checked document.
struct CheckedPolicy {
    stored: BucketPolicyConfig,
    is_public: bool,
}

fn parse(document: Vec<u8>, bucket: &str, binds_owner: bool) -> Result<CheckedPolicy> {
    let text = String::from_utf8(document)
        .map_err(|_| S3Error::new(Code::MalformedPolicy).text("The policy is not UTF-8"))?;
    let parsed = PolicyDocument::parse(&text, DocumentKind::Bucket { name: bucket })?;
    let stored = BucketPolicyConfig { document: text, binds_owner };
    Ok(CheckedPolicy { stored, is_public: parsed.is_public() })
}

pub(super) async fn delete(deps: &ProxyDeps, request: S3Request) -> Result<Reply> {
    let container = request.container()?;
    let cx = request.cx;
    authorize(deps, &cx, &container).await?;
    let head = owners_head(deps, &cx, container.clone()).await?;
    if head.headers.contains_key(ConfigKind::Policy.header()) {
        let metadata = stored::remove(ConfigKind::Policy, &head.headers);
        let op = PostContainer { container, metadata, versioning: None };
        deps.store.post_container(&cx, op).await?;
    }
    Ok(status(StatusCode::NO_CONTENT))
}

/// Whether the bucket is public, by its policy or its ACL.
pub(super) async fn public_status(deps: &ProxyDeps, request: S3Request) -> Result<Reply> {
    let container = request.container()?;
    let head = owners_head(deps, &request.cx, container).await?;
    let access = BucketAccess::of(&head.headers);
    let by_policy = matches!(&access.policy, BucketPolicyState::Set(policy) if policy.is_public);
    let ownership = deps.config.default_object_ownership;
    let by_acl = access.acls.is_some_and(|acls| acls.is_public(ownership));
    let mut out = Writer::new();
    out.root("PolicyStatus");
    out.flag("IsPublic", by_policy || by_acl);
    out.close("PolicyStatus");
    Ok(out.reply())
}

/// Parses a policy, and does nothing else: for fuzzing.
pub(super) fn fuzz_document(input: &[u8]) {
    if let Ok(checked) = parse(input.to_vec(), "bucket", false) {
        assert!(stored::store(ConfigKind::Policy, &checked.stored).is_ok() || input.len() > 10_000);
        let again = PolicyDocument::parse(&checked.stored.document, DocumentKind::StoredBucket);
        assert!(again.is_ok_and(|again| again.is_public() == checked.is_public));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_name_the_element() {
        for (document, text) in [
            (&b"x"[..], "Policies must be valid JSON"),
            (b"\xff", "not UTF-8"),
            (br#"{"Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:Fly","Resource":"*"}]}"#,
                "Statement[0].Action"),
            (&[b' '; apus_policy::document::DOCUMENT_BYTES_MAX + 1], "at most 20480"),
        ] {
            let Err(error) = parse(document.to_vec(), "b", false) else { panic!("{text}") };
            assert_eq!(error.code, Code::MalformedPolicy);
            assert!(error.message.contains(text), "{}", error.message);
        }
    }
}
