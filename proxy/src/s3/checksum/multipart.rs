//! The checksum of a multipart object, computed from those of its parts.
//!
//! COMPOSITE is the checksum of the parts' binary checksums, followed by a dash and their number.
//! FULL_OBJECT is the checksum of the whole content, into which only CRCs can be combined.
//! Source: "Checking object integrity in Amazon S3", part-level checksums for multipart uploads.

use apus_cluster::Metadata;
use apus_daemon::Body;
use apus_daemon::http::header;
use apus_store::body::LateMetadata;
use apus_store::operation::{FaultyPart, PartCheck, PartHead, Seal};
use apus_store::{Error, Kind, Subject};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crc_fast::{CrcAlgorithm, checksum_combine};
use http::HeaderMap;

use super::algorithm::{Algorithm, Digest};
use super::declared::not_single;
use super::stored::{ChecksumType, TYPE_KEY};
use super::verify::VerifiedBody;
use crate::s3::body_error::coded;
use crate::s3::error::{Code, Result, S3Error};
use crate::s3::xml::Element;

/// System metadata with the algorithm that was chosen when an upload began.
pub(in crate::s3) const ALGORITHM_KEY: &str = "X-Object-Sysmeta-S3Api-Checksum-Algorithm";
/// The algorithm and type that a request chooses; a type alone is refused.
pub(in crate::s3) fn choice(headers: &HeaderMap) -> Result<Option<(Algorithm, ChecksumType)>> {
    let refuse = |text: String| S3Error::new(Code::InvalidRequest).text(text);
    let kind = requested_type(headers)?;
    let Some(name) = header(headers, "x-amz-checksum-algorithm") else {
        return match kind {
            None => Ok(None),
            Some(_) => Err(refuse("x-amz-checksum-type requires x-amz-checksum-algorithm".into())),
        };
    };
    let algorithm = Algorithm::ALL.into_iter().find(|known| known.name() == name);
    let algorithm = algorithm.ok_or_else(|| {
        let known = Algorithm::ALL.map(Algorithm::name).join(", ");
        refuse(format!("Checksum algorithm provided is unsupported. Please try again with any of the valid types: [{known}]"))
    })?;
    let kind = kind.unwrap_or(ChecksumType::of(algorithm));
    if !kind.supports(algorithm) {
        return Err(refuse(format!(
            "The {} checksum type cannot be used with the {} checksum algorithm.",
            kind.name(),
            algorithm.name().to_ascii_lowercase()
        )));
    }
    Ok(Some((algorithm, kind)))
}

fn requested_type(headers: &HeaderMap) -> Result<Option<ChecksumType>> {
    let Some(name) = header(headers, "x-amz-checksum-type") else { return Ok(None) };
    match ChecksumType::named(name) {
        Some(kind) => Ok(Some(kind)),
        None => Err(S3Error::new(Code::InvalidRequest)
            .text("Value for x-amz-checksum-type header is invalid.")),
    }
}

/// Stores the choice with an upload, and thereby with the object that is made of it.
pub(in crate::s3) fn keep(choice: (Algorithm, ChecksumType), metadata: &mut Metadata) {
    metadata.insert(ALGORITHM_KEY.to_owned(), choice.0.name().to_owned());
    metadata.insert(TYPE_KEY.to_owned(), choice.1.name().to_owned());
}

/// The checksums and size that a request declares when it completes an upload.
#[derive(Debug, Default)]
pub(in crate::s3) struct UploadChecksum {
    value: Option<(Algorithm, String)>,
    kind: Option<ChecksumType>,
    size: Option<u64>,
    parts: Vec<(usize, Algorithm, String)>,
}

impl UploadChecksum {
    /// Parses the headers.
    pub(in crate::s3) fn of(headers: &HeaderMap) -> Result<Self> {
        let mut whole = Self { kind: requested_type(headers)?, ..Self::default() };
        for algorithm in Algorithm::ALL {
            let Some(value) = header(headers, &algorithm.header()) else { continue };
            let digest = value.rsplit_once('-').map_or(value, |(digest, _)| digest);
            if !STANDARD.decode(digest).is_ok_and(|bytes| bytes.len() == algorithm.bytes()) {
                return Err(S3Error::new(Code::BadDigest)
                    .text(format!("Value for {} header is invalid.", algorithm.header())));
            }
            if whole.value.replace((algorithm, value.to_owned())).is_some() {
                return Err(not_single());
            }
        }
        if let Some(text) = header(headers, "x-amz-mp-object-size") {
            let size = text.parse().map_err(|_| {
                S3Error::new(Code::InvalidRequest)
                    .text("Value for x-amz-mp-object-size header is invalid.")
            })?;
            whole.size = Some(size);
        }
        Ok(whole)
    }

    /// Adds the checksums that the document declares for a part.
    pub(in crate::s3) fn part(&mut self, number: u32, part: &Element) {
        for algorithm in Algorithm::ALL {
            if let Some(value) = part.text_of(&algorithm.element()) {
                let number = usize::try_from(number).unwrap_or(usize::MAX);
                self.parts.push((number, algorithm, value.trim().to_owned()));
            }
        }
    }

    /// Algorithm and type of the object: chosen when the upload began, or in this request.
    fn chosen(&self, upload: &Metadata) -> Option<(Algorithm, ChecksumType)> {
        match (begun_with(upload), &self.value) {
            (Some(algorithm), _) => Some((algorithm, ChecksumType::stored(upload))),
            (None, Some((algorithm, _))) => {
                Some((*algorithm, self.kind.unwrap_or(ChecksumType::of(*algorithm))))
            }
            (None, None) => None,
        }
    }
}

fn invalid_request(text: impl Into<String>) -> Error {
    coded("InvalidRequest", &text.into())
}

impl Seal for UploadChecksum {
    fn needs_parts(&self, upload: &Metadata) -> bool {
        self.chosen(upload).is_some() || !self.parts.is_empty()
    }

    fn seal(&self, upload: &Metadata, parts: &[PartHead]) -> apus_store::Result<Metadata> {
        let total: u64 = parts.iter().map(|part| part.length).fold(0, u64::saturating_add);
        if self.size.is_some_and(|size| size != total) {
            return Err(invalid_request(format!(
                "The provided 'x-amz-mp-object-size' header does not match the {total} bytes of the parts"
            )));
        }
        for (number, algorithm, value) in &self.parts {
            let part = parts.iter().find(|part| part.number == *number);
            let stored = part.and_then(|part| part.metadata.get(&algorithm.key()));
            if stored.is_some_and(|stored| stored != value) {
                let text = format!("part {number} with {} {value}", algorithm.name());
                let number = u32::try_from(*number).unwrap_or(u32::MAX);
                let part = FaultyPart { number, ..FaultyPart::default() };
                return Err(Error::new(Kind::InvalidPart, Subject::Upload)
                    .text(text)
                    .about_part(part));
            }
        }
        let Some((algorithm, kind)) = self.chosen(upload) else { return Ok(Metadata::new()) };
        let asked = self.value.as_ref().map(|(algorithm, _)| *algorithm);
        if let Some(asked) = asked.filter(|asked| *asked != algorithm) {
            return Err(mismatch(algorithm, Some(asked)));
        }
        if self.kind.is_some_and(|asked| asked != kind) {
            return Err(invalid_request(format!(
                "The upload was created using the {} checksum mode. The complete request must use the same checksum mode.",
                kind.name()
            )));
        }
        let digests: Option<Vec<(Vec<u8>, u64)>> = parts
            .iter()
            .map(|part| {
                let value = part.metadata.get(&algorithm.key())?;
                Some((STANDARD.decode(value).ok()?, part.length))
            })
            .collect();
        // Without the checksum of each part the object has none, unless the client declares one.
        let Some(digests) = digests else {
            return match self.value {
                None => Ok(Metadata::new()),
                Some(_) => Err(invalid_request(format!(
                    "A part was uploaded without a {} checksum, so that the checksum of the object cannot be verified",
                    algorithm.name()
                ))),
            };
        };
        let value = match kind {
            ChecksumType::Composite => composite(algorithm, &digests),
            ChecksumType::FullObject => full_object(algorithm, &digests),
        };
        if self.value.as_ref().is_some_and(|(_, asked)| !is_same(asked, &value, kind)) {
            let name = algorithm.name();
            let text = format!("The {name} you specified did not match the calculated checksum.");
            return Err(coded("BadDigest", &text));
        }
        Ok(Metadata::from([
            (algorithm.key(), value),
            (TYPE_KEY.to_owned(), kind.name().to_owned()),
        ]))
    }
}

/// The error for a part or request with another algorithm than its upload, or without one.
fn mismatch(expected: Algorithm, actual: Option<Algorithm>) -> Error {
    let word = |algorithm: Algorithm| algorithm.name().to_ascii_lowercase();
    invalid_request(format!(
        "Checksum Type mismatch occurred, expected checksum Type: {}, actual checksum Type: {}",
        word(expected),
        actual.map_or("null".to_owned(), word)
    ))
}

/// Whether a declared checksum is this one. As in AWS a composite one may lack the number of parts,
/// which some clients (minio-go before 7.0.89) omit.
fn is_same(declared: &str, value: &str, kind: ChecksumType) -> bool {
    declared == value
        || (kind == ChecksumType::Composite
            && value.rsplit_once('-').is_some_and(|(digest, _)| digest == declared))
}

/// The algorithm of a part, which must be that of its upload. A part without a checksum is refused if
/// the checksum of the object is composite, and otherwise gets one. A copied part always gets one.
#[derive(Debug)]
pub(in crate::s3) struct PartAlgorithm(pub(in crate::s3) Option<Algorithm>);

impl PartCheck for PartAlgorithm {
    fn check(&self, upload: &Metadata) -> apus_store::Result<()> {
        match (begun_with(upload), self.0) {
            (Some(expected), Some(actual)) if expected != actual => {
                Err(mismatch(expected, Some(actual)))
            }
            (Some(expected), None) if ChecksumType::stored(upload) == ChecksumType::Composite => {
                Err(mismatch(expected, None))
            }
            _ => Ok(()),
        }
    }

    fn wrap(&self, upload: &Metadata, body: Body, late: &LateMetadata) -> Body {
        match begun_with(upload).filter(|_| self.0.is_none()) {
            Some(algorithm) => VerifiedBody::computed(body, algorithm, late),
            None => body,
        }
    }
}

/// The algorithm that was chosen when an upload began.
pub(in crate::s3) fn begun_with(upload: &Metadata) -> Option<Algorithm> {
    let name = upload.get(ALGORITHM_KEY)?;
    Algorithm::ALL.into_iter().find(|algorithm| algorithm.name() == name)
}

fn composite(algorithm: Algorithm, digests: &[(Vec<u8>, u64)]) -> String {
    let mut digest = Digest::new(algorithm);
    for (part, _) in digests {
        digest.update(part);
    }
    format!("{}-{}", digest.base64(), digests.len())
}

fn full_object(algorithm: Algorithm, digests: &[(Vec<u8>, u64)]) -> String {
    let kind = match algorithm {
        Algorithm::Crc32c => CrcAlgorithm::Crc32Iscsi,
        Algorithm::Crc64Nvme => CrcAlgorithm::Crc64Nvme,
        // Only CRCs can be combined: `ChecksumType::supports` refuses the others.
        _ => CrcAlgorithm::Crc32IsoHdlc,
    };
    let number =
        |bytes: &[u8]| bytes.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    let mut whole = digests.iter().map(|(digest, length)| (number(digest), *length));
    let first = whole.next().map_or(0, |(crc, _)| crc);
    let crc = whole.fold(first, |crc, (next, length)| checksum_combine(kind, crc, next, length));
    let bytes = crc.to_be_bytes();
    STANDARD.encode(bytes.get(8 - algorithm.bytes()..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(algorithm: Algorithm, bodies: &[&[u8]]) -> Vec<PartHead> {
        let part = |(index, body): (usize, &&[u8])| {
            let mut digest = Digest::new(algorithm);
            digest.update(body);
            let metadata = Metadata::from([(algorithm.key(), digest.base64())]);
            PartHead { number: index + 1, start: 0, length: body.len() as u64, metadata }
        };
        bodies.iter().enumerate().map(part).collect()
    }

    fn upload(algorithm: Algorithm, kind: ChecksumType) -> Metadata {
        let mut upload = Metadata::new();
        keep((algorithm, kind), &mut upload);
        upload
    }

    #[test]
    fn an_upload_has_the_checksum_of_one_algorithm() {
        let of = |names: &[(&'static str, &str)]| {
            let pairs = names
                .iter()
                .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()));
            UploadChecksum::of(&pairs.collect())
        };
        let [crc32, crc32c] = ["x-amz-checksum-crc32", "x-amz-checksum-crc32c"];
        assert!(of(&[(crc32, "AAAAAA==")]).is_ok());
        assert!(of(&[(crc32, "AAAAAA==-3")]).is_ok());
        let error = of(&[(crc32, "AAAAAA=="), (crc32c, "AAAAAA==")]).unwrap_err();
        assert_eq!(error.code, Code::InvalidRequest);
    }

    #[test]
    fn combined_crcs_equal_the_crc_of_the_whole() {
        for algorithm in [Algorithm::Crc32, Algorithm::Crc32c, Algorithm::Crc64Nvme] {
            let mut digest = Digest::new(algorithm);
            digest.update(b"123456789");
            let sealed = UploadChecksum::default().seal(
                &upload(algorithm, ChecksumType::FullObject),
                &parts(algorithm, &[b"1234", b"5", b"6789"]),
            );
            let whole = sealed.unwrap();
            assert_eq!(whole[&algorithm.key()], digest.base64(), "{algorithm:?}");
            assert_eq!(ChecksumType::stored(&whole), ChecksumType::FullObject);
        }
    }

    #[test]
    fn a_composite_is_the_digest_of_digests_and_their_number() {
        let parts = parts(Algorithm::Sha256, &[&[b'A'; 1024]]);
        let whole = UploadChecksum::default()
            .seal(&upload(Algorithm::Sha256, ChecksumType::Composite), &parts)
            .unwrap();
        // From ceph/s3-tests, test_multipart_checksum_sha256.
        let expected = "Ok6Cs5b96ux6+MWQkJO7UBT5sKPBeXBLwvj/hK89smg=-1";
        assert_eq!(whole[&Algorithm::Sha256.key()], expected);
    }

    #[test]
    fn a_declared_value_must_match_and_missing_ones_are_not_computed() {
        let upload = upload(Algorithm::Sha1, ChecksumType::Composite);
        let mut parts = parts(Algorithm::Sha1, &[b"a", b"b"]);
        let wrong = UploadChecksum {
            value: Some((Algorithm::Sha1, "AAAAAAAAAAAAAAAAAAAAAAAAAAA=-2".into())),
            ..UploadChecksum::default()
        };
        assert_eq!(wrong.seal(&upload, &parts).unwrap_err().kind, Kind::Body);
        let part = UploadChecksum {
            parts: vec![(2, Algorithm::Sha1, "other".into())],
            ..UploadChecksum::default()
        };
        assert_eq!(part.seal(&upload, &parts).unwrap_err().kind, Kind::InvalidPart);
        let size = UploadChecksum { size: Some(3), ..UploadChecksum::default() };
        assert!(size.seal(&upload, &parts).is_err());
        parts[1].metadata.clear();
        assert!(UploadChecksum::default().seal(&upload, &parts).unwrap().is_empty());
        assert!(wrong.seal(&upload, &parts).is_err());
    }

    #[test]
    fn a_composite_may_lack_its_number_of_parts() {
        let parts = parts(Algorithm::Crc32, &[b"a", b"b"]);
        let composite = upload(Algorithm::Crc32, ChecksumType::Composite);
        let whole = UploadChecksum::default().seal(&composite, &parts).unwrap();
        let value = whole[&Algorithm::Crc32.key()].clone();
        let bare = value.strip_suffix("-2").unwrap().to_owned();
        for (value, kind, good) in [
            (value.clone(), ChecksumType::Composite, true),
            (bare.clone(), ChecksumType::Composite, true),
            (format!("{bare}-3"), ChecksumType::Composite, false),
            (format!("{bare}-"), ChecksumType::Composite, false),
            ("AAAAAA==".to_owned(), ChecksumType::Composite, false),
            (bare, ChecksumType::FullObject, false),
        ] {
            let asked = UploadChecksum {
                value: Some((Algorithm::Crc32, value.clone())),
                ..UploadChecksum::default()
            };
            let sealed = asked.seal(&upload(Algorithm::Crc32, kind), &parts);
            assert_eq!(sealed.is_ok(), good, "{value} {kind:?}");
        }
    }

    #[test]
    fn a_part_has_the_algorithm_of_its_upload() {
        let sha = Some(Algorithm::Sha256);
        let crc = Some(Algorithm::Crc32);
        let full = upload(Algorithm::Crc32, ChecksumType::FullObject);
        let composite = upload(Algorithm::Sha256, ChecksumType::Composite);
        for (upload, part, good) in [
            (&Metadata::new(), None, true),
            (&Metadata::new(), crc, true),
            (&composite, sha, true),
            (&composite, crc, false),
            (&composite, None, false),
            (&full, crc, true),
            (&full, sha, false),
            (&full, None, true),
        ] {
            assert_eq!(PartAlgorithm(part).check(upload).is_ok(), good, "{part:?}");
        }
    }

    #[test]
    fn types_that_an_algorithm_does_not_support_are_refused() {
        let mut headers = HeaderMap::new();
        headers.insert("x-amz-checksum-type", "FULL_OBJECT".parse().unwrap());
        assert!(choice(&headers).is_err(), "a type alone");
        for (algorithm, kind, good) in [
            ("SHA1", "FULL_OBJECT", false),
            ("CRC64NVME", "COMPOSITE", false),
            ("CRC32", "COMPOSITE", true),
            ("CRC32C", "FULL_OBJECT", true),
            ("MD5", "COMPOSITE", true),
            ("MD5", "FULL_OBJECT", false),
            ("XXHASH3", "COMPOSITE", true),
            ("CRC16", "COMPOSITE", false),
        ] {
            headers.insert("x-amz-checksum-algorithm", algorithm.parse().unwrap());
            headers.insert("x-amz-checksum-type", kind.parse().unwrap());
            assert_eq!(choice(&headers).is_ok(), good, "{algorithm} {kind}");
        }
    }
}
