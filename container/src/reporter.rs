//! Tells account servers what containers hold: at once when one is made or deleted, and a moment
//! later when its rows changed.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use apus_broker::DbError;
use apus_daemon::http::{empty, header};
use apus_ring::{Device, SharedRing};
use apus_wire::{NodeRequest, headers};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use crate::backend::{self, ContainerInfo, Reported};
use crate::server::{ContainerTarget, Server};

/// Reasons why an account row is behind.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Behind {
    /// The database could not be read.
    #[error(transparent)]
    Database(#[from] DbError),
    /// No majority of the account's servers accepted it.
    #[error("{accepted} of {servers} account servers accepted the row")]
    NoMajority { accepted: usize, servers: usize },
    /// All of them say that there is no such account.
    #[error("no account server has the account")]
    NoAccount,
}

impl Server {
    /// Notes that the account row of this container is behind.
    pub(crate) fn note_change(&self, target: &ContainerTarget) {
        self.note_behind(target.file.clone(), target.partition);
    }

    /// Notes that the account row of a database is behind.
    pub(crate) fn note_behind(&self, database: PathBuf, partition: u32) {
        let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        changed.insert((database, partition));
    }

    /// What tells an account server of a container.
    pub(crate) fn account_request(&self, info: &ContainerInfo, partition: u32) -> NodeRequest {
        let mut request_headers = HeaderMap::new();
        let mut set = |name: &'static str, value: String| {
            if let Ok(value) = HeaderValue::from_str(&value) {
                request_headers.insert(name, value);
            }
        };
        set("x-put-timestamp", info.put_timestamp.to_string());
        set("x-delete-timestamp", info.delete_timestamp.to_string());
        set("x-object-count", info.object_count.to_string());
        set("x-bytes-used", info.bytes_used.to_string());
        set("x-timestamp", self.databases.now().to_string());
        set("x-account-override-deleted", "yes".to_owned());
        set(headers::POLICY_INDEX, info.policy.to_string());
        NodeRequest {
            method: Method::PUT,
            partition,
            names: vec![info.account.clone(), info.container.clone()],
            query: String::new(),
            headers: request_headers,
        }
    }

    /// Sends the account row to the servers that the request names. `NOT_FOUND` when all of them
    /// say that there is no such account.
    pub(crate) async fn update_account(
        &self,
        target: &ContainerTarget,
        head: &HeaderMap,
        info: &ContainerInfo,
    ) -> Option<StatusCode> {
        let list = |name| header(head, name).unwrap_or_default().split(',').map(str::trim);
        let partition = header(head, headers::ACCOUNT_PARTITION)?.parse().ok()?;
        let request = self.account_request(info, partition);
        let mut answers = Vec::new();
        for (host, device) in list(headers::ACCOUNT_HOST).zip(list(headers::ACCOUNT_DEVICE)) {
            let Some(node) = Device::at(host, device) else { continue };
            let deadline = self.client.deadlines().row_update;
            match self.client.send_within(&node, &request, empty(), deadline).await {
                Ok(response) => answers.push(response.status()),
                Err(error) => {
                    tracing::warn!(%error, host, device, "account row");
                }
            }
        }
        if answers.iter().any(StatusCode::is_success) {
            return Some(StatusCode::CREATED);
        }
        self.note_change(target);
        let all_missing =
            !answers.is_empty() && answers.iter().all(|s| *s == StatusCode::NOT_FOUND);
        all_missing.then_some(StatusCode::NOT_FOUND)
    }

    /// Sends the rows of changed containers to a majority of their account's servers; those that
    /// failed stay for the next time.
    async fn report(&self, ring: &SharedRing) {
        let changed = {
            let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *changed)
        };
        for (path, partition) in changed {
            if let Err(behind) = self.report_one(ring, &path).await {
                tracing::debug!(database = %path.display(), %behind, "account row stays behind");
                self.note_behind(path, partition);
            }
        }
    }

    /// Sends the account row of a database if it is behind. Says whether it was not; `false` also
    /// when the database could not be opened.
    ///
    /// # Errors
    /// Why it still is.
    pub(crate) async fn report_one(&self, ring: &SharedRing, path: &Path) -> Result<bool, Behind> {
        let Ok(Some(database)) = self.databases.open(path).await else { return Ok(false) };
        let info = database.read(backend::info).await?;
        let current: Reported = info.current();
        if info.reported.as_ref() == Some(&current) {
            return Ok(true);
        }
        let ring = ring.get();
        let partition = ring.partition_of(&self.databases.deps.hash, &[&info.account]);
        let nodes = ring.primaries(partition);
        let request = self.account_request(&info, partition);
        let (mut good, mut missing) = (0, 0);
        for node in &nodes {
            if let Ok(response) = self.client.send(node, &request, empty()).await {
                good += usize::from(response.status().is_success());
                missing += usize::from(response.status() == StatusCode::NOT_FOUND);
            }
        }
        apus_fault::point("container.report.sent");
        if good <= nodes.len() / 2 {
            let servers = nodes.len();
            return Err(match missing == servers && servers > 0 {
                true => Behind::NoAccount,
                false => Behind::NoMajority { accepted: good, servers },
            });
        }
        database.write(move |connection| backend::reported(connection, &current)).await?;
        Ok(false)
    }
}

/// Reports changed containers every `interval` until the drain begins, and once more then.
pub async fn report_changes(
    server: Arc<Server>,
    ring: Arc<SharedRing>,
    interval: std::time::Duration,
    drain: apus_daemon::Drain,
) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            () = drain.begun() => {
                server.report(&ring).await;
                return;
            }
        }
        server.report(&ring).await;
    }
}
