//! A caller that publishes as fast as it is answered, or at a given rate.

use std::str::FromStr;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::StreamExt as _;
use protocol::Timestamp;
use protocol::v1::ingest_client::IngestClient;
use protocol::v1::publish_result::Status;
use protocol::v1::{Event, PublishStreamRequest};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep_until};

use crate::customers;
use crate::receiver::micros_now;

/// Events on their way that were not answered yet, at most.
const WINDOW: usize = 2000;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Address of ingest, such as http://127.0.0.1:9090.
    #[arg(long)]
    ingest: String,
    /// Events to publish.
    #[arg(long)]
    events: u64,
    /// Events a second; as fast as possible when absent.
    #[arg(long)]
    rate: Option<u64>,
    /// JSON of the event to publish.
    #[arg(long)]
    event: String,
    /// Groups of domains that take turns: `account:domains:weight`.
    #[arg(long, required = true)]
    group: Vec<Group>,
}

/// Domains of one account, and their share of the events.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    /// Name of the account.
    pub(crate) account: String,
    /// How many domains it has; they take turns.
    pub(crate) domains: u32,
    /// Share of the events, in relation to the other groups.
    pub(crate) weight: u32,
}

/// What was published.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Sent {
    /// Events by group, in the order of the groups.
    pub(crate) by_group: Vec<u64>,
    /// From the first event to the last answer.
    pub(crate) seconds: f64,
    /// By how much the latest event was late. Far behind, the load was not what
    /// it was meant to be, whoever's fault that is.
    pub(crate) behind_ms: f64,
}

/// Publishes, then prints what was stored.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let template: Event = serde_json::from_str(&options.event)?;
    let mut client = IngestClient::connect(options.ingest).await?;
    let (queue, events) = tokio::sync::mpsc::channel(WINDOW);
    let (tell, told) = tokio::sync::oneshot::channel();
    let started = Instant::now();
    let (count, rate) = (options.events, options.rate);
    let mut turns = Turns::new(options.group);
    crate::receiver::detach(async move {
        let mut behind = Duration::ZERO;
        for number in 0..count {
            if let Some(rate) = rate {
                let at = started + Duration::from_secs_f64(number as f64 / rate as f64);
                sleep_until(at).await;
                behind = behind.max(at.elapsed());
            }
            let micros = micros_now();
            let timestamp = Timestamp {
                seconds: i64::try_from(micros / 1_000_000).unwrap_or(i64::MAX),
                nanos: i32::try_from(micros % 1_000_000 * 1000).unwrap_or_default(),
            };
            let domain = turns.next().unwrap_or_default();
            let event = Event { timestamp: Some(timestamp), domain, ..template.clone() };
            if queue.send(PublishStreamRequest { event: Some(event) }).await.is_err() {
                return;
            }
        }
        // Nobody listens any more only when an answer was bad.
        let _ = tell.send((turns.sent, behind));
    });
    let requests = tokio_stream::wrappers::ReceiverStream::new(events);
    let mut answers = client.publish_stream(requests).await?.into_inner();
    let mut stored = 0;
    while let Some(answer) = answers.next().await {
        match answer?.result.map(|result| (result.status(), result)) {
            Some((Status::Stored, _)) => stored += 1,
            other => anyhow::bail!("not stored: {other:?}"),
        }
    }
    anyhow::ensure!(stored == count, "{stored} of {count} were stored");
    let seconds = started.elapsed().as_secs_f64();
    let (by_group, behind) = told.await?;
    let sent = Sent { by_group, seconds, behind_ms: behind.as_secs_f64() * 1000.0 };
    println!("{}", serde_json::to_string(&sent)?);
    Ok(())
}

/// Whose turn it is: evenly, by weight, always the same way.
struct Turns {
    groups: Vec<Group>,
    /// What each group has a claim to, in weights.
    claims: Vec<i64>,
    sent: Vec<u64>,
}

impl Turns {
    fn new(groups: Vec<Group>) -> Self {
        let count = groups.len();
        Self { groups, claims: vec![0; count], sent: vec![0; count] }
    }

    /// The domain of the next event; `None` without groups.
    fn next(&mut self) -> Option<String> {
        let mut total = 0;
        for (claim, group) in self.claims.iter_mut().zip(&self.groups) {
            *claim += i64::from(group.weight);
            total += i64::from(group.weight);
        }
        let chosen = (0..self.claims.len()).max_by_key(|index| self.claims[*index])?;
        self.claims[chosen] -= total;
        let group = &self.groups[chosen];
        let number = self.sent[chosen] % u64::from(group.domains.max(1));
        self.sent[chosen] += 1;
        Some(customers::domain(&group.account, number))
    }
}

impl Group {
    /// The form in which it is handed to the load generator.
    pub(crate) fn argument(&self) -> String {
        format!("{}:{}:{}", self.account, self.domains, self.weight)
    }
}

impl FromStr for Group {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let mut parts = text.split(':');
        let mut part = || parts.next().context("expected account:domains:weight");
        Ok(Self {
            account: part()?.to_owned(),
            domains: part()?.parse()?,
            weight: part()?.parse()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_go_by_weight_and_evenly() {
        let groups = ["a:3:9", "b:2:1"].map(|text| text.parse::<Group>().unwrap());
        let mut turns = Turns::new(groups.to_vec());
        let domains: Vec<String> = (0..20).filter_map(|_| turns.next()).collect();
        assert_eq!(turns.sent, [18, 2]);
        assert_eq!(domains.iter().filter(|domain| *domain == "0.a.example").count(), 6);
        let second = domains.iter().position(|domain| domain == "1.b.example").unwrap();
        let first = domains.iter().position(|domain| domain == "0.b.example").unwrap();
        assert_eq!(second - first, 10);
    }
}
