//! Settings of a proxy server.

use std::collections::BTreeSet;

use apus_bucket::ownership::ObjectOwnership;
use apus_bucket::read_only::ReadOnlyConfig;
use apus_store::BucketNamespace;
use apus_store::stage::account_rules::RateLimitConfig;

use crate::auth::form_signature::FormPostConfig;
use crate::auth::temp_url::TempUrlConfig;
use crate::edge::name_check::NameCheck;
use crate::public_url::PublicUrl;
use crate::swift::etag_quoter::EtagQuoterConfig;

/// The settings of `[filter:domain_remap]`.
#[derive(Debug, Clone, Default)]
pub struct DomainRemapConfig {
    /// Domains below which host names stand for accounts and containers.
    pub storage_domains: Vec<String>,
    /// First segment of paths.
    pub path_root: String,
    /// Prefixes of accounts, in their own spelling; none takes names as they are.
    pub reseller_prefixes: Vec<String>,
    /// Prefix of accounts without one of these; empty leaves such hosts alone.
    pub default_reseller_prefix: String,
    /// Whether a path that begins with the root is one below it.
    pub mangle_client_paths: bool,
}

/// The settings of `[filter:staticweb]`.
#[derive(Debug, Clone, Default)]
pub struct StaticWebConfig {
    /// Base of the URLs of redirects, instead of the cluster's own.
    pub url_base: PublicUrl,
}

/// Settings from `proxy-server.conf`, checked.
#[derive(Debug, Clone, Default)]
pub struct ProxyConfig {
    /// Whether the S3 API is enabled.
    pub s3api: bool,
    /// Domains whose subdomains are buckets (virtual-hosted style).
    pub storage_domains: Vec<String>,
    /// Domains whose subdomains are the web sites of buckets.
    pub website_domains: Vec<String>,
    /// Origins whose pages may use every container (`cors_allow_origin`).
    pub cors_allow_origin: Vec<String>,
    /// Headers that pages may read of every container (`cors_expose_headers`).
    pub cors_expose_headers: Vec<String>,
    /// Whether only allowed origins get the headers of CORS (`strict_cors_mode`).
    pub strict_cors_mode: bool,
    /// Region that S3 signatures must name; empty accepts any.
    pub region: String,
    /// Whether signatures of version 2 are accepted, in headers, presigned URLs and forms.
    pub sigv2: bool,
    /// The account whose buckets requests without a signature name; empty refuses them.
    pub anonymous_account: String,
    /// Where names of buckets are unique (`bucket_namespace`).
    pub bucket_namespace: BucketNamespace,
    /// Owner of the objects that others write into a bucket that does not set it
    /// (`default_object_ownership`).
    pub default_object_ownership: ObjectOwnership,
    /// Whether resellers may create and delete accounts (`allow_account_management`).
    pub allow_account_management: bool,
    /// Whether the first write to an account creates it (`account_autocreate`).
    pub account_autocreate: bool,
    /// Longest chain of symbolic links (`symloop_max`).
    pub symloop_max: usize,
    /// Whether clients may read expired objects (`allow_open_expired`).
    pub allow_open_expired: bool,
    /// Whether the expirer may delete the segments of a manifest (`allow_async_delete`).
    pub allow_async_delete: bool,
    /// Host names of accounts and containers; `None` when all hosts are the same.
    pub domain_remap: Option<DomainRemapConfig>,
    /// Static web sites of Swift's dialect; `None` refuses their settings.
    pub static_web: Option<StaticWebConfig>,
    /// Whether resellers may set quotas of accounts (`account_quotas`).
    pub account_quotas: bool,
    /// Whether containers may have quotas (`container_quotas`).
    pub container_quotas: bool,
    /// Quotes around ETags of Swift's dialect; `None` refuses their settings.
    pub etag_quoter: Option<EtagQuoterConfig>,
    /// Uploads by signed forms of Swift's dialect; `None` refuses them.
    pub form_post: Option<FormPostConfig>,
    /// Temporary URLs of Swift's dialect; `None` refuses them.
    pub temp_url: Option<TempUrlConfig>,
    /// Accounts in which nothing may be changed (`read_only`).
    pub read_only: Option<ReadOnlyConfig>,
    /// Rates of requests (`ratelimit`).
    pub rate_limit: Option<RateLimitConfig>,
    /// Paths that are refused (`name_check`).
    pub name_check: Option<NameCheck>,
    /// The elements of `/crossdomain.xml`; `None` when there is no such document (`crossdomain`).
    pub cross_domain_policy: Option<String>,
    /// URL under which clients reach this cluster.
    pub public_url: PublicUrl,
    /// Longest wait for the next piece of a client's body, in seconds (`client_timeout`).
    pub client_timeout_seconds: u64,
    /// Names of the webhooks that may receive events of buckets (`[notify]` of `swift.conf`).
    pub webhooks: BTreeSet<String>,
}
