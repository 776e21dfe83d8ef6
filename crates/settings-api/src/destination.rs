//! URLs that customers give: what is checked before one is stored.

use egress::{Answer, Client};

use crate::error::ApiError;

/// Checks what can be told without calling anyone: the form, the scheme, and
/// that a literal address is one which receivers may have. Names are resolved
/// and vetted each time somebody connects.
pub(crate) fn check_url(egress: &Client, url: &str) -> Result<(), String> {
    let web = |scheme: &str| ["http", "https"].iter().any(|web| scheme.eq_ignore_ascii_case(web));
    if !url.split_once("://").is_some_and(|(scheme, _)| web(scheme)) {
        // Mailgun's words (reference §3.3).
        return Err("invalid URL scheme".into());
    }
    egress.vet_url(url).map(|_| ()).map_err(|why| why.to_string())
}

/// Calls an alert's URL, which has to answer 200 and nothing else (reference §9.3).
pub(crate) async fn check_answers(egress: &Client, url: &str) -> Result<(), ApiError> {
    check_url(egress, url)
        .map_err(|why| ApiError::bad_request(format!("{url} is not a valid url: {why}")))?;
    let why = match egress.get(url).await.answer {
        Answer::Response { status: 200, .. } => return Ok(()),
        Answer::Response { status, .. } => format!("it returned {status}"),
        Answer::Failed(failure) => failure.to_string(),
    };
    Err(ApiError::bad_request(format!("webhook url did not return a 200 response: {why}")))
}
