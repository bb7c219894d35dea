//! Locks of objects: `?retention`, `?legal-hold` and the `x-amz-object-lock-` headers.

use apus_bucket::ConfigKind;
use apus_bucket::object_lock::{Retention, RetentionMode, hold_from_stored, hold_to_stored};
use apus_cluster::{ContainerPath, Metadata, ObjectPath};
use apus_daemon::http::{header, set, status};
use apus_policy::Permission;
use apus_store::body::collect;
use apus_store::operation::ObjectHead;
use apus_store::operation::{Authorize, HeadContainer, HeadObject, SettingChange, UpdateObject};
use apus_store::settings::{LEGAL_HOLD, RETENTION};
use apus_store::{Context, Kind};
use http::{HeaderMap, StatusCode};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::put::verified_body;
use crate::deps::ProxyDeps;
use crate::facts::with_values;
use crate::reply::Reply;
use crate::s3::error::{Code, Result, S3Error};
use crate::s3::facts;
use crate::s3::request::S3Request;
use crate::s3::xml::{self, Element, Writer};

const MODE: &str = "x-amz-object-lock-mode";
const UNTIL: &str = "x-amz-object-lock-retain-until-date";
const HOLD: &str = "x-amz-object-lock-legal-hold";
const BYPASS: &str = "x-amz-bypass-governance-retention";

const RETENTION_DOCUMENT: xml::Schema =
    xml::Schema { root: "Retention", item: "Mode", items_max: 1, within_max: 0 };
const HOLD_DOCUMENT: xml::Schema =
    xml::Schema { root: "LegalHold", item: "Status", items_max: 1, within_max: 0 };

/// AWS's text for the lock of an object in a bucket without one.
const NO_LOCK: &str = "Bucket is missing Object Lock Configuration";

/// Milliseconds since 1970 of an ISO 8601 date, rounded up.
fn parse_date(text: &str) -> Option<u64> {
    let nanos = OffsetDateTime::parse(text.trim(), &Rfc3339).ok()?.unix_timestamp_nanos();
    u64::try_from(nanos).ok().map(|nanos| nanos.div_ceil(1_000_000))
}

/// The date of a time in milliseconds since 1970; the last one for a time without a date.
fn format_date(ms: u64) -> String {
    let date = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000).ok();
    let text = date.and_then(|date| date.format(&Rfc3339).ok());
    text.unwrap_or_else(|| "9999-12-31T23:59:59Z".to_owned())
}

/// Whether the request may bypass governance, if its caller may.
pub(in crate::s3) fn bypasses(request: &S3Request) -> bool {
    request.header(BYPASS).is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

fn invalid(name: &str, value: &str, text: &str) -> S3Error {
    S3Error::new(Code::InvalidArgument).text(text).argument(name, value)
}

fn future(retention: Retention, now_ms: u64, value: &str) -> Result<Retention> {
    match retention.until_ms > now_ms {
        true => Ok(retention),
        false => Err(invalid(UNTIL, value, "The retain until date must be in the future!")),
    }
}

/// The retention that an upload's headers ask for.
fn retention_of(headers: &HeaderMap, now_ms: u64) -> Result<Option<Retention>> {
    let (mode, until) = match (header(headers, MODE), header(headers, UNTIL)) {
        (None, None) => return Ok(None),
        (Some(mode), Some(until)) => (mode, until),
        _ => {
            return Err(S3Error::new(Code::InvalidArgument)
                .text(format!("{UNTIL} and {MODE} must both be supplied")));
        }
    };
    let mode = RetentionMode::parse(mode)
        .ok_or_else(|| invalid(MODE, mode, "Unknown wormMode directive."))?;
    let until_ms = parse_date(until).ok_or_else(|| {
        invalid(UNTIL, until, "The retain until date must be provided in ISO 8601 format")
    })?;
    future(Retention { mode, until_ms }, now_ms, until).map(Some)
}

/// The legal hold that an upload's headers ask for.
fn hold_of(headers: &HeaderMap) -> Result<Option<bool>> {
    match header(headers, HOLD) {
        None => Ok(None),
        Some("ON") => Ok(Some(true)),
        Some("OFF") => Ok(Some(false)),
        Some(text) => Err(invalid(HOLD, text, "Legal Hold must be either of 'ON' or 'OFF'")),
    }
}

/// Refuses a bucket whose versions cannot be locked.
async fn check_bucket(deps: &ProxyDeps, cx: &Context, container: &ContainerPath) -> Result<()> {
    let op = HeadContainer { container: container.clone() };
    let info = deps.store.container_info(cx, op).await?;
    match info.headers.contains_key(ConfigKind::ObjectLock.header()) {
        true => Ok(()),
        false => Err(S3Error::new(Code::InvalidRequest).text(NO_LOCK)),
    }
}

/// Adds the locks of an upload's headers to its metadata.
///
/// # Errors
/// `InvalidArgument`; `InvalidRequest` in a bucket without a lock, where only `OFF` has no effect.
pub(in crate::s3) async fn add_from_headers(
    deps: &ProxyDeps,
    (cx, headers): (&Context, &HeaderMap),
    object: &ObjectPath,
    metadata: &mut Metadata,
) -> Result<()> {
    let retention = retention_of(headers, now_ms(deps))?;
    let hold = hold_of(headers)?;
    if retention.is_none() && hold.is_none() {
        return Ok(());
    }
    let needed = [
        retention.is_some().then_some(Permission::PutObjectRetention),
        hold.is_some().then_some(Permission::PutObjectLegalHold),
    ];
    for permission in needed.into_iter().flatten() {
        deps.store.authorize(cx, Authorize::object(permission, object)).await?;
    }
    match check_bucket(deps, cx, &object.container).await {
        Err(error)
            if error.code == Code::InvalidRequest && retention.is_none() && hold == Some(false) =>
        {
            return Ok(());
        }
        checked => checked?,
    }
    metadata.extend(retention.map(|retention| (RETENTION.to_owned(), retention.to_stored())));
    metadata.extend(hold.map(|on| (LEGAL_HOLD.to_owned(), hold_to_stored(on).to_owned())));
    Ok(())
}

fn now_ms(deps: &ProxyDeps) -> u64 {
    u64::try_from(deps.clock.now().as_millis()).unwrap_or(u64::MAX)
}

/// Sets the headers of an object's locks.
pub(in crate::s3) fn set_headers(head: &ObjectHead, out: &mut HeaderMap) {
    if let Some(text) = head.get(RETENTION) {
        let retention = Retention::from_stored(text);
        set(out, MODE, &retention.mode.to_string());
        set(out, UNTIL, &format_date(retention.until_ms));
    }
    if let Some(text) = head.get(LEGAL_HOLD) {
        set(out, HOLD, hold_to_stored(hold_from_stored(text)));
    }
}

/// Metadata of the object of a request in a bucket with a lock, for a caller who may read it.
async fn head(deps: &ProxyDeps, request: S3Request) -> Result<ObjectHead> {
    let op = HeadObject { version: request.version()?, ..HeadObject::new(request.object()?) };
    let (cx, container) = (request.cx, op.object.container.clone());
    let authorize = Authorize::object(cx.needs(Permission::GetObjectRetention), &op.object);
    deps.store.authorize(&cx, authorize.version(op.version)).await?;
    check_bucket(deps, &cx, &container).await?;
    Ok(deps.store.head_object(&cx, op).await?)
}

fn not_set() -> S3Error {
    S3Error::new(Code::NoSuchObjectLockConfiguration)
}

pub(in crate::s3) async fn get_retention(deps: &ProxyDeps, request: S3Request) -> Result<Reply> {
    let head = head(deps, request).await?;
    let retention = Retention::from_stored(head.get(RETENTION).ok_or_else(not_set)?);
    let mut out = Writer::new();
    out.root("Retention");
    out.text("Mode", &retention.mode.to_string());
    out.text("RetainUntilDate", &format_date(retention.until_ms));
    out.close("Retention");
    Ok(out.reply())
}

pub(in crate::s3) async fn get_hold(deps: &ProxyDeps, request: S3Request) -> Result<Reply> {
    let head = head(deps, request).await?;
    let on = hold_from_stored(head.get(LEGAL_HOLD).ok_or_else(not_set)?);
    let mut out = Writer::new();
    out.root("LegalHold");
    out.text("Status", hold_to_stored(on));
    out.close("LegalHold");
    Ok(out.reply())
}

/// The elements of a document, each at most once.
fn elements(document: &[u8], schema: &xml::Schema, known: &[&str]) -> Result<Vec<Element>> {
    let mut found: Vec<Element> = Vec::new();
    xml::read(document, schema, |element| {
        let is_known = known.contains(&element.name.as_str());
        if !is_known || found.iter().any(|earlier| earlier.name == element.name) {
            return Err(S3Error::new(Code::MalformedXML));
        }
        found.push(element);
        Ok(())
    })?;
    Ok(found)
}

/// The retention in a document; an empty one removes it.
fn parse_retention(document: &[u8], now_ms: u64) -> Result<Option<Retention>> {
    let malformed = || S3Error::new(Code::MalformedXML);
    let found = elements(document, &RETENTION_DOCUMENT, &["Mode", "RetainUntilDate"])?;
    let text = |name| found.iter().find(|element| element.name == name).map(|e| e.text.as_str());
    match (text("Mode"), text("RetainUntilDate")) {
        (None, None) => Ok(None),
        (Some(mode), Some(until)) => {
            let mode = RetentionMode::parse(mode).ok_or_else(malformed)?;
            let until_ms = parse_date(until).ok_or_else(malformed)?;
            future(Retention { mode, until_ms }, now_ms, until).map(Some)
        }
        _ => Err(malformed()),
    }
}

fn parse_hold(document: &[u8]) -> Result<bool> {
    let found = elements(document, &HOLD_DOCUMENT, &["Status"])?;
    match found.first().map(|element| element.text.as_str()) {
        Some("ON") => Ok(true),
        Some("OFF") => Ok(false),
        _ => Err(S3Error::new(Code::MalformedXML)),
    }
}

/// The values of condition keys in a change.
fn facts_of(change: &SettingChange, now_ms: u64) -> Vec<(String, String)> {
    match change {
        SettingChange::Retention { retention: Some(Retention { mode, until_ms }), .. } => {
            facts::retention(&mode.to_string(), *until_ms, now_ms)
        }
        SettingChange::LegalHold(on) => {
            vec![("s3:object-lock-legal-hold".to_owned(), hold_to_stored(*on).to_owned())]
        }
        SettingChange::Retention { retention: None, .. }
        | SettingChange::Tagging(_)
        | SettingChange::Acl { .. } => Vec::new(),
    }
}

/// Changes a lock by the document of a request.
async fn put(
    deps: &ProxyDeps,
    request: S3Request,
    parse: impl FnOnce(&[u8]) -> Result<SettingChange> + Send,
) -> Result<Reply> {
    let (object, version) = (request.object()?, request.version()?);
    // Rights and the bucket come before the document.
    let container = object.container.clone();
    let S3Request { cx, head, body, payload, .. } = request;
    let authorize = Authorize::object(cx.needs(Permission::PutObjectRetention), &object);
    // A policy may allow some locks only, so a refusal is final when the document is known.
    let refused = match deps.store.authorize(&cx, authorize.version(version)).await {
        Ok(()) => None,
        Err(error) if matches!(error.kind, Kind::Forbidden | Kind::Unauthorized) => Some(error),
        Err(error) => return Err(error.into()),
    };
    let checked = match check_bucket(deps, &cx, &container).await {
        Err(error) if refused.is_none() => return Err(error),
        checked => checked,
    };
    let verified = verified_body(deps, payload, &head.headers, body)?;
    let document = collect(verified.body, xml::DOCUMENT_BYTES_MAX).await?;
    let change = match (checked.and_then(|()| parse(&document)), refused) {
        (Err(_), Some(refused)) => return Err(refused.into()),
        (change, _) => change?,
    };
    let cx = with_values(&cx, facts_of(&change, now_ms(deps)));
    let head = deps.store.update_object(&cx, UpdateObject { object, version, change }).await?;
    let mut response = status(StatusCode::OK);
    if let Some(version) = head.version {
        set(response.headers_mut(), "x-amz-version-id", &version.to_string());
    }
    Ok(response)
}

pub(in crate::s3) async fn put_retention(deps: &ProxyDeps, request: S3Request) -> Result<Reply> {
    let (bypass, now_ms) = (bypasses(&request), now_ms(deps));
    let parse = move |document: &[u8]| {
        let retention = parse_retention(document, now_ms)?;
        Ok(SettingChange::Retention { retention, bypass })
    };
    put(deps, request, parse).await
}

pub(in crate::s3) async fn put_hold(deps: &ProxyDeps, request: S3Request) -> Result<Reply> {
    put(deps, request, |document| Ok(SettingChange::LegalHold(parse_hold(document)?))).await
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000_000;

    #[test]
    fn dates_are_rounded_up_and_written_back() {
        for (text, ms) in [
            ("2030-01-01T00:00:00Z", Some(1_893_456_000_000)),
            ("2030-01-01T01:00:00+01:00", Some(1_893_456_000_000)),
            ("2030-01-01T00:00:00.123456Z", Some(1_893_456_000_124)),
            ("2030-01-01", None),
            ("1960-01-01T00:00:00Z", None),
            ("x", None),
        ] {
            assert_eq!(parse_date(text), ms, "{text}");
        }
        assert_eq!(format_date(1_893_456_000_000), "2030-01-01T00:00:00Z");
        assert_eq!(format_date(1_893_456_000_124), "2030-01-01T00:00:00.124Z");
        assert_eq!(format_date(u64::MAX), "9999-12-31T23:59:59Z");
    }

    #[test]
    fn documents_of_locks_are_read_strictly() {
        let retention = |inner: &str| {
            let document = format!("<Retention>{inner}</Retention>");
            parse_retention(document.as_bytes(), NOW).map_err(|error| error.code)
        };
        let until = "<RetainUntilDate>2030-01-01T00:00:00Z</RetainUntilDate>";
        let good = retention(&format!("<Mode>COMPLIANCE</Mode>{until}")).unwrap().unwrap();
        assert_eq!((good.mode, good.until_ms), (RetentionMode::Compliance, 1_893_456_000_000));
        assert_eq!(retention(""), Ok(None));
        let past = "<Mode>GOVERNANCE</Mode><RetainUntilDate>2020-01-01T00:00:00Z</RetainUntilDate>";
        assert_eq!(retention(past), Err(Code::InvalidArgument));
        for inner in [
            until.to_owned(),
            "<Mode>GOVERNANCE</Mode>".to_owned(),
            format!("<Mode>governance</Mode>{until}"),
            format!("<Mode>GOVERNANCE</Mode><Mode>GOVERNANCE</Mode>{until}"),
            format!("<Mode>GOVERNANCE</Mode>{until}<Other/>"),
            "<Mode>GOVERNANCE</Mode><RetainUntilDate>soon</RetainUntilDate>".to_owned(),
        ] {
            assert_eq!(retention(&inner), Err(Code::MalformedXML), "{inner}");
        }
        let hold = |status: &str| {
            let document = format!("<LegalHold><Status>{status}</Status></LegalHold>");
            parse_hold(document.as_bytes()).map_err(|error| error.code)
        };
        assert_eq!((hold("ON"), hold("OFF")), (Ok(true), Ok(false)));
        assert_eq!((hold("on"), hold("")), (Err(Code::MalformedXML), Err(Code::MalformedXML)));
        assert!(parse_hold(b"<LegalHold/>").is_err());
    }

    #[test]
    fn headers_of_locks_come_in_pairs() {
        let parsed = |headers: &[(&str, &str)]| {
            let request = S3Request::example("GET", "/bucket/key", headers);
            let retention = retention_of(&request.head.headers, NOW).map_err(|error| error.code)?;
            Ok((retention.is_some(), hold_of(&request.head.headers).map_err(|error| error.code)?))
        };
        let (mode, until) = ((MODE, "GOVERNANCE"), (UNTIL, "2030-01-01T00:00:00Z"));
        assert_eq!(parsed(&[]), Ok((false, None)));
        assert_eq!(parsed(&[mode, until, (HOLD, "ON")]), Ok((true, Some(true))));
        assert_eq!(parsed(&[(HOLD, "OFF")]), Ok((false, Some(false))));
        for headers in [
            &[mode][..],
            &[until],
            &[(MODE, "x"), until],
            &[mode, (UNTIL, "x")],
            &[mode, (UNTIL, "2020-01-01T00:00:00Z")],
            &[(HOLD, "x")],
        ] {
            assert_eq!(parsed(headers), Err(Code::InvalidArgument), "{headers:?}");
        }
    }
}
