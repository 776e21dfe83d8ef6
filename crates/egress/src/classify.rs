//! What went wrong, and whose fault it was.

use std::error::Error;
use std::io;

use crate::answer::{Failure, FailureKind};

/// Longest detail, in characters.
const DETAIL_CHARS: usize = 300;

/// Sorts an error of a request. Its URL is not part of what is returned.
pub(crate) fn classify(error: &reqwest::Error) -> Failure {
    let causes = causes(error);
    if let Some(refused) = causes.iter().find_map(|cause| cause.downcast_ref::<Failure>()) {
        return refused.clone();
    }
    let has_tls_error = causes.iter().any(|cause| cause.is::<rustls::Error>());
    let is_local = causes.iter().filter_map(|cause| cause.downcast_ref()).any(is_local);
    let kind = if has_tls_error {
        FailureKind::Tls
    } else if error.is_timeout() {
        FailureKind::Timeout
    } else if is_local {
        FailureKind::Local
    } else if error.is_connect() {
        FailureKind::Connect
    } else if error.is_builder() {
        FailureKind::InvalidUrl
    } else {
        FailureKind::NoAnswer
    };
    let detail = match kind {
        FailureKind::Timeout => "no connection in time".to_owned(),
        FailureKind::InvalidUrl => "no request can be made of this URL".to_owned(),
        _ => detail(&causes),
    };
    Failure { kind, detail }
}

/// All errors below, from the outside in. The outermost is left out: its text
/// holds the URL.
fn causes(error: &reqwest::Error) -> Vec<&(dyn Error + 'static)> {
    let mut causes = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        causes.push(cause);
        // What an I/O error wraps is not its source, but stands in its place.
        let wrapped = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match wrapped {
            Some(inner) => Some(inner),
            None => cause.source(),
        };
    }
    causes
}

/// Whether this machine had nothing to connect with.
fn is_local(error: &io::Error) -> bool {
    /// Linux: too many files in the system, in the process; no buffers.
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const ENOBUFS: i32 = 105;
    matches!(
        error.kind(),
        io::ErrorKind::AddrNotAvailable
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::OutOfMemory
            | io::ErrorKind::PermissionDenied
    ) || matches!(error.raw_os_error(), Some(ENFILE | EMFILE | ENOBUFS))
}

/// The innermost cause says it best.
fn detail(causes: &[&(dyn Error + 'static)]) -> String {
    let text = causes.last().map(ToString::to_string).unwrap_or_default();
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let detail: String = clean.take(DETAIL_CHARS).collect();
    if detail.is_empty() { "the request failed".to_owned() } else { detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_sockets_or_network_is_our_fault() {
        for code in [23, 24, 105, 99, 100, 101, 12, 13] {
            let error = io::Error::from_raw_os_error(code);
            assert!(is_local(&error), "{error}");
        }
        // Refused, reset, no route to that one host, broken pipe.
        for code in [111, 104, 113, 32] {
            let error = io::Error::from_raw_os_error(code);
            assert!(!is_local(&error), "{error}");
        }
    }
}
