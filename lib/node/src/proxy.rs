//! The proxy server of a process.

use std::sync::Arc;
use std::time::Duration;

use apus_daemon::config::Conf;
use apus_daemon::http::SharedHandler;
use apus_identity::{IdentityDirectory, Sealing};
use apus_options::{choice, flag, list, options, text, whole};
use apus_proxy::auth::authorize::Rules;
use apus_proxy::auth::form_signature::FormPostConfig;
use apus_proxy::auth::identities::Identities;
use apus_proxy::auth::temp_url::{HeaderPatterns, TempUrlConfig, TempUrlDigest};
use apus_proxy::auth::tempauth::TempAuth;
use apus_proxy::{
    AccessLogs, DomainRemapConfig, EtagQuoterConfig, ObjectOwnership, ProxyConfig, ProxyDeps,
    PublicUrl, StaticWebConfig,
};
use apus_store::BucketNamespace;
use apus_store::clock::HybridClock;
use apus_store::pipeline::ClientStoreOptions;
use apus_store::quorum::Quorum;
use apus_store::stage::account_rules::AccountRulesOptions;
use apus_store::stage::quotas::QuotaOptions;
use apus_store::stage::symlink::HOPS_MAX;

use super::audit::{AuditFile, AuditOptions};
use super::client_limits::client_timeout_seconds;
use super::conf::bind_address;
use super::encryption::encryption_keys;
use super::filters::{Pipeline, tempauth_options};
use super::node::Builder;
use super::request_filters::set_filters;
use super::role::Server;

options! {
    /// Options of `[app:proxy-server]`.
    #[derive(Debug)]
    pub struct ProxyOptions {
        /// Create an account when its user first writes to it. Swift's default is false; new users need an account.
        account_autocreate: bool = flag(true),
        /// Let reseller administrators create and delete accounts.
        allow_account_management: bool = flag(false),
        /// Origins whose pages may use every container, in Swift's dialect.
        cors_allow_origin: Vec<String> = list("", "origins between commas"),
        /// Headers that pages of other origins may read of every container, in Swift's dialect.
        cors_expose_headers: Vec<String> = list("", "names of headers between commas"),
        /// Send the headers of CORS to allowed origins only, and not to all.
        strict_cors_mode: bool = flag(true),
        /// Let clients read expired objects with `X-Open-Expired`, until they are deleted.
        allow_open_expired: bool = flag(false),
        /// URL under which clients reach this cluster, for URLs in responses. Signatures may be of its host and path.
        public_url: String =
            text("", "http:// or https://, a host and perhaps a port and a path").checked(is_public_url),
        /// Time between two deliveries of the access logs of buckets.
        access_log_interval: u64 = whole(300).unit("seconds").from(1),
        /// Memory for bodies of uploads.
        upload_memory: Option<u64> =
            whole(0).unit("MiB").unset("a quarter of the memory of the machine").example("4096"),
    }
}

options! {
    /// Options of `[filter:s3api]`.
    #[derive(Debug)]
    pub struct S3Options {
        /// Domains below which a host name is that of a bucket.
        storage_domain: Vec<String> = list("", "domains between commas"),
        /// Domains below which a host name is that of the web site of a bucket.
        website_domain: Vec<String> = list("", "domains between commas"),
        /// Region that clients sign for.
        location: String = text("us-east-1", "a region"),
        /// Accept signatures of version 2, in headers, presigned URLs and forms.
        sigv2: bool = flag(false),
        /// Account of the buckets that requests without a signature read; without it they are refused.
        anonymous_account: String = text("", "an account"),
        /// Where names of buckets are unique: in the cluster, or in each account as in Swift.
        bucket_namespace: String = choice("account", &["account", "cluster"]),
        /// Ownership of the objects that others write, and use of ACLs, in buckets that do not set it.
        default_object_ownership: String =
            choice("BucketOwnerEnforced", &["BucketOwnerEnforced", "BucketOwnerPreferred", "ObjectWriter"]),
    }
}

options! {
    /// Options of `[filter:slo]`.
    #[derive(Debug)]
    pub struct SloOptions {
        /// Accept `async=on` when a large object and its segments are deleted.
        allow_async_delete: bool = flag(true),
    }
}

options! {
    /// Options of `[filter:symlink]`.
    #[derive(Debug)]
    pub struct SymlinkOptions {
        /// Links that are followed from one object. Less than 1 is the default, as in Swift.
        symloop_max: usize = whole(HOPS_MAX as u64),
    }
}

options! {
    /// Options of `[filter:domain_remap]`, with Swift's names.
    #[derive(Debug)]
    pub struct DomainRemapOptions {
        /// Domains below which host names stand for accounts and containers.
        storage_domain: String = text("example.com", "domains between commas"),
        /// First segment of paths.
        path_root: String = text("v1", "a segment of a path"),
        /// Prefixes of accounts.
        reseller_prefixes: String = text("AUTH", "prefixes between commas"),
        /// Prefix of accounts without one of these; hosts without a prefix are left alone when it is empty.
        default_reseller_prefix: String = text("", "a prefix"),
        /// A path that begins with `path_root` is one below it.
        mangle_client_paths: bool = flag(false),
    }
}

impl DomainRemapOptions {
    fn config(self) -> DomainRemapConfig {
        let list = |text: &str| -> Vec<String> {
            let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
            words.map(str::to_owned).collect()
        };
        DomainRemapConfig {
            storage_domains: list(&self.storage_domain),
            path_root: self.path_root,
            reseller_prefixes: list(&self.reseller_prefixes),
            default_reseller_prefix: self.default_reseller_prefix,
            mangle_client_paths: self.mangle_client_paths,
        }
    }
}

options! {
    /// Options of `[filter:staticweb]`.
    #[derive(Debug)]
    pub struct StaticWebOptions {
        /// Base of the URLs of redirects, such as `https://www.example.com`; that of the cluster when empty.
        url_base: String = text("", "a URL").checked(is_public_url),
    }
}

options! {
    /// Options of `[filter:tempurl]`, with Swift's names.
    #[derive(Debug)]
    pub struct TempUrlOptions {
        /// Methods that temporary URLs may have.
        methods: String = text("GET HEAD PUT POST DELETE", "methods between blanks"),
        /// Digests of their signatures.
        allowed_digests: String = text("sha1 sha256 sha512", "sha1, sha256 or sha512, between blanks").checked(are_digests),
        /// Headers that are removed from requests; `*` at the end stands for any rest.
        incoming_remove_headers: String = text("x-timestamp x-open-expired", "names between blanks"),
        /// Headers that are not removed from requests, nevertheless.
        incoming_allow_headers: String = text("", "names between blanks"),
        /// Headers that are removed from responses.
        outgoing_remove_headers: String = text("x-object-meta-*", "names between blanks"),
        /// Headers that are not removed from responses, nevertheless.
        outgoing_allow_headers: String = text("x-object-meta-public-*", "names between blanks"),
    }
}

options! {
    /// Options of `[filter:etag_quoter]`, with Swift's names.
    #[derive(Debug)]
    pub struct EtagQuoterOptions {
        /// ETags of objects are in quotes where neither the container nor the account has a setting.
        enable_by_default: bool = flag(false),
    }
}

options! {
    /// Options of `[filter:formpost]`, with Swift's names.
    #[derive(Debug)]
    pub struct FormPostOptions {
        /// Digests of the signatures of forms.
        allowed_digests: String = text("sha1 sha256 sha512", "sha1, sha256 or sha512, between blanks").checked(are_digests),
    }
}

impl FormPostOptions {
    fn config(&self) -> FormPostConfig {
        FormPostConfig { digests: digests(&self.allowed_digests) }
    }
}

fn digests(names: &str) -> Vec<TempUrlDigest> {
    names.split_whitespace().filter_map(TempUrlDigest::parse).collect()
}

fn are_digests(text: &str) -> bool {
    text.split_whitespace().all(|name| TempUrlDigest::parse(name).is_some())
}

impl TempUrlOptions {
    fn config(&self) -> TempUrlConfig {
        let headers = |text: &str| HeaderPatterns::parse(text);
        TempUrlConfig {
            methods: self.methods.split_whitespace().map(str::to_owned).collect(),
            digests: digests(&self.allowed_digests),
            incoming_remove: headers(&self.incoming_remove_headers),
            incoming_allow: headers(&self.incoming_allow_headers),
            outgoing_remove: headers(&self.outgoing_remove_headers),
            outgoing_allow: headers(&self.outgoing_allow_headers),
        }
    }
}

fn is_public_url(text: &str) -> bool {
    PublicUrl::parse(text).is_ok()
}

/// The settings of temporary URLs; `None` when they are off.
fn temp_url(conf: &Conf, pipeline: &Pipeline) -> Result<Option<TempUrlConfig>, String> {
    let Some(section) = &pipeline.tempurl else { return Ok(None) };
    Ok(Some(TempUrlOptions::read(&conf.section(section))?.config()))
}

/// The settings of quoted ETags; `None` when they are off.
fn etag_quoter(conf: &Conf, pipeline: &Pipeline) -> Result<Option<EtagQuoterConfig>, String> {
    let Some(section) = &pipeline.etag_quoter else { return Ok(None) };
    let EtagQuoterOptions { enable_by_default } = EtagQuoterOptions::read(&conf.section(section))?;
    Ok(Some(EtagQuoterConfig { enable_by_default }))
}

/// The settings of signed forms; `None` when they are off.
fn form_post(conf: &Conf, pipeline: &Pipeline) -> Result<Option<FormPostConfig>, String> {
    let Some(section) = &pipeline.formpost else { return Ok(None) };
    Ok(Some(FormPostOptions::read(&conf.section(section))?.config()))
}

/// The settings of host names of accounts; `None` when they are off.
fn domain_remap(conf: &Conf, pipeline: &Pipeline) -> Result<Option<DomainRemapConfig>, String> {
    let Some(section) = &pipeline.domain_remap else { return Ok(None) };
    Ok(Some(DomainRemapOptions::read(&conf.section(section))?.config()))
}

/// The settings of static web sites; `None` when they are off.
fn static_web(conf: &Conf, pipeline: &Pipeline) -> Result<Option<StaticWebConfig>, String> {
    let Some(section) = &pipeline.staticweb else { return Ok(None) };
    let url = StaticWebOptions::read(&conf.section(section))?.url_base;
    let url_base = PublicUrl::parse(&url).map_err(|error| error.to_string())?;
    Ok(Some(StaticWebConfig { url_base }))
}

impl Builder<'_> {
    pub(super) fn quorum(&self) -> Quorum {
        Quorum::new(
            self.client.clone(),
            self.rings.clone(),
            self.cluster.hash.clone(),
            self.cluster.policies.clone(),
            Arc::new(HybridClock::new(self.clock.clone())),
        )
    }

    /// The users and access keys of the cluster.
    fn identities(&self, reseller_prefix: &str) -> Identities {
        let store = apus_store::pipeline::internal(self.quorum());
        let sealing = Sealing::new(&self.cluster.identity_roots);
        let directory = IdentityDirectory::new(store, self.clock.clone(), sealing);
        Identities::new(directory, reseller_prefix)
    }

    pub(super) fn proxy(&self, conf: &Conf) -> Result<SharedHandler, String> {
        let app = conf.section("app:proxy-server");
        let pipeline = Pipeline::read(conf)?;
        pipeline.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        let is_loopback = bind_address(&app, Server::Proxy)?.ip().is_loopback();
        let users = tempauth_options(conf, &pipeline, is_loopback)?;
        let auth = TempAuth::from_options(users.into_iter(), &self.cluster.hash)
            .map_err(|error| format!("proxy-server.conf: {error}"))?;
        // Options of a filter that is off have no effect.
        let of = |name: &Option<String>| conf.section(name.as_deref().unwrap_or_default());
        let s3 = S3Options::read(&of(&pipeline.s3api))?;
        let ownership = ObjectOwnership::parse(&s3.default_object_ownership).unwrap_or_default();
        let rules = Arc::new(Rules::new(auth.reseller_prefix()).with_ownership(ownership));
        let given = ProxyOptions::read(&app)?;
        let account_autocreate = given.account_autocreate;
        let symloop_max = SymlinkOptions::read(&of(&pipeline.symlink))?.symloop_max;
        // Swift uses the default for an invalid number.
        let symloop_max = if symloop_max < 1 { HOPS_MAX } else { symloop_max };
        let quorum = self.quorum().making_accounts(account_autocreate);
        let audit =
            AuditFile::start(AuditOptions::read(&conf.section("audit"))?, &self.node.metrics)?;
        let namespace = BucketNamespace::named(&s3.bucket_namespace);
        let identities = self.identities(auth.reseller_prefix());
        let mut config = ProxyConfig {
            bucket_namespace: namespace,
            storage_domains: s3.storage_domain,
            website_domains: s3.website_domain,
            s3api: pipeline.s3api.is_some(),
            sigv2: s3.sigv2,
            anonymous_account: s3.anonymous_account,
            default_object_ownership: ownership,
            allow_account_management: given.allow_account_management,
            account_autocreate,
            cors_allow_origin: given.cors_allow_origin,
            cors_expose_headers: given.cors_expose_headers,
            strict_cors_mode: given.strict_cors_mode,
            region: s3.location,
            symloop_max,
            account_quotas: pipeline.account_quotas.is_some(),
            container_quotas: pipeline.container_quotas.is_some(),
            etag_quoter: etag_quoter(conf, &pipeline)?,
            form_post: form_post(conf, &pipeline)?,
            temp_url: temp_url(conf, &pipeline)?,
            static_web: static_web(conf, &pipeline)?,
            domain_remap: domain_remap(conf, &pipeline)?,
            allow_open_expired: given.allow_open_expired,
            allow_async_delete: SloOptions::read(&of(&pipeline.slo))?.allow_async_delete,
            public_url: PublicUrl::parse(&given.public_url)
                .map_err(|error| format!("proxy-server.conf: [app:proxy-server] {error}"))?,
            client_timeout_seconds: client_timeout_seconds(&app)?,
            webhooks: self.cluster.webhooks.by_name.keys().cloned().collect(),
            // Set below.
            read_only: None,
            rate_limit: None,
            name_check: None,
            cross_domain_policy: None,
        };
        set_filters(&mut config, conf, &pipeline)?;
        let keys = Arc::new(encryption_keys(conf, &pipeline)?);
        let store_options = store_options(&config, given.upload_memory);
        let store = apus_store::pipeline::client(quorum, rules, store_options, keys);
        let interval = Duration::from_secs(given.access_log_interval);
        let clock = self.clock.clone();
        let access_logs = AccessLogs::start(store.clone(), clock, &config.region, interval);
        let logs = access_logs.clone();
        self.node.metrics.add_totals(move || logs.totals());
        Ok(Arc::new(apus_proxy::Server::new(ProxyDeps {
            store,
            access_logs,
            auth: Arc::new(auth),
            identities: Arc::new(identities),
            policies: self.cluster.policies.clone(),
            clock: self.clock.clone(),
            constraints: self.cluster.constraints.clone(),
            audit,
            config: Arc::new(config),
        })))
    }
}

/// The settings of the stages.
fn store_options(config: &ProxyConfig, upload_memory: Option<u64>) -> ClientStoreOptions {
    ClientStoreOptions {
        upload_bytes: upload_bytes(upload_memory),
        symloop_max: config.symloop_max,
        namespace: config.bucket_namespace,
        quotas: QuotaOptions {
            accounts: config.account_quotas,
            containers: config.container_quotas,
        },
        account_rules: AccountRulesOptions {
            read_only: config.read_only,
            rates: config.rate_limit.clone(),
        },
    }
}

/// `upload_memory` in bytes; a quarter of the machine's memory when it is not given.
fn upload_bytes(given_mib: Option<u64>) -> u64 {
    let machine = || {
        let text = std::fs::read_to_string("/proc/meminfo").ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    // /proc counts in KiB.
    let quarter_mib = || machine().map_or(1024, |kib| kib / 1024 / 4);
    given_mib.unwrap_or_else(quarter_mib).saturating_mul(1024 * 1024)
}
