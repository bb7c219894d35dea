//! What is said of a ring file under the cluster's key.
//!
//! ```text
//! {"name":"object.ring.gz","series":0,"version":7,"length":1234,"sha256":"…","md5":"…","key":"0011aabb","mac":"…"}
//! ```
//!
//! The MAC is HMAC-SHA256 over lines: `apus v1 ring file` and the fields before `key`, in this order,
//! each with a line break behind it. The key is derived from the cluster's.

use std::fmt;

use apus_cluster::backend_auth::{BackendAuth, Mode};
use bytes::Bytes;
use hmac::Mac;
use serde::{Deserialize, Serialize};

use super::{FILE_BYTES_MAX, Refusal, RingFile, RingName, STATEMENT_BYTES_MAX};
use crate::signed::key::Key;

/// What decides between two rings of one name; the higher wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    /// How often an older ring was forced upon the cluster.
    pub series: u64,
    /// Version of the builder; 0 when the file does not say.
    pub version: u64,
}

impl fmt::Display for Rank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.series {
            0 => write!(f, "version {}", self.version),
            series => write!(f, "version {} of series {series}", self.version),
        }
    }
}

/// Signed facts of a ring file. One that was read is not believed before [`RingKeys::verify`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// Name of the file.
    pub name: RingName,
    /// How often an older ring was forced.
    pub series: u64,
    /// The ring's own version.
    pub version: u64,
    /// Bytes of the file.
    pub length: u64,
    /// SHA-256 of the file, in lower-case hexadecimal digits.
    pub sha256: String,
    /// MD5 of the file in hexadecimal, as `/recon/ringmd5` reports it.
    pub md5: String,
    /// Names the key.
    pub key: String,
    /// The MAC, in lower-case hexadecimal digits.
    pub mac: String,
}

impl Statement {
    /// Reads its JSON.
    ///
    /// # Errors
    /// [`Refusal::Malformed`], or [`Refusal::TooLong`] for a longer file than is read.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let malformed = |what: &str| Refusal::Malformed(format!("statement of the ring: {what}"));
        if text.len() > STATEMENT_BYTES_MAX {
            return Err(malformed("too long"));
        }
        let read: Self =
            serde_json::from_str(text).map_err(|error| malformed(&error.to_string()))?;
        read.check_form()?;
        Ok(read)
    }

    /// Only one spelling is taken, since it is kept as it came.
    fn check_form(&self) -> Result<(), Refusal> {
        let is_hex = |text: &str, digits: usize| {
            text.len() == digits
                && text.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
        };
        for (field, text, digits) in [
            ("sha256", &self.sha256, 64),
            ("md5", &self.md5, 32),
            ("key", &self.key, 8),
            ("mac", &self.mac, 64),
        ] {
            if !is_hex(text, digits) {
                return Err(Refusal::Malformed(format!(
                    "statement of the ring: {field} = {text:?}: expected {digits} lower-case hexadecimal digits"
                )));
            }
        }
        match self.length {
            length if length > FILE_BYTES_MAX => Err(Refusal::TooLong(length)),
            _ => Ok(()),
        }
    }

    /// As JSON, in one line of ASCII.
    pub fn to_text(&self) -> String {
        // Only strings and numbers: nothing that JSON cannot say.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// What decides between it and another of its name.
    pub fn rank(&self) -> Rank {
        Rank { series: self.series, version: self.version }
    }

    /// The ring file that it speaks of. Bytes are inflated only when they are those of the
    /// statement.
    ///
    /// # Errors
    /// [`Refusal::Altered`] for other bytes, [`Refusal::Unusable`] when they are no ring.
    pub fn file(&self, bytes: &Bytes) -> Result<RingFile, Refusal> {
        let digests = super::file::digests(bytes);
        if digests.0 != self.sha256 {
            return Err(Refusal::Altered(format!("{}: other bytes than were signed", self.name)));
        }
        let file = RingFile::with_digests(self.name.clone(), bytes.clone(), digests);
        let file = file.map_err(Refusal::Unusable)?;
        self.check_fits(&file)?;
        Ok(file)
    }

    /// Whether it speaks of just these bytes.
    ///
    /// # Errors
    /// [`Refusal::Altered`].
    pub fn check_fits(&self, file: &RingFile) -> Result<(), Refusal> {
        let altered = |what: &str, said: &dyn fmt::Display, is: &dyn fmt::Display| {
            Err(Refusal::Altered(format!("{what} {is}, but {said} was signed")))
        };
        if self.name != *file.name() {
            return altered("name", &self.name, file.name());
        }
        if self.length != file.length() {
            return altered("length", &self.length, &file.length());
        }
        if self.sha256 != file.sha256() {
            return altered("SHA-256", &self.sha256, &file.sha256());
        }
        if self.md5 != file.md5() {
            return altered("MD5", &self.md5, &file.md5());
        }
        let version = file.ring().version();
        if self.version != version {
            return altered("version", &self.version, &version);
        }
        Ok(())
    }

    fn cover(&self, key: &Key) -> crate::signed::key::HmacSha256 {
        let Self { name, series, version, length, sha256, md5, .. } = self;
        let mut mac = key.ring();
        let lines =
            format!("apus v1 ring file\n{name}\n{series}\n{version}\n{length}\n{sha256}\n{md5}\n");
        mac.update(lines.as_bytes());
        mac
    }
}

/// The keys that sign rings.
#[derive(Debug, Clone)]
pub struct RingKeys(Vec<Key>);

impl RingKeys {
    /// The cluster's.
    ///
    /// # Errors
    /// When requests need not be signed: then rings do not travel.
    pub fn new(auth: &BackendAuth) -> Result<Self, String> {
        match auth.mode {
            Mode::Signed => Ok(Self(auth.keys.iter().map(Key::new).collect())),
            Mode::Open => Err(OPEN.to_owned()),
        }
    }

    /// Signs a file with the first key.
    pub fn sign(&self, file: &RingFile, series: u64) -> Option<Statement> {
        let statement = Statement {
            name: file.name().clone(),
            series,
            version: file.ring().version(),
            length: file.length(),
            sha256: file.sha256().to_owned(),
            md5: file.md5().to_owned(),
            key: String::new(),
            mac: String::new(),
        };
        self.signed(statement)
    }

    /// The same with key and MAC.
    pub(super) fn signed(&self, statement: Statement) -> Option<Statement> {
        let key = self.0.first()?;
        let mac = hex::encode(statement.cover(key).finalize().into_bytes());
        Some(Statement { key: key.id.clone(), mac, ..statement })
    }

    /// Checks that a holder of the key made the statement.
    ///
    /// # Errors
    /// [`Refusal::Signature`]; or what [`Statement::parse`] refuses.
    pub fn verify(&self, statement: &Statement) -> Result<(), Refusal> {
        statement.check_form()?;
        let key = self.0.iter().find(|key| key.id == statement.key).ok_or_else(|| {
            Refusal::Signature(format!(
                "{} was signed with another cluster key, {:?}, than this server has",
                statement.name, statement.key
            ))
        })?;
        let mac = hex::decode(&statement.mac).unwrap_or_default();
        statement.cover(key).verify_slice(&mac).map_err(|_| {
            Refusal::Signature(format!("{}: the signature does not fit", statement.name))
        })
    }

    /// Whether it was signed with the key that signs now, not with the previous one.
    pub(super) fn is_current(&self, statement: &Statement) -> bool {
        self.0.first().is_some_and(|key| key.id == statement.key)
    }
}

/// Why rings are not distributed in an open cluster.
pub(super) const OPEN: &str = "rings travel only between servers that sign all their requests: \
     swift.conf: [apus] cluster_key, without backend_auth = open";

#[cfg(test)]
mod tests {
    use super::super::file::tests::ring_file;
    use super::super::folder::tests::keys;
    use super::*;

    #[test]
    fn a_statement_is_believed_only_as_it_was_signed_and_by_this_cluster() {
        let (ours, theirs) = (keys(&["ab"]), keys(&["cd"]));
        let signed = ours.sign(&ring_file("object", 7), 2).unwrap();
        assert_eq!(Statement::parse(&signed.to_text()), Ok(signed.clone()));
        assert_eq!(ours.verify(&signed), Ok(()));
        assert_eq!(keys(&["cd", "ab"]).verify(&signed), Ok(()), "the previous key is believed");
        assert!(matches!(theirs.verify(&signed), Err(Refusal::Signature(_))));
        let name = RingName::parse("object-1.ring.gz").unwrap();
        let other = "0".repeat(64);
        for altered in [
            Statement { name, ..signed.clone() },
            Statement { series: 3, ..signed.clone() },
            Statement { version: 8, ..signed.clone() },
            Statement { length: 1, ..signed.clone() },
            Statement { sha256: other.clone(), ..signed.clone() },
            Statement { md5: "0".repeat(32), ..signed.clone() },
            Statement { mac: other, ..signed.clone() },
        ] {
            assert!(matches!(ours.verify(&altered), Err(Refusal::Signature(_))), "{altered:?}");
        }
    }

    #[test]
    fn a_statement_that_is_none_is_named_by_its_field() {
        let text = keys(&["ab"]).sign(&ring_file("object", 7), 0).unwrap().to_text();
        for (from, to, word) in [
            ("object.ring.gz", "/etc/passwd", "/etc/passwd"),
            ("\"md5\":\"", "\"md5\":\"X", "md5"),
            ("\"version\":7", "\"version\":-7", "-7"),
            ("\"series\":0,", "", "series"),
            ("{", "{\"more\":1,", "more"),
        ] {
            let Err(Refusal::Malformed(text)) = Statement::parse(&text.replacen(from, to, 1))
            else {
                panic!("{from} as {to} is taken");
            };
            assert!(text.contains(word), "{text}");
        }
        let long = Statement { length: u64::MAX, ..Statement::parse(&text).unwrap() };
        assert_eq!(Statement::parse(&long.to_text()), Err(Refusal::TooLong(u64::MAX)));
    }

    #[test]
    fn bytes_of_another_digest_are_not_even_inflated() {
        let file = ring_file("object", 7);
        let signed = keys(&["ab"]).sign(&file, 0).unwrap();
        assert!(signed.file(file.bytes()).is_ok());
        let mut flipped = file.bytes().to_vec();
        *flipped.last_mut().unwrap() ^= 1;
        let other = ring_file("object", 8).bytes().clone();
        for bytes in [Bytes::from(flipped), other, Bytes::from_static(b"no gzip"), Bytes::new()] {
            let Err(Refusal::Altered(reason)) = signed.file(&bytes) else {
                panic!("{} other bytes are taken", bytes.len());
            };
            assert!(reason.contains("other bytes"), "{reason}");
        }
        let other_version = Statement { version: 8, ..signed };
        assert!(matches!(other_version.file(file.bytes()), Err(Refusal::Altered(_))));
    }

    #[test]
    fn rings_of_an_open_cluster_are_not_signed() {
        assert!(RingKeys::new(&BackendAuth::default()).unwrap_err().contains("cluster_key"));
    }
}
