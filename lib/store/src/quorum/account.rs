//! Accounts.

use apus_cluster::listing::{ContainerEntry, ContainerRow, ListQuery};
use apus_cluster::metadata::title_case;
use apus_cluster::timestamp::days_from_civil;
use apus_cluster::{AccountName, Metadata, Timestamp};
use apus_daemon::http::{header, set};
use apus_wire::{NodeRequest, headers};
use http::{HeaderMap, Method, StatusCode};
use serde::Deserialize;

use super::Quorum;
use super::nodes::Nodes;
use super::send::{Replayable, agreed_status, bad_request, broadcast};
use crate::context::Context;
use crate::gate::Permit;
use crate::operation::{AccountHead, ContainerList, DeleteAccount, PutAccount};
use crate::{Error, Kind, Result, Subject};

#[derive(Deserialize)]
struct Row {
    name: Option<String>,
    subdir: Option<String>,
    #[serde(default)]
    count: u64,
    #[serde(default)]
    bytes: u64,
    #[serde(default)]
    last_modified: String,
    storage_policy: Option<String>,
}

/// Parses the ISO time of a listing.
pub(crate) fn parse_iso(text: &str) -> Option<Timestamp> {
    let (date, time) = text.trim_end_matches('Z').split_once('T')?;
    let mut date = date.splitn(3, '-').map(str::parse::<u64>);
    let days = days_from_civil(date.next()?.ok()?, date.next()?.ok()?, date.next()?.ok()?)?;
    let (clock, micros) = time.split_once('.').unwrap_or((time, "0"));
    let mut clock = clock.splitn(3, ':').map(str::parse::<u64>);
    let (hour, minute, second) = (clock.next()?.ok()?, clock.next()?.ok()?, clock.next()?.ok()?);
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
    // Tens of microseconds: five digits, of which those at the end may be left out.
    let digits = micros.get(..micros.len().min(5))?;
    let fraction: u64 = if digits.is_empty() { 0 } else { digits.parse().ok()? };
    let scale = 10_u64.pow(u32::try_from(5 - digits.len()).ok()?);
    Some(Timestamp::from_steps(seconds * 100_000 + fraction * scale))
}

/// Query parameters of a listing, for a backend.
pub(crate) fn encode_query(query: &ListQuery) -> String {
    let mut out = format!("format=json&limit={}", query.limit);
    let mut add = |name: &str, value: &str| {
        out.push('&');
        out.push_str(name);
        out.push('=');
        apus_cluster::percent::encode_into(&mut out, value.as_bytes(), b"");
    };
    for (name, value) in [
        ("marker", &query.marker),
        ("end_marker", &query.end_marker),
        ("delimiter", &query.delimiter),
    ] {
        if !value.is_empty() {
            add(name, value);
        }
    }
    for (name, value) in [("prefix", &query.prefix), ("path", &query.path)] {
        if let Some(value) = value {
            add(name, value);
        }
    }
    if query.reverse {
        add("reverse", "true");
    }
    out
}

/// The headers of an answer that say something of the resource.
pub(crate) fn resource_headers(answer: &HeaderMap) -> Metadata {
    let transport = ["content-length", "content-type", "date", "connection", "transfer-encoding"];
    answer
        .iter()
        .filter(|(name, _)| !transport.contains(&name.as_str()))
        .map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            (title_case(name.as_str()), value)
        })
        .collect()
}

impl Quorum {
    fn account_nodes(&self, account: &AccountName) -> Nodes {
        Nodes::of(&self.rings.account, &self.hash, &[account.as_str()])
    }

    fn account_request(
        &self,
        cx: &Context,
        method: Method,
        account: &AccountName,
        nodes: &Nodes,
    ) -> NodeRequest {
        let mut request_headers = HeaderMap::new();
        set(&mut request_headers, headers::TRANS_ID, &cx.trans_id);
        NodeRequest {
            method,
            partition: nodes.partition,
            names: vec![account.to_string()],
            query: String::new(),
            headers: request_headers,
        }
    }

    /// Reads an account; `query` lists it as well. A missing account is shown as empty, since
    /// accounts are made by their first write.
    ///
    /// # Errors
    /// `RecentlyDeleted`; `NotFound` where accounts are not made by writes; `Unavailable` when too
    /// few answer.
    pub async fn read_account(
        &self,
        cx: &Context,
        _permit: Permit,
        account: &AccountName,
        query: Option<&ListQuery>,
    ) -> Result<ContainerList> {
        let nodes = self.account_nodes(account);
        let method = if query.is_some() { Method::GET } else { Method::HEAD };
        let mut request = self.account_request(cx, method, account, &nodes);
        if let Some(query) = query {
            request.query = encode_query(query);
        }
        let answer = self.read_database(cx, &nodes, &request).await?;
        match answer.status {
            StatusCode::NOT_FOUND if header(&answer.headers, headers::ACCOUNT_STATUS).is_some() => {
                Err(Error::new(Kind::RecentlyDeleted, Subject::Account))
            }
            StatusCode::NOT_FOUND if !self.makes_accounts => {
                Err(Error::new(Kind::NotFound, Subject::Account))
            }
            StatusCode::NOT_FOUND => {
                let mut headers = Metadata::new();
                for name in ["Container-Count", "Object-Count", "Bytes-Used"] {
                    headers.insert(format!("X-Account-{name}"), "0".to_owned());
                }
                headers.insert("X-Timestamp".to_owned(), self.clock.stamp().normal());
                let head = AccountHead { headers, owner: false, is_virtual: true };
                Ok(ContainerList { head, entries: Vec::new() })
            }
            status if status.is_success() => {
                let rows: Vec<Row> = if answer.body.is_empty() {
                    Vec::new()
                } else {
                    serde_json::from_slice(&answer.body)
                        .map_err(|error| Error::unavailable(format!("account listing: {error}")))?
                };
                let policy_of = |name: Option<String>| {
                    name.and_then(|name| self.policies.by_name(&name))
                        .map_or(0, |policy| policy.index.0)
                };
                let entries = rows.into_iter().filter_map(|row| match (row.subdir, row.name) {
                    (Some(subdir), _) => Some(ContainerEntry::Subdir(subdir)),
                    (None, Some(name)) => Some(ContainerEntry::Container(ContainerRow {
                        name,
                        object_count: row.count,
                        bytes_used: row.bytes,
                        put_timestamp: parse_iso(&row.last_modified).unwrap_or(Timestamp::ZERO),
                        policy: policy_of(row.storage_policy),
                    })),
                    (None, None) => None,
                });
                let head = AccountHead {
                    headers: resource_headers(&answer.headers),
                    owner: false,
                    is_virtual: false,
                };
                Ok(ContainerList { head, entries: entries.collect() })
            }
            StatusCode::PRECONDITION_FAILED => {
                Err(Error::new(Kind::PreconditionFailed, Subject::Request)
                    .text(String::from_utf8_lossy(&answer.body)))
            }
            status => Err(Error::unavailable(format!("account answered {status}"))),
        }
    }

    /// Makes an account with this metadata, since something is written to it.
    ///
    /// # Errors
    /// `NotFound` where accounts are not made by writes, `RecentlyDeleted`, `Unavailable`.
    pub(crate) async fn make_account(
        &self,
        cx: &Context,
        account: &AccountName,
        metadata: &Metadata,
    ) -> Result<()> {
        if !self.makes_accounts {
            return Err(Error::new(Kind::NotFound, Subject::Account));
        }
        let status = self.write_account(cx, Method::PUT, account, metadata).await?;
        match status {
            StatusCode::FORBIDDEN => Err(Error::new(Kind::RecentlyDeleted, Subject::Account)),
            _ => Ok(()),
        }
    }

    /// Makes an account by name; `true` when it is new.
    ///
    /// # Errors
    /// `RecentlyDeleted`, `Unavailable`.
    pub async fn put_account(
        &self,
        cx: &Context,
        _permit: Permit,
        op: &PutAccount,
    ) -> Result<bool> {
        match self.write_account(cx, Method::PUT, &op.account, &op.metadata).await? {
            StatusCode::CREATED => Ok(true),
            StatusCode::FORBIDDEN => Err(Error::new(Kind::RecentlyDeleted, Subject::Account)),
            status if status.is_success() => Ok(false),
            status => Err(Error::unavailable(format!("account PUT answered {status}"))),
        }
    }

    /// Marks an account as deleted.
    ///
    /// # Errors
    /// `NotFound`, also when it is deleted already; `Unavailable`.
    pub async fn delete_account(
        &self,
        cx: &Context,
        _permit: Permit,
        op: &DeleteAccount,
    ) -> Result<()> {
        match self.write_account(cx, Method::DELETE, &op.account, &Metadata::new()).await? {
            StatusCode::NOT_FOUND => Err(Error::new(Kind::NotFound, Subject::Account)),
            status if status.is_success() => Ok(()),
            status => Err(Error::unavailable(format!("account DELETE answered {status}"))),
        }
    }

    async fn write_account(
        &self,
        cx: &Context,
        method: Method,
        account: &AccountName,
        metadata: &Metadata,
    ) -> Result<StatusCode> {
        let nodes = self.account_nodes(account);
        let enough = Self::enough_databases(cx, &nodes);
        let mut request = self.account_request(cx, method, account, &nodes);
        set(&mut request.headers, headers::TIMESTAMP, &self.clock.stamp().to_string());
        for (name, value) in metadata {
            set(&mut request.headers, name, value);
        }
        let build = |_| request.clone();
        let none = Replayable::default();
        let answers = broadcast(&self.client, &nodes, &enough, none, build).await;
        let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
        match agreed_status(&enough, &answers) {
            Some(StatusCode::BAD_REQUEST) => Err(bad_request(&answers)),
            Some(status) => Ok(status),
            None => Err(Error::unavailable(format!("account servers answered {statuses:?}"))),
        }
    }

    /// Changes an account's metadata, making the account if it does not exist.
    ///
    /// # Errors
    /// `RecentlyDeleted`, `Invalid`, `Unavailable`.
    pub async fn post_account(
        &self,
        cx: &Context,
        _permit: Permit,
        account: &AccountName,
        metadata: &Metadata,
    ) -> Result<()> {
        match self.write_account(cx, Method::POST, account, metadata).await? {
            StatusCode::NOT_FOUND => self.make_account(cx, account, metadata).await,
            status if status.is_success() => Ok(()),
            status => Err(Error::unavailable(format!("account POST answered {status}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iso_times_round_trip() {
        for text in ["1795242846.80960", "0000000000.00000", "1709164800.00001"] {
            let time = Timestamp::parse(text).unwrap();
            assert_eq!(parse_iso(&time.iso()), Some(time));
        }
    }
}
