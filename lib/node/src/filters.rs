//! Filters in the pipeline of `proxy-server.conf`.
//!
//! As in Swift, a filter that is not in the pipeline is off, and so are the options of its section.
//! A filter that is not supported is logged. The start is refused when, without the filter, requests
//! would be accepted, or objects stored, that should not be.

use apus_daemon::config::{Conf, Section};
use apus_options::{flag, options, text};
use apus_proxy::auth::tempauth::{TempAuthOptions, USERS, user_names};

/// Support of a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FilterSupport {
    /// Apus does its work.
    Done,
    /// Clients miss a feature, and nothing else changes; with what they miss.
    LeftOut(&'static str),
    /// Without it more would be allowed, or data stored otherwise; with what it does.
    Refused(&'static str),
}

use FilterSupport::{Done, LeftOut, Refused};

const AUTHENTICATES: &str = "it decides who may do what, and is not done here";
const ENCRYPTS: &str = "objects would be stored without encryption, and encrypted ones not be read";
const LIMITS: &str = "its limits are not enforced";

/// Swift's filters by entry point (`egg:swift#<name>`), with `-` for `_`, and those of its usual
/// companions.
const FILTERS: [(&str, FilterSupport); 46] = [
    ("catch-errors", Done),
    ("gatekeeper", Done),
    ("healthcheck", Done),
    ("proxy-logging", Done),
    ("cache", Done),
    ("memcache", Done),
    ("listing-formats", Done),
    ("s3api", Done),
    ("swift3", Done),
    ("tempauth", Done),
    ("bulk", Done),
    ("copy", Done),
    ("slo", Done),
    ("dlo", Done),
    ("symlink", Done),
    ("tempurl", Done),
    ("etag-quoter", Done),
    ("formpost", Done),
    ("staticweb", Done),
    ("account-quotas", Done),
    ("container-quotas", Done),
    ("domain-remap", Done),
    ("versioned-writes", Done),
    ("object-versioning", Done),
    ("keymaster", Done),
    ("encryption", Done),
    ("read-only", Done),
    ("name-check", Done),
    ("crossdomain", Done),
    ("ratelimit", Done),
    ("recon", LeftOut("no /recon on the proxy")),
    ("backend-ratelimit", LeftOut(LIMITS)),
    ("container-sync", LeftOut("containers are not synchronised")),
    ("cname-lookup", LeftOut("host names are not looked up")),
    ("list-endpoints", LeftOut("no /endpoints")),
    ("xprofile", LeftOut("no profiles")),
    ("ceilometer", LeftOut("no notifications")),
    ("kms-keymaster", Refused(ENCRYPTS)),
    ("kmip-keymaster", Refused(ENCRYPTS)),
    ("authtoken", Refused(AUTHENTICATES)),
    ("auth-token", Refused(AUTHENTICATES)),
    ("keystoneauth", Refused(AUTHENTICATES)),
    ("keystone", Refused(AUTHENTICATES)),
    ("swauth", Refused(AUTHENTICATES)),
    ("s3token", Refused(AUTHENTICATES)),
    ("gauth", Refused(AUTHENTICATES)),
];

/// The name of the option [`PipelineOptions::leave_out_filters`].
const LEAVE_OUT: &str = "leave_out_filters";

options! {
    /// Options of `[app:proxy-server]` for the pipeline.
    #[derive(Debug)]
    pub struct PipelineOptions {
        /// Filters of the pipeline that are not supported here and that the operator wants to do without, separated by blanks or commas.
        leave_out_filters: String = text("", "names of filters"),
    }
}

options! {
    /// Options of `[pipeline:main]`.
    #[derive(Debug)]
    pub struct MainPipelineOptions {
        /// The filters that are on, and the server.
        pipeline: Option<String> = text("", "filters, and the server as the last word")
            .unset("every filter that is supported"),
    }
}

/// The sections of the filters that are on.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Pipeline {
    /// Of `tempauth`.
    pub(super) tempauth: Option<String>,
    /// Of `s3api`.
    pub(super) s3api: Option<String>,
    /// Of `slo`.
    pub(super) slo: Option<String>,
    /// Of `symlink`.
    pub(super) symlink: Option<String>,
    /// Of `tempurl`.
    pub(super) tempurl: Option<String>,
    /// Of `keymaster`.
    pub(super) keymaster: Option<String>,
    /// Of `encryption`, which encrypts every new object.
    pub(super) encryption: Option<String>,
    /// Of `staticweb`.
    pub(super) staticweb: Option<String>,
    /// Of `etag_quoter`.
    pub(super) etag_quoter: Option<String>,
    /// Of `formpost`.
    pub(super) formpost: Option<String>,
    /// Of `account_quotas`.
    pub(super) account_quotas: Option<String>,
    /// Of `container_quotas`.
    pub(super) container_quotas: Option<String>,
    /// Of `domain_remap`, which is off without a pipeline: its domains are the operator's.
    pub(super) domain_remap: Option<String>,
    /// Of `read_only`; this and the three below are off without a pipeline: they forbid what the
    /// dialects allow, or open the cluster to other sites.
    pub(super) read_only: Option<String>,
    /// Of `name_check`.
    pub(super) name_check: Option<String>,
    /// Of `crossdomain`.
    pub(super) crossdomain: Option<String>,
    /// Of `ratelimit`.
    pub(super) ratelimit: Option<String>,
    /// Whether there is a pipeline; one of our own files needs none, and then all is on.
    pub(super) is_given: bool,
    /// What is missing without filters that are not supported.
    pub(super) warnings: Vec<String>,
}

/// The entry point of a filter, from the `use` of its section.
fn entry_point(section: &Section<'_>, name: &str) -> String {
    let given = section.text("use").or_else(|| section.text("paste.filter_factory"));
    let entry = match given {
        Some(given) if given.starts_with("egg:") => {
            given.rsplit_once('#').map_or(given, |(_, entry)| entry)
        }
        Some(given) => known_factory(given).unwrap_or(given),
        None => name,
    };
    entry.replace('_', "-")
}

/// The filters that are usually named by their module.
fn known_factory(given: &str) -> Option<&'static str> {
    let module = given.split(':').next()?.trim();
    let is_keystones = module.starts_with("keystone") && module.ends_with("auth_token");
    is_keystones.then_some("authtoken")
}

impl Pipeline {
    /// Reads `[pipeline:main]`.
    ///
    /// # Errors
    /// The filter that this server cannot do without, with the file and what to do.
    pub(super) fn read(conf: &Conf) -> Result<Self, String> {
        let section = conf.section("pipeline:main");
        let named = |name: &str| Some(format!("filter:{name}"));
        let Some(text) = MainPipelineOptions::read(&section)?.pipeline else {
            return Ok(Self {
                tempauth: named("tempauth"),
                s3api: named("s3api"),
                slo: named("slo"),
                symlink: named("symlink"),
                tempurl: named("tempurl"),
                keymaster: named("keymaster"),
                encryption: None,
                staticweb: named("staticweb"),
                etag_quoter: named("etag_quoter"),
                formpost: named("formpost"),
                account_quotas: named("account_quotas"),
                container_quotas: named("container_quotas"),
                domain_remap: None,
                read_only: None,
                name_check: None,
                crossdomain: None,
                ratelimit: None,
                is_given: false,
                warnings: Vec::new(),
            });
        };
        let text = text.as_str();
        let options = PipelineOptions::read(&conf.section("app:proxy-server"))?;
        let left_out: Vec<&str> = options.leave_out_filters.split([' ', ',', '\n', '\t']).collect();
        let mut found = Self { is_given: true, ..Self::default() };
        let mut names: Vec<&str> = text.split_whitespace().collect();
        match names.pop() {
            Some("proxy-server") => {}
            _ => {
                return Err(section
                    .refuse("pipeline", text, "proxy-server as its last word")
                    .into());
            }
        }
        for name in names {
            let own = conf.section(&format!("filter:{name}"));
            let entry = entry_point(&own, name);
            let fate = FILTERS.iter().find(|(known, _)| *known == entry).map(|(_, fate)| *fate);
            let why = match fate {
                Some(Done) => {
                    found.switch_on(&entry, name);
                    continue;
                }
                Some(LeftOut(what)) => {
                    found.warn(&format!("{name} is not done: {what}"));
                    continue;
                }
                _ if left_out.contains(&name) => {
                    found.warn(&format!("{name} is left out ({LEAVE_OUT})"));
                    continue;
                }
                Some(Refused(why)) => why,
                None => "it is not known here, and may decide who may do what",
            };
            let expected = format!(
                "a pipeline without {name} ({entry}): {why}. Remove it, or name it in {LEAVE_OUT} of [app:proxy-server]"
            );
            return Err(section.refuse("pipeline", text, &expected).into());
        }
        if found.tempauth.is_none() {
            let what = "without tempauth there are no users, and only what is public can be read";
            found.warn(what);
        }
        Ok(found)
    }

    fn warn(&mut self, what: &str) {
        self.warnings.push(format!("proxy-server.conf: pipeline: {what}"));
    }

    fn switch_on(&mut self, entry: &str, name: &str) {
        let place = match entry {
            "tempauth" => &mut self.tempauth,
            "s3api" | "swift3" => &mut self.s3api,
            "slo" => &mut self.slo,
            "symlink" => &mut self.symlink,
            "tempurl" => &mut self.tempurl,
            "keymaster" => &mut self.keymaster,
            "encryption" => &mut self.encryption,
            "staticweb" => &mut self.staticweb,
            "etag-quoter" => &mut self.etag_quoter,
            "formpost" => &mut self.formpost,
            "account-quotas" => &mut self.account_quotas,
            "container-quotas" => &mut self.container_quotas,
            "domain-remap" => &mut self.domain_remap,
            "read-only" => &mut self.read_only,
            "name-check" => &mut self.name_check,
            "crossdomain" => &mut self.crossdomain,
            "ratelimit" => &mut self.ratelimit,
            _ => return,
        };
        place.get_or_insert_with(|| format!("filter:{name}"));
    }
}

/// In `[filter:tempauth]`: users of Swift's sample may be in force. Everybody knows their keys.
pub(crate) const ALLOW_SAMPLE_KEYS: &str = "allow_sample_keys";

/// Accounts, users and keys of Swift's `proxy-server.conf-sample` and of its test suites.
const SAMPLE_KEYS: [(&str, &str, &str); 8] = [
    ("admin", "admin", "admin"),
    ("admin", "auditor", "admin_ro"),
    ("test", "tester", "testing"),
    ("test", "tester2", "testing2"),
    ("test", "tester3", "testing3"),
    ("test2", "tester2", "testing2"),
    ("test5", "tester5", "testing5"),
    ("test", "tester6", "testing6"),
];

/// Whether an option gives a user of the sample its well-known key, in either spelling of its name.
fn is_sample(option: &str, value: &str) -> bool {
    let key = value.split_whitespace().next().unwrap_or_default();
    user_names(option).is_some_and(|(account, user)| SAMPLE_KEYS.contains(&(&account, &user, key)))
}

options! {
    /// Options of `[filter:tempauth]` for its users.
    #[derive(Debug)]
    pub struct SampleKeyOptions {
        /// Accept users with the keys of Swift's sample, which are public. For tests.
        allow_sample_keys: bool = flag(false),
    }
}

/// The options of tempauth's section that have an effect; the others are reported.
///
/// A file without a pipeline was written for Apus. When clients elsewhere cannot reach it
/// (`is_loopback`), users of the sample are meant as they stand, with a warning.
///
/// # Errors
/// A user of Swift's sample with its well-known key, unless these are allowed.
pub(super) fn tempauth_options<'a>(
    conf: &'a Conf,
    pipeline: &Pipeline,
    is_loopback: bool,
) -> Result<Vec<(&'a str, &'a str)>, String> {
    let Some(name) = &pipeline.tempauth else { return Ok(Vec::new()) };
    let section = conf.section(name);
    let allowed = SampleKeyOptions::read(&section)?.allow_sample_keys;
    let all = conf.sections().filter(|(known, _)| known == name).flat_map(|(_, options)| options);
    let mut options = Vec::new();
    let mut samples = Vec::new();
    for (option, value) in all.filter(|(option, _)| has_effect(option)) {
        if is_sample(option, value) {
            samples.push(option);
        }
        options.push((option, value));
    }
    let Some(first) = samples.first().filter(|_| !allowed) else { return Ok(options) };
    if pipeline.is_given || !is_loopback {
        return Err(section.refuse(
            first,
            "(a key of Swift's sample)",
            &format!("a key of your own, or {ALLOW_SAMPLE_KEYS} = true for a test: the keys of the sample are public"),
        ).into());
    }
    tracing::warn!("proxy-server.conf: users with keys of Swift's sample: {}", samples.join(", "));
    Ok(options)
}

fn has_effect(option: &str) -> bool {
    USERS.iter().chain(TempAuthOptions::OPTIONS).any(|known| known.is_named(option))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pipeline: &str, more: &str) -> Result<Pipeline, String> {
        Pipeline::read(
            &Conf::parse(&format!("[pipeline:main]\npipeline = {pipeline}\n{more}")).unwrap(),
        )
    }

    #[test]
    fn what_is_not_in_the_pipeline_is_off_and_names_are_those_of_sections() {
        let all = read("cache s3api tempauth slo symlink proxy-server", "").unwrap();
        assert_eq!(all.tempauth.as_deref(), Some("filter:tempauth"));
        assert!(all.s3api.is_some() && all.slo.is_some() && all.symlink.is_some());
        let none = read("catch_errors proxy-logging proxy-server", "[filter:tempauth]\n").unwrap();
        assert_eq!((none.tempauth, none.s3api, none.slo), (None, None, None));
        let renamed = "[filter:users]\nuse = egg:swift#tempauth\n";
        let renamed = read("users proxy-server", renamed).unwrap();
        assert_eq!(renamed.tempauth.as_deref(), Some("filter:users"));
        let limits = read("name-check read_only crossdomain ratelimit proxy-server", "").unwrap();
        assert_eq!(limits.name_check.as_deref(), Some("filter:name-check"));
        assert_eq!(limits.read_only.as_deref(), Some("filter:read_only"));
        assert!(limits.crossdomain.is_some() && limits.ratelimit.is_some());
        let without = Pipeline::read(&Conf::parse("").unwrap()).unwrap();
        assert!(!without.is_given && without.tempauth.is_some() && without.s3api.is_some());
    }

    #[test]
    fn a_filter_that_guards_and_is_not_done_is_refused_by_name() {
        for (name, more) in [
            (
                "authtoken",
                "[filter:authtoken]\npaste.filter_factory = keystonemiddleware.auth_token:filter_factory\n",
            ),
            (
                "tokens",
                "[filter:tokens]\npaste.filter_factory = keystonemiddleware.auth_token:filter_factory\n",
            ),
            ("keystoneauth", ""),
            ("keystone", "[filter:keystone]\nuse = egg:swift#keystoneauth\n"),
            ("swauth", "[filter:swauth]\nuse = egg:swauth#swauth\n"),
            ("s3token", ""),
            ("kms_keymaster", ""),
            ("ours", "[filter:ours]\npaste.filter_factory = house.auth:factory\n"),
            // What it is called does not make it another filter.
            ("tempauth", "[filter:tempauth]\nuse = egg:swift#keystoneauth\n"),
        ] {
            let error = read(&format!("{name} tempauth2 proxy-server"), more).unwrap_err();
            assert!(error.contains(name) && error.contains("pipeline"), "{error}");
            let leave = format!("{more}[app:proxy-server]\nleave_out_filters = {name}\n");
            let left = read(&format!("{name} proxy-server"), &leave).unwrap();
            assert_eq!(left.tempauth, None, "{name}");
        }
        for name in ["backend_ratelimit", "container-sync"] {
            assert!(read(&format!("{name} tempauth proxy-server"), "").is_ok(), "{name}");
        }
        assert!(read("tempauth", "").unwrap_err().contains("proxy-server"));
    }

    #[test]
    fn the_keys_of_swifts_sample_are_refused_unless_they_are_asked_for() {
        let options = |pipeline: &str, more: &str, is_loopback: bool| {
            let text = format!("{pipeline}[filter:tempauth]\n{more}\n");
            let conf = Conf::parse(&text).unwrap();
            let pipeline = Pipeline::read(&conf)?;
            Ok::<_, String>(tempauth_options(&conf, &pipeline, is_loopback)?.len())
        };
        let swifts = "[pipeline:main]\npipeline = tempauth proxy-server\n";
        let plain = SAMPLE_KEYS.map(|(account, user, key)| (format!("user_{account}_{user}"), key));
        let encoded = ("user64_dGVzdA_dGVzdGVy".to_owned(), "testing");
        for (option, key) in plain.into_iter().chain([encoded]) {
            let line = format!("{option} = {key} .admin");
            let error = options(swifts, &line, true).unwrap_err();
            assert!(error.contains(&option) && !error.contains(&format!("\"{key}\"")), "{error}");
            assert!(options("", &line, false).is_err());
            assert_eq!(options("", &line, true), Ok(1));
            assert_eq!(options(swifts, &format!("{line}\nallow_sample_keys = yes"), true), Ok(1));
            assert_eq!(options(swifts, &format!("{option} = another .admin"), true), Ok(1));
        }
        let off = "[pipeline:main]\npipeline = copy proxy-server\n";
        assert_eq!(options(off, "user_admin_admin = admin .admin", true), Ok(0));
    }
}
