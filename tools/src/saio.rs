//! `apus saio`: a whole cluster in one process, made on the first start, the same on the second.
//!
//! Writes ordinary configuration files and rings under the data folder and then runs what
//! `apus all` runs.

mod folder;
mod users;

use std::path::PathBuf;
use std::time::Duration;

use apus_daemon::Scope;
use apus_daemon::config::Conf;
use apus_daemon::drain::Signals;

use self::folder::Folder;
use crate::roles::{Node, Roles, runtime};

/// A cluster that is to be there.
#[derive(Debug)]
pub struct Options {
    /// Folder that holds everything; made if it does not exist.
    pub data: PathBuf,
    /// Port of the proxy on 127.0.0.1; 0 for any that is free.
    pub port: u16,
    /// Devices.
    pub devices: u16,
    /// Replicas.
    pub replicas: u16,
    /// Whether it has the users that Swift's test suites expect.
    pub dev_users: bool,
    /// Run the servers only, without replicators, auditors and other daemons.
    pub no_daemons: bool,
    /// Print what clients need as one JSON line.
    pub json: bool,
}

/// Options of `apus saio`. What is not given is as the folder has it.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Folder that holds everything; made if it does not exist
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
    /// Also make the users that Swift's test suites expect (admin:admin, test:tester, …)
    #[arg(long)]
    dev_users: bool,
    /// Run the servers only, without replicators, auditors and other daemons
    #[arg(long)]
    no_daemons: bool,
    /// Print what clients need as one JSON line
    #[arg(long)]
    json: bool,
}

impl From<&Options> for Arguments {
    fn from(options: &Options) -> Self {
        Self {
            data: options.data.clone(),
            port: Some(options.port),
            devices: Some(options.devices),
            replicas: Some(options.replicas),
            dev_users: options.dev_users,
            no_daemons: options.no_daemons,
            json: options.json,
        }
    }
}

/// Makes the cluster if it is not there yet, and its servers, without serving. The folder stays
/// locked for as long as the process lives.
///
/// # Errors
/// What is wrong with the folder or an address, in one line.
pub async fn open(options: &Options) -> Result<Node, String> {
    let arguments = Arguments::from(options);
    let folder = Folder::open(&arguments)?;
    let mut node = Node::prepare_silent(&folder.path("etc"), &roles(&arguments)).await?;
    node.keep(Box::new(folder));
    Ok(node)
}

fn roles(arguments: &Arguments) -> Roles {
    if arguments.no_daemons { Roles::main() } else { Roles::all() }
}

/// What a client needs.
struct Access {
    endpoint: String,
    auth_url: String,
    account: String,
    user: String,
    key: String,
}

fn access(folder: &Folder, port: u16) -> Result<Access, String> {
    let conf = Conf::read(&folder.path(folder::PROXY_CONF))?;
    let auth = conf.section("filter:tempauth");
    let line = auth.get("user_apus_admin").ok_or("proxy-server.conf: no user_apus_admin")?;
    let key = line.split_whitespace().next().unwrap_or_default().to_owned();
    let endpoint = format!("http://127.0.0.1:{port}");
    Ok(Access {
        auth_url: format!("{endpoint}/auth/v1.0"),
        endpoint,
        account: "AUTH_apus".to_owned(),
        user: "apus:admin".to_owned(),
        key,
    })
}

fn announce(arguments: &Arguments, folder: &Folder, access: &Access) {
    let Access { endpoint, auth_url, account, user, key } = access;
    if arguments.json {
        let line = serde_json::json!({
            "endpoint": endpoint,
            "auth_url": auth_url,
            "account": account,
            "user": user,
            "key": key,
            "access_key": user,
            "secret_key": key,
            "data": folder.root(),
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
        data = folder.root().display()
    );
}

/// Runs the cluster until a signal.
pub(crate) fn main(arguments: &Arguments) -> Result<(), String> {
    apus_daemon::log::start("warn");
    let folder = Folder::open(arguments)?;
    let runtime = runtime()?;
    let result = runtime.block_on(async {
        let mut node = Node::prepare_silent(&folder.path("etc"), &roles(arguments)).await?;
        node.own_for_daemons(&Scope::default()).await?;
        let port = node.proxy_address().ok_or("the proxy does not listen")?.port();
        let access = access(&folder, port)?;
        // Who reads what is announced may stop it at once.
        let mut signals = Signals::catch().map_err(|error| format!("signals: {error}"))?;
        announce(arguments, &folder, &access);
        node.run(Scope::default(), &mut signals).await;
        Ok(())
    });
    runtime.shutdown_timeout(Duration::from_secs(5));
    result
}
