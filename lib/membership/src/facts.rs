//! Facts for nodes that join: `swift.conf` without its key, and contents of devices.
//!
//! Every storage server reports them at `GET /apus/join` and below `/apus/device`, to requests that
//! are signed with the cluster key only. The key itself is never sent.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use apus_cluster::backend_auth::{self, BackendAuth, Mode};
use apus_cluster::identity_root;
use apus_daemon::config::Conf;
use apus_daemon::http::{Body, Handler, SharedHandler, full};
use async_trait::async_trait;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::contents;

/// Concurrent requests that walk over a disk or read a file.
const QUESTIONS_MAX: usize = 2;
/// Sections of `swift.conf` that must be equal on all nodes.
const SECTIONS: [&str; 3] = ["swift-hash", "swift-constraints", backend_auth::SECTION];
const POLICY: &str = "storage-policy:";
/// The option of the cluster key, and the prefix of its previous one.
const SECRET: &str = "cluster_key";
/// Options with these prefixes are never sent.
const SECRETS: [&str; 2] = [SECRET, identity_root::OPTION_PREFIX];

/// Facts of `swift.conf`: sections with their options, without keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Options by section.
    pub sections: BTreeMap<String, BTreeMap<String, String>>,
    /// The file's text with [`KEY_PLACE`] instead of the key and its name, so that all nodes have the same file.
    /// `None` when the file has parts that are not sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
}

/// Placeholders of the key's name and of the key in the text of the file.
const KEY_PLACE: (&str, &str) = ("<name of the key>", "<the key>");

/// The text of `swift.conf` without its key; `None` when it has sections, keys or comments that must
/// not be sent.
fn template(text: &str, conf: &Conf) -> Option<String> {
    let is_shared =
        |name: &str| name == "DEFAULT" || SECTIONS.contains(&name) || name.starts_with(POLICY);
    let key = conf.section(backend_auth::SECTION).text(SECRET)?;
    if key.is_empty() || conf.sections().any(|(name, _)| !is_shared(name)) {
        return None;
    }
    let mut out = String::with_capacity(text.len());
    let mut places = 0;
    for line in text.split_inclusive('\n') {
        let is_option = line.split(['=', ':']).next().is_some_and(|name| name.trim() == SECRET);
        if is_option && line.matches(key).count() == 1 {
            places += 1;
            let (name, value) = KEY_PLACE;
            out.push_str(&line.replace(key, value).replacen(SECRET, name, 1));
        } else {
            out.push_str(line);
        }
    }
    // Exactly once, and no other key, such as a previous one or one in a comment.
    let has_secret = SECRETS.iter().any(|secret| out.contains(secret));
    let is_clean = places == 1 && !has_secret && !out.contains(key);
    is_clean.then_some(out)
}

impl Facts {
    /// The facts of a parsed file.
    pub fn of(conf: &Conf) -> Self {
        let is_shared = |name: &str| SECTIONS.contains(&name) || name.starts_with(POLICY);
        let mut sections: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for (name, options) in conf.sections().filter(|(name, _)| is_shared(name)) {
            let own = conf.section(name);
            let own = own
                .own()
                .filter(|(option, _)| !SECRETS.iter().any(|secret| option.starts_with(secret)));
            let own: BTreeMap<_, _> =
                own.map(|(option, value)| (option.to_owned(), value.trim().to_owned())).collect();
            if !own.is_empty() || !options.is_empty() {
                sections.entry(name.to_owned()).or_default().extend(own);
            }
        }
        Self { sections, template: None }
    }

    /// As [`Facts::of`], with the text.
    fn with_text(path: &Path) -> Result<Self, String> {
        let conf = Conf::read(path)?;
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self { template: template(&text, &conf), ..Self::of(&conf) })
    }

    /// Where the ring manager listens.
    pub fn manager(&self) -> Option<&str> {
        self.sections.get(backend_auth::SECTION)?.get("ring_manager").map(String::as_str)
    }

    /// The options in which a node differs, as `[section] option`, without values: some are sensitive.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let mut found = Vec::new();
        let none = BTreeMap::new();
        let names = self.sections.keys().chain(other.sections.keys());
        for name in names.collect::<std::collections::BTreeSet<_>>() {
            let of = |facts: &Self| facts.sections.get(name).unwrap_or(&none).clone();
            let (ours, theirs) = (of(self), of(other));
            let options = ours.keys().chain(theirs.keys());
            for option in options.collect::<std::collections::BTreeSet<_>>() {
                if ours.get(option) != theirs.get(option) {
                    found.push(format!("[{name}] {option}"));
                }
            }
        }
        found
    }

    /// The text of a `swift.conf` with these facts and a key: the other nodes' text if possible, so
    /// that checksums of the file are equal on all nodes.
    pub fn text(&self, key: &str) -> String {
        let (name, value) = KEY_PLACE;
        let copied = self.template.as_ref();
        let copied = copied.map(|text| text.replace(name, SECRET).replace(value, key));
        let is_meant = |text: &String| {
            Conf::parse(text).is_ok_and(|conf| {
                Self::of(&conf).sections == self.sections
                    && conf.section(backend_auth::SECTION).text(SECRET) == Some(key)
            })
        };
        copied.filter(is_meant).unwrap_or_else(|| self.composed(key))
    }

    fn composed(&self, key: &str) -> String {
        let mut text = String::from("# Written by `apus join`. The same on all nodes.\n");
        let mut sections = self.sections.clone();
        let apus = sections.entry(backend_auth::SECTION.to_owned()).or_default();
        apus.insert(SECRET.to_owned(), key.to_owned());
        for (name, options) in sections {
            text.push_str(&format!("\n[{name}]\n"));
            for (option, value) in options {
                text.push_str(&format!("{option} = {}\n", value.replace('\n', "\n  ")));
            }
        }
        text
    }
}

/// Handles `/apus/join` and `/apus/device/…`, and passes other requests on.
pub struct JoinHttp {
    inner: SharedHandler,
    parts: Arc<JoinDeps>,
    slots: Arc<Semaphore>,
}

/// Dependencies of [`JoinHttp`].
#[derive(Debug)]
pub struct JoinDeps {
    /// Where `swift.conf` and rings are.
    pub swift_dir: PathBuf,
    /// Directory of the devices, and whether they must be mount points.
    pub devices: (PathBuf, bool),
    /// Keys of the cluster, and whether requests must be signed.
    pub auth: BackendAuth,
}

impl std::fmt::Debug for JoinHttp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JoinHttp").field("parts", &self.parts).finish_non_exhaustive()
    }
}

/// A response with a JSON body.
pub fn json_response((status, content): (StatusCode, Value)) -> Response<Body> {
    let mut answer = Response::new(full(content.to_string()));
    *answer.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(header::CONTENT_TYPE, json);
    answer
}

/// Status and body of a refusal.
pub fn refusal(status: StatusCode, error: &str) -> (StatusCode, Value) {
    (status, json!({ "error": error }))
}

impl JoinHttp {
    /// A handler in front of `inner`.
    pub fn new(inner: SharedHandler, parts: JoinDeps) -> Self {
        let slots = Arc::new(Semaphore::new(QUESTIONS_MAX));
        Self { inner, parts: Arc::new(parts), slots }
    }

    async fn respond(&self, path: String) -> (StatusCode, Value) {
        if self.parts.auth.mode != Mode::Signed {
            let why = "only signed requests are served here (swift.conf: [apus] cluster_key, and no backend_auth = open)";
            return refusal(StatusCode::FORBIDDEN, why);
        }
        let stopped = || refusal(StatusCode::SERVICE_UNAVAILABLE, "stopping");
        let Ok(slot) = self.slots.clone().acquire_owned().await else { return stopped() };
        let parts = self.parts.clone();
        let response = apus_daemon::task::spawn_blocking(move || {
            let response = respond(&parts, &path);
            drop(slot);
            response
        });
        response.await.unwrap_or_else(|_| stopped())
    }
}

/// Reads files and disks; blocks.
fn respond(parts: &JoinDeps, path: &str) -> (StatusCode, Value) {
    let words: Vec<&str> = path.trim_start_matches("/apus/").split('/').collect();
    let (devices, mount_check) = &parts.devices;
    match words.as_slice() {
        ["join"] => match Facts::with_text(&parts.swift_dir.join("swift.conf")) {
            Ok(facts) => (StatusCode::OK, json!({ "facts": facts })),
            Err(error) => refusal(StatusCode::INTERNAL_SERVER_ERROR, &error),
        },
        ["device", name] if !name.is_empty() && !name.starts_with('.') => {
            (StatusCode::OK, json!(contents::of_device(&devices.join(name), *mount_check)))
        }
        _ => refusal(StatusCode::NOT_FOUND, &format!("Invalid path: {path}")),
    }
}

#[async_trait]
impl Handler for JoinHttp {
    async fn call(&self, request: Request<Body>) -> Response<Body> {
        let path = request.uri().path();
        // A device may have the name `apus`: then a partition number follows.
        let is_ours = path == "/apus/join" || path.starts_with("/apus/device/");
        if is_ours && *request.method() == Method::GET {
            return json_response(self.respond(path.to_owned()).await);
        }
        self.inner.call(request).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    fn facts(text: &str) -> Facts {
        Facts::of(&Conf::parse(text).unwrap())
    }

    #[test]
    fn everything_but_the_key_is_shared_and_written_as_it_was() {
        let text = format!(
            "[swift-hash]\nswift_hash_path_prefix = a%b\n[storage-policy:0]\nname = gold\n\
             [apus]\ncluster_key = {KEY}\ncluster_key_previous = {KEY}\n\
             identity_root_secret = {KEY}\nring_manager = 10.0.0.1:6203\n[other]\nx = 1\n"
        );
        let read = facts(&text);
        assert!(!json!(read).to_string().contains(&KEY[..20]), "{read:?}");
        assert_eq!(read.manager(), Some("10.0.0.1:6203"));
        let written = read.text(KEY);
        let conf = Conf::parse(&written).unwrap();
        assert_eq!(Facts::of(&conf), read);
        assert_eq!(conf.section("apus").text("cluster_key"), Some(KEY));
    }

    #[test]
    fn a_new_node_has_the_very_file_of_the_others_but_what_is_secret_is_never_copied() {
        let text = format!(
            "# ours\n[swift-hash]\nswift_hash_path_prefix=a\n\n[storage-policy:0]\nname : gold\n\
             [apus]\ncluster_key =  {KEY}\nring_manager = 10.0.0.1:6203\n"
        );
        let read = |text: &str| {
            let conf = Conf::parse(text).unwrap();
            Facts { template: template(text, &conf), ..Facts::of(&conf) }
        };
        let facts = read(&text);
        assert!(!json!(facts).to_string().contains(&KEY[..20]));
        assert_eq!(facts.text(KEY), text);
        for secret in [
            format!("{text}cluster_key_previous = {KEY}\n"),
            format!("{text}# cluster_key = {KEY}\n"),
            format!("{text}# it was {KEY}\n"),
            format!("{text}identity_root_secret = {}\n", KEY.replace('0', "1")),
            format!("{text}[other]\npassword = x\n"),
        ] {
            let facts = read(&secret);
            assert_eq!(facts.template, None, "{secret}");
            let conf = Conf::parse(&facts.text(KEY)).unwrap();
            assert_eq!(Facts::of(&conf).sections, facts.sections);
        }
        // A template that differs from the facts is not used.
        let other =
            Facts { template: Some("[apus]\n<name of the key> = <the key>\n".into()), ..facts };
        assert!(other.text(KEY).contains("swift_hash_path_prefix"));
    }

    #[test]
    fn differences_are_named_without_their_values() {
        let (one, other) = (
            facts("[swift-hash]\nswift_hash_path_prefix = a\n[storage-policy:0]\nname = gold\n"),
            facts("[swift-hash]\nswift_hash_path_prefix = b\n"),
        );
        assert_eq!(
            one.differences(&other),
            ["[storage-policy:0] name", "[swift-hash] swift_hash_path_prefix"]
        );
        assert_eq!(one.differences(&one), Vec::<String>::new());
    }
}
