//! The notification configuration of a bucket as an XML document.
//!
//! A queue or a topic names a webhook of the operator. Functions and EventBridge are refused, since
//! nothing would deliver to them.

use apus_bucket::ConfigKind;
use apus_bucket::notification::{
    EventPattern, NotificationConfiguration, NotificationFault, NotificationRule, RULES_MAX,
    TargetKind,
};
use apus_daemon::random;

use super::bucket_config::BucketDocument;
use super::error::{Code, Result, S3Error};
use super::xml::{self, ELEMENTS_MAX, Element, Schema, Writer};
use crate::config::ProxyConfig;

/// Queues and topics are both items; the reader bounds topics by [`ELEMENTS_MAX`].
const SCHEMA: Schema = Schema {
    root: "NotificationConfiguration",
    item: "QueueConfiguration",
    items_max: RULES_MAX,
    within_max: ELEMENTS_MAX,
};

/// Elements of targets that events are never delivered to.
const NOT_IMPLEMENTED: [&str; 3] =
    ["CloudFunctionConfiguration", "LambdaFunctionConfiguration", "EventBridgeConfiguration"];

impl From<NotificationFault> for S3Error {
    fn from(fault: NotificationFault) -> Self {
        let code = match fault {
            NotificationFault::Malformed(_) => Code::MalformedXML,
            NotificationFault::Invalid(_) => Code::InvalidArgument,
            NotificationFault::NotImplemented(_) => Code::NotImplemented,
        };
        Self::new(code).text(fault.to_string())
    }
}

fn malformed(text: impl Into<String>) -> S3Error {
    S3Error::new(Code::MalformedXML).text(text)
}

fn unexpected(child: &Element, parent: &str) -> S3Error {
    malformed(format!("{} is not expected in {parent}", child.name))
}

const fn element(kind: TargetKind) -> (&'static str, &'static str) {
    match kind {
        TargetKind::Queue => ("QueueConfiguration", "Queue"),
        TargetKind::Topic => ("TopicConfiguration", "Topic"),
    }
}

/// Prefix and suffix of a `Filter`.
fn filter(filter: &Element) -> Result<(Option<String>, Option<String>)> {
    let (mut prefix, mut suffix) = (None, None);
    let rules = match filter.children.as_slice() {
        [] => return Ok((None, None)),
        [key] if key.name == "S3Key" => &key.children,
        [other, ..] => return Err(unexpected(other, "Filter")),
    };
    for rule in rules {
        if rule.name != "FilterRule" {
            return Err(unexpected(rule, "S3Key"));
        }
        if let Some(other) =
            rule.children.iter().find(|child| !["Name", "Value"].contains(&&*child.name))
        {
            return Err(unexpected(other, "FilterRule"));
        }
        let (Some(name), Some(value)) = (rule.text_of("Name"), rule.text_of("Value")) else {
            return Err(malformed("FilterRule: expected Name and Value"));
        };
        let invalid = |text: &str| {
            Err(S3Error::new(Code::InvalidArgument).text(text).argument("FilterRule.Name", name))
        };
        let slot = match name.to_ascii_lowercase().as_str() {
            "prefix" => &mut prefix,
            "suffix" => &mut suffix,
            _ => return invalid("filter rule name must be either prefix or suffix"),
        };
        if slot.replace(value.to_owned()).is_some() {
            return invalid("Cannot specify more than one prefix or suffix rule in a filter.");
        }
    }
    Ok((prefix, suffix))
}

fn rule(parsed: &Element, kind: TargetKind) -> Result<NotificationRule> {
    let (name, target) = element(kind);
    let (mut id, mut arn, mut filters) = (None, None, None);
    let mut events = Vec::new();
    for child in &parsed.children {
        let repeated = match child.name.as_str() {
            "Id" => id.replace(child.text.clone()).is_some(),
            "Event" => {
                events.push(EventPattern::parse(child.text.trim())?);
                false
            }
            "Filter" => filters.replace(filter(child)?).is_some(),
            own if own == target => arn.replace(child.text.trim().to_owned()).is_some(),
            _ => true,
        };
        if repeated {
            return Err(unexpected(child, name));
        }
    }
    let arn = arn.ok_or_else(|| malformed(format!("{name}: expected {target}")))?;
    let (prefix, suffix) = filters.unwrap_or_default();
    let id = id.filter(|id| !id.is_empty()).unwrap_or_else(random::hex::<24>);
    Ok(NotificationRule { id, kind, arn, events, prefix, suffix })
}

impl BucketDocument for NotificationConfiguration {
    const KIND: ConfigKind = ConfigKind::Notification;
    /// A bucket without notifications has an empty document.
    const MISSING: Code = Code::NoSuchBucket;

    fn parse(document: &[u8]) -> Result<Self> {
        let mut config = Self::default();
        xml::read(document, &SCHEMA, |child| {
            let kind = match child.name.as_str() {
                "QueueConfiguration" => TargetKind::Queue,
                "TopicConfiguration" => TargetKind::Topic,
                name if NOT_IMPLEMENTED.contains(&name) => {
                    return Err(S3Error::new(Code::NotImplemented).text(format!(
                        "{name} is not implemented: expected QueueConfiguration or TopicConfiguration, which name a webhook"
                    )));
                }
                _ => return Err(unexpected(&child, SCHEMA.root)),
            };
            config.rules.push(rule(&child, kind)?);
            Ok(())
        })?;
        config.check()?;
        Ok(config)
    }

    fn check_settings(&self, settings: &ProxyConfig) -> Result<()> {
        for rule in &self.rules {
            if rule.webhook().is_none_or(|name| !settings.webhooks.contains(name)) {
                let arn = &rule.arn;
                let text = format!(
                    "Unable to validate the following destination configurations: {arn}, expected arn:apus:sqs::<name>:webhook with the name of a webhook of this cluster"
                );
                return Err(S3Error::new(Code::InvalidArgument)
                    .text(text)
                    .argument(element(rule.kind).1, arn));
            }
        }
        Ok(())
    }

    fn never_set() -> Option<Self> {
        Some(Self::default())
    }

    fn is_removal(&self) -> bool {
        self.rules.is_empty()
    }

    fn render(&self, out: &mut Writer) {
        out.root(SCHEMA.root);
        for rule in &self.rules {
            let (name, target) = element(rule.kind);
            out.open(name);
            out.text("Id", &rule.id);
            out.text(target, &rule.arn);
            for event in &rule.events {
                out.text("Event", event.as_str());
            }
            let filters = [("Prefix", &rule.prefix), ("Suffix", &rule.suffix)];
            if filters.iter().any(|(_, value)| value.is_some()) {
                out.open("Filter");
                out.open("S3Key");
                for (name, value) in filters {
                    let Some(value) = value else { continue };
                    out.open("FilterRule");
                    out.text("Name", name);
                    out.text("Value", value);
                    out.close("FilterRule");
                }
                out.close("S3Key");
                out.close("Filter");
            }
            out.close(name);
        }
        out.close(SCHEMA.root);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARN: &str = "arn:apus:sqs::hook:webhook";

    fn parse(inner: &str) -> Result<NotificationConfiguration> {
        let root = SCHEMA.root;
        NotificationConfiguration::parse(format!("<{root}>{inner}</{root}>").as_bytes())
    }

    fn queue(inner: &str) -> String {
        format!("<QueueConfiguration><Queue>{ARN}</Queue>{inner}</QueueConfiguration>")
    }

    const EVENT: &str = "<Event>s3:ObjectCreated:*</Event>";

    fn with_filter(rules: &[(&str, &str)]) -> String {
        let rules = rules.iter().map(|(name, value)| {
            format!("<FilterRule><Name>{name}</Name><Value>{value}</Value></FilterRule>")
        });
        let rules: String = rules.collect();
        queue(&format!("{EVENT}<Filter><S3Key>{rules}</S3Key></Filter>"))
    }

    #[test]
    fn documents_are_read_and_written_back() {
        let document = format!(
            "{}<TopicConfiguration><Id>t</Id><Topic>arn:aws:sns:r::b</Topic>\
             <Event>s3:ObjectRemoved:Delete</Event></TopicConfiguration>",
            with_filter(&[
                ("prefix", "a &amp; b".replace("&amp; ", "").as_str()),
                ("Suffix", ".x")
            ])
        );
        let config = parse(&document).unwrap();
        assert_eq!(config.rules.len(), 2);
        assert_eq!(config.rules[0].suffix.as_deref(), Some(".x"));
        assert_eq!(config.rules[0].id.len(), 48);
        assert_eq!((config.rules[1].kind, config.rules[1].id.as_str()), (TargetKind::Topic, "t"));
        let mut out = Writer::new();
        config.render(&mut out);
        let written = out.finish();
        assert_eq!(NotificationConfiguration::parse(written.as_bytes()).unwrap(), config);
        assert!(parse("").unwrap().is_removal());
    }

    #[test]
    fn other_documents_are_refused_with_the_code_of_aws() {
        use Code::{InvalidArgument, MalformedXML, NotImplemented};
        let event = |name: &str| queue(&format!("<Event>{name}</Event>"));
        for (document, code) in [
            (queue(""), MalformedXML),
            (queue("<Event>s3:ObjectCreated:*</Event><Queue>x</Queue>"), MalformedXML),
            (queue("<Event>s3:ObjectCreated:*</Event><Topic>x</Topic>"), MalformedXML),
            (queue("<Id>a</Id><Id>b</Id><Event>s3:ObjectCreated:*</Event>"), MalformedXML),
            (format!("<QueueConfiguration>{EVENT}</QueueConfiguration>"), MalformedXML),
            ("<Queue/>".to_owned(), MalformedXML),
            (event("s3:Object"), InvalidArgument),
            (event("s3:Replication:*"), NotImplemented),
            ("<EventBridgeConfiguration/>".to_owned(), NotImplemented),
            ("<CloudFunctionConfiguration/>".to_owned(), NotImplemented),
            (with_filter(&[("infix", "a")]), InvalidArgument),
            (with_filter(&[("prefix", "a"), ("Prefix", "b")]), InvalidArgument),
            (queue(&format!("{EVENT}<Filter><Key/></Filter>")), MalformedXML),
            (
                queue(&format!(
                    "{EVENT}<Filter><S3Key><FilterRule><Name>prefix</Name></FilterRule></S3Key></Filter>"
                )),
                MalformedXML,
            ),
            (format!("{}{}", queue(EVENT), queue(EVENT)), InvalidArgument),
        ] {
            assert_eq!(parse(&document).unwrap_err().code, code, "{document}");
        }
    }

    #[test]
    fn a_webhook_must_be_one_of_the_cluster() {
        let config = parse(&queue(EVENT)).unwrap();
        let known = |names: &[&str]| ProxyConfig {
            webhooks: names.iter().map(|name| (*name).to_owned()).collect(),
            ..ProxyConfig::default()
        };
        assert!(config.check_settings(&known(&["other", "hook"])).is_ok());
        let error = config.check_settings(&known(&["other"])).unwrap_err();
        assert_eq!(error.code, Code::InvalidArgument);
        assert!(error.message.contains(ARN), "{}", error.message);
    }
}
