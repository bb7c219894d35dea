//! AWS Signature Version 4 as a client writes it: with three signed headers.
//!
//! Path and query come in their canonical spelling (encoded, pairs sorted), so that what is signed
//! is what is sent.

use std::time::{Duration, SystemTime};

use apus_cluster::timestamp::civil_from_days;
use aws_sigv4::sign::v4::{calculate_signature, generate_signing_key};
use sha2::{Digest, Sha256};

/// Stands for the hash of a body that is not hashed.
pub(super) const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// Who signs, and for where.
#[derive(Clone)]
pub(super) struct Signer {
    pub(super) access_key: String,
    pub(super) secret_key: String,
    pub(super) region: String,
    pub(super) host: String,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer(secret)")
    }
}

/// Headers of a signed request.
#[derive(Debug)]
pub(super) struct Signature {
    pub(super) date: String,
    pub(super) authorization: String,
}

/// `YYYYMMDD'T'HHMMSS'Z'`.
fn amz_date(now: Duration) -> String {
    let seconds = now.as_secs();
    let (year, month, day) = civil_from_days(seconds / 86_400);
    let time = seconds % 86_400;
    format!("{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z", time / 3600, time / 60 % 60, time % 60)
}

impl Signer {
    /// Signs one request; `now` counts from 1970.
    pub(super) fn sign(
        &self,
        now: Duration,
        method: &str,
        path: &str,
        query: &str,
        payload_hash: &str,
    ) -> Signature {
        let Self { access_key, secret_key, region, host } = self;
        let date = amz_date(now);
        let day = date.get(..8).unwrap_or_default();
        let scope = format!("{day}/{region}/s3/aws4_request");
        let names = "host;x-amz-content-sha256;x-amz-date";
        let canonical = format!(
            "{method}\n{path}\n{query}\nhost:{host}\nx-amz-content-sha256:{payload_hash}\n\
             x-amz-date:{date}\n\n{names}\n{payload_hash}"
        );
        let hash = hex::encode(Sha256::digest(canonical.as_bytes()));
        let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{hash}");
        let key = generate_signing_key(secret_key, SystemTime::UNIX_EPOCH + now, region, "s3");
        let signature = calculate_signature(key, text.as_bytes());
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={access_key}/{scope},SignedHeaders={names},\
             Signature={signature}"
        );
        Signature { date, authorization }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2013-05-24, the day of all examples in the S3 API reference.
    const EXAMPLE_DAY: Duration = Duration::from_secs(1_369_353_600);
    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn example(query: &str) -> Signature {
        let signer = Signer {
            access_key: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(),
            region: "us-east-1".to_owned(),
            host: "examplebucket.s3.amazonaws.com".to_owned(),
        };
        signer.sign(EXAMPLE_DAY, "GET", "/", query, EMPTY)
    }

    #[test]
    fn the_lifecycle_example_of_the_reference_has_its_signature() {
        let signed = example("lifecycle=");
        assert_eq!(signed.date, "20130524T000000Z");
        assert_eq!(
            signed.authorization,
            "AWS4-HMAC-SHA256 \
             Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
             SignedHeaders=host;x-amz-content-sha256;x-amz-date,\
             Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
        );
    }

    #[test]
    fn the_listing_example_of_the_reference_has_its_signature() {
        let signed = example("max-keys=2&prefix=J");
        assert!(
            signed
                .authorization
                .ends_with("=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7")
        );
    }

    #[test]
    fn the_secret_does_not_show_when_printed() {
        let signer = Signer {
            access_key: String::new(),
            secret_key: "hush".to_owned(),
            region: String::new(),
            host: String::new(),
        };
        assert!(!format!("{signer:?}").contains("hush"));
    }
}
