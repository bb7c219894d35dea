//! Container listings: one replica's page, or in strong mode the page of a majority.
//!
//! A strong listing asks a majority of primaries for the same page. Equal pages (the usual case)
//! are the answer. When they differ, all replicas are asked again for the rows below the page with
//! deletions, and the newest version of each row counts.

mod merge;

use std::borrow::Cow;

use apus_cluster::listing::{ListQuery, ObjectEntry, ObjectRow};
use apus_cluster::policy::majority;
use apus_cluster::timestamp::RowTimes;
use apus_cluster::{ContainerPath, Timestamp};
use apus_wire::NodeRequest;
use apus_wire::message::container::{ContainerAddress, ReadContainerRequest};
use http::StatusCode;
use serde::Deserialize;

use self::merge::merged_page;
use super::Quorum;
use super::account::{encode_query, parse_iso};
use super::container::container_head;
use super::database::{DatabaseCall, status_time};
use super::send::NodeAnswer;
use crate::context::Context;
use crate::gate::Permit;
use crate::operation::{ObjectList, Page};
use crate::{Error, Kind, Result, Subject};

/// A row of a container listing, as container servers write it.
#[derive(Deserialize)]
struct ObjectListingRow<'a> {
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    subdir: Option<Cow<'a, str>>,
    #[serde(default)]
    bytes: u64,
    #[serde(borrow, default)]
    hash: Cow<'a, str>,
    #[serde(borrow, default)]
    content_type: Cow<'a, str>,
    #[serde(borrow, default)]
    last_modified: Cow<'a, str>,
    #[serde(borrow)]
    created_at: Option<Cow<'a, str>>,
    #[serde(default)]
    deleted: bool,
}

/// Parses a page as container servers write it.
pub(crate) fn object_entries(body: &[u8]) -> Result<Vec<ObjectEntry>> {
    if body.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<ObjectListingRow<'_>> = serde_json::from_slice(body).map_err(|error| {
        Error::unavailable(format!("the container listing is invalid: {error}"))
    })?;
    let entry = |row: ObjectListingRow<'_>| match (row.subdir, row.name) {
        (Some(subdir), _) => Some(ObjectEntry::Subdir(subdir.into_owned())),
        (None, Some(name)) => {
            let times = row.created_at.as_deref().and_then(RowTimes::decode);
            let shown = || RowTimes::all(parse_iso(&row.last_modified).unwrap_or(Timestamp::ZERO));
            Some(ObjectEntry::Object(ObjectRow {
                name: name.into_owned(),
                times: times.unwrap_or_else(shown),
                size: row.bytes,
                content_type: row.content_type.into_owned(),
                etag: row.hash.into_owned(),
                deleted: row.deleted,
                policy: 0,
            }))
        }
        (None, None) => None,
    };
    Ok(rows.into_iter().filter_map(entry).collect())
}

/// The listing that an answer has.
fn object_list(answer: &NodeAnswer) -> Result<ObjectList> {
    match answer.status() {
        status if status.is_success() => {
            Ok(ObjectList { head: container_head(answer), page: Page::Json(answer.body.clone()) })
        }
        StatusCode::NOT_FOUND => Err(Error::new(Kind::NotFound, Subject::Container)),
        StatusCode::PRECONDITION_FAILED => {
            Err(Error::new(Kind::PreconditionFailed, Subject::Request)
                .text(String::from_utf8_lossy(&answer.body)))
        }
        status => Err(Error::unavailable(format!("container servers answered {status}"))),
    }
}

/// A listing with this query.
fn page_request(address: ContainerAddress, query: &ListQuery) -> ReadContainerRequest {
    let list = ReadContainerRequest::list(address, encode_query(query));
    ReadContainerRequest { allow_reserved: query.reserved, ..list }
}

impl Quorum {
    /// Lists a container.
    ///
    /// # Errors
    /// `NotFound`, `PreconditionFailed` for bad parameters, `Unavailable`.
    pub async fn list_objects(
        &self,
        cx: &Context,
        _permit: Permit,
        container: &ContainerPath,
        query: &ListQuery,
    ) -> Result<ObjectList> {
        let call = DatabaseCall::container(self, cx, container);
        let address = call.container_address(container);
        let strong = cx.is_strong() && !apus_fault::planted("bug.list-one-copy");
        if strong && call.nodes.primaries.len() > 1 {
            return call.list_strong(&address, query).await;
        }
        let request = page_request(address, query);
        object_list(&call.read(&request.encode()).await?)
    }
}

impl DatabaseCall<'_> {
    async fn list_strong(
        &self,
        address: &ContainerAddress,
        query: &ListQuery,
    ) -> Result<ObjectList> {
        let page = page_request(address.clone(), query);
        let answers = self.collect_pages(&page.encode()).await?;
        let Some(first) = answers.first() else {
            return Err(Error::unavailable("no container server answered"));
        };
        let is_same =
            |answer: &NodeAnswer| answer.status() == first.status() && answer.body == first.body;
        if answers.iter().all(is_same) {
            return object_list(first);
        }
        let good = answers.iter().filter(|answer| answer.status().is_success());
        let Some(newest) = good.max_by_key(|answer| status_time(answer)) else {
            return object_list(first);
        };
        // A deletion that is newer than what others still list.
        let is_gone = |answer: &&NodeAnswer| {
            answer.status() == StatusCode::NOT_FOUND && status_time(answer) > status_time(newest)
        };
        if let Some(gone) = answers.iter().find(is_gone) {
            return object_list(gone);
        }
        let head = container_head(newest);
        let entries = merged_page(self, address, query).await?;
        Ok(ObjectList { head, page: Page::Entries(entries) })
    }

    /// Asks for the same page until a majority has answered.
    async fn collect_pages(&self, request: &NodeRequest) -> Result<Vec<NodeAnswer>> {
        let (nodes, clock) = (&self.nodes, &self.quorum.clock);
        let needed = majority(nodes.primaries.len());
        let (free, avoided) = nodes.shuffled_primaries(&self.quorum.client, clock.stamp().steps());
        let mut order = free.into_iter().chain(nodes.former.iter().cloned()).chain(avoided);
        let mut answers: Vec<NodeAnswer> = Vec::new();
        while !self.is_majority(&answers) {
            let missing = needed.saturating_sub(answers.len()).max(1);
            let batch: Vec<_> = order.by_ref().take(missing).collect();
            if batch.is_empty() {
                let count = answers.len();
                let cause = format!("{count} of {needed} container servers answered");
                return Err(Error::unavailable(cause));
            }
            answers.extend(self.ask(batch, request).await);
        }
        Ok(answers)
    }
}
