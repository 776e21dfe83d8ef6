//! All settings of a process, read and checked together.

use std::net::SocketAddr;
use std::time::Duration;

use bus::BusConfig;
use chassis::config::{ConfigError, Setting, duration};
use chassis::telemetry::TelemetryConfig;
use chassis::{Door, Env};
use egress::EgressConfig;
use egress::mail::MailConfig;
use store::StoreConfig;

use crate::roles::{Configured, Role, read_egress};

/// What every process has, whatever its roles.
pub(crate) struct ProcessConfig {
    pub(crate) telemetry: TelemetryConfig,
    pub(crate) ops_addr: SocketAddr,
    pub(crate) ops_door: Door,
    pub(crate) drain_timeout: Duration,
}

impl ProcessConfig {
    pub(crate) fn read(env: &mut Env) -> Self {
        Self {
            telemetry: TelemetryConfig::read(env),
            ops_addr: env.read(
                "POSTRIDER_OPS_ADDR",
                "127.0.0.1:9100",
                "Where `/healthz`, `/readyz` and `/metrics` are served.",
            ),
            ops_door: Door::open(env, "ops"),
            drain_timeout: env.read_with(
                "POSTRIDER_DRAIN_TIMEOUT",
                "25s",
                "How long a stopping process may finish what is in flight. Keep it below the grace period of whoever stops it.",
                duration,
            ),
        }
    }
}

/// The settings of a process that runs these roles.
pub(crate) struct Settings {
    pub(crate) process: ProcessConfig,
    pub(crate) bus: BusConfig,
    pub(crate) egress: Option<EgressConfig>,
    pub(crate) roles: Vec<Configured>,
}

impl Settings {
    /// Reads the settings of these roles.
    ///
    /// # Errors
    /// Everything that is wrong with them, and every name that no role knows.
    pub(crate) fn read(mut env: Env, roles: &[Role]) -> Result<Self, ConfigError> {
        let settings = Self {
            process: ProcessConfig::read(&mut env),
            bus: BusConfig::read(&mut env),
            egress: read_egress(roles, &mut env),
            roles: roles.iter().map(|role| Configured::read(*role, &mut env)).collect(),
        };
        if let Some(egress) = &settings.egress {
            let drain = settings.process.drain_timeout;
            env.check(drain > egress.total_timeout, || {
                "POSTRIDER_DRAIN_TIMEOUT: must be longer than POSTRIDER_EGRESS_TIMEOUT".into()
            });
        }
        settings.check_mail(&mut env);
        env.finish(&known())?;
        Ok(settings)
    }

    /// A mail that is being handed over is to end before another process thinks
    /// that nobody is at it, and before a stop ends it.
    fn check_mail(&self, env: &mut Env) {
        let mail = self.roles.iter().find_map(|configured| match configured {
            Configured::Dispatcher(config) => config.mail.as_ref(),
            _ => None,
        });
        let Some(mail) = mail else { return };
        for (name, limit) in [
            ("POSTRIDER_LEASE", self.bus.lease),
            ("POSTRIDER_DRAIN_TIMEOUT", self.process.drain_timeout),
        ] {
            env.check(mail.total_timeout < limit, || {
                format!("POSTRIDER_SMTP_TIMEOUT: must be shorter than {name}")
            });
        }
    }
}

/// What `postrider migrate` needs.
///
/// # Errors
/// As with [`Settings::read`].
pub(crate) fn read_for_migration(
    mut env: Env,
) -> Result<(TelemetryConfig, StoreConfig), ConfigError> {
    let settings = (TelemetryConfig::read(&mut env), StoreConfig::read(&mut env));
    env.finish(&known())?;
    Ok(settings)
}

/// A chapter of the reference: what its settings are for, and the settings.
pub(crate) struct Chapter {
    pub(crate) title: &'static str,
    pub(crate) about: &'static str,
    pub(crate) settings: Vec<Setting>,
}

/// Every setting there is, each in the first chapter that it belongs to.
pub(crate) fn chapters() -> Vec<Chapter> {
    type Read = fn(&mut Env);
    let chapters: [(&str, &str, Read); 12] = [
        ("Every process", "Logs, the operator's port, and stopping.", |env| {
            ProcessConfig::read(env);
        }),
        ("NATS", "Every role but `console` and `request-bin`.", |env| {
            BusConfig::read(env);
        }),
        ("PostgreSQL", "`settings-api`, `archive`, and `postrider migrate`.", |env| {
            StoreConfig::read(env);
        }),
        (
            "Calls to receivers",
            "`dispatcher`, and `settings-api` for the check of an alert's URL.",
            |env| {
                EgressConfig::read(env);
            },
        ),
        (
            "Mail",
            "`dispatcher`, and `settings-api` for test calls. Without a relay, email alerts cannot be saved, and those that were saved before are held.",
            |env| {
                MailConfig::read(env);
                chassis::config::console_url(env);
            },
        ),
        (
            "settings-api",
            "The customers' APIs and the internal `Admin` service. `POSTRIDER_SECRET_KEY` is read by `dispatcher` and `console` too, and has to be the same there.",
            |env| {
                Configured::read(Role::SettingsApi, env);
            },
        ),
        ("ingest", "Takes events.", |env| {
            Configured::read(Role::Ingest, env);
        }),
        ("fanout", "Works out who is to hear of an event.", |env| {
            Configured::read(Role::Fanout, env);
        }),
        ("dispatcher", "Sends deliveries and retries them.", |env| {
            Configured::read(Role::Dispatcher, env);
        }),
        ("archive", "Keeps the history.", |env| {
            Configured::read(Role::Archive, env);
        }),
        (
            "console",
            "The control panel. Needs neither broker nor database, but the customers' APIs.",
            |env| {
                Configured::read(Role::Console, env);
            },
        ),
        (
            "request-bin",
            "Throw-away receivers for tests. Needs neither broker nor database.",
            |env| {
                Configured::read(Role::RequestBin, env);
            },
        ),
    ];
    // One environment for all, which notes each name once, where it is met first.
    let mut env = Env::default();
    chapters
        .into_iter()
        .map(|(title, about, read)| {
            let before = env.settings().len();
            read(&mut env);
            Chapter { title, about, settings: env.settings()[before..].to_vec() }
        })
        .collect()
}

/// The settings of all roles.
fn known() -> Vec<Setting> {
    chapters().into_iter().flat_map(|chapter| chapter.settings).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> Env {
        Env::from_pairs(pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())))
    }

    fn problems(pairs: &[(&str, &str)], roles: &[Role]) -> String {
        let read = Settings::read(env(pairs), roles);
        read.err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn another_roles_setting_is_no_mistake_but_nobodys_is() {
        let another_roles = ("POSTRIDER_DATABASE_URL", "postgres://postrider@127.0.0.1/postrider");
        assert_eq!(problems(&[another_roles], &[Role::Ingest]), "");
        let problems = problems(&[("POSTRIDER_INGEST_GPRC_ADDR", "127.0.0.1:1")], &[Role::Ingest]);
        assert!(problems.contains("POSTRIDER_INGEST_GPRC_ADDR: there is no such"), "{problems}");
        assert!(problems.contains("did you mean POSTRIDER_INGEST_"), "{problems}");
    }

    #[test]
    fn all_problems_of_all_roles_are_told_at_once() {
        let problems = problems(
            &[("POSTRIDER_OPS_ADDR", "nowhere"), ("POSTRIDER_EGRESS_TIMEOUT", "1h")],
            &Role::PLATFORM,
        );
        for name in ["OPS_ADDR", "DRAIN_TIMEOUT", "DATABASE_URL", "SECRET_KEY"] {
            assert!(problems.contains(&format!("POSTRIDER_{name}")), "{name}: {problems}");
        }
        let of_the_key = problems.matches("POSTRIDER_SECRET_KEY is not set").count();
        assert_eq!(of_the_key, 1, "two roles read it: {problems}");
    }

    #[test]
    fn a_mail_has_less_time_than_the_lease_and_the_drain() {
        let relay = [
            ("POSTRIDER_SMTP_URL", "smtp://relay.example"),
            ("POSTRIDER_MAIL_FROM", "alerts@example.net"),
        ];
        let key = "00".repeat(32);
        let told = |roles: &[Role], more: &[(&str, &str)]| {
            problems(&[&relay, &[("POSTRIDER_SECRET_KEY", key.as_str())][..], more].concat(), roles)
        };
        assert_eq!(told(&[Role::Dispatcher], &[]), "", "the defaults fit");
        let long = [("POSTRIDER_SMTP_TIMEOUT", "30s")];
        let problems = told(&[Role::Dispatcher], &long);
        for name in ["POSTRIDER_LEASE", "POSTRIDER_DRAIN_TIMEOUT"] {
            let problem = format!("POSTRIDER_SMTP_TIMEOUT: must be shorter than {name}");
            assert!(problems.contains(&problem), "{problems}");
        }
        assert_eq!(told(&[Role::Ingest], &long), "", "it sends no mail");
    }

    #[test]
    fn every_setting_stands_in_one_chapter() {
        let mut names: Vec<_> = known().into_iter().map(|setting| setting.name).collect();
        assert!(names.contains(&"POSTRIDER_NATS_URL") && names.contains(&"POSTRIDER_SECRET_KEY"));
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
