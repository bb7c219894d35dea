//! GetBucketLogging and PutBucketLogging.

use apus_bucket::logging::{BucketLogging, LogKeyFormat, PartitionDate};
use apus_bucket::ownership::{ObjectOwnership, OwnershipControls};
use apus_bucket::{ConfigKind, stored};
use apus_cluster::{AccountName, ContainerName, ContainerPath};
use apus_daemon::http::status;
use apus_store::body::collect;
use apus_store::operation::{HeadContainer, PostContainer};
use apus_store::{Context, Kind, Subject};
use http::StatusCode;

use super::bucket_config;
use super::error::{Code, Result, S3Error};
use super::object::put::verified_body;
use super::request::S3Request;
use super::request_headers::not_implemented;
use super::xml::{self, Element, Writer};
use crate::deps::ProxyDeps;
use crate::reply::Reply;

const DOCUMENT: xml::Schema = xml::Schema {
    root: "BucketLoggingStatus",
    item: "LoggingEnabled",
    items_max: 1,
    // Up to 100 grants of a few elements each.
    within_max: 1000,
};
/// Longest prefix in bytes: the rest of a key is for account, bucket and time.
const PREFIX_BYTES_MAX: usize = 512;

/// What a document asks for.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    logging: BucketLogging,
    /// Whether it grants access to the log objects.
    has_grants: bool,
}

fn malformed() -> S3Error {
    S3Error::new(Code::MalformedXML)
}

fn key_format(format: &Element) -> Result<LogKeyFormat> {
    let [choice] = format.children.as_slice() else { return Err(malformed()) };
    match choice.name.as_str() {
        "SimplePrefix" if choice.children.is_empty() => Ok(LogKeyFormat::Simple),
        "PartitionedPrefix" => match choice.text_of("PartitionDateSource") {
            None => Ok(LogKeyFormat::Partitioned(PartitionDate::DeliveryTime)),
            Some(name) => PartitionDate::parse(name.trim())
                .map(LogKeyFormat::Partitioned)
                .ok_or_else(malformed),
        },
        _ => Err(malformed()),
    }
}

/// Parses a document; `None` when it switches logging off.
fn parse(document: &[u8]) -> Result<Option<Asked>> {
    let mut asked = None;
    xml::read(document, &DOCUMENT, |child| {
        if child.name != "LoggingEnabled" {
            return Err(malformed());
        }
        const KNOWN: [&str; 4] =
            ["TargetBucket", "TargetGrants", "TargetObjectKeyFormat", "TargetPrefix"];
        if child.children.iter().any(|child| !KNOWN.contains(&child.name.as_str())) {
            return Err(malformed());
        }
        let text = |name| child.text_of(name).map(str::to_owned).ok_or_else(malformed);
        let target_prefix = text("TargetPrefix")?;
        if target_prefix.len() > PREFIX_BYTES_MAX || target_prefix.contains('\0') {
            return Err(S3Error::new(Code::InvalidArgument)
                .text(format!(
                    "TargetPrefix: expected at most {PREFIX_BYTES_MAX} bytes without NUL"
                ))
                .argument("TargetPrefix", &target_prefix));
        }
        let format = child.child("TargetObjectKeyFormat").map(key_format).transpose()?;
        asked = Some(Asked {
            logging: BucketLogging {
                target_bucket: text("TargetBucket")?,
                target_prefix,
                key_format: format.unwrap_or_default(),
            },
            has_grants: child
                .child("TargetGrants")
                .is_some_and(|grants| !grants.children.is_empty()),
        });
        Ok(())
    })?;
    Ok(asked)
}

fn render(logging: Option<&BucketLogging>) -> Writer {
    let mut out = Writer::new();
    out.root("BucketLoggingStatus");
    if let Some(logging) = logging {
        out.open("LoggingEnabled");
        out.text("TargetBucket", &logging.target_bucket);
        out.text("TargetPrefix", &logging.target_prefix);
        if let LogKeyFormat::Partitioned(date) = logging.key_format {
            out.open("TargetObjectKeyFormat");
            out.open("PartitionedPrefix");
            out.text("PartitionDateSource", date.name());
            out.close("PartitionedPrefix");
            out.close("TargetObjectKeyFormat");
        }
        out.close("LoggingEnabled");
    }
    out.close("BucketLoggingStatus");
    out
}

/// Responds with the configuration; an empty document when logging is off.
pub(super) async fn get(deps: &ProxyDeps, request: S3Request) -> Result<Reply> {
    let container = request.container()?;
    bucket_config::authorize(deps, &request.cx, &container).await?;
    let head = deps.store.head_container(&request.cx, HeadContainer { container }).await?;
    let logging: Option<BucketLogging> = stored::load(ConfigKind::Logging, &head.headers)?;
    Ok(render(logging.as_ref()).reply())
}

/// Checks that the bucket for the logs exists in the account and takes no grants.
async fn check_target(
    deps: &ProxyDeps,
    cx: &Context,
    account: AccountName,
    asked: &Asked,
) -> Result<()> {
    let refused = || {
        S3Error::new(Code::InvalidTargetBucketForLogging)
            .with("TargetBucket", &asked.logging.target_bucket)
    };
    let name = ContainerName::parse(&asked.logging.target_bucket).map_err(|_| refused())?;
    let container = ContainerPath::new(account, name);
    let cx = cx.as_system("logging");
    let head = deps.store.container_info(&cx, HeadContainer { container }).await;
    let head = head.map_err(|error| match (&error.kind, error.subject) {
        (Kind::NotFound, Subject::Container | Subject::Account) => refused(),
        _ => S3Error::from(error),
    })?;
    if !asked.has_grants {
        return Ok(());
    }
    let controls: Option<OwnershipControls> = stored::load(ConfigKind::Ownership, &head.headers)?;
    match controls.map_or(ObjectOwnership::default(), |controls| controls.0).has_acls() {
        true => Err(not_implemented("TargetGrants")),
        false => Err(S3Error::new(Code::InvalidArgument)
            .text("TargetGrants: the target bucket has its ACLs disabled (BucketOwnerEnforced)")
            .argument("TargetGrants", "")),
    }
}

/// Switches logging on or off.
pub(super) async fn put(deps: &ProxyDeps, request: S3Request) -> Result<Reply> {
    let container = request.container()?;
    bucket_config::authorize(deps, &request.cx, &container).await?;
    let S3Request { cx, head, body, payload, account, .. } = request;
    let verified = verified_body(deps, payload, &head.headers, body)?;
    let asked = parse(&collect(verified.body, xml::DOCUMENT_BYTES_MAX).await?)?;
    let metadata = match &asked {
        Some(asked) => {
            check_target(deps, &cx, account, asked).await?;
            stored::store(ConfigKind::Logging, &asked.logging)?
        }
        None => {
            let op = HeadContainer { container: container.clone() };
            let head = deps.store.head_container(&cx, op).await?;
            stored::remove(ConfigKind::Logging, &head.headers)
        }
    };
    let op = PostContainer { container, metadata, versioning: None };
    deps.store.post_container(&cx, op).await?;
    Ok(status(StatusCode::OK))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(inner: &str) -> String {
        format!(
            "<BucketLoggingStatus xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{inner}</BucketLoggingStatus>"
        )
    }

    fn enabled(more: &str) -> String {
        document(&format!(
            "<LoggingEnabled><TargetBucket>logs</TargetBucket><TargetPrefix>p/</TargetPrefix>{more}</LoggingEnabled>"
        ))
    }

    #[test]
    fn documents_are_read_and_written_back() {
        assert_eq!(parse(document("").as_bytes()).unwrap(), None);
        let part = |inner: &str| format!("<TargetObjectKeyFormat>{inner}</TargetObjectKeyFormat>");
        let dated = |date: &str| {
            part(&format!(
                "<PartitionedPrefix><PartitionDateSource>{date}</PartitionDateSource></PartitionedPrefix>"
            ))
        };
        for (more, format) in [
            (String::new(), LogKeyFormat::Simple),
            (part("<SimplePrefix/>"), LogKeyFormat::Simple),
            (dated("EventTime"), LogKeyFormat::Partitioned(PartitionDate::EventTime)),
            (dated("DeliveryTime"), LogKeyFormat::Partitioned(PartitionDate::DeliveryTime)),
        ] {
            let text = enabled(&more);
            let asked = parse(text.as_bytes()).unwrap().unwrap();
            assert_eq!(asked.logging.key_format, format);
            assert!(!asked.has_grants);
            let written = render(Some(&asked.logging)).finish();
            let again = parse(written.as_bytes()).unwrap().unwrap();
            assert_eq!(again.logging, asked.logging, "{written}");
        }
    }

    #[test]
    fn other_documents_are_refused() {
        for text in [
            String::new(),
            document("<Other/>"),
            document("<LoggingEnabled/>"),
            document("<LoggingEnabled><TargetBucket>b</TargetBucket></LoggingEnabled>"),
            document("<LoggingEnabled/><LoggingEnabled/>"),
            enabled("<Other/>"),
            enabled("<TargetObjectKeyFormat/>"),
            enabled(
                "<TargetObjectKeyFormat><SimplePrefix/><SimplePrefix/></TargetObjectKeyFormat>",
            ),
        ] {
            assert_eq!(parse(text.as_bytes()).unwrap_err().code, Code::MalformedXML, "{text}");
        }
        let long = enabled("").replace("p/", &"p".repeat(PREFIX_BYTES_MAX + 1));
        assert_eq!(parse(long.as_bytes()).unwrap_err().code, Code::InvalidArgument);
        assert!(
            parse(enabled("<TargetGrants><Grant/></TargetGrants>").as_bytes())
                .unwrap()
                .unwrap()
                .has_grants
        );
    }
}
