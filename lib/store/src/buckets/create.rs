//! Creation of a bucket: claim, container, mark.

use std::time::Duration;

use apus_cluster::{AccountName, ContainerPath};

use super::row::{Row, RowState};
use super::{CLAIM_SECONDS, Registry, container, system};
use crate::context::Context;
use crate::operation::{CreatedBucket, DeleteContainer, PutContainer};
use crate::{Error, Kind, Primitive, Result, Subject};

/// How often a creation looks again because another one changed the row or is under way.
const ATTEMPTS: usize = 20;
/// Pause before it looks again at a creation that is under way.
const PAUSE: Duration = Duration::from_millis(100);

/// What a creator may do with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NameVerdict {
    /// Claim it.
    Free,
    /// Another account has a bucket of this name.
    Taken,
    /// Another account is creating a bucket of this name.
    Busy,
}

/// What a creator of this account may do with a name that has this row. `has_container`: whether the
/// account of the row has the container, where that is another account.
pub(super) fn verdict(
    row: Option<&Row>,
    account: &AccountName,
    has_container: bool,
    now: u64,
) -> NameVerdict {
    match row {
        None => NameVerdict::Free,
        // An earlier creation did not end, or the container was deleted in Swift's dialect. If the
        // creation is under way, it finds that it was continued.
        Some(row) if row.account == *account => NameVerdict::Free,
        Some(_) if has_container => NameVerdict::Taken,
        Some(row)
            if row.state == RowState::Claimed && now < row.written.seconds() + CLAIM_SECONDS =>
        {
            NameVerdict::Busy
        }
        Some(_) => NameVerdict::Free,
    }
}

impl Registry {
    /// What a creator may do with the name of its container, and the row that it has.
    async fn judge(
        &self,
        cx: &Context,
        containers: &dyn Primitive,
        path: &ContainerPath,
    ) -> Result<(NameVerdict, Option<Row>)> {
        let row = self.read(cx, &path.container).await?;
        let has_container = match &row {
            Some(row) if row.account != path.account => {
                let other = ContainerPath::new(row.account.clone(), path.container.clone());
                container(cx, containers, &other).await?.is_some()
            }
            _ => false,
        };
        let now = self.clock.now_seconds();
        Ok((verdict(row.as_ref(), &path.account, has_container, now), row))
    }

    /// Creates a bucket. The caller's right to create the container was checked.
    ///
    /// # Errors
    /// `AlreadyExists` when another account has the name; `Conflict` when other creators were always
    /// faster; the errors of the container.
    pub(crate) async fn create(
        &self,
        cx: &Context,
        containers: &dyn Primitive,
        op: PutContainer,
    ) -> Result<CreatedBucket> {
        let path = op.container.clone();
        let ContainerPath { account, container: name } = &path;
        for _ in 0..ATTEMPTS {
            if let Some(head) = container(cx, containers, &path).await? {
                self.adopt(cx, containers, &path).await?;
                return Ok(CreatedBucket::Existing(Box::new(head)));
            }
            let (verdict, row) = self.judge(cx, containers, &path).await?;
            match verdict {
                NameVerdict::Free => {}
                NameVerdict::Taken => {
                    return Err(Error::new(Kind::AlreadyExists, Subject::Container));
                }
                NameVerdict::Busy => {
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            }
            let claim = self.write(cx, (name, account), RowState::Claimed, row.as_ref()).await?;
            let Some(claim) = claim else { continue };
            apus_fault::point("bucket.name.claimed");
            let is_new = match containers.put_container(cx, op.clone()).await {
                Ok(is_new) => is_new,
                Err(error) => {
                    // It may have been made where the error is temporary: a retry continues then.
                    if !error.is_temporary() {
                        let _ = self.remove(cx, name, &claim).await;
                    }
                    return Err(error);
                }
            };
            self.note_container(&path);
            apus_fault::point("bucket.container.made");
            if self.write(cx, (name, account), RowState::Made, Some(&claim)).await?.is_some() {
                return Ok(CreatedBucket::New);
            }
            // Another creation of this account continued this one, or this one stalled for so long
            // that another account took the name over.
            match self.read(cx, name).await? {
                Some(row) if row.account != *account => {
                    if is_new {
                        let op = DeleteContainer { container: path.clone() };
                        let _ = containers.delete_container(&system(cx), op).await;
                    }
                    return Err(Error::new(Kind::AlreadyExists, Subject::Container));
                }
                _ => {}
            }
        }
        Err(Error::new(Kind::Conflict, Subject::Request).because("another creation is under way"))
    }

    /// Registers a container that its account has, if the name is free.
    async fn adopt(
        &self,
        cx: &Context,
        containers: &dyn Primitive,
        path: &ContainerPath,
    ) -> Result<()> {
        let (verdict, row) = self.judge(cx, containers, path).await?;
        let is_made = |row: &Row| row.account == path.account && row.state == RowState::Made;
        if verdict == NameVerdict::Free && !row.as_ref().is_some_and(is_made) {
            let names = (&path.container, &path.account);
            // Where another write preceded, it decides.
            self.write(cx, names, RowState::Made, row.as_ref()).await?;
        }
        Ok(())
    }
}
