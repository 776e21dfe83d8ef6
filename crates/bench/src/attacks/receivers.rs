//! Receivers of the attacker's own, and events that have deliveries made to them.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use protocol::v1::ingest_client::IngestClient;
use protocol::v1::{Event, PublishRequest};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tonic::transport::Channel;

use super::arena::{EVENT, add_customer};
use super::attacker::{Go, Scene, pause};
use super::names::HOLE;
use super::wire::Pace;
use crate::customers::domain;
use crate::receiver::detach;

/// The account of those who hear.
const ACCOUNT: &str = "hostile";
/// Just within the ten seconds that a request may take.
const SLOW: Duration = Duration::from_millis(9_700);
/// Just within what an answer's head may be.
const HEAD_BYTES: usize = 390_000;
const SLICE: usize = 16 * 1_024;

/// How a receiver answers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Manner {
    /// 404, as late as can be.
    SlowRefusal,
    /// A head that goes on and on.
    EndlessHead,
    /// A body that goes on and on.
    EndlessBody,
    /// A body of a byte each second.
    Drip,
}

/// Starts so many receivers, each at an address of its own, and returns their URLs.
pub(super) async fn listen(scene: &Scene, manner: Manner, count: u32) -> Result<Vec<String>> {
    let mut urls = Vec::new();
    for number in 0..count {
        let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 3, 0, 1)) + number);
        let listener = TcpListener::bind((address, 0)).await?;
        urls.push(format!("http://{}/hook", listener.local_addr()?));
        let scene = scene.clone();
        detach(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let scene = scene.clone();
                detach(async move {
                    // It ends when the other side has had enough.
                    let _ = answer(stream, manner, &scene).await;
                });
            }
        });
    }
    Ok(urls)
}

async fn answer(mut stream: TcpStream, manner: Manner, scene: &Scene) -> std::io::Result<()> {
    const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n";
    let mut buffer = vec![0; 64 * 1_024];
    // The answer is small, and comes at once.
    while stream.read(&mut buffer).await? > 0 {
        scene.count("requests received");
        match manner {
            Manner::SlowRefusal => {
                pause(SLOW).await;
                stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await?;
            }
            Manner::EndlessHead => {
                stream.write_all(OK).await?;
                stream.write_all(b"X-A: ").await?;
                for _ in 0..HEAD_BYTES / SLICE {
                    stream.write_all(&[b'a'; SLICE]).await?;
                }
                drip(&mut stream).await?;
            }
            Manner::EndlessBody => {
                stream.write_all(OK).await?;
                stream.write_all(b"\r\n").await?;
                loop {
                    stream.write_all(&[b'a'; SLICE]).await?;
                    pause(Duration::from_millis(20)).await;
                }
            }
            Manner::Drip => {
                stream.write_all(OK).await?;
                stream.write_all(b"\r\n").await?;
                drip(&mut stream).await?;
            }
        }
    }
    Ok(())
}

async fn drip(stream: &mut TcpStream) -> std::io::Result<()> {
    loop {
        pause(Duration::from_secs(1)).await;
        stream.write_all(b"a").await?;
    }
}

/// So many events at once, and then at a rate, each to the next of these URLs.
async fn deliveries(scene: &Scene, urls: Vec<String>, at_once: u64, rate: u32) -> Result<Go> {
    add_customer(&scene.stage, ACCOUNT, &urls).await?;
    let client = IngestClient::connect(format!("http://{}", scene.stage.ingest_grpc)).await?;
    let template: Event = serde_json::from_str(EVENT)?;
    let (pace, number) = (Arc::new(Pace::of(rate)), Arc::new(AtomicU64::new(0)));
    let (scene, domains) = (scene.clone(), urls.len() as u64);
    Ok(Box::new(move || {
        scene.spawn(4, |scene, _| {
            let (client, template) = (client.clone(), template.clone());
            let (pace, number) = (Arc::clone(&pace), Arc::clone(&number));
            async move {
                loop {
                    let number = number.fetch_add(1, Ordering::Relaxed);
                    if number >= at_once {
                        pace.turn().await;
                    }
                    let domain = domain(ACCOUNT, number % domains);
                    publish(&scene, client.clone(), Event { domain, ..template.clone() }).await;
                }
            }
        });
    }))
}

async fn publish(scene: &Scene, mut client: IngestClient<Channel>, event: Event) {
    match client.publish(PublishRequest { events: vec![event] }).await {
        Ok(_) => scene.count("events"),
        Err(_) => {
            scene.count("events not taken");
            pause(Duration::from_millis(200)).await;
        }
    }
}

/// Names of which no server answers.
pub(super) async fn swallowed_names(scene: &Scene) -> Result<Go> {
    let urls = (0..30).map(|number| format!("http://n{number}.{HOLE}/hook")).collect();
    deliveries(scene, urls, 900, 20).await
}

pub(super) async fn slow_refusals(scene: &Scene) -> Result<Go> {
    let urls = listen(scene, Manner::SlowRefusal, 24).await?;
    deliveries(scene, urls, 1_000, 100).await
}

pub(super) async fn endless_heads(scene: &Scene) -> Result<Go> {
    let urls = listen(scene, Manner::EndlessHead, 32).await?;
    deliveries(scene, urls, 200, 60).await
}

pub(super) async fn endless_answers(scene: &Scene) -> Result<Go> {
    let mut urls = listen(scene, Manner::EndlessBody, 16).await?;
    urls.extend(listen(scene, Manner::Drip, 16).await?);
    deliveries(scene, urls, 200, 60).await
}
