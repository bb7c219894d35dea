//! The stored form of a user with its keys, and the rules of their state.

use std::collections::BTreeMap;

use apus_policy::{DocumentKind, PolicyDocument};
use serde::{Deserialize, Serialize};

use crate::access_key::{AccessKeyId, unique_id};
use crate::error::IdentityError;
use crate::group::GroupRecord;
use crate::name::{AccountUser, PolicyName};
use crate::seal::SealedSecret;

/// Format of the records that this version writes.
pub(crate) const FORMAT: u32 = 1;
/// Most access keys of a user.
pub const KEYS_MAX: usize = 10;
/// Most groups of a user, as in IAM.
const GROUPS_MAX: usize = 10;
/// Most policies of a user or group.
const POLICIES_MAX: usize = 10;
/// Longest document of a policy, in bytes: the longest one that IAM accepts anywhere.
const POLICY_BYTES_MAX: usize = 10_240;

/// Whether something may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It may.
    Active,
    /// An administrator disabled it.
    Disabled,
}

impl Status {
    /// As a word for people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
        }
    }
}

/// A group that a user is in. A group that was deleted and created again has another id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// Name of the group.
    pub name: String,
    /// Id of the group.
    pub id: String,
}

/// An access key of a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// The access key id.
    pub id: String,
    /// The encrypted secret.
    pub(crate) secret: SealedSecret,
    /// Whether it may be used.
    pub status: Status,
    /// When it was created, in seconds since 1970.
    pub created: u64,
    /// When it expires, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
    /// When its secret was last replaced, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotated: Option<u64>,
}

/// Why a key may not be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyRefusal {
    /// Its user is disabled.
    UserDisabled,
    /// The key is disabled.
    Disabled,
    /// It has expired.
    Expired,
}

impl KeyRecord {
    /// Whether it has expired at a time.
    pub fn is_expired(&self, now: u64) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

/// A user of one account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRecord {
    pub(crate) format: u32,
    /// Unique id: a user that is created again has another one.
    pub id: String,
    /// Its account.
    pub account: String,
    /// Its name, as it was created.
    pub name: String,
    /// IAM's path.
    pub path: String,
    /// When it was created, in seconds since 1970.
    pub created: u64,
    /// Whether its keys may be used.
    pub status: Status,
    /// Whether it has all rights in its account.
    pub admin: bool,
    /// The groups that it is in.
    #[serde(default)]
    pub groups: Vec<Membership>,
    /// Its access keys.
    #[serde(default)]
    pub keys: Vec<KeyRecord>,
    /// Documents of its policies by name.
    #[serde(default)]
    pub policies: BTreeMap<String, String>,
}

/// A record with a format.
pub(crate) trait Record: Serialize + for<'a> Deserialize<'a> {
    /// Number of its format.
    fn format(&self) -> u32;
}

impl Record for UserRecord {
    fn format(&self) -> u32 {
        self.format
    }
}

/// Sets a policy among those of one owner.
pub(crate) fn put_policy(
    policies: &mut BTreeMap<String, String>,
    owner: &str,
    name: &PolicyName,
    document: &str,
) -> Result<(), IdentityError> {
    if document.len() > POLICY_BYTES_MAX {
        let (name, length, max) = (name.to_string(), document.len(), POLICY_BYTES_MAX);
        return Err(IdentityError::PolicyTooLong { name, length, max });
    }
    if policies.len() >= POLICIES_MAX && !policies.contains_key(name.as_str()) {
        let (owner, kind, max) = (owner.to_owned(), "policies", POLICIES_MAX);
        return Err(IdentityError::Limit { owner, kind, max });
    }
    PolicyDocument::parse(document, DocumentKind::Identity)
        .map_err(|source| IdentityError::Policy { name: name.to_string(), source })?;
    policies.insert(name.to_string(), document.to_owned());
    Ok(())
}

/// Removes a policy of one owner.
pub(crate) fn remove_policy(
    policies: &mut BTreeMap<String, String>,
    name: &PolicyName,
) -> Result<(), IdentityError> {
    let missing = || IdentityError::Missing { kind: "policy", name: name.to_string() };
    policies.remove(name.as_str()).map(drop).ok_or_else(missing)
}

impl UserRecord {
    /// A new user.
    pub(crate) fn new(user: &AccountUser, path: &str, admin: bool, now: u64) -> Self {
        Self {
            format: FORMAT,
            id: unique_id("AIDA"),
            account: user.account.to_string(),
            name: user.user.to_string(),
            path: path.to_owned(),
            created: now,
            status: Status::Active,
            admin,
            groups: Vec::new(),
            keys: Vec::new(),
            policies: BTreeMap::new(),
        }
    }

    /// What an encrypted secret of this user is bound to.
    pub(crate) fn owner_of(&self, key: &str) -> String {
        format!("{}/{key}", self.id)
    }

    /// One of its keys.
    pub fn key(&self, id: &AccessKeyId) -> Option<&KeyRecord> {
        self.keys.iter().find(|key| key.id == id.as_str())
    }

    /// One of its keys, to change it.
    ///
    /// # Errors
    /// `Missing`.
    pub(crate) fn key_mut(&mut self, id: &AccessKeyId) -> Result<&mut KeyRecord, IdentityError> {
        let missing = || IdentityError::Missing { kind: "access key", name: id.to_string() };
        self.keys.iter_mut().find(|key| key.id == id.as_str()).ok_or_else(missing)
    }

    /// Whether one of its keys may be used at a time.
    pub fn refusal_of(&self, key: &KeyRecord, now: u64) -> Option<KeyRefusal> {
        match (self.status, key.status) {
            (Status::Disabled, _) => Some(KeyRefusal::UserDisabled),
            (_, Status::Disabled) => Some(KeyRefusal::Disabled),
            _ if key.is_expired(now) => Some(KeyRefusal::Expired),
            _ => None,
        }
    }

    /// Adds a key.
    ///
    /// # Errors
    /// `Limit`.
    pub(crate) fn add_key(&mut self, key: KeyRecord) -> Result<(), IdentityError> {
        if self.keys.len() >= KEYS_MAX {
            let (owner, kind) = (self.name.clone(), "access keys");
            return Err(IdentityError::Limit { owner, kind, max: KEYS_MAX });
        }
        self.keys.push(key);
        Ok(())
    }

    /// Removes a key.
    ///
    /// # Errors
    /// `Missing`.
    pub(crate) fn remove_key(&mut self, id: &AccessKeyId) -> Result<(), IdentityError> {
        self.key_mut(id)?;
        self.keys.retain(|key| key.id != id.as_str());
        Ok(())
    }

    /// Whether it is in a group.
    pub fn is_in(&self, group: &GroupRecord) -> bool {
        self.groups.iter().any(|own| own.id == group.id)
    }

    /// Adds it to a group; it may be in it already.
    ///
    /// # Errors
    /// `Limit`.
    pub(crate) fn join(&mut self, group: &GroupRecord) -> Result<(), IdentityError> {
        // A deleted group of the same name is forgotten.
        self.groups.retain(|own| own.id == group.id || own.name != group.name);
        if self.is_in(group) {
            return Ok(());
        }
        if self.groups.len() >= GROUPS_MAX {
            let (owner, kind) = (self.name.clone(), "groups");
            return Err(IdentityError::Limit { owner, kind, max: GROUPS_MAX });
        }
        self.groups.push(Membership { name: group.name.clone(), id: group.id.clone() });
        Ok(())
    }

    /// Removes it from a group; it may not be in it.
    pub(crate) fn leave(&mut self, group: &GroupRecord) {
        self.groups.retain(|own| own.id != group.id);
    }

    /// Sets a policy.
    ///
    /// # Errors
    /// `PolicyTooLong`, `Limit`, `Policy`.
    pub fn put_policy(&mut self, name: &PolicyName, document: &str) -> Result<(), IdentityError> {
        put_policy(&mut self.policies, &self.name, name, document)
    }

    /// Removes a policy.
    ///
    /// # Errors
    /// `Missing`.
    pub fn remove_policy(&mut self, name: &PolicyName) -> Result<(), IdentityError> {
        remove_policy(&mut self.policies, name)
    }
}

#[cfg(test)]
mod tests {
    use apus_cluster::{AccountName, HashConf, RootSecrets};

    use super::*;
    use crate::access_key::SecretKey;
    use crate::name::{AccountGroup, GroupName, UserName};
    use crate::seal::Sealing;

    const DOCUMENT: &str = r#"{"Version":"2012-10-17",
        "Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}"#;

    fn account() -> AccountName {
        AccountName::parse("AUTH_a").unwrap()
    }

    fn user() -> UserRecord {
        let user = AccountUser::new(account(), UserName::parse("Alice").unwrap()).unwrap();
        UserRecord::new(&user, "/", false, 100)
    }

    fn group(name: &str) -> GroupRecord {
        let group = AccountGroup::new(account(), GroupName::parse(name).unwrap()).unwrap();
        GroupRecord::new(&group, "/", 100)
    }

    fn key(expires: Option<u64>) -> KeyRecord {
        let hash = HashConf { prefix: Vec::new(), suffix: b"s".to_vec() };
        let sealing = Sealing::new(&RootSecrets::default().with_hashes(&hash));
        KeyRecord {
            id: sealing.new_id().to_string(),
            secret: sealing.seal_secret("o", &SecretKey::generate()).unwrap(),
            status: Status::Active,
            created: 100,
            expires,
            rotated: None,
        }
    }

    #[test]
    fn a_key_is_refused_when_it_or_its_user_is_disabled_or_it_has_expired() {
        use {KeyRefusal::*, Status as S};
        for (user_status, key_status, expires, now, expected) in [
            (S::Active, S::Active, None, u64::MAX, None),
            (S::Active, S::Active, Some(200), 199, None),
            (S::Active, S::Active, Some(200), 200, Some(Expired)),
            (S::Active, S::Disabled, None, 0, Some(Disabled)),
            (S::Disabled, S::Active, None, 0, Some(UserDisabled)),
        ] {
            let mut user = user();
            user.status = user_status;
            let key = KeyRecord { status: key_status, ..key(expires) };
            assert_eq!(user.refusal_of(&key, now), expected);
        }
    }

    #[test]
    fn keys_groups_and_policies_have_limits() {
        let mut user = user();
        for _ in 0..KEYS_MAX {
            user.add_key(key(None)).unwrap();
        }
        assert!(matches!(user.add_key(key(None)), Err(IdentityError::Limit { max: 10, .. })));
        let first = AccessKeyId::parse(&user.keys[0].id).unwrap();
        user.remove_key(&first).unwrap();
        assert!(matches!(user.remove_key(&first), Err(IdentityError::Missing { .. })));
        user.add_key(key(None)).unwrap();
        for index in 0..GROUPS_MAX {
            user.join(&group(&format!("g{index}"))).unwrap();
        }
        assert!(matches!(user.join(&group("more")), Err(IdentityError::Limit { .. })));
        let policy = |index: usize| PolicyName::parse(&format!("p{index}")).unwrap();
        for index in 0..POLICIES_MAX {
            user.put_policy(&policy(index), DOCUMENT).unwrap();
        }
        assert!(matches!(user.put_policy(&policy(99), DOCUMENT), Err(IdentityError::Limit { .. })));
        let other = DOCUMENT.replace("Allow", "Deny");
        user.put_policy(&policy(0), &other).unwrap();
        assert!(matches!(user.put_policy(&policy(0), "{}"), Err(IdentityError::Policy { .. })));
        let long = " ".repeat(POLICY_BYTES_MAX + 1);
        assert!(user.put_policy(&policy(0), &long).is_err());
        assert_eq!(user.policies["p0"], other);
        user.remove_policy(&policy(0)).unwrap();
        assert!(user.remove_policy(&policy(0)).is_err());
    }

    #[test]
    fn a_group_that_was_created_again_has_none_of_the_former_members() {
        let mut user = user();
        let (old, new) = (group("g"), group("g"));
        user.join(&old).unwrap();
        user.join(&old).unwrap();
        assert!(user.is_in(&old) && !user.is_in(&new) && user.groups.len() == 1);
        user.join(&new).unwrap();
        assert!(user.is_in(&new) && user.groups.len() == 1);
        user.leave(&old);
        assert!(user.is_in(&new));
        user.leave(&new);
        assert!(user.groups.is_empty());
    }

    #[test]
    fn the_stored_form_is_read_as_it_was_written() {
        let mut user = user();
        user.add_key(key(Some(300))).unwrap();
        user.join(&group("g")).unwrap();
        let json = serde_json::to_string(&user).unwrap();
        assert_eq!(serde_json::from_str::<UserRecord>(&json).unwrap(), user);
        let least = r#"{"format":1,"id":"AIDA","account":"AUTH_a","name":"x","path":"/","created":1,"status":"disabled","admin":true}"#;
        let least: UserRecord = serde_json::from_str(least).unwrap();
        assert!(least.keys.is_empty() && least.admin && least.status == Status::Disabled);
    }
}
