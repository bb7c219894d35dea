//! Refuses what Swift's optional filters do and this proxy does not support.
//!
//! Swift without such a filter responds with 2xx and does nothing, so that a client believes that it
//! was done. Removing a setting, or switching it off, is always accepted.

use apus_store::{Error, Kind, Subject};
use http::HeaderMap;

use super::path::Path;
use super::request::SwiftRequest;
use crate::config::ProxyConfig;

/// Settings of a container, and the feature of each.
const OF_CONTAINERS: [(&str, &str); 13] = [
    ("x-container-rfc-compliant-etags", ETAGS),
    ("x-container-sync-to", "container synchronization"),
    ("x-container-meta-quota-bytes", QUOTAS),
    ("x-container-meta-quota-count", QUOTAS),
    ("x-container-meta-temp-url-key", TEMP_URLS),
    ("x-container-meta-temp-url-key-2", TEMP_URLS),
    ("x-container-meta-web-index", WEB),
    ("x-container-meta-web-error", WEB),
    ("x-container-meta-web-listings", WEB),
    ("x-container-meta-web-listings-css", WEB),
    ("x-container-meta-web-listings-label", WEB),
    ("x-container-meta-web-directory-type", WEB),
    ("x-container-meta-access-control-allow-headers", CORS),
];
/// Settings of an account. Keys of temporary URLs are stored, since Swift keeps them secret with or
/// without the filter; requests that use such a URL are refused.
const OF_ACCOUNTS: [(&str, &str); 2] =
    [("x-account-rfc-compliant-etags", ETAGS), ("x-account-meta-quota-bytes", QUOTAS)];
/// Prefix of further settings of accounts.
const OF_ACCOUNTS_PREFIX: &str = "x-account-quota-";
/// Query parameters of unsupported features.
const PARAMETERS: [(&str, &str); 2] =
    [("temp_url_sig", TEMP_URLS), ("temp_url_expires", TEMP_URLS)];

const QUOTAS: &str = "quotas";
const ETAGS: &str = "quoted ETags";
const TEMP_URLS: &str = "temporary URLs";
const WEB: &str = "static web sites";
const CORS: &str = "selection of request headers for other origins";

/// Refuses a request that uses an unsupported feature. Temporary URLs, forms, static web sites and
/// quotas may be on.
///
/// # Errors
/// `NotSupported`, with the name of the header or parameter.
pub(super) fn refuse(request: &SwiftRequest, config: &ProxyConfig) -> Result<(), Error> {
    let method = request.head.method.as_str();
    for (name, feature) in PARAMETERS {
        if config.temp_url.is_none() && request.param(name).is_some() {
            return Err(not_supported(&format!("?{name}"), feature));
        }
    }
    if !matches!(method, "PUT" | "POST") {
        return Ok(());
    }
    let kind = request.header("content-type").unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let is_form = method == "POST" && kind.eq_ignore_ascii_case("multipart/form-data");
    if is_form && config.form_post.is_none() {
        return Err(not_supported("Content-Type: multipart/form-data", "uploads of forms"));
    }
    match request.path {
        Path::Account(_) => {
            let is_refused = |feature: &str| match feature {
                QUOTAS => !config.account_quotas,
                feature => is_off(feature, config),
            };
            let settings: Vec<_> =
                OF_ACCOUNTS.into_iter().filter(|(_, feature)| is_refused(feature)).collect();
            let prefix = (!config.account_quotas).then_some(OF_ACCOUNTS_PREFIX);
            refuse_settings(&request.head.headers, &settings, prefix)
        }
        Path::Container(_) => {
            let settings: Vec<_> =
                OF_CONTAINERS.into_iter().filter(|(_, feature)| is_off(feature, config)).collect();
            refuse_settings(&request.head.headers, &settings, None)
        }
        Path::Object(_) => Ok(()),
    }
}

/// Whether a feature is not supported, or is off.
fn is_off(feature: &str, config: &ProxyConfig) -> bool {
    match feature {
        // Their keys sign forms as well.
        TEMP_URLS => config.temp_url.is_none() && config.form_post.is_none(),
        WEB => config.static_web.is_none(),
        QUOTAS => !config.container_quotas,
        ETAGS => config.etag_quoter.is_none(),
        _ => true,
    }
}

fn refuse_settings(
    headers: &HeaderMap,
    settings: &[(&str, &str)],
    prefix: Option<&str>,
) -> Result<(), Error> {
    for (name, value) in headers {
        let name = name.as_str();
        let listed = settings.iter().find(|(known, _)| *known == name).map(|(_, what)| *what);
        let feature =
            listed.or_else(|| prefix.filter(|prefix| name.starts_with(prefix)).map(|_| QUOTAS));
        let Some(feature) = feature else { continue };
        let value = value.as_bytes().trim_ascii();
        if !value.is_empty() {
            return Err(not_supported(&apus_cluster::metadata::title_case(name), feature));
        }
    }
    Ok(())
}

fn not_supported(what: &str, feature: &str) -> Error {
    Error::new(Kind::NotSupported, Subject::Request)
        .text(format!("{what} is not supported: this cluster has no {feature}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(settings: &[(&str, &str)], prefix: Option<&str>, name: &str, value: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert("x-container-meta-color", "red".parse().unwrap());
        headers
            .insert(http::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        match refuse_settings(&headers, settings, prefix) {
            Ok(()) => false,
            Err(error) => {
                assert_eq!(error.kind, Kind::NotSupported);
                assert!(error.client_text.to_ascii_lowercase().starts_with(name), "{error:?}");
                true
            }
        }
    }

    #[test]
    fn settings_of_containers_are_refused_unless_they_remove_something() {
        for (name, _) in OF_CONTAINERS {
            assert!(refused(&OF_CONTAINERS, None, name, "1"), "{name}");
            assert!(!refused(&OF_CONTAINERS, None, name, ""), "{name}");
            let removal = name.replace("x-", "x-remove-");
            assert!(!refused(&OF_CONTAINERS, None, &removal, "x"), "{removal}");
        }
        assert!(!refused(&OF_CONTAINERS, None, "x-container-meta-web", "x"));
        assert!(!refused(&OF_CONTAINERS, None, "x-container-meta-quota", "x"));
    }

    #[test]
    fn quotas_of_accounts_are_refused_and_keys_are_kept() {
        let refused = |name: &str| refused(&OF_ACCOUNTS, Some(OF_ACCOUNTS_PREFIX), name, "1");
        assert!(refused("x-account-meta-quota-bytes"));
        assert!(refused("x-account-quota-bytes"));
        assert!(refused("x-account-quota-count-policy-gold"));
        assert!(!refused("x-account-meta-temp-url-key"));
        assert!(!refused("x-account-meta-quota"));
    }
}
