//! What goes wrong: a list of faults from one seed, each with its place, moment and length.

mod plan;

use std::time::Duration;

use anyhow::{Context as _, Result};
use dev_servers::Signal;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use testkit::Tampering;
use testkit::broker::try_jetstream;
use tokio::runtime::Handle;

use crate::clients::ERASED;
use crate::history::{Fact, Recorder};
use crate::rig::{Rig, send};

pub(crate) use self::plan::{Kinds, plan};

/// One fault.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Step {
    /// After the end of the one before.
    pub(crate) after_ms: u64,
    pub(crate) for_ms: u64,
    pub(crate) fault: Fault,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Fault {
    /// Ended on the spot, and started again after its time.
    KillRole {
        replica: usize,
    },
    FreezeRole {
        replica: usize,
    },
    /// Ended in good order, and started again at once.
    RestartRole {
        replica: usize,
    },
    KillBroker {
        node: usize,
    },
    FreezeBroker {
        node: usize,
    },
    /// The leader of a stream, or of the consumer of this role on it.
    KillLeader {
        stream: String,
        consumer: Option<String>,
    },
    FreezeLeader {
        stream: String,
        consumer: Option<String>,
    },
    KillAllBrokers,
    HoldToBroker {
        replica: usize,
    },
    HoldFromBroker {
        replica: usize,
    },
    DelayBroker {
        replica: usize,
        ms: u64,
    },
    CutBroker {
        replica: usize,
    },
    LoseAcks {
        replica: usize,
    },
    LoseConfirmations {
        replica: usize,
    },
    HoldSettings {
        replica: usize,
    },
    CutDatabase {
        replica: usize,
    },
    HoldDatabase {
        replica: usize,
    },
    KillDatabase,
    FreezeDatabase,
    ReadOnlyDatabase,
    /// The disk of a broker is full for a while. An operator frees it and starts the broker
    /// again, which has turned its streams off.
    FillBroker {
        node: usize,
    },
    FillDatabase,
    /// From the last release to this one, in the order that operators are told.
    Upgrade,
    /// An upgrade of one process, or a step back.
    ChangeRelease {
        replica: usize,
    },
    /// A stream takes nothing that has any size.
    RefuseWrites {
        stream: String,
    },
    DeleteConsumer {
        stream: String,
        role: String,
    },
    LoseSettings,
    /// The bucket is put back to what it was at the beginning.
    RestoreSettings,
    /// A stream of deliveries more, for which every process is started again in good order.
    MoreShards,
    /// A process starts again with a clock that is wrong.
    WrongClock {
        replica: usize,
        seconds: i64,
    },
}

/// Does what was planned, one after the other.
pub(crate) struct Nemesis<'a> {
    pub(crate) rig: &'a mut Rig,
    pub(crate) recorder: Recorder,
    pub(crate) region: String,
    pub(crate) runtime: Handle,
    pub(crate) is_erased: bool,
    /// The bucket of settings as it was when everything began: subjects and documents.
    pub(crate) backup: Vec<(String, Vec<u8>)>,
}

impl Nemesis<'_> {
    pub(crate) fn run(&mut self, steps: &[Step]) -> Result<()> {
        for (number, step) in steps.iter().enumerate() {
            pause(step.after_ms);
            if number == 0 {
                self.note_usage(false);
                let (url, stream) = (self.rig.brokers.urls(), self.stream_name("KV_settings"));
                self.backup = self.runtime.block_on(testkit::broker::messages(&url[0], &stream));
            }
            if number == steps.len() / 2 {
                self.erase();
            }
            self.revive()?;
            self.step(number, step).with_context(|| format!("step {number}: {:?}", step.fault))?;
        }
        self.calm()
    }

    fn step(&mut self, number: usize, step: &Step) -> Result<()> {
        let on = self.places(&step.fault);
        let fault = serde_json::to_string(&step.fault)?;
        let seconds = self.recorder.now_ms() as f64 / 1000.0;
        eprintln!("{seconds:>8.3}  step {number}: {fault} {on:?} for {} ms", step.for_ms);
        self.recorder.note(Fact::Fault { step: number, fault, on: on.clone() });
        self.strike(step, &on)?;
        self.recorder.note(Fact::Healed { step: number });
        Ok(())
    }

    /// Has the account erased; somebody who gets no answer asks again later.
    fn erase(&mut self) {
        let admin = |arguments: &[&str]| {
            self.rig.admin(arguments).map_err(|error| self.recorder.say(format!("{error:#}")))
        };
        self.is_erased = self.is_erased
            || (admin(&["account", "set-status", ERASED, "closed"]).is_ok()
                && admin(&["account", "erase", ERASED]).is_ok());
        if self.is_erased {
            self.recorder.note(Fact::Erased { account: ERASED.to_owned() });
        }
    }

    pub(crate) fn note_usage(&self, at_rest: bool) {
        for replica in &self.rig.replicas {
            let Some(pid) = replica.pid() else { continue };
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            let resident = resident.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
            let files = std::fs::read_dir(format!("/proc/{pid}/fd")).map(Iterator::count);
            let Some(resident_kb) = resident else { continue };
            self.recorder.note(Fact::Usage {
                process: replica.name.clone(),
                resident_kb,
                files: files.map_or(0, |files| u64::try_from(files).unwrap_or(u64::MAX)),
                at_rest,
            });
        }
    }

    /// What is hit, by name.
    fn places(&self, fault: &Fault) -> Vec<String> {
        match fault {
            Fault::KillRole { replica }
            | Fault::FreezeRole { replica }
            | Fault::RestartRole { replica }
            | Fault::HoldToBroker { replica }
            | Fault::HoldFromBroker { replica }
            | Fault::DelayBroker { replica, .. }
            | Fault::CutBroker { replica }
            | Fault::LoseAcks { replica }
            | Fault::LoseConfirmations { replica }
            | Fault::HoldSettings { replica }
            | Fault::CutDatabase { replica }
            | Fault::HoldDatabase { replica }
            | Fault::ChangeRelease { replica }
            | Fault::WrongClock { replica, .. } => vec![self.rig.replicas[*replica].name.clone()],
            Fault::KillBroker { node }
            | Fault::FreezeBroker { node }
            | Fault::FillBroker { node } => {
                vec![format!("nats-{node}")]
            }
            Fault::KillLeader { stream, consumer } | Fault::FreezeLeader { stream, consumer } => {
                self.leader(stream, consumer.as_deref())
                    .map(|node| format!("nats-{node}"))
                    .into_iter()
                    .collect()
            }
            Fault::KillAllBrokers => {
                (0..self.rig.brokers.nodes().len()).map(|node| format!("nats-{node}")).collect()
            }
            Fault::KillDatabase
            | Fault::FreezeDatabase
            | Fault::FillDatabase
            | Fault::ReadOnlyDatabase => {
                vec!["postgres".to_owned()]
            }
            Fault::RefuseWrites { .. }
            | Fault::DeleteConsumer { .. }
            | Fault::LoseSettings
            | Fault::RestoreSettings => {
                vec!["nats".to_owned()]
            }
            Fault::MoreShards | Fault::Upgrade => {
                self.rig.replicas.iter().map(|replica| replica.name.clone()).collect()
            }
        }
    }

    fn strike(&mut self, step: &Step, on: &[String]) -> Result<()> {
        let nodes: Vec<usize> =
            on.iter().filter_map(|name| name.strip_prefix("nats-")?.parse().ok()).collect();
        match &step.fault {
            Fault::KillRole { replica } => {
                self.rig.kill9(*replica);
                pause(step.for_ms);
                self.rig.launch(*replica)
            }
            Fault::FreezeRole { replica } => {
                self.rig.signal(*replica, Signal::STOP);
                pause(step.for_ms);
                self.rig.signal(*replica, Signal::CONT);
                Ok(())
            }
            Fault::RestartRole { replica } => {
                self.rig.stop(*replica);
                self.rig.launch(*replica)
            }
            Fault::Upgrade => {
                self.rig.upgrade()?;
                pause(step.for_ms);
                Ok(())
            }
            Fault::ChangeRelease { replica } => {
                self.rig.change_release(*replica);
                self.rig.stop(*replica);
                self.rig.launch(*replica)
            }
            Fault::MoreShards => {
                self.rig.add_shard();
                for at in 0..self.rig.replicas.len() {
                    self.rig.stop(at);
                    self.rig.launch(at)?;
                    self.rig.wait_ready(at)?;
                }
                Ok(())
            }
            Fault::WrongClock { replica, seconds } => {
                let point = format!("clock.offset=return({seconds})");
                let wrong = ("FAILPOINTS".to_owned(), point);
                self.rig.kill9(*replica);
                self.rig.replicas[*replica].own_settings.push(wrong);
                self.rig.launch(*replica)?;
                pause(step.for_ms + 8_000);
                self.rig.kill9(*replica);
                self.rig.replicas[*replica].own_settings.pop();
                self.rig.launch(*replica)
            }
            Fault::KillBroker { .. } | Fault::KillLeader { .. } | Fault::KillAllBrokers => {
                for node in &nodes {
                    self.rig.brokers.node_mut(*node).kill9()?;
                }
                pause(step.for_ms);
                for node in &nodes {
                    self.rig.brokers.node_mut(*node).restart()?;
                }
                Ok(())
            }
            Fault::FreezeBroker { .. } | Fault::FreezeLeader { .. } => {
                let pids: Vec<u32> =
                    nodes.iter().filter_map(|node| self.rig.brokers.nodes()[*node].pid()).collect();
                pids.iter().for_each(|pid| send(*pid, Signal::STOP));
                pause(step.for_ms);
                pids.iter().for_each(|pid| send(*pid, Signal::CONT));
                Ok(())
            }
            Fault::HoldToBroker { replica } => {
                self.tamper(*replica, step.for_ms, |now, on| now.hold_to_server = on)
            }
            Fault::HoldFromBroker { replica } => {
                self.tamper(*replica, step.for_ms, |now, on| now.hold_to_process = on)
            }
            Fault::DelayBroker { replica, ms } => self
                .tamper(*replica, step.for_ms, |now, on| now.delay_ms = if on { *ms } else { 0 }),
            Fault::CutBroker { replica } => {
                self.tamper(*replica, step.for_ms, |now, on| now.cut = on)
            }
            Fault::LoseAcks { replica } => {
                self.tamper(*replica, step.for_ms, |now, on| now.lose_acks = on)
            }
            Fault::LoseConfirmations { replica } => {
                self.tamper(*replica, step.for_ms, |now, on| now.lose_confirmations = on)
            }
            Fault::HoldSettings { replica } => {
                self.tamper(*replica, step.for_ms, |now, on| now.hold_settings = on)
            }
            Fault::CutDatabase { replica } => {
                self.rig.replicas[*replica].to_database.tamper(|now| now.cut = true);
                pause(step.for_ms);
                self.rig.replicas[*replica].to_database.tamper(|now| now.cut = false);
                Ok(())
            }
            Fault::HoldDatabase { replica } => {
                let hold = |now: &mut Tampering, on| {
                    now.hold_to_process = on;
                    now.hold_to_server = on;
                };
                self.rig.replicas[*replica].to_database.tamper(|now| hold(now, true));
                pause(step.for_ms);
                self.rig.replicas[*replica].to_database.tamper(|now| hold(now, false));
                Ok(())
            }
            Fault::FillBroker { node } => {
                let Some(disks) = &self.rig.disks else { return Ok(()) };
                disks.of_brokers[*node].fill()?;
                pause(step.for_ms);
                disks.of_brokers[*node].free()?;
                let node = self.rig.brokers.node_mut(*node);
                // One that does not stop is killed, as Kubernetes does it.
                node.restart().or_else(|_| node.restart())
            }
            Fault::FillDatabase => {
                let Some(disks) = &self.rig.disks else { return Ok(()) };
                disks.of_database.fill()?;
                pause(step.for_ms);
                disks.of_database.free()?;
                self.rig.postgres.restart()
            }
            Fault::KillDatabase => {
                self.rig.postgres.kill9()?;
                pause(step.for_ms);
                self.rig.postgres.restart()
            }
            Fault::FreezeDatabase => {
                // Its children are a group of their own.
                let Some(pid) = self.rig.postgres.pid() else { return Ok(()) };
                signal_group(pid, Signal::STOP);
                pause(step.for_ms);
                signal_group(pid, Signal::CONT);
                Ok(())
            }
            Fault::ReadOnlyDatabase => {
                self.rig.query("ALTER SYSTEM SET default_transaction_read_only = on")?;
                self.rig.query("SELECT pg_reload_conf()")?;
                pause(step.for_ms);
                self.writable()
            }
            Fault::RefuseWrites { stream } => {
                self.update_stream(stream, |config| config["max_msg_size"] = 1.into());
                pause(step.for_ms);
                self.update_stream(stream, |config| config["max_msg_size"] = (-1).into());
                Ok(())
            }
            Fault::DeleteConsumer { stream, role } => {
                let subject = format!("CONSUMER.DELETE.{0}_{stream}.{0}_{role}", self.region);
                self.ask(&subject, &json!({}));
                Ok(())
            }
            Fault::LoseSettings => {
                let subject = format!("STREAM.DELETE.KV_{}_settings", self.region);
                self.ask(&subject, &json!({}));
                Ok(())
            }
            Fault::RestoreSettings => {
                self.restore();
                Ok(())
            }
        }
    }

    /// As an operator does it who has a backup of the bucket, and an old one.
    fn restore(&self) {
        let stream = self.stream_name("KV_settings");
        let Some(info) = self.ask(&format!("STREAM.INFO.{stream}"), &json!({})) else { return };
        self.ask(&format!("STREAM.DELETE.{stream}"), &json!({}));
        self.ask(&format!("STREAM.CREATE.{stream}"), &info["config"]);
        let urls = self.rig.brokers.urls();
        for (subject, document) in &self.backup {
            let stored = urls.iter().cycle().take(20).any(|url| {
                self.runtime.block_on(async {
                    let put = testkit::broker::try_publish(url, subject, document);
                    let put = tokio::time::timeout(Duration::from_secs(3), put).await;
                    put.is_ok_and(|stored| stored.is_ok())
                })
            });
            if !stored {
                self.recorder.say(format!("{subject} is not restored"));
            }
        }
    }

    fn writable(&self) -> Result<()> {
        // Said in one session that may write all the same.
        let url = if self.rig.database.contains('?') { "&" } else { "?" };
        let url =
            format!("{}{url}options=-c%20default_transaction_read_only%3Doff", self.rig.database);
        let tools = self.rig.postgres.tools();
        tools.query(&url, "ALTER SYSTEM RESET default_transaction_read_only")?;
        tools.query(&url, "SELECT pg_reload_conf()")?;
        Ok(())
    }

    fn tamper(
        &self,
        replica: usize,
        for_ms: u64,
        how: impl Fn(&mut Tampering, bool),
    ) -> Result<()> {
        for wire in &self.rig.replicas[replica].to_brokers {
            wire.tamper(|now| how(now, true));
        }
        pause(for_ms);
        for wire in &self.rig.replicas[replica].to_brokers {
            wire.tamper(|now| how(now, false));
        }
        Ok(())
    }

    /// Asks any broker that answers.
    pub(crate) fn ask(&self, subject: &str, question: &Value) -> Option<Value> {
        for _ in 0..20 {
            for url in self.rig.brokers.urls() {
                let asked = self.runtime.block_on(async {
                    let asked = try_jetstream(&url, subject, question);
                    tokio::time::timeout(Duration::from_secs(3), asked).await.ok().flatten()
                });
                if asked.is_some() {
                    return asked;
                }
            }
            pause(200);
        }
        self.recorder.say(format!("{subject} is not answered"));
        None
    }

    fn stream_name(&self, stream: &str) -> String {
        match stream.strip_prefix("KV_") {
            Some(bucket) => format!("KV_{}_{bucket}", self.region),
            None => format!("{}_{stream}", self.region),
        }
    }

    fn leader(&self, stream: &str, role: Option<&str>) -> Option<usize> {
        let stream = self.stream_name(stream);
        let subject = match role {
            None => format!("STREAM.INFO.{stream}"),
            Some(role) => format!("CONSUMER.INFO.{stream}.{}_{role}", self.region),
        };
        let info = self.ask(&subject, &json!({}))?;
        let leader = info["cluster"]["leader"].as_str()?;
        self.rig.brokers.nodes().iter().position(|node| node.name() == leader)
    }

    fn update_stream(&self, stream: &str, how: impl Fn(&mut Value)) {
        let stream = self.stream_name(stream);
        let Some(info) = self.ask(&format!("STREAM.INFO.{stream}"), &json!({})) else { return };
        let mut config = info["config"].clone();
        how(&mut config);
        self.ask(&format!("STREAM.UPDATE.{stream}"), &config);
    }

    fn revive(&mut self) -> Result<()> {
        for at in 0..self.rig.replicas.len() {
            if self.rig.revive(at)? {
                self.recorder.say(format!("{} had ended", self.rig.replicas[at].name));
            }
        }
        Ok(())
    }

    /// Everything runs and is connected again.
    fn calm(&mut self) -> Result<()> {
        for stream in ["EVENTS", "DELIVERIES_0", "OUTCOMES"] {
            self.update_stream(stream, |config| config["max_msg_size"] = (-1).into());
        }
        for at in 0..self.rig.replicas.len() {
            self.rig.signal(at, Signal::CONT);
            for wire in &self.rig.replicas[at].to_brokers {
                wire.tamper(|now| *now = Tampering::default());
            }
            self.rig.replicas[at].to_database.tamper(|now| *now = Tampering::default());
            if self.rig.is_down(at) {
                self.rig.launch(at)?;
            }
        }
        self.revive()?;
        for at in 0..self.rig.replicas.len() {
            if let Err(error) = self.rig.wait_ready(at) {
                self.recorder.say(format!("{error:#}"));
            }
        }
        for _ in 0..20 {
            if self.is_erased {
                break;
            }
            self.erase();
            pause(500);
        }
        self.recorder.note(Fact::Calm);
        Ok(())
    }
}

fn signal_group(leader: u32, signal: Signal) {
    let Ok(children) = std::fs::read_to_string(format!("/proc/{leader}/task/{leader}/children"))
    else {
        return;
    };
    send(leader, signal);
    children
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .for_each(|pid| send(pid, signal));
}

fn pause(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}
