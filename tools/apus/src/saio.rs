//! `apus saio`: a whole cluster in one process.

use std::path::PathBuf;
use std::time::Duration;

use apus_daemon::drain::Signals;
use apus_daemon::{Scope, runtime};
use apus_node::saio::{self, Access};

/// How long a hanging disk may keep the process from ending.
const HANGING_MAX: Duration = Duration::from_secs(5);

/// Options of `apus saio`. An option that is not given keeps the value that the folder has.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Folder that holds everything; created if it does not exist
    #[arg(long, default_value = "./apus-data", value_name = "DIR")]
    data: PathBuf,
    /// Port of the proxy on 127.0.0.1, 0 for any that is free; 8080 for a new cluster, later the
    /// one that was given last
    #[arg(long)]
    port: Option<u16>,
    /// Devices of a new cluster [default: 4]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=64))]
    devices: Option<u16>,
    /// Replicas of a new cluster [default: 3]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=16))]
    replicas: Option<u16>,
    /// Also create the users that Swift's test suites expect (admin:admin, test:tester, …)
    #[arg(long)]
    dev_users: bool,
    /// Run the servers only, without replicators, auditors and other daemons
    #[arg(long)]
    no_daemons: bool,
    /// Print what clients need as one JSON line
    #[arg(long)]
    json: bool,
}

impl Arguments {
    fn options(&self) -> saio::Options {
        saio::Options {
            data: self.data.clone(),
            port: self.port,
            devices: self.devices,
            replicas: self.replicas,
            dev_users: self.dev_users,
            no_daemons: self.no_daemons,
        }
    }
}

fn announce(access: &Access, json: bool) {
    let Access { endpoint, auth_url, account, user, key, data } = access;
    if json {
        let line = serde_json::json!({
            "endpoint": endpoint,
            "auth_url": auth_url,
            "account": account,
            "user": user,
            "key": key,
            "access_key": user,
            "secret_key": key,
            "data": data,
        });
        println!("{line}");
        return;
    }
    println!(
        "Apus is ready at {endpoint}   (data in {data})

S3     access key  {user}
       secret key  {key}
Swift  auth URL    {auth_url}
       user        {user}
       key         {key}

Try it:
  export AWS_ACCESS_KEY_ID={user} AWS_SECRET_ACCESS_KEY={key} AWS_DEFAULT_REGION=us-east-1
  aws --endpoint-url {endpoint} s3 mb s3://demo
  aws --endpoint-url {endpoint} s3 cp README.md s3://demo/
  aws --endpoint-url {endpoint} s3 ls s3://demo/

  swift -A {auth_url} -U {user} -K {key} upload demo README.md
  swift -A {auth_url} -U {user} -K {key} list demo

  rclone lsf --s3-provider Other --s3-endpoint {endpoint} \\
    --s3-access-key-id {user} --s3-secret-access-key {key} :s3:demo

Ctrl-C stops.",
        data = data.display()
    );
}

/// Runs the cluster until a signal.
pub(crate) fn main(arguments: &Arguments) -> Result<(), String> {
    apus_daemon::log::start("warn");
    let runtime = runtime::multi_thread().map_err(|error| error.to_string())?;
    let result = runtime.block_on(async {
        let saio::Cluster { mut node, access } = saio::open(&arguments.options()).await?;
        node.own_for_daemons(&Scope::default()).await?;
        // A client that reads the announcement may stop the process at once.
        let mut signals = Signals::catch().map_err(|error| format!("signals: {error}"))?;
        announce(&access, arguments.json);
        node.run(Scope::default(), &mut signals).await;
        Ok(())
    });
    runtime.shutdown_timeout(HANGING_MAX);
    result
}
