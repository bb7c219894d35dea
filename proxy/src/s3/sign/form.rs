//! Verification of the signed policy of a form, in versions 4 and 2.
//!
//! The signature covers the policy, and the policy the form. Version 2 must be switched on.

use apus_store::access::Identity;

use super::terms::SignatureTerms;
use super::v4::{Carrier, check_scope, credential, verify_text};
use super::{invalid_token, version_2_refused};
use super::{time, v2};
use crate::auth::key_lookup::ClaimedKey;
use crate::deps::ProxyDeps;
use crate::s3::error::{Code, Result, S3Error};
use crate::s3::form::fields::FormFields;

/// The signer of a form's policy, and its account.
pub(in crate::s3) struct FormSigner {
    pub(in crate::s3) identity: Identity,
    pub(in crate::s3) account: String,
}

/// The access key that a form claims to be signed with. Nothing is verified.
pub(in crate::s3) fn claimed_access_key(fields: &FormFields) -> Option<String> {
    let scope = fields.get("x-amz-credential");
    let in_scope = scope.and_then(|scope| scope.rsplitn(5, '/').nth(4));
    in_scope.or_else(|| fields.get("awsaccesskeyid")).map(str::to_owned)
}

fn argument(name: &str, value: &str, text: &str) -> S3Error {
    S3Error::new(Code::InvalidArgument).text(text).argument(name, value)
}

/// Verifies the signature of a policy as the form has it, in base64.
///
/// # Errors
/// `InvalidArgument` for a missing or malformed field, `InvalidAccessKeyId`, `SignatureDoesNotMatch`.
pub(in crate::s3) async fn verify(
    deps: &ProxyDeps,
    fields: &FormFields,
    policy: &str,
) -> Result<FormSigner> {
    let claimed = claimed_access_key(fields).unwrap_or_default();
    let key = ClaimedKey::find(deps, &claimed).await?;
    let terms = SignatureTerms::of(deps, &key);
    if fields.get("x-amz-security-token").is_some_and(|token| !token.is_empty()) {
        return Err(invalid_token());
    }
    let is_v4 = ["x-amz-algorithm", "x-amz-credential", "x-amz-signature"]
        .iter()
        .any(|name| fields.get(name).is_some());
    if is_v4 {
        return verify_v4(&terms, fields, policy);
    }
    if !terms.config.sigv2 {
        return Err(version_2_refused());
    }
    let access_key = fields.require("AWSAccessKeyId")?;
    let signature = fields.require("signature")?;
    let signed = v2::verify(&terms, access_key, signature, policy.to_owned())?;
    Ok(FormSigner { identity: signed.identity, account: signed.account })
}

fn verify_v4(terms: &SignatureTerms<'_>, fields: &FormFields, policy: &str) -> Result<FormSigner> {
    let algorithm = fields.require("x-amz-algorithm")?;
    if algorithm != "AWS4-HMAC-SHA256" {
        let text = "x-amz-algorithm only supports \"AWS4-HMAC-SHA256\"";
        return Err(argument("x-amz-algorithm", algorithm, text));
    }
    let scope = fields.require("x-amz-credential")?;
    let date = fields.require("x-amz-date")?;
    let signature = fields.require("x-amz-signature")?;
    let seconds = time::parse_amz_date(date).ok_or_else(|| {
        let text = "x-amz-date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"";
        argument("x-amz-date", date, text)
    })?;
    let credential = credential(scope, Carrier::Form)?;
    check_scope(&credential, date, &terms.config.region, Carrier::Form)?;
    let signed = verify_text(terms, &credential, seconds, policy, signature)?;
    Ok(FormSigner { identity: signed.identity, account: signed.account })
}
