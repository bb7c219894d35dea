//! Roles of a process: servers, daemons, and the groups of Swift's manager.

/// A server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Server {
    /// Serves clients.
    Proxy,
    /// Lists containers.
    Account,
    /// Lists objects.
    Container,
    /// Keeps objects.
    Object,
}

impl Server {
    /// All of them, the proxy last.
    pub const ALL: [Self; 4] = [Self::Account, Self::Container, Self::Object, Self::Proxy];

    /// The word before `-server`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Proxy => "proxy",
            Self::Account => "account",
            Self::Container => "container",
            Self::Object => "object",
        }
    }

    /// Default port.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Proxy => 8080,
            Self::Account => 6202,
            Self::Container => 6201,
            Self::Object => 6200,
        }
    }
}

/// Daemons by the names that Swift gives them, and the server whose devices and configuration
/// they share.
pub const DAEMONS: [(&str, Server); 14] = [
    ("account-auditor", Server::Account),
    ("account-reaper", Server::Account),
    ("account-replicator", Server::Account),
    ("container-auditor", Server::Container),
    ("container-lifecycle", Server::Container),
    ("container-notifier", Server::Container),
    ("container-reclaimer", Server::Container),
    ("container-reconciler", Server::Container),
    ("container-replicator", Server::Container),
    ("container-updater", Server::Container),
    ("object-auditor", Server::Object),
    ("object-expirer", Server::Object),
    ("object-replicator", Server::Object),
    ("object-updater", Server::Object),
];

/// The servers and daemons of a process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roles {
    /// Servers.
    pub servers: Vec<Server>,
    /// Daemons, by name.
    pub daemons: Vec<&'static str>,
}

impl Roles {
    /// The four servers.
    pub fn main() -> Self {
        Self { servers: Server::ALL.to_vec(), daemons: Vec::new() }
    }

    /// Everything but the servers.
    pub fn rest() -> Self {
        Self { servers: Vec::new(), daemons: DAEMONS.map(|(name, _)| name).to_vec() }
    }

    /// Everything.
    pub fn all() -> Self {
        Self { daemons: Self::rest().daemons, ..Self::main() }
    }

    /// A role or a group by name: `object-server`, `object-auditor`, `main`, `rest`, `all`.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "main" => return Some(Self::main()),
            "rest" => return Some(Self::rest()),
            "all" => return Some(Self::all()),
            _ => {}
        }
        if let Some((name, _)) = DAEMONS.iter().find(|(known, _)| *known == name) {
            return Some(Self { servers: Vec::new(), daemons: vec![name] });
        }
        let kind = name.strip_suffix("-server")?;
        let server = Server::ALL.into_iter().find(|server| server.name() == kind)?;
        Some(Self { servers: vec![server], daemons: Vec::new() })
    }

    /// The server whose configuration speaks for the process.
    pub(crate) fn first(&self) -> Option<Server> {
        let of_daemon = |name: &&str| DAEMONS.iter().find(|(known, _)| known == name);
        let served = self.servers.first().copied();
        served.or_else(|| self.daemons.iter().find_map(of_daemon).map(|(_, server)| *server))
    }

    /// The daemons that work on the devices of `server`.
    pub(crate) fn daemons_of(&self, server: Server) -> impl Iterator<Item = &'static str> {
        let own = DAEMONS.iter().filter(move |(_, of)| *of == server);
        own.map(|(name, _)| *name).filter(|name| self.daemons.contains(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_role_has_a_name_and_a_group() {
        for (name, _) in DAEMONS {
            assert_eq!(Roles::named(name).unwrap().daemons, [name]);
            assert!(Roles::named("rest").unwrap().daemons.contains(&name));
        }
        for server in Server::ALL {
            let name = format!("{}-server", server.name());
            assert_eq!(Roles::named(&name).unwrap().servers, [server]);
        }
        assert_eq!(Roles::named("object"), None);
    }
}
