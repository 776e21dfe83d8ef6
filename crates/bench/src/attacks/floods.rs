//! Calls of which there are too many.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use super::attacker::{Go, Scene, pause};
use super::receivers::{Manner, listen};
use super::stage::{ATTACKER, json_request};
use super::wire::{Pace, Wire, address};
use crate::receiver::detach;

/// The effect of the attackers' own CPU time on the figures.
pub(super) fn keep_half_a_core_busy(scene: &Scene) {
    scene.spawn(1, |scene, _| async move {
        loop {
            let begun = std::time::Instant::now();
            while begun.elapsed() < Duration::from_millis(5) {
                std::hint::spin_loop();
            }
            scene.count("times 5 ms");
            pause(Duration::from_millis(5)).await;
        }
    });
}

/// A key that nobody has, another one each time.
pub(super) fn wrong_keys(scene: &Scene) {
    let (pace, number) = (Arc::new(Pace::of(2_000)), Arc::new(AtomicU64::new(0)));
    scene.spawn(2_000, move |scene, from| {
        let (pace, number) = (Arc::clone(&pace), Arc::clone(&number));
        async move {
            let to = scene.stage.api;
            scene
                .keep_asking(address(from % 10), to, &pace, || {
                    let number = number.fetch_add(1, Ordering::Relaxed);
                    let credentials = BASE64_STANDARD.encode(format!("api:guess-{number}"));
                    let request = format!(
                        "GET /v3/domains HTTP/1.1\r\nHost: attacks\r\n\
                         Authorization: Basic {credentials}\r\n\r\n"
                    );
                    request.into_bytes()
                })
                .await;
        }
    });
}

/// Makes a job for each end, once.
pub(super) fn failing_resends(scene: &Scene) {
    let scene = scene.clone();
    detach(async move {
        let Ok(mut wire) = Wire::open(address(0), scene.stage.api).await else { return };
        for outcome in ["held", "exhausted", "rejected", "expired", "suppressed", "poisoned"] {
            let body = json!({"outcomes": [outcome], "per_second": 1_000});
            let request = json_request("POST", "/postrider/v1/resends", ATTACKER, &body);
            match wire.ask(&request).await {
                Ok((status, _)) => scene.count(&format!("status {status}")),
                Err(_) => scene.count("not answered"),
            }
        }
    });
}

pub(super) async fn test_calls(scene: &Scene) -> Result<Go> {
    let url = listen(scene, Manner::SlowRefusal, 1).await?.remove(0);
    let scene = scene.clone();
    Ok(Box::new(move || {
        let body = json!({"url": url, "event_type": "clicked"});
        let request = json_request("POST", "/postrider/v1/webhooks/test", ATTACKER, &body);
        // Answers that come at once are answered with the next call, but not faster than this.
        let pace = Arc::new(Pace::of(500));
        scene.spawn(40, move |scene, number| {
            let (pace, request) = (Arc::clone(&pace), request.clone());
            async move {
                let to = scene.stage.api;
                scene.keep_asking(address(number % 4), to, &pace, || request.clone()).await;
            }
        });
    }))
}

pub(super) fn test_mails(scene: &Scene) {
    let emails: Vec<String> =
        (0..50).map(|number| format!("v{number}@elsewhere.example")).collect();
    let body = json!({"event_type": "ip_listed", "emails": emails});
    let request = json_request("POST", "/v1/alerts/email/test", ATTACKER, &body);
    let pace = Arc::new(Pace::of(50));
    scene.spawn(20, move |scene, number| {
        let (pace, request) = (Arc::clone(&pace), request.clone());
        async move {
            let to = scene.stage.api;
            scene.keep_asking(address(number % 4), to, &pace, || request.clone()).await;
        }
    });
}
