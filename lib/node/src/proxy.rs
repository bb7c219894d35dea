//! The proxy server of a process.

use std::sync::Arc;

use apus_daemon::config::{Conf, Section};
use apus_daemon::http::SharedHandler;
use apus_proxy::auth::authorize::Rules;
use apus_proxy::auth::tempauth::TempAuth;
use apus_proxy::{ProxyConfig, ProxyDeps, PublicUrl};
use apus_store::clock::HybridClock;
use apus_store::quorum::Quorum;
use apus_store::stage::symlink::HOPS_MAX;

use super::conf::bind_address;
use super::filters::{Pipeline, tempauth_options};
use super::node::Builder;
use super::role::Server;

impl Builder<'_> {
    pub(super) fn quorum(&self) -> Quorum {
        Quorum::new(
            self.client.clone(),
            self.rings.clone(),
            self.cluster.hash.clone(),
            self.cluster.policies.clone(),
            Arc::new(HybridClock::new(self.clock.clone())),
        )
    }

    pub(super) fn proxy(&self, conf: &Conf) -> Result<SharedHandler, String> {
        let app = conf.section("app:proxy-server");
        let pipeline = Pipeline::read(conf)?;
        let is_loopback = bind_address(&app, Server::Proxy)?.ip().is_loopback();
        let users = tempauth_options(conf, &pipeline, is_loopback)?;
        let auth = TempAuth::from_options(users.into_iter(), &self.cluster.hash)
            .map_err(|error| format!("proxy-server.conf: {error}"))?;
        let rules = Arc::new(Rules::new(auth.reseller_prefix()));
        // Options of a filter that is off have no effect.
        let of = |name: &Option<String>| conf.section(name.as_deref().unwrap_or_default());
        let s3 = of(&pipeline.s3api);
        let domains = s3.get("storage_domain").unwrap_or_default();
        // New users need an account, so accounts are created by default.
        let account_autocreate = app.flag("account_autocreate", true)?;
        let symloop_max = of(&pipeline.symlink).parse("symloop_max", HOPS_MAX, "a number")?;
        // Swift uses the default for an invalid number.
        let symloop_max = if symloop_max < 1 { HOPS_MAX } else { symloop_max };
        let quorum = self.quorum().making_accounts(account_autocreate);
        let config = ProxyConfig {
            storage_domains: domains
                .split(',')
                .map(|domain| domain.trim().to_owned())
                .filter(|domain| !domain.is_empty())
                .collect(),
            s3api: pipeline.s3api.is_some(),
            sigv2: s3.flag("sigv2", false)?,
            anonymous_account: s3.get("anonymous_account").unwrap_or_default().to_owned(),
            allow_account_management: app.flag("allow_account_management", false)?,
            account_autocreate,
            region: s3.get("location").unwrap_or("us-east-1").to_owned(),
            symloop_max,
            allow_open_expired: app.flag("allow_open_expired", false)?,
            allow_async_delete: of(&pipeline.slo).flag("allow_async_delete", true)?,
            public_url: PublicUrl::parse(app.get("public_url").unwrap_or_default())
                .map_err(|error| format!("proxy-server.conf: [app:proxy-server] {error}"))?,
            client_timeout_seconds: app.parse("client_timeout", 60, "whole seconds")?,
        };
        Ok(Arc::new(apus_proxy::Server::new(ProxyDeps {
            store: apus_store::pipeline::client(quorum, rules, upload_bytes(&app)?, symloop_max),
            auth: Arc::new(auth),
            policies: self.cluster.policies.clone(),
            clock: self.clock.clone(),
            constraints: self.cluster.constraints.clone(),
            config: Arc::new(config),
        })))
    }
}

/// `upload_memory`, in MiB; a quarter of the machine's memory when it is not given.
fn upload_bytes(app: &Section<'_>) -> Result<u64, String> {
    let machine = || {
        let text = std::fs::read_to_string("/proc/meminfo").ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    // /proc counts in KiB.
    let quarter_mib = machine().map_or(1024, |kib| kib / 1024 / 4);
    Ok(app.parse("upload_memory", quarter_mib, "whole MiB")?.saturating_mul(1024 * 1024))
}
