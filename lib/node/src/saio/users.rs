//! The users that Swift's test suites expect, as lines of `[filter:tempauth]`.

use std::fmt::Write as _;

use apus_daemon::config::Conf;

use crate::filters::ALLOW_SAMPLE_KEYS;

/// The users of Swift's SAIO, as its `proxy-server.conf-sample` and test suites have them.
const DEV_USERS: [(&str, &str); 7] = [
    ("admin_admin", "admin .admin .reseller_admin"),
    ("test_tester", "testing .admin"),
    ("test_tester2", "testing2 .admin"),
    ("test2_tester2", "testing2 .admin"),
    ("test_tester3", "testing3"),
    ("test5_tester5", "testing5 service"),
    ("test_tester6", "testing6 .reseller_admin"),
];
const SECTION: &str = "filter:tempauth";

/// The text of `proxy-server.conf` with those of the users that are missing, and with SigV2, which
/// the suites use.
///
/// # Errors
/// A user that is there with another key or other groups.
pub(super) fn added(text: &str) -> Result<String, String> {
    let conf = Conf::parse(text)?;
    let section = conf.section(SECTION);
    let mut lines = String::new();
    if section.text(ALLOW_SAMPLE_KEYS).is_none() {
        let _ = writeln!(lines, "{ALLOW_SAMPLE_KEYS} = true");
    }
    for (name, value) in DEV_USERS {
        let option = format!("user_{name}");
        match section.text(&option) {
            None => drop(writeln!(lines, "{option} = {value}")),
            Some(there) if there.split_whitespace().eq(value.split_whitespace()) => {}
            Some(_) => {
                return Err(format!(
                    "[{SECTION}] {option}: --dev-users would give it another key or other groups; leave --dev-users away, or remove this line"
                ));
            }
        }
    }
    let text = text.replace("\nsigv2 = false\n", "\nsigv2 = true\n");
    inserted(&text, &lines)
}

/// A cluster that an older version made with these users has no word that allows them.
pub(super) fn allowed_where_present(text: &str) -> String {
    let Ok(conf) = Conf::parse(text) else { return text.to_owned() };
    let section = conf.section(SECTION);
    let has_all = DEV_USERS.iter().all(|(name, _)| section.text(&format!("user_{name}")).is_some());
    if !has_all || section.text(ALLOW_SAMPLE_KEYS).is_some() {
        return text.to_owned();
    }
    inserted(text, &format!("{ALLOW_SAMPLE_KEYS} = true\n")).unwrap_or_else(|_| text.to_owned())
}

/// Puts lines at the beginning of the section.
fn inserted(text: &str, lines: &str) -> Result<String, String> {
    let header = format!("[{SECTION}]\n");
    let (before, after) = text
        .split_once(&header)
        .ok_or_else(|| format!("expected a section [{SECTION}], which --dev-users adds to"))?;
    Ok(format!("{before}{header}{lines}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "[filter:tempauth]\nuse = egg:swift#tempauth\nuser_apus_admin = k .admin\n\n\
        [filter:s3api]\nsigv2 = false\n";

    #[test]
    fn users_are_added_once_and_others_stay() {
        let text = added(TEXT).unwrap();
        let conf = Conf::parse(&text).unwrap();
        let section = conf.section(SECTION);
        assert_eq!(section.text("user_test_tester"), Some("testing .admin"));
        assert_eq!(section.text("user_apus_admin"), Some("k .admin"));
        assert_eq!(section.text(ALLOW_SAMPLE_KEYS), Some("true"));
        assert_eq!(conf.section("filter:s3api").text("sigv2"), Some("true"));
        assert_eq!(added(&text).unwrap(), text);
    }

    #[test]
    fn a_user_with_another_key_is_not_changed() {
        let text = TEXT.replace("user_apus_admin = k", "user_test_tester = k");
        let error = added(&text).unwrap_err();
        assert!(error.contains("user_test_tester") && !error.contains("testing"), "{error}");
        assert!(added("[DEFAULT]\n").unwrap_err().contains(SECTION));
    }

    #[test]
    fn the_users_of_an_older_version_go_on_to_work() {
        let older = added(TEXT).unwrap().replace(&format!("{ALLOW_SAMPLE_KEYS} = true\n"), "");
        assert_eq!(
            allowed_where_present(&older).replace(&format!("{ALLOW_SAMPLE_KEYS} = true\n"), ""),
            older
        );
        assert!(allowed_where_present(&older).contains(ALLOW_SAMPLE_KEYS));
        assert_eq!(allowed_where_present(TEXT), TEXT);
    }
}
