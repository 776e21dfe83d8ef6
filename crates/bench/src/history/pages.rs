//! The pages of the console that are measured.

use anyhow::{Context as _, Result, ensure};

use super::asks::{Ask, How, PAGE_MS, key_of};
use super::fill::{LARGE, SMALL};
use crate::platform::exchange;

/// Those of an event are left out: they find everything by the event's key.
const OF_LARGE: [(&str, &str); 12] = [
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
const OF_SMALL: [(&str, &str); 2] = [
    ("page: overview, small account", "/console"),
    ("page: events, small account", "/console/events"),
];

/// All of them, at this address, for somebody who has signed in.
pub(super) async fn all(address: &str) -> Result<Vec<Ask>> {
    let mut pages = Vec::new();
    for (account, found) in [(LARGE, &OF_LARGE[..]), (SMALL, &OF_SMALL)] {
        let cookie = sign_in(address, account).await?;
        pages.extend(found.iter().map(|(what, path)| {
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
