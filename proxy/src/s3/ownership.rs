//! Ownership controls of a bucket: `?ownershipControls` and `x-amz-object-ownership`.

use apus_bucket::bucket_acls::BucketAcls;
use apus_bucket::ownership::{ObjectOwnership, OwnershipControls, check_bucket};
use apus_bucket::{ConfigKind, stored};
use apus_daemon::http::{header, status};
use apus_policy::Permission;
use apus_store::body::collect;
use apus_store::operation::{Authorize, HeadContainer, PostContainer};
use http::{HeaderMap, StatusCode};

use super::bucket_config::BucketDocument;
use super::error::{Code, Result, S3Error};
use super::object::put::verified_body;
use super::request::S3Request;
use super::xml::{self, Writer};
use crate::deps::ProxyDeps;
use crate::reply::Reply;

const HEADER: &str = "x-amz-object-ownership";

const DOCUMENT: xml::Schema =
    xml::Schema { root: "OwnershipControls", item: "Rule", items_max: 1, within_max: 1 };

impl BucketDocument for OwnershipControls {
    const KIND: ConfigKind = ConfigKind::Ownership;
    const MISSING: Code = Code::OwnershipControlsNotFoundError;

    fn parse(document: &[u8]) -> Result<Self> {
        let malformed = || S3Error::new(Code::MalformedXML);
        let mut found = None;
        xml::read(document, &DOCUMENT, |rule| {
            let ownership = rule.text_of("ObjectOwnership").map(str::trim);
            let is_rule = rule.name == "Rule" && rule.children.len() == 1;
            found = ownership.filter(|_| is_rule).and_then(ObjectOwnership::parse);
            if found.is_some() { Ok(()) } else { Err(malformed()) }
        })?;
        found.map(Self).ok_or_else(malformed)
    }

    fn render(&self, out: &mut Writer) {
        out.root("OwnershipControls");
        out.open("Rule");
        out.text("ObjectOwnership", self.0.name());
        out.close("Rule");
        out.close("OwnershipControls");
    }
}

/// The ownership that the headers of a request for a new bucket set.
///
/// # Errors
/// `InvalidArgument`.
pub(super) fn of_new_bucket(headers: &HeaderMap) -> Result<Option<ObjectOwnership>> {
    if !headers.contains_key(HEADER) {
        return Ok(None);
    }
    let value = header(headers, HEADER).unwrap_or_default();
    let known = || ObjectOwnership::ALL.map(ObjectOwnership::name).join(", ");
    ObjectOwnership::parse(value).map(Some).ok_or_else(|| {
        S3Error::new(Code::InvalidArgument)
            .text(format!("{HEADER}: {value:?}: expected one of {}", known()))
            .argument(HEADER, value)
    })
}

/// Sets the controls, unless the bucket's ACL grants access to others and would lose its effect.
pub(super) async fn put(deps: &ProxyDeps, request: S3Request) -> Result<Reply> {
    let container = request.container()?;
    // Rights come before the document.
    let authorize = Authorize::container(Permission::PutBucketOwnershipControls, container.clone());
    deps.store.authorize(&request.cx, authorize).await?;
    let S3Request { cx, head, body, payload, .. } = request;
    let verified = verified_body(deps, payload, &head.headers, body)?;
    let document = collect(verified.body, xml::DOCUMENT_BYTES_MAX).await?;
    let controls = <OwnershipControls as BucketDocument>::parse(&document)?;
    let op = HeadContainer { container: container.clone() };
    let rules = BucketAcls::of(&deps.store.head_container(&cx, op).await?.headers)?;
    check_bucket(controls.0, rules.acl.as_ref())?;
    let metadata = stored::store(OwnershipControls::KIND, &controls)?;
    deps.store.post_container(&cx, PostContainer { container, metadata, versioning: None }).await?;
    Ok(status(StatusCode::OK))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(inner: &str) -> std::result::Result<ObjectOwnership, Code> {
        let document = format!("<OwnershipControls>{inner}</OwnershipControls>");
        let parsed = <OwnershipControls as BucketDocument>::parse(document.as_bytes());
        parsed.map(|controls| controls.0).map_err(|error| error.code)
    }

    #[test]
    fn documents_are_read_strictly_and_written_back() {
        for ownership in ObjectOwnership::ALL {
            let mut out = Writer::new();
            OwnershipControls(ownership).render(&mut out);
            let read = <OwnershipControls as BucketDocument>::parse(out.finish().as_bytes());
            assert_eq!(read.unwrap().0, ownership);
        }
        let rule = |inner: &str| format!("<Rule>{inner}</Rule>");
        let writer = "<ObjectOwnership>ObjectWriter</ObjectOwnership>";
        for bad in [
            String::new(),
            rule(""),
            rule("<ObjectOwnership>Writer</ObjectOwnership>"),
            rule("<Other>ObjectWriter</Other>"),
            rule(&format!("{writer}{writer}")),
            format!("{}{}", rule(writer), rule(writer)),
            format!("{}<Other/>", rule(writer)),
        ] {
            assert_eq!(parsed(&bad), Err(Code::MalformedXML), "{bad}");
        }
    }

    #[test]
    fn the_header_names_an_ownership() {
        let of = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(HEADER, value.parse().unwrap());
            of_new_bucket(&headers).map_err(|error| error.code)
        };
        assert_eq!(of("ObjectWriter"), Ok(Some(ObjectOwnership::ObjectWriter)));
        assert_eq!(
            (of(""), of("writer")),
            (Err(Code::InvalidArgument), Err(Code::InvalidArgument))
        );
        assert_eq!(of_new_bucket(&HeaderMap::new()).unwrap(), None);
    }
}
