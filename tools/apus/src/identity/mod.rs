//! `apus user`, `apus group`, `apus key`: the cluster's own users, without a restart.
//!
//! They work on the cluster itself, over its rings and with the keys of `swift.conf`, as the servers do.

pub(crate) mod group;
pub(crate) mod key;
mod policy;
pub(crate) mod user;

use std::future::Future;

use apus_cluster::AccountName;
use apus_daemon::runtime;
use apus_identity::{AccountGroup, AccountUser, GroupName, IdentityDirectory, UserName};
use apus_node::{OperatorIdentities, operator_identities};
use serde_json::Value;

use crate::swift_dir::SwiftDirOptions;

/// Users of an account, groups, and so on that are listed with one request.
const PAGE: usize = 1000;

/// Options that all of these commands have.
#[derive(Debug, clap::Args)]
pub(crate) struct Place {
    #[command(flatten)]
    swift_dir: SwiftDirOptions,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

/// What a command works with.
struct Cluster {
    identities: OperatorIdentities,
    json: bool,
}

impl Cluster {
    fn directory(&self) -> &IdentityDirectory {
        &self.identities.directory
    }

    /// An account, whose prefix may be left out.
    fn account(&self, text: &str) -> Result<AccountName, String> {
        let account = full_account(text, self.identities.configured.reseller_prefix());
        AccountName::parse(&account).map_err(|error| format!("account {text:?}: {error}"))
    }

    fn user(&self, text: &str) -> Result<AccountUser, String> {
        let (account, user) = pair(text, "user")?;
        let user = UserName::parse(user).map_err(|error| error.to_string())?;
        AccountUser::new(self.account(account)?, user).map_err(|error| error.to_string())
    }

    fn group(&self, text: &str) -> Result<AccountGroup, String> {
        let (account, group) = pair(text, "group")?;
        let group = GroupName::parse(group).map_err(|error| error.to_string())?;
        AccountGroup::new(self.account(account)?, group).map_err(|error| error.to_string())
    }

    /// Refuses a user that the configuration has already: both would have the same name in access
    /// lists.
    fn refuse_configured(&self, user: &AccountUser) -> Result<(), String> {
        let configured = &self.identities.configured;
        let account = user.account.as_str();
        let account = account.strip_prefix(configured.reseller_prefix()).unwrap_or(account);
        let name = format!("{account}:{}", user.user);
        match configured.has_name(&name) {
            true => Err(format!("user {name}: proxy-server.conf has a user of this name")),
            false => Ok(()),
        }
    }

    /// Prints a result, as JSON or as text.
    fn print(&self, json: &Value, text: &str) {
        match self.json {
            true => println!("{json}"),
            false => println!("{text}"),
        }
    }
}

/// The name of an account with the prefix of accounts.
fn full_account(text: &str, prefix: &str) -> String {
    match text.starts_with(prefix) {
        true => text.to_owned(),
        false => format!("{prefix}{text}"),
    }
}

fn pair<'a>(text: &'a str, kind: &str) -> Result<(&'a str, &'a str), String> {
    let both =
        text.split_once(':').filter(|(account, name)| !account.is_empty() && !name.is_empty());
    both.ok_or_else(|| format!("{kind} {text:?}: expected account:{kind}"))
}

/// An object of JSON with one more value.
fn with(mut json: Value, name: &str, value: Value) -> Value {
    if let Some(object) = json.as_object_mut() {
        object.insert(name.to_owned(), value);
    }
    json
}

/// An error as the text that the command prints.
fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// What an operator can do where no storage server answers.
const UNREACHABLE: &str = "the storage servers that the rings name must run and answer; those of \
    `apus saio` are reached by the user that runs it, with --data or --swiftdir <data>/etc";

/// The text of a command's error, with what an operator can do.
fn advised(error: String) -> String {
    match error.contains("Unavailable") {
        true => format!("{error}: {UNREACHABLE}"),
        false => error,
    }
}

/// Runs a command on the cluster.
fn run<F: Future<Output = Result<(), String>>>(
    place: &Place,
    command: impl FnOnce(Cluster) -> F,
) -> Result<(), String> {
    apus_daemon::log::start("warn");
    let runtime = runtime::multi_thread().map_err(text)?;
    runtime.block_on(async {
        let identities = operator_identities(&place.swift_dir.directory())?;
        let done = Box::pin(command(Cluster { identities, json: place.json })).await;
        done.map_err(advised)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_of_an_account_may_be_left_out() {
        for (text, prefix, account) in [
            ("test", "AUTH_", "AUTH_test"),
            ("AUTH_test", "AUTH_", "AUTH_test"),
            ("test", "", "test"),
        ] {
            assert_eq!(full_account(text, prefix), account);
        }
    }

    #[test]
    fn a_user_is_named_with_its_account() {
        assert_eq!(pair("test:alice", "user").unwrap(), ("test", "alice"));
        for text in ["alice", ":alice", "test:", ""] {
            assert!(pair(text, "user").unwrap_err().contains("expected account:user"));
        }
    }
}
