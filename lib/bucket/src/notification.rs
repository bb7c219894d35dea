//! Event notifications of a bucket: the rules, their validation, and which one an event meets.
//!
//! At most one rule is met by an event, since rules that share an event and a key are refused.
//! Source: `PutBucketNotificationConfiguration` and "Enabling and configuring event notifications" in
//! AWS's documentation.

use std::collections::BTreeSet;

use apus_cluster::webhooks::is_webhook_name;
use serde::{Deserialize, Serialize};

use crate::event::EventType;

/// Most rules of a bucket (AWS's).
pub const RULES_MAX: usize = 100;
/// Longest id of a rule, in characters (AWS's).
const ID_CHARACTERS_MAX: usize = 255;
/// Longest prefix or suffix, in bytes (AWS's): that of a key.
const FILTER_BYTES_MAX: usize = 1024;
/// Start of the names of events in configurations.
const PREFIX: &str = "s3:";

/// Events of AWS that have no counterpart here.
const NEVER_SENT: [&str; 16] = [
    "s3:ReducedRedundancyLostObject",
    "s3:ObjectRestore:*",
    "s3:ObjectRestore:Post",
    "s3:ObjectRestore:Completed",
    "s3:ObjectRestore:Delete",
    "s3:Replication:*",
    "s3:Replication:OperationFailedReplication",
    "s3:Replication:OperationNotTracked",
    "s3:Replication:OperationMissedThreshold",
    "s3:Replication:OperationReplicatedAfterThreshold",
    "s3:LifecycleTransition",
    "s3:IntelligentTiering",
    "s3:ObjectAcl:Put",
    "s3:ObjectAnnotation:*",
    "s3:ObjectAnnotation:Put",
    "s3:ObjectAnnotation:Delete",
];

/// Reasons why a configuration is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotificationFault {
    /// It does not have the structure of AWS's schema.
    #[error("{0}")]
    Malformed(String),
    /// A value is invalid.
    #[error("{0}")]
    Invalid(String),
    /// An event or a target of AWS that this cluster does not have.
    #[error("{0}")]
    NotImplemented(String),
}

/// The element of the configuration that a target is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TargetKind {
    /// `QueueConfiguration`.
    Queue,
    /// `TopicConfiguration`.
    Topic,
}

/// The name of a webhook in its ARN: `arn:apus:sqs:<region>:<name>:webhook`, or as AWS's
/// `arn:aws:sqs:<region>:<account>:<name>`; in both, `sns` may stand for `sqs`, and region and account
/// may be empty.
pub fn webhook_of_arn(arn: &str) -> Option<&str> {
    let mut parts = arn.split(':');
    let mut part = || parts.next();
    let (Some("arn"), Some(partition), Some("sqs" | "sns"), Some(_), Some(fifth), Some(sixth)) =
        (part(), part(), part(), part(), part(), part())
    else {
        return None;
    };
    let name = match partition {
        "apus" if sixth == "webhook" => fifth,
        "aws" => sixth,
        _ => return None,
    };
    (part().is_none() && is_webhook_name(name)).then_some(name)
}

/// An event of a configuration, or all events of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventPattern(String);

impl EventPattern {
    /// Parses `s3:ObjectCreated:Put` or `s3:ObjectCreated:*`.
    ///
    /// # Errors
    /// `NotImplemented` for events of AWS that are never sent, `Invalid` for all others.
    pub fn parse(text: &str) -> Result<Self, NotificationFault> {
        if NEVER_SENT.contains(&text) {
            return Err(NotificationFault::NotImplemented(format!(
                "Event {text}: this cluster never sends it"
            )));
        }
        let pattern = Self(text.to_owned());
        match EventType::ALL.into_iter().any(|event| pattern.includes(event)) {
            true => Ok(pattern),
            false => Err(NotificationFault::Invalid(format!(
                "Event {text:?}: the event is not supported for notifications"
            ))),
        }
    }

    /// The text of the configuration.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it stands for this event.
    pub fn includes(&self, event: EventType) -> bool {
        let Some(name) = self.0.strip_prefix(PREFIX) else { return false };
        match name.strip_suffix('*') {
            Some(group) if group.ends_with(':') => event.name().starts_with(group),
            Some(_) => false,
            None => event.name() == name,
        }
    }
}

/// One rule: where which events of which keys go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotificationRule {
    /// Its id.
    pub id: String,
    /// The element it is in.
    pub kind: TargetKind,
    /// ARN of the webhook, as the client wrote it.
    pub arn: String,
    /// The events.
    pub events: Vec<EventPattern>,
    /// Start of the keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// End of the keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suffix: Option<String>,
}

impl NotificationRule {
    /// The name of the webhook; `None` for an ARN of something else.
    pub fn webhook(&self) -> Option<&str> {
        webhook_of_arn(&self.arn)
    }

    fn prefix(&self) -> &str {
        self.prefix.as_deref().unwrap_or_default()
    }

    fn suffix(&self) -> &str {
        self.suffix.as_deref().unwrap_or_default()
    }

    fn is_met(&self, event: EventType, key: &str) -> bool {
        self.events.iter().any(|pattern| pattern.includes(event))
            && key.starts_with(self.prefix())
            && key.ends_with(self.suffix())
    }

    /// Whether an event may meet both rules.
    fn overlaps(&self, other: &Self) -> bool {
        let includes = |rule: &Self, event| rule.events.iter().any(|one| one.includes(event));
        let events = EventType::ALL;
        let shared =
            events.into_iter().any(|event| includes(self, event) && includes(other, event));
        let starts =
            self.prefix().starts_with(other.prefix()) || other.prefix().starts_with(self.prefix());
        let ends =
            self.suffix().ends_with(other.suffix()) || other.suffix().ends_with(self.suffix());
        shared && starts && ends
    }

    fn check(&self) -> Result<(), NotificationFault> {
        let invalid = |text: String| Err(NotificationFault::Invalid(text));
        if self.id.chars().count() > ID_CHARACTERS_MAX {
            return invalid(format!("Id: expected at most {ID_CHARACTERS_MAX} characters"));
        }
        for (name, text) in [("prefix", self.prefix()), ("suffix", self.suffix())] {
            if text.len() > FILTER_BYTES_MAX {
                return invalid(format!(
                    "filter rule value of {name}: {} bytes, expected at most {FILTER_BYTES_MAX}",
                    text.len()
                ));
            }
        }
        match self.events.is_empty() {
            true => Err(NotificationFault::Malformed(format!("{}: expected an Event", self.id))),
            false => Ok(()),
        }
    }
}

/// The notifications of a bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotificationConfiguration {
    /// The rules in the client's order.
    pub rules: Vec<NotificationRule>,
}

impl NotificationConfiguration {
    /// Checks each rule, and that no event meets two.
    ///
    /// # Errors
    /// See [`NotificationFault`].
    pub fn check(&self) -> Result<(), NotificationFault> {
        let invalid = |text: &str| Err(NotificationFault::Invalid(text.to_owned()));
        if self.rules.len() > RULES_MAX {
            return invalid(&format!(
                "{} configurations, expected at most {RULES_MAX}",
                self.rules.len()
            ));
        }
        let mut ids = BTreeSet::new();
        for (at, rule) in self.rules.iter().enumerate() {
            rule.check()?;
            if !ids.insert(rule.id.as_str()) {
                return invalid("Same ID used for multiple configurations. IDs must be unique");
            }
            if self.rules.iter().take(at).any(|earlier| earlier.overlaps(rule)) {
                return invalid(
                    "Configurations overlap. Configurations on the same bucket cannot share a common event type.",
                );
            }
        }
        Ok(())
    }

    /// The rule that an event of this key meets.
    pub fn rule_for(&self, event: EventType, key: &str) -> Option<&NotificationRule> {
        self.rules.iter().find(|rule| rule.is_met(event, key))
    }

    /// The webhooks that rules name.
    pub fn webhooks(&self) -> BTreeSet<&str> {
        self.rules.iter().filter_map(NotificationRule::webhook).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(id: &str, events: &[&str], prefix: &str, suffix: &str) -> NotificationRule {
        let optional = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        NotificationRule {
            id: id.to_owned(),
            kind: TargetKind::Queue,
            arn: "arn:apus:sqs::hook:webhook".to_owned(),
            events: events.iter().map(|event| EventPattern::parse(event).unwrap()).collect(),
            prefix: optional(prefix),
            suffix: optional(suffix),
        }
    }

    #[test]
    fn an_arn_names_a_webhook() {
        for (arn, expected) in [
            ("arn:apus:sqs::hook:webhook", Some("hook")),
            ("arn:apus:sqs:eu-north-1:a_b-1:webhook", Some("a_b-1")),
            ("arn:apus:sns::hook:webhook", Some("hook")),
            ("arn:aws:sqs:us-east-1:123456789012:hook", Some("hook")),
            ("arn:aws:sns:::hook", Some("hook")),
            ("arn:aws:lambda:us-east-1:123456789012:function", None),
            ("arn:apus:sqs::hook:kafka", None),
            ("arn:apus:sqs::Hook:webhook", None),
            ("arn:apus:sqs:::webhook", None),
            ("arn:apus:sqs::hook:webhook:more", None),
            ("arn:aws:sqs:us-east-1:123456789012:a/b", None),
            ("hook", None),
            ("", None),
        ] {
            assert_eq!(webhook_of_arn(arn), expected, "{arn}");
        }
        let long = format!("arn:apus:sqs::{}:webhook", "a".repeat(65));
        assert_eq!(webhook_of_arn(&long), None);
    }

    #[test]
    fn events_are_those_that_are_sent() {
        for event in EventType::ALL {
            let name = format!("s3:{}", event.name());
            assert!(EventPattern::parse(&name).unwrap().includes(event));
        }
        let created = EventPattern::parse("s3:ObjectCreated:*").unwrap();
        let included = EventType::ALL.into_iter().filter(|event| created.includes(*event));
        assert_eq!(included.count(), 4);
        for text in NEVER_SENT {
            let refused = EventPattern::parse(text).unwrap_err();
            assert!(matches!(refused, NotificationFault::NotImplemented(_)), "{text}");
        }
        for text in [
            "",
            "s3:",
            "s3:*",
            "*",
            "s3:ObjectCreated",
            "s3:ObjectCreated:",
            "s3:ObjectCreated:P*",
            "s3:Object*",
            "ObjectCreated:Put",
            "s3:TestEvent",
        ] {
            let refused = EventPattern::parse(text).unwrap_err();
            assert!(matches!(refused, NotificationFault::Invalid(_)), "{text}");
        }
    }

    #[test]
    fn an_event_meets_the_rule_of_its_key() {
        let config = NotificationConfiguration {
            rules: vec![
                rule("images", &["s3:ObjectCreated:*"], "img/", ".jpg"),
                rule("all", &["s3:ObjectRemoved:Delete"], "", ""),
            ],
        };
        config.check().unwrap();
        for (event, key, expected) in [
            (EventType::Put, "img/a.jpg", Some("images")),
            (EventType::Copy, "img/.jpg", Some("images")),
            (EventType::Put, "img/a.JPG", None),
            (EventType::Put, "a/img/a.jpg", None),
            (EventType::Delete, "img/a.jpg", Some("all")),
            (EventType::DeleteMarkerCreated, "img/a.jpg", None),
        ] {
            let found = config.rule_for(event, key).map(|rule| rule.id.as_str());
            assert_eq!(found, expected, "{event:?} {key}");
        }
        assert_eq!(config.webhooks().into_iter().collect::<Vec<_>>(), ["hook"]);
    }

    #[test]
    fn rules_that_share_an_event_and_a_key_are_refused() {
        let put = &["s3:ObjectCreated:Put"];
        let all = &["s3:ObjectCreated:*"];
        let delete = &["s3:ObjectRemoved:*"];
        for (one, other, overlaps) in [
            (rule("1", put, "", ""), rule("2", all, "", ""), true),
            (rule("1", put, "", ""), rule("2", delete, "", ""), false),
            (rule("1", put, "a", ""), rule("2", put, "ab", ""), true),
            (rule("1", put, "a", ""), rule("2", put, "b", ""), false),
            (rule("1", put, "a", ".x"), rule("2", put, "ab", ".y"), false),
            (rule("1", put, "a", ".x"), rule("2", put, "", "b.x"), true),
            (rule("1", put, "", ".x"), rule("2", all, "", ".x"), true),
            (rule("1", put, "", ""), rule("1", delete, "", ""), true),
        ] {
            let config = NotificationConfiguration { rules: vec![one, other] };
            assert_eq!(config.check().is_err(), overlaps, "{config:?}");
        }
    }

    #[test]
    fn limits_are_awss() {
        let put = &["s3:ObjectCreated:Put"];
        let check = |rules: Vec<NotificationRule>| NotificationConfiguration { rules }.check();
        assert!(check(vec![rule(&"i".repeat(255), put, &"p".repeat(1024), "")]).is_ok());
        assert!(check(vec![rule(&"i".repeat(256), put, "", "")]).is_err());
        assert!(check(vec![rule("i", put, "", &"p".repeat(1025))]).is_err());
        let refused = check(vec![rule("i", &[], "", "")]).unwrap_err();
        assert!(matches!(refused, NotificationFault::Malformed(_)));
        let many = |count: usize| {
            (0..count).map(|n| rule(&n.to_string(), put, &format!("{n:03}"), "")).collect()
        };
        assert!(check(many(100)).is_ok());
        assert!(check(many(101)).is_err());
    }
}
