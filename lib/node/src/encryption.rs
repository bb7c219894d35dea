//! Keys of encryption at rest, from `proxy-server.conf` or the file that it names.
//!
//! The options of `[filter:keymaster]` are Swift's (`swift/common/middleware/crypto/keymaster.py`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use apus_daemon::config::Conf;
use apus_options::{OptionDeclaration, choice, family, flag, options, path, text};
use apus_store::encryption::{EncryptionKeys, KmsKeys, MetaVersion, RootSecrets, SecretKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::conf::{Place, is_readable_by_all};
use super::filters::Pipeline;
use super::role::Server;

/// The section of a file that `keymaster_config_path` names.
const KEYMASTER_SECTION: &str = "keymaster";
/// The section with keys for SSE-KMS.
const KMS_SECTION: &str = "kms";
/// Prefix of the options with such keys.
const KMS_KEY: &str = "key_";

options! {
    /// Options of `[filter:keymaster]`, or of `[keymaster]` in the file that it names.
    #[derive(Debug)]
    pub struct KeymasterOptions {
        /// A file with the options of this section in a section `[keymaster]`, which fewer users can read. A relative path begins at the file that names it.
        keymaster_config_path: Option<PathBuf> = path("", "a file").unset("the options are in this section").example("/etc/swift/keymaster.conf"),
        /// Id of the root secret that encrypts new objects. The secret without an id needs none.
        active_root_secret_id: String = text("", "the id of a root secret"),
        /// Version of the key ids in new objects. 2 is Swift's default; 3 has exact paths.
        meta_version_to_write: String = choice("2", &["1", "2", "3"]),
    }
}

/// The options with root secrets.
pub(super) const ROOT_SECRETS: &[OptionDeclaration] = &[
    family(
        "encryption_root_secret",
        text("", "base64 of at least 32 bytes").unset("none").secret(),
        "The root secret, from which the keys of objects are derived. Objects are lost with it.",
    ),
    family(
        "encryption_root_secret_<id>",
        text("", "base64 of at least 32 bytes").unset("none").secret(),
        "A root secret with an id, so that another one can become active while old objects are read.",
    ),
];

options! {
    /// Options of `[filter:encryption]`.
    #[derive(Debug)]
    pub struct EncryptionOptions {
        /// Do not encrypt new objects; encrypted ones are still read.
        disable_encryption: bool = flag(false),
    }
}

options! {
    /// Options of `[kms]`.
    #[derive(Debug)]
    pub struct KmsOptions {
        /// Id of the key for requests and buckets that ask for `aws:kms` and name no key. Without it they are refused.
        default_key: Option<String> = text("", "the id of a key").unset("none"),
        /// URL of a key server with Vault's transit API. It is not supported yet: a value prevents the start.
        vault_url: Option<String> = text("", "nothing").unset("none"),
    }
}

/// The options with keys for SSE-KMS.
pub(super) const KMS_KEYS: &[OptionDeclaration] = &[family(
    "key_<id>",
    text("", "base64 of 32 bytes").unset("none").secret(),
    "A key for `aws:kms`, under the id that clients name.",
)];

/// The options of one section of a file, as they are written.
fn own<'a>(conf: &'a Conf, section: &str) -> Vec<(&'a str, &'a str)> {
    let sections = conf.sections().filter(|(known, _)| *known == section);
    sections.flat_map(|(_, options)| options).collect()
}

/// The file with the secrets, its section with root secrets, and its name in errors.
struct SecretsFile<'a> {
    conf: &'a Conf,
    section: &'a str,
    name: &'a str,
}

impl SecretsFile<'_> {
    fn root(&self) -> Result<Option<RootSecrets>, String> {
        let given = KeymasterOptions::read(&self.conf.section(self.section))?;
        let version = MetaVersion::parse(&given.meta_version_to_write).unwrap_or_default();
        let active = Some(given.active_root_secret_id.as_str());
        let options = own(self.conf, self.section);
        RootSecrets::from_options(options.into_iter(), active, version)
            .map_err(|error| format!("{}: [{}] {error}", self.name, self.section))
    }

    fn kms(&self) -> Result<KmsKeys, String> {
        let at = |option: &str, expected: &str| {
            format!("{}: [{KMS_SECTION}] {option}: expected {expected}", self.name)
        };
        let given = KmsOptions::read(&self.conf.section(KMS_SECTION))?;
        if given.vault_url.is_some() {
            return Err(at("vault_url", "no value: keys are read from key_<id> only"));
        }
        let mut keys = BTreeMap::new();
        for (option, value) in own(self.conf, KMS_SECTION) {
            let Some(id) = option.strip_prefix(KMS_KEY).filter(|id| !id.is_empty()) else {
                continue;
            };
            let key = STANDARD.decode(value).ok().and_then(|key| SecretKey::from_slice(&key));
            keys.insert(id.to_owned(), key.ok_or_else(|| at(option, "base64 of 32 bytes"))?);
        }
        match &given.default_key {
            Some(id) if !keys.contains_key(id) => {
                Err(at("default_key", &format!("the id of a key_<id>, and {id:?} has none")))
            }
            _ => Ok(KmsKeys { keys, default_key: given.default_key }),
        }
    }
}

/// A path that is relative to the file that names it.
fn below_its_file(conf: &Conf, filter: &str, path: &Path) -> PathBuf {
    let origin = conf.section(filter).origin("keymaster_config_path");
    let folder = origin.and_then(|given| Path::new(given.file).parent());
    folder.map_or_else(|| path.to_owned(), |folder| folder.join(path))
}

/// The keys of a proxy with this configuration.
///
/// # Errors
/// A secret that is not valid, or encryption of all objects without a root secret.
pub(super) fn encryption_keys(conf: &Conf, pipeline: &Pipeline) -> Result<EncryptionKeys, String> {
    let filter = pipeline.keymaster.as_deref().unwrap_or_default();
    let given = KeymasterOptions::read(&conf.section(filter))?;
    let (root, kms) = match given.keymaster_config_path.as_deref() {
        Some(path) => {
            let path = &below_its_file(conf, filter, path);
            let is_secret = |name: &str| name.starts_with(RootSecrets::OPTION);
            let option = "active_root_secret_id";
            if own(conf, filter).iter().any(|(name, _)| is_secret(name) || *name == option) {
                return Err(format!(
                    "proxy-server.conf: [{filter}] keymaster_config_path: expected no root secrets and no {option} in the same section, since those of the file count"
                ));
            }
            let file = read_secrets(path)?;
            let name = path.display().to_string();
            let file = SecretsFile { conf: &file, section: KEYMASTER_SECTION, name: &name };
            (file.root()?, file.kms()?)
        }
        None => {
            let file = SecretsFile { conf, section: filter, name: "proxy-server.conf" };
            (file.root()?, file.kms()?)
        }
    };
    let encrypts_all = match &pipeline.encryption {
        Some(section) => !EncryptionOptions::read(&conf.section(section))?.disable_encryption,
        None => false,
    };
    if encrypts_all && root.is_none() {
        return Err("proxy-server.conf: pipeline: encryption needs keymaster, with encryption_root_secret in its section".to_owned());
    }
    Ok(EncryptionKeys { root, encrypts_all, kms })
}

/// The keys that the proxy of this place has, for daemons that follow manifests; none without a proxy's
/// file. Then an encrypted manifest is an error, and its segments stay.
pub(super) fn local_keys(place: &Place) -> EncryptionKeys {
    let read = || {
        let (conf, is_there) = place.server_conf_or_defaults(Server::Proxy)?;
        match is_there {
            true => encryption_keys(&conf, &Pipeline::read(&conf)?),
            false => Ok(EncryptionKeys::default()),
        }
    };
    read().unwrap_or_else(|error| {
        tracing::warn!("encrypted manifests cannot be followed here: {error}");
        EncryptionKeys::default()
    })
}

fn read_secrets(path: &Path) -> Result<Conf, String> {
    let conf = Conf::read(path)?;
    if is_readable_by_all(path) {
        tracing::warn!("{}: every user of this machine can read the root secrets", path.display());
    }
    Ok(conf)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pipeline: &str, more: &str) -> Result<EncryptionKeys, String> {
        let text = format!("[pipeline:main]\npipeline = {pipeline} tempauth proxy-server\n{more}");
        let conf = Conf::parse(&text).unwrap();
        encryption_keys(&conf, &Pipeline::read(&conf)?)
    }

    #[test]
    fn keys_are_read_where_their_filter_is_on() {
        let secret = STANDARD.encode([7; 32]);
        let section = format!("[filter:keymaster]\nencryption_root_secret = {secret}\n");
        let off = read("", &section).unwrap();
        assert!(off.root.is_none() && !off.encrypts_all);
        let keys = read("keymaster", &section).unwrap();
        assert!(keys.root.is_some() && !keys.encrypts_all);
        assert!(read("keymaster encryption", &section).unwrap().encrypts_all);
        let disabled = format!("{section}[filter:encryption]\ndisable_encryption = yes\n");
        assert!(!read("keymaster encryption", &disabled).unwrap().encrypts_all);
        for (pipeline, more, expected) in [
            ("encryption", section.as_str(), "encryption needs keymaster"),
            (
                "keymaster",
                "[filter:keymaster]\nencryption_root_secret = x\n",
                "encryption_root_secret",
            ),
            ("", "[kms]\nkey_a = x\n", "[kms] key_a: expected base64 of 32 bytes"),
            ("", "[kms]\ndefault_key = a\n", "[kms] default_key"),
            ("", "[kms]\nvault_url = http://v\n", "[kms] vault_url"),
        ] {
            let error = read(pipeline, more).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        let kms = read("", &format!("[kms]\ndefault_key = a\nkey_a = {secret}\n")).unwrap().kms;
        assert!(kms.keys.contains_key("a") && kms.default_key.as_deref() == Some("a"));
    }
}
