//! Accounts: reading, creating, changing, deleting.

use apus_cluster::listing::{ContainerEntry, ContainerRow, ListQuery};
use apus_cluster::timestamp::days_from_civil;
use apus_cluster::{AccountName, Metadata, Policies, Timestamp};
use apus_wire::message::account::{
    AbsentAccount, AccountDescription, ChangeAccountRequest, ChangeVerb, ReadAccountRequest,
};
use http::StatusCode;
use serde::Deserialize;

use super::Quorum;
use super::database::DatabaseCall;
use super::send::NodeAnswer;
use crate::context::Context;
use crate::gate::Permit;
use crate::operation::{AccountHead, ContainerList, DeleteAccount, PutAccount};
use crate::{Error, Kind, Result, Subject};

/// A row of an account listing, as account servers write it.
#[derive(Deserialize)]
struct AccountListingRow {
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

impl AccountListingRow {
    fn entry(self, policies: &Policies) -> Option<ContainerEntry> {
        if let Some(subdir) = self.subdir {
            return Some(ContainerEntry::Subdir(subdir));
        }
        let policy = self.storage_policy.and_then(|name| policies.by_name(&name));
        Some(ContainerEntry::Container(ContainerRow {
            name: self.name?,
            object_count: self.count,
            bytes_used: self.bytes,
            put_timestamp: parse_iso(&self.last_modified).unwrap_or(Timestamp::ZERO),
            policy: policy.map_or(0, |policy| policy.index.0),
        }))
    }
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

/// The page that an answer has.
fn container_list(answer: &NodeAnswer, policies: &Policies) -> Result<ContainerList> {
    let rows: Vec<AccountListingRow> = match answer.body.is_empty() {
        true => Vec::new(),
        false => serde_json::from_slice(&answer.body).map_err(|error| {
            Error::unavailable(format!("the account listing is invalid: {error}"))
        })?,
    };
    let headers = AccountDescription::shown_headers(&answer.head.headers);
    let head = AccountHead { headers, owner: false, is_virtual: false };
    let entries = rows.into_iter().filter_map(|row| row.entry(policies)).collect();
    Ok(ContainerList { head, entries })
}

/// An account that does not exist yet, shown as empty.
fn virtual_account(now: Timestamp) -> ContainerList {
    let mut headers = Metadata::new();
    for name in ["Container-Count", "Object-Count", "Bytes-Used"] {
        headers.insert(format!("X-Account-{name}"), "0".to_owned());
    }
    headers.insert("X-Timestamp".to_owned(), now.normal());
    let head = AccountHead { headers, owner: false, is_virtual: true };
    ContainerList { head, entries: Vec::new() }
}

impl Quorum {
    /// Reads an account; `query` lists it as well. An account that does not exist is shown as empty,
    /// since accounts are created by their first write.
    ///
    /// # Errors
    /// `RecentlyDeleted`; `NotFound` where accounts are not created by writes; `Unavailable` when
    /// too few replicas answer.
    pub async fn read_account(
        &self,
        cx: &Context,
        _permit: Permit,
        account: &AccountName,
        query: Option<&ListQuery>,
    ) -> Result<ContainerList> {
        let call = DatabaseCall::account(self, cx, account);
        let address = call.account_address(account);
        let request = match query {
            Some(query) => ReadAccountRequest::list(address, encode_query(query)),
            None => ReadAccountRequest::head(address),
        };
        let answer = call.read(&request.encode()).await?;
        match answer.status() {
            StatusCode::NOT_FOUND if AbsentAccount::decode(&answer.head.headers).deleted => {
                Err(Error::new(Kind::RecentlyDeleted, Subject::Account))
            }
            StatusCode::NOT_FOUND if !self.makes_accounts => {
                Err(Error::new(Kind::NotFound, Subject::Account))
            }
            StatusCode::NOT_FOUND => Ok(virtual_account(self.clock.stamp())),
            status if status.is_success() => container_list(&answer, &self.policies),
            StatusCode::PRECONDITION_FAILED => {
                Err(Error::new(Kind::PreconditionFailed, Subject::Request)
                    .text(String::from_utf8_lossy(&answer.body)))
            }
            status => Err(Error::unavailable(format!("account servers answered {status}"))),
        }
    }

    /// Creates an account with this metadata, since something is written to it.
    ///
    /// # Errors
    /// `NotFound` where accounts are not created by writes, `RecentlyDeleted`, `Unavailable`.
    pub(crate) async fn make_account(
        &self,
        cx: &Context,
        account: &AccountName,
        metadata: Metadata,
    ) -> Result<()> {
        if !self.makes_accounts {
            return Err(Error::new(Kind::NotFound, Subject::Account));
        }
        match self.write_account(cx, ChangeVerb::Put, account, metadata).await? {
            StatusCode::FORBIDDEN => Err(Error::new(Kind::RecentlyDeleted, Subject::Account)),
            _ => Ok(()),
        }
    }

    /// Creates an account by name; `true` when it is new.
    ///
    /// # Errors
    /// `RecentlyDeleted`, `Unavailable`.
    pub async fn put_account(&self, cx: &Context, _permit: Permit, op: PutAccount) -> Result<bool> {
        match self.write_account(cx, ChangeVerb::Put, &op.account, op.metadata).await? {
            StatusCode::CREATED => Ok(true),
            StatusCode::FORBIDDEN => Err(Error::new(Kind::RecentlyDeleted, Subject::Account)),
            status if status.is_success() => Ok(false),
            status => {
                Err(Error::unavailable(format!("account servers answered {status} to a PUT")))
            }
        }
    }

    /// Marks an account as deleted.
    ///
    /// # Errors
    /// `NotFound`, also when it is already deleted; `Unavailable`.
    pub async fn delete_account(
        &self,
        cx: &Context,
        _permit: Permit,
        op: &DeleteAccount,
    ) -> Result<()> {
        match self.write_account(cx, ChangeVerb::Delete, &op.account, Metadata::new()).await? {
            StatusCode::NOT_FOUND => Err(Error::new(Kind::NotFound, Subject::Account)),
            status if status.is_success() => Ok(()),
            status => {
                Err(Error::unavailable(format!("account servers answered {status} to a DELETE")))
            }
        }
    }

    async fn write_account(
        &self,
        cx: &Context,
        verb: ChangeVerb,
        account: &AccountName,
        metadata: Metadata,
    ) -> Result<StatusCode> {
        let call = DatabaseCall::account(self, cx, account);
        let request = ChangeAccountRequest {
            address: call.account_address(account),
            verb,
            timestamp: self.clock.stamp(),
            metadata,
        };
        let request = request.encode();
        call.write(|_| request.clone()).await.agreed()
    }

    /// Changes an account's metadata, creating the account if it does not exist.
    ///
    /// # Errors
    /// `RecentlyDeleted`, `Invalid`, `Unavailable`.
    pub async fn post_account(
        &self,
        cx: &Context,
        _permit: Permit,
        account: &AccountName,
        metadata: Metadata,
    ) -> Result<()> {
        match self.write_account(cx, ChangeVerb::Post, account, metadata.clone()).await? {
            StatusCode::NOT_FOUND => self.make_account(cx, account, metadata).await,
            status if status.is_success() => Ok(()),
            status => {
                Err(Error::unavailable(format!("account servers answered {status} to a POST")))
            }
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
