//! The lifecycle configuration of a bucket as an XML document.
//!
//! Rules that move objects to other storage classes are refused, since nothing would apply them.

use apus_bucket::lifecycle::{
    FilterForm, LifecycleConfiguration, LifecycleFault, LifecycleRule, NoncurrentExpiration,
    RULES_MAX, RuleExpiration, RuleFilter, parse_date,
};
use apus_bucket::{ConfigKind, Tag};
use apus_cluster::Timestamp;
use apus_daemon::http::{header, set};
use apus_daemon::random;
use http::HeaderMap;

use super::bucket_config::BucketDocument;
use super::error::{Code, Result, S3Error};
use super::xml::{self, Element, Schema, Writer};

const SCHEMA: Schema = Schema {
    root: "LifecycleConfiguration",
    item: "Rule",
    items_max: RULES_MAX,
    // A filter with ten tags, and several transitions.
    within_max: 128,
};

/// The header about the smallest objects that transitions move, its values, and AWS's default.
const TRANSITION_MINIMUM: &str = "x-amz-transition-default-minimum-object-size";
const TRANSITION_MINIMUMS: [&str; 2] = ["all_storage_classes_128K", "varies_by_storage_class"];

/// The largest number of an element (AWS's).
const NUMBER_MAX: i64 = i32::MAX as i64;

impl From<LifecycleFault> for S3Error {
    fn from(fault: LifecycleFault) -> Self {
        let code = match fault {
            LifecycleFault::Malformed(_) => Code::MalformedXML,
            LifecycleFault::InvalidArgument(_) => Code::InvalidArgument,
            LifecycleFault::InvalidRequest(_) => Code::InvalidRequest,
        };
        Self::new(code).text(fault.to_string())
    }
}

fn malformed(text: impl Into<String>) -> S3Error {
    S3Error::new(Code::MalformedXML).text(text)
}

/// Refuses children that are not in S3's schema, and repeated ones unless they are in `lists`.
fn check_children(element: &Element, known: &[&str], lists: &[&str]) -> Result<()> {
    for (at, child) in element.children.iter().enumerate() {
        let name = child.name.as_str();
        if lists.contains(&name) {
            continue;
        }
        let is_repeated = element.children.iter().take(at).any(|earlier| earlier.name == name);
        if is_repeated || !known.contains(&name) {
            return Err(malformed(format!("{name} is not expected in {}", element.name)));
        }
    }
    Ok(())
}

/// A whole number; what is below 1 becomes 0, which is checked where the number has a meaning.
fn number(element: &Element, name: &str) -> Result<Option<u32>> {
    let Some(text) = element.text_of(name) else { return Ok(None) };
    let number: i64 = text
        .trim()
        .parse()
        .map_err(|_| malformed(format!("{name}: {text:?}, expected a whole number")))?;
    if number > NUMBER_MAX {
        return Err(S3Error::new(Code::InvalidArgument)
            .text(format!("{name}: {number}, expected at most {NUMBER_MAX}")));
    }
    Ok(Some(u32::try_from(number).unwrap_or(0)))
}

fn size(element: &Element, name: &str) -> Result<Option<u64>> {
    let Some(text) = element.text_of(name) else { return Ok(None) };
    let number: i64 = text
        .trim()
        .parse()
        .map_err(|_| malformed(format!("{name}: {text:?}, expected a number of bytes")))?;
    let number = u64::try_from(number).map_err(|_| {
        S3Error::new(Code::InvalidArgument).text(format!("{name}: {number}, expected 0 or more"))
    })?;
    Ok(Some(number))
}

fn date(element: &Element) -> Result<Option<u64>> {
    let Some(text) = element.text_of("Date") else { return Ok(None) };
    let date = parse_date(text.trim())
        .ok_or_else(|| malformed(format!("Date: {text:?}, expected an ISO 8601 date")))?;
    Ok(Some(date))
}

fn tag(element: &Element) -> Result<Tag> {
    check_children(element, &["Key", "Value"], &[])?;
    let text = |name| element.text_of(name).map(str::to_owned);
    match (text("Key"), text("Value")) {
        (Some(key), Some(value)) => Ok(Tag { key, value }),
        _ => Err(malformed("Tag: expected Key and Value")),
    }
}

const CONDITIONS: [&str; 3] = ["Prefix", "ObjectSizeGreaterThan", "ObjectSizeLessThan"];

/// The conditions of `Filter` or of `And` in it.
fn conditions(element: &Element, form: FilterForm) -> Result<RuleFilter> {
    let tags = element.children.iter().filter(|child| child.name == "Tag");
    Ok(RuleFilter {
        form,
        prefix: element.text_of("Prefix").map(str::to_owned),
        tags: tags.map(tag).collect::<Result<_>>()?,
        size_above: size(element, "ObjectSizeGreaterThan")?,
        size_below: size(element, "ObjectSizeLessThan")?,
    })
}

fn filter(rule: &Element) -> Result<RuleFilter> {
    let legacy = rule.text_of("Prefix").map(str::to_owned);
    match (legacy, rule.child("Filter")) {
        (Some(prefix), None) => Ok(RuleFilter {
            form: FilterForm::Legacy,
            prefix: Some(prefix),
            ..RuleFilter::default()
        }),
        (None, Some(filter)) => match filter.child("And") {
            None => {
                check_children(filter, &[&CONDITIONS[..], &["Tag"]].concat(), &[])?;
                conditions(filter, FilterForm::Single)
            }
            Some(and) => {
                check_children(filter, &["And"], &[])?;
                check_children(and, &CONDITIONS, &["Tag"])?;
                conditions(and, FilterForm::And)
            }
        },
        _ => Err(malformed("Rule: expected either Filter or Prefix")),
    }
}

fn expiration(element: &Element) -> Result<RuleExpiration> {
    const MARKER: &str = "ExpiredObjectDeleteMarker";
    check_children(element, &["Days", "Date", MARKER], &[])?;
    let marker = match element.text_of(MARKER).map(str::trim) {
        None => None,
        Some("true") => Some(true),
        Some("false") => Some(false),
        Some(text) => return Err(malformed(format!("{MARKER}: {text:?}, expected true or false"))),
    };
    match (number(element, "Days")?, date(element)?, marker) {
        (Some(days), None, None) => Ok(RuleExpiration::Days(days)),
        (None, Some(at), None) => Ok(RuleExpiration::Date(at)),
        (None, None, Some(marker)) => Ok(RuleExpiration::DeleteMarker(marker)),
        _ => Err(malformed(format!("Expiration: expected one of Days, Date and {MARKER}"))),
    }
}

fn noncurrent(element: &Element) -> Result<NoncurrentExpiration> {
    check_children(element, &["NoncurrentDays", "NewerNoncurrentVersions"], &[])?;
    let days = number(element, "NoncurrentDays")?
        .ok_or_else(|| malformed("NoncurrentVersionExpiration: expected NoncurrentDays"))?;
    let newer_versions = number(element, "NewerNoncurrentVersions")?;
    Ok(NoncurrentExpiration { days, newer_versions })
}

/// Checks a transition as far as S3's schema goes.
fn check_transition(element: &Element) -> Result<()> {
    let known: &[&str] = match element.name.as_str() {
        "Transition" => &["Days", "Date", "StorageClass"],
        _ => &["NoncurrentDays", "NewerNoncurrentVersions", "StorageClass"],
    };
    check_children(element, known, &[])?;
    for name in ["Days", "NoncurrentDays", "NewerNoncurrentVersions"] {
        number(element, name)?;
    }
    if date(element)?.is_some_and(|at| at % 86_400 != 0) {
        return Err(S3Error::new(Code::InvalidArgument).text("'Date' must be at midnight GMT"));
    }
    if element.text_of("StorageClass").is_none_or(str::is_empty) {
        return Err(malformed(format!("{}: expected StorageClass", element.name)));
    }
    Ok(())
}

/// Parses a rule; the second value is the name of an element that nothing applies.
fn rule(element: &Element) -> Result<(LifecycleRule, Option<String>)> {
    const TRANSITIONS: [&str; 2] = ["Transition", "NoncurrentVersionTransition"];
    const ABORT: &str = "AbortIncompleteMultipartUpload";
    const NONCURRENT: &str = "NoncurrentVersionExpiration";
    const KNOWN: [&str; 7] = ["ID", "Prefix", "Filter", "Status", "Expiration", NONCURRENT, ABORT];
    check_children(element, &KNOWN, &TRANSITIONS)?;
    let enabled = match element.text_of("Status") {
        Some("Enabled") => true,
        Some("Disabled") => false,
        other => {
            let found = other.unwrap_or_default();
            return Err(malformed(format!("Status: {found:?}, expected Enabled or Disabled")));
        }
    };
    let abort = element.child(ABORT);
    let abort_uploads_days = match abort {
        None => None,
        Some(abort) => {
            check_children(abort, &["DaysAfterInitiation"], &[])?;
            let days = number(abort, "DaysAfterInitiation")?;
            Some(days.ok_or_else(|| malformed(format!("{ABORT}: expected DaysAfterInitiation")))?)
        }
    };
    let mut unsupported = None;
    for child in element.children.iter().filter(|child| TRANSITIONS.contains(&&*child.name)) {
        check_transition(child)?;
        unsupported = Some(child.name.clone());
    }
    let id = element.text_of("ID").unwrap_or_default().to_owned();
    let rule = LifecycleRule {
        id: if id.is_empty() { random::hex::<24>() } else { id },
        enabled,
        filter: filter(element)?,
        expiration: element.child("Expiration").map(expiration).transpose()?,
        noncurrent: element.child(NONCURRENT).map(noncurrent).transpose()?,
        abort_uploads_days,
    };
    Ok((rule, unsupported))
}

impl BucketDocument for LifecycleConfiguration {
    const KIND: ConfigKind = ConfigKind::Lifecycle;
    const MISSING: Code = Code::NoSuchLifecycleConfiguration;

    fn parse(document: &[u8]) -> Result<Self> {
        let mut config = Self::default();
        let mut unsupported = None;
        xml::read(document, &SCHEMA, |element| {
            if element.name != SCHEMA.item {
                let name = element.name;
                return Err(malformed(format!("{name} is not expected in {}", SCHEMA.root)));
            }
            let (rule, element) = rule(&element)?;
            unsupported = unsupported.take().or(element);
            config.rules.push(rule);
            Ok(())
        })?;
        if let Some(element) = unsupported {
            return Err(S3Error::new(Code::NotImplemented).text(format!(
                "{element} is not implemented: objects stay in their storage class"
            )));
        }
        config.check()?;
        Ok(config)
    }

    fn amend(&mut self, request: &HeaderMap) -> Result<()> {
        self.transition_minimum = match header(request, TRANSITION_MINIMUM) {
            None => None,
            Some(value) if TRANSITION_MINIMUMS.contains(&value) => Some(value.to_owned()),
            Some(value) => {
                let expected = TRANSITION_MINIMUMS.join(" or ");
                return Err(S3Error::new(Code::InvalidArgument)
                    .text(format!("{TRANSITION_MINIMUM}: {value:?}, expected {expected}"))
                    .argument(TRANSITION_MINIMUM, value));
            }
        };
        Ok(())
    }

    fn set_headers(&self, response: &mut HeaderMap) {
        let [default, _] = TRANSITION_MINIMUMS;
        set(response, TRANSITION_MINIMUM, self.transition_minimum.as_deref().unwrap_or(default));
    }

    fn render(&self, out: &mut Writer) {
        out.root(SCHEMA.root);
        for rule in &self.rules {
            out.open(SCHEMA.item);
            render_rule(out, rule);
            out.close(SCHEMA.item);
        }
        out.close(SCHEMA.root);
    }
}

fn render_rule(out: &mut Writer, rule: &LifecycleRule) {
    out.text("ID", &rule.id);
    match rule.filter.form {
        FilterForm::Legacy => out.text("Prefix", rule.filter.prefix()),
        FilterForm::Single => {
            out.open("Filter");
            render_conditions(out, &rule.filter);
            out.close("Filter");
        }
        FilterForm::And => {
            out.open("Filter");
            out.open("And");
            render_conditions(out, &rule.filter);
            out.close("And");
            out.close("Filter");
        }
    }
    out.text("Status", if rule.enabled { "Enabled" } else { "Disabled" });
    if let Some(expiration) = rule.expiration {
        out.open("Expiration");
        match expiration {
            RuleExpiration::Days(days) => out.number("Days", days),
            RuleExpiration::Date(at) => out.text("Date", &Timestamp::from_seconds(at).iso_millis()),
            RuleExpiration::DeleteMarker(flag) => out.flag("ExpiredObjectDeleteMarker", flag),
        }
        out.close("Expiration");
    }
    if let Some(noncurrent) = rule.noncurrent {
        out.open("NoncurrentVersionExpiration");
        out.number("NoncurrentDays", noncurrent.days);
        if let Some(newer) = noncurrent.newer_versions {
            out.number("NewerNoncurrentVersions", newer);
        }
        out.close("NoncurrentVersionExpiration");
    }
    if let Some(days) = rule.abort_uploads_days {
        out.open("AbortIncompleteMultipartUpload");
        out.number("DaysAfterInitiation", days);
        out.close("AbortIncompleteMultipartUpload");
    }
}

fn render_conditions(out: &mut Writer, filter: &RuleFilter) {
    if let Some(prefix) = &filter.prefix {
        out.text("Prefix", prefix);
    }
    for Tag { key, value } in &filter.tags {
        out.open("Tag");
        out.text("Key", key);
        out.text("Value", value);
        out.close("Tag");
    }
    if let Some(size) = filter.size_above {
        out.number("ObjectSizeGreaterThan", size);
    }
    if let Some(size) = filter.size_below {
        out.number("ObjectSizeLessThan", size);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(rules: &str) -> Result<LifecycleConfiguration> {
        let document = format!("<LifecycleConfiguration>{rules}</LifecycleConfiguration>");
        LifecycleConfiguration::parse(document.as_bytes())
    }

    fn rule_with(content: &str) -> String {
        format!("<Rule><ID>r</ID><Status>Enabled</Status>{content}</Rule>")
    }

    const DAYS: &str = "<Expiration><Days>3</Days></Expiration>";
    const ALL: &str = "<Filter/>";

    #[test]
    fn a_document_comes_back_as_it_was_sent() {
        let tag = "<Tag><Key>k</Key><Value>v</Value></Tag>";
        for content in [
            "<ID>a</ID><Prefix>p/</Prefix><Status>Enabled</Status><Expiration><Days>3</Days></Expiration>",
            "<ID>a</ID><Filter></Filter><Status>Disabled</Status><Expiration><Date>2030-01-01T00:00:00.000Z</Date></Expiration>",
            "<ID>a</ID><Filter><Prefix></Prefix></Filter><Status>Enabled</Status><Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>",
            &format!(
                "<ID>a</ID><Filter>{tag}</Filter><Status>Enabled</Status><Expiration><Days>3</Days></Expiration>"
            ),
            &format!(
                "<ID>a</ID><Filter><And><Prefix>p</Prefix>{tag}<ObjectSizeGreaterThan>5</ObjectSizeGreaterThan><ObjectSizeLessThan>9</ObjectSizeLessThan></And></Filter><Status>Enabled</Status><NoncurrentVersionExpiration><NoncurrentDays>3</NoncurrentDays><NewerNoncurrentVersions>2</NewerNoncurrentVersions></NoncurrentVersionExpiration>"
            ),
            "<ID>a</ID><Filter><Prefix>p</Prefix></Filter><Status>Enabled</Status><AbortIncompleteMultipartUpload><DaysAfterInitiation>7</DaysAfterInitiation></AbortIncompleteMultipartUpload>",
        ] {
            let rule = format!("<Rule>{content}</Rule>");
            let mut out = Writer::new();
            parse(&rule).unwrap().render(&mut out);
            assert!(out.finish().contains(&rule), "{rule}");
        }
        let unnamed =
            "<Rule><Prefix/><Status>Enabled</Status><Expiration><Days>1</Days></Expiration></Rule>";
        let config = parse(&unnamed.repeat(2)).unwrap();
        assert_eq!(config.rules[0].id.len(), 48);
        assert_ne!(config.rules[0].id, config.rules[1].id);
    }

    #[test]
    fn errors_have_awss_codes() {
        use Code::{InvalidArgument, InvalidRequest, MalformedXML, NotImplemented};
        let expires = |content: &str| format!("{ALL}<Expiration>{content}</Expiration>");
        let moves = |content: &str| format!("{ALL}<Transition>{content}</Transition>");
        for (content, code) in [
            (DAYS.to_owned(), MalformedXML),
            (format!("<Prefix/>{ALL}{DAYS}"), MalformedXML),
            (ALL.to_owned(), InvalidRequest),
            (format!("{ALL}{ALL}{DAYS}"), MalformedXML),
            (format!("{ALL}{DAYS}<Other/>"), MalformedXML),
            (format!("<Filter><Other/></Filter>{DAYS}"), MalformedXML),
            (
                format!(
                    "<Filter><Prefix>a</Prefix><ObjectSizeLessThan>5</ObjectSizeLessThan></Filter>{DAYS}"
                ),
                MalformedXML,
            ),
            (format!("<Filter><And><Prefix>a</Prefix></And></Filter>{DAYS}"), MalformedXML),
            (format!("<Filter><Tag><Key>k</Key></Tag></Filter>{DAYS}"), MalformedXML),
            (
                format!("<Filter><ObjectSizeGreaterThan>-1</ObjectSizeGreaterThan></Filter>{DAYS}"),
                InvalidArgument,
            ),
            (expires("<Days>0</Days>"), InvalidArgument),
            (expires("<Days>-3</Days>"), InvalidArgument),
            (expires("<Days>2147483648</Days>"), InvalidArgument),
            (expires("<Days>x</Days>"), MalformedXML),
            (expires(""), MalformedXML),
            (expires("<Days>1</Days><Date>2030-01-01</Date>"), MalformedXML),
            (expires("<Date>20300101</Date>"), MalformedXML),
            (expires("<Date>2030-01-01T10:00:00Z</Date>"), InvalidArgument),
            (expires("<ExpiredObjectDeleteMarker>yes</ExpiredObjectDeleteMarker>"), MalformedXML),
            (moves("<Days>0</Days><StorageClass>GLACIER</StorageClass>"), NotImplemented),
            (
                moves("<Date>1970-08-23T00:55:27Z</Date><StorageClass>GLACIER</StorageClass>"),
                InvalidArgument,
            ),
            (moves("<Days>0</Days>"), MalformedXML),
            (
                format!(
                    "{ALL}<NoncurrentVersionExpiration><NewerNoncurrentVersions>2</NewerNoncurrentVersions></NoncurrentVersionExpiration>"
                ),
                MalformedXML,
            ),
        ] {
            assert_eq!(parse(&rule_with(&content)).unwrap_err().code, code, "{content}");
        }
        for status in ["<Status>enabled</Status>", ""] {
            let rule = format!("<Rule>{status}{ALL}{DAYS}</Rule>");
            assert_eq!(parse(&rule).unwrap_err().code, MalformedXML, "{status}");
        }
        assert_eq!(parse("").unwrap_err().code, MalformedXML);
        assert_eq!(parse("<Other/>").unwrap_err().code, MalformedXML);
    }

    #[test]
    fn the_minimum_of_transitions_is_stored_and_returned() {
        let mut config = LifecycleConfiguration::default();
        let mut request = HeaderMap::new();
        for (sent, returned) in [
            (None, "all_storage_classes_128K"),
            (Some("varies_by_storage_class"), "varies_by_storage_class"),
        ] {
            if let Some(sent) = sent {
                request.insert(TRANSITION_MINIMUM, sent.parse().unwrap());
            }
            config.amend(&request).unwrap();
            let mut response = HeaderMap::new();
            config.set_headers(&mut response);
            assert_eq!(response[TRANSITION_MINIMUM], returned);
        }
        request.insert(TRANSITION_MINIMUM, "none".parse().unwrap());
        assert_eq!(config.amend(&request).unwrap_err().code, Code::InvalidArgument);
    }
}
