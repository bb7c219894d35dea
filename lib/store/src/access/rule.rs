//! The rule that decided on a request, for the audit log.
//!
//! The authorizer notes it where it decides, and the last note counts: it may be asked again with more
//! facts. A request is handled by one task, which has the note.

use std::borrow::Cow;
use std::future::Future;
use std::sync::{Mutex, PoisonError};

tokio::task_local! {
    static NOTE: Mutex<Option<Cow<'static, str>>>;
}

/// Runs what handles a request; returns its result and the rule that decided.
pub async fn noted<T>(handling: impl Future<Output = T>) -> (T, Option<Cow<'static, str>>) {
    let handled = async {
        let result = handling.await;
        let text = NOTE.with(|note| note.lock().unwrap_or_else(PoisonError::into_inner).take());
        (result, text)
    };
    NOTE.scope(Mutex::default(), handled).await
}

/// Notes the rule that decided; without effect where no request is handled.
pub fn note(text: impl Into<Cow<'static, str>>) {
    let _ = NOTE.try_with(|note| {
        *note.lock().unwrap_or_else(PoisonError::into_inner) = Some(text.into());
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_rule_of_a_request_is_kept() {
        let (result, text) = noted(async {
            note("first");
            note("second".to_owned());
            7
        })
        .await;
        assert_eq!((result, text.as_deref()), (7, Some("second")));
        note("no request");
        assert_eq!(noted(async {}).await.1, None);
    }
}
