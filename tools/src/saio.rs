//! `apus saio`: a whole cluster in one process, made on the first start, the same on the second.
//!
//! Writes ordinary configuration files and rings under the data folder and then runs what
//! `apus all` runs.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use apus_daemon::drain::Signals;
use apus_daemon::{Scope, seed};
use apus_disk::{AtomicFile, Counters};
use apus_ring::builder::{NewDevice, RingBuilder, file};
use apus_ring::format::v1;

use crate::roles::{Node, Roles, runtime};

/// Options of `apus saio`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Folder that holds everything; made if it does not exist
    #[arg(long, default_value = "./apus-data", value_name = "DIR")]
    pub data: PathBuf,
    /// Port of the proxy on 127.0.0.1
    #[arg(long, default_value_t = 8080)]
    pub port: u16,
    /// Devices of a new cluster
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub devices: u16,
    /// Replicas of a new cluster
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=16))]
    pub replicas: u16,
    /// Also make the users that Swift's test suites expect (admin:admin, test:tester, …)
    #[arg(long)]
    pub dev_users: bool,
    /// Run the servers only, without replicators, auditors and other daemons
    #[arg(long)]
    pub no_daemons: bool,
    /// Print what clients need as one JSON line
    #[arg(long)]
    pub json: bool,
}

/// Names the format of the data folder; another number is not ours to touch.
const FORMAT: &str = "apus saio data, format 1\n";
const FORMAT_FILE: &str = "FORMAT";
const PART_POWER: u32 = 10;
const KINDS: [(&str, u16); 3] = [("object", 6200), ("container", 6201), ("account", 6202)];

/// The users of Swift's SAIO, as its `proxy-server.conf-sample` and test suites have them.
const DEV_USERS: [(&str, &str); 7] = [
    ("admin_admin", "admin .admin .reseller_admin"),
    ("test_tester", "testing .admin"),
    ("test_tester2", "testing2 .admin"),
    ("test2_tester2", "testing2 .admin"),
    ("test_tester3", "testing3"),
    ("test5_tester5", "testing5 service"),
    ("test_tester6", "testing6 .reseller_admin"),
];

/// Writes files of the data folder durably.
struct Folder {
    root: PathBuf,
    counters: Arc<Counters>,
}

impl Folder {
    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn write(&self, name: &str, content: &[u8]) -> Result<(), String> {
        let path = self.path(name);
        let directory = path.parent().unwrap_or(&self.root);
        let written = (|| {
            make_private(directory)?;
            let mut file = AtomicFile::create(directory, directory, &self.counters)?;
            file.append(content)?;
            file.sync()?;
            file.publish(&path, &[])
        })();
        written.map_err(|error: std::io::Error| format!("{}: {error}", path.display()))
    }
}

fn make(options: &Options, folder: &Folder) -> Result<(), String> {
    if options.replicas > options.devices {
        return Err(format!(
            "--replicas {}: expected at most --devices {}",
            options.replicas, options.devices
        ));
    }
    for device in 1..=options.devices {
        let path = folder.path(&format!("devices/sd{device}"));
        make_private(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    for (kind, port) in KINDS {
        let mut builder = RingBuilder::new(PART_POWER, f64::from(options.replicas), 1)?;
        builder.id = Some(seed::hex::<16>());
        for device in 1..=options.devices {
            builder.add(NewDevice {
                region: 1,
                zone: u32::from(device),
                ip: "127.0.0.1".to_owned(),
                port,
                replication_ip: None,
                replication_port: None,
                device: format!("sd{device}"),
                weight: 1.0,
                meta: String::new(),
            });
        }
        builder.rebalance(0, u64::from_le_bytes(seed::bytes()))?;
        folder.write(&format!("etc/{kind}.builder"), &file::encode(&builder))?;
        folder.write(&format!("etc/{kind}.ring.gz"), &v1::encode(&builder.ring_data())?)?;
        let (devices, cache) = (folder.path("devices"), folder.path("cache"));
        folder.write(
            &format!("etc/{kind}-server.conf"),
            format!(
                "[DEFAULT]\ndevices = {}\nmount_check = false\nbind_ip = 127.0.0.1\nbind_port = {port}\n\
                 recon_cache_path = {}\n\n\
                 [app:{kind}-server]\nuse = egg:swift#{kind}\n",
                devices.display(),
                cache.display()
            )
            .as_bytes(),
        )?;
    }
    folder.write(
        "etc/swift.conf",
        format!(
            "[swift-hash]\nswift_hash_path_prefix = {}\nswift_hash_path_suffix = {}\n\n\
             [storage-policy:0]\nname = gold\ndefault = yes\n\n\
             [apus]\ncluster_key = {}\n",
            seed::hex::<16>(),
            seed::hex::<16>(),
            seed::hex::<32>()
        )
        .as_bytes(),
    )?;
    let mut users = format!("user_apus_admin = {} .admin\n", seed::hex::<20>());
    if options.dev_users {
        for (name, value) in DEV_USERS {
            let _ = writeln!(users, "user_{name} = {value}");
        }
    }
    folder.write(
        "etc/proxy-server.conf",
        format!(
            "[DEFAULT]\nbind_ip = 127.0.0.1\nbind_port = {}\n\n\
             [app:proxy-server]\nuse = egg:swift#proxy\nclient_timeout = 60\n\n\
             [filter:tempauth]\nuse = egg:swift#tempauth\ntoken_key = {}\n{users}\n\
             [filter:s3api]\nuse = egg:swift#s3api\nlocation = us-east-1\nstorage_domain = localhost\nsigv2 = {}\n",
            options.port,
            seed::hex::<32>(),
            options.dev_users,
        )
        .as_bytes(),
    )?;
    restrict(&folder.path("etc"))?;
    // The last file: a folder without it was not finished and is made anew.
    folder.write(FORMAT_FILE, FORMAT.as_bytes())
}

/// Keys and names are in there: no other user may read them.
fn restrict(path: &Path) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))
        .map_err(|error| format!("{}: {error}", path.display()))
}

/// Makes a directory and those above it for this user only; what is there keeps its mode.
fn make_private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Makes the cluster on the first start; refuses folders that are something else.
fn ensure(options: &Options) -> Result<Folder, String> {
    let root = std::path::absolute(&options.data)
        .map_err(|error| format!("{}: {error}", options.data.display()))?;
    let folder = Folder { root, counters: Arc::default() };
    let at = |error: &dyn std::fmt::Display| format!("{}: {error}", folder.root.display());
    make_private(&folder.root).map_err(|error| at(&error))?;
    match std::fs::read_to_string(folder.path(FORMAT_FILE)) {
        Ok(format) if format == FORMAT => {}
        Ok(format) => {
            return Err(at(&format!("holds {:?}, expected {:?}", format.trim(), FORMAT.trim())));
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let mut entries = std::fs::read_dir(&folder.root).map_err(|error| at(&error))?;
            let unfinished = folder.path("etc").is_dir();
            if entries.next().is_some() && !unfinished {
                return Err(at(&"is not empty and no data folder of apus"));
            }
            // Also when an empty directory was given.
            restrict(&folder.root)?;
            make(options, &folder)?;
        }
        Err(error) => return Err(at(&error)),
    }
    Ok(folder)
}

/// Makes the cluster if it is not there yet, and its servers, without serving.
///
/// # Errors
/// What is wrong with the folder or an address, in one line.
pub async fn open(options: &Options) -> Result<Node, String> {
    let folder = ensure(options)?;
    set_port(&folder, options)?;
    Node::prepare(&folder.path("etc"), &roles(options)).await
}

fn roles(options: &Options) -> Roles {
    if options.no_daemons { Roles::main() } else { Roles::all() }
}

/// What a client needs.
struct Access {
    endpoint: String,
    auth_url: String,
    account: String,
    user: String,
    key: String,
}

fn access(folder: &Folder) -> Result<(Access, u16), String> {
    let conf = apus_daemon::config::Conf::read(&folder.path("etc/proxy-server.conf"))?;
    let port: u16 = conf.section("app:proxy-server").parse("bind_port", 8080, "a port")?;
    let auth = conf.section("filter:tempauth");
    let line = auth.get("user_apus_admin").ok_or("proxy-server.conf: no user_apus_admin")?;
    let key = line.split_whitespace().next().unwrap_or_default().to_owned();
    let endpoint = format!("http://127.0.0.1:{port}");
    let access = Access {
        auth_url: format!("{endpoint}/auth/v1.0"),
        endpoint,
        account: "AUTH_apus".to_owned(),
        user: "apus:admin".to_owned(),
        key,
    };
    Ok((access, port))
}

fn announce(options: &Options, folder: &Folder, access: &Access) {
    let Access { endpoint, auth_url, account, user, key } = access;
    if options.json {
        let line = serde_json::json!({
            "endpoint": endpoint,
            "auth_url": auth_url,
            "account": account,
            "user": user,
            "key": key,
            "access_key": user,
            "secret_key": key,
            "data": folder.root,
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
        data = folder.root.display()
    );
}

/// Sets the proxy's port of an existing cluster to what was asked for.
fn set_port(folder: &Folder, options: &Options) -> Result<(), String> {
    let path = folder.path("etc/proxy-server.conf");
    let text =
        std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let wanted = format!("bind_port = {}", options.port);
    let lines: Vec<&str> = text
        .lines()
        .map(|line| if line.starts_with("bind_port = ") { wanted.as_str() } else { line })
        .collect();
    let changed = lines.join("\n") + "\n";
    if changed != text {
        folder.write("etc/proxy-server.conf", changed.as_bytes())?;
    }
    Ok(())
}

/// Runs the cluster until a signal.
pub(crate) fn main(options: &Options) -> Result<(), String> {
    apus_daemon::log::start("warn");
    let folder = ensure(options)?;
    set_port(&folder, options)?;
    let (access, _) = access(&folder)?;
    let runtime = runtime()?;
    let result = runtime.block_on(async {
        let node = Node::prepare(&folder.path("etc"), &roles(options)).await?;
        // Who reads what is announced may stop it at once.
        let mut signals = Signals::catch().map_err(|error| format!("signals: {error}"))?;
        announce(options, &folder, &access);
        node.run(Scope::default(), &mut signals).await;
        Ok(())
    });
    runtime.shutdown_timeout(Duration::from_secs(5));
    result
}
