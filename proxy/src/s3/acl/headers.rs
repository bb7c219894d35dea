//! ACLs in headers: `x-amz-acl` and `x-amz-grant-*`.

use apus_bucket::acl::{
    AclError, AclPermission, AclResource, CannedAcl, GRANTS_MAX, Grant, Grantee, RequestedAcl,
};
use http::{HeaderMap, HeaderValue};

use super::super::error::{Code, Result, S3Error};
use super::super::request_headers::not_implemented;

const CANNED: &str = "x-amz-acl";
/// A canned ACL that gives Amazon's own machines access.
const OF_AMAZON: &str = "aws-exec-read";

fn invalid(name: &str, value: &HeaderValue, text: &str) -> S3Error {
    S3Error::new(Code::InvalidArgument)
        .text(format!("{name}: {text}"))
        .argument(name, &String::from_utf8_lossy(value.as_bytes()))
}

fn canned(headers: &HeaderMap, resource: AclResource) -> Result<Option<CannedAcl>> {
    let mut lines = headers.get_all(CANNED).iter();
    let Some(value) = lines.next() else { return Ok(None) };
    if lines.next().is_some() {
        return Err(invalid(CANNED, value, "expected one value"));
    }
    match value.to_str().map(str::trim) {
        Ok(OF_AMAZON) => Err(not_implemented(&format!("{CANNED}: {OF_AMAZON}"))),
        text => {
            let found = text.ok().and_then(|text| CannedAcl::parse(text, resource));
            found.map(Some).ok_or_else(|| {
                let known = CannedAcl::ALL.into_iter().map(CannedAcl::name);
                let known = known.filter(|name| CannedAcl::parse(name, resource).is_some());
                let known: Vec<_> = known.collect();
                invalid(CANNED, value, &format!("expected one of {}", known.join(", ")))
            })
        }
    }
}

fn grants(headers: &HeaderMap) -> Result<Vec<Grant>> {
    let mut grants = Vec::new();
    for permission in AclPermission::ALL {
        let name = permission.header();
        for value in headers.get_all(name) {
            let text = std::str::from_utf8(value.as_bytes())
                .map_err(|_| invalid(name, value, "expected UTF-8"))?;
            let grantees = Grantee::parse_list(text)?;
            grants.extend(grantees.into_iter().map(|grantee| Grant { grantee, permission }));
        }
    }
    if grants.len() > GRANTS_MAX {
        return Err(AclError::TooMany(grants.len()).into());
    }
    Ok(grants)
}

/// The ACL that the headers of a request ask for.
///
/// # Errors
/// `InvalidArgument`; `InvalidRequest` for a canned ACL with other grants.
pub(in crate::s3) fn requested(
    headers: &HeaderMap,
    resource: AclResource,
) -> Result<Option<RequestedAcl>> {
    let (canned, grants) = (canned(headers, resource)?, grants(headers)?);
    match (canned, grants.is_empty()) {
        (Some(_), false) => Err(S3Error::new(Code::InvalidRequest)
            .text("Specifying both Canned ACLs and Header Grants is not allowed")),
        (Some(canned), true) => Ok(Some(RequestedAcl::Canned(canned))),
        (None, false) => Ok(Some(RequestedAcl::Grants(grants))),
        (None, true) => Ok(None),
    }
}

/// Parses headers of this value, and what is stored of them: for fuzzing.
pub(in crate::s3) fn fuzz_headers(text: &str) {
    let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) else { return };
    for name in AclPermission::ALL.map(AclPermission::header).into_iter().chain([CANNED]) {
        let headers = HeaderMap::from_iter([(http::HeaderName::from_static(name), value.clone())]);
        let Ok(Some(found)) = requested(&headers, AclResource::Object) else { continue };
        let acl = found.resolve("a:owner", "b:owner");
        if let Ok(stored) = acl.to_stored() {
            let read = apus_bucket::acl::AccessControlList::from_stored(&stored);
            assert_eq!(read, Ok(Some(acl)), "{stored}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(
        pairs: &[(&'static str, &str)],
        resource: AclResource,
    ) -> std::result::Result<Option<RequestedAcl>, Code> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        requested(&headers, resource).map_err(|error| error.code)
    }

    #[test]
    fn canned_acls_and_grants_are_read() {
        use AclResource::{Bucket, Object};
        assert_eq!(of(&[], Object), Ok(None));
        let canned = |canned| Ok(Some(RequestedAcl::Canned(canned)));
        assert_eq!(of(&[(CANNED, "public-read")], Object), canned(CannedAcl::PublicRead));
        let logs = [(CANNED, "log-delivery-write")];
        assert_eq!(of(&logs, Bucket), canned(CannedAcl::LogDeliveryWrite));
        assert_eq!(of(&logs, Object), Err(Code::InvalidArgument));
        let grants = [("x-amz-grant-read", "id=a:b, id=c:d"), ("x-amz-grant-write-acp", "id=a:b")];
        let expected = vec![
            Grant::to_user("a:b", AclPermission::Read),
            Grant::to_user("c:d", AclPermission::Read),
            Grant::to_user("a:b", AclPermission::WriteAcp),
        ];
        assert_eq!(of(&grants, Object), Ok(Some(RequestedAcl::Grants(expected))));
    }

    #[test]
    fn other_headers_are_refused() {
        let many = vec!["id=a:b"; 101].join(",");
        for (pairs, code) in [
            (vec![(CANNED, "public-ready")], Code::InvalidArgument),
            (vec![(CANNED, "")], Code::InvalidArgument),
            (vec![(CANNED, "private"), (CANNED, "public-read")], Code::InvalidArgument),
            (vec![(CANNED, "aws-exec-read")], Code::NotImplemented),
            (vec![(CANNED, "private"), ("x-amz-grant-read", "id=a:b")], Code::InvalidRequest),
            (vec![("x-amz-grant-read", "")], Code::InvalidArgument),
            (vec![("x-amz-grant-read", "a:b")], Code::InvalidArgument),
            (vec![("x-amz-grant-read", "emailAddress=a@b")], Code::UnresolvableGrantByEmailAddress),
            (vec![("x-amz-grant-read", &*many)], Code::MalformedACLError),
        ] {
            assert_eq!(of(&pairs, AclResource::Bucket), Err(code), "{pairs:?}");
        }
    }
}
