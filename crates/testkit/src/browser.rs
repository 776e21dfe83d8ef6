//! A real browser without a window: Chromium, told what to do in its DevTools
//! protocol over a pipe. That needs neither a driver nor a port.

mod page;
mod pipe;

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use dev_servers::Scratch;
use serde_json::{Value, json};

pub use self::page::{Page, Sent};
use self::pipe::Pipe;
use crate::within;

/// How long the browser may take for one thing.
const DEADLINE: Duration = Duration::from_secs(30);

/// Finds a Chromium and gives it the pipe where it looks for it, as descriptors 3
/// and 4.
const START: &str = r#"
for name in chromium chromium-browser google-chrome; do
  if command -v "$name" > /dev/null; then
    exec "$name" "$@" 3<&0 4>&1 < /dev/null > /dev/null 2>&1
  fi
done
exit 127
"#;

/// What a page is looked at with.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// In CSS pixels.
    pub width: u32,
    /// In CSS pixels.
    pub height: u32,
    /// Whether the dark theme is asked for.
    pub dark: bool,
    /// Whether the page's scripts run.
    pub scripts: bool,
}

impl Look {
    /// A phone.
    pub const PHONE: Self = Self { width: 390, height: 844, dark: false, scripts: true };
    /// A desk.
    pub const DESK: Self = Self { width: 1_280, height: 900, dark: false, scripts: true };
}

/// A running browser, which ends when it is dropped.
#[derive(Debug)]
pub struct Browser {
    pipe: Arc<Pipe>,
    child: Child,
    _scratch: Scratch,
}

impl Browser {
    /// Starts it.
    ///
    /// # Panics
    ///
    /// When there is none: the message says how to get it.
    pub async fn start() -> Self {
        match Self::try_start().await {
            Ok(browser) => browser,
            Err(error) => panic!("no browser to look at pages with: {error:#}"),
        }
    }

    async fn try_start() -> Result<Self> {
        let scratch = Scratch::new()?;
        let profile = format!("--user-data-dir={}", scratch.path().join("profile").display());
        let mut child = Command::new("sh")
            .args(["-c", START, "sh", "--headless=new", "--remote-debugging-pipe"])
            // Containers mostly have neither a second user for a sandbox, nor shared memory.
            .args(["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--hide-scrollbars"])
            .args(["--no-first-run", "--disable-background-networking", "--disable-sync"])
            .args(["--disable-extensions", "--disable-component-update", profile.as_str()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let to = child.stdin.take().context("no pipe to it")?;
        let from = child.stdout.take().context("no pipe from it")?;
        let pipe = Arc::new(Pipe::new(to, from));
        let mut browser = Self { pipe, child, _scratch: scratch };
        if let Err(error) = browser.pipe.call("", "Browser.getVersion", json!({})).await {
            let ended = browser.child.wait()?;
            if ended.code() == Some(127) {
                bail!("install Chromium: `apt-get install chromium` on Debian");
            }
            bail!("Chromium has not begun: {error:#} ({ended})");
        }
        Ok(browser)
    }

    /// Opens an empty page, which shares no cookies with any other.
    ///
    /// # Panics
    ///
    /// When the browser does not do it.
    pub async fn page(&self, look: Look) -> Page {
        match within(DEADLINE, "a page", self.try_page(look)).await {
            Ok(page) => page,
            Err(error) => panic!("cannot open a page: {error:#}"),
        }
    }

    async fn try_page(&self, look: Look) -> Result<Page> {
        let pipe = &self.pipe;
        let text = |value: &Value, name: &str| {
            value[name].as_str().map(str::to_owned).with_context(|| format!("no {name}"))
        };
        let context = pipe.call("", "Target.createBrowserContext", json!({})).await?;
        let context = text(&context, "browserContextId")?;
        let target = json!({"url": "about:blank", "browserContextId": context});
        let target = text(&pipe.call("", "Target.createTarget", target).await?, "targetId")?;
        let attach = json!({"targetId": target, "flatten": true});
        let session = pipe.call("", "Target.attachToTarget", attach).await?;
        let session = text(&session, "sessionId")?;
        for domain in ["Page", "Network", "Log", "Runtime"] {
            pipe.call(&session, &format!("{domain}.enable"), json!({})).await?;
        }
        let theme = if look.dark { "dark" } else { "light" };
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": theme},
            {"name": "prefers-reduced-motion", "value": "reduce"}]});
        pipe.call(&session, "Emulation.setEmulatedMedia", media).await?;
        let size = json!({"width": look.width, "height": look.height, "deviceScaleFactor": 1,
            "mobile": look.width < 600});
        pipe.call(&session, "Emulation.setDeviceMetricsOverride", size).await?;
        let scripts = json!({"value": !look.scripts});
        pipe.call(&session, "Emulation.setScriptExecutionDisabled", scripts).await?;
        Ok(Page::new(Arc::clone(pipe), session))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
