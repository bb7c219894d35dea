//! Options that commands have in common, under Swift's names and letters.

use apus_ring::SyntaxError;
use apus_ring::search::{DeviceSpec, normal_address};
use clap::Parser;

use super::output::CommandError;

/// Devices by search value or by options, never both.
#[derive(Debug, Parser)]
#[command(no_binary_name = true, infer_long_args = true, args_override_self = true)]
pub(super) struct DeviceOptions {
    /// Device ID
    #[arg(short = 'u', long, allow_hyphen_values = true)]
    id: Option<i64>,
    /// Region
    #[arg(short, long, allow_hyphen_values = true)]
    region: Option<i64>,
    /// Zone
    #[arg(short, long, allow_hyphen_values = true)]
    zone: Option<i64>,
    /// IP address or host name
    #[arg(short, long, allow_hyphen_values = true)]
    ip: Option<String>,
    /// Port number
    #[arg(short, long, allow_hyphen_values = true)]
    port: Option<i64>,
    /// Replication IP address or host name
    #[arg(short = 'j', long, allow_hyphen_values = true)]
    replication_ip: Option<String>,
    /// Replication port number
    #[arg(short = 'q', long, allow_hyphen_values = true)]
    replication_port: Option<i64>,
    /// Device name (e.g. md0, sdb1)
    #[arg(short, long, allow_hyphen_values = true)]
    device: Option<String>,
    /// Device weight
    #[arg(short, long, allow_hyphen_values = true)]
    weight: Option<f64>,
    /// Extra device info (just a string)
    #[arg(short, long, allow_hyphen_values = true)]
    meta: Option<String>,
    /// IP address or host name to change to
    #[arg(short = 'I', long, allow_hyphen_values = true)]
    change_ip: Option<String>,
    /// Port number to change to
    #[arg(short = 'P', long, allow_hyphen_values = true)]
    change_port: Option<i64>,
    /// Replication IP address or host name to change to
    #[arg(short = 'J', long, allow_hyphen_values = true)]
    change_replication_ip: Option<String>,
    /// Replication port number to change to
    #[arg(short = 'Q', long, allow_hyphen_values = true)]
    change_replication_port: Option<i64>,
    /// Device name to change to
    #[arg(short = 'D', long, allow_hyphen_values = true)]
    change_device: Option<String>,
    /// Extra device info to change to
    #[arg(short = 'M', long, allow_hyphen_values = true)]
    change_meta: Option<String>,
    /// Assume a yes response to all questions
    #[arg(short, long)]
    pub(super) yes: bool,
    /// Arguments that are not options
    pub(super) words: Vec<String>,
}

/// Parses a command's options; help and errors are printed as usual, help ends with 0 and errors
/// with 2.
pub(super) fn parse<T: Parser>(arguments: &[String]) -> Result<T, CommandError> {
    let command = T::command().bin_name("ring-builder ... <command>");
    let found =
        command.try_get_matches_from(arguments).and_then(|found| T::from_arg_matches(&found));
    found.map_err(|error| {
        // A pipe that is closed early is not an error.
        let _ = error.print();
        if error.use_stderr() { CommandError::Printed } else { CommandError::HelpShown }
    })
}

fn address(text: Option<&String>) -> Result<Option<String>, SyntaxError> {
    text.filter(|text| !text.is_empty()).map(|text| normal_address(text)).transpose()
}

impl DeviceOptions {
    /// Whether devices are selected by options.
    pub(super) fn by_options(&self) -> bool {
        let is_text = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        let is_port = |port: Option<i64>| port.is_some_and(|port| port != 0);
        [self.id, self.region, self.zone].iter().any(Option::is_some)
            || [&self.ip, &self.replication_ip, &self.device, &self.meta].into_iter().any(is_text)
            || [self.port, self.replication_port].into_iter().any(is_port)
            || self.weight.is_some()
    }

    /// The devices that the options select or describe.
    pub(super) fn spec(&self) -> Result<DeviceSpec, SyntaxError> {
        Ok(DeviceSpec {
            id: self.id,
            region: self.region,
            zone: self.zone,
            ip: address(self.ip.as_ref())?,
            port: self.port,
            replication_ip: address(self.replication_ip.as_ref())?,
            replication_port: self.replication_port,
            device: self.device.clone(),
            weight: self.weight,
            meta: self.meta.clone(),
        })
    }

    /// The changes by the `--change-*` options.
    pub(super) fn change(&self) -> Result<DeviceSpec, SyntaxError> {
        let text = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        Ok(DeviceSpec {
            ip: address(self.change_ip.as_ref())?,
            port: self.change_port.filter(|port| *port != 0),
            replication_ip: address(self.change_replication_ip.as_ref())?,
            replication_port: self.change_replication_port.filter(|port| *port != 0),
            device: text(&self.change_device),
            meta: text(&self.change_meta),
            ..DeviceSpec::default()
        })
    }
}

/// Ring format options.
#[derive(Debug, clap::Args)]
pub(super) struct FormatOptions {
    /// Format of the ring file; 1 is read by older releases of Swift, too
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=2))]
    format_version: Option<u8>,
}

impl FormatOptions {
    /// The version, and Swift's note when none is given.
    pub(super) fn version(&self) -> (u8, Option<&'static str>) {
        const NOTE: &str = "\
Defaulting to --format-version=1. This ensures the ring
written will be readable by older versions of Swift.
In a future release, the default will change to
--format-version=2
";
        match self.format_version {
            Some(version) => (version, None),
            None => (1, Some(NOTE)),
        }
    }
}
