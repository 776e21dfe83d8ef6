//! Attacks that need no key: connections, heads and bodies that do not go on.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::attacker::{Go, Scene, pause};
use super::stage::{ATTACKER, authorization, request};
use super::wire::{Pace, Wire, address};

/// Bytes that are written at once.
const SLICE: usize = 16 * 1_024;
/// Between two bytes of what never ends.
const DRIP: Duration = Duration::from_secs(1);

/// Half of the heads are larger than anybody needs, half are just below what a server that
/// knows a limit may have.
pub(super) fn half_heads(scene: &Scene) {
    let pace = Arc::new(Pace::of(100));
    for (_, door) in scene.stage.doors() {
        let pace = &pace;
        scene.spawn(400, move |scene, number| {
            let pace = Arc::clone(pace);
            async move {
                let bytes = if number % 2 == 0 { 400_000 } else { 30_000 };
                let head = b"GET / HTTP/1.1\r\nHost: x\r\nX-A: ";
                Box::pin(hold(&scene, number % 4, door, &pace, head, bytes)).await;
            }
        });
    }
}

/// Opens a connection, writes a beginning and so many letters, then one each second; again
/// and again.
async fn hold(
    scene: &Scene,
    from: u32,
    door: SocketAddr,
    pace: &Pace,
    beginning: &[u8],
    letters: usize,
) {
    loop {
        pace.turn().await;
        let Ok(mut wire) = Wire::open(address(from), door).await else {
            scene.count("not connected");
            continue;
        };
        scene.count("connected");
        // It ends when the other side has had enough.
        let _ = Box::pin(write_without_end(&mut wire.stream, beginning, letters)).await;
        scene.count("closed by the other side");
    }
}

async fn write_without_end(
    stream: &mut TcpStream,
    beginning: &[u8],
    letters: usize,
) -> std::io::Result<()> {
    stream.write_all(beginning).await?;
    let slice = [b'a'; SLICE];
    let mut left = letters;
    while left > 0 {
        let count = left.min(SLICE);
        stream.write_all(&slice[..count]).await?;
        left -= count;
    }
    loop {
        pause(DRIP).await;
        stream.write_all(b"a").await?;
    }
}

/// Connections on each port on which nothing is ever sent.
pub(super) fn silence(scene: &Scene, addresses: u32, of_each_door: u32) {
    let pace = Arc::new(Pace::of(1_000));
    for (name, door) in scene.stage.doors() {
        let pace = &pace;
        scene.spawn(of_each_door, move |scene, number| {
            let pace = Arc::clone(pace);
            async move {
                loop {
                    pace.turn().await;
                    let Ok(mut wire) = Wire::open(address(number % addresses), door).await else {
                        scene.count("not connected");
                        continue;
                    };
                    scene.count(&format!("connected to {name}"));
                    wire.wait_for_end().await;
                    scene.count("closed by the other side");
                }
            }
        });
    }
}

/// The head of a body that says to be larger than what comes.
fn head(method: &str, path: &str, headers: &str, content_type: &str, says: usize) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: attacks\r\n{headers}Content-Type: {content_type}\r\n\
         Content-Length: {says}\r\n\r\n"
    )
}

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

pub(super) async fn bodies_of_strangers(scene: &Scene) -> Result<Go> {
    let bin = new_bin(scene).await?;
    let scene = scene.clone();
    Ok(Box::new(move || {
        let stage = &scene.stage;
        let sign_in = head("POST", "/console/sign-in", "", FORM, 250_000) + "api_key=";
        let call = head("PUT", "/postrider/v1/urls", "", JSON, 1_000_000);
        let bin = head("POST", &bin, "", FORM, 4_000_000);
        for (door, head, letters, connections) in [
            (stage.api, sign_in, 240_000, 200),
            (stage.api, call, 900_000, 100),
            (stage.bin, bin, 1_040_000, 200),
        ] {
            unfinished(&scene, door, &head, letters, connections);
        }
    }))
}

/// Makes a bin, and returns the path at which it takes requests.
async fn new_bin(scene: &Scene) -> Result<String> {
    let mut wire = Wire::open(address(0), scene.stage.bin).await?;
    let (_, body) = wire.ask(&request("POST", "/api/bins", "", JSON, "{}")).await?;
    let bin: serde_json::Value = serde_json::from_slice(&body)?;
    let url = bin["url"].as_str().context("a bin has a URL")?;
    let path = url.splitn(4, '/').nth(3).context("a bin has a path")?;
    Ok(format!("/{path}"))
}

pub(super) fn bodies_with_a_key(scene: &Scene) {
    let key = authorization(ATTACKER);
    let head = head("PUT", "/postrider/v1/urls", &key, JSON, 1_000_000);
    unfinished(scene, scene.stage.api, &head, 900_000, 300);
}

pub(super) fn bodies_to_ingest(scene: &Scene) {
    let head = head("POST", "/v1/events", "", JSON, 60_000_000);
    unfinished(scene, scene.stage.ingest_http, &head, 59_000_000, 12);
}

fn unfinished(scene: &Scene, door: SocketAddr, head: &str, letters: usize, connections: u32) {
    // Sending a body takes CPU time of both sides: not more than 40 MB a second.
    let pace = Arc::new(Pace::of(u32::try_from(40_000_000 / letters).unwrap_or(1).clamp(1, 50)));
    let head: Arc<str> = head.into();
    scene.spawn(connections, move |scene, number| {
        let (pace, head) = (Arc::clone(&pace), Arc::clone(&head));
        async move {
            Box::pin(hold(&scene, number % 4, door, &pace, head.as_bytes(), letters)).await;
        }
    });
}
