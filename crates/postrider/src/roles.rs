//! The roles, and the settings of those that a process runs.

use archive::ArchiveConfig;
use bus::Needed;
use console::ConsoleConfig;
use dispatcher::DispatcherConfig;
use egress::EgressConfig;
use fanout::FanoutConfig;
use ingest::IngestConfig;
use request_bin::RequestBinConfig;
use settings_api::SettingsApiConfig;

use chassis::Env;

/// What a process can do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Role {
    SettingsApi,
    Ingest,
    Fanout,
    Dispatcher,
    Archive,
    Console,
    RequestBin,
}

impl Role {
    /// Those that make up a platform. The request bin is for tests, and nobody
    /// needs it.
    pub(crate) const PLATFORM: [Self; 6] = [
        Self::SettingsApi,
        Self::Ingest,
        Self::Fanout,
        Self::Dispatcher,
        Self::Archive,
        Self::Console,
    ];

    /// The name on the command line, in logs and in readiness.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::SettingsApi => "settings-api",
            Self::Ingest => "ingest",
            Self::Fanout => "fanout",
            Self::Dispatcher => "dispatcher",
            Self::Archive => "archive",
            Self::Console => "console",
            Self::RequestBin => "request-bin",
        }
    }

    /// Whether it reads settings documents.
    pub(crate) const fn is_on_the_path(self) -> bool {
        matches!(self, Self::Ingest | Self::Fanout | Self::Dispatcher)
    }

    /// Whether it works without the broker.
    pub(crate) const fn stands_alone(self) -> bool {
        matches!(self, Self::Console | Self::RequestBin)
    }

    /// The streams that it works with.
    pub(crate) const fn needs(self) -> &'static [Needed] {
        use Needed::{Deliveries, Events, Outcomes, Settings};
        match self {
            Self::SettingsApi => &[Deliveries, Outcomes, Settings],
            Self::Ingest => &[Events, Settings],
            Self::Fanout => &[Events, Deliveries, Outcomes, Settings],
            Self::Dispatcher => &[Deliveries, Outcomes, Settings],
            Self::Archive => &[Events, Outcomes],
            Self::Console | Self::RequestBin => &[],
        }
    }

    /// Whether it calls receivers.
    pub(crate) const fn calls_receivers(self) -> bool {
        matches!(self, Self::SettingsApi | Self::Dispatcher)
    }
}

/// A role with its settings.
pub(crate) enum Configured {
    /// On the heap, as much the largest.
    SettingsApi(Box<SettingsApiConfig>),
    Ingest(IngestConfig),
    Fanout(FanoutConfig),
    Dispatcher(DispatcherConfig),
    Archive(ArchiveConfig),
    Console(ConsoleConfig),
    RequestBin(RequestBinConfig),
}

impl Configured {
    /// Reads the settings of one role.
    pub(crate) fn read(role: Role, env: &mut Env) -> Self {
        match role {
            Role::SettingsApi => Self::SettingsApi(Box::new(SettingsApiConfig::read(env))),
            Role::Ingest => Self::Ingest(IngestConfig::read(env)),
            Role::Fanout => Self::Fanout(FanoutConfig::read(env)),
            Role::Dispatcher => Self::Dispatcher(DispatcherConfig::read(env)),
            Role::Archive => Self::Archive(ArchiveConfig::read(env)),
            Role::Console => Self::Console(ConsoleConfig::read(env)),
            Role::RequestBin => Self::RequestBin(RequestBinConfig::read(env)),
        }
    }

    pub(crate) const fn role(&self) -> Role {
        match self {
            Self::SettingsApi(_) => Role::SettingsApi,
            Self::Ingest(_) => Role::Ingest,
            Self::Fanout(_) => Role::Fanout,
            Self::Dispatcher(_) => Role::Dispatcher,
            Self::Archive(_) => Role::Archive,
            Self::Console(_) => Role::Console,
            Self::RequestBin(_) => Role::RequestBin,
        }
    }
}

/// Reads how receivers are called, if any of these roles does that.
pub(crate) fn read_egress(roles: &[Role], env: &mut Env) -> Option<EgressConfig> {
    roles.iter().any(|role| role.calls_receivers()).then(|| EgressConfig::read(env))
}
