//! What is noted of a request while it is handled: the rule that decided, for the audit log, and buckets
//! whose access is logged.
//!
//! The authorizer notes the rule where it decides, and the last one counts: it may be asked again with more
//! facts. A request is handled by one task, which has the notes.

use std::borrow::Cow;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use apus_bucket::ConfigKind;
use apus_cluster::ContainerPath;

use crate::operation::ContainerHead;

/// Most buckets that are noted of one request.
const LOGGED_MAX: usize = 4;

/// The notes of one request.
#[derive(Debug, Default)]
pub struct RequestTrail {
    /// The rule that decided last.
    pub rule: Option<Cow<'static, str>>,
    /// The buckets that the request reached and that have a logging configuration.
    pub logged: Vec<(ContainerPath, Arc<ContainerHead>)>,
}

tokio::task_local! {
    static TRAIL: Mutex<RequestTrail>;
}

fn with_trail(change: impl FnOnce(&mut RequestTrail)) {
    let _ =
        TRAIL.try_with(|trail| change(&mut trail.lock().unwrap_or_else(PoisonError::into_inner)));
}

/// Runs what handles a request; returns its result and what was noted.
pub async fn during<T>(handling: impl Future<Output = T>) -> (T, RequestTrail) {
    let handled = async {
        let result = handling.await;
        let mut found = RequestTrail::default();
        with_trail(|trail| found = std::mem::take(trail));
        (result, found)
    };
    TRAIL.scope(Mutex::default(), handled).await
}

/// Notes the rule that decided; without effect where no request is handled.
pub fn rule(text: impl Into<Cow<'static, str>>) {
    with_trail(|trail| trail.rule = Some(text.into()));
}

/// Notes a bucket, if its access is logged.
pub(crate) fn container(path: &ContainerPath, head: &Arc<ContainerHead>) {
    if !head.headers.contains_key(ConfigKind::Logging.header()) {
        return;
    }
    with_trail(|trail| {
        let is_known = trail.logged.iter().any(|(known, _)| known == path);
        if !is_known && trail.logged.len() < LOGGED_MAX {
            trail.logged.push((path.clone(), head.clone()));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_rule_of_a_request_is_kept() {
        let (result, trail) = during(async {
            rule("first");
            rule("second".to_owned());
            7
        })
        .await;
        assert_eq!((result, trail.rule.as_deref()), (7, Some("second")));
        rule("no request");
        assert!(during(async {}).await.1.rule.is_none());
    }
}
