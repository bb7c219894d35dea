//! Sign-in and tokens of Swift's dialect, for users of the configuration and the cluster's own.
//!
//! The token of a user of the cluster names the access key whose secret it was issued for: it ends
//! within seconds when the key or the user is disabled, deleted or expires.

use std::time::Duration;

use apus_identity::AccessKeyId;
use apus_store::Result;
use apus_store::access::Identity;

use super::identities::store_error;
use super::tempauth::SignIn;
use crate::deps::ProxyDeps;

/// Verifies a user's key. `base` is the cluster's URL.
///
/// # Errors
/// Those of the cluster.
pub(crate) async fn sign_in(
    deps: &ProxyDeps,
    name: &str,
    key: &str,
    base: &str,
) -> Result<Option<SignIn>> {
    let now = deps.clock.now();
    let known = deps.auth.sign_in(name, key, base, now.as_secs());
    if known.is_some() || deps.auth.has_name(name) {
        return Ok(known);
    }
    let Some(user) = deps.identities.parse_name(name) else { return Ok(None) };
    let directory = deps.identities.directory();
    let found = directory.key_with_secret(&user, key).await.map_err(store_error)?;
    let account = user.account.as_str();
    Ok(found.map(|id| deps.auth.sign_in_of_key(id.as_str(), account, base, now.as_secs())))
}

/// The identity that a token proves, if it is valid and has not expired.
///
/// # Errors
/// Those of the cluster.
pub(crate) async fn identity(
    deps: &ProxyDeps,
    token: &str,
    now: Duration,
) -> Result<Option<Identity>> {
    let Some(subject) = deps.auth.subject(token, now.as_secs()) else { return Ok(None) };
    // Names of users of the configuration have a colon.
    match AccessKeyId::parse(&subject) {
        Some(id) => {
            let user = deps.identities.user_of(&id, now).await?;
            Ok(user.map(|user| user.identity).filter(|identity| !deps.auth.has_user(identity)))
        }
        None => Ok(deps.auth.identity_of(&subject)),
    }
}
