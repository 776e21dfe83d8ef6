//! Draws a list of faults from a seed.

use super::{Fault, Step};
use crate::chance::Chance;
use crate::rig::Rig;

/// For so long nothing is broken: what an ordinary load does can be told by it.
const QUIET_MS: u64 = 8_000;

/// The streams whose leaders are looked for, without their region.
const STREAMS: [&str; 5] = ["EVENTS", "DELIVERIES_0", "OUTCOMES", "KV_settings", "KV_targets"];
/// Streams with their consumers' roles.
const CONSUMERS: [(&str, &str); 5] = [
    ("EVENTS", "fanout"),
    ("EVENTS", "archive"),
    ("DELIVERIES_0", "dispatcher"),
    ("OUTCOMES", "archive"),
    ("OUTCOMES", "settings-api"),
];

/// Which faults a run has.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Kinds {
    /// Faults after which an operator may have to act.
    pub(crate) disasters: bool,
    /// Clocks that are wrong.
    pub(crate) clocks: bool,
}

/// The faults of a run of this length, in which the last one ends.
pub(crate) fn plan(seed: u64, seconds: u64, rig: &Rig, kinds: Kinds) -> Vec<Step> {
    let mut chance = Chance::of(seed, "nemesis");
    let mut steps = Vec::new();
    let mut at_ms = 0;
    loop {
        let quiet_ms = if steps.is_empty() { QUIET_MS } else { 0 };
        let after_ms = quiet_ms + chance.between(200, 3_500);
        let fault = draw(&mut chance, rig, kinds);
        let for_ms = length(&fault, &mut chance);
        at_ms += after_ms + for_ms;
        if at_ms > seconds * 1_000 {
            return steps;
        }
        steps.push(Step { after_ms, for_ms, fault });
    }
}

fn draw(chance: &mut Chance, rig: &Rig, kinds: Kinds) -> Fault {
    let replica = chance.below(rig.replicas.len());
    let role = |chance: &mut Chance, role: &str| *chance.one_of(&rig.of(role));
    let nodes = rig.brokers.nodes().len();
    let leader = |chance: &mut Chance| {
        if chance.is(50) {
            ((*chance.one_of(&STREAMS)).to_owned(), None)
        } else {
            let (stream, role) = *chance.one_of(&CONSUMERS);
            (stream.to_owned(), Some(role.to_owned()))
        }
    };
    loop {
        return match chance.below(109) {
            0..12 => Fault::KillRole { replica },
            12..24 => Fault::FreezeRole { replica },
            24..29 => Fault::RestartRole { replica },
            29..35 => Fault::KillBroker { node: chance.below(nodes) },
            35..39 => Fault::FreezeBroker { node: chance.below(nodes) },
            39..45 if nodes > 1 => {
                let (stream, consumer) = leader(chance);
                Fault::KillLeader { stream, consumer }
            }
            45..49 if nodes > 1 => {
                let (stream, consumer) = leader(chance);
                Fault::FreezeLeader { stream, consumer }
            }
            49..51 => Fault::KillAllBrokers,
            51..55 => Fault::HoldToBroker { replica },
            55..59 => Fault::HoldFromBroker { replica },
            59..61 => Fault::DelayBroker { replica, ms: chance.between(100, 2_500) },
            61..65 => Fault::CutBroker { replica },
            65..71 => {
                let role_name = *chance.one_of(&["dispatcher", "dispatcher", "fanout", "archive"]);
                Fault::LoseAcks { replica: role(chance, role_name) }
            }
            71..77 => Fault::LoseConfirmations { replica },
            77..80 => {
                let role_name = *chance.one_of(&["fanout", "dispatcher", "ingest"]);
                Fault::HoldSettings { replica: role(chance, role_name) }
            }
            80..82 => {
                let role_name = *chance.one_of(&["archive", "settings-api"]);
                Fault::CutDatabase { replica: role(chance, role_name) }
            }
            82..84 => {
                let role_name = *chance.one_of(&["archive", "settings-api"]);
                Fault::HoldDatabase { replica: role(chance, role_name) }
            }
            84..87 => Fault::KillDatabase,
            87..89 => Fault::FreezeDatabase,
            89..91 => Fault::ReadOnlyDatabase,
            91..95 => {
                let stream = *chance.one_of(&["EVENTS", "DELIVERIES_0", "OUTCOMES"]);
                Fault::RefuseWrites { stream: stream.to_owned() }
            }
            95..97 if kinds.disasters => {
                let (stream, role) = *chance.one_of(&CONSUMERS);
                Fault::DeleteConsumer { stream: stream.to_owned(), role: role.to_owned() }
            }
            97..98 if kinds.disasters => Fault::LoseSettings,
            98..99 => Fault::MoreShards,
            99..100 if kinds.clocks => {
                let seconds = if chance.is(50) { 3_600 } else { -3_600 };
                Fault::WrongClock { replica, seconds }
            }
            100..102 if rig.disks.is_some() => Fault::FillBroker { node: chance.below(nodes) },
            102..104 if rig.disks.is_some() => Fault::FillDatabase,
            104..108 if rig.has_two_releases() => Fault::ChangeRelease { replica },
            108..109 if kinds.disasters => Fault::RestoreSettings,
            _ => continue,
        };
    }
}

/// From half a second to longer than every window.
fn length(fault: &Fault, chance: &mut Chance) -> u64 {
    match fault {
        Fault::KillRole { .. } | Fault::WrongClock { .. } => chance.between(200, 5_000),
        Fault::FreezeRole { .. } => {
            let long = chance.is(30);
            if long { chance.between(6_000, 14_000) } else { chance.between(500, 6_000) }
        }
        Fault::KillBroker { .. } | Fault::KillLeader { .. } | Fault::KillAllBrokers => {
            chance.between(300, 4_500)
        }
        Fault::FreezeBroker { .. } | Fault::FreezeLeader { .. } => chance.between(500, 7_000),
        Fault::RestartRole { .. }
        | Fault::ChangeRelease { .. }
        | Fault::DeleteConsumer { .. }
        | Fault::LoseSettings
        | Fault::RestoreSettings
        | Fault::MoreShards => 0,
        Fault::RefuseWrites { .. } => chance.between(1_000, 10_000),
        Fault::HoldToBroker { .. } | Fault::HoldFromBroker { .. } => chance.between(500, 9_000),
        _ => chance.between(500, 6_000),
    }
}
