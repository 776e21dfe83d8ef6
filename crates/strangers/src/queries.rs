//! Queries of lists, and the moments in them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, SecondsFormat, Utc};
use settings_api::parsers;
use signing::Sealed;

use crate::bounds::within;
use crate::seals::{ACCOUNT, LIST, key};

/// Memory, in bytes for each of the query's.
const MULTIPLE: usize = 200;

pub(crate) fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_760_000_000, 0).unwrap_or_default()
}

/// A query of events is in its links what it was; moments are what they were when they are
/// written again; every refusal is the client's fault.
pub(crate) fn check(input: &[u8]) {
    let pairs: Vec<(String, String)> = form_urlencoded::parse(input).into_owned().collect();
    if pairs.iter().any(|(_, value)| value.contains('\0')) {
        return;
    }
    for (_, value) in &pairs {
        moment(value);
    }
    let (given, pairs) = (pairs.clone(), pairs);
    let others = within(input.len(), MULTIPLE, || parsers::other_queries(given, now()));
    others.unwrap_or_else(|status| panic!("{status} is no refusal of a client"));
    match within(input.len(), MULTIPLE, || parsers::events_query(pairs, now())) {
        Ok((walk, _)) => {
            let held = format!("[{walk},\"s\"]");
            let context = Sealed::Page(ACCOUNT, LIST).context();
            let sealed = URL_SAFE_NO_PAD.encode(key().seal(held.as_bytes(), [7; 24], &context));
            assert_eq!(parsers::open_page(&key(), ACCOUNT, LIST, &sealed), Some(held));
        }
        Err(status) => assert!((400..500).contains(&status), "{status}"),
    }
}

fn moment(text: &str) {
    let length = within(text.len(), 4, || parsers::duration(text));
    assert!(length.is_none_or(|length| length.num_hours() > 0), "{text:?} goes back");
    let Some(at) = within(text.len(), 16, || parsers::moment(text)) else { return };
    let again = at.to_rfc3339_opts(SecondsFormat::Nanos, true);
    assert_eq!(parsers::moment(&again), Some(at), "{again}");
    assert!((0..253_402_300_800).contains(&at.timestamp()), "{at}");
}
