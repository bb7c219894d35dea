//! Swift's ACL languages: lists of groups and referrers on containers, JSON on accounts.
//!
//! Source: `swift/common/middleware/acl.py`.

use serde::Deserialize;

/// The parsed list of a container.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Acl {
    /// Referrer rules in order: host and whether it is allowed.
    referrers: Vec<(String, bool)>,
    /// Groups, users, `.rlistings`.
    pub groups: Vec<String>,
}

/// Checks a list and spells it as it is stored.
///
/// # Errors
/// Swift's text for what is wrong.
pub fn clean(name: &str, value: &str) -> Result<String, String> {
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
            return Err(format!("Unknown designator {first:?} in ACL: {raw:?}"));
        }
        if is_write {
            return Err(format!("Referrers not allowed in write ACL: {raw:?}"));
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
            return Err(format!("No host/domain value after referrer designation in ACL: {raw:?}"));
        }
        cleaned.push(format!(".r:{}{second}", if negate { "-" } else { "" }));
    }
    Ok(cleaned.join(","))
}

impl Acl {
    /// Parses a stored list.
    pub fn parse(value: &str) -> Self {
        let mut acl = Self::default();
        for item in value.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            match item.strip_prefix(".r:") {
                Some(host) => match host.strip_prefix('-') {
                    Some(host) => acl.referrers.push((host.to_owned(), false)),
                    None => acl.referrers.push((host.to_owned(), true)),
                },
                None => acl.groups.push(item.to_owned()),
            }
        }
        acl
    }

    /// Whether a request with this `Referer` is allowed; the last rule that matches decides.
    pub fn allows_referrer(&self, referrer: Option<&str>) -> bool {
        let host = referrer.map_or("unknown", host_of);
        let mut allowed = false;
        for (rule, allow) in &self.referrers {
            let matches = rule == "*"
                || rule == host
                || (rule.starts_with('.') && host.ends_with(rule.as_str()));
            if matches {
                allowed = *allow;
            }
        }
        allowed
    }
}

fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let rest = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let host = rest.split(':').next().unwrap_or(rest);
    if host.is_empty() { "unknown" } else { host }
}

/// The list of an account.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountAcl {
    /// May do everything the owner may.
    #[serde(default)]
    pub admin: Vec<String>,
    /// May read and write containers and objects.
    #[serde(default, rename = "read-write")]
    pub read_write: Vec<String>,
    /// May read.
    #[serde(default, rename = "read-only")]
    pub read_only: Vec<String>,
}

impl AccountAcl {
    /// Parses the JSON of `X-Account-Access-Control`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(json: &str) -> Result<Self, String> {
        if json.trim().is_empty() {
            return Ok(Self::default());
        }
        serde_json::from_str(json).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_cleaned_as_swift_does() {
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
}
