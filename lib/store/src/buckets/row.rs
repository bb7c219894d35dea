//! Rows of the registry: one object without content per bucket.

use apus_cluster::{
    AccountName, ContainerName, ContainerPath, Metadata, ObjectName, ObjectPath, Timestamp, percent,
};
use apus_daemon::http::empty;

use super::{Registry, system};
use crate::body::LateMetadata;
use crate::context::Context;
use crate::operation::{DeleteObject, HeadObject, ObjectHead, PutContainer, PutObject};
use crate::operation::{ObjectWritten, WriteConditions};
use crate::{Error, Kind, Result, Subject};

/// The account whose containers have the rows.
const ACCOUNT: &str = ".apus_buckets";
/// Content type of a row.
const CONTENT_TYPE: &str = "application/x-apus-bucket";
/// Metadata of a row: the account of the bucket, percent-encoded.
const BUCKET_ACCOUNT: &str = "X-Object-Sysmeta-Apus-Bucket-Account";
/// Metadata of a row: its state.
const BUCKET_STATE: &str = "X-Object-Sysmeta-Apus-Bucket-State";

/// The state of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RowState {
    /// The name is claimed; the container may not exist yet.
    Claimed,
    /// The container was made.
    Made,
}

impl RowState {
    fn name(self) -> &'static str {
        match self {
            Self::Claimed => "claimed",
            Self::Made => "made",
        }
    }

    fn named(name: &str) -> Option<Self> {
        [Self::Claimed, Self::Made].into_iter().find(|state| state.name() == name)
    }
}

/// The row of a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    /// The account of the bucket.
    pub(super) account: AccountName,
    /// The state.
    pub(super) state: RowState,
    /// The time of the write, which a change of the row names.
    pub(super) written: Timestamp,
}

impl Row {
    fn of(head: &ObjectHead) -> Option<Self> {
        let account = percent::decode_utf8(head.get(BUCKET_ACCOUNT)?)?;
        Some(Self {
            account: AccountName::parse(&account).ok()?,
            state: RowState::named(head.get(BUCKET_STATE)?)?,
            written: head.timestamp,
        })
    }
}

/// The object with the row of a bucket. Containers are chosen by a hash, so that none has all rows.
fn path(name: &ContainerName) -> Result<ObjectPath> {
    let md5::Digest([first, ..]) = md5::compute(name.as_str());
    let invalid = |error| Error::unavailable(format!("the row of a bucket: {error}"));
    let account = AccountName::parse(ACCOUNT).map_err(invalid)?;
    let container = ContainerName::parse(&format!("{first:02x}")).map_err(invalid)?;
    let object = ObjectName::parse(name.as_str()).map_err(invalid)?;
    Ok(ContainerPath::new(account, container).object(object))
}

/// The condition that the row is still this one.
fn unchanged(row: Option<&Row>) -> WriteConditions {
    match row {
        None => WriteConditions::absent(),
        Some(row) => {
            WriteConditions { unchanged_since: Some(row.written), ..WriteConditions::default() }
        }
    }
}

/// `None` for the error of a change that another one preceded.
fn preceded<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) => match error.kind {
            Kind::PreconditionFailed | Kind::NotFound => Ok(None),
            Kind::Conflict => Err(Error::new(Kind::Conflict, Subject::Request).because(error)),
            _ => Err(error),
        },
    }
}

impl Registry {
    /// The row of a bucket.
    ///
    /// # Errors
    /// `Unavailable`, also for a row that is damaged.
    pub(super) async fn read(&self, cx: &Context, name: &ContainerName) -> Result<Option<Row>> {
        match self.rows.head_object(&system(cx), HeadObject::new(path(name)?)).await {
            Ok(head) => Row::of(&head).map(Some).ok_or_else(|| {
                Error::unavailable(format!("the row of the bucket {name} has no account or state"))
            }),
            Err(error) if error.kind == Kind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes a row in place of another one, or of none; `None` when another write preceded this one.
    ///
    /// # Errors
    /// `Conflict` when other writers were always faster; `Unavailable`.
    pub(super) async fn write(
        &self,
        cx: &Context,
        (name, account): (&ContainerName, &AccountName),
        state: RowState,
        replaced: Option<&Row>,
    ) -> Result<Option<Row>> {
        let cx = system(cx);
        let object = path(name)?;
        let metadata = Metadata::from([
            (BUCKET_ACCOUNT.to_owned(), percent::encode_path(account.as_str())),
            (BUCKET_STATE.to_owned(), state.name().to_owned()),
        ]);
        let put = || PutObject {
            object: object.clone(),
            body: empty(),
            length: Some(0),
            content_type: CONTENT_TYPE.to_owned(),
            metadata: metadata.clone(),
            etag: None,
            timestamp: None,
            conditions: unchanged(replaced),
            late: LateMetadata::default(),
        };
        let mut written = self.rows.put_object(&cx, put()).await;
        let is_missing =
            |error: &Error| (&error.kind, error.subject) == (&Kind::NotFound, Subject::Container);
        if written.as_ref().is_err_and(is_missing) {
            let op = PutContainer {
                container: object.container.clone(),
                metadata: Metadata::new(),
                policy: None,
                versioning: None,
            };
            self.rows.put_container(&cx, op).await?;
            written = self.rows.put_object(&cx, put()).await;
        }
        self.cache.forget(name);
        let row = |written: ObjectWritten| Row {
            account: account.clone(),
            state,
            written: written.timestamp,
        };
        Ok(preceded(written)?.map(row))
    }

    /// Removes a row, unless another write preceded.
    ///
    /// # Errors
    /// `Conflict`, `Unavailable`.
    pub(super) async fn remove(&self, cx: &Context, name: &ContainerName, row: &Row) -> Result<()> {
        let op =
            DeleteObject { conditions: unchanged(Some(row)), ..DeleteObject::new(path(name)?) };
        let removed = self.rows.delete_object(&system(cx), op).await;
        self.cache.forget(name);
        preceded(removed).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_strictly() {
        let head = |items: &[(&str, &str)]| ObjectHead {
            metadata: items.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            timestamp: Timestamp::from_seconds(7),
            ..ObjectHead::default()
        };
        let row =
            Row::of(&head(&[(BUCKET_ACCOUNT, "AUTH_%C3%BC"), (BUCKET_STATE, "made")])).unwrap();
        assert_eq!((row.account.as_str(), row.state), ("AUTH_ü", RowState::Made));
        assert_eq!(row.written, Timestamp::from_seconds(7));
        for items in [
            [(BUCKET_ACCOUNT, "AUTH_a"), (BUCKET_STATE, "other")],
            [(BUCKET_ACCOUNT, ""), (BUCKET_STATE, "made")],
            [(BUCKET_ACCOUNT, "a%2Fb"), (BUCKET_STATE, "made")],
            [(BUCKET_ACCOUNT, "AUTH_a"), ("X-Other", "made")],
        ] {
            assert_eq!(Row::of(&head(&items)), None, "{items:?}");
        }
    }

    #[test]
    fn rows_are_spread_over_containers() {
        let container =
            |name: &str| path(&ContainerName::parse(name).unwrap()).unwrap().container.to_string();
        assert_eq!(container("photos"), container("photos"));
        let all: std::collections::BTreeSet<_> =
            (0..2000).map(|number| container(&format!("bucket-{number}"))).collect();
        assert!(all.len() > 250 && all.len() <= 256, "{}", all.len());
        assert!(all.iter().all(|path| path.starts_with("/.apus_buckets/")));
    }
}
