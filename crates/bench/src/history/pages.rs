//! The pages of the console that are measured.

use anyhow::{Context as _, Result, ensure};

use super::asks::{Ask, How, PAGE_MS, key_of};
use super::fill::{LARGE, SMALL, World};
use crate::platform::exchange;

/// All of them, at this address, for somebody who has signed in.
pub(super) async fn all(address: &str, world: &World) -> Result<Vec<Ask>> {
    let mut pages = Vec::new();
    for (account, found) in [(LARGE, of_large(world)), (SMALL, of_small())] {
        let cookie = sign_in(address, account).await?;
        pages.extend(found.into_iter().map(|(what, path)| {
            let cookie = cookie.clone();
            let request = move |_| {
                format!(
                    "GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\nCookie: {cookie}\r\n\r\n"
                )
            };
            Ask {
                what,
                address: address.to_owned(),
                key: key_of(account),
                how: How::Anew,
                request: Box::new(request),
                limit_ms: PAGE_MS,
            }
        }));
    }
    Ok(pages)
}

fn of_large(world: &World) -> Vec<(&'static str, String)> {
    let event = World::event_id(world.rows / 2);
    let pages = [
        ("page: overview", "/console"),
        ("page: overview of a month", "/console?range=30d"),
        ("page: webhooks", "/console/webhooks"),
        ("page: alerts", "/console/alerts"),
        ("page: events", "/console/events"),
        ("page: events, complained", "/console/events?event=complained"),
        ("page: failures", "/console/failures"),
        ("page: failures, status", "/console/failures?status=503"),
        ("page: resends", "/console/resends"),
        ("page: domains", "/console/domains"),
        ("page: security", "/console/security"),
        ("page: subaccounts", "/console/subaccounts"),
    ];
    let pages = pages.map(|(what, path)| (what, path.to_owned()));
    pages.into_iter().chain([("page: an event", format!("/console/events/{event}"))]).collect()
}

fn of_small() -> Vec<(&'static str, String)> {
    vec![
        ("page: overview, small account", "/console".to_owned()),
        ("page: events, small account", "/console/events".to_owned()),
    ]
}

/// The cookie of a session.
async fn sign_in(address: &str, account: &str) -> Result<String> {
    let form = format!("api_key={}", key_of(account));
    let answer = exchange(
        address,
        &format!(
            "POST /console/sign-in HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
            form.len()
        ),
    )
    .await?;
    ensure!(answer.starts_with("HTTP/1.1 303"), "nobody is signed in: {answer}");
    let cookies = answer.lines().filter_map(|line| line.strip_prefix("set-cookie: "));
    let cookie = cookies.filter_map(|line| line.split(';').next()).next();
    Ok(cookie.context("a cookie")?.to_owned())
}
