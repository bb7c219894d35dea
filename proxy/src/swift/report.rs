//! Reports of long requests in Swift's three formats: deletions, archives, manifests.
//!
//! Source: `get_heartbeat_response_body` in `swift/common/request_helpers.py`.

use apus_cluster::percent;
use http::StatusCode;
use serde_json::json;

use super::format::Format;
use super::page::reason;
use super::xml::XmlWriter;

/// The outcome of a deletion of many objects.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) deleted: u64,
    pub(super) missing: u64,
    /// Status of the whole; 200 when nothing failed.
    pub(super) status: StatusCode,
    /// The reason why the whole failed.
    pub(super) body: &'static str,
    /// Name, percent-encoded, and status line of each failure.
    pub(super) errors: Vec<(String, String)>,
}

/// `404 Not Found`.
pub(super) fn status_line(status: StatusCode) -> String {
    format!("{} {}", status.as_u16(), reason(status))
}

impl Report {
    /// Records the outcome for one name.
    pub(super) fn record(&mut self, name: &str, outcome: Result<(), StatusCode>) {
        let failure = match outcome {
            Ok(()) => {
                self.deleted += 1;
                return;
            }
            Err(StatusCode::NOT_FOUND) => {
                self.missing += 1;
                return;
            }
            Err(failure) => failure,
        };
        // A failure of a server counts more than one of the request.
        let status = match failure.is_server_error() {
            true => StatusCode::BAD_GATEWAY,
            false => StatusCode::BAD_REQUEST,
        };
        if self.status == StatusCode::OK || status == StatusCode::BAD_GATEWAY {
            self.status = status;
        }
        self.errors.push((percent::encode_path(name), status_line(failure)));
    }

    /// The report as a document.
    pub(super) fn render(&self, format: Format) -> Vec<u8> {
        let fields = vec![
            ("Number Deleted", ReportField::Number(self.deleted)),
            ("Number Not Found", ReportField::Number(self.missing)),
            ("Response Body", ReportField::Text(self.body.to_owned())),
            ("Response Status", ReportField::Text(status_line(self.status))),
        ];
        ReportDocument { root: "delete", fields, errors: &self.errors }.render(format)
    }
}

/// A value in a report.
#[derive(Debug)]
pub(super) enum ReportField {
    Number(u64),
    Text(String),
}

impl std::fmt::Display for ReportField {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

/// The document of a report.
#[derive(Debug)]
pub(super) struct ReportDocument<'a> {
    /// Name of the element of XML.
    pub(super) root: &'static str,
    /// Names and values, sorted by name as in Swift.
    pub(super) fields: Vec<(&'static str, ReportField)>,
    /// Name, percent-encoded, and status line of each failure.
    pub(super) errors: &'a [(String, String)],
}

impl ReportDocument<'_> {
    /// Writes the document. XML has no declaration, which is sent before the work is done.
    pub(super) fn render(&self, format: Format) -> Vec<u8> {
        match format {
            Format::Json => self.json().into_bytes(),
            Format::Plain => self.text().into_bytes(),
            Format::Xml => self.xml(),
        }
    }

    fn json(&self) -> String {
        let mut document = serde_json::Map::new();
        for (name, value) in &self.fields {
            let value = match value {
                ReportField::Number(number) => json!(number),
                ReportField::Text(text) => json!(text),
            };
            document.insert((*name).to_owned(), value);
        }
        let errors: Vec<_> = self.errors.iter().map(|(name, status)| [name, status]).collect();
        document.insert("Errors".to_owned(), json!(errors));
        serde_json::Value::Object(document).to_string()
    }

    fn text(&self) -> String {
        let mut out = String::new();
        for (name, value) in &self.fields {
            out.push_str(&format!("{name}: {value}\n"));
        }
        out.push_str("Errors:\n");
        for (name, status) in self.errors {
            out.push_str(&format!("{name}, {status}\n"));
        }
        out
    }

    fn xml(&self) -> Vec<u8> {
        let mut out = XmlWriter::fragment();
        out.open(self.root);
        out.line_break();
        for (name, value) in &self.fields {
            out.text(&name.replace(' ', "_").to_ascii_lowercase(), &value.to_string());
            out.line_break();
        }
        out.open("errors");
        out.line_break();
        for (name, status) in self.errors {
            out.open("object");
            out.text("name", name);
            out.text("status", status);
            out.close("object");
            out.line_break();
        }
        out.close("errors");
        out.line_break();
        out.close(self.root);
        out.line_break();
        out.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_counts_deletions_and_lists_failures() {
        let text = |report: &Report, format| String::from_utf8(report.render(format)).unwrap();
        let mut report = Report::default();
        report.record("c/a", Ok(()));
        report.record("c/b", Err(StatusCode::NOT_FOUND));
        report.record("c/ x", Err(StatusCode::CONFLICT));
        assert_eq!(
            text(&report, Format::Plain),
            "Number Deleted: 1\nNumber Not Found: 1\nResponse Body: \n\
             Response Status: 400 Bad Request\nErrors:\nc/%20x, 409 Conflict\n"
        );
        assert_eq!(
            text(&report, Format::Xml),
            "<delete>\n<number_deleted>1</number_deleted>\n<number_not_found>1</number_not_found>\n\
             <response_body></response_body>\n<response_status>400 Bad Request</response_status>\n\
             <errors>\n<object><name>c/%20x</name><status>409 Conflict</status></object>\n</errors>\n\
             </delete>\n"
        );
        report.record("c/y", Err(StatusCode::SERVICE_UNAVAILABLE));
        assert_eq!(report.status, StatusCode::BAD_GATEWAY);
    }
}
