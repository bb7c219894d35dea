//! The stored form of a user with its keys, and the rules of their state.

use serde::{Deserialize, Serialize};

use crate::access_key::AccessKeyId;
use crate::error::IdentityError;
use crate::group::GroupRecord;
use crate::head::{IdentityHead, Record};
use crate::name::AccountUser;
use crate::seal::SealedSecret;

/// Most access keys of a user.
pub const KEYS_MAX: usize = 10;
/// Most groups of a user, as in IAM.
const GROUPS_MAX: usize = 10;

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
    /// Its name, id, policies and so on.
    #[serde(flatten)]
    pub head: IdentityHead,
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
}

impl Record for UserRecord {
    fn format(&self) -> u32 {
        self.head.format
    }
}

impl UserRecord {
    /// A new user.
    pub(crate) fn new(user: &AccountUser, path: &str, admin: bool, now: u64) -> Self {
        let names = (user.account.to_string(), user.user.to_string());
        Self {
            head: IdentityHead::new("AIDA", names, path, now),
            status: Status::Active,
            admin,
            groups: Vec::new(),
            keys: Vec::new(),
        }
    }

    /// What an encrypted secret of this user is bound to.
    pub(crate) fn owner_of(&self, key: &str) -> String {
        format!("{}/{key}", self.head.id)
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
            let (owner, kind) = (self.head.name.clone(), "access keys");
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
        self.groups.iter().any(|own| own.id == group.head.id)
    }

    /// Adds it to a group; it may be in it already.
    ///
    /// # Errors
    /// `Limit`.
    pub(crate) fn join(&mut self, group: &GroupRecord) -> Result<(), IdentityError> {
        // A deleted group of the same name is forgotten.
        self.groups.retain(|own| own.id == group.head.id || own.name != group.head.name);
        if self.is_in(group) {
            return Ok(());
        }
        if self.groups.len() >= GROUPS_MAX {
            let (owner, kind) = (self.head.name.clone(), "groups");
            return Err(IdentityError::Limit { owner, kind, max: GROUPS_MAX });
        }
        let IdentityHead { name, id, .. } = &group.head;
        self.groups.push(Membership { name: name.clone(), id: id.clone() });
        Ok(())
    }

    /// Removes it from a group; it may not be in it.
    pub(crate) fn leave(&mut self, group: &GroupRecord) {
        self.groups.retain(|own| own.id != group.head.id);
    }
}

#[cfg(test)]
mod tests {
    use apus_cluster::{AccountName, HashConf, RootSecrets};

    use super::*;
    use crate::access_key::SecretKey;
    use crate::name::{AccountGroup, GroupName, UserName};
    use crate::seal::Sealing;

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
    fn keys_and_groups_have_limits() {
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
        assert!(json.starts_with(r#"{"format":1,"id":"AIDA"#), "{json}");
        assert_eq!(serde_json::from_str::<UserRecord>(&json).unwrap(), user);
        let least = r#"{"format":1,"id":"AIDA","account":"AUTH_a","name":"x","path":"/","created":1,"status":"disabled","admin":true}"#;
        let least: UserRecord = serde_json::from_str(least).unwrap();
        assert!(least.keys.is_empty() && least.admin && least.status == Status::Disabled);
    }
}
