//! What went wrong, and whose fault it was.

use std::error::Error;
use std::io;

use rustls::pki_types::InvalidDnsNameError;

use crate::answer::{Failure, FailureKind};
use crate::client::MAX_ANSWER_HEADERS;
use crate::progress::Stage;
use crate::{proxy, routes, tls};

/// Longest detail, in characters.
const DETAIL_CHARS: usize = 300;

/// What the HTTP library says, and has no other way to tell, of a connection on
/// which something comes before the request.
const UNEXPECTED: &str = "received unexpected message from connection";

/// Sorts an error of a request that had come to this stage. Its URL is not part
/// of what is returned.
pub(crate) fn classify(error: &reqwest::Error, stage: Stage) -> Failure {
    let causes = causes(error);
    let Failure { kind, detail } = if error.is_builder() {
        Failure::new(FailureKind::InvalidUrl, "no request can be made of this URL")
    } else if let Some(failure) = of_a_connection(&causes) {
        failure
    } else if error.is_connect() {
        not_connected(find(&causes), stage)
    } else {
        not_answered(&causes)
    };
    let clean = detail.chars().map(|c| if c.is_control() { ' ' } else { c });
    Failure { kind, detail: clean.take(DETAIL_CHARS).collect() }
}

/// What a request that has run out of time was waiting for.
pub(crate) fn too_late(stage: Stage, limit_ms: u128) -> Failure {
    let (kind, what) = match stage {
        Stage::Resolving => (FailureKind::DnsOurs, "the resolver did not answer"),
        Stage::Connecting(_) => (FailureKind::ConnectTimeout, "no connection"),
        Stage::Securing(_) => (FailureKind::TlsTimeout, "no TLS connection"),
        Stage::Kept | Stage::Connected => (FailureKind::Timeout, "no answer"),
    };
    Failure::new(kind, format!("{what} within {limit_ms} ms"))
}

/// Whether the receiver hung up without an answer, or with half of its head.
pub(crate) fn has_hung_up(error: &reqwest::Error) -> bool {
    let causes = causes(error);
    let is_reset = |error: &io::Error| {
        use io::ErrorKind as E;
        matches!(error.kind(), E::BrokenPipe | E::ConnectionAborted | E::ConnectionReset)
    };
    let is_broken = |error: &hyper::Error| error.is_incomplete_message() || error.is_canceled();
    !error.is_connect()
        && (find(&causes).is_some_and(is_reset) || find(&causes).is_some_and(is_broken))
}

/// What is said in full, wherever it comes from.
fn of_a_connection(causes: &[&(dyn Error + 'static)]) -> Option<Failure> {
    if let Some(failure) = find::<Failure>(causes) {
        return Some(failure.clone());
    }
    if let Some(error) = find::<rustls::Error>(causes) {
        return Some(Failure::new(FailureKind::Tls, tls::detail(error)));
    }
    if let Some(failure) = proxy::classify(causes) {
        return Some(failure);
    }
    let detail = "no certificate can be for the URL's host";
    let is_name = find::<InvalidDnsNameError>(causes).is_some();
    is_name.then(|| Failure::new(FailureKind::InvalidUrl, detail))
}

pub(crate) fn not_connected(error: Option<&io::Error>, stage: Stage) -> Failure {
    let Some(error) = error else {
        return Failure::new(FailureKind::Connect, "no connection");
    };
    let detail = io_detail(error);
    if is_local(error) {
        Failure::new(FailureKind::Local, detail)
    } else if matches!(stage, Stage::Securing(_)) {
        Failure::new(FailureKind::Tls, format!("{detail} in the TLS handshake"))
    } else if error.kind() == io::ErrorKind::TimedOut {
        Failure::new(FailureKind::ConnectTimeout, "no connection in time")
    } else {
        Failure::new(FailureKind::Connect, detail)
    }
}

fn not_answered(causes: &[&(dyn Error + 'static)]) -> Failure {
    for error in causes.iter().filter_map(|cause| cause.downcast_ref::<hyper::Error>()) {
        let detail = if error.is_parse_too_large() {
            format!("the head of the answer is too large; it may have {MAX_ANSWER_HEADERS} fields")
        } else if error.is_parse() {
            format!("the answer is not HTTP/1.1: {}", parsing(&error.to_string()))
        } else if error.to_string() == UNEXPECTED {
            "it sent something before it was asked, and HTTP/1.1 servers wait".to_owned()
        } else {
            continue;
        };
        return Failure::new(FailureKind::BadAnswer, detail);
    }
    match find::<io::Error>(causes) {
        Some(error) if is_local(error) => Failure::new(FailureKind::Local, io_detail(error)),
        Some(error) => {
            let detail = format!("{} before there was an answer", io_detail(error));
            Failure::new(FailureKind::NoAnswer, detail)
        }
        None => {
            let detail = "the connection was closed before there was an answer";
            Failure::new(FailureKind::NoAnswer, detail)
        }
    }
}

/// The fault in the head of an answer, from the words of the HTTP library.
fn parsing(text: &str) -> &str {
    match text {
        "invalid HTTP version parsed" => "it begins with another version than HTTP/1.1",
        "invalid HTTP status-code parsed" => "it has no status of three digits",
        "invalid content-length parsed" => {
            "its Content-Length is no number, or there are two that differ"
        }
        "invalid HTTP header parsed" => "a field of its head has a character that none may have",
        other => other,
    }
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

fn find<'a, E: Error + 'static>(causes: &[&'a (dyn Error + 'static)]) -> Option<&'a E> {
    causes.iter().find_map(|cause| cause.downcast_ref())
}

/// What customers are told of an I/O error, in the same words on every system.
fn io_detail(error: &io::Error) -> String {
    use io::ErrorKind as E;
    match error.kind() {
        E::ConnectionRefused => "the connection was refused".to_owned(),
        E::ConnectionReset | E::ConnectionAborted => "the connection was reset".to_owned(),
        E::BrokenPipe | E::UnexpectedEof => "the connection was closed".to_owned(),
        _ if has_no_route(error) => "there is no route to the host".to_owned(),
        E::HostUnreachable => "the host cannot be reached".to_owned(),
        _ => error.to_string(),
    }
}

/// Whether this machine has no way there: no route, one that is closed, or one into a black hole.
fn has_no_route(error: &io::Error) -> bool {
    /// Linux: what a connection into a black hole is refused with.
    const EINVAL: i32 = 22;
    use io::ErrorKind as E;
    matches!(error.kind(), E::NetworkUnreachable | E::PermissionDenied)
        || error.raw_os_error() == Some(EINVAL)
}

/// Whether this machine had nothing to connect with: without a route to anywhere it is ours,
/// without one to this host alone it is not.
fn is_local(error: &io::Error) -> bool {
    /// Linux: too many files in the system, in the process; no buffers.
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const ENOBUFS: i32 = 105;
    if has_no_route(error) {
        return !routes::lead_anywhere();
    }
    matches!(
        error.kind(),
        io::ErrorKind::AddrNotAvailable | io::ErrorKind::NetworkDown | io::ErrorKind::OutOfMemory
    ) || matches!(error.raw_os_error(), Some(ENFILE | EMFILE | ENOBUFS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_sockets_or_network_is_our_fault() {
        for code in [23, 24, 105, 99, 100, 12] {
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
