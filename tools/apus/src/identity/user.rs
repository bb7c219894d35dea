//! `apus user`.

use apus_identity::{AccountUser, IdentityHead, Status, UserName, UserRecord, iso_time};
use serde_json::{Value, json};

use super::key::{key_json, key_line};
use super::policy::PolicyCommand;
use super::{Cluster, PAGE, Place, run, text};

/// Options of `apus user`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: UserCommand,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, clap::Subcommand)]
enum UserCommand {
    /// Create a user
    Create {
        /// The user, with its account
        #[arg(value_name = "ACCOUNT:USER")]
        user: String,
        /// Let it do everything in its account
        #[arg(long)]
        admin: bool,
    },
    /// List the users of an account
    List {
        /// The account
        account: String,
    },
    /// Show a user with its groups and keys
    Show(UserOption),
    /// Refuse all keys of a user
    Disable(UserOption),
    /// Accept the keys of a user again
    Enable(UserOption),
    /// Delete a user and its keys
    Delete(UserOption),
    /// Set, show, list and delete policies of a user
    #[command(subcommand)]
    Policy(PolicyCommand),
}

#[derive(Debug, clap::Args)]
struct UserOption {
    /// The user, with its account
    #[arg(value_name = "ACCOUNT:USER")]
    user: String,
}

fn user_json(user: &UserRecord) -> Value {
    let groups: Vec<&str> = user.groups.iter().map(|group| group.name.as_str()).collect();
    json!({
        "user": format!("{}:{}", user.head.account, user.head.name),
        "account": user.head.account,
        "name": user.head.name,
        "id": user.head.id,
        "status": user.status.word(),
        "admin": user.admin,
        "created": iso_time(user.head.created),
        "groups": groups,
        "keys": user.keys.iter().map(key_json).collect::<Vec<_>>(),
        "policies": user.head.policies.keys().collect::<Vec<_>>(),
    })
}

fn user_line(user: &UserRecord) -> String {
    let UserRecord { head, status, keys, groups, .. } = user;
    let IdentityHead { account, name, .. } = head;
    let admin = if user.admin { " admin" } else { "" };
    let groups: Vec<&str> = groups.iter().map(|group| group.name.as_str()).collect();
    let groups = if groups.is_empty() { "none".to_owned() } else { groups.join(",") };
    format!("{account}:{name} {}{admin} keys={} groups={groups}", status.word(), keys.len())
}

/// Everything about a user, one line for the user and one for each key.
fn user_text(user: &UserRecord) -> String {
    let lines = user.keys.iter().map(|key| format!("\n  key {}", key_line(key)));
    user_line(user) + &lines.collect::<String>()
}

async fn list(cluster: &Cluster, account: &str) -> Result<(), String> {
    let (account, directory) = (cluster.account(account)?, cluster.directory());
    let mut marker = String::new();
    loop {
        let names = directory.user_names(&account, &marker, PAGE).await.map_err(text)?;
        for name in &names {
            let user = AccountUser::new(account.clone(), name.clone()).map_err(text)?;
            // One that was deleted meanwhile is left out.
            if let Some(user) = directory.user(&user).await.map_err(text)? {
                cluster.print(&user_json(&user), &user_line(&user));
            }
        }
        match names.last().filter(|_| names.len() == PAGE).map(UserName::as_str) {
            Some(last) => last.clone_into(&mut marker),
            None => return Ok(()),
        }
    }
}

async fn set_status(cluster: &Cluster, user: &str, status: Status) -> Result<(), String> {
    let user = cluster.user(user)?;
    let changed = cluster.directory().change_user(&user, |record| {
        record.status = status;
        Ok(record.clone())
    });
    let changed = changed.await.map_err(text)?;
    cluster.print(&user_json(&changed), &user_line(&changed));
    Ok(())
}

/// Runs the command.
pub(crate) fn main(options: &Options) -> Result<(), String> {
    run(&options.place, |cluster| async move {
        let directory = cluster.directory();
        match &options.command {
            UserCommand::Create { user, admin } => {
                let user = cluster.user(user)?;
                cluster.refuse_configured(&user)?;
                let created = directory.create_user(&user, "/", *admin).await.map_err(text)?;
                cluster.print(&user_json(&created), &user_line(&created));
                Ok(())
            }
            UserCommand::List { account } => list(&cluster, account).await,
            UserCommand::Show(UserOption { user }) => {
                let user = cluster.user(user)?;
                let user = directory.existing_user(&user).await.map_err(text)?;
                cluster.print(&user_json(&user), &user_text(&user));
                Ok(())
            }
            UserCommand::Disable(UserOption { user }) => {
                set_status(&cluster, user, Status::Disabled).await
            }
            UserCommand::Enable(UserOption { user }) => {
                set_status(&cluster, user, Status::Active).await
            }
            UserCommand::Delete(UserOption { user }) => {
                let user = cluster.user(user)?;
                directory.delete_user(&user, |_| Ok(())).await.map_err(text)?;
                cluster.print(&json!({ "deleted": user.to_string() }), &format!("{user} deleted"));
                Ok(())
            }
            UserCommand::Policy(command) => {
                let user = cluster.user(command.owner())?;
                let change = command.change()?;
                let changed = directory.change_user(&user, |user| change.apply(&mut user.head));
                command.print(&cluster, &changed.await.map_err(text)?)
            }
        }
    })
}
