//! Receivers that answer by a rule: what they say follows from the seed, the path, the
//! delivery and the number of its try, and from what they have seen of it.
//!
//! A path is `/<habit>/<name>`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use serde_json::Value;
use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

use crate::chance::draw;
use crate::history::{Fact, Post, Recorder};
use crate::requests::{Listening, Request};

#[derive(Debug)]
pub(crate) struct Receivers(Listening);

#[derive(Debug)]
struct Shared {
    seed: u64,
    recorder: Recorder,
    posts: AtomicU64,
    /// Deliveries that were taken, for receivers that know what they have.
    taken: Mutex<HashMap<String, u64>>,
    /// Posts of an event after which a receiver that fails is mended for this event; without
    /// it, it is never.
    mended_after: Option<u64>,
    /// Posts that have failed, by path and event.
    failed: Mutex<HashMap<(String, String), u64>>,
}

enum Reply {
    Status(u16, Duration),
    /// After this, nothing has been said.
    Silence(Duration),
}

impl Receivers {
    pub(crate) async fn start(
        seed: u64,
        recorder: Recorder,
        mended_after: Option<u64>,
    ) -> Result<Self> {
        let posts = AtomicU64::new(0);
        let (taken, failed) = (Mutex::default(), Mutex::default());
        let shared = Arc::new(Shared { seed, recorder, posts, taken, mended_after, failed });
        Ok(Self(Listening::start(move |stream| Arc::clone(&shared).serve(stream)).await?))
    }

    pub(crate) fn url(&self, habit: &str, name: &str) -> String {
        format!("http://{}/{habit}/{name}", self.0.address)
    }
}

impl Shared {
    /// One connection, one request after the other.
    async fn serve(self: Arc<Self>, stream: TcpStream) -> Result<()> {
        let (read, mut write) = stream.into_split();
        let mut read = BufReader::new(read);
        while let Some(request) = Request::read(&mut read).await? {
            if request.method != "POST" {
                // The check of an alert's URL.
                write.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await?;
                continue;
            }
            let post = self.post(&request);
            let number = post.post;
            let reply = self.reply(&request.path, &post);
            let status = match reply {
                Reply::Status(status, _) => status,
                Reply::Silence(_) => 0,
            };
            self.recorder.note(Fact::Post(Post { status, ..post }));
            match reply {
                Reply::Status(status, after) => {
                    if !after.is_zero() {
                        sleep_until(Instant::now() + after).await;
                    }
                    // Noted before it is sent: whoever has it cannot have had it earlier.
                    self.recorder.note(Fact::Answer { post: number });
                    let more = if status == 429 { "Retry-After: 1\r\n" } else { "" };
                    let head = format!("HTTP/1.1 {status} X\r\n{more}Content-Length: 0\r\n\r\n");
                    write.write_all(head.as_bytes()).await?;
                }
                Reply::Silence(after) => {
                    sleep_until(Instant::now() + after).await;
                    self.recorder.note(Fact::Answer { post: number });
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn post(&self, request: &Request) -> Post {
        let header = |name: &str| request.header(name).to_owned();
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let id = [&body["event-data"]["id"], &body["event_data"]["id"]];
        let event_id = id.into_iter().find_map(Value::as_str).unwrap_or_default();
        Post {
            post: self.posts.fetch_add(1, Ordering::Relaxed),
            url: format!("http://{}{}", header("host"), request.path),
            delivery: header("x-postrider-delivery"),
            number: header("x-postrider-attempt").parse().unwrap_or_default(),
            event_id: event_id.to_owned(),
            event_type: header("x-postrider-event"),
            status: 0,
        }
    }

    fn is_mended(&self, path: &str, post: &Post) -> bool {
        let Some(mended_after) = self.mended_after else { return false };
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let times = failed.entry((path.to_owned(), post.event_id.clone())).or_default();
        *times += 1;
        *times > mended_after
    }

    fn reply(&self, path: &str, post: &Post) -> Reply {
        let habit = path.split('/').nth(1).unwrap_or_default();
        let chance = draw(self.seed, habit, &post.delivery);
        let now = |status| Reply::Status(status, Duration::ZERO);
        match habit {
            // Takes a delivery at a try that its id tells, and fails without being in trouble:
            // no breaker opens.
            "flaky" => match chance % 4 {
                failures if post.number > failures => now(200),
                1 => now(404),
                2 => now(301),
                _ => now(500),
            },
            "fails" => now(if self.is_mended(path, post) { 200 } else { 500 }),
            "rejects" => now(if post.number <= chance % 2 { 500 } else { 406 }),
            // Takes a delivery once, and says that it has it from then on.
            "knows" => {
                let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
                let times = taken.entry(post.delivery.clone()).or_default();
                *times += 1;
                now(if *times > 1 { 409 } else { 200 })
            }
            "slow" => Reply::Status(200, Duration::from_millis(200 + chance % 700)),
            // In trouble with some of them only: a breaker that stays open would have the rest
            // of the run wait for it.
            "hangs" if post.number == 1 && chance.is_multiple_of(3) => {
                Reply::Silence(Duration::from_secs(4))
            }
            "busy" if post.number == 1 && chance.is_multiple_of(4) => now(429),
            "cuts" if post.number == 1 && chance.is_multiple_of(3) => {
                Reply::Silence(Duration::ZERO)
            }
            _ => now(200),
        }
    }
}
