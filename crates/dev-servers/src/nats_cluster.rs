//! Three NATS servers that keep each stream three times, on loopback.

use std::path::Path;

use anyhow::{Context as _, Result};

use crate::{Nats, NatsOptions, ports};

/// Nodes of a cluster: the fewest of which one may be away.
const NODES: usize = 3;

/// A cluster of ours. Dropping it ends it.
#[derive(Debug)]
pub struct NatsCluster {
    nodes: Vec<Nats>,
}

impl NatsCluster {
    /// Starts the nodes with what they store below this directory. Returns when
    /// all of them take clients; they may still be electing their leader.
    ///
    /// # Errors
    ///
    /// As [`Nats::start`].
    pub fn start(dir: &Path) -> Result<Self> {
        let routes: Vec<u16> = (0..NODES).map(|_| ports::free_port()).collect::<Result<_>>()?;
        let all: Vec<String> =
            routes.iter().map(|port| format!("\"nats-route://127.0.0.1:{port}\"")).collect();
        let nodes = routes.iter().enumerate().map(|(number, port)| {
            let mut options = NatsOptions::new(dir.join(format!("nats-{number}")));
            options.more = format!(
                "cluster {{\n  name: postrider\n  listen: \"127.0.0.1:{port}\"\n  routes: [{}]\n}}",
                all.join(", ")
            );
            Nats::start(options).with_context(|| format!("node {number} of the cluster"))
        });
        Ok(Self { nodes: nodes.collect::<Result<_>>()? })
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
