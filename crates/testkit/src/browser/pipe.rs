//! The DevTools protocol: JSON, each message ended by a zero byte.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{ChildStdin, ChildStdout};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::{Result, bail};
use serde_json::{Value, json};
use tokio::sync::watch;

/// Both directions of it.
#[derive(Debug)]
pub(super) struct Pipe {
    to: Mutex<ChildStdin>,
    next: AtomicU64,
    heard: Arc<Mutex<Heard>>,
    /// Rises with each message, and closes with the browser.
    news: watch::Receiver<u64>,
}

/// What the browser has said.
#[derive(Debug, Default)]
struct Heard {
    answers: HashMap<u64, Value>,
    /// In their order, since the beginning.
    events: Vec<Value>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pipe {
    pub(super) fn new(to: ChildStdin, from: ChildStdout) -> Self {
        let (told, news) = watch::channel(0);
        let heard = Arc::new(Mutex::new(Heard::default()));
        let hears = Arc::clone(&heard);
        thread::spawn(move || {
            for message in BufReader::new(from).split(0).map_while(Result::ok) {
                let Ok(message) = serde_json::from_slice::<Value>(&message) else { continue };
                let mut heard = locked(&hears);
                match message["id"].as_u64() {
                    Some(id) => drop(heard.answers.insert(id, message)),
                    None => heard.events.push(message),
                }
                drop(heard);
                told.send_modify(|count| *count += 1);
            }
        });
        Self { to: Mutex::new(to), next: AtomicU64::new(1), heard, news }
    }

    /// Asks for something, of a page's session or, without a name, of the browser.
    pub(super) async fn call(&self, session: &str, method: &str, params: Value) -> Result<Value> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut message = json!({"id": id, "method": method, "params": params});
        if !session.is_empty() {
            message["sessionId"] = session.into();
        }
        let mut bytes = serde_json::to_vec(&message)?;
        bytes.push(0);
        locked(&self.to).write_all(&bytes)?;
        let answer = self.wait(|heard| heard.answers.remove(&id)).await?;
        if let Some(error) = answer.get("error") {
            bail!("{method}: {error}");
        }
        Ok(answer["result"].clone())
    }

    /// How many events there have been.
    pub(super) fn count(&self) -> usize {
        locked(&self.heard).events.len()
    }

    /// The events of a session from a place on, by name.
    pub(super) fn events(&self, session: &str, from: usize) -> Vec<(String, Value)> {
        let heard = locked(&self.heard);
        let of_session = heard.events[from..].iter().filter(|event| event["sessionId"] == *session);
        let named = |event: &Value| {
            (event["method"].as_str().unwrap_or_default().to_owned(), event["params"].clone())
        };
        of_session.map(named).collect()
    }

    /// Waits for an event of a session, from a place on.
    pub(super) async fn event(&self, session: &str, method: &str, from: usize) -> Result<()> {
        self.wait(|heard| {
            let is_it =
                |event: &Value| event["sessionId"] == *session && event["method"] == *method;
            heard.events[from..].iter().any(is_it).then_some(())
        })
        .await
    }

    async fn wait<T>(&self, mut look: impl FnMut(&mut Heard) -> Option<T>) -> Result<T> {
        let mut news = self.news.clone();
        loop {
            news.borrow_and_update();
            if let Some(found) = look(&mut locked(&self.heard)) {
                return Ok(found);
            }
            if news.changed().await.is_err() {
                bail!("the browser has ended");
            }
        }
    }
}
