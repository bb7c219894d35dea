//! The command line of `apus`: parse, dispatch, exit codes.
//!
//! 0 done, 1 warning, 2 usage or error, as Swift's tools. Under the name of one of Swift's programs
//! (`swift-object-replicator`) the executable runs that role, so that Swift's manager can start it.
//! Under the name `ring-builder` it is the ring builder.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use apus_daemon::Scope;
use apus_node::{Roles, RunOptions, Task, run};
use apus_ring_manager::{join, operate};
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::identity::{group, key, user};
use crate::{lifecycle, manual, reconciler_enqueue, relinker, ring_transport, saio};

/// Object storage: Swift and S3 over one ring.
#[derive(Parser)]
#[command(name = "apus", version = env!("APUS_VERSION"), max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a whole cluster in one process
    #[command(after_help = "Example:\n  apus saio --data ./apus-data --port 8080")]
    Saio(saio::Arguments),
    #[command(flatten)]
    Role(Role),
    /// Build and inspect rings, as `ring-builder`
    #[command(disable_help_flag = true)]
    RingBuilder {
        /// `ring-builder`'s own arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Compose one ring of several builders, as `swift-ring-composer`
    #[command(disable_help_flag = true)]
    RingComposer {
        /// `ring-composer`'s own arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Apply a scenario of changes to a ring, as `swift-ring-builder-analyzer`
    #[command(disable_help_flag = true)]
    RingBuilderAnalyzer {
        /// The scenario's file, `--check`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Distribute rings to all nodes of a cluster and compare them
    Ring(Box<ring_transport::Options>),
    /// Load a server over S3 or Swift and measure rates, latencies and CPU
    #[command(after_help = BENCH_HELP)]
    Bench(Box<apus_bench::Options>),
    /// Check the servers of a cluster, as `swift-recon`
    #[command(after_help = RECON_HELP, infer_long_args = true, args_override_self = true)]
    Recon(Box<apus_recon::Options>),
    /// Link objects to their next partitions, as `swift-object-relinker`
    #[command(after_help = RELINKER_HELP, args_override_self = true)]
    ObjectRelinker(Box<relinker::Options>),
    /// Manage the rings of a cluster: let nodes join, drain devices, rebalance
    RingManager(apus_ring_manager::Options),
    /// Add this machine to a cluster as a node
    #[command(after_help = JOIN_HELP)]
    Join(Box<join::Options>),
    /// Drain a node or a device until it is safe to pull
    #[command(after_help = DRAIN_HELP)]
    Drain(operate::Drain),
    /// Apply the lifecycle rules of one bucket now, or list what they demand
    #[command(after_help = LIFECYCLE_HELP)]
    Lifecycle(lifecycle::Options),
    /// Create, list, disable and delete the cluster's own users
    #[command(after_help = USER_HELP)]
    User(user::Options),
    /// Create and delete groups of users, and change their members
    Group(group::Options),
    /// Create, list, disable, rotate and delete access keys of users
    #[command(after_help = KEY_HELP)]
    Key(key::Options),
    /// Check a configuration, or show where its options come from
    Config(apus_config::Options),
    /// Add an object to the container reconciler's queue, as `swift-reconciler-enqueue`
    #[command(after_help = ENQUEUE_HELP)]
    ReconcilerEnqueue(reconciler_enqueue::Options),
    /// Print a script that completes commands and options in a shell
    #[command(after_help = COMPLETIONS_HELP)]
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Write a man page for each command into a folder
    #[command(after_help = MAN_PAGES_HELP)]
    ManPages {
        /// The folder; created if it does not exist
        directory: PathBuf,
    },
}

/// Roles that run from a configuration.
#[derive(Subcommand)]
enum Role {
    /// Run the proxy server
    ProxyServer(RoleOptions),
    /// Run the account server
    AccountServer(RoleOptions),
    /// Run the container server
    ContainerServer(RoleOptions),
    /// Run the object server
    ObjectServer(RoleOptions),
    /// Check account databases and quarantine damaged ones
    AccountAuditor(RoleOptions),
    /// Remove the containers and objects of deleted accounts
    AccountReaper(RoleOptions),
    /// Replicate account databases to their nodes
    AccountReplicator(RoleOptions),
    /// Check container databases and quarantine damaged ones
    ContainerAuditor(RoleOptions),
    /// Delete what the lifecycle rules of buckets name
    ContainerLifecycle(RoleOptions),
    /// Deliver events of buckets to webhooks
    ContainerNotifier(RoleOptions),
    /// Delete the parts of multipart uploads that no object needs
    ContainerReclaimer(RoleOptions),
    /// Move objects of the wrong policy to their container's policy
    ContainerReconciler(RoleOptions),
    /// Replicate container databases to their nodes
    ContainerReplicator(RoleOptions),
    /// Report counts and sizes of containers to their accounts
    ContainerUpdater(RoleOptions),
    /// Check objects and quarantine damaged ones
    ObjectAuditor(RoleOptions),
    /// Delete expired objects
    ObjectExpirer(RoleOptions),
    /// Replicate objects to their nodes
    ObjectReplicator(RoleOptions),
    /// Deliver listing updates that container servers missed
    ObjectUpdater(RoleOptions),
    /// Run the four servers in one process
    Main(RoleOptions),
    /// Run all daemons in one process
    Rest(RoleOptions),
    /// Run the four servers and all daemons in one process
    All(RoleOptions),
}

impl Role {
    fn options(&self) -> (&'static str, &RoleOptions) {
        match self {
            Self::ProxyServer(options) => ("proxy-server", options),
            Self::AccountServer(options) => ("account-server", options),
            Self::ContainerServer(options) => ("container-server", options),
            Self::ObjectServer(options) => ("object-server", options),
            Self::AccountAuditor(options) => ("account-auditor", options),
            Self::AccountReaper(options) => ("account-reaper", options),
            Self::AccountReplicator(options) => ("account-replicator", options),
            Self::ContainerAuditor(options) => ("container-auditor", options),
            Self::ContainerLifecycle(options) => ("container-lifecycle", options),
            Self::ContainerNotifier(options) => ("container-notifier", options),
            Self::ContainerReclaimer(options) => ("container-reclaimer", options),
            Self::ContainerReconciler(options) => ("container-reconciler", options),
            Self::ContainerReplicator(options) => ("container-replicator", options),
            Self::ContainerUpdater(options) => ("container-updater", options),
            Self::ObjectAuditor(options) => ("object-auditor", options),
            Self::ObjectExpirer(options) => ("object-expirer", options),
            Self::ObjectReplicator(options) => ("object-replicator", options),
            Self::ObjectUpdater(options) => ("object-updater", options),
            Self::Main(options) => ("main", options),
            Self::Rest(options) => ("rest", options),
            Self::All(options) => ("all", options),
        }
    }
}

const JOIN_HELP: &str = "\
Existing files are never overwritten; the command can be repeated.

Example:
  apus join 10.0.0.1 --device /srv/node/sdb1 --device /srv/node/sdc1 --key-file key";

const DRAIN_HELP: &str = "\
Exit code: 0 safe to pull, 1 not yet, 2 error.

Example:
  apus drain 10.0.0.4 --wait && ssh 10.0.0.4 poweroff && apus drain 10.0.0.4 --remove";

const BENCH_HELP: &str = "\
Latencies and rates are those of successful requests. S3 requests are hashed and signed before the
clock starts (the first 100000, and 4 GiB of bodies; later ones between requests). CPU is counted by the kernel in
steps of 10 ms, so short phases measure it poorly.

Exit code: 0 all requests succeeded, 1 some failed, 2 the bench could not run.

Example:
  apus bench --op put,get,head,list,delete --access-key test:tester --secret-key testing";

const RECON_HELP: &str = "\
Hosts are those of the rings in --swiftdir. Options are swift-recon's; --all runs all checks.

Exit code: 0 all checks passed, 1 a host did not respond or a check failed, 2 no check could run.

Example:
  apus recon object --replication --diskusage";

const RELINKER_HELP: &str = "\
Run `relink` on every node between `prepare_increase_partition_power` and
`increase_partition_power`, and `cleanup` between that, or a cancellation, and
`finish_increase_partition_power`. It may be stopped and started again at any time.

Exit code: 0 done, 1 something failed, 2 no policy's ring is at this step.

Example:
  apus object-relinker relink /etc/swift/object-server.conf";

const LIFECYCLE_HELP: &str = "\
The daemon container-lifecycle applies the rules of all buckets every hour; this command does not wait
for it. An object that changes meanwhile stays.

Example:
  apus lifecycle /AUTH_test/logs --dry-run";

const USER_HELP: &str = "\
Users are kept in the cluster; proxies need no restart and notice a change within seconds. The users of
proxy-server.conf are others and are not shown.

Example:
  apus user create test:alice --admin && apus key create --user test:alice --expires 90d";

const KEY_HELP: &str = "\
The access key and its secret sign S3 requests; in Swift's dialect the secret is the user's key. To change
a secret without an interruption, create a second key and delete the first one.

Example:
  apus key create --user test:alice --expires 90d --json";

const ENQUEUE_HELP: &str = "\
The reconciler then checks the object's policy, and moves the object to that of its container.

Example:
  apus reconciler-enqueue 1 /AUTH_test/c/o 1700000000.12345";

const COMPLETIONS_HELP: &str = "\
Examples:
  apus completions bash > /usr/share/bash-completion/completions/apus
  apus completions zsh > /usr/share/zsh/vendor-completions/_apus
  apus completions fish > ~/.config/fish/completions/apus.fish";

const MAN_PAGES_HELP: &str = "\
Pages of the same names are overwritten.

Example:
  apus man-pages /usr/local/share/man/man1 && man apus-saio";

#[derive(clap::Args)]
struct RoleOptions {
    /// Directory with swift.conf, rings and *-server.conf, or one server's conf file or conf.d
    conf: PathBuf,
    /// `once`, `verbose`: the same as the options, as Swift's manager passes them
    #[arg(value_parser = ["once", "verbose"])]
    words: Vec<String>,
    /// Run one pass of each daemon, then exit
    #[arg(short, long)]
    once: bool,
    /// Check the configuration: create the servers, but do not listen and run nothing
    #[arg(short, long)]
    test_config: bool,
    /// Only these devices, separated by commas
    #[arg(short, long, value_delimiter = ',')]
    devices: Vec<String>,
    /// Only these partitions, separated by commas
    #[arg(short, long, value_delimiter = ',')]
    partitions: Vec<u32>,
    /// Only these policies, by index, separated by commas
    #[arg(short = 'i', long, value_delimiter = ',')]
    policies: Vec<u32>,
    /// Under the name of one of Swift's programs: log to the console instead of syslog
    #[arg(short, long)]
    verbose: bool,
}

impl RoleOptions {
    fn has_word(&self, word: &str) -> bool {
        self.words.iter().any(|given| given == word)
    }

    fn run_options(&self) -> RunOptions {
        RunOptions {
            once: self.once || self.has_word("once"),
            test: self.test_config,
            detached: is_swifts_name() && !self.verbose && !self.has_word("verbose"),
        }
    }

    /// Whether devices, partitions or policies are limited.
    fn is_limited(&self) -> bool {
        !(self.devices.is_empty() && self.partitions.is_empty() && self.policies.is_empty())
    }

    fn scope(&self) -> Scope {
        Scope {
            devices: self.devices.iter().cloned().collect(),
            partitions: BTreeSet::from_iter(self.partitions.iter().copied()),
            policies: BTreeSet::from_iter(self.policies.iter().copied()),
        }
    }
}

/// The ring builder's command, and the name of a link to the executable.
const RING_BUILDER: &str = "ring-builder";

/// The role or other command that the name of one of Swift's programs stands for.
fn command_of(program: &OsString) -> Option<String> {
    let name = Path::new(program).file_name()?.to_string_lossy().into_owned();
    const TOOLS: [&str; 6] = [
        "object-relinker",
        "recon",
        "reconciler-enqueue",
        RING_BUILDER,
        "ring-builder-analyzer",
        "ring-composer",
    ];
    let is_ours = |name: &&str| TOOLS.contains(name) || Roles::named(name).is_some();
    let name = name.strip_prefix("swift-")?;
    // Swift's builder takes the folder's lock only under the longer name, ours always.
    let name = if name == "ring-builder-safe" { RING_BUILDER } else { name };
    Some(name).filter(is_ours).map(str::to_owned)
}

/// Whether this process was started under the name of one of Swift's programs.
pub(crate) fn is_swifts_name() -> bool {
    std::env::args_os().next().is_some_and(|program| command_of(&program).is_some())
}

/// The words of the command line; a name of Swift's program becomes the command's.
fn words(mut words: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let program = words.next().unwrap_or_default();
    let is_builder = Path::new(&program).file_name().is_some_and(|name| name == RING_BUILDER);
    let command = if is_builder { Some(RING_BUILDER.to_owned()) } else { command_of(&program) };
    let mut all = vec![program];
    all.extend(command.map(OsString::from));
    all.extend(words);
    all
}

/// Runs the command line of this process.
pub(crate) fn main() -> ExitCode {
    let cli = match Cli::try_parse_from(words(std::env::args_os())) {
        Ok(cli) => cli,
        Err(error) => {
            // A pipe that is closed early is not an error.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    let result = match cli.command {
        Command::Saio(options) => saio::main(&options),
        Command::Role(role) => {
            let (name, options) = role.options();
            let run_options = options.run_options();
            match Roles::named(name) {
                Some(roles) if run_options.once && !roles.servers.is_empty() => {
                    Err(format!("{name}: only daemons can run once"))
                }
                Some(roles) if roles.daemons.is_empty() && options.is_limited() => Err(format!(
                    "{name}: --devices, --partitions and --policies are for daemons, and have no effect on servers"
                )),
                Some(roles) => {
                    let (path, scope) = (options.conf.as_path(), options.scope());
                    run(&Task { name, path, roles: &roles, scope, options: run_options })
                }
                None => Err(format!("{name}: unknown role")),
            }
        }
        Command::RingBuilder { arguments } => return apus_ring_builder::main(arguments),
        Command::RingComposer { arguments } => return apus_ring_builder::composer(arguments),
        Command::RingBuilderAnalyzer { arguments } => {
            return apus_ring_builder::analyzer(arguments);
        }
        Command::Ring(options) => match ring_transport::main(&options) {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
        Command::Bench(options) => return apus_bench::main(&options),
        Command::Lifecycle(options) => lifecycle::main(&options),
        Command::User(options) => user::main(&options),
        Command::Group(options) => group::main(&options),
        Command::Key(options) => key::main(&options),
        Command::Completions { shell } => manual::completions(shell, Cli::command()),
        Command::ManPages { directory } => manual::write_pages(&directory, Cli::command()),
        Command::ReconcilerEnqueue(options) => reconciler_enqueue::main(&options),
        Command::ObjectRelinker(options) => match relinker::main(&options) {
            Ok(code) => return ExitCode::from(code),
            Err(error) => {
                eprintln!("apus: {error}");
                return ExitCode::from(relinker::FAILED);
            }
        },
        Command::Config(options) => return exit_code(apus_config::main(&options)),
        Command::RingManager(options) => apus_ring_manager::main(&options),
        Command::Join(options) => return exit_code(join::main(&options)),
        Command::Drain(options) => return exit_code(operate::drain(&options)),
        Command::Recon(options) => match apus_recon::main(&options) {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
    };
    exit_code(result.map(|()| ExitCode::SUCCESS))
}

/// The exit code of a command; prints its error.
fn exit_code(result: Result<ExitCode, String>) -> ExitCode {
    result.unwrap_or_else(|error| {
        eprintln!("apus: {error}");
        ExitCode::from(2)
    })
}

#[cfg(test)]
mod tests {
    use apus_node::{DAEMONS, Server};

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(words(line.split(' ').map(OsString::from)))
    }

    #[test]
    fn swifts_programs_are_roles_under_their_own_names() {
        let servers = Server::ALL.map(|server| format!("{}-server", server.name()));
        for name in DAEMONS.map(|(name, _)| name.to_owned()).iter().chain(&servers) {
            let cli =
                parse(&format!("/usr/bin/swift-{name} /etc/swift/x.conf once verbose -v")).unwrap();
            let Command::Role(role) = cli.command else { panic!("{name} is not a role") };
            let (role, options) = role.options();
            assert_eq!(role, name);
            assert!(
                options.has_word("once") && options.has_word("verbose") && !options.has_word("x")
            );
            assert_eq!(options.conf, Path::new("/etc/swift/x.conf"));
        }
        assert!(parse("swift-object /etc/swift").is_err());
        for line in ["target/release/ring-builder --help", "apus ring-builder --help"] {
            let Command::RingBuilder { arguments } = parse(line).unwrap().command else {
                panic!("{line} does not run the ring builder");
            };
            assert_eq!(arguments, ["--help"]);
        }
        let cli = parse("swift-recon container -l --auditor --load -z 3 -t 9").unwrap();
        assert!(matches!(cli.command, Command::Recon(_)));
        let cli = parse("swift-object-relinker relink x.conf --device sd1 -p 1 -p 2 --workers 2");
        assert!(matches!(cli.unwrap().command, Command::ObjectRelinker(_)));
        let cli = parse("swift-reconciler-enqueue 1 /a/c/o 1700000000 -X DELETE -f").unwrap();
        assert!(matches!(cli.command, Command::ReconcilerEnqueue(_)));
    }

    #[test]
    fn a_scope_is_given_as_swifts_programs_take_it() {
        let cli = parse("apus object-replicator etc --once -d sd1,sd2 -p 3 -i 0,1").unwrap();
        let Command::Role(role) = cli.command else { panic!("no role") };
        let scope = role.options().1.scope();
        assert!(scope.has_device("sd2") && !scope.has_device("sd3"));
        assert!(scope.has_partition(3) && !scope.has_partition(4));
        assert!(scope.has_policy(1) && !scope.has_policy(2));
    }
}
