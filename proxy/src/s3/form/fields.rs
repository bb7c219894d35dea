//! The fields of a form, read up to its file.

use apus_daemon::Body;
use apus_daemon::http::header;
use apus_store::{Error, Kind, Subject};
use http::HeaderMap;
use multer::{Field, Multipart};

use super::file;
use crate::form_stream::{FieldBudget, FieldsTooLong, FormStream};
use crate::s3::error::{Code, Result, S3Error};

/// Most bytes of the fields before the file, with their headers and boundaries: AWS's limit is 20 KB
/// of fields.
const FIELDS_BYTES_MAX: usize = 32 * 1024;
/// Name of the part that is the file; parts after it are ignored.
const FILE: &str = "file";
/// Replaced with the name of the file in the value of each field.
const FILENAME: &str = "${filename}";

/// The fields of a form.
#[derive(Debug, Default)]
pub(in crate::s3) struct FormFields(Vec<(String, String)>);

impl FormFields {
    /// The value of a field, by its name in lower case.
    pub(in crate::s3) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The value of a field, by its name as AWS spells it.
    ///
    /// # Errors
    /// `InvalidArgument` when the form does not have it.
    pub(in crate::s3) fn require(&self, name: &str) -> Result<&str> {
        self.get(&name.to_ascii_lowercase()).ok_or_else(|| {
            S3Error::new(Code::InvalidArgument)
                .text(format!(
                    "Bucket POST must contain a field named '{name}'.  If it is specified, please \
                     check the order of the fields."
                ))
                .argument(name, "")
        })
    }

    /// Names, in lower case, and values.
    pub(in crate::s3) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Adds a field.
    ///
    /// # Errors
    /// `InvalidArgument` when the form has it already.
    pub(super) fn add(&mut self, name: &str, value: String) -> Result<()> {
        let name = name.to_ascii_lowercase();
        if self.get(&name).is_some() {
            return Err(S3Error::new(Code::InvalidArgument)
                .text(format!("The form has more than one field named '{name}'"))
                .argument(&name, &value));
        }
        self.0.push((name, value));
        Ok(())
    }

    /// Replaces the variable for the file's name, except in what is signed.
    fn expand(&mut self, filename: &str) {
        for (name, value) in &mut self.0 {
            if name != "policy" && value.contains(FILENAME) {
                *value = value.replace(FILENAME, filename);
            }
        }
    }
}

/// A form up to its file.
pub(super) struct Form {
    pub(super) fields: FormFields,
    pub(super) file: Field<'static>,
}

fn malformed() -> S3Error {
    S3Error::new(Code::MalformedPOSTRequest)
}

/// The error of a form's parser.
fn form_error(error: multer::Error) -> S3Error {
    let error = file::error(error);
    if error.is::<FieldsTooLong>() {
        return S3Error::new(Code::MaxPostPreDataLengthExceeded);
    }
    match error.downcast::<Error>() {
        Ok(error) => (*error).into(),
        Err(error) => Error::new(Kind::Body, Subject::Request).because(error).into(),
    }
}

/// Whether a content type is that of a form.
pub(super) fn is_form(headers: &HeaderMap) -> bool {
    let kind = header(headers, "content-type").unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("multipart/form-data")
}

/// The part of a file's name after its last slash or backslash: some browsers send the whole path.
fn base_name(filename: &str) -> &str {
    filename.rsplit(['/', '\\']).next().unwrap_or_default()
}

async fn value(mut field: Field<'static>) -> Result<String> {
    let mut bytes = Vec::new();
    while let Some(piece) = field.chunk().await.map_err(form_error)? {
        // Bounded by the budget of the fields.
        bytes.extend_from_slice(&piece);
    }
    String::from_utf8(bytes).map_err(|_| malformed())
}

/// Reads a form up to its file.
///
/// # Errors
/// `MalformedPOSTRequest` for a body that is not a form; `MaxPostPreDataLengthExceeded`;
/// `InvalidArgument` without a file; and the errors of the body.
pub(super) async fn read(headers: &HeaderMap, body: Body) -> Result<Form> {
    let kind = header(headers, "content-type").unwrap_or_default();
    let boundary = multer::parse_boundary(kind).map_err(|_| malformed())?;
    let budget = FieldBudget::new(FIELDS_BYTES_MAX);
    let mut form = Multipart::new(FormStream::new(body, budget.clone()), boundary);
    let mut fields = FormFields::default();
    while let Some(field) = form.next_field().await.map_err(form_error)? {
        let Some(name) = field.name().map(str::to_owned) else { return Err(malformed()) };
        if name.eq_ignore_ascii_case(FILE) {
            budget.lift();
            let filename = base_name(field.file_name().unwrap_or_default()).to_owned();
            fields.expand(&filename);
            return Ok(Form { fields, file: field });
        }
        let value = value(field).await?;
        fields.add(&name, value)?;
    }
    Err(S3Error::new(Code::InvalidArgument)
        .text("POST requires exactly one file upload per request.")
        .argument(FILE, "0"))
}

#[cfg(test)]
mod tests {
    use apus_daemon::http::{full, stream};
    use bytes::Bytes;
    use http_body_util::BodyExt;

    use super::super::file::{FileBody, SizeRange};
    use super::*;

    const ANY: SizeRange = SizeRange { min: 0, max: u64::MAX };

    fn part(name: &str, more: &str, value: &str) -> String {
        format!("--x\r\nContent-Disposition: form-data; name=\"{name}\"{more}\r\n\r\n{value}\r\n")
    }

    fn in_pieces(text: &str, size: usize) -> Body {
        let (sender, receiver) = tokio::sync::mpsc::channel(text.len() + 1);
        for piece in text.as_bytes().chunks(size) {
            sender.try_send(Ok(Bytes::copy_from_slice(piece))).unwrap();
        }
        stream(receiver)
    }

    fn headers() -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", "multipart/form-data; boundary=x".parse().unwrap());
        headers
    }

    async fn parsed(text: &str, size: usize, sizes: SizeRange) -> Result<(FormFields, Vec<u8>)> {
        let form = read(&headers(), in_pieces(text, size)).await?;
        let file = FileBody::new(form.file, sizes).collect().await;
        let file = file.map_err(|error| S3Error::from(*error.downcast::<Error>().unwrap()))?;
        Ok((form.fields, file.to_bytes().to_vec()))
    }

    #[tokio::test]
    async fn a_form_is_read_in_pieces_of_any_size() {
        let data = "a\r\n--y\r\n-\r\n--\r\r\nend".repeat(20);
        let text = [
            part("Key", "", "up/${filename}"),
            part("x-amz-meta-ü", "", "grün"),
            part("file", "; filename=\"C:\\tmp\\a b.txt\"", &data),
            part("after", "", "ignored"),
            "--x--\r\n".to_owned(),
        ]
        .concat();
        for size in [1, 2, 3, 7, 64, 100_000] {
            let (fields, file) = parsed(&text, size, ANY).await.unwrap();
            assert_eq!(fields.get("key"), Some("up/a b.txt"), "{size}");
            assert_eq!(fields.get("x-amz-meta-ü"), Some("grün"));
            assert!(fields.get("after").is_none());
            assert_eq!(file, data.as_bytes(), "{size}");
        }
    }

    #[tokio::test]
    async fn forms_that_are_not_valid_are_refused() {
        let file = part("file", "", "data");
        let long = part("a", "", &"v".repeat(40 * 1024));
        let many = (0..600).map(|n| part(&format!("f{n}"), "", "value")).collect::<String>();
        let header = format!("--x\r\nContent-Disposition: {}", "h".repeat(40 * 1024));
        let cases = [
            (String::new(), Code::MalformedPOSTRequest),
            ("--y\r\n".to_owned(), Code::MalformedPOSTRequest),
            (part("key", "", "k"), Code::MalformedPOSTRequest),
            (part("key", "", "k") + "--x--\r\n", Code::InvalidArgument),
            (file.clone(), Code::MalformedPOSTRequest),
            (file.replace("\r\n--x", ""), Code::MalformedPOSTRequest),
            (part("k", "", "1") + &part("K", "", "2") + &file + "--x--", Code::InvalidArgument),
            (file.replace("name=", "nom="), Code::MalformedPOSTRequest),
            (long + &file + "--x--", Code::MaxPostPreDataLengthExceeded),
            (many + &file + "--x--", Code::MaxPostPreDataLengthExceeded),
            (header, Code::MaxPostPreDataLengthExceeded),
            ("p".repeat(40 * 1024), Code::MaxPostPreDataLengthExceeded),
        ];
        for (at, (text, code)) in cases.iter().enumerate() {
            let refused = parsed(text, 1000, ANY).await.unwrap_err();
            assert_eq!(refused.code, *code, "{at}");
        }
    }

    #[tokio::test]
    async fn the_size_of_the_file_is_limited_as_it_arrives() {
        let text = part("file", "", &"d".repeat(1000)) + "--x--\r\n";
        for (min, max, code) in [
            (0, 1000, None),
            (1000, 1000, None),
            (0, 999, Some(Code::EntityTooLarge)),
            (1001, 2000, Some(Code::EntityTooSmall)),
        ] {
            let result = parsed(&text, 64, SizeRange { min, max }).await;
            assert_eq!(result.err().map(|error| error.code), code, "{min} {max}");
        }
    }

    #[tokio::test]
    async fn the_fields_have_a_limit_and_the_file_has_none() {
        let text = part("file", "", &"d".repeat(200_000)) + "--x--\r\n";
        assert_eq!(parsed(&text, 100_000, ANY).await.unwrap().1.len(), 200_000);
        let form = read(&headers(), full(text)).await.unwrap();
        let mut body = FileBody::new(form.file, ANY);
        while let Some(frame) = body.frame().await {
            assert!(frame.unwrap().into_data().unwrap().len() <= 32 * 1024);
        }
    }

    #[test]
    fn only_the_last_part_of_a_path_is_the_name_of_a_file() {
        for (given, name) in
            [("a/b/c.txt", "c.txt"), ("C:\\x\\y.txt", "y.txt"), ("", ""), ("a/", "")]
        {
            assert_eq!(base_name(given), name);
        }
    }
}
