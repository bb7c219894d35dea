//! Access control lists of containers: groups and referrers.
//!
//! Source: `swift/common/middleware/acl.py`.

use apus_cluster::percent;

/// Groups of the configuration that have a meaning.
const RESELLERS: [&str; 2] = [".reseller_admin", ".reseller_reader"];

/// Whether a word of a configuration or a list can be a group. Words that begin with a dot, such as
/// `.admin` and `.rlistings`, have meanings of their own; only those of resellers are groups.
pub fn is_group(word: &str) -> bool {
    !word.is_empty() && (!word.starts_with('.') || RESELLERS.contains(&word))
}

/// The parsed access control list of a container.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Acl {
    /// Referrer rules in order: host in lower case and whether it is allowed.
    referrers: Vec<(String, bool)>,
    /// Groups and users.
    pub groups: Vec<String>,
    /// Whether clients that a referrer rule admits may also list (`.rlistings`).
    pub listings: bool,
}

/// A list that is not valid, with Swift's text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAcl {
    /// A word with a colon that is not a referrer rule.
    #[error("Unknown designator {designator:?} in ACL: {item:?}")]
    UnknownDesignator {
        /// The word before the colon.
        designator: String,
        /// The item of the list.
        item: String,
    },
    /// A referrer rule in a list for writing.
    #[error("Referrers not allowed in write ACL: {item:?}")]
    ReferrerInWrite {
        /// The item of the list.
        item: String,
    },
    /// A referrer rule without a host.
    #[error("No host/domain value after referrer designation in ACL: {item:?}")]
    NoHost {
        /// The item of the list.
        item: String,
    },
}

/// Checks a list and returns the form in which it is stored.
///
/// # Errors
/// For an item that is not a group or a referrer rule.
pub fn clean(name: &str, value: &str) -> Result<String, InvalidAcl> {
    let is_write = name.to_ascii_lowercase().contains("write");
    let mut cleaned = Vec::new();
    for raw in value.split(',') {
        let item = raw.trim();
        if item.is_empty() {
            continue;
        }
        let Some((first, second)) = item.split_once(':').filter(|_| item.starts_with('.')) else {
            cleaned.push(item.to_owned());
            continue;
        };
        let (first, mut second) = (first.trim(), second.trim());
        if !matches!(first, ".r" | ".ref" | ".referer" | ".referrer") {
            let designator = first.to_owned();
            return Err(InvalidAcl::UnknownDesignator { designator, item: raw.to_owned() });
        }
        if is_write {
            return Err(InvalidAcl::ReferrerInWrite { item: raw.to_owned() });
        }
        let mut negate = false;
        if let Some(rest) = second.strip_prefix('-') {
            negate = true;
            second = rest.trim();
        }
        if let Some(rest) = second.strip_prefix('*').filter(|rest| !rest.is_empty()) {
            second = rest.trim();
        }
        if second.is_empty() || second == "." {
            return Err(InvalidAcl::NoHost { item: raw.to_owned() });
        }
        cleaned.push(format!(".r:{}{second}", if negate { "-" } else { "" }));
    }
    Ok(cleaned.join(","))
}

impl Acl {
    /// Parses a stored list. Groups in it are percent-encoded.
    pub fn parse(value: &str) -> Self {
        let mut acl = Self::default();
        for item in value.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            if let Some(host) = item.strip_prefix(".r:") {
                let (host, allow) =
                    host.strip_prefix('-').map_or((host, true), |host| (host, false));
                acl.referrers.push((host.to_lowercase(), allow));
                continue;
            }
            let word = String::from_utf8_lossy(&percent::decode(item)).into_owned();
            if word == ".rlistings" {
                acl.listings = true;
            } else if is_group(&word) {
                acl.groups.push(word);
            }
        }
        acl
    }

    /// Whether a request with this `Referer` is allowed; the last rule that matches decides.
    pub fn allows_referrer(&self, referrer: Option<&str>) -> bool {
        if self.referrers.is_empty() {
            return false;
        }
        let host = referrer.and_then(host_of).unwrap_or_else(|| "unknown".to_owned());
        let mut allowed = false;
        for (rule, allow) in &self.referrers {
            let is_any = rule == "*" && *allow;
            let matches =
                is_any || *rule == host || (rule.starts_with('.') && host.ends_with(rule.as_str()));
            if matches {
                allowed = *allow;
            }
        }
        allowed
    }
}

/// The host of a URL in lower case, as Python's `urlparse` finds it.
fn host_of(url: &str) -> Option<String> {
    let (scheme, rest) = url.trim_start().split_once("//")?;
    let is_scheme = scheme.strip_suffix(':').is_some_and(|scheme| {
        scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    });
    if !scheme.is_empty() && !is_scheme {
        return None;
    }
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = match host.split_once('[') {
        Some((_, bracketed)) => bracketed.split(']').next()?,
        None => host.split(':').next()?,
    };
    (!host.is_empty()).then(|| host.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_stored_in_swifts_form() {
        assert_eq!(
            clean("X-Container-Read", " .r : * , a:b ,.rlistings").unwrap(),
            ".r:*,a:b,.rlistings"
        );
        assert_eq!(
            clean("X-Container-Read", ".referrer:-*.example.com").unwrap(),
            ".r:-.example.com"
        );
        assert!(clean("X-Container-Write", ".r:*").is_err());
        assert!(clean("X-Container-Read", ".r:").is_err());
        assert!(clean("X-Container-Read", ".unknown:x").is_err());
    }

    #[test]
    fn the_last_matching_referrer_rule_decides() {
        let acl = Acl::parse(".r:*,.r:-.evil.com,bob");
        assert!(acl.allows_referrer(None));
        assert!(acl.allows_referrer(Some("http://good.com/x")));
        assert!(!acl.allows_referrer(Some("https://www.evil.com:8080/")));
        assert!(!Acl::parse("bob").allows_referrer(None));
        assert_eq!(acl.groups, ["bob"]);
    }

    #[test]
    fn hosts_are_compared_without_regard_to_case() {
        for (list, referrer, allowed) in [
            (".r:*,.r:-evil.org", "http://EVIL.ORG/", false),
            (".r:*,.r:-EVIL.org", "http://evil.org/", false),
            (".r:*,.r:-.evil.com", "http://WWW.EVIL.COM:80/x", false),
            (".r:*,.r:-.Evil.Com", "http://www.evil.com/", false),
            (".r:Good.org", "HTTPS://u:p@good.ORG:8443/a?b#c", true),
            (".r:good.org", "//good.org/", true),
            (".r:good.org", "good.org/", false),
            (".r:good.org", "http://evil.org/http://good.org", false),
            (".r:good.org", "http://good.org@evil.org/", false),
            (".r:good.org", "http://evil.org?@good.org/", false),
            (".r:2001:db8::1", "http://[2001:DB8::1]:80/", true),
            (".r:*,.r:-unknown", "", false),
            (".r:-*,.r:good.org", "http://good.org/", true),
            (".r:*,.r:-*", "http://good.org/", true),
        ] {
            let referrer = Some(referrer);
            assert_eq!(Acl::parse(list).allows_referrer(referrer), allowed, "{list} {referrer:?}");
        }
    }

    #[test]
    fn words_that_begin_with_a_dot_are_not_groups() {
        let acl = Acl::parse(".admin,%2Eadmin,.rlistings,.r,.x,bob,a%2Cb,.reseller_reader");
        assert_eq!(acl.groups, ["bob", "a,b", ".reseller_reader"]);
        assert!(acl.listings);
        assert!(!acl.allows_referrer(None));
        assert!(Acl::parse("%2Erlistings").listings);
        assert!(Acl::parse("%2Er:*").groups.is_empty());
        assert!(!Acl::parse("%2Er:*").allows_referrer(None));
    }
}
