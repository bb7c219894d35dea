//! The options of Swift 2.38, from its sample files and its code.
//!
//! A file that was written for Swift is accepted with all of them: those that are declared here have an effect,
//! the others are listed once. Filters have the names of their entry points, with `-` for `_`.

/// The options of one of Swift's files.
#[derive(Debug)]
pub struct SwiftFile {
    name: &'static str,
    /// Options of `[DEFAULT]`, which every section may have, separated by blanks.
    common: &'static str,
    /// Sections with their options.
    sections: &'static [(&'static str, &'static str)],
}

/// Options that every section of every file may have.
const EVERYWHERE: &str = "log_name log_facility log_level log_address log_headers log_requests log_max_line_length \
    log_custom_handlers log_udp_host log_udp_port log_statsd_host log_statsd_port \
    log_statsd_default_sample_rate log_statsd_sample_rate_factor log_statsd_metric_prefix \
    log_format log_anonymization_method log_anonymization_salt nice_priority ionice_class \
    ionice_priority eventlet_debug statsd_label_mode statsd_emit_legacy \
    statsd_user_label_<name> vm_test_mode capture_stdout capture_stderr log_tracebacks";

/// The options of a file of Swift, by its name.
pub fn swift_file(name: &str) -> Option<&'static SwiftFile> {
    FILES.iter().find(|file| file.name == name)
}

fn is_named(known: &str, name: &str) -> bool {
    match known.split_once('<') {
        None => known == name,
        Some((prefix, _)) => name.len() > prefix.len() && name.starts_with(prefix),
    }
}

impl SwiftFile {
    /// The names of its sections.
    pub fn section_names(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.sections.iter().map(|(name, _)| *name)
    }

    /// Whether Swift knows a section.
    pub fn has_section(&self, name: &str) -> bool {
        self.section_names().any(|known| is_named(known, name))
    }

    /// The options that Swift knows in a section, those of `[DEFAULT]` included.
    pub fn options_of(&self, section: &str) -> impl Iterator<Item = &'static str> + use<> {
        let is_default = section == "DEFAULT";
        let of = |(known, _): &&(&str, &str)| is_default || is_named(known, section);
        let own: Vec<&str> = self.sections.iter().filter(of).map(|(_, options)| *options).collect();
        let all = own.into_iter().chain([self.common, EVERYWHERE]);
        all.flat_map(str::split_whitespace)
    }

    /// Whether Swift knows an option of a section.
    pub fn has_option(&self, section: &str, name: &str) -> bool {
        self.options_of(section).any(|known| is_named(known, name))
    }
}

const FILES: [SwiftFile; 5] = [
    SwiftFile {
        name: "account-server.conf",
        common: "bind_ip bind_port keep_idle bind_timeout backlog user swift_dir devices \
            mount_check disable_fallocate workers max_clients db_preallocation \
            db_query_logging fallocate_reserve",
        sections: &[
            ("pipeline:main", "pipeline"),
            ("app:account-server", "replication_server fallocate_reserve stale_worker_timeout"),
            ("filter:healthcheck", "disable_path"),
            ("filter:recon", "recon_cache_path"),
            ("filter:backend-ratelimit", "backend_ratelimit_conf_path config_reload_interval"),
            (
                "account-replicator",
                "per_diff max_diffs concurrency interval run_pause databases_per_second \
                node_timeout conn_timeout reclaim_age rsync_compress rsync_module \
                recon_cache_path handoffs_only handoff_delete",
            ),
            ("account-auditor", "interval accounts_per_second recon_cache_path"),
            (
                "account-reaper",
                "concurrency interval node_timeout conn_timeout delay_reaping reap_warn_after",
            ),
            (
                "filter:xprofile",
                "profile_module log_filename_prefix dump_interval dump_timestamp path \
                flush_at_shutdown unwind",
            ),
        ],
    },
    SwiftFile {
        name: "container-server.conf",
        common: "bind_ip bind_port keep_idle bind_timeout backlog user swift_dir devices \
            mount_check disable_fallocate workers max_clients allowed_sync_hosts \
            db_preallocation db_query_logging fallocate_reserve ring_check_interval",
        sections: &[
            ("pipeline:main", "pipeline"),
            (
                "app:container-server",
                "node_timeout conn_timeout allow_versions replication_server \
                fallocate_reserve stale_worker_timeout",
            ),
            ("filter:healthcheck", "disable_path"),
            ("filter:recon", "recon_cache_path"),
            ("filter:backend-ratelimit", "backend_ratelimit_conf_path config_reload_interval"),
            (
                "container-replicator",
                "per_diff max_diffs concurrency interval run_pause databases_per_second \
                node_timeout conn_timeout reclaim_age rsync_compress rsync_module \
                recon_cache_path handoffs_only handoff_delete",
            ),
            (
                "container-updater",
                "interval concurrency node_timeout conn_timeout containers_per_second \
                slowdown account_suppression_time recon_cache_path",
            ),
            ("container-auditor", "interval containers_per_second recon_cache_path"),
            (
                "container-sync",
                "sync_proxy interval container_time conn_timeout request_tries \
                sync_row_concurrency internal_client_conf_path",
            ),
            (
                "filter:xprofile",
                "profile_module log_filename_prefix dump_interval dump_timestamp path \
                flush_at_shutdown unwind",
            ),
            (
                "container-sharder",
                "auto_shard shard_container_threshold rows_per_shard minimum_shard_size \
                shrink_threshold shard_shrink_point expansion_limit shard_shrink_merge_point \
                shard_scanner_batch_size cleave_batch_size cleave_row_batch_size \
                max_expanding max_shrinking shard_replication_quorum \
                existing_shard_replication_quorum internal_client_conf_path request_tries \
                recon_candidates_limit recon_sharded_timeout container_sharding_timeout \
                periodic_warnings_interval broker_timeout stats_interval interval \
                databases_per_second per_diff max_diffs concurrency node_timeout \
                conn_timeout reclaim_age rsync_compress rsync_module recon_cache_path",
            ),
            (
                "container-reconciler",
                "reclaim_age interval request_tries concurrency processes process",
            ),
            ("app:proxy-server", ""),
            ("filter:cache", ""),
            ("filter:proxy-logging", ""),
            ("filter:catch-errors", ""),
        ],
    },
    SwiftFile {
        name: "object-server.conf",
        common: "bind_ip bind_port keep_idle bind_timeout backlog user swift_dir devices \
            mount_check disable_fallocate workers servers_per_port ring_ip max_clients \
            fallocate_reserve conn_timeout node_timeout container_update_timeout \
            client_timeout network_chunk_size disk_chunk_size reclaim_age commit_window",
        sections: &[
            ("pipeline:main", "pipeline"),
            (
                "app:object-server",
                "max_upload_time slow keep_cache_size keep_cache_private \
                keep_cache_slo_manifest cooperative_period etag_validate_pct \
                slow_delete_log_threshold_seconds mb_per_sync allowed_headers \
                eventlet_tpool_num_threads replication_server replication_concurrency \
                replication_concurrency_per_device replication_lock_timeout \
                replication_failure_threshold replication_failure_ratio splice \
                stale_worker_timeout node_timeout conn_timeout client_timeout reclaim_age \
                container_update_timeout disk_chunk_size network_chunk_size \
                fallocate_reserve auto_create_account_prefix threads_per_disk \
                quarantine_threshold",
            ),
            ("filter:healthcheck", "disable_path"),
            ("filter:recon", "recon_cache_path recon_lock_path"),
            ("filter:backend-ratelimit", "backend_ratelimit_conf_path config_reload_interval"),
            (
                "object-replicator",
                "daemonize interval run_pause concurrency replicator_workers stats_interval \
                sync_method rsync_timeout rsync_bwlimit rsync_io_timeout rsync_compress \
                rsync_module node_timeout http_timeout lockup_timeout ring_check_interval \
                recon_cache_path log_rsync_transfers rsync_error_log_line_length \
                handoffs_first handoff_delete reclaim_age handoffs_only conn_timeout \
                servers_per_port",
            ),
            (
                "object-reconstructor",
                "daemonize interval run_pause reconstructor_workers concurrency \
                stats_interval node_timeout http_timeout lockup_timeout ring_check_interval \
                recon_cache_path handoffs_only rebuild_handoff_node_count \
                max_objects_per_revert write_legacy_ec_crc quarantine_threshold \
                quarantine_age request_node_count",
            ),
            (
                "object-updater",
                "interval node_timeout concurrency updater_workers objects_per_second \
                max_objects_per_container_per_second per_container_ratelimit_buckets \
                max_deferred_updates async_tracker_max_entries async_tracker_dump_count \
                slowdown report_interval recon_cache_path conn_timeout run_pause max_entries",
            ),
            (
                "object-auditor",
                "interval disk_chunk_size files_per_second concurrency bytes_per_second \
                log_time zero_byte_files_per_second recon_cache_path object_size_stats \
                rsync_tempfile_timeout entry_points watchers",
            ),
            ("object-auditor:watcher:<name>", "action grace_age"),
            (
                "object-expirer",
                "dequeue_from_legacy processes process internal_client_conf_path interval \
                report_interval request_tries concurrency tasks_per_second reclaim_age \
                round_robin_task_cache_size recon_cache_path delay_reaping_<account> \
                expiring_objects_account_name auto_create_account_prefix \
                expiring_objects_task_container_per_day",
            ),
            (
                "filter:xprofile",
                "profile_module log_filename_prefix dump_interval dump_timestamp path \
                flush_at_shutdown unwind",
            ),
            (
                "object-relinker",
                "workers files_per_second stats_interval recon_cache_path \
                clobber_hardlink_collisions",
            ),
            ("app:proxy-server", ""),
            ("filter:cache", ""),
            ("filter:catch-errors", ""),
            ("filter:proxy-logging", ""),
        ],
    },
    SwiftFile {
        name: "proxy-server.conf",
        common: "bind_ip bind_port keep_idle bind_timeout backlog swift_dir user expose_info \
            admin_key disallowed_sections workers max_clients cert_file key_file \
            trans_id_suffix cors_allow_origin strict_cors_mode cors_expose_headers \
            client_timeout keepalive_timeout",
        sections: &[
            ("pipeline:main", "pipeline"),
            (
                "app:proxy-server",
                "require_proxy_protocol log_handoffs recheck_account_existence \
                recheck_container_existence recheck_updating_shard_ranges \
                recheck_listing_shard_ranges container_existence_skip_cache_pct \
                container_updating_shard_ranges_skip_cache_pct \
                container_listing_shard_ranges_skip_cache_pct \
                account_existence_skip_cache_pct namespace_cache_tokens_per_session \
                namespace_avg_backend_fetch_time object_chunk_size client_chunk_size \
                node_timeout recoverable_node_timeout conn_timeout post_quorum_timeout \
                error_suppression_interval error_suppression_limit allow_account_management \
                account_autocreate max_containers_per_account max_containers_whitelist \
                deny_host_headers sorting_method timing_expiry \
                rebalance_missing_suppression_count concurrent_gets concurrency_timeout \
                concurrent_ec_extra_requests request_node_count read_affinity write_affinity \
                write_affinity_node_count replicas write_affinity_handoff_delete_count \
                swift_owner_headers stale_worker_timeout write_legacy_ec_crc \
                allow_open_expired max_large_object_get_time trans_id_suffix",
            ),
            (
                "filter:tempauth",
                "reseller_prefix require_group auth_prefix token_life allow_overrides \
                storage_url_scheme fernet_key_<id> active_fernet_key_id \
                user_<account>_<user> user64_<account>_<user>",
            ),
            (
                "filter:authtoken",
                "www_authenticate_uri auth_url auth_plugin project_domain_id \
                user_<account>_<user> project_name username password delay_auth_decision \
                cache include_service_catalog",
            ),
            (
                "filter:keystoneauth",
                "reseller_prefix operator_roles reseller_admin_role allow_overrides \
                service_roles default_domain_id allow_names_in_acls system_reader_roles \
                project_reader_roles",
            ),
            (
                "filter:s3api",
                "allow_no_owner location dns_compliant_bucket_names max_bucket_listing \
                max_parts_listing max_multi_delete_objects multi_delete_concurrency s3_acl \
                storage_domain auth_pipeline_check allow_multipart_uploads \
                max_upload_part_num check_bucket_owner force_swift_request_proxy_log \
                min_segment_size allowable_clock_skew cors_preflight_allow_origin \
                ratelimit_as_client_error",
            ),
            (
                "filter:s3token",
                "reseller_prefix delay_auth_decision auth_uri http_timeout insecure certfile \
                keyfile secret_cache_duration auth_url auth_type project_domain_id \
                project_name user_<account>_<user> username password",
            ),
            ("filter:healthcheck", "disable_path"),
            (
                "filter:cache",
                "memcache_servers memcache_max_connections error_suppression_interval \
                error_suppression_limit tls_enabled memcache_serialization_support sticky",
            ),
            (
                "filter:ratelimit",
                "clock_accuracy max_sleep_time_seconds log_sleep_time_seconds \
                rate_buffer_seconds account_ratelimit account_whitelist account_blacklist \
                container_ratelimit_<size> container_listing_ratelimit_<size>",
            ),
            ("filter:read-only", "read_only allow_deletes"),
            (
                "filter:domain-remap",
                "storage_domain path_root reseller_prefixes default_reseller_prefix \
                mangle_client_paths",
            ),
            ("filter:catch-errors", ""),
            ("filter:cname-lookup", "storage_domain lookup_depth nameservers"),
            ("filter:staticweb", "url_base"),
            (
                "filter:tempurl",
                "methods incoming_remove_headers incoming_allow_headers \
                outgoing_remove_headers outgoing_allow_headers allowed_digests",
            ),
            ("filter:formpost", "allowed_digests"),
            ("filter:name-check", "forbidden_chars maximum_length forbidden_regexp"),
            ("filter:crossdomain", "cross_domain_policy"),
            ("filter:etag-quoter", "enable_by_default"),
            ("filter:list-endpoints", "list_endpoints_path"),
            (
                "filter:proxy-logging",
                "access_log_name access_log_facility access_log_level access_log_address \
                access_log_route access_log_udp_host access_log_udp_port \
                access_log_statsd_host access_log_statsd_port \
                access_log_statsd_default_sample_rate access_log_statsd_sample_rate_factor \
                access_log_statsd_metric_prefix access_log_headers access_log_headers_only \
                reveal_sensitive_prefix log_statsd_valid_http_methods log_msg_template \
                storage_domain statsd_emit_buffer_xfer_bytes_seconds",
            ),
            (
                "filter:bulk",
                "max_containers_per_extraction max_failed_extractions max_deletes_per_request \
                max_failed_deletes yield_frequency delete_container_retry_count \
                delete_concurrency",
            ),
            (
                "filter:slo",
                "max_manifest_segments max_manifest_size rate_limit_under_size \
                rate_limit_after_segment rate_limit_segments_per_sec max_get_time \
                concurrency delete_concurrency yield_frequency allow_async_delete",
            ),
            ("filter:dlo", "rate_limit_after_segment rate_limit_segments_per_sec max_get_time"),
            ("filter:container-quotas", ""),
            ("filter:account-quotas", ""),
            ("filter:gatekeeper", "shunt_inbound_x_timestamp allow_reserved_names_header"),
            ("filter:container-sync", "allow_full_urls current"),
            (
                "filter:xprofile",
                "profile_module log_filename_prefix dump_interval dump_timestamp path \
                flush_at_shutdown unwind",
            ),
            ("filter:versioned-writes", "allow_versioned_writes allow_object_versioning"),
            ("filter:copy", ""),
            (
                "filter:keymaster",
                "meta_version_to_write encryption_root_secret encryption_root_secret_<id> \
                active_root_secret_id keymaster_config_path",
            ),
            ("filter:kms-keymaster", "keymaster_config_path"),
            ("filter:kmip-keymaster", "keymaster_config_path"),
            ("filter:encryption", "disable_encryption"),
            ("filter:listing-formats", ""),
            ("filter:symlink", "symloop_max"),
        ],
    },
    SwiftFile {
        name: "swift.conf",
        common: "",
        sections: &[
            ("swift-hash", "swift_hash_path_suffix swift_hash_path_prefix"),
            (
                "storage-policy:<index>",
                "name default policy_type diskfile_module aliases ec_type \
                ec_num_data_fragments ec_num_parity_fragments ec_object_segment_size \
                ec_duplication_factor",
            ),
            (
                "swift-constraints",
                "max_file_size max_meta_name_length max_meta_value_length max_meta_count \
                max_meta_overall_size max_header_size max_request_line extra_header_count \
                max_object_name_length container_listing_limit account_listing_limit \
                max_account_name_length max_container_name_length valid_api_versions \
                auto_create_account_prefix",
            ),
        ],
    },
];
