//! The files of the four servers: their sections, and the options that are read in each.

use apus_cluster::HashConf;
use apus_daemon::config::{BindOptions, Conf, DeviceOptions, ReconCacheOptions};
use apus_daemon::log::LogOptions;
use apus_daemon::syslog::SyslogOptions;
use apus_options::{FileDeclaration, OptionDeclaration, OptionProblem, SectionDeclaration, check};
use apus_proxy::ProxyConfig;
use apus_proxy::auth::tempauth::{TempAuth, TempAuthOptions, USERS};

use super::audit::AuditOptions;
use super::client_limits::ClientLimitOptions;
use super::conf::bind_address;
use super::encryption::{
    EncryptionOptions, KMS_KEYS, KeymasterOptions, KmsOptions, ROOT_SECRETS, encryption_keys,
};
use super::filters::{
    MainPipelineOptions, Pipeline, PipelineOptions, SampleKeyOptions, tempauth_options,
};
use super::middleware::{MetricsOptions, ReachOptions, SocketOptions};
use super::proxy::{
    DomainRemapOptions, EtagQuoterOptions, FormPostOptions, ProxyOptions, S3Options, SloOptions,
    StaticWebOptions, SymlinkOptions, TempUrlOptions,
};
use super::request_filters::{
    CONTAINER_RATES, CrossDomainOptions, NameCheckOptions, RateLimitOptions, ReadOnlyOptions,
    set_filters,
};
use super::role::Server;
use super::start::ProcessOptions;
use super::storage::ObjectServerOptions;

/// Options of every section of a storage server's file.
const STORAGE: &[&[OptionDeclaration]] = &[
    BindOptions::OPTIONS,
    DeviceOptions::OPTIONS,
    ReconCacheOptions::OPTIONS,
    SocketOptions::OPTIONS,
    ProcessOptions::OPTIONS,
    LogOptions::OPTIONS,
    SyslogOptions::OPTIONS,
];

/// The filters in a storage server's pipeline in Swift. Health checks and recon are always answered.
const HEALTHCHECK: SectionDeclaration = SectionDeclaration::plain(
    "filter:healthcheck",
    "For files of Swift: `/healthcheck` is always answered.",
    &[],
)
.with_lines(&["use = egg:swift#healthcheck"]);
const RECON: SectionDeclaration = SectionDeclaration::plain(
    "filter:recon",
    "For files of Swift: `/recon` is always answered, from the directory of the server's section.",
    &[ReconCacheOptions::OPTIONS],
)
.with_lines(&["use = egg:swift#recon"]);
const STORAGE_PIPELINE: SectionDeclaration = SectionDeclaration::plain(
    "pipeline:main",
    "For files of Swift: the filters of a storage server are always the same.",
    &[MainPipelineOptions::OPTIONS],
);

/// `account-server.conf`.
pub static ACCOUNT_FILE: FileDeclaration = FileDeclaration {
    name: "account-server.conf",
    sentence: "The account server and its daemons.",
    common: STORAGE,
    sections: &[
        STORAGE_PIPELINE.with_lines(&["pipeline = healthcheck recon account-server"]),
        SectionDeclaration::role(
            "app:account-server",
            "The account server.",
            &[ReachOptions::OPTIONS],
        )
        .with_lines(&["use = egg:swift#account"])
        .with_defaults(&[("bind_port", "6202")]),
        HEALTHCHECK,
        RECON,
        SectionDeclaration::role(
            "account-replicator",
            "Compares databases with the other replicas, and sends what they lack.",
            &[apus_broker::options::REPLICATOR],
        ),
        SectionDeclaration::role(
            "account-auditor",
            "Verifies databases and quarantines damaged ones.",
            &[apus_broker::options::ACCOUNT_AUDITOR],
        ),
        SectionDeclaration::role(
            "account-reaper",
            "Removes the containers and objects of deleted accounts.",
            &[apus_account::options::REAPER],
        ),
    ],
};

/// `container-server.conf`.
pub static CONTAINER_FILE: FileDeclaration = FileDeclaration {
    name: "container-server.conf",
    sentence: "The container server and its daemons.",
    common: STORAGE,
    sections: &[
        STORAGE_PIPELINE.with_lines(&["pipeline = healthcheck recon container-server"]),
        SectionDeclaration::role(
            "app:container-server",
            "The container server.",
            &[ReachOptions::OPTIONS],
        )
        .with_lines(&["use = egg:swift#container"])
        .with_defaults(&[("bind_port", "6201")]),
        HEALTHCHECK,
        RECON,
        SectionDeclaration::role(
            "container-replicator",
            "Compares databases with the other replicas, and sends what they lack.",
            &[apus_broker::options::REPLICATOR],
        ),
        SectionDeclaration::role(
            "container-updater",
            "Reports counts and sizes of containers to their accounts.",
            &[apus_container::options::UPDATER],
        ),
        SectionDeclaration::role(
            "container-auditor",
            "Verifies databases and quarantines damaged ones.",
            &[apus_broker::options::CONTAINER_AUDITOR],
        ),
        SectionDeclaration::role(
            "container-lifecycle",
            "Deletes what the lifecycle rules of buckets name.",
            &[apus_container::options::LIFECYCLE],
        ),
        SectionDeclaration::role(
            "container-notifier",
            "Delivers events of buckets to webhooks.",
            &[apus_container::options::NOTIFIER],
        ),
        SectionDeclaration::role(
            "container-reclaimer",
            "Deletes the parts of multipart uploads that no object needs.",
            &[apus_container::options::RECLAIMER],
        ),
        SectionDeclaration::role(
            "container-reconciler",
            "Moves objects of the wrong policy to that of their container.",
            apus_container::options::RECONCILER,
        ),
    ],
};

/// `object-server.conf`.
pub static OBJECT_FILE: FileDeclaration = FileDeclaration {
    name: "object-server.conf",
    sentence: "The object server and its daemons.",
    common: STORAGE,
    sections: &[
        STORAGE_PIPELINE.with_lines(&["pipeline = healthcheck recon object-server"]),
        SectionDeclaration::role(
            "app:object-server",
            "The object server.",
            &[
                ReachOptions::OPTIONS,
                ObjectServerOptions::OPTIONS,
                apus_object::options::REPLICATION,
            ],
        )
        .with_lines(&["use = egg:swift#object"])
        .with_defaults(&[("bind_port", "6200")]),
        HEALTHCHECK,
        RECON,
        SectionDeclaration::role(
            "object-replicator",
            "Compares suffix hashes with the other replicas, and sends what they lack.",
            &[apus_object::options::REPLICATOR],
        ),
        SectionDeclaration::role(
            "object-updater",
            "Delivers listing rows that container servers missed.",
            &[apus_object::options::UPDATER],
        ),
        SectionDeclaration::role(
            "object-auditor",
            "Reads every object again and quarantines damaged ones.",
            &[apus_object::options::AUDITOR],
        ),
        SectionDeclaration::plain(
            "object-auditor:watcher:<name>",
            "A watcher that `watchers` of `[object-auditor]` names.",
            &[apus_object::options::DARK_DATA],
        ),
        SectionDeclaration::role(
            "object-expirer",
            "Deletes expired objects.",
            apus_object::options::EXPIRER,
        ),
        SectionDeclaration::role(
            "object-relinker",
            "Links objects to their next partitions while the part power is increased.",
            &[apus_object::options::RELINKER],
        ),
    ],
};

/// The pipeline of the sample of `proxy-server.conf`: every supported filter.
const PIPELINE: &str = "pipeline = catch_errors gatekeeper healthcheck proxy-logging cache etag_quoter listing_formats bulk \
                        tempurl formpost s3api tempauth copy staticweb container-quotas account-quotas slo dlo versioned_writes \
                        symlink proxy-server";

/// `proxy-server.conf`.
pub static PROXY_FILE: FileDeclaration = FileDeclaration {
    name: "proxy-server.conf",
    sentence: "The proxy server, its users and both dialects.",
    common: &[
        BindOptions::OPTIONS,
        ReconCacheOptions::OPTIONS,
        SocketOptions::OPTIONS,
        ProcessOptions::OPTIONS,
        LogOptions::OPTIONS,
        SyslogOptions::OPTIONS,
    ],
    sections: &[
        SectionDeclaration::plain(
            "pipeline:main",
            "The filters that are on. A filter that is not named is off.",
            &[MainPipelineOptions::OPTIONS],
        )
        .with_lines(&[PIPELINE]),
        SectionDeclaration::role(
            "app:proxy-server",
            "The proxy server.",
            &[
                ProxyOptions::OPTIONS,
                ClientLimitOptions::OPTIONS,
                PipelineOptions::OPTIONS,
                MetricsOptions::OPTIONS,
            ],
        )
        .with_lines(&["use = egg:swift#proxy"])
        .with_defaults(&[("bind_port", "8080")]),
        SectionDeclaration::plain(
            "filter:tempauth",
            "Users of this file. Sign-in is at `/auth/v1.0`.",
            &[TempAuthOptions::OPTIONS, SampleKeyOptions::OPTIONS, USERS],
        )
        .with_lines(&["use = egg:swift#tempauth"]),
        SectionDeclaration::plain("filter:s3api", "The S3 dialect.", &[S3Options::OPTIONS])
            .with_lines(&["use = egg:swift#s3api"]),
        SectionDeclaration::plain("filter:slo", "Static large objects.", &[SloOptions::OPTIONS])
            .with_lines(&["use = egg:swift#slo"]),
        SectionDeclaration::plain(
            "filter:keymaster",
            "Keys of encryption at rest, where `keymaster` is in the pipeline.",
            &[KeymasterOptions::OPTIONS, ROOT_SECRETS],
        )
        .with_lines(&["use = egg:swift#keymaster"]),
        SectionDeclaration::plain(
            "filter:encryption",
            "Encrypts all new objects, where `encryption` is in the pipeline.",
            &[EncryptionOptions::OPTIONS],
        )
        .with_lines(&["use = egg:swift#encryption"]),
        SectionDeclaration::plain(
            "kms",
            "Keys for S3's `aws:kms`; in the file of `keymaster_config_path`, if there is one.",
            &[KmsOptions::OPTIONS, KMS_KEYS],
        ),
        SectionDeclaration::plain("filter:symlink", "Symbolic links.", &[SymlinkOptions::OPTIONS])
            .with_lines(&["use = egg:swift#symlink"]),
        SectionDeclaration::plain(
            "filter:domain_remap",
            "Host names of accounts and containers, if the filter is in the pipeline.",
            &[DomainRemapOptions::OPTIONS],
        )
        .with_lines(&["use = egg:swift#domain_remap"]),
        SectionDeclaration::plain(
            "filter:staticweb",
            "Static web sites of Swift's dialect.",
            &[StaticWebOptions::OPTIONS],
        )
        .with_lines(&["use = egg:swift#staticweb"]),
        SectionDeclaration::plain(
            "filter:etag_quoter",
            "ETags in quotes in Swift's dialect.",
            &[EtagQuoterOptions::OPTIONS],
        )
        .with_lines(&["use = egg:swift#etag_quoter"]),
        SectionDeclaration::plain(
            "filter:read_only",
            "Accounts in which nothing may be changed.",
            &[ReadOnlyOptions::OPTIONS],
        )
        .with_lines(&["use = egg:swift#read_only"]),
        SectionDeclaration::plain(
            "filter:name_check",
            "Paths that are refused.",
            &[NameCheckOptions::OPTIONS],
        )
        .with_lines(&["use = egg:swift#name_check"]),
        SectionDeclaration::plain(
            "filter:crossdomain",
            "The document /crossdomain.xml.",
            &[CrossDomainOptions::OPTIONS],
        )
        .with_lines(&["use = egg:swift#crossdomain"]),
        SectionDeclaration::plain(
            "filter:ratelimit",
            "Rates of requests, of each process of a proxy.",
            &[RateLimitOptions::OPTIONS, CONTAINER_RATES],
        )
        .with_lines(&["use = egg:swift#ratelimit"]),
        SectionDeclaration::plain(
            "filter:formpost",
            "Uploads by signed HTML forms in Swift's dialect.",
            &[FormPostOptions::OPTIONS],
        )
        .with_lines(&["use = egg:swift#formpost"]),
        SectionDeclaration::plain(
            "filter:tempurl",
            "Temporary URLs of Swift's dialect.",
            &[TempUrlOptions::OPTIONS],
        )
        .with_lines(&["use = egg:swift#tempurl"]),
        SectionDeclaration::plain(
            "audit",
            "The audit log of both dialects.",
            &[AuditOptions::OPTIONS],
        ),
    ],
};

/// The file of a server.
pub fn file_of(server: Server) -> &'static FileDeclaration {
    match server {
        Server::Proxy => &PROXY_FILE,
        Server::Account => &ACCOUNT_FILE,
        Server::Container => &CONTAINER_FILE,
        Server::Object => &OBJECT_FILE,
    }
}

/// Checks what the declarations of a server's options cannot say: the pipeline and the users of a proxy. Returns
/// warnings.
///
/// # Errors
/// What prevents a start.
pub fn verify(conf: &Conf, server: Server) -> Result<Vec<String>, String> {
    if server != Server::Proxy {
        return Ok(Vec::new());
    }
    let pipeline = Pipeline::read(conf)?;
    let app = conf.section("app:proxy-server");
    let bind = bind_address(&app, server).map_err(|error| error.to_string())?;
    let users = tempauth_options(conf, &pipeline, bind.ip().is_loopback())?;
    TempAuth::from_options(users.into_iter(), &HashConf::default())
        .map_err(|error| format!("proxy-server.conf: {error}"))?;
    encryption_keys(conf, &pipeline)?;
    set_filters(&mut ProxyConfig::default(), conf, &pipeline)?;
    Ok(pipeline.warnings)
}

/// Logs the options of a server's file that have no effect: unknown ones each, those of Swift in one line.
pub(crate) fn warn(conf: &Conf, server: Server) {
    let mut without_effect = Vec::new();
    for finding in check(file_of(server), conf.given()) {
        match finding.problem {
            // The reader refuses it.
            OptionProblem::Value(_) => {}
            OptionProblem::WithoutEffect => without_effect.push(finding.given.name),
            _ => tracing::warn!("{}: {}", finding.given.file, finding.text()),
        }
    }
    if !without_effect.is_empty() {
        without_effect.sort_unstable();
        without_effect.dedup();
        let names = without_effect.join(", ");
        tracing::info!("{}-server.conf: options of Swift without effect: {names}", server.name());
    }
}
