//! Options of the filters that refuse or delay requests: `read_only`, `name_check`, `crossdomain`, `ratelimit`.

use apus_daemon::config::Conf;
use apus_options::{OptionDeclaration, family, flag, number, options, text, whole};
use apus_proxy::{NameCheck, ProxyConfig, RateLimitConfig, RateTable, ReadOnlyConfig, WaitRules};

use super::filters::Pipeline;

options! {
    /// Options of `[filter:read_only]`, with Swift's names.
    #[derive(Debug)]
    pub struct ReadOnlyOptions {
        /// Refuse writes to all accounts, except those whose `X-Account-Sysmeta-Read-Only` is false.
        read_only: bool = flag(false),
        /// Allow deletions nevertheless.
        allow_deletes: bool = flag(false),
    }
}

options! {
    /// Options of `[filter:name_check]`, with Swift's names.
    #[derive(Debug)]
    pub struct NameCheckOptions {
        /// Characters that paths may not have.
        forbidden_chars: String = text("'\"`<>", "characters"),
        /// Maximum length of a path.
        maximum_length: usize = whole(255).unit("bytes"),
        /// Pattern that paths may not have; none when it is empty. Look-around and references to groups are not supported.
        forbidden_regexp: String =
            text(r"/\./|/\.\./|/\.$|/\.\.$", "a regular expression").checked(NameCheck::is_expression),
    }
}

options! {
    /// Options of `[filter:crossdomain]`, with Swift's names.
    #[derive(Debug)]
    pub struct CrossDomainOptions {
        /// Elements of `/crossdomain.xml`.
        cross_domain_policy: String =
            text(r#"<allow-access-from domain="*" secure="false" />"#, "elements of XML"),
    }
}

options! {
    /// Options of `[filter:ratelimit]`, with Swift's names.
    #[derive(Debug)]
    pub struct RateLimitOptions {
        /// Units of time in which rates are counted.
        clock_accuracy: u64 = whole(1000).unit("units per second").from(1),
        /// Longest wait of a request; one that would have to wait longer is refused.
        max_sleep_time_seconds: f64 = number(60.0).unit("seconds"),
        /// Longer waits are logged; 0 logs none.
        log_sleep_time_seconds: f64 = number(0.0).unit("seconds"),
        /// Time without requests that later requests may make up for.
        rate_buffer_seconds: u64 = whole(5).unit("seconds"),
        /// PUT and DELETE of containers in an account; 0 is no limit.
        account_ratelimit: f64 = number(0.0).unit("requests per second"),
        /// Accounts without limits.
        account_whitelist: String = text("", "accounts between commas"),
        /// Accounts whose requests are refused.
        account_blacklist: String = text("", "accounts between commas"),
    }
}

const CONTAINER_RATE: &str = "container_ratelimit_";
const LISTING_RATE: &str = "container_listing_ratelimit_";

/// The options with sizes of containers in their names.
pub(super) const CONTAINER_RATES: &[OptionDeclaration] = &[
    family(
        "container_ratelimit_<size>",
        number(0.0).unit("requests per second").unset("no limit"),
        "Writes of objects in a container with this many objects. Between two sizes the rate is on the line between theirs.",
    ),
    family(
        "container_listing_ratelimit_<size>",
        number(0.0).unit("requests per second").unset("no limit"),
        "Listings of a container with this many objects.",
    ),
];

impl RateLimitOptions {
    fn config(self, container_rates: RateTable, listing_rates: RateTable) -> RateLimitConfig {
        let names = |text: &str| -> Vec<String> {
            let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
            words.map(str::to_owned).collect()
        };
        RateLimitConfig {
            account_rate: self.account_ratelimit,
            container_rates,
            listing_rates,
            waits: WaitRules {
                units_per_second: self.clock_accuracy,
                wait_max_seconds: self.max_sleep_time_seconds,
                buffer_seconds: self.rate_buffer_seconds,
            },
            log_wait_seconds: self.log_sleep_time_seconds,
            unlimited: names(&self.account_whitelist),
            blocked: names(&self.account_blacklist),
        }
    }
}

/// The rates of a section whose options begin with a prefix.
fn rate_table(conf: &Conf, section: &str, prefix: &str) -> Result<RateTable, String> {
    let own = conf.sections().filter(|(known, _)| *known == section);
    let mut steps = Vec::new();
    for (option, value) in own.flat_map(|(_, options)| options) {
        let Some(size) = option.strip_prefix(prefix) else { continue };
        let refuse = |expected: &str| -> String {
            conf.section(section).refuse(option, value, expected).into()
        };
        let size = size
            .parse::<u64>()
            .map_err(|_| refuse("a whole number of objects at the end of the option's name"))?;
        let rate = value.trim().parse::<f64>().ok().filter(|rate| rate.is_finite() && *rate >= 0.0);
        steps.push((size, rate.ok_or_else(|| refuse("a number from 0 (requests per second)"))?));
    }
    Ok(RateTable::new(steps))
}

fn rate_limit(conf: &Conf, section: &str) -> Result<RateLimitConfig, String> {
    let options = RateLimitOptions::read(&conf.section(section))?;
    let container_rates = rate_table(conf, section, CONTAINER_RATE)?;
    Ok(options.config(container_rates, rate_table(conf, section, LISTING_RATE)?))
}

fn name_check(conf: &Conf, section: &str) -> Result<NameCheck, String> {
    let options = NameCheckOptions::read(&conf.section(section))?;
    let length = options.maximum_length;
    NameCheck::new(&options.forbidden_chars, length, &options.forbidden_regexp)
        .map_err(|error| format!("proxy-server.conf: [{section}] forbidden_regexp: {error}"))
}

/// Sets the filters that are on.
///
/// # Errors
/// An option is not as declared, with its name and what was expected.
pub(super) fn set_filters(
    config: &mut ProxyConfig,
    conf: &Conf,
    pipeline: &Pipeline,
) -> Result<(), String> {
    if let Some(section) = &pipeline.read_only {
        let ReadOnlyOptions { read_only, allow_deletes } =
            ReadOnlyOptions::read(&conf.section(section))?;
        config.read_only = Some(ReadOnlyConfig { read_only, allow_deletes });
    }
    if let Some(section) = &pipeline.name_check {
        config.name_check = Some(name_check(conf, section)?);
    }
    if let Some(section) = &pipeline.crossdomain {
        let options = CrossDomainOptions::read(&conf.section(section))?;
        config.cross_domain_policy = Some(options.cross_domain_policy);
    }
    if let Some(section) = &pipeline.ratelimit {
        config.rate_limit = Some(rate_limit(conf, section)?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(filter: &str, options: &str) -> Result<ProxyConfig, String> {
        let text = format!(
            "[pipeline:main]\npipeline = {filter} proxy-server\n[filter:{filter}]\n{options}"
        );
        let conf = Conf::parse(&text).unwrap();
        let mut config = ProxyConfig::default();
        set_filters(&mut config, &conf, &Pipeline::read(&conf)?)?;
        Ok(config)
    }

    #[test]
    fn rates_are_read_by_size() {
        let options = "account_ratelimit = 2.5\ncontainer_ratelimit_100 = 50\n\
                       container_ratelimit_0 = 100\ncontainer_listing_ratelimit_10 = 1\n\
                       account_blacklist = a, b\n";
        let limit = read("ratelimit", options).unwrap().rate_limit.unwrap();
        assert_eq!(limit.account_rate, 2.5);
        assert_eq!(limit.container_rates.steps(), [(0, 100.0), (100, 50.0)]);
        assert_eq!(limit.listing_rates.steps(), [(10, 1.0)]);
        assert_eq!((limit.blocked.len(), limit.unlimited.len()), (2, 0));
    }

    #[test]
    fn options_that_are_not_as_declared_are_refused_by_name() {
        for (filter, option, value) in [
            ("ratelimit", "container_ratelimit_many", "1"),
            ("ratelimit", "container_ratelimit_1", "fast"),
            ("ratelimit", "container_listing_ratelimit_1", "-1"),
            ("ratelimit", "account_ratelimit", "x"),
            ("ratelimit", "clock_accuracy", "0"),
            ("name_check", "maximum_length", "x"),
            ("name_check", "forbidden_regexp", "("),
            ("read_only", "read_only", "perhaps"),
        ] {
            let error = read(filter, &format!("{option} = {value}\n")).unwrap_err();
            assert!(error.contains(option) && error.contains(value), "{error}");
        }
    }

    #[test]
    fn only_filters_of_the_pipeline_are_on() {
        let config = read("crossdomain", "").unwrap();
        assert!(config.cross_domain_policy.is_some_and(|policy| policy.contains("domain=\"*\"")));
        assert!(config.name_check.is_none() && config.rate_limit.is_none());
        assert_eq!(config.read_only, None);
    }
}
