//! HTML pages of static web sites, as Swift writes them.

use apus_cluster::listing::ObjectRow;
use apus_cluster::percent;
use apus_daemon::http::{full, set, status};
use http::StatusCode;

use super::listing::ListedObject;
use super::static_web::Site;
use crate::reply::Reply;

/// Escapes a text for HTML, in attributes as well.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#x27;"),
            c => out.push(c),
        }
    }
    out
}

/// A size with a unit: `1048576` is `1Mi`.
fn human_readable(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    let mut value = bytes;
    let mut unit = "";
    for next in UNITS {
        if value < 1024 {
            break;
        }
        // To the nearest, and halves to the even number, as Python rounds.
        let (whole, rest) = (value / 1024, value % 1024);
        value = whole + u64::from(rest > 512 || (rest == 512 && whole % 2 == 1));
        unit = next;
    }
    format!("{value}{unit}")
}

/// The address of the style sheet, from a page of `prefix`.
fn css_path(css: &str, prefix: &str) -> String {
    let mut quoted = String::new();
    if ["/", "http://", "https://"].iter().any(|start| css.starts_with(start)) {
        percent::encode_into(&mut quoted, css.as_bytes(), b":/");
        return quoted;
    }
    format!("{}{}", "../".repeat(prefix.matches('/').count()), percent::encode_path(css))
}

/// The title of a page: its path, or the site's label in place of account and container.
fn title(site: &Site, path: &str) -> String {
    if site.label.is_empty() {
        return path.to_owned();
    }
    let rest = path.splitn(5, '/').nth(4).unwrap_or_default();
    format!("{}/{rest}", site.label)
}

fn head(site: &Site, path: &str, prefix: &str, styles: &str) -> String {
    let title = escaped(&title(site, path));
    let style = match site.css.as_str() {
        "" => format!("  <style type=\"text/css\">\n{styles}  </style>\n"),
        css => {
            let css = escaped(&css_path(css, prefix));
            format!("  <link rel=\"stylesheet\" type=\"text/css\" href=\"{css}\" />\n")
        }
    };
    format!("<!DOCTYPE html>\n<html>\n <head>\n  <title>Listing of {title}</title>\n{style}")
}

fn page(code: StatusCode, html: String) -> Reply {
    let mut response = status(code);
    set(response.headers_mut(), "content-type", "text/html; charset=UTF-8");
    *response.body_mut() = full(html);
    response
}

/// The page in place of a listing that the owner does not allow.
pub(super) fn disabled(site: &Site, path: &str, prefix: &str) -> Reply {
    let styles = "   h1 {font-size: 1em; font-weight: bold;}\n   p {font-size: 2}\n";
    let mut html = head(site, path, prefix, styles);
    html.push_str(
        "</head>\n<body>  <h1>Web Listing Disabled</h1>   <p>The owner of this web site has \
         disabled web listing.   <p>If you are the owner of this web site, you can enable   web \
         listing by setting X-Container-Meta-Web-Listings.</p>",
    );
    if !site.index().is_empty() {
        html.push_str(&format!(
            "<h1>Index File Not Found</h1> <p>The owner of this web site has set  \
             <b>X-Container-Meta-Web-Index: {}</b>.  However, this file is not found.</p>",
            escaped(site.index())
        ));
    }
    html.push_str(" </body>\n</html>\n");
    page(StatusCode::NOT_FOUND, html)
}

/// A page that lists a directory, while it is written.
pub(super) struct ListingPage {
    html: String,
    prefix: String,
    /// The query of a temporary URL with a prefix, for all links of the page.
    query: String,
}

impl ListingPage {
    /// Starts the page of a path.
    pub(super) fn new(site: &Site, path: &str, prefix: &str, query: &[(String, String)]) -> Self {
        let styles = "   h1 {font-size: 1em; font-weight: bold;}\n   \
                      th {text-align: left; padding: 0px 1em 0px 1em;}\n   \
                      td {padding: 0px 1em 0px 1em;}\n   a {text-decoration: none;}\n";
        let mut html = head(site, path, prefix, styles);
        html.push_str(&format!(
            " </head>\n <body>\n  <h1 id=\"title\">Listing of {}</h1>\n  <table id=\"listing\">\n   \
             <tr id=\"heading\">\n    <th class=\"colname\">Name</th>\n    \
             <th class=\"colsize\">Size</th>\n    <th class=\"coldate\">Date</th>\n   </tr>\n",
            escaped(&title(site, path))
        ));
        let opened = query.iter().find(|(name, _)| name == "temp_url_prefix");
        let query = if opened.is_some() { links_query(query) } else { String::new() };
        let opened = opened.map_or(0, |(_, prefix)| prefix.len());
        let mut page = Self { html, prefix: prefix.to_owned(), query };
        if prefix.len() > opened {
            page.row("<tr id=\"parent\" class=\"item\">", "../", "../", ("&nbsp;", "&nbsp;"));
        }
        page
    }

    fn row(&mut self, start: &str, link: &str, name: &str, (size, date): (&str, &str)) {
        let query = &self.query;
        self.html.push_str(&format!(
            "   {start}\n    <td class=\"colname\"><a href=\"{link}{query}\">{name}</a></td>\n    \
             <td class=\"colsize\">{size}</td>\n    <td class=\"coldate\">{date}</td>\n   </tr>\n"
        ));
    }

    fn below<'a>(&self, name: &'a str) -> &'a str {
        name.strip_prefix(self.prefix.as_str()).unwrap_or(name)
    }

    /// Adds a directory.
    pub(super) fn directory(&mut self, name: &str) {
        let name = self.below(name);
        let (link, name) = (link(name), escaped(name));
        self.row("<tr class=\"item subdir\">", &link, &name, ("&nbsp;", "&nbsp;"));
    }

    /// Adds an object.
    pub(super) fn object(&mut self, row: &ObjectRow, shown: &ListedObject) {
        let name = self.below(&row.name);
        let (link, name) = (link(name), escaped(name));
        let words = shown.content_type().split('/');
        let classes: Vec<String> =
            words.map(|word| format!("type-{}", escaped(&word.to_lowercase()))).collect();
        let start = format!("<tr class=\"item {}\">", classes.join(" "));
        let date = row.last_modified().iso().replacen('T', " ", 1);
        let date = date.split('.').next().unwrap_or_default();
        self.row(&start, &link, &name, (&human_readable(shown.bytes()), date));
    }

    /// The response.
    pub(super) fn finish(mut self) -> Reply {
        self.html.push_str("  </table>\n </body>\n</html>\n");
        page(StatusCode::OK, self.html)
    }
}

fn link(name: &str) -> String {
    format!("./{}", percent::encode_path(name).replace('.', "%2E"))
}

fn links_query(query: &[(String, String)]) -> String {
    let names = ["temp_url_prefix", "temp_url_expires", "temp_url_sig", "temp_url_ip_range"];
    let mut words: Vec<String> = names
        .iter()
        .filter_map(|name| query.iter().find(|(key, _)| key == name))
        .map(|(name, value)| format!("{name}={}", percent::encode_path(value)))
        .collect();
    if query.iter().any(|(name, _)| name == "inline") {
        words.push("inline".to_owned());
    }
    format!("?{}", words.join("&amp;"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_to_units() {
        for (bytes, shown) in [
            (0, "0"),
            (1023, "1023"),
            (1024, "1Ki"),
            (1536, "2Ki"),
            (2560, "2Ki"),
            (1_048_576, "1Mi"),
            (u64::MAX, "16Ei"),
        ] {
            assert_eq!(human_readable(bytes), shown, "{bytes}");
        }
    }

    #[test]
    fn style_sheets_are_found_from_every_directory() {
        assert_eq!(css_path("s/a b.css", ""), "s/a%20b.css");
        assert_eq!(css_path("a.css", "d/e/"), "../../a.css");
        assert_eq!(css_path("https://h/a b.css", "d/"), "https://h/a%20b.css");
    }

    #[test]
    fn links_of_a_temporary_url_keep_its_parameters() {
        let query: Vec<_> = [("temp_url_sig", "ab"), ("temp_url_prefix", "d/ü"), ("inline", "")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        assert_eq!(links_query(&query), "?temp_url_prefix=d/%C3%BC&amp;temp_url_sig=ab&amp;inline");
        assert_eq!(link("a.b"), "./a%2Eb");
        assert_eq!(escaped("<a href='&\">"), "&lt;a href=&#x27;&amp;&quot;&gt;");
    }
}
