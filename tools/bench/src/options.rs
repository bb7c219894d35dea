//! Options of `apus bench`, and what they must be together.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::connection::Endpoint;
use super::quantity;

/// What a phase does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Operation {
    /// Write each object
    Put,
    /// Read each object
    Get,
    /// Ask for each object's metadata
    Head,
    /// Delete each object
    Delete,
    /// Ask for the first page of the listing
    List,
}

impl Operation {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Get => "get",
            Self::Head => "head",
            Self::Delete => "delete",
            Self::List => "list",
        }
    }
}

/// How requests are spelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Dialect {
    /// Signed with Signature Version 4
    S3,
    /// With a token of tempauth
    Swift,
}

impl Dialect {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Swift => "swift",
        }
    }

    /// Rows that a page of a listing may have.
    fn list_rows_max(self) -> u64 {
        match self {
            Self::S3 => 1000,
            Self::Swift => 10_000,
        }
    }
}

/// What a signature covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Payload {
    /// Headers and body
    Signed,
    /// Headers only
    Unsigned,
}

/// Options of `apus bench`.
#[derive(Debug, Args)]
pub struct Options {
    /// Server to load
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080", value_parser = Endpoint::parse)]
    pub(super) endpoint: Endpoint,
    /// Operations, separated by commas; each is a phase of its own, in this order
    #[arg(long, value_delimiter = ',', required = true)]
    pub(super) op: Vec<Operation>,
    /// Bytes per object: 4096, 4KiB, 1MB, …
    #[arg(long, default_value = "4KiB", value_parser = quantity::size)]
    pub(super) size: u64,
    /// Connections, and requests in flight at most
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(super) concurrency: u32,
    /// Objects, and requests per phase
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub(super) count: u64,
    /// Time per phase; objects are then used again when all have had their turn (not by delete)
    #[arg(long, value_parser = quantity::duration)]
    pub(super) duration: Option<Duration>,
    /// Requests per second on a fixed schedule; latency counts from the scheduled time
    #[arg(long, value_name = "PER_SECOND", value_parser = quantity::rate)]
    pub(super) rate: Option<f64>,
    /// API to speak
    #[arg(long, default_value = "s3")]
    pub(super) dialect: Dialect,
    /// S3 access key; AWS_ACCESS_KEY_ID by default
    #[arg(long)]
    pub(super) access_key: Option<String>,
    /// S3 secret key; AWS_SECRET_ACCESS_KEY by default
    #[arg(long)]
    pub(super) secret_key: Option<String>,
    /// S3 region
    #[arg(long, default_value = "us-east-1")]
    pub(super) region: String,
    /// Swift user; ST_USER by default
    #[arg(long)]
    pub(super) user: Option<String>,
    /// Swift key; ST_KEY by default
    #[arg(long)]
    pub(super) key: Option<String>,
    /// Bucket or container; made when it does not exist
    #[arg(long, default_value = "bench")]
    pub(super) bucket: String,
    /// Whether S3 signatures cover bodies
    #[arg(long, default_value = "signed")]
    pub(super) payload: Payload,
    /// Write each S3 object as a multipart upload with parts of this size
    #[arg(long, value_name = "PART_SIZE", value_parser = quantity::size)]
    pub(super) multipart: Option<u64>,
    /// Rows per page of a listing [default: 1000 for s3, 10000 for swift]
    #[arg(long, value_name = "N")]
    list_rows: Option<u64>,
    /// Compare bodies, ETags and row counts with what was written (the default)
    #[arg(long, conflicts_with = "no_verify")]
    verify: bool,
    /// Look at the status only
    #[arg(long)]
    no_verify: bool,
    /// Chooses the bytes of the objects
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,
    /// Give up on a request after this time
    #[arg(long, default_value = "5m", value_parser = quantity::duration)]
    pub(super) timeout: Duration,
    /// Server processes whose CPU and memory to report, separated by commas
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    pub(super) server_pid: Vec<u32>,
    /// Threads that send requests
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(super) threads: u16,
    /// Print one JSON object per phase, one per line
    #[arg(long)]
    pub(super) json: bool,
}

/// A credential from the command line or from the environment.
fn credential(
    given: Option<&String>,
    option: &str,
    variable: &str,
    dialect: Dialect,
) -> Result<String, String> {
    given
        .cloned()
        .or_else(|| std::env::var(variable).ok())
        .filter(|text| !text.is_empty())
        .ok_or_else(|| {
            format!("--{option}: expected with --dialect {}, or {variable} set", dialect.name())
        })
}

impl Options {
    /// Refuses options that do not go together.
    pub(super) fn check(&self) -> Result<(), String> {
        if let Some(part) = self.multipart {
            if self.dialect != Dialect::S3 {
                return Err(format!("--multipart {part}: expected with --dialect s3 only"));
            }
            if part == 0 || !(1..=10_000).contains(&self.size.div_ceil(part)) {
                return Err(format!(
                    "--multipart {part}: expected a part size that cuts --size {} into 1 to 10000 parts",
                    self.size
                ));
            }
        }
        let most = self.dialect.list_rows_max();
        if let Some(rows) = self.list_rows.filter(|rows| !(1..=most).contains(rows)) {
            return Err(format!(
                "--list-rows {rows}: expected 1 to {most} with --dialect {}",
                self.dialect.name()
            ));
        }
        let s3_name = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        let allowed = match self.dialect {
            Dialect::S3 => self.bucket.bytes().all(s3_name),
            Dialect::Swift => !self.bucket.contains('/'),
        };
        if self.bucket.is_empty() || !allowed {
            return Err(format!("--bucket {:?}: expected the name of a bucket", self.bucket));
        }
        for pid in &self.server_pid {
            if super::process::rss_bytes(&[*pid]).is_none() {
                return Err(format!("--server-pid {pid}: expected a running process"));
            }
        }
        Ok(())
    }

    pub(super) fn verifies(&self) -> bool {
        self.verify || !self.no_verify
    }

    pub(super) fn list_rows(&self) -> u64 {
        self.list_rows.unwrap_or_else(|| self.dialect.list_rows_max())
    }

    /// Access key and secret key, or user and key.
    pub(super) fn credentials(&self) -> Result<(String, String), String> {
        let dialect = self.dialect;
        let (name, secret) = match dialect {
            Dialect::S3 => (
                credential(self.access_key.as_ref(), "access-key", "AWS_ACCESS_KEY_ID", dialect)?,
                credential(
                    self.secret_key.as_ref(),
                    "secret-key",
                    "AWS_SECRET_ACCESS_KEY",
                    dialect,
                )?,
            ),
            Dialect::Swift => (
                credential(self.user.as_ref(), "user", "ST_USER", dialect)?,
                credential(self.key.as_ref(), "key", "ST_KEY", dialect)?,
            ),
        };
        Ok((name, secret))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn options(text: &str) -> Result<Options, String> {
        Line::try_parse_from(["bench"].into_iter().chain(text.split_whitespace()))
            .map(|line| line.options)
            .map_err(|error| error.to_string())
    }

    fn refusal(text: &str) -> String {
        options(text).and_then(|options| options.check()).unwrap_err()
    }

    #[test]
    fn operations_run_in_the_order_given() {
        let given = options("--op put,get,head,list,delete").unwrap();
        let names: Vec<_> = given.op.into_iter().map(Operation::name).collect();
        assert_eq!(names, ["put", "get", "head", "list", "delete"]);
    }

    #[test]
    fn bad_values_are_named_with_their_option_and_what_was_expected() {
        for (text, option, value, expected) in [
            ("--op put --size 4K", "--size", "4K", "4KiB"),
            ("--op put --duration 10", "--duration", "10", "10s"),
            ("--op put --endpoint https://a", "--endpoint", "https://a", "http://"),
            ("--op pat", "--op", "pat", "put"),
            ("--op put --rate 0", "--rate", "0", "0.001 to"),
            ("--op put --multipart 0", "--multipart", "0", "part size"),
            ("--op put --multipart 1 --size 1MB", "--multipart", "1", "10000 parts"),
            ("--op put --dialect swift --multipart 1MB", "--multipart", "1000000", "s3"),
            ("--op list --list-rows 1001", "--list-rows", "1001", "1000"),
            ("--op list --bucket a/b", "--bucket", "a/b", "bucket"),
            ("--op put --server-pid 4294967295", "--server-pid", "4294967295", "running"),
        ] {
            let refusal = refusal(text);
            for word in [option, value, expected] {
                assert!(refusal.contains(word), "{text}: {refusal} does not say {word}");
            }
        }
    }

    #[test]
    fn what_is_verified_can_be_switched_off_and_not_both_ways() {
        assert!(options("--op get").unwrap().verifies());
        assert!(options("--op get --verify").unwrap().verifies());
        assert!(!options("--op get --no-verify").unwrap().verifies());
        assert!(options("--op get --verify --no-verify").is_err());
    }
}
