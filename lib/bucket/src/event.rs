//! Events of a bucket: their names, their rows in the queue of a webhook, and their documents.
//!
//! A queue is a container of [`ACCOUNT`] without objects: each of its rows is an event. The name of a
//! row begins with the time of the change, so that a listing has the events of one key in the order of
//! its changes. Source of the documents: "Event message structure" in AWS's user guide.

use apus_cluster::name::NameError;
use apus_cluster::{AccountName, ContainerName, ContainerPath, HashConf, ObjectPath, Timestamp};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The account of the queues.
pub const ACCOUNT: &str = ".apus_events";
/// Number of queues of a webhook. All events of a key are in the same one.
pub const QUEUES: u64 = 16;

/// Start of the content type of a row, which has the event.
const CONTENT: &str = "application/x-apus-event;data=";
/// Hexadecimal digits of each half of the time in a row's name.
const TIME_DIGITS: usize = 16;

/// The events of objects that are recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum EventType {
    /// An upload.
    #[serde(rename = "ObjectCreated:Put")]
    Put,
    /// An upload by a form of a browser.
    #[serde(rename = "ObjectCreated:Post")]
    Post,
    /// A copy.
    #[serde(rename = "ObjectCreated:Copy")]
    Copy,
    /// A completed multipart upload.
    #[serde(rename = "ObjectCreated:CompleteMultipartUpload")]
    CompleteMultipartUpload,
    /// The removal of an object or a version.
    #[serde(rename = "ObjectRemoved:Delete")]
    Delete,
    /// A delete marker that hides an object.
    #[serde(rename = "ObjectRemoved:DeleteMarkerCreated")]
    DeleteMarkerCreated,
    /// The removal of an object or a version by a lifecycle rule or its time of expiry.
    #[serde(rename = "LifecycleExpiration:Delete")]
    ExpirationDelete,
    /// A delete marker by a lifecycle rule.
    #[serde(rename = "LifecycleExpiration:DeleteMarkerCreated")]
    ExpirationDeleteMarkerCreated,
    /// New tags of an object.
    #[serde(rename = "ObjectTagging:Put")]
    TaggingPut,
    /// The removal of an object's tags.
    #[serde(rename = "ObjectTagging:Delete")]
    TaggingDelete,
}

impl EventType {
    /// All events.
    pub const ALL: [Self; 10] = [
        Self::Put,
        Self::Post,
        Self::Copy,
        Self::CompleteMultipartUpload,
        Self::Delete,
        Self::DeleteMarkerCreated,
        Self::ExpirationDelete,
        Self::ExpirationDeleteMarkerCreated,
        Self::TaggingPut,
        Self::TaggingDelete,
    ];

    /// The name in documents. Configurations have it after `s3:`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Put => "ObjectCreated:Put",
            Self::Post => "ObjectCreated:Post",
            Self::Copy => "ObjectCreated:Copy",
            Self::CompleteMultipartUpload => "ObjectCreated:CompleteMultipartUpload",
            Self::Delete => "ObjectRemoved:Delete",
            Self::DeleteMarkerCreated => "ObjectRemoved:DeleteMarkerCreated",
            Self::ExpirationDelete => "LifecycleExpiration:Delete",
            Self::ExpirationDeleteMarkerCreated => "LifecycleExpiration:DeleteMarkerCreated",
            Self::TaggingPut => "ObjectTagging:Put",
            Self::TaggingDelete => "ObjectTagging:Delete",
        }
    }
}

/// The client of a request, as events name it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventSource {
    /// The user, or the daemon.
    pub principal: String,
    /// Address of the client; empty where it is not known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub address: String,
    /// Transaction id of the request.
    pub request: String,
}

/// A change of an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectEvent {
    /// The change.
    pub event: EventType,
    /// Id of the configuration that asks for it.
    pub rule: String,
    /// Key of the object.
    pub key: String,
    /// Size in bytes of an object that was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Etag of an object that was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// The version, if the bucket keeps versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// What an event reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventContent {
    /// A change of an object.
    Object(ObjectEvent),
    /// A configuration that names the webhook was stored.
    Test,
}

/// An event in the queue of a webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueuedEvent {
    /// Account of the bucket.
    pub account: String,
    /// The bucket.
    pub bucket: String,
    /// The cause.
    pub source: EventSource,
    /// What it reports.
    pub content: EventContent,
}

/// A row of a queue: its name and its content type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRow {
    /// Time of the change, an id of the key, and the kind of the event.
    pub name: String,
    /// The event.
    pub content_type: String,
}

/// An id of the object for the names of rows, and which queue has its events.
fn object_hash(path: &str) -> apus_cluster::PathHash {
    HashConf::default().hash_joined(path)
}

/// The queue with this number of a webhook.
///
/// # Errors
/// When the webhook's name is too long for a container.
pub fn queue(webhook: &str, number: u64) -> Result<ContainerPath, NameError> {
    let name = ContainerName::parse(&format!("{webhook}-{number:02x}"))?;
    Ok(ContainerPath::new(AccountName::parse(ACCOUNT)?, name))
}

/// The queue of a webhook that has the events of an object.
///
/// # Errors
/// See [`queue`].
pub fn queue_of(webhook: &str, object: &ObjectPath) -> Result<ContainerPath, NameError> {
    queue(webhook, object_hash(&object.to_string()).modulo(QUEUES))
}

/// The id of a key in the name of a row, and the time of the change.
pub fn parse_row_name(name: &str) -> Option<(&str, Timestamp)> {
    let (times, rest) = name.split_at_checked(2 * TIME_DIGITS)?;
    let (steps, offset) = times.split_at_checked(TIME_DIGITS)?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    let time = Timestamp::from_steps(number(steps)?).with_offset(number(offset)?);
    let (key, _) = rest.strip_prefix('-')?.split_once('-')?;
    Some((key, time))
}

/// Text in a URL's query, as AWS writes keys: a blank is a plus sign.
fn form_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    apus_cluster::percent::encode_into(&mut out, text.as_bytes(), b"/ *");
    out.replace(' ', "+")
}

/// AWS's sequencer: of two events of one key, the later one has the greater text.
fn sequencer(time: Timestamp) -> String {
    match time.offset() {
        0 => format!("{:016X}", time.steps()),
        offset => format!("{:016X}{offset:016X}", time.steps()),
    }
}

impl QueuedEvent {
    /// The row of the event of a change at `time`.
    ///
    /// # Errors
    /// When it has no JSON form.
    pub fn row(&self, time: Timestamp) -> Result<EventRow, serde_json::Error> {
        let (key, kind) = match &self.content {
            EventContent::Object(object) => (object.key.as_str(), object.event.name()),
            EventContent::Test => ("", "TestEvent"),
        };
        let hash = object_hash(&format!("/{}/{}/{key}", self.account, self.bucket));
        let name = format!("{:016x}{:016x}-{hash}-{kind}", time.steps(), time.offset());
        let content_type =
            format!("{CONTENT}{}", URL_SAFE_NO_PAD.encode(serde_json::to_string(self)?));
        Ok(EventRow { name, content_type })
    }

    /// The event of a row; `None` when it is damaged.
    pub fn of_row(content_type: &str) -> Option<Self> {
        let json = URL_SAFE_NO_PAD.decode(content_type.strip_prefix(CONTENT)?).ok()?;
        serde_json::from_slice(&json).ok()
    }

    /// The document that is sent to the webhook, for an event at `time` in this region.
    pub fn document(&self, time: Timestamp, region: &str) -> Value {
        let object = match &self.content {
            EventContent::Test => {
                return json!({
                    "Service": "Amazon S3",
                    "Event": "s3:TestEvent",
                    "Time": time.iso_millis(),
                    "Bucket": self.bucket,
                    "RequestId": self.source.request,
                    "HostId": self.source.request,
                });
            }
            EventContent::Object(object) => object,
        };
        let mut described =
            json!({ "key": form_encoded(&object.key), "sequencer": sequencer(time) });
        for (name, value) in [
            ("size", object.size.map(Value::from)),
            ("eTag", object.etag.clone().map(Value::from)),
            ("versionId", object.version.clone().map(Value::from)),
        ] {
            if let (Some(value), Some(fields)) = (value, described.as_object_mut()) {
                fields.insert(name.to_owned(), value);
            }
        }
        json!({ "Records": [{
            "eventVersion": "2.3",
            "eventSource": "aws:s3",
            "awsRegion": region,
            "eventTime": time.iso_millis(),
            "eventName": object.event.name(),
            "userIdentity": { "principalId": self.source.principal },
            "requestParameters": { "sourceIPAddress": self.source.address },
            "responseElements": {
                "x-amz-request-id": self.source.request,
                "x-amz-id-2": self.source.request,
            },
            "s3": {
                "s3SchemaVersion": "1.0",
                "configurationId": object.rule,
                "bucket": {
                    "name": self.bucket,
                    "ownerIdentity": { "principalId": self.account },
                    "arn": format!("arn:aws:s3:::{}", self.bucket),
                },
                "object": described,
            },
        }] })
    }
}

#[cfg(test)]
mod tests {
    use apus_cluster::ObjectName;

    use super::*;

    fn event(key: &str, event: EventType) -> QueuedEvent {
        QueuedEvent {
            account: "AUTH_test".to_owned(),
            bucket: "b".to_owned(),
            source: EventSource {
                principal: "test:tester".to_owned(),
                address: "192.0.2.7".to_owned(),
                request: "tx1".to_owned(),
            },
            content: EventContent::Object(ObjectEvent {
                event,
                rule: "r".to_owned(),
                key: key.to_owned(),
                size: Some(5),
                etag: Some("e".to_owned()),
                version: None,
            }),
        }
    }

    #[test]
    fn names_are_those_that_are_stored() {
        for event in EventType::ALL {
            assert_eq!(serde_json::to_value(event).unwrap(), event.name());
        }
    }

    #[test]
    fn rows_sort_by_time_and_read_back() {
        let time = Timestamp::from_seconds(1_700_000_000);
        let first = event("a/ü ☃", EventType::Put);
        let rows = [
            first.row(time).unwrap(),
            event("a/ü ☃", EventType::Delete).row(time.with_offset(1)).unwrap(),
            event("b", EventType::Put).row(time.next()).unwrap(),
        ];
        assert!(rows.windows(2).all(|pair| pair[0].name < pair[1].name), "{rows:?}");
        let key = |row: &EventRow| parse_row_name(&row.name).unwrap().0.to_owned();
        assert!(key(&rows[0]) == key(&rows[1]) && key(&rows[0]) != key(&rows[2]));
        assert_eq!(parse_row_name(&rows[1].name).unwrap().1, time.with_offset(1));
        assert_eq!(QueuedEvent::of_row(&rows[0].content_type).as_ref(), Some(&first));
        for damaged in ["", "application/x-apus-event;data=", "text/plain", "☃"] {
            assert_eq!(QueuedEvent::of_row(damaged), None, "{damaged}");
        }
        for name in ["", "0", "-", &"0".repeat(40), &format!("{}-x", "0".repeat(32)), "☃☃☃☃☃☃☃☃☃☃☃"]
        {
            assert_eq!(parse_row_name(name), None, "{name}");
        }
    }

    #[test]
    fn the_events_of_a_key_are_in_one_queue() {
        let queue = |key: &str| {
            let container = ContainerName::parse("b").unwrap();
            let bucket = ContainerPath::new(AccountName::parse("AUTH_test").unwrap(), container);
            queue_of("hook", &bucket.object(ObjectName::parse(key).unwrap())).unwrap().to_string()
        };
        assert_eq!(queue("a"), queue("a"));
        let all: std::collections::BTreeSet<_> = (0..200).map(|n| queue(&n.to_string())).collect();
        assert_eq!(all.len(), 16);
        assert!(all.contains("/.apus_events/hook-0f"), "{all:?}");
    }

    #[test]
    fn documents_have_awss_structure() {
        let time = Timestamp::from_seconds(1_700_000_000);
        let document = event("a b/ü+*~&", EventType::Put).document(time, "r");
        let record = &document["Records"][0];
        assert_eq!(record["eventName"], "ObjectCreated:Put");
        assert_eq!(record["eventTime"], "2023-11-14T22:13:20.000Z");
        assert_eq!(record["s3"]["object"]["key"], "a+b/%C3%BC%2B*~%26");
        assert_eq!(record["s3"]["object"]["size"], 5);
        assert_eq!(record["s3"]["object"].get("versionId"), None);
        assert_eq!(record["s3"]["bucket"]["arn"], "arn:aws:s3:::b");
        let sequencer = |time| {
            event("a", EventType::Put).document(time, "r")["Records"][0]["s3"]["object"]["sequencer"].as_str().map(str::to_owned)
        };
        assert!(sequencer(time) < sequencer(time.with_offset(3)));
        assert!(sequencer(time.with_offset(3)) < sequencer(time.next()));
        let test = QueuedEvent { content: EventContent::Test, ..event("", EventType::Put) };
        let document = test.document(time, "r");
        assert_eq!(
            (&document["Event"], &document["Bucket"]),
            (&"s3:TestEvent".into(), &"b".into())
        );
    }
}
