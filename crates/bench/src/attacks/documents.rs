//! Settings: many, large, and often.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Result;
use serde_json::{Map, Value, json};

use super::attacker::Scene;
use super::stage::{ATTACKER, authorization, json_request, request};
use super::wire::{Pace, Wire, address};

const URLS: &str = "/postrider/v1/urls";
/// URLs of an account that can have something said of them, less two.
const MOST: u32 = 98;

/// Makes and deletes a domain, again and again.
pub(super) fn churn(scene: &Scene) {
    let (pace, number) = (Arc::new(Pace::of(400)), Arc::new(AtomicU32::new(0)));
    scene.spawn(8, move |scene, from| {
        let (pace, number) = (Arc::clone(&pace), Arc::clone(&number));
        async move {
            let key = authorization(ATTACKER);
            let mut made = None;
            let to = scene.stage.api;
            scene
                .keep_asking(address(from % 4), to, &pace, || match made.take() {
                    None => {
                        let name =
                            format!("c{}.churn.example", number.fetch_add(1, Ordering::Relaxed));
                        let form = format!("name={name}");
                        made = Some(name);
                        let content_type = "application/x-www-form-urlencoded";
                        request("POST", "/v4/domains", &key, content_type, &form)
                    }
                    Some(name) => {
                        let path = format!("/v3/domains/{name}");
                        request("DELETE", &path, &key, "text/plain", "")
                    }
                })
                .await;
        }
    });
}

/// A URL of nearly the most bytes, with ten headers of 1 KB.
fn large(number: u32) -> Vec<u8> {
    let headers: Map<String, Value> = (0..10)
        .map(|n| (format!("x-h{n}-{}", "n".repeat(50)), Value::String("v".repeat(1_024))))
        .collect();
    let url = format!("https://hooks.example.net/{number:03}?{}", "x".repeat(2_000));
    json_request("PUT", URLS, ATTACKER, &json!({"url": url, "headers": headers}))
}

/// Says as much as can be said, again and again.
pub(super) fn largest(scene: &Scene) {
    let (pace, number) = (Arc::new(Pace::of(20)), Arc::new(AtomicU32::new(0)));
    scene.spawn(4, move |scene, from| {
        let (pace, number) = (Arc::clone(&pace), Arc::clone(&number));
        async move {
            let to = scene.stage.api;
            let next = || large(number.fetch_add(1, Ordering::Relaxed) % MOST);
            scene.keep_asking(address(from), to, &pace, next).await;
        }
    });
}

/// Makes the account's document as large as it can be.
pub(super) async fn fill(scene: &Scene) -> Result<()> {
    let mut wire = Wire::open(address(0), scene.stage.api).await?;
    for number in 0..74 {
        let (status, _) = wire.ask(&large(number)).await?;
        scene.count(&format!("filling: status {status}"));
        if status != 200 {
            break;
        }
    }
    Ok(())
}

/// Pauses and resumes a URL 1,000 times a second.
pub(super) fn writes(scene: &Scene) {
    let pace = Arc::new(Pace::of(1_000));
    scene.spawn(500, move |scene, number| {
        let pace = Arc::clone(&pace);
        async move {
            let to = scene.stage.api;
            let mut paused = false;
            let next = || {
                paused = !paused;
                let body = json!({"url": "https://hooks.example.net/", "paused": paused});
                json_request("PUT", "/postrider/v1/urls/paused", ATTACKER, &body)
            };
            scene.keep_asking(address(number % 4), to, &pace, next).await;
        }
    });
}
