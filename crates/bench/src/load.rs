//! A caller that publishes as fast as it is answered, or at a given rate.

use std::time::Duration;

use futures_util::StreamExt as _;
use protocol::Timestamp;
use protocol::v1::ingest_client::IngestClient;
use protocol::v1::publish_result::Status;
use protocol::v1::{Event, PublishStreamRequest};
use tokio::time::{Instant, sleep_until};

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
}

/// Publishes, then prints how many were stored and how long it took.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let template: Event = serde_json::from_str(&options.event)?;
    let mut client = IngestClient::connect(options.ingest).await?;
    let (queue, events) = tokio::sync::mpsc::channel(WINDOW);
    let started = Instant::now();
    let (count, rate) = (options.events, options.rate);
    crate::receiver::detach(async move {
        for number in 0..count {
            if let Some(rate) = rate {
                sleep_until(started + Duration::from_secs_f64(number as f64 / rate as f64)).await;
            }
            let micros = micros_now();
            let timestamp = Timestamp {
                seconds: i64::try_from(micros / 1_000_000).unwrap_or(i64::MAX),
                nanos: i32::try_from(micros % 1_000_000 * 1000).unwrap_or_default(),
            };
            let event = Event { timestamp: Some(timestamp), ..template.clone() };
            if queue.send(PublishStreamRequest { event: Some(event) }).await.is_err() {
                return;
            }
        }
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
    println!("{}", started.elapsed().as_secs_f64());
    Ok(())
}
