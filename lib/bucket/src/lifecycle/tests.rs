//! Tables of lifecycle rules.

use super::*;

const DAY: u64 = DAY_SECONDS;
/// 2024-01-15 10:30 UTC.
const WRITTEN: u64 = 1_705_314_600;
/// The midnight before.
const MIDNIGHT: u64 = 1_705_276_800;

fn prefix(prefix: &str) -> RuleFilter {
    RuleFilter { prefix: Some(prefix.to_owned()), ..RuleFilter::default() }
}

fn tag(key: &str, value: &str) -> Tag {
    Tag { key: key.to_owned(), value: value.to_owned() }
}

fn days(id: &str, filter: RuleFilter, days: u32) -> LifecycleRule {
    let expiration = Some(RuleExpiration::Days(days));
    LifecycleRule { id: id.to_owned(), enabled: true, filter, expiration, ..Default::default() }
}

fn configuration(rules: &[LifecycleRule]) -> LifecycleConfiguration {
    LifecycleConfiguration { rules: rules.to_vec(), transition_minimum: None }
}

fn object(name: &str) -> LifecycleEntry<'_> {
    let state = LifecycleState::Current;
    LifecycleEntry { name, size: 100, tags: None, modified: WRITTEN, state }
}

fn is_due(rule: &LifecycleRule, entry: &LifecycleEntry<'_>, now: u64) -> bool {
    let verdict = configuration(std::slice::from_ref(rule)).verdict(entry, now, DayLength::REAL);
    verdict == LifecycleVerdict::Due { rule: 0 }
}

#[test]
fn days_end_at_the_next_midnight() {
    let rule = days("r", prefix(""), 3);
    let rules = configuration(std::slice::from_ref(&rule));
    for (modified, expires) in [
        // AWS's example: 10:30 and three days is midnight after the fourth day.
        (WRITTEN, MIDNIGHT + 4 * DAY),
        (MIDNIGHT, MIDNIGHT + 3 * DAY),
        (MIDNIGHT + 1, MIDNIGHT + 4 * DAY),
    ] {
        let entry = LifecycleEntry { modified, ..object("o") };
        assert!(!is_due(&rule, &entry, expires - 1));
        assert!(is_due(&rule, &entry, expires));
        assert_eq!(rules.expiry(&entry), Some((expires, "r")));
    }
    let short = DayLength::seconds(10);
    let due = |now| rules.verdict(&object("o"), now, short);
    assert_eq!(due(WRITTEN + 29), LifecycleVerdict::Keep);
    assert_eq!(due(WRITTEN + 30), LifecycleVerdict::Due { rule: 0 });
}

#[test]
fn dates_are_iso_8601() {
    for (text, seconds) in [
        ("2024-01-15", Some(MIDNIGHT)),
        ("2024-01-15T00:00:00Z", Some(MIDNIGHT)),
        ("2024-01-15T00:00:00.000Z", Some(MIDNIGHT)),
        ("2024-01-15T10:30:00Z", Some(WRITTEN)),
        ("2024-01-15T02:00:00+02:00", Some(MIDNIGHT)),
        ("2024-01-14T23:00:00-01:00", Some(MIDNIGHT)),
        ("1970-01-01T00:00:00+01:00", None),
        ("2024-01-15T00:00:00", None),
        ("2024-01-15T00:00:00.5Z", None),
        ("2024-01-15T24:00:00Z", None),
        ("2024-13-01", None),
        ("2024-1-15", None),
        ("20240115", None),
        ("", None),
        ("\u{fc}-T\u{fc}", None),
    ] {
        assert_eq!(parse_date(text), seconds, "{text}");
    }
}

#[test]
fn a_date_expires_older_and_newer_objects() {
    let expiration = Some(RuleExpiration::Date(MIDNIGHT));
    let rule = LifecycleRule { expiration, ..days("r", prefix("past/"), 1) };
    assert!(!is_due(&rule, &object("past/o"), MIDNIGHT - 1));
    assert!(is_due(&rule, &object("past/o"), MIDNIGHT));
    assert!(!is_due(&rule, &object("other"), MIDNIGHT));
}

#[test]
fn all_conditions_of_a_filter_must_hold() {
    let sized = |above, below| RuleFilter { size_above: above, size_below: below, ..prefix("a/") };
    let tagged = |tags: &[Tag]| RuleFilter { tags: tags.to_vec(), ..prefix("a/") };
    let tags = [tag("k", "v"), tag("x", "")];
    let known = Some(&tags[..]);
    for (filter, name, tags, expected) in [
        (prefix("a/"), "a/o", None, FilterMatch::Yes),
        (prefix("a/"), "b/o", None, FilterMatch::No),
        (RuleFilter::default(), "any", None, FilterMatch::Yes),
        (sized(Some(99), None), "a/o", None, FilterMatch::Yes),
        (sized(Some(100), None), "a/o", None, FilterMatch::No),
        (sized(None, Some(101)), "a/o", None, FilterMatch::Yes),
        (sized(None, Some(100)), "a/o", None, FilterMatch::No),
        (sized(Some(1), Some(1000)), "b/o", None, FilterMatch::No),
        (tagged(&[tag("k", "v")]), "a/o", None, FilterMatch::DependsOnTags),
        (tagged(&[tag("k", "v")]), "b/o", None, FilterMatch::No),
        (tagged(&[tag("k", "v")]), "a/o", known, FilterMatch::Yes),
        (tagged(&[tag("k", "v"), tag("x", "")]), "a/o", known, FilterMatch::Yes),
        (tagged(&[tag("k", "V")]), "a/o", known, FilterMatch::No),
        (tagged(&[tag("k", "v"), tag("z", "")]), "a/o", known, FilterMatch::No),
        (tagged(&[tag("k", "v")]), "a/o", Some(&[][..]), FilterMatch::No),
    ] {
        let entry = LifecycleEntry { tags, ..object(name) };
        assert_eq!(filter.matches(&entry), expected, "{filter:?} {name}");
    }
    let upload = LifecycleEntry { state: LifecycleState::Upload, ..object("a/o") };
    assert_eq!(sized(Some(1), None).matches(&upload), FilterMatch::No);
}

#[test]
fn tags_are_needed_only_when_a_rule_is_due_and_no_other_is() {
    let tagged = RuleFilter { tags: vec![tag("k", "v")], ..RuleFilter::default() };
    let rules = [days("tag", tagged, 1), days("all", prefix("a/"), 5)];
    let verdict = |name, now| configuration(&rules).verdict(&object(name), now, DayLength::REAL);
    assert_eq!(verdict("a/o", WRITTEN), LifecycleVerdict::Keep);
    assert_eq!(verdict("a/o", WRITTEN + 2 * DAY), LifecycleVerdict::NeedsTags);
    assert_eq!(verdict("a/o", WRITTEN + 6 * DAY), LifecycleVerdict::Due { rule: 1 });
    assert_eq!(verdict("b/o", WRITTEN + 6 * DAY), LifecycleVerdict::NeedsTags);
}

#[test]
fn noncurrent_versions_expire_by_days_and_by_number() {
    let rule = |newer_versions| LifecycleRule {
        expiration: None,
        noncurrent: Some(NoncurrentExpiration { days: 2, newer_versions }),
        ..days("r", prefix(""), 1)
    };
    let version = |newer| LifecycleEntry {
        modified: 0,
        state: LifecycleState::Noncurrent { since: WRITTEN, newer },
        ..object("o")
    };
    let after = MIDNIGHT + 3 * DAY;
    assert!(!is_due(&rule(None), &version(0), after - 1));
    assert!(is_due(&rule(None), &version(0), after));
    assert!(!is_due(&rule(Some(5)), &version(4), after));
    assert!(is_due(&rule(Some(5)), &version(5), after));
    assert!(!is_due(&rule(None), &object("o"), after * 2));
    assert!(!is_due(&days("r", prefix(""), 1), &version(0), after * 2));
}

#[test]
fn a_lone_delete_marker_is_removed_at_once_or_after_days() {
    let marker = LifecycleEntry { state: LifecycleState::LoneMarker, ..object("o") };
    let rule =
        |expiration| LifecycleRule { expiration: Some(expiration), ..days("r", prefix(""), 1) };
    assert!(is_due(&rule(RuleExpiration::DeleteMarker(true)), &marker, WRITTEN));
    assert!(!is_due(&rule(RuleExpiration::DeleteMarker(false)), &marker, WRITTEN * 2));
    assert!(!is_due(&rule(RuleExpiration::Days(5)), &marker, WRITTEN + 4 * DAY));
    assert!(is_due(&rule(RuleExpiration::Days(5)), &marker, WRITTEN + 6 * DAY));
    assert!(!is_due(&rule(RuleExpiration::DeleteMarker(true)), &object("o"), WRITTEN * 2));
}

#[test]
fn uploads_are_aborted_by_their_own_action_only() {
    let upload = LifecycleEntry { state: LifecycleState::Upload, ..object("o") };
    let abort =
        LifecycleRule { expiration: None, abort_uploads_days: Some(1), ..days("r", prefix(""), 1) };
    assert!(is_due(&abort, &upload, WRITTEN + 2 * DAY));
    assert!(!is_due(&abort, &upload, WRITTEN + DAY / 2));
    assert!(!is_due(&abort, &object("o"), WRITTEN * 2));
    assert!(!is_due(&days("r", prefix(""), 1), &upload, WRITTEN * 2));
}

#[test]
fn disabled_rules_have_no_effect_and_the_earliest_expiry_is_reported() {
    let off = LifecycleRule { enabled: false, ..days("off", prefix(""), 1) };
    let rules = [off, days("late", prefix(""), 9), days("early", prefix("a"), 2)];
    let all = configuration(&rules);
    assert_eq!(all.expiry(&object("a")), Some((MIDNIGHT + 3 * DAY, "early")));
    assert_eq!(all.expiry(&object("b")), Some((MIDNIGHT + 10 * DAY, "late")));
    assert_eq!(
        all.verdict(&object("b"), WRITTEN + 3 * DAY, DayLength::REAL),
        LifecycleVerdict::Keep
    );
}

#[test]
fn the_walk_reads_each_prefix_once() {
    let abort = LifecycleRule {
        expiration: None,
        abort_uploads_days: Some(1),
        ..days("abort", prefix("up"), 1)
    };
    let rules =
        [days("1", prefix("b/x"), 1), days("2", prefix("b/"), 1), days("3", prefix("a"), 1), abort];
    let all = configuration(&rules);
    assert_eq!(all.current_prefixes(), ["a", "b/"]);
    assert_eq!(all.version_prefixes(), ["a", "b/"]);
    assert_eq!(all.upload_prefixes(), ["up"]);
    let whole = configuration(&[rules[0].clone(), days("4", RuleFilter::default(), 1)]);
    assert_eq!(whole.current_prefixes(), [""]);
    assert!(configuration(&[]).current_prefixes().is_empty());
}

#[test]
fn invalid_rules_are_refused_as_aws_refuses_them() {
    let base = || days("r", prefix(""), 1);
    let with = |filter| LifecycleRule { filter, ..base() };
    let and = |filter: RuleFilter| RuleFilter { form: FilterForm::And, ..filter };
    let tagged = || RuleFilter { tags: vec![tag("k", "v")], ..RuleFilter::default() };
    let expires = |expiration| LifecycleRule { expiration: Some(expiration), ..base() };
    let noncurrent = |days, newer_versions| LifecycleRule {
        noncurrent: Some(NoncurrentExpiration { days, newer_versions }),
        ..base()
    };
    let kind = |rules: &[LifecycleRule]| match configuration(rules).check() {
        Ok(()) => "",
        Err(LifecycleFault::Malformed(_)) => "malformed",
        Err(LifecycleFault::InvalidArgument(_)) => "argument",
        Err(LifecycleFault::InvalidRequest(_)) => "request",
    };
    for (rule, expected) in [
        (base(), ""),
        (LifecycleRule { id: "a".repeat(255), ..base() }, ""),
        (LifecycleRule { id: "a".repeat(256), ..base() }, "argument"),
        (LifecycleRule { expiration: None, ..base() }, "request"),
        (expires(RuleExpiration::Days(0)), "argument"),
        (expires(RuleExpiration::Date(MIDNIGHT)), ""),
        (expires(RuleExpiration::Date(WRITTEN)), "argument"),
        (noncurrent(1, Some(100)), ""),
        (noncurrent(0, None), "argument"),
        (noncurrent(1, Some(0)), "argument"),
        (noncurrent(1, Some(101)), "argument"),
        (with(tagged()), ""),
        (with(and(tagged())), "malformed"),
        (
            with(RuleFilter {
                form: FilterForm::Single,
                ..and(RuleFilter { size_above: Some(1), ..tagged() })
            }),
            "malformed",
        ),
        (with(and(RuleFilter { size_above: Some(1), ..tagged() })), ""),
        (
            with(and(RuleFilter { tags: vec![tag("k", "1"), tag("k", "2")], ..prefix("") })),
            "request",
        ),
        (
            with(and(RuleFilter {
                size_above: Some(5),
                size_below: Some(5),
                ..RuleFilter::default()
            })),
            "request",
        ),
        (with(RuleFilter { tags: vec![tag("", "v")], ..RuleFilter::default() }), "argument"),
        (with(prefix(&"p".repeat(1025))), "request"),
        (LifecycleRule { abort_uploads_days: Some(0), ..base() }, "argument"),
        (LifecycleRule { abort_uploads_days: Some(1), ..with(tagged()) }, "request"),
        (
            LifecycleRule { filter: tagged(), ..expires(RuleExpiration::DeleteMarker(true)) },
            "request",
        ),
    ] {
        assert_eq!(kind(std::slice::from_ref(&rule)), expected, "{rule:?}");
    }
    assert_eq!(kind(&[base(), base()]), "argument");
    assert_eq!(kind(&[]), "malformed");
    let many: Vec<_> = (0..1001).map(|n| LifecycleRule { id: n.to_string(), ..base() }).collect();
    assert_eq!((kind(&many[..1000]), kind(&many)), ("", "malformed"));
}
