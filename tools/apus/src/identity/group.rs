//! `apus group`.

use apus_identity::{
    AccountGroup, AccountUser, GroupName, GroupRecord, IdentityHead, UserName, iso_time,
};
use serde_json::{Value, json};

use super::policy::PolicyCommand;
use super::{Cluster, PAGE, Place, run, text, with};

/// Options of `apus group`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: GroupCommand,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, clap::Subcommand)]
enum GroupCommand {
    /// Create a group
    Create(GroupOption),
    /// List the groups of an account
    List {
        /// The account
        account: String,
    },
    /// Show a group with its members
    Show(GroupOption),
    /// Add a user to a group
    Add(MemberOption),
    /// Remove a user from a group
    Remove(MemberOption),
    /// Delete a group
    Delete(GroupOption),
    /// Set, show, list and delete policies of a group
    #[command(subcommand)]
    Policy(PolicyCommand),
}

#[derive(Debug, clap::Args)]
struct GroupOption {
    /// The group, with its account
    #[arg(value_name = "ACCOUNT:GROUP")]
    group: String,
}

#[derive(Debug, clap::Args)]
struct MemberOption {
    /// The group, with its account
    #[arg(value_name = "ACCOUNT:GROUP")]
    group: String,
    /// Name of the user in the same account
    user: String,
}

fn group_json(GroupRecord { head: group }: &GroupRecord) -> Value {
    json!({
        "group": format!("{}:{}", group.account, group.name),
        "account": group.account,
        "name": group.name,
        "id": group.id,
        "created": iso_time(group.created),
        "policies": group.policies.keys().collect::<Vec<_>>(),
    })
}

fn group_line(GroupRecord { head }: &GroupRecord) -> String {
    let IdentityHead { account, name, policies, created, .. } = head;
    format!("{account}:{name} created={} policies={}", iso_time(*created), policies.len())
}

async fn list(cluster: &Cluster, account: &str) -> Result<(), String> {
    let (account, directory) = (cluster.account(account)?, cluster.directory());
    let mut marker = String::new();
    loop {
        let names = directory.group_names(&account, &marker, PAGE).await.map_err(text)?;
        for name in &names {
            let group = AccountGroup::new(account.clone(), name.clone()).map_err(text)?;
            // One that was deleted meanwhile is left out.
            if let Some(group) = directory.group(&group).await.map_err(text)? {
                cluster.print(&group_json(&group), &group_line(&group));
            }
        }
        match names.last().filter(|_| names.len() == PAGE).map(GroupName::as_str) {
            Some(last) => last.clone_into(&mut marker),
            None => return Ok(()),
        }
    }
}

async fn show(cluster: &Cluster, group: &AccountGroup) -> Result<(), String> {
    let directory = cluster.directory();
    let record = directory.existing_group(group).await.map_err(text)?;
    let members = directory.members(&group.account, &record).await.map_err(text)?;
    let names: Vec<&str> = members.iter().map(|user| user.head.name.as_str()).collect();
    let members = names.iter().map(|name| Value::from(*name)).collect();
    let json = with(group_json(&record), "members", members);
    let lines = names.iter().map(|name| format!("\n  member {name}"));
    cluster.print(&json, &(group_line(&record) + &lines.collect::<String>()));
    Ok(())
}

async fn set_member(
    cluster: &Cluster,
    member: &MemberOption,
    is_member: bool,
) -> Result<(), String> {
    let group = cluster.group(&member.group)?;
    let user = UserName::parse(&member.user).map_err(text)?;
    let user = AccountUser::new(group.account.clone(), user).map_err(text)?;
    let changed = cluster.directory().set_member(&user, &group.group, is_member);
    changed.await.map_err(text)?;
    let is = if is_member { "is" } else { "is not" };
    let json = json!({ "group": group.to_string(), "user": user.to_string(), "member": is_member });
    cluster.print(&json, &format!("{user} {is} in group {}", group.group));
    Ok(())
}

/// Runs the command.
pub(crate) fn main(options: &Options) -> Result<(), String> {
    run(&options.place, |cluster| async move {
        let directory = cluster.directory();
        match &options.command {
            GroupCommand::Create(GroupOption { group }) => {
                let group = cluster.group(group)?;
                let created = directory.create_group(&group, "/").await.map_err(text)?;
                cluster.print(&group_json(&created), &group_line(&created));
                Ok(())
            }
            GroupCommand::List { account } => list(&cluster, account).await,
            GroupCommand::Show(GroupOption { group }) => {
                let group = cluster.group(group)?;
                show(&cluster, &group).await
            }
            GroupCommand::Add(member) => set_member(&cluster, member, true).await,
            GroupCommand::Remove(member) => set_member(&cluster, member, false).await,
            GroupCommand::Delete(GroupOption { group }) => {
                let group = cluster.group(group)?;
                directory.delete_group(&group).await.map_err(text)?;
                let line = format!("{group} deleted");
                cluster.print(&json!({ "deleted": group.to_string() }), &line);
                Ok(())
            }
            GroupCommand::Policy(command) => {
                let group = cluster.group(command.owner())?;
                let change = command.change()?;
                let changed = directory.change_group(&group, |group| change.apply(&mut group.head));
                command.print(&cluster, &changed.await.map_err(text)?)
            }
        }
    })
}
