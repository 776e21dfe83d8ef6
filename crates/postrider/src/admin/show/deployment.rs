//! How the deployment is, on one screen.

use protocol::v1::{ConsumerStatus, DeploymentStatus, ReplicaStatus, ShardStatus, StreamStatus};

use super::{Show, moment, or_dash};
use crate::output::table;

/// What stands where nobody could tell.
const UNKNOWN: &str = "unknown, see below";

impl Show for DeploymentStatus {
    fn show(&self) -> String {
        let mut text = format!("Region {}, {}\n\n", self.region, moment(self.at.as_ref()));
        text.push_str(&lines(self));
        for table in [streams(&self.streams), consumers(&self.consumers), shards(&self.shards)] {
            text.push_str(&format!("\n{table}"));
        }
        if !self.not_asked.is_empty() {
            text.push_str("\nCould not be asked:\n");
            text.extend(self.not_asked.iter().map(|what| format!("- {what}\n")));
        }
        text
    }
}

/// What is one number for the whole deployment.
fn lines(status: &DeploymentStatus) -> String {
    let unknown = || UNKNOWN.to_owned();
    let outbox = status.outbox.as_ref().map(|outbox| match &outbox.oldest {
        Some(oldest) => format!("{} documents, since {}", outbox.documents, moment(Some(oldest))),
        None => "nothing".to_owned(),
    });
    let undelivered = status.undelivered.as_ref().map(|undelivered| {
        let ends = undelivered.by_end.iter().map(|(end, count)| format!("{count} {end}"));
        let ends = ends.collect::<Vec<_>>().join(", ");
        match (ends.is_empty(), undelivered.is_whole) {
            (true, _) => "nothing".to_owned(),
            (false, true) => ends,
            (false, false) => format!("{ends}, and more that were not counted"),
        }
    });
    let rows = [
        ("Dispatchers", status.dispatchers_live.map(|live| live.to_string())),
        ("Targets left alone", status.targets_left_alone.map(|count| count.to_string())),
        ("History behind by", status.history_lag_seconds.map(age)),
        ("Settings not published", outbox),
        ("Not delivered, not sent again", undelivered),
    ];
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let line = |(name, value): (&str, Option<String>)| {
        format!("{name:width$}  {}\n", value.unwrap_or_else(unknown))
    };
    rows.into_iter().map(line).collect()
}

fn streams(streams: &[StreamStatus]) -> String {
    let rows: Vec<_> = streams
        .iter()
        .map(|stream| {
            let limit = Some(stream.limit_bytes).filter(|limit| *limit > 0).map(size);
            [
                stream.name.clone(),
                stream.messages.to_string(),
                size(stream.bytes),
                or_dash(&limit.unwrap_or_default()),
                leader(stream),
                or_dash(&stream.replicas.iter().map(replica).collect::<Vec<_>>().join(", ")),
            ]
        })
        .collect();
    table(["STREAM", "MESSAGES", "SIZE", "LIMIT", "LEADER", "OTHER COPIES"], &rows)
}

/// A single node has none; a cluster that has none answers nobody else.
fn leader(stream: &StreamStatus) -> String {
    match (stream.leader.as_str(), stream.replicas.as_slice()) {
        ("", []) => "-".to_owned(),
        ("", _) => "NONE".to_owned(),
        (leader, _) => leader.to_owned(),
    }
}

fn replica(replica: &ReplicaStatus) -> String {
    match (replica.state.as_str(), replica.lag) {
        ("behind", 0) => format!("{} BEHIND", replica.name),
        ("behind", lag) => format!("{} BEHIND by {lag}", replica.name),
        ("offline", _) => format!("{} OFFLINE", replica.name),
        (state, _) => format!("{} {state}", replica.name),
    }
}

fn consumers(consumers: &[ConsumerStatus]) -> String {
    let rows: Vec<_> = consumers
        .iter()
        .map(|consumer| {
            [
                consumer.name.clone(),
                consumer.stream.clone(),
                consumer.pending.to_string(),
                consumer.unacknowledged.to_string(),
                age(consumer.lag_seconds),
            ]
        })
        .collect();
    table(["CONSUMER", "STREAM", "PENDING", "UNACKED", "OLDEST"], &rows)
}

fn shards(shards: &[ShardStatus]) -> String {
    let rows: Vec<_> = shards
        .iter()
        .map(|shard| {
            [
                shard.shard.to_string(),
                shard.due.to_string(),
                age(shard.oldest_due_seconds),
                shard.waiting.to_string(),
            ]
        })
        .collect();
    table(["SHARD", "DUE", "OLDEST DUE", "WAITING"], &rows)
}

/// In the largest unit that leaves more than one of it.
fn age(seconds: f64) -> String {
    match seconds {
        _ if seconds <= 0.0 => "-".to_owned(),
        ..120.0 => format!("{seconds:.1}s"),
        ..7_200.0 => format!("{:.0}m", seconds / 60.0),
        ..172_800.0 => format!("{:.1}h", seconds / 3_600.0),
        _ => format!("{:.1}d", seconds / 86_400.0),
    }
}

fn size(bytes: u64) -> String {
    let mut size = bytes as f64;
    let mut unit = "B";
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if size < 1024.0 {
            break;
        }
        size /= 1024.0;
        unit = larger;
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{size:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_asked_is_told_and_not_shown_as_nothing() {
        let status = DeploymentStatus {
            region: "us".into(),
            streams: vec![StreamStatus {
                name: "us_EVENTS".into(),
                bytes: 3 * 1024 * 1024 / 2,
                leader: "n1".into(),
                replicas: [("n2", "current", 0), ("n3", "behind", 17)]
                    .map(|(name, state, lag)| ReplicaStatus {
                        name: name.into(),
                        state: state.into(),
                        lag,
                    })
                    .into(),
                ..StreamStatus::default()
            }],
            not_asked: vec!["the outbox of settings: the database is away".into()],
            ..DeploymentStatus::default()
        };
        let text = status.show();
        for part in [
            "Settings not published         unknown, see below\n",
            "1.5 MiB  -      n1      n2 current, n3 BEHIND by 17\n",
            "Could not be asked:\n- the outbox of settings: the database is away\n",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn ages_and_sizes_are_short() {
        let ages = [0.0, 3.21, 119.0, 600.0, 7_300.0, 200_000.0].map(age);
        assert_eq!(ages, ["-", "3.2s", "119.0s", "10m", "2.0h", "2.3d"]);
        assert_eq!([17, 2048, 16 << 30].map(size), ["17 B", "2.0 KiB", "16.0 GiB"]);
    }
}
