//! Reads and writes users, groups and keys in the cluster.
//!
//! Three containers of the account `.apus_iam`: `users` and `groups` have one object per record, named
//! `<account>/<name>`; `keys` has one object per access key with the name of its user. A key is valid
//! only if its user's record has it, too: an object of `keys` that a crash left behind is harmless.
//! Each change is one conditional write of one record, so that of two concurrent ones one wins and the
//! other repeats its change on the result.

use std::collections::BTreeMap;
use std::sync::Arc;

use apus_cluster::etag::EtagList;
use apus_cluster::listing::ListQuery;
use apus_cluster::{AccountName, ContainerName, ContainerPath, ObjectName, ObjectPath};
use apus_daemon::Clock;
use apus_daemon::http::{full, new_trans_id};
use apus_store::body::{LateMetadata, collect};
use apus_store::operation::{
    DeleteObject, GetObject, ListObjects, PutContainer, PutObject, WriteConditions,
};
use apus_store::{Context, Error, Kind, Primitive};
use serde::{Deserialize, Serialize};

use crate::access_key::{AccessKeyId, SecretKey};
use crate::error::IdentityError;
use crate::group::GroupRecord;
use crate::head::{FORMAT, Record};
use crate::name::{AccountGroup, AccountUser, GroupName, UserName, check_account};
use crate::seal::Sealing;
use crate::user::{KeyRecord, Status, UserRecord};

/// The account of identities, which no client reaches.
const ACCOUNT: &str = ".apus_iam";
const USERS: &str = "users";
const GROUPS: &str = "groups";
const KEYS: &str = "keys";
/// Longest record that is read, in bytes; the longest one that is written has ten policies of 10 KiB.
const RECORD_BYTES_MAX: u64 = 1024 * 1024;
/// Users that are listed with one request.
const PAGE: usize = 1000;
/// Times that a change is tried while others change the same record.
const ATTEMPTS: usize = 10;

/// The result of an operation on identities.
type Result<T> = std::result::Result<T, IdentityError>;

/// The user of an access key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct KeyOwner {
    format: u32,
    account: String,
    user: String,
    /// Unique id of the user.
    id: String,
}

impl Record for KeyOwner {
    fn format(&self) -> u32 {
        self.format
    }
}

/// A record, and the etag of the object that has it.
struct StoredRecord<R> {
    record: R,
    etag: String,
}

/// An access key with everything that decides what it may do.
#[derive(Debug, Clone)]
pub struct FoundKey {
    /// The key's user.
    pub user: UserRecord,
    /// The key.
    pub key: KeyRecord,
    /// Its secret.
    pub secret: SecretKey,
    /// The groups that the user is in.
    pub groups: Vec<GroupRecord>,
}

/// A key whose secret can be shown, once.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// The key.
    pub key: KeyRecord,
    /// Its secret.
    pub secret: SecretKey,
}

/// Users, groups and access keys of the cluster.
#[derive(Clone)]
pub struct IdentityDirectory {
    store: Arc<dyn Primitive>,
    clock: Arc<dyn Clock>,
    sealing: Sealing,
}

impl std::fmt::Debug for IdentityDirectory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IdentityDirectory").field("sealing", &self.sealing).finish_non_exhaustive()
    }
}

fn container(name: &str) -> Result<ContainerPath> {
    let invalid = |error| Error::invalid(format!("{ACCOUNT}/{name}")).because(error);
    let account = AccountName::parse(ACCOUNT).map_err(|error| invalid(error.to_string()))?;
    let container = ContainerName::parse(name).map_err(|error| invalid(error.to_string()))?;
    Ok(ContainerPath::new(account, container))
}

fn object(container_name: &str, name: &str) -> Result<ObjectPath> {
    let object = ObjectName::parse(name)
        .map_err(|error| Error::invalid(format!("{container_name}/{name}")).because(error))?;
    Ok(ObjectPath { container: container(container_name)?, object })
}

fn missing(kind: &'static str, name: &impl ToString) -> IdentityError {
    IdentityError::Missing { kind, name: name.to_string() }
}

impl IdentityDirectory {
    /// The directory of a cluster. `store` must act in the system's name.
    pub fn new(store: Arc<dyn Primitive>, clock: Arc<dyn Clock>, sealing: Sealing) -> Self {
        Self { store, clock, sealing }
    }

    /// Whether this cluster can have made an access key id. Others cost nothing to refuse.
    pub fn can_have_made(&self, id: &AccessKeyId) -> bool {
        self.sealing.can_have_made(id)
    }

    /// Seconds since 1970.
    pub fn now(&self) -> u64 {
        self.clock.now().as_secs()
    }

    fn context(&self) -> Context {
        Context::system("identities", new_trans_id(self.clock.as_ref(), "")).strong()
    }

    async fn read<R: Record>(&self, path: &ObjectPath) -> Result<Option<StoredRecord<R>>> {
        let read = match self.store.get_object(&self.context(), GetObject::new(path.clone())).await
        {
            Ok(read) => read,
            Err(error) if error.kind == Kind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let etag = read.head.etag.clone();
        let bytes = collect(read.body, RECORD_BYTES_MAX).await?;
        let name = || path.to_string();
        let record: R = serde_json::from_slice(&bytes)
            .map_err(|source| IdentityError::Damaged { name: name(), source })?;
        match record.format() {
            FORMAT => Ok(Some(StoredRecord { record, etag })),
            format => Err(IdentityError::Format { name: name(), format }),
        }
    }

    async fn put(
        &self,
        path: &ObjectPath,
        json: &str,
        conditions: &WriteConditions,
    ) -> apus_store::Result<()> {
        let op = PutObject {
            object: path.clone(),
            body: full(json.to_owned()),
            length: Some(json.len() as u64),
            content_type: "application/json".to_owned(),
            metadata: BTreeMap::new(),
            etag: None,
            timestamp: None,
            conditions: conditions.clone(),
            late: LateMetadata::default(),
        };
        self.store.put_object(&self.context(), op).await.map(drop)
    }

    /// Writes a record; the first one creates its container.
    async fn write<R: Record>(
        &self,
        path: &ObjectPath,
        record: &R,
        conditions: &WriteConditions,
    ) -> Result<()> {
        let json = serde_json::to_string(record)
            .map_err(|source| IdentityError::Damaged { name: path.to_string(), source })?;
        match self.put(path, &json, conditions).await {
            // If-Match of an object that does not exist fails in the same way.
            Err(error) if error.kind == Kind::NotFound && conditions.if_match.is_none() => {
                let container = path.container.clone();
                let metadata = BTreeMap::new();
                let op = PutContainer { container, metadata, policy: None, versioning: None };
                self.store.put_container(&self.context(), op).await?;
                Ok(self.put(path, &json, conditions).await?)
            }
            written => Ok(written?),
        }
    }

    /// Creates a record.
    ///
    /// # Errors
    /// `Exists`.
    async fn create<R: Record>(
        &self,
        kind: &'static str,
        name: &impl ToString,
        path: &ObjectPath,
        record: &R,
    ) -> Result<()> {
        self.write(path, record, &WriteConditions::absent()).await.map_err(|error| match error {
            IdentityError::Store(error) if error.kind == Kind::PreconditionFailed => {
                IdentityError::Exists { kind, name: name.to_string() }
            }
            other => other,
        })
    }

    /// Changes a record, again if another process changed it meanwhile.
    async fn change<R: Record, T>(
        &self,
        (kind, name): (&'static str, String),
        path: &ObjectPath,
        mut change: impl FnMut(&mut R) -> Result<T>,
    ) -> Result<T> {
        for _ in 0..ATTEMPTS {
            let Some(StoredRecord { mut record, etag }) = self.read::<R>(path).await? else {
                return Err(missing(kind, &name));
            };
            let before = serde_json::to_string(&record).ok();
            let done = change(&mut record)?;
            if before.is_some() && before == serde_json::to_string(&record).ok() {
                return Ok(done);
            }
            let if_match = Some(EtagList::parse(&etag));
            let conditions = WriteConditions { if_match, ..WriteConditions::default() };
            match self.write(path, &record, &conditions).await {
                Ok(()) => return Ok(done),
                Err(IdentityError::Store(error))
                    if matches!(
                        error.kind,
                        Kind::PreconditionFailed | Kind::Conflict | Kind::NotFound
                    ) => {}
                Err(error) => return Err(error),
            }
        }
        Err(IdentityError::Contended(format!("{kind} {name}")))
    }

    async fn delete(&self, path: &ObjectPath, etag: Option<&str>) -> Result<bool> {
        let if_match = etag.map(EtagList::parse);
        let conditions = WriteConditions { if_match, ..WriteConditions::default() };
        let op = DeleteObject { conditions, ..DeleteObject::new(path.clone()) };
        match self.store.delete_object(&self.context(), op).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind == Kind::NotFound => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Names of objects of an account, in lower case and ascending, after `marker`.
    async fn list(
        &self,
        container_name: &str,
        account: &AccountName,
        marker: &str,
        limit: usize,
    ) -> Result<Vec<String>> {
        check_account(account)?;
        let prefix = format!("{account}/");
        let marker = if marker.is_empty() { String::new() } else { format!("{prefix}{marker}") };
        let query =
            ListQuery { limit, marker, prefix: Some(prefix.clone()), ..ListQuery::default() };
        let op = ListObjects { container: container(container_name)?, query };
        let list = match self.store.list_objects(&self.context(), op).await {
            Ok(list) => list,
            Err(error) if error.kind == Kind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let entries = list.page.entries()?;
        let names = entries.iter().filter_map(|entry| entry.name().strip_prefix(&prefix));
        Ok(names.map(str::to_owned).collect())
    }
}

/// Users.
impl IdentityDirectory {
    /// Creates a user.
    ///
    /// # Errors
    /// `Exists`.
    pub async fn create_user(
        &self,
        user: &AccountUser,
        path: &str,
        admin: bool,
    ) -> Result<UserRecord> {
        let record = UserRecord::new(user, path, admin, self.now());
        self.create("user", user, &object(USERS, &user.object())?, &record).await?;
        Ok(record)
    }

    /// A user, if it exists.
    pub async fn user(&self, user: &AccountUser) -> Result<Option<UserRecord>> {
        let stored = self.read(&object(USERS, &user.object())?).await?;
        Ok(stored.map(|stored| stored.record))
    }

    /// A user.
    ///
    /// # Errors
    /// `Missing`.
    pub async fn existing_user(&self, user: &AccountUser) -> Result<UserRecord> {
        self.user(user).await?.ok_or_else(|| missing("user", user))
    }

    /// Names of the users of an account, in lower case and ascending, after `marker`.
    pub async fn user_names(
        &self,
        account: &AccountName,
        marker: &str,
        limit: usize,
    ) -> Result<Vec<UserName>> {
        let names = self.list(USERS, account, &marker.to_ascii_lowercase(), limit).await?;
        names.iter().map(|name| UserName::parse(name)).collect()
    }

    /// Changes a user.
    ///
    /// # Errors
    /// `Missing`, `Contended`, and those of `change`.
    pub async fn change_user<T>(
        &self,
        user: &AccountUser,
        mut change: impl FnMut(&mut UserRecord) -> Result<T>,
    ) -> Result<T> {
        let path = object(USERS, &user.object())?;
        let reseal = |record: &mut UserRecord| {
            let done = change(record)?;
            self.reseal(record);
            Ok(done)
        };
        self.change(("user", user.to_string()), &path, reseal).await
    }

    /// Encrypts secrets again that an older root secret encrypted.
    fn reseal(&self, record: &mut UserRecord) {
        let owners: Vec<String> = record.keys.iter().map(|key| record.owner_of(&key.id)).collect();
        for (key, owner) in record.keys.iter_mut().zip(owners) {
            if !self.sealing.is_current(&key.secret)
                && let Some(secret) = self.sealing.open_secret(&owner, &key.secret)
                && let Some(sealed) = self.sealing.seal_secret(&owner, &secret)
            {
                key.secret = sealed;
            }
        }
    }

    /// Deletes a user if `may_delete` accepts it. Its keys are invalid as soon as its record is gone.
    ///
    /// # Errors
    /// `Missing`, `Contended`, and those of `may_delete`.
    pub async fn delete_user(
        &self,
        user: &AccountUser,
        may_delete: impl Fn(&UserRecord) -> Result<()>,
    ) -> Result<()> {
        let path = object(USERS, &user.object())?;
        for _ in 0..ATTEMPTS {
            let stored = self.read::<UserRecord>(&path).await?;
            let Some(StoredRecord { record, etag }) = stored else {
                return Err(missing("user", user));
            };
            may_delete(&record)?;
            match self.delete(&path, Some(&etag)).await {
                Ok(_) => {
                    apus_fault::point("identity.user.deleted");
                    for key in &record.keys {
                        self.delete(&object(KEYS, &key.id)?, None).await?;
                    }
                    return Ok(());
                }
                Err(IdentityError::Store(error))
                    if matches!(error.kind, Kind::PreconditionFailed | Kind::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
        Err(IdentityError::Contended(format!("user {user}")))
    }
}

/// Access keys.
impl IdentityDirectory {
    /// A sealed record of a secret.
    fn key_record(
        &self,
        user: &UserRecord,
        id: &str,
        secret: &SecretKey,
        expires: Option<u64>,
    ) -> Result<KeyRecord> {
        let sealed = self.sealing.seal_secret(&user.owner_of(id), secret);
        Ok(KeyRecord {
            id: id.to_owned(),
            secret: sealed.ok_or(IdentityError::Encrypt)?,
            status: Status::Active,
            created: self.now(),
            expires,
            rotated: None,
        })
    }

    /// Creates an access key.
    ///
    /// # Errors
    /// `Missing` when the user does not exist, `Limit` when it has too many.
    pub async fn create_key(&self, user: &AccountUser, expires: Option<u64>) -> Result<NewKey> {
        let record = self.existing_user(user).await?;
        let (id, secret) = (self.sealing.new_id(), SecretKey::generate());
        let key = self.key_record(&record, id.as_str(), &secret, expires)?;
        // Whether there is room is known before anything is written.
        record.clone().add_key(key.clone())?;
        let owner = KeyOwner {
            format: FORMAT,
            account: record.head.account.clone(),
            user: record.head.name.clone(),
            id: record.head.id.clone(),
        };
        self.create("access key", &id, &object(KEYS, id.as_str())?, &owner).await?;
        apus_fault::point("identity.key.reserved");
        let added = self.change_user(user, |changed| match changed.head.id == record.head.id {
            true => changed.add_key(key.clone()),
            false => Err(missing("user", user)),
        });
        if let Err(error) = added.await {
            // Without its user's record the object means nothing; it may as well stay.
            let _ = self.delete(&object(KEYS, id.as_str())?, None).await;
            return Err(error);
        }
        Ok(NewKey { key, secret })
    }

    /// The user of an access key, whether or not the user has it.
    async fn owner(&self, id: &AccessKeyId) -> Result<Option<(AccountUser, KeyOwner)>> {
        if !self.sealing.can_have_made(id) {
            return Ok(None);
        }
        let stored = self.read::<KeyOwner>(&object(KEYS, id.as_str())?).await?;
        let Some(owner) = stored.map(|stored| stored.record) else { return Ok(None) };
        let account = AccountName::parse(&owner.account)
            .map_err(|_| IdentityError::Account(owner.account.clone()))?;
        let user = AccountUser::new(account, UserName::parse(&owner.user)?)?;
        Ok(Some((user, owner)))
    }

    /// The user of an access key.
    ///
    /// # Errors
    /// `Missing`.
    pub async fn user_of_key(&self, id: &AccessKeyId) -> Result<AccountUser> {
        let owner = self.owner(id).await?;
        owner.map(|(user, _)| user).ok_or_else(|| missing("access key", id))
    }

    /// An access key with its user and groups, whatever their state is; `None` when there is none.
    pub async fn find_key(&self, id: &AccessKeyId) -> Result<Option<FoundKey>> {
        let Some((name, owner)) = self.owner(id).await? else { return Ok(None) };
        let user = self.user(&name).await?.filter(|user| user.head.id == owner.id);
        let Some(user) = user else { return Ok(None) };
        let Some(key) = user.key(id).cloned() else { return Ok(None) };
        let secret = self.secret(&user, &key)?;
        let groups = self.groups_of(&name.account, &user).await?;
        Ok(Some(FoundKey { user, key, secret, groups }))
    }

    /// The secret of a key.
    fn secret(&self, user: &UserRecord, key: &KeyRecord) -> Result<SecretKey> {
        let secret = self.sealing.open_secret(&user.owner_of(&key.id), &key.secret);
        secret.ok_or_else(|| IdentityError::Undecryptable(key.id.clone()))
    }

    /// The usable key of a user whose secret this is.
    pub async fn key_with_secret(
        &self,
        user: &AccountUser,
        secret: &str,
    ) -> Result<Option<AccessKeyId>> {
        let Some(record) = self.user(user).await? else { return Ok(None) };
        let now = self.now();
        let mut found = None;
        // Every key is compared, so that the time shows nothing.
        for key in record.keys.iter().filter(|key| record.refusal_of(key, now).is_none()) {
            if self.secret(&record, key)?.is(secret) {
                found = AccessKeyId::parse(&key.id);
            }
        }
        Ok(found)
    }

    /// Enables or disables an access key.
    ///
    /// # Errors
    /// `Missing`.
    pub async fn set_key_status(
        &self,
        user: &AccountUser,
        id: &AccessKeyId,
        status: Status,
    ) -> Result<()> {
        self.change_user(user, |user| {
            user.key_mut(id)?.status = status;
            Ok(())
        })
        .await
    }

    /// Replaces the secret of an access key; the old one stops working.
    ///
    /// # Errors
    /// `Missing`.
    pub async fn rotate_key(
        &self,
        user: &AccountUser,
        id: &AccessKeyId,
        expires: Option<Option<u64>>,
    ) -> Result<NewKey> {
        let (secret, now) = (SecretKey::generate(), self.now());
        let key = self.change_user(user, |record| {
            let renewed = self.key_record(record, id.as_str(), &secret, None)?;
            let key = record.key_mut(id)?;
            key.secret = renewed.secret;
            key.rotated = Some(now);
            if let Some(expires) = expires {
                key.expires = expires;
            }
            Ok(key.clone())
        });
        Ok(NewKey { key: key.await?, secret })
    }

    /// Deletes an access key.
    ///
    /// # Errors
    /// `Missing`.
    pub async fn delete_key(&self, user: &AccountUser, id: &AccessKeyId) -> Result<()> {
        self.change_user(user, |user| user.remove_key(id)).await?;
        apus_fault::point("identity.key.removed");
        self.delete(&object(KEYS, id.as_str())?, None).await?;
        Ok(())
    }
}

/// Groups.
impl IdentityDirectory {
    /// Creates a group.
    ///
    /// # Errors
    /// `Exists`.
    pub async fn create_group(&self, group: &AccountGroup, path: &str) -> Result<GroupRecord> {
        let record = GroupRecord::new(group, path, self.now());
        self.create("group", group, &object(GROUPS, &group.object())?, &record).await?;
        Ok(record)
    }

    /// A group, if it exists.
    pub async fn group(&self, group: &AccountGroup) -> Result<Option<GroupRecord>> {
        let stored = self.read(&object(GROUPS, &group.object())?).await?;
        Ok(stored.map(|stored| stored.record))
    }

    /// A group.
    ///
    /// # Errors
    /// `Missing`.
    pub async fn existing_group(&self, group: &AccountGroup) -> Result<GroupRecord> {
        self.group(group).await?.ok_or_else(|| missing("group", group))
    }

    /// The members of a group, by name. It reads all users of the account.
    pub async fn members(
        &self,
        account: &AccountName,
        group: &GroupRecord,
    ) -> Result<Vec<UserRecord>> {
        let (mut members, mut marker) = (Vec::new(), String::new());
        loop {
            let names = self.user_names(account, &marker, PAGE).await?;
            for name in &names {
                let user = AccountUser::new(account.clone(), name.clone())?;
                members.extend(self.user(&user).await?.filter(|user| user.is_in(group)));
            }
            match names.last().filter(|_| names.len() == PAGE) {
                Some(last) => last.as_str().clone_into(&mut marker),
                None => return Ok(members),
            }
        }
    }

    /// Names of the groups of an account, in lower case and ascending, after `marker`.
    pub async fn group_names(
        &self,
        account: &AccountName,
        marker: &str,
        limit: usize,
    ) -> Result<Vec<GroupName>> {
        let names = self.list(GROUPS, account, &marker.to_ascii_lowercase(), limit).await?;
        names.iter().map(|name| GroupName::parse(name)).collect()
    }

    /// Changes a group.
    ///
    /// # Errors
    /// `Missing`, `Contended`, and those of `change`.
    pub async fn change_group<T>(
        &self,
        group: &AccountGroup,
        change: impl FnMut(&mut GroupRecord) -> Result<T>,
    ) -> Result<T> {
        let path = object(GROUPS, &group.object())?;
        self.change(("group", group.to_string()), &path, change).await
    }

    /// Deletes a group. Memberships end with it: they are bound to its id.
    ///
    /// # Errors
    /// `Missing`.
    pub async fn delete_group(&self, group: &AccountGroup) -> Result<()> {
        match self.delete(&object(GROUPS, &group.object())?, None).await? {
            true => Ok(()),
            false => Err(missing("group", group)),
        }
    }

    /// Adds a user to a group, or removes it.
    ///
    /// # Errors
    /// `Missing`, `Limit`.
    pub async fn set_member(
        &self,
        user: &AccountUser,
        group: &GroupName,
        is_member: bool,
    ) -> Result<()> {
        let group = AccountGroup::new(user.account.clone(), group.clone())?;
        let group = self.existing_group(&group).await?;
        self.change_user(user, |user| {
            if is_member {
                return user.join(&group);
            }
            user.leave(&group);
            Ok(())
        })
        .await
    }

    /// The groups that a user is in and that exist.
    pub async fn groups_of(
        &self,
        account: &AccountName,
        user: &UserRecord,
    ) -> Result<Vec<GroupRecord>> {
        let reads = user.groups.iter().map(|membership| async {
            let name = GroupName::parse(&membership.name)?;
            let group = AccountGroup::new(account.clone(), name)?;
            let group = self.group(&group).await?;
            Ok(group.filter(|group| group.head.id == membership.id))
        });
        let groups: Result<Vec<Option<GroupRecord>>> =
            futures_util::future::try_join_all(reads).await;
        Ok(groups?.into_iter().flatten().collect())
    }
}
