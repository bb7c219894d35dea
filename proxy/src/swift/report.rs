//! The report of an operation on many objects, in Swift's three formats.
//!
//! Source: `get_response_body` in `swift/common/middleware/bulk.py`.

use http::StatusCode;
use serde_json::json;

use super::listing::Format;
use super::xml::text;

/// What became of each name.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) deleted: u64,
    pub(super) missing: u64,
    /// Status of the whole; 200 when nothing failed.
    pub(super) status: StatusCode,
    /// Why everything failed.
    pub(super) body: &'static str,
    /// Name, percent-encoded, and status of what failed.
    pub(super) errors: Vec<(String, String)>,
}

/// `404 Not Found`.
pub(super) fn status_line(status: StatusCode) -> String {
    format!("{} {}", status.as_u16(), super::error::title(status))
}

/// As a document says it, without the character set.
pub(super) fn content_type(format: Format) -> &'static str {
    format.content_type().split(';').next().unwrap_or_default()
}

impl Report {
    pub(super) fn render(&self, format: Format) -> String {
        let status = status_line(self.status);
        match format {
            Format::Json => json!({
                "Number Deleted": self.deleted,
                "Number Not Found": self.missing,
                "Response Body": self.body,
                "Response Status": status,
                "Errors": self.errors.iter().map(|(name, why)| [name, why]).collect::<Vec<_>>(),
            })
            .to_string(),
            Format::Plain => {
                let errors: Vec<String> =
                    self.errors.iter().map(|(name, why)| format!("{name}, {why}")).collect();
                format!(
                    "Number Deleted: {}\nNumber Not Found: {}\nResponse Body: {}\nResponse Status: {status}\nErrors:\n{}",
                    self.deleted,
                    self.missing,
                    self.body,
                    errors.join("\n"),
                )
            }
            Format::Xml => {
                let error = |(name, why): &(String, String)| {
                    let (name, why) = (text(name), text(why));
                    format!("<object><name>{name}</name><status>{why}</status></object>")
                };
                let errors: String = self.errors.iter().map(error).collect();
                format!(
                    "<delete>\n<number_deleted>{}</number_deleted>\n<number_not_found>{}</number_not_found>\n\
                     <response_body>{}</response_body>\n<response_status>{status}</response_status>\n\
                     <errors>{errors}</errors>\n</delete>\n",
                    self.deleted,
                    self.missing,
                    text(self.body),
                )
            }
        }
    }
}
