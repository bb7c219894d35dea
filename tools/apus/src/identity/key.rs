//! `apus key`.

use apus_identity::{
    AccessKeyId, AccountUser, IdentityDirectory, KeyRecord, NewKey, Status, iso_time, parse_expiry,
};
use serde_json::{Value, json};

use super::{Cluster, Place, run, text, with};

/// Options of `apus key`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: KeyCommand,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, clap::Subcommand)]
enum KeyCommand {
    /// Create an access key and show its secret, once
    Create {
        /// The user, with its account
        #[arg(long, value_name = "ACCOUNT:USER")]
        user: String,
        /// When it expires: 90d, 12h, 30m, 2027-01-31, 2027-01-31T12:00:00Z or never
        #[arg(long, default_value = "never", value_name = "WHEN")]
        expires: String,
    },
    /// List the access keys of a user
    List {
        /// The user, with its account
        #[arg(long, value_name = "ACCOUNT:USER")]
        user: String,
    },
    /// Accept an access key again
    Enable(KeyOption),
    /// Refuse an access key
    Disable(KeyOption),
    /// Replace the secret of an access key and show the new one, once
    Rotate {
        /// The access key
        #[arg(value_name = "ACCESS_KEY")]
        key: String,
        /// When it expires from now on, as of `create`; unchanged if it is not given
        #[arg(long, value_name = "WHEN")]
        expires: Option<String>,
    },
    /// Delete an access key
    Delete(KeyOption),
}

#[derive(Debug, clap::Args)]
struct KeyOption {
    /// The access key
    #[arg(value_name = "ACCESS_KEY")]
    key: String,
}

pub(super) fn key_json(key: &KeyRecord) -> Value {
    json!({
        "access_key": key.id,
        "status": key.status.word(),
        "created": iso_time(key.created),
        "expires": key.expires.map(iso_time),
        "rotated": key.rotated.map(iso_time),
    })
}

pub(super) fn key_line(key: &KeyRecord) -> String {
    let or_never = |time: Option<u64>| time.map_or_else(|| "never".to_owned(), iso_time);
    format!(
        "{} {} created={} expires={} rotated={}",
        key.id,
        key.status.word(),
        iso_time(key.created),
        or_never(key.expires),
        or_never(key.rotated),
    )
}

/// Prints a key with its secret, for the only time.
fn show_secret(cluster: &Cluster, user: &AccountUser, new: &NewKey) {
    let json = with(key_json(&new.key), "user", user.to_string().into());
    let json = with(json, "secret_key", new.secret.as_str().into());
    let line = key_line(&new.key);
    let secret = new.secret.as_str();
    cluster.print(&json, &format!("{line}\naccess key: {}\nsecret key: {secret}", new.key.id));
}

/// A key, and the user that has it.
async fn found(
    directory: &IdentityDirectory,
    key: &str,
) -> Result<(AccessKeyId, AccountUser), String> {
    let expected = "expected AK and 18 capital letters or digits";
    let id = AccessKeyId::parse(key).ok_or_else(|| format!("access key {key:?}: {expected}"))?;
    let user = directory.user_of_key(&id).await.map_err(text)?;
    Ok((id, user))
}

async fn set_status(cluster: &Cluster, key: &str, status: Status) -> Result<(), String> {
    let directory = cluster.directory();
    let (id, user) = found(directory, key).await?;
    directory.set_key_status(&user, &id, status).await.map_err(text)?;
    let user = directory.existing_user(&user).await.map_err(text)?;
    if let Some(key) = user.key(&id) {
        cluster.print(&key_json(key), &key_line(key));
    }
    Ok(())
}

/// Runs the command.
pub(crate) fn main(options: &Options) -> Result<(), String> {
    run(&options.place, |cluster| async move {
        let directory = cluster.directory();
        let expiry = |text: &str| parse_expiry(text, directory.now()).map_err(super::text);
        match &options.command {
            KeyCommand::Create { user, expires } => {
                let (user, expires) = (cluster.user(user)?, expiry(expires)?);
                let new = directory.create_key(&user, expires).await.map_err(text)?;
                show_secret(&cluster, &user, &new);
                Ok(())
            }
            KeyCommand::List { user } => {
                let user = cluster.user(user)?;
                let user = directory.existing_user(&user).await.map_err(text)?;
                user.keys.iter().for_each(|key| cluster.print(&key_json(key), &key_line(key)));
                Ok(())
            }
            KeyCommand::Enable(KeyOption { key }) => {
                set_status(&cluster, key, Status::Active).await
            }
            KeyCommand::Disable(KeyOption { key }) => {
                set_status(&cluster, key, Status::Disabled).await
            }
            KeyCommand::Rotate { key, expires } => {
                let expires = expires.as_deref().map(expiry).transpose()?;
                let (id, user) = found(directory, key).await?;
                let new = directory.rotate_key(&user, &id, expires).await.map_err(text)?;
                show_secret(&cluster, &user, &new);
                Ok(())
            }
            KeyCommand::Delete(KeyOption { key }) => {
                let (id, user) = found(directory, key).await?;
                directory.delete_key(&user, &id).await.map_err(text)?;
                cluster.print(&json!({ "deleted": id.as_str() }), &format!("{id} deleted"));
                Ok(())
            }
        }
    })
}
