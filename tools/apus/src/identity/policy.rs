//! `apus user policy` and `apus group policy`.

use std::collections::BTreeMap;
use std::io::Read;

use apus_identity::{IdentityError, IdentityHead, PolicyName};
use serde_json::{Value, json};

use super::{Cluster, text};

/// Longest file that is read, in bytes; longer documents are refused anyway.
const FILE_BYTES_MAX: u64 = 64 * 1024;

#[derive(Debug, clap::Subcommand)]
pub(super) enum PolicyCommand {
    /// Set a policy
    Put {
        #[command(flatten)]
        named: PolicyOption,
        /// File with the document, as JSON; - for standard input
        #[arg(value_name = "FILE")]
        file: String,
    },
    /// Show the document of a policy
    Show(PolicyOption),
    /// List the names of the policies
    List {
        /// The user or group, with its account
        #[arg(value_name = "ACCOUNT:NAME")]
        owner: String,
    },
    /// Delete a policy
    Delete(PolicyOption),
}

#[derive(Debug, clap::Args)]
pub(super) struct PolicyOption {
    /// The user or group, with its account
    #[arg(value_name = "ACCOUNT:NAME")]
    owner: String,
    /// Name of the policy
    #[arg(value_name = "POLICY")]
    policy: String,
}

impl PolicyCommand {
    /// The user or group.
    pub(super) fn owner(&self) -> &str {
        match self {
            Self::Put { named, .. } | Self::Show(named) | Self::Delete(named) => &named.owner,
            Self::List { owner } => owner,
        }
    }

    /// The change that the command makes.
    pub(super) fn change(&self) -> Result<PolicyChange, String> {
        let name = |named: &PolicyOption| PolicyName::parse(&named.policy).map_err(text);
        Ok(match self {
            Self::Put { named, file } => PolicyChange::Put(name(named)?, document(file)?),
            Self::Delete(named) => PolicyChange::Delete(name(named)?),
            Self::Show(_) | Self::List { .. } => PolicyChange::Nothing,
        })
    }

    /// Prints what it asks for, of the policies of its user or group.
    pub(super) fn print(
        &self,
        cluster: &Cluster,
        policies: &BTreeMap<String, String>,
    ) -> Result<(), String> {
        match self {
            Self::Put { named, .. } | Self::Delete(named) => {
                let names: Vec<&str> = policies.keys().map(String::as_str).collect();
                let names_text = if names.is_empty() { "none".to_owned() } else { names.join(" ") };
                let json = json!({ "owner": named.owner, "policies": names });
                cluster.print(&json, &format!("{} policies: {names_text}", named.owner));
            }
            Self::List { .. } => {
                policies.keys().for_each(|name| cluster.print(&json!({ "policy": name }), name));
            }
            Self::Show(named) => {
                let document = policies
                    .get(&named.policy)
                    .ok_or_else(|| format!("policy {}: does not exist", named.policy))?;
                let parsed: Value = serde_json::from_str(document).map_err(text)?;
                cluster.print(&parsed, document);
            }
        }
        Ok(())
    }
}

/// A change of the policies of a user or group.
#[derive(Debug)]
pub(super) enum PolicyChange {
    Nothing,
    Put(PolicyName, String),
    Delete(PolicyName),
}

impl PolicyChange {
    /// Makes the change, and returns all policies after it.
    pub(super) fn apply(
        &self,
        head: &mut IdentityHead,
    ) -> Result<BTreeMap<String, String>, IdentityError> {
        match self {
            Self::Nothing => {}
            Self::Put(name, document) => head.put_policy(name, document)?,
            Self::Delete(name) => head.remove_policy(name)?,
        }
        Ok(head.policies.clone())
    }
}

/// The text of a document.
fn document(file: &str) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("{file}: {error}");
    let mut document = String::new();
    let read = match file {
        "-" => std::io::stdin().take(FILE_BYTES_MAX).read_to_string(&mut document),
        path => {
            let file = std::fs::File::open(path).map_err(failed)?;
            file.take(FILE_BYTES_MAX).read_to_string(&mut document)
        }
    };
    read.map_err(failed)?;
    Ok(document)
}
