//! Server-side encryption: the headers of requests and responses.
//!
//! SSE-S3 and SSE-KMS are chosen when an object is written; SSE-C sends its key with each request. The
//! parts of an upload have the encryption with which it was begun, so SSE-S3 and SSE-KMS headers of
//! UploadPart and CompleteMultipartUpload have no effect.

use std::sync::Arc;

use apus_daemon::http::{header, set};
use apus_store::encryption::{
    ObjectEncryption, ReadKey, RequestEncryption, SecretKey, WriteEncryption,
};
use apus_store::operation::{ObjectHead, ObjectWritten};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;

use super::error::{Code, Result, S3Error};
use super::operation::Operation;

const ALGORITHM: &str = "x-amz-server-side-encryption";
const KMS_KEY: &str = "x-amz-server-side-encryption-aws-kms-key-id";
const BUCKET_KEY: &str = "x-amz-server-side-encryption-bucket-key-enabled";
const CONTEXT: &str = "x-amz-server-side-encryption-context";
/// Prefix of the headers with a client's key.
const CUSTOMER: &str = "x-amz-server-side-encryption-customer-";
/// Prefix of the headers with the key of a copy's source.
const SOURCE_CUSTOMER: &str = "x-amz-copy-source-server-side-encryption-customer-";
/// Longest encryption context, in bytes: AWS's limit is that of a header.
const CONTEXT_BYTES_MAX: usize = 2048;

fn invalid(name: &str, value: &str, text: impl Into<String>) -> S3Error {
    S3Error::new(Code::InvalidArgument).text(text).argument(name, value)
}

/// The client's key in three headers with this prefix.
///
/// # Errors
/// `InvalidArgument` unless all three are there and match.
fn customer_key(headers: &HeaderMap, prefix: &str) -> Result<Option<SecretKey>> {
    let [algorithm, key, md5] =
        ["algorithm", "key", "key-md5"].map(|name| header(headers, &format!("{prefix}{name}")));
    let name = |end: &str| format!("{prefix}{end}");
    let (algorithm, key, md5) = match (algorithm, key, md5) {
        (None, None, None) => return Ok(None),
        (Some(algorithm), Some(key), Some(md5)) => (algorithm, key, md5),
        (None, ..) => {
            return Err(invalid(
                &name("algorithm"),
                "",
                "Requests specifying Server Side Encryption with Customer provided keys must provide a valid encryption algorithm.",
            ));
        }
        (_, None, _) => {
            return Err(invalid(
                &name("key"),
                "",
                "Requests specifying Server Side Encryption with Customer provided keys must provide an appropriate secret key.",
            ));
        }
        (.., None) => {
            return Err(invalid(
                &name("key-md5"),
                "",
                "Requests specifying Server Side Encryption with Customer provided keys must provide the client calculated MD5 of the secret key.",
            ));
        }
    };
    if algorithm != "AES256" {
        return Err(S3Error::new(Code::InvalidEncryptionAlgorithmError)
            .argument(&name("algorithm"), algorithm));
    }
    let decoded = STANDARD.decode(key).unwrap_or_default();
    // The key is not repeated in the error.
    let secret = SecretKey::from_slice(&decoded).ok_or_else(|| {
        invalid(&name("key"), "", "The secret key was invalid for the specified algorithm.")
    })?;
    let digest = md5::compute(&decoded);
    match STANDARD.decode(md5).is_ok_and(|sent| sent == digest.0) {
        true => Ok(Some(secret)),
        false => Err(invalid(
            &name("key-md5"),
            md5,
            "The calculated MD5 hash of the key did not match the hash that was provided.",
        )),
    }
}

/// A header that is `true` or `false`.
fn flag(headers: &HeaderMap, name: &str) -> Result<bool> {
    match header(headers, name) {
        None => Ok(false),
        Some(text) if text.eq_ignore_ascii_case("true") => Ok(true),
        Some(text) if text.eq_ignore_ascii_case("false") => Ok(false),
        Some(text) => Err(invalid(name, text, format!("{name}: expected true or false"))),
    }
}

/// The encryption context: JSON in base64.
fn context(headers: &HeaderMap) -> Result<String> {
    let Some(text) = header(headers, CONTEXT) else { return Ok(String::new()) };
    let wrong = || {
        invalid(
            CONTEXT,
            text,
            "The header x-amz-server-side-encryption-context is not base64 of a JSON object of strings",
        )
    };
    let json = STANDARD.decode(text).ok().filter(|json| json.len() <= CONTEXT_BYTES_MAX);
    let json = json.and_then(|json| String::from_utf8(json).ok()).ok_or_else(wrong)?;
    let pairs = serde_json::from_str::<std::collections::BTreeMap<String, String>>(&json);
    pairs.map(|_| json).map_err(|_| wrong())
}

/// The encryption that a write asks for.
///
/// # Errors
/// `InvalidArgument` for unknown algorithms and conflicts.
fn of_write(headers: &HeaderMap) -> Result<Option<WriteEncryption>> {
    let customer = customer_key(headers, CUSTOMER)?;
    let key = header(headers, KMS_KEY);
    let bucket_key = flag(headers, BUCKET_KEY)?;
    match (header(headers, ALGORITHM), customer) {
        (Some(other), Some(_)) => Err(invalid(
            ALGORITHM,
            other,
            "Server Side Encryption with Customer provided key is incompatible with the encryption method specified",
        )),
        (None, Some(_)) if key.is_some() => Err(invalid(
            KMS_KEY,
            key.unwrap_or_default(),
            "Server Side Encryption with Customer provided key is incompatible with a key id of aws:kms",
        )),
        (None, Some(key)) => Ok(Some(WriteEncryption::Customer(key))),
        (Some("aws:kms"), None) => Ok(Some(WriteEncryption::Kms {
            key: key.map(str::to_owned),
            context: context(headers)?,
            bucket_key,
        })),
        (given, None) if key.is_some() || header(headers, CONTEXT).is_some() => {
            let name = if key.is_some() { KMS_KEY } else { CONTEXT };
            Err(invalid(
                name,
                given.unwrap_or_default(),
                format!(
                    "Server Side Encryption with AWS KMS managed key requires HTTP header {ALGORITHM} : aws:kms"
                ),
            ))
        }
        (Some("AES256"), None) => Ok(Some(WriteEncryption::Managed)),
        (Some("aws:kms:dsse"), None) => Err(S3Error::new(Code::NotImplemented)
            .text("x-amz-server-side-encryption: aws:kms:dsse is not implemented")),
        (Some(other), None) => {
            Err(invalid(ALGORITHM, other, "The encryption method specified is not supported"))
        }
        (None, None) => Ok(None),
    }
}

fn of_read(headers: &HeaderMap, prefix: &str) -> Result<ReadKey> {
    Ok(customer_key(headers, prefix)?.map_or(ReadKey::Absent, ReadKey::Customer))
}

/// Refuses headers of writes on reads.
fn refuse_of_write(headers: &HeaderMap) -> Result<()> {
    let found = [ALGORITHM, KMS_KEY, CONTEXT, BUCKET_KEY]
        .into_iter()
        .find_map(|name| Some((name, header(headers, name)?)));
    match found {
        Some((name, value)) => {
            Err(invalid(name, value, format!("{name} header is not supported for this operation.")))
        }
        None => Ok(()),
    }
}

/// What a request says of encryption; `None` for operations that it does not concern.
///
/// # Errors
/// `InvalidArgument` for headers that are incomplete or in conflict.
pub(super) fn of_request(
    operation: Operation,
    headers: &HeaderMap,
) -> Result<Option<Arc<RequestEncryption>>> {
    use Operation::*;
    let request = match operation {
        GetObject | HeadObject | GetObjectAttributes => {
            refuse_of_write(headers)?;
            RequestEncryption { read: of_read(headers, CUSTOMER)?, write: None }
        }
        PutObject | PostObject | CreateMultipartUpload => {
            let write = of_write(headers)?;
            if write.is_none() {
                return Ok(None);
            }
            RequestEncryption { read: ReadKey::Unchecked, write }
        }
        CopyObject => RequestEncryption {
            read: of_read(headers, SOURCE_CUSTOMER)?,
            write: of_write(headers)?,
        },
        UploadPart | CompleteMultipartUpload => {
            let write = customer_key(headers, CUSTOMER)?.map(WriteEncryption::Customer);
            if write.is_none() {
                return Ok(None);
            }
            RequestEncryption { read: ReadKey::Unchecked, write }
        }
        UploadPartCopy => RequestEncryption {
            read: of_read(headers, SOURCE_CUSTOMER)?,
            write: customer_key(headers, CUSTOMER)?.map(WriteEncryption::Customer),
        },
        _ => return Ok(None),
    };
    Ok(Some(Arc::new(request)))
}

/// Sets the headers that describe the encryption of an object. `request` has the client's key.
pub(super) fn set_headers(
    encryption: Option<&ObjectEncryption>,
    request: &HeaderMap,
    out: &mut HeaderMap,
) {
    match encryption {
        None => {}
        Some(ObjectEncryption::Managed) => set(out, ALGORITHM, "AES256"),
        Some(ObjectEncryption::Kms { key, context, bucket_key }) => {
            set(out, ALGORITHM, "aws:kms");
            set(out, KMS_KEY, key);
            if *bucket_key {
                set(out, BUCKET_KEY, "true");
            }
            if !context.is_empty() {
                set(out, CONTEXT, &STANDARD.encode(context));
            }
        }
        Some(ObjectEncryption::Customer(_)) => {
            for name in ["algorithm", "key-md5"].map(|end| format!("{CUSTOMER}{end}")) {
                if let Some(value) = header(request, &name) {
                    set(out, &name, value);
                }
            }
        }
    }
}

/// Sets the headers of a response to a write.
pub(super) fn set_written(written: &ObjectWritten, request: &HeaderMap, out: &mut HeaderMap) {
    set_headers(written.encryption.as_ref(), request, out);
}

/// Sets the headers of a response to a read.
///
/// # Errors
/// `InvalidRequest` when the request has a client's key and the object needs none.
pub(super) fn set_read(head: &ObjectHead, request: &HeaderMap, out: &mut HeaderMap) -> Result<()> {
    let encryption = ObjectEncryption::of(&head.metadata)?;
    expect_key(encryption.as_ref(), request, CUSTOMER)?;
    set_headers(encryption.as_ref(), request, out);
    Ok(())
}

fn expect_key(
    encryption: Option<&ObjectEncryption>,
    request: &HeaderMap,
    prefix: &str,
) -> Result<()> {
    let is_sent = header(request, &format!("{prefix}key")).is_some();
    match encryption {
        Some(ObjectEncryption::Customer(_)) => Ok(()),
        _ if is_sent => Err(S3Error::new(Code::InvalidRequest)
            .text("The encryption parameters are not applicable to this object.")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 32 times `k`, and its MD5.
    const KEY: &str = "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=";

    fn headers(items: &[(&'static str, &str)]) -> HeaderMap {
        items
            .iter()
            .map(|(name, value)| ((*name).parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    fn customer() -> [(&'static str, String); 3] {
        [
            ("x-amz-server-side-encryption-customer-algorithm", "AES256".to_owned()),
            ("x-amz-server-side-encryption-customer-key", KEY.to_owned()),
            (
                "x-amz-server-side-encryption-customer-key-md5",
                STANDARD.encode(md5::compute([b'k'; 32]).0),
            ),
        ]
    }

    fn write(items: &[(&'static str, &str)]) -> std::result::Result<Option<WriteEncryption>, Code> {
        of_write(&headers(items)).map_err(|error| error.code)
    }

    #[test]
    fn a_write_has_one_encryption() {
        let kms = |key: Option<&str>, context: &str, bucket_key| {
            Ok(Some(WriteEncryption::Kms {
                key: key.map(str::to_owned),
                context: context.to_owned(),
                bucket_key,
            }))
        };
        let context = STANDARD.encode("{\"a\": \"b\"}");
        for (items, expected) in [
            (vec![], Ok(None)),
            (vec![(ALGORITHM, "AES256")], Ok(Some(WriteEncryption::Managed))),
            (vec![(ALGORITHM, "aws:kms")], kms(None, "", false)),
            (
                vec![(ALGORITHM, "aws:kms"), (KMS_KEY, "k"), (BUCKET_KEY, "True")],
                kms(Some("k"), "", true),
            ),
            (vec![(ALGORITHM, "aws:kms"), (CONTEXT, &context)], kms(None, "{\"a\": \"b\"}", false)),
            (vec![(ALGORITHM, "aws:kms"), (CONTEXT, "e30?")], Err(Code::InvalidArgument)),
            (vec![(ALGORITHM, "AES256"), (KMS_KEY, "k")], Err(Code::InvalidArgument)),
            (vec![(KMS_KEY, "k")], Err(Code::InvalidArgument)),
            (vec![(ALGORITHM, "aes:kms")], Err(Code::InvalidArgument)),
            (vec![(ALGORITHM, "")], Err(Code::InvalidArgument)),
            (vec![(ALGORITHM, "aws:kms:dsse")], Err(Code::NotImplemented)),
            (vec![(BUCKET_KEY, "maybe")], Err(Code::InvalidArgument)),
        ] {
            assert_eq!(write(&items), expected, "{items:?}");
        }
    }

    #[test]
    fn a_clients_key_is_complete_and_alone() {
        let all = customer();
        let items: Vec<(&'static str, &str)> =
            all.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(write(&items), Ok(Some(WriteEncryption::Customer(SecretKey::new([b'k'; 32])))));
        for left_out in 0..3 {
            let mut some = items.clone();
            some.remove(left_out);
            assert_eq!(write(&some), Err(Code::InvalidArgument), "{left_out}");
        }
        for (at, value, code) in [
            (0, "AES128", Code::InvalidEncryptionAlgorithmError),
            (1, "a2tr", Code::InvalidArgument),
            (1, "?", Code::InvalidArgument),
            (2, "AAAAAAAAAAAAAAAAAAAAAA==", Code::InvalidArgument),
        ] {
            let mut wrong = items.clone();
            wrong[at].1 = value;
            assert_eq!(write(&wrong), Err(code), "{value}");
        }
        for more in [(ALGORITHM, "AES256"), (ALGORITHM, "aws:kms"), (KMS_KEY, "k")] {
            let mut conflict = items.clone();
            conflict.push(more);
            assert_eq!(write(&conflict), Err(Code::InvalidArgument), "{more:?}");
        }
    }

    #[test]
    fn operations_read_their_own_headers() {
        let managed = headers(&[(ALGORITHM, "AES256")]);
        let code = |operation| of_request(operation, &managed).map_err(|error| error.code);
        assert_eq!(code(Operation::GetObject).unwrap_err(), Code::InvalidArgument);
        assert!(code(Operation::UploadPart).unwrap().is_none());
        assert!(code(Operation::ListObjects).unwrap().is_none());
        let put = code(Operation::PutObject).unwrap().unwrap();
        assert_eq!(put.write, Some(WriteEncryption::Managed));
        let none = HeaderMap::new();
        let get = of_request(Operation::GetObject, &none).unwrap().unwrap();
        assert_eq!(get.read, ReadKey::Absent);
        assert!(of_request(Operation::PutObject, &none).unwrap().is_none());
    }

    #[test]
    fn a_key_for_an_object_that_needs_none_is_refused() {
        let sent = headers(&[("x-amz-server-side-encryption-customer-key", KEY)]);
        let mut out = HeaderMap::new();
        let refused = set_read(&ObjectHead::default(), &sent, &mut out).unwrap_err();
        assert_eq!(refused.code, Code::InvalidRequest);
    }
}
