//! Listings: one replica's page, or in strong mode a page that a majority agrees on.
//!
//! A strong listing asks a majority of primaries for the same page. Equal pages (the usual case)
//! are the answer. When they differ, all replicas are asked again for the rows below the page with
//! deletions, and the newest version of each row counts.

use std::borrow::Cow;
use std::collections::BTreeMap;

use apus_cluster::listing::{ListQuery, ObjectEntry, ObjectRow, after_prefix, common_prefix};
use apus_cluster::policy::majority;
use apus_cluster::timestamp::RowTimes;
use apus_cluster::{ContainerPath, Timestamp};
use apus_daemon::http::set;
use apus_wire::headers;
use http::{Method, StatusCode};
use serde::Deserialize;

use super::Quorum;
use super::account::{encode_query, parse_iso};
use super::container::newest;
use super::nodes::Nodes;
use super::send::Answer;
use crate::context::Context;
use crate::gate::Permit;
use crate::operation::{ObjectList, Page};
use crate::{Error, Kind, Result, Subject};

/// Rows per request when replicas differ.
const MERGE_ROWS: usize = 1000;

#[derive(Deserialize)]
struct Row<'a> {
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

/// Reads a page as container servers write it.
pub(crate) fn object_entries(body: &[u8]) -> Result<Vec<ObjectEntry>> {
    if body.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<Row<'_>> = serde_json::from_slice(body)
        .map_err(|error| Error::unavailable(format!("container listing: {error}")))?;
    let entry = |row: Row<'_>| match (row.subdir, row.name) {
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
        let nodes = self.container_nodes(container);
        let mut request = self.container_request(cx, Method::GET, container, &nodes);
        request.query = encode_query(query);
        let strong = cx.is_strong() && !apus_fault::planted("bug.list-one-copy");
        if strong && nodes.primaries.len() > 1 {
            return self.list_strong(cx, container, query, &nodes).await;
        }
        let answer = self.read_database(cx, &nodes, &request).await?;
        Self::list_of(&answer)
    }

    fn list_of(answer: &Answer) -> Result<ObjectList> {
        match answer.status {
            status if status.is_success() => Ok(ObjectList {
                head: Self::container_head(answer),
                page: Page::Json(answer.body.clone()),
            }),
            StatusCode::NOT_FOUND => Err(Error::new(Kind::NotFound, Subject::Container)),
            StatusCode::PRECONDITION_FAILED => {
                Err(Error::new(Kind::PreconditionFailed, Subject::Request)
                    .text(String::from_utf8_lossy(&answer.body)))
            }
            status => Err(Error::unavailable(format!("container GET answered {status}"))),
        }
    }

    async fn list_strong(
        &self,
        cx: &Context,
        container: &ContainerPath,
        query: &ListQuery,
        nodes: &Nodes,
    ) -> Result<ObjectList> {
        let needed = majority(nodes.primaries.len());
        let mut request = self.container_request(cx, Method::GET, container, nodes);
        request.query = encode_query(query);
        let mut answers: Vec<Answer> = Vec::new();
        let (free, avoided) = nodes.shuffled_primaries(&self.client, self.clock.stamp().steps());
        let mut order = free.into_iter().chain(nodes.former.iter().cloned()).chain(avoided);
        while !Self::are_majority(nodes, &answers) {
            let missing = needed.saturating_sub(answers.len()).max(1);
            let batch: Vec<_> = order.by_ref().take(missing).collect();
            if batch.is_empty() {
                return Err(Error::unavailable(format!(
                    "{} of {needed} container databases answered",
                    answers.len()
                )));
            }
            let asked = batch.into_iter().map(|node| self.ask(nodes, node, &request));
            answers.extend(futures_util::future::join_all(asked).await.into_iter().flatten());
        }
        let Some(first) = answers.first() else {
            return Err(Error::unavailable("no container database answered"));
        };
        let same =
            answers.iter().all(|answer| answer.status == first.status && answer.body == first.body);
        if same {
            return Self::list_of(first);
        }
        let good = answers.iter().filter(|answer| answer.status.is_success());
        let Some(some) = good.max_by_key(|answer| newest(answer)) else {
            return Self::list_of(first);
        };
        // A deletion that is newer than what others still list.
        let is_gone = |answer: &&Answer| {
            answer.status == StatusCode::NOT_FOUND && newest(answer) > newest(some)
        };
        if let Some(gone) = answers.iter().find(is_gone) {
            return Self::list_of(gone);
        }
        let head = Self::container_head(some);
        let entries = self.merged_page(cx, container, query, nodes).await?;
        Ok(ObjectList { head, page: Page::Entries(entries) })
    }

    /// A page made of the newest version of every row, deletions included.
    async fn merged_page(
        &self,
        cx: &Context,
        container: &ContainerPath,
        query: &ListQuery,
        nodes: &Nodes,
    ) -> Result<Vec<ObjectEntry>> {
        let prefix = query.prefix.clone().unwrap_or_default();
        let mut page = Vec::new();
        let mut marker =
            if query.reverse { query.end_marker.clone() } else { query.marker.clone() };
        let end = if query.reverse { query.marker.clone() } else { query.end_marker.clone() };
        loop {
            let ask = ListQuery {
                limit: MERGE_ROWS,
                marker: marker.clone(),
                end_marker: end.clone(),
                prefix: query.prefix.clone(),
                ..ListQuery::default()
            };
            let mut request = self.container_request(cx, Method::GET, container, nodes);
            request.query = encode_query(&ask);
            set(&mut request.headers, headers::LIST_DELETED, "yes");
            let (mut free, avoided) = nodes.shuffled_primaries(&self.client, 0);
            free.extend(nodes.former.iter().cloned());
            let mut answers: Vec<Answer> = Vec::new();
            for some in [free, avoided] {
                if !Self::are_majority(nodes, &answers) {
                    let asked = some.into_iter().map(|node| self.ask(nodes, node, &request));
                    let told = futures_util::future::join_all(asked).await;
                    answers.extend(told.into_iter().flatten());
                }
            }
            if !Self::are_majority(nodes, &answers) {
                return Err(Error::unavailable("too few container databases answered"));
            }
            let mut newest: BTreeMap<String, ObjectRow> = BTreeMap::new();
            // Rows past the end of a full page are unknown to that replica's answer.
            let mut known_to: Option<String> = None;
            for answer in answers.iter().filter(|answer| answer.status.is_success()) {
                let rows = object_entries(&answer.body)?;
                if rows.len() >= MERGE_ROWS
                    && let Some(last) = rows.last().map(|row| row.name().to_owned())
                    && known_to.as_ref().is_none_or(|known| last < *known)
                {
                    known_to = Some(last);
                }
                for entry in rows {
                    let ObjectEntry::Object(row) = entry else { continue };
                    match newest.get(&row.name) {
                        Some(known) if known.times.data >= row.times.data => {}
                        _ => drop(newest.insert(row.name.clone(), row)),
                    }
                }
            }
            let complete = known_to.is_none();
            for (name, row) in newest {
                if known_to.as_ref().is_some_and(|known| name > *known) {
                    break;
                }
                marker.clone_from(&name);
                if row.deleted {
                    continue;
                }
                match common_prefix(&name, &prefix, &query.delimiter) {
                    Some(directory) => {
                        let seen = page.last().map(ObjectEntry::name) == Some(directory);
                        if !seen && directory != query.marker {
                            page.push(ObjectEntry::Subdir(directory.to_owned()));
                        }
                    }
                    None => page.push(ObjectEntry::Object(row)),
                }
                if page.len() > query.limit && !query.reverse {
                    break;
                }
            }
            if complete || (page.len() > query.limit && !query.reverse) {
                break;
            }
            // A rolled-up directory need not be walked to its end.
            if let Some(ObjectEntry::Subdir(directory)) = page.last()
                && marker.starts_with(directory.as_str())
                && let Some(next) = after_prefix(directory.as_bytes())
                && let Ok(next) = String::from_utf8(next)
            {
                marker = next;
            }
        }
        if query.reverse {
            page.reverse();
        }
        page.truncate(query.limit);
        Ok(page)
    }
}
