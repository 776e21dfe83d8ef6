//! One page, as somebody before a screen has it: a mouse, a keyboard, eyes.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::DEADLINE;
use super::pipe::Pipe;
use crate::within;

/// A page in a browser.
#[derive(Debug)]
pub struct Page {
    pipe: Arc<Pipe>,
    session: String,
}

/// A request that a page has made.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Where it went.
    pub url: String,
    /// What came back, as it was on the wire, headers included.
    pub encoded_bytes: u64,
}

impl Page {
    pub(super) fn new(pipe: Arc<Pipe>, session: String) -> Self {
        Self { pipe, session }
    }

    /// Goes to an address and waits until it is loaded.
    ///
    /// # Panics
    ///
    /// When it is not.
    pub async fn go(&self, url: &str) {
        let load = async {
            let from = self.pipe.count();
            self.call("Page.navigate", json!({"url": url})).await?;
            self.pipe.event(&self.session, "Page.loadEventFired", from).await
        };
        self.done(&format!("going to {url}"), load).await;
    }

    /// What a script says, which may be a promise. It runs where the page's own do not.
    ///
    /// # Panics
    ///
    /// When the script fails.
    pub async fn eval(&self, script: &str) -> Value {
        let run = async {
            let asked = json!({"expression": script, "awaitPromise": true, "returnByValue": true});
            let answer = self.call("Runtime.evaluate", asked).await?;
            if let Some(thrown) = answer.get("exceptionDetails") {
                bail!("{thrown}");
            }
            Ok(answer["result"]["value"].clone())
        };
        let start: String = script.chars().take(80).collect();
        self.done(&start, run).await
    }

    /// Clicks into the middle of what this selects first, or of its first line.
    ///
    /// # Panics
    ///
    /// When there is nothing of the kind to be seen.
    pub async fn click(&self, selector: &str) {
        let name = json!(selector);
        let place = self
            .eval(&format!(
                "(() => {{ const found = document.querySelector({name}); if (!found) return null; \
                 found.scrollIntoView({{block: 'center', behavior: 'instant'}}); const box = \
                 found.getClientRects()[0]; if (!box) return null; return \
                 [box.x + box.width / 2, box.y + box.height / 2]; }})()"
            ))
            .await;
        let (Some(x), Some(y)) = (place[0].as_f64(), place[1].as_f64()) else {
            panic!("nothing to click on: {selector}, in {}", self.text().await);
        };
        for kind in ["mousePressed", "mouseReleased"] {
            let mouse = json!({"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1});
            self.done("a click", self.call("Input.dispatchMouseEvent", mouse)).await;
        }
    }

    /// Clicks, and waits for the page that this leads to.
    ///
    /// # Panics
    ///
    /// When it leads to none.
    pub async fn click_to(&self, selector: &str) {
        let from = self.pipe.count();
        self.click(selector).await;
        let load = self.pipe.event(&self.session, "Page.loadEventFired", from);
        self.done(&format!("where {selector} leads to"), load).await;
    }

    /// Writes a text into a field, in place of what is there.
    ///
    /// # Panics
    ///
    /// When there is no such field.
    pub async fn write(&self, selector: &str, text: &str) {
        let name = json!(selector);
        self.eval(&format!(
            "(found => {{ found.focus(); found.select(); }})(document.querySelector({name}))"
        ))
        .await;
        self.done("typing", self.call("Input.insertText", json!({"text": text}))).await;
    }

    /// Presses a key, such as `Tab`.
    ///
    /// # Panics
    ///
    /// When the browser does not take it.
    pub async fn press(&self, key: &str) {
        let code = match key {
            "Tab" => 9,
            "Enter" => 13,
            "Escape" => 27,
            _ => 32,
        };
        for kind in ["keyDown", "keyUp"] {
            let mut pressed = json!({"type": kind, "key": key, "code": key,
                "windowsVirtualKeyCode": code});
            if key == "Enter" && kind == "keyDown" {
                pressed["text"] = "\r".into();
            }
            self.done(key, self.call("Input.dispatchKeyEvent", pressed)).await;
        }
    }

    /// The text that is to be seen.
    pub async fn text(&self) -> String {
        let text = self.eval("document.body.innerText").await;
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Takes a picture of the whole page into a file, whose folder is made.
    ///
    /// # Panics
    ///
    /// When it cannot be taken.
    pub async fn picture(&self, path: &Path) {
        let picture = async {
            let asked = json!({"captureBeyondViewport": true});
            let answer = self.call("Page.captureScreenshot", asked).await?;
            let data = answer["data"].as_str().context("no picture")?;
            std::fs::create_dir_all(path.parent().context("no folder")?)?;
            Ok(std::fs::write(path, STANDARD.decode(data)?)?)
        };
        self.done("a picture", picture).await;
    }

    /// The cookies of the page, as they go out with a request.
    ///
    /// # Panics
    ///
    /// When the browser does not tell them.
    pub async fn cookies(&self) -> String {
        let told = self.done("the cookies", self.call("Network.getCookies", json!({}))).await;
        let pair = |cookie: &Value| {
            let text = |name: &str| cookie[name].as_str().unwrap_or_default().to_owned();
            format!("{}={}", text("name"), text("value"))
        };
        let cookies: Vec<_> = told["cookies"].as_array().into_iter().flatten().map(pair).collect();
        cookies.join("; ")
    }

    /// What the page has asked for since it was opened.
    pub fn sent(&self) -> Vec<Sent> {
        let events = self.pipe.events(&self.session, 0);
        let named = |name: &'static str| events.iter().filter(move |(found, _)| found == name);
        named("Network.requestWillBeSent")
            .map(|(_, request)| {
                let mut ended = named("Network.loadingFinished");
                let ended = ended.find(|(_, end)| end["requestId"] == request["requestId"]);
                let bytes = ended.and_then(|(_, end)| end["encodedDataLength"].as_f64());
                Sent {
                    url: request["request"]["url"].as_str().unwrap_or_default().to_owned(),
                    #[expect(clippy::cast_possible_truncation, reason = "far below 2^53")]
                    #[expect(clippy::cast_sign_loss, reason = "a length")]
                    encoded_bytes: bytes.unwrap_or_default() as u64,
                }
            })
            .collect()
    }

    /// What has gone wrong: scripts that failed, what the page's policy has
    /// forbidden, boxes that a script has opened.
    pub fn complaints(&self) -> Vec<String> {
        let bad = ["Runtime.exceptionThrown", "Page.javascriptDialogOpening"];
        let events = self.pipe.events(&self.session, 0).into_iter();
        let is_bad = |(name, event): &(String, Value)| {
            let entry = &event["entry"];
            bad.contains(&name.as_str())
                || (name == "Log.entryAdded"
                    && entry["level"] == "error"
                    && entry["source"] != "network")
        };
        events.filter(is_bad).map(|(name, event)| format!("{name}: {event}")).collect()
    }

    async fn call(&self, method: &str, params: Value) -> Result<Value> {
        self.pipe.call(&self.session, method, params).await
    }

    async fn done<T>(&self, what: &str, doing: impl Future<Output = Result<T>>) -> T {
        match within(DEADLINE, what, doing).await {
            Ok(done) => done,
            Err(error) => panic!("{what}: {error:#}"),
        }
    }
}
