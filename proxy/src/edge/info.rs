//! `/info`: the capabilities of this cluster, by which test suites choose their cases.

use apus_cluster::constraints as limits;
use apus_cluster::policy::Policy;
use serde_json::json;

use crate::auth::temp_url::{TempUrlConfig, TempUrlDigest};
use crate::config::ProxyConfig;
use crate::deps::ProxyDeps;
use crate::swift::{bulk_delete, bulk_upload, heartbeat};

/// The settings of temporary URLs.
fn temp_urls(config: &TempUrlConfig) -> serde_json::Value {
    let (digests, deprecated) = digest_names(&config.digests);
    json!({
        "methods": config.methods,
        "incoming_remove_headers": config.incoming_remove.names(),
        "incoming_allow_headers": config.incoming_allow.names(),
        "outgoing_remove_headers": config.outgoing_remove.names(),
        "outgoing_allow_headers": config.outgoing_allow.names(),
        "allowed_digests": digests,
        "deprecated_digests": deprecated,
    })
}

/// Names of digests, and those among them that are deprecated.
fn digest_names(digests: &[TempUrlDigest]) -> (Vec<&'static str>, Vec<&'static str>) {
    let names: Vec<&str> = digests.iter().map(|digest| digest.name()).collect();
    let deprecated = names.iter().copied().filter(|name| *name == "sha1").collect();
    (names, deprecated)
}

/// The policies that clients may choose.
fn policies(deps: &ProxyDeps) -> Vec<serde_json::Value> {
    let offered = deps.policies.iter().filter(|policy| !policy.is_deprecated);
    let entry = |policy: &Policy| {
        let names: Vec<&str> = std::iter::once(policy.name.as_str())
            .chain(policy.aliases.iter().map(String::as_str))
            .collect();
        let mut entry = json!({ "name": policy.name, "aliases": names.join(", ") });
        if policy.is_default
            && let Some(entry) = entry.as_object_mut()
        {
            entry.insert("default".to_owned(), json!(true));
        }
        entry
    };
    offered.map(entry).collect()
}

/// What Swift reports of itself: limits and settings of all requests.
fn swift(deps: &ProxyDeps) -> serde_json::Value {
    let constraints = &deps.constraints;
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "policies": policies(deps),
        "max_file_size": constraints.max_file_size,
        "max_meta_name_length": constraints.max_meta_name_length,
        "max_meta_value_length": constraints.max_meta_value_length,
        "max_meta_count": constraints.max_meta_count,
        "max_meta_overall_size": constraints.max_meta_overall_size,
        "max_header_size": constraints.max_header_size,
        "max_object_name_length": constraints.max_object_name_length,
        "container_listing_limit": constraints.container_listing_limit,
        "account_listing_limit": constraints.account_listing_limit,
        "max_account_name_length": constraints.max_account_name_length,
        "max_container_name_length": constraints.max_container_name_length,
        "max_request_line": constraints.max_request_line,
        "extra_header_count": constraints.extra_header_count,
        "valid_api_versions": constraints.valid_api_versions,
        "auto_create_account_prefix": ".",
        "account_autocreate": deps.config.account_autocreate,
        "allow_account_management": deps.config.allow_account_management,
        "strict_cors_mode": deps.config.strict_cors_mode,
        "allow_open_expired": deps.config.allow_open_expired,
    })
}

/// The filters that refuse or delay requests, if they are on.
fn request_filters(config: &ProxyConfig) -> serde_json::Map<String, serde_json::Value> {
    let mut filters = serde_json::Map::new();
    if config.read_only.is_some_and(|config| config.read_only) {
        filters.insert("read_only".to_owned(), json!({}));
    }
    if config.cross_domain_policy.is_some() {
        filters.insert("crossdomain".to_owned(), json!({}));
    }
    if let Some(check) = &config.name_check {
        filters.insert("name_check".to_owned(), check.info());
    }
    if let Some(rates) = &config.rate_limit {
        let rate_limit = json!({
            "account_ratelimit": rates.account_rate,
            "max_sleep_time_seconds": rates.waits.wait_max_seconds,
            "container_ratelimits": rates.container_rates.steps(),
            "container_listing_ratelimits": rates.listing_rates.steps(),
        });
        filters.insert("ratelimit".to_owned(), rate_limit);
    }
    filters
}

/// The document, with implemented features alone.
pub(super) fn document(deps: &ProxyDeps) -> Vec<u8> {
    let mut document = json!({
        "swift": swift(deps),
        "slo": {
            "max_manifest_segments": limits::SLO_MAX_SEGMENTS,
            "max_manifest_size": limits::SLO_MAX_MANIFEST_SIZE,
            "min_segment_size": 1,
            "yield_frequency": heartbeat::INTERVAL.as_secs(),
            "allow_async_delete": deps.config.allow_async_delete,
        },
        "bulk_upload": {
            "max_containers_per_extraction": bulk_upload::CONTAINERS_MAX,
            "max_failed_extractions": bulk_upload::FAILURES_MAX,
        },
        "bulk_delete": {
            "max_deletes_per_request": bulk_delete::DELETES_MAX,
            "max_failed_deletes": bulk_delete::FAILURES_MAX,
        },
        "versioned_writes": { "allowed_flags": ["x-versions-location", "x-history-location"] },
        "object_versioning": {},
        "symlink": { "symloop_max": deps.config.symloop_max, "static_links": true },
        "dlo": { "max_segments": limits::LISTING_PAGE_MAX },
        "tempauth": { "account_acls": true },
        "s3api": {
            "max_bucket_listing": 1000,
            "max_parts_listing": 1000,
            "max_upload_part_num": limits::S3_MAX_PARTS,
            "max_multi_delete_objects": 1000,
            "allow_multipart_uploads": true,
            "min_segment_size": limits::S3_MIN_PART_SIZE,
            "s3_acl": false,
        },
    });
    if let Some(document) = document.as_object_mut() {
        document.extend(request_filters(&deps.config));
        if !deps.config.s3api {
            document.remove("s3api");
        }
        if let Some(config) = &deps.config.domain_remap {
            let prefix = Some(&config.default_reseller_prefix).filter(|prefix| !prefix.is_empty());
            document
                .insert("domain_remap".to_owned(), json!({ "default_reseller_prefix": prefix }));
        }
        for (name, is_on) in [
            ("account_quotas", deps.config.account_quotas),
            ("container_quotas", deps.config.container_quotas),
        ] {
            if is_on {
                document.insert(name.to_owned(), json!({}));
            }
        }
        if deps.config.static_web.is_some() {
            document.insert("staticweb".to_owned(), json!({}));
        }
        if let Some(config) = &deps.config.etag_quoter {
            let etag_quoter = json!({ "enable_by_default": config.enable_by_default });
            document.insert("etag_quoter".to_owned(), etag_quoter);
        }
        if let Some(config) = &deps.config.form_post {
            let (digests, deprecated) = digest_names(&config.digests);
            let form_post = json!({ "allowed_digests": digests, "deprecated_digests": deprecated });
            document.insert("formpost".to_owned(), form_post);
        }
        if let Some(config) = &deps.config.temp_url {
            document.insert("tempurl".to_owned(), temp_urls(config));
        }
    }
    document.to_string().into_bytes()
}
