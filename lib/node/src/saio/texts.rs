//! The configuration files of `apus saio`.

use std::path::Path;

use super::users;

/// Storage servers with their ports.
pub(super) const KINDS: [(&str, u16); 3] =
    [("object", 6200), ("container", 6201), ("account", 6202)];

/// `swift.conf`.
pub(super) fn swift_conf(prefix: &str, suffix: &str, cluster_key: &str) -> String {
    format!(
        "[swift-hash]\nswift_hash_path_prefix = {prefix}\nswift_hash_path_suffix = {suffix}\n\n\
         [storage-policy:0]\nname = gold\ndefault = yes\n\n\
         [apus]\ncluster_key = {cluster_key}\n"
    )
}

/// `keymaster.conf`: the root secret of encrypted objects.
pub(super) fn keymaster_conf(root_secret: &str) -> String {
    format!("[keymaster]\nencryption_root_secret = {root_secret}\n")
}

/// `proxy-server.conf` with one user, `apus:admin`, the audit log in the data folder, and the root secret
/// of encryption in a file of its own.
pub(super) fn proxy_conf(port: u16, token_key: &str, user_key: &str, audit: &Path) -> String {
    format!(
        "[DEFAULT]\nbind_ip = 127.0.0.1\nbind_port = {port}\n\n\
         [pipeline:main]\n\
         pipeline = catch_errors gatekeeper healthcheck proxy-logging etag_quoter listing_formats bulk tempurl formpost s3api \
         tempauth keymaster copy staticweb container-quotas account-quotas slo dlo versioned_writes symlink proxy-server\n\n\
         [app:proxy-server]\nuse = egg:swift#proxy\nclient_timeout = 60\n\n\
         [filter:tempauth]\nuse = egg:swift#tempauth\ntoken_key = {token_key}\n\
         user_apus_admin = {user_key} .admin\n\n\
         [filter:s3api]\nuse = egg:swift#s3api\nlocation = us-east-1\nstorage_domain = localhost\n\
         bucket_namespace = cluster\nsigv2 = false\n\n\
         [filter:keymaster]\nuse = egg:swift#keymaster\nkeymaster_config_path = keymaster.conf\n\n\
         [audit]\nlog = {}\n",
        audit.display()
    )
}

/// The file of a storage server.
pub(super) fn storage_conf(kind: &str, port: u16, devices: &Path, cache: &Path) -> String {
    format!(
        "[DEFAULT]\ndevices = {}\nmount_check = false\nbind_ip = 127.0.0.1\nbind_port = {port}\n\
         recon_cache_path = {}\n\n\
         [app:{kind}-server]\nuse = egg:swift#{kind}\n",
        devices.display(),
        cache.display()
    )
}

/// The files that `apus saio --dev-users` creates, with keys that are placeholders, for `etc/saio/`.
pub fn samples() -> Vec<(String, String)> {
    const NOTE: &str =
        "# As `apus saio --dev-users` creates it. Generated: set keys of your own.\n";
    let (devices, cache) = (Path::new("/srv/apus/devices"), Path::new("/srv/apus/cache"));
    let proxy =
        proxy_conf(8080, &"changeme".repeat(8), "changeme", Path::new("/srv/apus/audit.log"));
    let proxy = users::added(&proxy).unwrap_or(proxy);
    let mut files = vec![
        ("swift.conf".to_owned(), swift_conf("changeme", "changeme", &"00".repeat(32))),
        ("proxy-server.conf".to_owned(), proxy),
        (
            "keymaster.conf".to_owned(),
            keymaster_conf("Y2hhbmdlbWVjaGFuZ2VtZWNoYW5nZW1lY2hhbmdlbWU="),
        ),
    ];
    for (kind, port) in KINDS {
        files.push((format!("{kind}-server.conf"), storage_conf(kind, port, devices, cache)));
    }
    files.into_iter().map(|(name, text)| (name, format!("{NOTE}{text}"))).collect()
}
