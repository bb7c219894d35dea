//! The rule for names of new buckets.

/// Whether a bucket may have this name (AWS's general purpose bucket rules).
pub fn is_bucket_name(name: &str) -> bool {
    let edge = |byte: Option<&u8>| {
        byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    let bytes = name.as_bytes();
    (3..=63).contains(&name.len())
        && bytes.iter().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-')
        })
        && edge(bytes.first())
        && edge(bytes.last())
        && !name.contains("..")
        && name.parse::<std::net::Ipv4Addr>().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_names_follow_awss_rules() {
        for good in
            ["abc", "a.b-c1", "x23456789012345678901234567890123456789012345678901234567890123"]
        {
            assert!(is_bucket_name(good), "{good}");
        }
        for bad in ["ab", "Abc", "a_b", "-abc", "abc-", "a..b", "192.168.5.4", "a/b", ".abc"] {
            assert!(!is_bucket_name(bad), "{bad}");
        }
    }
}
