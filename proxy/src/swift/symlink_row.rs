//! Symbolic links in container listings.
//!
//! Source: `swift/common/middleware/symlink.py`.

use apus_cluster::{AccountName, Timestamp, percent};
use serde_json::{Value, json};

/// The parameters that the row of a link has in its etag.
#[derive(Debug, Default)]
pub(super) struct SymlinkRow {
    path: Option<String>,
    account: Option<String>,
    etag: Option<String>,
    bytes: Option<u64>,
}

impl SymlinkRow {
    /// Reads one parameter; the last of several with one name counts. Others are ignored.
    pub(super) fn read(&mut self, word: &str) {
        let Some((name, value)) = word.split_once('=') else { return };
        match name {
            "symlink_target" => self.path = Some(value.to_owned()),
            "symlink_target_account" => self.account = Some(value.to_owned()),
            "symlink_target_etag" => self.etag = Some(value.to_owned()),
            "symlink_target_bytes" => self.bytes = value.parse().ok(),
            _ => {}
        }
    }

    /// Etag and size of the current version of an object, which is such a link under Swift's
    /// versioning; listings show them as the object's own
    /// (`swift/common/middleware/versioned_writes/`).
    pub(super) fn version(&self) -> Option<(String, u64)> {
        self.version_path()?;
        self.etag.clone().zip(self.bytes)
    }

    /// The visible path of a version that the link leads to, with its id.
    fn version_path(&self) -> Option<String> {
        let path = percent::decode_utf8(self.path.as_ref()?)?;
        let (container, object) = path.strip_prefix("\0versions\0")?.split_once('/')?;
        let (object, inverted) = object.strip_prefix('\0')?.rsplit_once('\0')?;
        let time = Timestamp::parse(inverted)?.inverted();
        let shown = percent::encode_path(&format!("{container}/{object}"));
        Some(format!("{shown}?version-id={}", time.normal()))
    }

    /// The keys of the link in a JSON listing of a container in `account`.
    pub(super) fn json(
        self,
        account: &AccountName,
    ) -> impl Iterator<Item = (&'static str, Value)> + use<> {
        let account =
            self.account.clone().unwrap_or_else(|| percent::encode_path(account.as_str()));
        // Etag and size of a version are those of the object.
        if let Some(path) = self.version_path() {
            let path = ("symlink_path", json!(format!("/v1/{account}/{path}")));
            return [Some(("version_symlink", json!(true))), Some(path), None]
                .into_iter()
                .flatten();
        }
        let path = self.path.map(|path| ("symlink_path", json!(format!("/v1/{account}/{path}"))));
        let etag = self.etag.map(|etag| ("symlink_etag", json!(etag)));
        let bytes = self.bytes.map(|bytes| ("symlink_bytes", json!(bytes)));
        [path, etag, bytes].into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_the_target_of_its_link() {
        let json = |etag: &str| {
            let mut row = SymlinkRow::default();
            etag.split("; ").for_each(|word| row.read(word));
            Value::Object(
                row.json(&AccountName::parse("a b").unwrap())
                    .map(|(name, value)| (name.to_owned(), value))
                    .collect(),
            )
        };
        assert_eq!(json("d41d; symlink_target=c/o"), json!({"symlink_path": "/v1/a%20b/c/o"}));
        let all = "d41d; slo_etag=x; symlink_target=c/o%20; symlink_target_account=b; \
                   symlink_target_etag=e; symlink_target_bytes=7";
        let expected =
            json!({"symlink_path": "/v1/b/c/o%20", "symlink_etag": "e", "symlink_bytes": 7});
        assert_eq!(json(all), expected);
        assert_eq!(json("d41d"), json!({}));
    }

    #[test]
    fn a_link_to_a_version_has_its_etag_and_size() {
        let version = |etag: &str| {
            let mut row = SymlinkRow::default();
            etag.split("; ").for_each(|word| row.read(word));
            row.version()
        };
        let words = "d41d; symlink_target=%00versions%00c/%00o%20p%008299999999.87654; \
                     symlink_target_etag=e; symlink_target_bytes=7";
        assert_eq!(version(words), Some(("e".to_owned(), 7)));
        assert_eq!(version(&words.replace("%00versions%00", "")), None);
        let mut row = SymlinkRow::default();
        words.split("; ").for_each(|word| row.read(word));
        let json: Vec<_> = row.json(&AccountName::parse("a").unwrap()).collect();
        let path = "/v1/a/c/o%20p?version-id=1700000000.12345";
        assert_eq!(json, [("version_symlink", json!(true)), ("symlink_path", json!(path))]);
    }
}
