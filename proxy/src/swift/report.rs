//! The report of a deletion of many objects, in Swift's three formats.
//!
//! Source: `get_response_body` in `swift/common/middleware/bulk.py`.

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

    /// The report as a document. XML has no declaration, which is sent before the work is done.
    pub(super) fn render(&self, format: Format) -> Vec<u8> {
        match format {
            Format::Json => self.json().into_bytes(),
            Format::Plain => self.text().into_bytes(),
            Format::Xml => self.xml(),
        }
    }

    fn json(&self) -> String {
        json!({
            "Number Deleted": self.deleted,
            "Number Not Found": self.missing,
            "Response Body": self.body,
            "Response Status": status_line(self.status),
            "Errors": self.errors.iter().map(|(name, status)| [name, status]).collect::<Vec<_>>(),
        })
        .to_string()
    }

    fn text(&self) -> String {
        let errors: Vec<String> =
            self.errors.iter().map(|(name, status)| format!("{name}, {status}")).collect();
        format!(
            "Number Deleted: {}\nNumber Not Found: {}\nResponse Body: {}\n\
             Response Status: {}\nErrors:\n{}",
            self.deleted,
            self.missing,
            self.body,
            status_line(self.status),
            errors.join("\n"),
        )
    }

    fn xml(&self) -> Vec<u8> {
        let mut out = XmlWriter::fragment();
        out.open("delete");
        out.line_break();
        out.number("number_deleted", self.deleted);
        out.line_break();
        out.number("number_not_found", self.missing);
        out.line_break();
        out.text("response_body", self.body);
        out.line_break();
        out.text("response_status", &status_line(self.status));
        out.line_break();
        out.open("errors");
        for (name, status) in &self.errors {
            out.open("object");
            out.text("name", name);
            out.text("status", status);
            out.close("object");
        }
        out.close("errors");
        out.line_break();
        out.close("delete");
        out.line_break();
        out.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_counts_deletions_and_lists_failures() {
        let mut report = Report::default();
        report.record("c/a", Ok(()));
        report.record("c/b", Err(StatusCode::NOT_FOUND));
        report.record("c/ x", Err(StatusCode::CONFLICT));
        assert_eq!(
            report.text(),
            "Number Deleted: 1\nNumber Not Found: 1\nResponse Body: \n\
             Response Status: 400 Bad Request\nErrors:\nc/%20x, 409 Conflict"
        );
        assert_eq!(
            String::from_utf8(report.xml()).unwrap(),
            "<delete>\n<number_deleted>1</number_deleted>\n<number_not_found>1</number_not_found>\n\
             <response_body></response_body>\n<response_status>400 Bad Request</response_status>\n\
             <errors><object><name>c/%20x</name><status>409 Conflict</status></object></errors>\n\
             </delete>\n"
        );
        report.record("c/y", Err(StatusCode::SERVICE_UNAVAILABLE));
        assert_eq!(report.status, StatusCode::BAD_GATEWAY);
    }
}
