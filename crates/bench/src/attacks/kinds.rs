//! The attacks, by name.

use anyhow::Result;
use clap::ValueEnum;

use super::arena::Arena;
use super::{reads, resent};

/// The attack. The first two do nothing to the platform: they show what the
/// machine itself does to the figures.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum Attack {
    Nothing,
    BusyNeighbour,
    HalfHeads,
    SilenceOfOne,
    SilenceOfMany,
    BodiesOfStrangers,
    BodiesWithAKey,
    BodiesToIngest,
    GrpcMessages,
    ClosedWindows,
    WrongKeys,
    DomainChurn,
    LargestDocuments,
    SettingsWrites,
    UnreadPages,
    UndeliveredCalls,
    SwallowedNames,
    SlowRefusals,
    FailingResends,
    TestCalls,
    TestMails,
    EndlessHeads,
    EndlessAnswers,
}

impl Attack {
    /// As on the command line.
    pub(super) fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// The attack itself.
    pub(super) const fn says(self) -> &'static str {
        match self {
            Self::Nothing => "nothing is done",
            Self::BusyNeighbour => "another program keeps half a core busy",
            Self::HalfHeads => {
                "400 connections on each of six ports, with heads of 400 KB or 30 KB that never end"
            }
            Self::SilenceOfOne => "1,500 silent connections on each port, from one address",
            Self::SilenceOfMany => "3,000 silent connections on each port, from 20 addresses",
            Self::BodiesOfStrangers => {
                "500 unfinished bodies without a key: sign-in, API, request bin"
            }
            Self::BodiesWithAKey => "300 unfinished bodies of 900 KB with a key, to the API",
            Self::BodiesToIngest => "12 unfinished bodies of 60 MB to ingest over HTTP",
            Self::GrpcMessages => "16 connections of 64 unfinished gRPC messages of 30 MB",
            Self::ClosedWindows => "20 HTTP/2 connections with a closed window, 200 pages each",
            Self::WrongKeys => "2,000 wrong keys a second, from 10 addresses",
            Self::DomainChurn => "one key makes and deletes 200 domains a second",
            Self::LargestDocuments => {
                "98 URLs with ten headers of 1 KB, again and again; then the account is disabled"
            }
            Self::SettingsWrites => "one key writes settings 1,000 times a second",
            Self::UnreadPages => {
                "one key asks for exports and pages of 300 events of 240 KB, and reads none"
            }
            Self::UndeliveredCalls => {
                "one key counts 100,000 undelivered deliveries, 40 calls at once"
            }
            Self::SwallowedNames => {
                "900 events at once, then 20 a second, to 30 names of which no server answers"
            }
            Self::SlowRefusals => "100 events a second to 24 targets that answer 404 after 9.7 s",
            Self::FailingResends => {
                "six resend jobs at 1,000 a second: five of what cannot be read, one that the broker \
                 refuses"
            }
            Self::TestCalls => "40 test calls at once to a receiver that hangs",
            Self::TestMails => "50 test mails a second, to 50 addresses each",
            Self::EndlessHeads => {
                "60 events a second to 32 targets with heads of 390 KB that never end"
            }
            Self::EndlessAnswers => {
                "60 events a second to 32 targets whose answers never end, or drip"
            }
        }
    }

    /// Whether the process needs name servers of ours.
    pub(super) fn needs_names(self) -> bool {
        self == Self::SwallowedNames
    }

    /// How many times of what it was the victim's 99th percentile may be.
    pub(super) fn times(self) -> f64 {
        if self == Self::SettingsWrites { 1.2 } else { 1.5 }
    }

    /// Whether deliveries to targets that are new are judged, too: what an attack takes
    /// that has to do with targets is what new ones share.
    pub(super) fn judges_newcomers(self) -> bool {
        matches!(
            self,
            Self::SwallowedNames | Self::SlowRefusals | Self::EndlessHeads | Self::EndlessAnswers
        )
    }

    /// Puts into the database what the attack needs there.
    pub(super) fn fill_history(self, arena: &Arena) -> Result<()> {
        match self {
            Self::UnreadPages => reads::fill_events(arena),
            Self::UndeliveredCalls => reads::fill_undelivered(arena),
            Self::FailingResends => resent::fill_unsendable(arena),
            _ => Ok(()),
        }
    }
}
