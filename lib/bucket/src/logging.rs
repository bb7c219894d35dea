//! Server access logs of a bucket: where they go, the keys of their objects and the format of a line.
//!
//! Source: "Amazon S3 server access log format" and `PutBucketLogging` in AWS's documentation.

use std::fmt::Write as _;

use apus_cluster::percent;
use apus_cluster::timestamp::civil_from_days;
use serde::{Deserialize, Serialize};

/// Whose time decides on the partition of a log object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PartitionDate {
    /// That of the requests in it, which are all of one day.
    EventTime,
    /// That of its delivery.
    DeliveryTime,
}

impl PartitionDate {
    /// AWS's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::EventTime => "EventTime",
            Self::DeliveryTime => "DeliveryTime",
        }
    }

    /// The source of this name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::EventTime, Self::DeliveryTime].into_iter().find(|known| known.name() == name)
    }
}

/// The format of the keys of log objects.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LogKeyFormat {
    /// Prefix and time.
    #[default]
    Simple,
    /// Prefix, account, region, bucket, day and time.
    Partitioned(PartitionDate),
}

/// The logging configuration of a bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BucketLogging {
    /// The bucket that receives the logs, of the same account.
    pub target_bucket: String,
    /// Beginning of the keys.
    pub target_prefix: String,
    /// Format of the keys.
    #[serde(default)]
    pub key_format: LogKeyFormat,
}

/// The bucket whose requests are in a log object.
#[derive(Debug, Clone, Copy)]
pub struct LogSource<'a> {
    /// Its account.
    pub account: &'a str,
    /// Its region.
    pub region: &'a str,
    /// Its name.
    pub bucket: &'a str,
}

impl BucketLogging {
    /// The key of a log object. `event` and `delivered` are seconds since 1970; `unique` distinguishes
    /// objects of one second.
    pub fn key(&self, source: LogSource<'_>, event: u64, delivered: u64, unique: &str) -> String {
        let prefix = &self.target_prefix;
        match self.key_format {
            LogKeyFormat::Simple => {
                let Moment { year, month, day, hour, minute, second } = Moment::of(delivered);
                format!(
                    "{prefix}{year:04}-{month:02}-{day:02}-{hour:02}-{minute:02}-{second:02}-{unique}"
                )
            }
            LogKeyFormat::Partitioned(date) => {
                // An object has the requests of a day, whose time of day has no meaning.
                let at = match date {
                    PartitionDate::EventTime => event - event % 86_400,
                    PartitionDate::DeliveryTime => delivered,
                };
                let Moment { year, month, day, hour, minute, second } = Moment::of(at);
                let LogSource { account, region, bucket } = source;
                format!(
                    "{prefix}{account}/{region}/{bucket}/{year:04}/{month:02}/{day:02}/\
                     {year:04}-{month:02}-{day:02}-{hour:02}-{minute:02}-{second:02}-{unique}"
                )
            }
        }
    }
}

struct Moment {
    year: u64,
    month: u64,
    day: u64,
    hour: u64,
    minute: u64,
    second: u64,
}

impl Moment {
    fn of(seconds: u64) -> Self {
        let (year, month, day) = civil_from_days(seconds / 86_400);
        let of_day = seconds % 86_400;
        let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
        Self { year, month, day, hour, minute, second }
    }
}

/// A request as its line shows it. `None` and empty texts are written as `-`.
#[derive(Debug, Clone, Default)]
pub struct AccessLogLine<'a> {
    /// Owner of the bucket.
    pub bucket_owner: &'a str,
    /// The bucket.
    pub bucket: &'a str,
    /// Seconds since 1970 when the request was received.
    pub received: u64,
    /// Address of the client.
    pub remote_ip: Option<&'a str>,
    /// The user, unless the caller is anonymous.
    pub requester: Option<&'a str>,
    /// Id of the request.
    pub request_id: &'a str,
    /// Operation in the form of the log, such as `REST.GET.OBJECT`.
    pub operation: &'a str,
    /// The key, decoded.
    pub key: Option<&'a str>,
    /// First line of the request.
    pub request_line: &'a str,
    /// Status of the response.
    pub status: u16,
    /// Code of the error.
    pub error: Option<&'a str>,
    /// Length of the response in bytes, if it is known.
    pub bytes_sent: Option<u64>,
    /// Length of the object in bytes, if it is known.
    pub object_size: Option<u64>,
    /// Milliseconds until the head of the response.
    pub milliseconds: u64,
    /// The `Referer`.
    pub referrer: Option<&'a str>,
    /// The `User-Agent`.
    pub agent: Option<&'a str>,
    /// The version that the request names.
    pub version: Option<&'a str>,
    /// Version of the signature: `SigV4`, `SigV2`.
    pub signature: Option<&'a str>,
    /// Where the signature is: `AuthHeader`, `QueryString`.
    pub authentication: Option<&'a str>,
    /// The `Host`.
    pub host: Option<&'a str>,
}

/// Names of months in lines.
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A text in quotes, in which quotes and control characters are percent-encoded.
fn quoted(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' | '\u{0}'..=' ' | '\u{7f}' if character != ' ' => {
                let _ = write!(out, "%{:02X}", u32::from(character));
            }
            other => out.push(other),
        }
    }
    out.push('"');
}

/// A word without blanks.
fn word(out: &mut String, text: Option<&str>) {
    match text.filter(|text| !text.is_empty()) {
        Some(text) => percent::encode_into(out, text.as_bytes(), b"/:._-~,+=@"),
        None => out.push('-'),
    }
}

impl AccessLogLine<'_> {
    /// The line, without its end.
    pub fn render(&self) -> String {
        let mut out = String::with_capacity(512);
        word(&mut out, Some(self.bucket_owner));
        out.push(' ');
        word(&mut out, Some(self.bucket));
        let Moment { year, month, day, hour, minute, second } = Moment::of(self.received);
        let name =
            usize::try_from(month.saturating_sub(1)).ok().and_then(|month| MONTHS.get(month));
        let name = name.copied().unwrap_or("Jan");
        let _ =
            write!(out, " [{day:02}/{name}/{year:04}:{hour:02}:{minute:02}:{second:02} +0000] ");
        for text in
            [self.remote_ip, self.requester, Some(self.request_id), Some(self.operation), self.key]
        {
            word(&mut out, text);
            out.push(' ');
        }
        quoted(&mut out, self.request_line);
        let _ = write!(out, " {} ", self.status);
        word(&mut out, self.error);
        for number in [self.bytes_sent, self.object_size] {
            match number {
                Some(number) => drop(write!(out, " {number}")),
                None => out.push_str(" -"),
            }
        }
        let _ = write!(out, " {0} {0}", self.milliseconds);
        for text in [self.referrer, self.agent] {
            out.push(' ');
            quoted(&mut out, text.filter(|text| !text.is_empty()).unwrap_or("-"));
        }
        // The id of the host is that of the request. There are no ciphers, access points and TLS here.
        for text in [
            self.version,
            Some(self.request_id),
            self.signature,
            None,
            self.authentication,
            self.host,
            None,
            None,
            None,
        ] {
            out.push(' ');
            word(&mut out, text);
        }
        out
    }
}

/// The operation of a log line, by its S3 name and method.
pub fn log_operation(name: &str, method: &str) -> String {
    let known = match name {
        "ListBuckets" => "REST.GET.SERVICE",
        "ListObjects" | "ListObjectsV2" => "REST.GET.BUCKET",
        "ListObjectVersions" => "REST.GET.BUCKETVERSIONS",
        "ListMultipartUploads" => "REST.GET.UPLOADS",
        "CreateBucket" => "REST.PUT.BUCKET",
        "HeadBucket" => "REST.HEAD.BUCKET",
        "DeleteBucket" => "REST.DELETE.BUCKET",
        "GetObject" => "REST.GET.OBJECT",
        "HeadObject" => "REST.HEAD.OBJECT",
        "PutObject" => "REST.PUT.OBJECT",
        "PostObject" => "REST.POST.OBJECT",
        "CopyObject" => "REST.COPY.OBJECT",
        "DeleteObject" => "REST.DELETE.OBJECT",
        "DeleteObjects" => "REST.POST.MULTI_OBJECT_DELETE",
        "CreateMultipartUpload" => "REST.POST.UPLOADS",
        "UploadPart" => "REST.PUT.PART",
        "UploadPartCopy" => "REST.COPY.PART",
        "CompleteMultipartUpload" => "REST.POST.UPLOAD",
        "AbortMultipartUpload" => "REST.DELETE.UPLOAD",
        "ListParts" => "REST.GET.UPLOAD",
        "RestoreObject" => "REST.POST.OBJECT_RESTORE",
        "GetObjectAcl" => "REST.GET.ACL",
        "PutObjectAcl" => "REST.PUT.ACL",
        _ => "",
    };
    if !known.is_empty() {
        return known.to_owned();
    }
    // GetBucketLogging and its kind.
    let verb = ["GetBucket", "PutBucket", "DeleteBucket", "Get", "Put", "Delete"];
    let rest = verb.iter().find_map(|verb| name.strip_prefix(verb)).unwrap_or(name);
    let mut out = format!("REST.{method}.");
    for (at, character) in rest.char_indices() {
        if character.is_ascii_uppercase() && at > 0 {
            out.push('_');
        }
        if character.is_ascii_alphanumeric() {
            out.push(character.to_ascii_uppercase());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_awss_formats() {
        let source = LogSource { account: "AUTH_a", region: "us-east-1", bucket: "b" };
        // 2026-11-30T23:59:58Z and three days later.
        let (event, delivered) = (1_796_083_198, 1_796_342_400);
        for (key_format, key) in [
            (LogKeyFormat::Simple, "logs/2026-12-04-00-00-00-X"),
            (
                LogKeyFormat::Partitioned(PartitionDate::EventTime),
                "logs/AUTH_a/us-east-1/b/2026/11/30/2026-11-30-00-00-00-X",
            ),
            (
                LogKeyFormat::Partitioned(PartitionDate::DeliveryTime),
                "logs/AUTH_a/us-east-1/b/2026/12/04/2026-12-04-00-00-00-X",
            ),
        ] {
            let logging = BucketLogging {
                target_prefix: "logs/".to_owned(),
                key_format,
                ..BucketLogging::default()
            };
            assert_eq!(
                logging.key(source, event, delivered + 1, "X").replace("-01-X", "-00-X"),
                key
            );
        }
    }

    #[test]
    fn a_line_has_awss_fields_in_its_order() {
        let line = AccessLogLine {
            bucket_owner: "test:tester",
            bucket: "b",
            received: 1_796_083_198,
            remote_ip: Some("10.0.0.1"),
            requester: Some("test:tester"),
            request_id: "tx1",
            operation: "REST.GET.OBJECT",
            key: Some("a b/ü"),
            request_line: "GET /b/a%20b?versionId=null HTTP/1.1",
            status: 403,
            error: Some("AccessDenied"),
            bytes_sent: Some(243),
            milliseconds: 7,
            agent: Some("cli \"x\"\t1"),
            signature: Some("SigV4"),
            authentication: Some("AuthHeader"),
            host: Some("h:8080"),
            ..AccessLogLine::default()
        };
        assert_eq!(
            line.render(),
            "test:tester b [30/Nov/2026:23:59:58 +0000] 10.0.0.1 test:tester tx1 REST.GET.OBJECT a%20b/%C3%BC \
             \"GET /b/a%20b?versionId=null HTTP/1.1\" 403 AccessDenied 243 - 7 7 \"-\" \"cli %22x%22%091\" - tx1 SigV4 - \
             AuthHeader h:8080 - - -"
        );
        let empty = AccessLogLine::default().render();
        assert!(
            !empty.contains("  ")
                && empty.starts_with("- - [01/Jan/1970:00:00:00 +0000] - - - - - \"\" 0 - - - 0 0")
        );
    }

    #[test]
    fn operations_are_named_as_in_awss_logs() {
        for (name, method, expected) in [
            ("GetObject", "GET", "REST.GET.OBJECT"),
            ("DeleteObjects", "POST", "REST.POST.MULTI_OBJECT_DELETE"),
            ("GetBucketVersioning", "GET", "REST.GET.VERSIONING"),
            ("PutObjectTagging", "PUT", "REST.PUT.OBJECT_TAGGING"),
            ("GetBucketAcl", "GET", "REST.GET.ACL"),
            ("PutObjectAcl", "PUT", "REST.PUT.ACL"),
            ("Get policyStatus", "GET", "REST.GET.POLICY_STATUS"),
        ] {
            assert_eq!(log_operation(name, method), expected, "{name}");
        }
    }
}
