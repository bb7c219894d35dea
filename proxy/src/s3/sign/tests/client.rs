//! Requests as clients make and sign them, by a second implementation of the signature.

use super::*;

/// A request as a client makes it, before it is signed.
#[derive(Clone)]
pub(super) struct ClientRequest {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    pub(super) query: Vec<(String, String)>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) date: String,
    pub(super) scope: String,
    pub(super) payload: String,
}

impl ClientRequest {
    pub(super) fn new(method: &'static str, path: &'static str) -> Self {
        Self {
            method,
            path,
            query: Vec::new(),
            headers: vec![("host".to_owned(), "store.example".to_owned())],
            date: DATE.to_owned(),
            scope: SCOPE.to_owned(),
            payload: EMPTY.to_owned(),
        }
    }

    pub(super) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(super) fn param(mut self, name: &str, value: &str) -> Self {
        self.query.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(super) fn query_text(&self) -> String {
        let mut pairs: Vec<String> = self
            .query
            .iter()
            .map(|(name, value)| format!("{}={}", encoded(name), encoded(value)))
            .collect();
        pairs.sort();
        pairs.join("&")
    }

    pub(super) fn canonical(&self, signed: &[&str]) -> String {
        let mut lines = String::new();
        for name in signed {
            let values: Vec<&str> = self
                .headers
                .iter()
                .filter(|(known, _)| known == name)
                .map(|(_, value)| value.as_str())
                .collect();
            lines.push_str(&format!("{name}:{}\n", values.join(",")));
        }
        format!(
            "{}\n{}\n{}\n{lines}\n{}\n{}",
            self.method,
            self.path,
            self.query_text(),
            signed.join(";"),
            self.payload
        )
    }

    pub(super) fn head(&self) -> request::Parts {
        let query = self.query_text();
        let question = if query.is_empty() { "" } else { "?" };
        let mut request =
            Request::builder().method(self.method).uri(format!("{}{question}{query}", self.path));
        for (name, value) in &self.headers {
            request = request.header(name.as_str(), value.as_str());
        }
        request.body(()).unwrap().into_parts().0
    }

    /// Signs all headers but those of `unsigned`, in a header.
    pub(super) fn signed_without(mut self, unsigned: &[&str]) -> Self {
        if !self.headers.iter().any(|(name, _)| name == "x-amz-date" || name == "date") {
            self = self.clone().header("x-amz-date", &self.date);
        }
        if !self.headers.iter().any(|(name, _)| name == "x-amz-content-sha256") {
            self = self.clone().header("x-amz-content-sha256", &self.payload);
        }
        let mut names: Vec<&str> = self
            .headers
            .iter()
            .map(|(name, _)| name.as_str())
            .filter(|name| !unsigned.contains(name))
            .collect();
        names.sort_unstable();
        names.dedup();
        let signature = signature(&self.scope, &self.date, &self.canonical(&names));
        let value = format!(
            "AWS4-HMAC-SHA256 Credential=a:u/{},SignedHeaders={},Signature={signature}",
            self.scope,
            names.join(";")
        );
        self.clone().header("authorization", &value)
    }

    pub(super) fn signed(self) -> Self {
        self.signed_without(&[])
    }

    /// Signs all headers in the query.
    pub(super) fn presigned(self, expires: &str) -> Self {
        self.presigned_without(expires, &[])
    }

    pub(super) fn presigned_without(mut self, expires: &str, unsigned: &[&str]) -> Self {
        self.payload = "UNSIGNED-PAYLOAD".to_owned();
        let mut names: Vec<String> = self
            .headers
            .iter()
            .map(|(name, _)| name.clone())
            .filter(|name| !unsigned.contains(&name.as_str()))
            .collect();
        names.sort();
        names.dedup();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let request = self
            .clone()
            .param("X-Amz-Algorithm", "AWS4-HMAC-SHA256")
            .param("X-Amz-Credential", &format!("a:u/{}", self.scope))
            .param("X-Amz-Date", &self.date)
            .param("X-Amz-Expires", expires)
            .param("X-Amz-SignedHeaders", &names.join(";"));
        let signature = signature(&self.scope, &self.date, &request.canonical(&names));
        request.param("X-Amz-Signature", &signature)
    }

    pub(super) fn verify_with(&self, config: &ProxyConfig) -> Result<Option<Signed>> {
        let mut head = self.head();
        let query = crate::s3::address::query(head.uri.query().unwrap_or_default())?;
        let auth = auth();
        let terms = SignatureTerms { auth: &auth, config, now_seconds: NOW };
        verify_at(&terms, &mut head, &query)
    }

    pub(super) fn verify(&self) -> Result<Option<Signed>> {
        self.verify_with(&config())
    }

    pub(super) fn is_accepted(&self) -> bool {
        matches!(self.verify(), Ok(Some(signed)) if signed.account == "AUTH_a")
    }

    /// The code of the refusal; `None` when the request is accepted.
    pub(super) fn refusal(&self) -> Option<Code> {
        match self.verify() {
            Ok(Some(_)) => None,
            Ok(None) => panic!("taken for an anonymous request"),
            Err(error) => Some(error.code),
        }
    }
}
