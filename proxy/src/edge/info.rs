//! `/info`: what this cluster can do. Only what works is named; suites skip by it.

use apus_cluster::constraints as limits;
use serde_json::json;

use super::Parts;
use crate::swift::bulk_delete;

/// The document.
pub(super) fn document(parts: &Parts) -> Vec<u8> {
    let policies: Vec<_> = parts
        .policies
        .iter()
        .filter(|policy| !policy.is_deprecated)
        .map(|policy| {
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
        })
        .collect();
    let document = json!({
        "swift": {
            "version": env!("CARGO_PKG_VERSION"),
            "policies": policies,
            "max_file_size": limits::MAX_FILE_SIZE,
            "max_meta_name_length": limits::MAX_META_NAME_LENGTH,
            "max_meta_value_length": limits::MAX_META_VALUE_LENGTH,
            "max_meta_count": limits::MAX_META_COUNT,
            "max_meta_overall_size": limits::MAX_META_OVERALL_SIZE,
            "max_header_size": limits::MAX_HEADER_SIZE,
            "max_object_name_length": limits::MAX_OBJECT_NAME_LENGTH,
            "container_listing_limit": limits::CONTAINER_LISTING_LIMIT,
            "account_listing_limit": limits::ACCOUNT_LISTING_LIMIT,
            "max_account_name_length": limits::MAX_ACCOUNT_NAME_LENGTH,
            "max_container_name_length": limits::MAX_CONTAINER_NAME_LENGTH,
            "extra_header_count": 0,
            "valid_api_versions": ["v1", "v1.0"],
            "account_autocreate": parts.account_autocreate,
            "allow_account_management": parts.allow_account_management,
            "allow_open_expired": parts.allow_open_expired,
        },
        "slo": {
            "max_manifest_segments": limits::SLO_MAX_SEGMENTS,
            "max_manifest_size": limits::SLO_MAX_MANIFEST_SIZE,
            "min_segment_size": 1,
            "allow_async_delete": parts.allow_async_delete,
        },
        "bulk_delete": {
            "max_deletes_per_request": bulk_delete::DELETES_MAX,
            "max_failed_deletes": bulk_delete::FAILURES_MAX,
        },
        "symlink": { "symloop_max": parts.symloop_max, "static_links": true },
        "dlo": { "max_segments": limits::CONTAINER_LISTING_LIMIT },
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
    document.to_string().into_bytes()
}
