//! The policy of a bucket as it is stored.

use serde::{Deserialize, Serialize};

/// The policy of a bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketPolicyConfig {
    /// The document, as the client sent it.
    pub document: String,
    /// Whether a deny of operations on the policy is valid for the owner of the bucket, too, who has
    /// confirmed that.
    #[serde(default)]
    pub binds_owner: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stored::{ConfigKind, load, store};

    #[test]
    fn a_document_is_stored_as_it_was_sent() {
        let document = "{ \"Version\" : \"2012-10-17\",\n\t\"Id\":\"ü\" }".to_owned();
        let config = BucketPolicyConfig { document, binds_owner: true };
        let stored = store(ConfigKind::Policy, &config).unwrap();
        assert_eq!(load(ConfigKind::Policy, &stored).unwrap(), Some(config));
    }

    #[test]
    fn the_longest_document_can_be_stored() {
        let mut state = 7_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
            char::from(b'#' + (state >> 33) as u8 % 56)
        };
        let document = (0..20 * 1024).map(|_| next()).collect();
        let config = BucketPolicyConfig { document, binds_owner: false };
        assert!(store(ConfigKind::Policy, &config).is_ok());
    }
}
