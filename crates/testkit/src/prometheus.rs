//! A Prometheus that scrapes processes and answers queries.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result};
use dev_servers::ports::free_port;
use dev_servers::{Scratch, tools};
use serde_json::Value;
use tokio::process::{Child, Command};

use crate::{eventually, http};

/// It has some of its own to read first.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// A running server. It ends when it is dropped.
#[derive(Debug)]
pub struct Prometheus {
    url: String,
    _server: Child,
    _scratch: Scratch,
}

impl Prometheus {
    /// Starts a server that scrapes these once a second, each with its label `component`.
    ///
    /// # Panics
    ///
    /// When it cannot be fetched or started.
    pub async fn start(targets: &[(&str, SocketAddr)]) -> Self {
        let prometheus = match Self::try_start(targets) {
            Ok(prometheus) => prometheus,
            Err(error) => panic!("no Prometheus: {error:#}"),
        };
        eventually(READY_WITHIN, "Prometheus to be ready", || async {
            let answer = http::get(format!("{}/-/ready", prometheus.url)).send().await.ok()?;
            (answer.status == 200).then_some(())
        })
        .await;
        prometheus
    }

    fn try_start(targets: &[(&str, SocketAddr)]) -> Result<Self> {
        let scratch = Scratch::new()?;
        let mut config = String::from(
            "global: {scrape_interval: 1s}\nscrape_configs:\n  - job_name: postrider\n    static_configs:\n",
        );
        for (component, address) in targets {
            writeln!(
                config,
                "      - {{targets: [\"{address}\"], labels: {{component: {component}}}}}"
            )?;
        }
        let file = scratch.path().join("prometheus.yaml");
        fs::write(&file, config)?;
        let address = format!("127.0.0.1:{}", free_port()?);
        let mut command = Command::new(tools::prometheus()?.server);
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", scratch.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        let server = command.spawn().context("cannot run it")?;
        Ok(Self { url: format!("http://{address}"), _server: server, _scratch: scratch })
    }

    /// What a query finds now: its series, each with its value.
    ///
    /// # Panics
    ///
    /// When it is not understood; the message says why.
    pub async fn query(&self, query: &str) -> Vec<Value> {
        let asked = http::post(format!("{}/api/v1/query", self.url)).form(&[("query", query)]);
        let answer = asked.send().await.expect("Prometheus answers").json();
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        answer["data"]["result"].as_array().cloned().unwrap_or_default()
    }
}
