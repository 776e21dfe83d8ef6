//! Three NATS servers that keep each stream three times, on loopback.

use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::rig::answers;
use crate::{Nats, NatsOptions, NatsSync, ports};

/// Nodes of a cluster: the fewest of which one may be away.
const NODES: usize = 3;

/// Elections of all streams and consumers, and what a node has missed.
const HEALTHY_WITHIN: Duration = Duration::from_secs(120);

/// A cluster of ours. Dropping it ends it.
#[derive(Debug)]
pub struct NatsCluster {
    nodes: Vec<Nats>,
    /// Where each of them tells how it is.
    monitors: Vec<SocketAddr>,
}

impl NatsCluster {
    /// Starts the nodes with what they store below this directory. Returns when
    /// all of them take clients; they may still be electing their leader.
    ///
    /// # Errors
    ///
    /// As [`Nats::start`].
    pub fn start(dir: &Path) -> Result<Self> {
        Self::start_with(dir, NatsSync::Lazy)
    }

    /// As [`NatsCluster::start`], with another setting for when the nodes flush to the disk.
    ///
    /// # Errors
    ///
    /// As [`Nats::start`].
    pub fn start_with(dir: &Path, sync: NatsSync) -> Result<Self> {
        let routes: Vec<u16> = (0..NODES).map(|_| ports::free_port()).collect::<Result<_>>()?;
        let all: Vec<String> =
            routes.iter().map(|port| format!("\"nats-route://127.0.0.1:{port}\"")).collect();
        let monitors: Vec<SocketAddr> = (0..NODES)
            .map(|_| Ok(SocketAddr::from(([127, 0, 0, 1], ports::free_port()?))))
            .collect::<Result<_>>()?;
        let nodes = routes.iter().zip(&monitors).enumerate().map(|(number, (port, monitor))| {
            let mut options = NatsOptions::new(dir.join(format!("nats-{number}")));
            options.sync = sync;
            options.more = format!(
                "http: \"{monitor}\"\n\
                 cluster {{\n  name: postrider\n  listen: \"127.0.0.1:{port}\"\n  routes: [{}]\n}}",
                all.join(", ")
            );
            Nats::start(options).with_context(|| format!("node {number} of the cluster"))
        });
        Ok(Self { nodes: nodes.collect::<Result<_>>()?, monitors })
    }

    /// Ends a node in good order, starts it again, and waits until it has all that the
    /// others have: another one may go then. An orchestrator waits for the same.
    ///
    /// # Errors
    ///
    /// When it does not come back.
    pub fn restart(&mut self, number: usize) -> Result<()> {
        self.nodes[number].restart()?;
        self.wait_healthy(number)
    }

    /// Waits until a node has all that the others have.
    ///
    /// # Errors
    ///
    /// When that takes more than two minutes.
    pub fn wait_healthy(&self, number: usize) -> Result<()> {
        let deadline = Instant::now() + HEALTHY_WITHIN;
        while !answers(self.monitors[number], "/healthz") {
            ensure!(Instant::now() < deadline, "node {number} of the cluster is not healthy");
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Where clients connect: all nodes, with commas between.
    pub fn url(&self) -> String {
        self.nodes.iter().map(Nats::url).collect::<Vec<_>>().join(",")
    }

    /// The nodes.
    pub fn nodes(&self) -> &[Nats] {
        &self.nodes
    }

    /// The nodes, to end one of them and start it again.
    pub fn nodes_mut(&mut self) -> &mut [Nats] {
        &mut self.nodes
    }
}
