//! Hosts of the rings in `--swiftdir`.

use std::collections::BTreeSet;
use std::path::Path;

use apus_cluster::{Policies, Policy, PolicyIndex};
use apus_membership::swift_conf;
use apus_ring::SharedRing;

use super::options::{Options, ServerType};

/// A server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Host {
    pub(super) ip: String,
    /// `ip:port`.
    pub(super) address: String,
}

/// The policies of the cluster.
pub(super) fn policies(swiftdir: &Path) -> Result<Policies, String> {
    Ok(swift_conf(swiftdir)?.policies)
}

/// The policy of a name or index; all policies without one.
pub(super) fn chosen(policies: &Policies, named: Option<&str>) -> Result<Vec<Policy>, String> {
    let Some(name) = named else { return Ok(policies.iter().cloned().collect()) };
    let index = name.parse().ok().map(PolicyIndex);
    let found = index.and_then(|index| policies.get(index)).or_else(|| policies.by_name(name));
    found
        .map(|policy| vec![policy.clone()])
        .ok_or_else(|| format!("Invalid Storage Policy: {name}"))
}

/// The servers of one type, each once, in order.
pub(super) fn hosts(
    options: &Options,
    server: ServerType,
    policies: &[Policy],
) -> Result<Vec<Host>, String> {
    let names: Vec<String> = match server {
        ServerType::Object => {
            policies.iter().map(|policy| policy.index.suffixed("object")).collect()
        }
        ServerType::Account | ServerType::Container => vec![server.name().to_owned()],
    };
    let mut hosts = BTreeSet::new();
    for name in names {
        let ring = SharedRing::load(&options.swiftdir.join(format!("{name}.ring.gz")))
            .map_err(|error| error.to_string())?;
        for device in ring.get().devices().iter().flatten() {
            if options.region.is_none_or(|region| region == device.region)
                && options.zone.is_none_or(|zone| zone == device.zone)
            {
                hosts.insert(Host { ip: device.ip.clone(), address: device.address() });
            }
        }
    }
    Ok(hosts.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use apus_cluster::SwiftConf;
    use apus_daemon::config::Conf;

    use super::*;

    #[test]
    fn a_policy_is_named_by_index_name_or_alias() {
        let conf = Conf::parse(
            "[swift-hash]\nswift_hash_path_prefix = a\n[storage-policy:0]\nname = gold\ndefault = yes\n\
             [storage-policy:4]\nname = silver\naliases = cheap\n",
        )
        .unwrap();
        let policies = SwiftConf::from_sections(conf.sections()).unwrap().policies;
        let chosen = |name| {
            chosen(&policies, name)
                .map(|chosen| chosen.iter().map(|policy| policy.index.0).collect())
        };
        assert_eq!(chosen(None), Ok(vec![0, 4]));
        for name in ["4", "silver", "cheap"] {
            assert_eq!(chosen(Some(name)), Ok(vec![4]), "{name}");
        }
        assert_eq!(chosen(Some("lead")), Err("Invalid Storage Policy: lead".to_owned()));
    }

    #[test]
    fn hosts_are_those_of_the_ring_each_once_by_region_and_zone() {
        let directory =
            std::env::temp_dir().join(format!("apus-recon-hosts-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let vectors =
            concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/ring/saio.ring.gz");
        std::fs::copy(vectors, directory.join("container.ring.gz")).unwrap();
        let mut options = Options { swiftdir: directory.clone(), ..Options::default() };
        let all = hosts(&options, ServerType::Container, &[]).unwrap();
        assert!(!all.is_empty() && all.windows(2).all(|pair| pair[0] < pair[1]), "{all:?}");
        options.region = Some(4711);
        assert_eq!(hosts(&options, ServerType::Container, &[]), Ok(vec![]));
        options.region = None;
        options.zone = Some(1);
        assert!(
            hosts(&options, ServerType::Container, &[]).unwrap().len() < all.len()
                || all.len() == 1
        );
        let error = hosts(&options, ServerType::Account, &[]).unwrap_err();
        assert!(error.contains("account.ring.gz"), "{error}");
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
