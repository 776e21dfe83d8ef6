//! The operator's say in how requests are made.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use chassis::Env;
use chassis::config::duration;
use ipnet::IpNet;

use crate::{EgressConfig, EgressProxy};

impl EgressConfig {
    /// Reads the settings. What has none keeps its default.
    pub fn read(env: &mut Env) -> Self {
        let defaults = Self::default();
        let config = Self {
            allow: env.read_with(
                "POSTRIDER_EGRESS_ALLOW_CIDRS",
                "",
                "Private and other special ranges that receivers may be in after all, such as `10.20.0.0/16`; several with commas between.",
                ranges,
            ),
            deny: env.read_with(
                "POSTRIDER_EGRESS_DENY_CIDRS",
                "",
                "Ranges that receivers may never be in, stronger than the allowed ones; several with commas between.",
                ranges,
            ),
            name_servers: env.read_with(
                "POSTRIDER_EGRESS_NAME_SERVERS",
                "",
                "Addresses of the servers at which receivers' names are looked up, such as `192.0.2.53` or `192.0.2.53:5353`; several with commas between. Those of the system where there are none. Ones that do not know internal names tell customers nothing of them.",
                servers,
            ),
            connect_timeout: env.read_with(
                "POSTRIDER_EGRESS_CONNECT_TIMEOUT",
                "5s",
                "How long a connection to a receiver may take, TLS included.",
                duration,
            ),
            total_timeout: total_timeout(env),
            extra_ca_pem: env
                .optional(
                    "POSTRIDER_EGRESS_CA_FILE",
                    "Path of further root certificates that receivers' certificates may come from, in PEM.",
                    |path| std::fs::read(path).map_err(|error| format!("cannot read {path}: {error}")),
                )
                .unwrap_or_default(),
            proxy: env.optional(
                "POSTRIDER_EGRESS_PROXY",
                "SOCKS5 proxy that all requests to receivers go through, such as `socks5://user:password@proxy.internal:1080`. It is told IPv4 addresses, which are vetted before.",
                EgressProxy::parse,
            ),
            ..defaults
        };
        env.check(!config.connect_timeout.is_zero(), || {
            "POSTRIDER_EGRESS_CONNECT_TIMEOUT: must be longer than nothing".into()
        });
        env.check(config.connect_timeout <= config.total_timeout, || {
            "POSTRIDER_EGRESS_CONNECT_TIMEOUT: must not be longer than POSTRIDER_EGRESS_TIMEOUT"
                .into()
        });
        config
    }
}

/// Parses ranges such as `10.0.0.0/8`, and single addresses, with commas between.
fn ranges(text: &str) -> Result<Vec<IpNet>, String> {
    let range = |text: &str| {
        let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
        text.parse().ok().or_else(address).ok_or_else(|| {
            format!("expected ranges such as 10.20.0.0/16 or fd00::/8, found {text:?}")
        })
    };
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(range).collect()
}

/// Parses addresses with or without a port, with commas between.
fn servers(text: &str) -> Result<Vec<SocketAddr>, String> {
    let server = |text: &str| {
        let address = || text.parse().ok().map(|address: IpAddr| SocketAddr::new(address, 53));
        text.parse().ok().or_else(address).ok_or_else(|| {
            format!("expected addresses such as 192.0.2.53 or [2001:db8::53]:5353, found {text:?}")
        })
    };
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(server).collect()
}

/// How long a request to a receiver may take.
pub(crate) fn total_timeout(env: &mut Env) -> Duration {
    env.read_with(
        "POSTRIDER_EGRESS_TIMEOUT",
        "10s",
        "How long a request to a receiver may take in all.",
        duration,
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<EgressConfig, String> {
        let pairs = pairs.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        let mut env = Env::from_pairs(pairs);
        let config = EgressConfig::read(&mut env);
        let known = env.settings().to_vec();
        env.finish(&known).map(|()| config).map_err(|error| error.to_string())
    }

    #[test]
    fn settings_say_the_same_as_the_defaults() {
        let (read, default) = (read(&[]).unwrap(), EgressConfig::default());
        assert_eq!(read.connect_timeout, default.connect_timeout);
        assert_eq!(read.total_timeout, default.total_timeout);
        assert!(read.allow.is_empty() && read.deny.is_empty() && read.extra_ca_pem.is_empty());
    }

    #[test]
    fn ranges_and_single_addresses_are_taken() {
        let config = read(&[("POSTRIDER_EGRESS_ALLOW_CIDRS", "127.0.0.0/8, ::1")]).unwrap();
        assert_eq!(config.allow, ["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()]);
    }

    #[test]
    fn wrong_settings_are_told_all_at_once() {
        let problems = read(&[
            ("POSTRIDER_EGRESS_DENY_CIDRS", "10.0.0.0/33"),
            ("POSTRIDER_EGRESS_CA_FILE", "/nowhere/roots.pem"),
            ("POSTRIDER_EGRESS_TIMEOUT", "1s"),
            ("POSTRIDER_EGRESS_PROXY", "http://proxy.internal:3128"),
        ])
        .unwrap_err();
        for name in ["DENY_CIDRS", "CA_FILE", "CONNECT_TIMEOUT", "EGRESS_PROXY"] {
            assert!(problems.contains(name), "{problems}");
        }
        assert_eq!(read(&[]).unwrap().total_timeout, Duration::from_secs(10));
    }
}
