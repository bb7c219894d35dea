//! The document of an ACL, `AccessControlPolicy`.

use apus_bucket::acl::{
    AccessControlList, AclPermission, GRANTS_MAX, Grant, Grantee, GranteeGroup,
};

use super::super::error::{Code, Result, S3Error};
use super::super::xml::{self, Element, Writer};

/// Most elements of one grant: itself, the grantee with two children, the permission.
const ELEMENTS_PER_GRANT: usize = 6;

const DOCUMENT: xml::Schema = xml::Schema {
    root: "AccessControlPolicy",
    item: "AccessControlList",
    items_max: 1,
    within_max: (GRANTS_MAX + 1) * ELEMENTS_PER_GRANT,
};

/// Start of a grantee's element; its type follows.
const GRANTEE: &str = "Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=";

fn malformed() -> S3Error {
    S3Error::new(Code::MalformedACLError)
}

/// The text of the only child of this name.
fn only<'a>(element: &'a Element, name: &str) -> Result<&'a str> {
    let mut found = element.children.iter().filter(|child| child.name == name);
    match (found.next(), found.next()) {
        (Some(child), None) if child.children.is_empty() => Ok(child.text.trim()),
        _ => Err(malformed()),
    }
}

fn check_names(element: &Element, known: &[&str]) -> Result<()> {
    let fits = element.children.iter().all(|child| known.contains(&child.name.as_str()));
    if fits { Ok(()) } else { Err(malformed()) }
}

fn parse_grantee(element: &Element) -> Result<Grantee> {
    match element.kind.as_deref() {
        Some("CanonicalUser") => {
            check_names(element, &["ID", "DisplayName"])?;
            Ok(Grantee::user(only(element, "ID")?)?)
        }
        Some("Group") => {
            check_names(element, &["URI"])?;
            Ok(Grantee::Group(GranteeGroup::from_uri(only(element, "URI")?)?))
        }
        Some("AmazonCustomerByEmail") => {
            check_names(element, &["EmailAddress"])?;
            let address = only(element, "EmailAddress")?.to_owned();
            Err(apus_bucket::acl::AclError::Email(address).into())
        }
        _ => Err(malformed()),
    }
}

fn parse_grant(element: &Element) -> Result<Grant> {
    check_names(element, &["Grantee", "Permission"])?;
    let permission = AclPermission::parse(only(element, "Permission")?).ok_or_else(malformed)?;
    let mut grantees = element.children.iter().filter(|child| child.name == "Grantee");
    match (grantees.next(), grantees.next()) {
        (Some(grantee), None) => Ok(Grant { grantee: parse_grantee(grantee)?, permission }),
        _ => Err(malformed()),
    }
}

/// Parses a client's document.
///
/// # Errors
/// `MalformedACLError`, `InvalidArgument`, `UnresolvableGrantByEmailAddress`.
pub(super) fn parse(document: &[u8]) -> Result<AccessControlList> {
    let (mut owner, mut grants) = (None, None);
    let read = xml::read(document, &DOCUMENT, |child| {
        match child.name.as_str() {
            "Owner" if owner.is_none() => {
                check_names(&child, &["ID", "DisplayName"])?;
                owner = Some(only(&child, "ID")?.to_owned());
            }
            "AccessControlList" => {
                check_names(&child, &["Grant"])?;
                if child.children.len() > GRANTS_MAX {
                    return Err(apus_bucket::acl::AclError::TooMany(child.children.len()).into());
                }
                grants = Some(child.children.iter().map(parse_grant).collect::<Result<_>>()?);
            }
            _ => return Err(malformed()),
        }
        Ok(())
    });
    read.map_err(|error| if error.code == Code::MalformedXML { malformed() } else { error })?;
    match (owner, grants) {
        (Some(owner), Some(grants)) => Ok(AccessControlList { owner, grants }),
        _ => Err(malformed()),
    }
}

/// Writes the document.
pub(in crate::s3) fn render(acl: &AccessControlList) -> Writer {
    let mut out = Writer::new();
    out.root("AccessControlPolicy");
    out.owner("Owner", &acl.owner);
    out.open("AccessControlList");
    for grant in acl.listed() {
        out.open("Grant");
        match &grant.grantee {
            Grantee::User(id) => {
                out.open(&format!("{GRANTEE}\"CanonicalUser\""));
                out.text("ID", id);
                out.text("DisplayName", id);
            }
            Grantee::Group(group) => {
                out.open(&format!("{GRANTEE}\"Group\""));
                out.text("URI", group.uri());
            }
        }
        out.close("Grantee");
        out.text("Permission", grant.permission.name());
        out.close("Grant");
    }
    out.close("AccessControlList");
    out.close("AccessControlPolicy");
    out
}

/// Parses a document, and what is written of it: for fuzzing.
pub(in crate::s3) fn fuzz_document(document: &[u8]) {
    if let Ok(acl) = parse(document) {
        let written = render(&acl).finish();
        let again = parse(written.as_bytes());
        let same = again.is_ok_and(|again| again.grants.len() == acl.grants.len());
        // Text that XML cannot represent is replaced when it is written.
        assert!(same || written.contains('\u{fffd}'), "{written}");
    }
}

#[cfg(test)]
mod tests {
    use apus_bucket::acl::{CannedAcl, RequestedAcl};

    use super::*;

    fn code(document: &str) -> Code {
        parse(document.as_bytes()).unwrap_err().code
    }

    #[test]
    fn what_is_written_is_read_again() {
        for canned in CannedAcl::ALL {
            let acl = RequestedAcl::Canned(canned).resolve("a:owner<&>", "b:bucket");
            let written = render(&acl).finish();
            let read = parse(written.as_bytes()).unwrap();
            assert_eq!(read.owner, acl.owner);
            assert!(read.grants.iter().eq(acl.listed()), "{written}");
        }
    }

    fn document(grant: &str) -> String {
        format!(
            "<AccessControlPolicy><Owner><ID>a:b</ID></Owner>\
             <AccessControlList><Grant>{grant}</Grant></AccessControlList></AccessControlPolicy>"
        )
    }

    #[test]
    fn documents_are_read_strictly() {
        let user = "<Grantee xmlns:i='x' i:type='CanonicalUser'><ID>c:d</ID></Grantee>";
        let read = parse(document(&format!("{user}<Permission>READ</Permission>")).as_bytes());
        let expected = Grant::to_user("c:d", AclPermission::Read);
        assert_eq!(read.unwrap().grants, [expected]);
        let malformed = Code::MalformedACLError;
        for (grant, expected) in [
            (String::new(), malformed),
            (user.to_owned(), malformed),
            (format!("{user}<Permission>ALL</Permission>"), malformed),
            (format!("{user}{user}<Permission>READ</Permission>"), malformed),
            (format!("{user}<Permission>READ</Permission><Other/>"), malformed),
            ("<Grantee><ID>c:d</ID></Grantee><Permission>READ</Permission>".to_owned(), malformed),
            (
                "<Grantee type='Group'><URI>http://x</URI></Grantee><Permission>READ</Permission>"
                    .to_owned(),
                Code::InvalidArgument,
            ),
            (
                "<Grantee type='AmazonCustomerByEmail'><EmailAddress>a@b</EmailAddress></Grantee>\
                 <Permission>READ</Permission>"
                    .to_owned(),
                Code::UnresolvableGrantByEmailAddress,
            ),
        ] {
            assert_eq!(code(&document(&grant)), expected, "{grant}");
        }
        for bad in [
            "",
            "<AccessControlPolicy/>",
            "<AccessControlPolicy><AccessControlList/></AccessControlPolicy>",
            "<AccessControlPolicy><Owner><ID>a</ID></Owner></AccessControlPolicy>",
            "<AccessControlPolicy><Owner/><AccessControlList/></AccessControlPolicy>",
        ] {
            assert_eq!(code(bad), malformed, "{bad}");
        }
        let empty = "<AccessControlPolicy><Owner><ID>a</ID></Owner><AccessControlList/></AccessControlPolicy>";
        assert!(parse(empty.as_bytes()).unwrap().grants.is_empty());
    }

    #[test]
    fn a_document_has_at_most_100_grants() {
        let grant = "<Grant><Grantee type='CanonicalUser'><ID>a:b</ID><DisplayName/></Grantee>\
                     <Permission>READ</Permission></Grant>";
        let of = |count: usize| {
            format!(
                "<AccessControlPolicy><Owner><ID>a</ID></Owner><AccessControlList>{}\
                 </AccessControlList></AccessControlPolicy>",
                grant.repeat(count)
            )
        };
        assert_eq!(parse(of(100).as_bytes()).unwrap().grants.len(), 100);
        assert_eq!(code(&of(101)), Code::MalformedACLError);
    }
}
