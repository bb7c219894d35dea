//! The condition keys of AWS that documents may name.
//!
//! Keys that this cluster's requests never have, `aws:SourceVpc` for example, are known: a condition
//! on one sees it absent, as in a request to AWS that does not have it.
//!
//! Source: "AWS global condition context keys" and "Condition keys for Amazon S3" (2026).

/// Keys of all services, in lower case. One that ends in `/` is followed by the key of a tag.
static GLOBAL: [&str; 49] = [
    "aws:assumedroot",
    "aws:calledvia",
    "aws:calledviafirst",
    "aws:calledvialast",
    "aws:currenttime",
    "aws:ec2instancesourceprivateipv4",
    "aws:ec2instancesourcevpc",
    "aws:epochtime",
    "aws:federatedprovider",
    "aws:multifactorauthage",
    "aws:multifactorauthpresent",
    "aws:principalaccount",
    "aws:principalarn",
    "aws:principalisawsservice",
    "aws:principalorgid",
    "aws:principalorgpaths",
    "aws:principalservicename",
    "aws:principalservicenameslist",
    "aws:principaltag/",
    "aws:principaltype",
    "aws:referer",
    "aws:requestedregion",
    "aws:requesttag/",
    "aws:resourceaccount",
    "aws:resourceorgid",
    "aws:resourceorgpaths",
    "aws:resourcetag/",
    "aws:securetransport",
    "aws:sourceaccount",
    "aws:sourcearn",
    "aws:sourceidentity",
    "aws:sourceip",
    "aws:sourceorgid",
    "aws:sourceorgpaths",
    "aws:sourceowner",
    "aws:sourcevpc",
    "aws:sourcevpcarn",
    "aws:sourcevpce",
    "aws:tagkeys",
    "aws:tokenissuetime",
    "aws:useragent",
    "aws:userid",
    "aws:username",
    "aws:viaawsservice",
    "aws:vpceaccount",
    "aws:vpceorgid",
    "aws:vpceorgpaths",
    "aws:vpcsourceip",
    "aws:chatbotsourcearn",
];

/// Keys of S3, in lower case. One that ends in `/` is followed by the key of a tag.
static S3: [&str; 50] = [
    "s3:accessgrantsinstancearn",
    "s3:accesspointnetworkorigin",
    "s3:accesspointtag/",
    "s3:authtype",
    "s3:buckettag/",
    "s3:dataaccesspointaccount",
    "s3:dataaccesspointarn",
    "s3:delimiter",
    "s3:destinationregion",
    "s3:existingjoboperation",
    "s3:existingjobpriority",
    "s3:existingobjecttag/",
    "s3:if-match",
    "s3:if-none-match",
    "s3:inventoryaccessibleoptionalfields",
    "s3:isreplicationpauserequest",
    "s3:jobsuspendedcause",
    "s3:locationconstraint",
    "s3:max-keys",
    "s3:object-lock-legal-hold",
    "s3:object-lock-mode",
    "s3:object-lock-remaining-retention-days",
    "s3:object-lock-retain-until-date",
    "s3:objectcreationoperation",
    "s3:prefix",
    "s3:requestjoboperation",
    "s3:requestjobpriority",
    "s3:requestobjecttag/",
    "s3:requestobjecttagkeys",
    "s3:resourceaccount",
    "s3:signatureage",
    "s3:signatureversion",
    "s3:tlsversion",
    "s3:versionid",
    "s3:x-amz-acl",
    "s3:x-amz-bucket-namespace",
    "s3:x-amz-content-sha256",
    "s3:x-amz-copy-source",
    "s3:x-amz-grant-full-control",
    "s3:x-amz-grant-read",
    "s3:x-amz-grant-read-acp",
    "s3:x-amz-grant-write",
    "s3:x-amz-grant-write-acp",
    "s3:x-amz-metadata-directive",
    "s3:x-amz-object-ownership",
    "s3:x-amz-server-side-encryption",
    "s3:x-amz-server-side-encryption-aws-kms-key-id",
    "s3:x-amz-server-side-encryption-customer-algorithm",
    "s3:x-amz-storage-class",
    "s3:x-amz-website-redirect-location",
];

/// The key in the form in which the request is asked for it: in lower case, except the key of a tag.
pub(crate) fn normalize(key: &str) -> String {
    match key.split_once('/') {
        Some((name, tag)) => format!("{}/{tag}", name.to_ascii_lowercase()),
        None => key.to_ascii_lowercase(),
    }
}

/// Whether a normalized key is one of AWS's global keys or of S3.
pub(crate) fn is_known(key: &str) -> bool {
    let known = |name: &str| GLOBAL.contains(&name) || S3.contains(&name);
    match key.split_once('/') {
        Some((name, tag)) => !tag.is_empty() && known(&format!("{name}/")),
        None => known(key),
    }
}

/// Whether a normalized key belongs to another service.
pub(crate) fn is_foreign(key: &str) -> bool {
    match key.split_once(':') {
        Some((service, name)) => !matches!(service, "" | "aws" | "s3") && !name.is_empty(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_without_regard_to_case_and_tags_with() {
        for key in ["aws:SourceIp", "AWS:sourceip", "s3:ExistingObjectTag/a/B", "S3:Prefix"] {
            assert!(is_known(&normalize(key)), "{key}");
        }
        assert_eq!(normalize("S3:ExistingObjectTag/Team/X"), "s3:existingobjecttag/Team/X");
        for key in
            ["", "aws:", "s3:ExistingObjectTag", "s3:ExistingObjectTag/", "s3:prefix/x", "x:y"]
        {
            assert!(!is_known(&normalize(key)), "{key}");
        }
        assert!(is_foreign("sts:externalid") && !is_foreign("s3:x") && !is_foreign("x"));
    }
}
