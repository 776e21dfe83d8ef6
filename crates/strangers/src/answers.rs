//! Answers of receivers over HTTP, as they are read from a socket.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use egress::{Answer, Client, EgressConfig, FailureKind, IpNet};
use tokio::runtime::Runtime;

use crate::bounds::within_room;

/// Memory, in bytes for each of an answer's; the library has buffers of its own.
const MULTIPLE: usize = 32;
const BUFFERS_BYTES: usize = 1_024 * 1_024;
const SNIPPET_BYTES: usize = 4 * 1_024;

/// All that a receiver says before it hangs up. Whatever it is, it is an answer with a status
/// that stands in it and a text that does no harm, or a failure that is the receiver's own and
/// never ours: what is ours is not charged, and a receiver that could feign it were never given up.
pub(crate) fn check(input: &[u8]) {
    let rig = Rig::get();
    *rig.says() = input.to_vec();
    let url = format!("http://{}/hook", rig.address);
    let attempt = within_room(input.len(), MULTIPLE, BUFFERS_BYTES, || {
        rig.runtime.block_on(rig.client.post(&url, &[], Bytes::from_static(b"x")))
    });
    match attempt.answer {
        Answer::Response { status, snippet, retry_after } => {
            let digits = format!(" {status}");
            assert!(has(input, b"HTTP/1.") && has(input, digits.as_bytes()), "{status}");
            assert!((100..1_000).contains(&status), "{status}");
            assert!(snippet.len() <= SNIPPET_BYTES, "{}", snippet.len());
            let harms = |c: char| {
                (c.is_control() && !"\t\r\n".contains(c)) || ('\u{202a}'..='\u{202e}').contains(&c)
            };
            assert!(!snippet.contains(harms), "{snippet:?}");
            if retry_after.is_some() {
                assert!(has(&input.to_ascii_lowercase(), b"retry-after"));
            }
        }
        Answer::Failed(failure) => {
            let is_theirs = matches!(failure.kind, FailureKind::BadAnswer | FailureKind::NoAnswer);
            assert!(is_theirs, "{failure:?}");
            assert!(!failure.detail.contains(char::is_control), "{failure:?}");
            assert!(failure.detail.chars().count() <= 300, "{failure:?}");
        }
    }
}

fn has(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// A receiver on loopback, and a client that may call it.
struct Rig {
    address: SocketAddr,
    says: Arc<Mutex<Vec<u8>>>,
    client: Client,
    runtime: Runtime,
}

impl Rig {
    fn get() -> &'static Self {
        static RIG: OnceLock<Rig> = OnceLock::new();
        RIG.get_or_init(|| Self::start().unwrap_or_else(|error| panic!("no receiver: {error}")))
    }

    fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let says = Arc::new(Mutex::new(Vec::new()));
        let said = Arc::clone(&says);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // This is about who hangs up.
                drop(answer(stream, &said));
            }
        });
        let loopback: IpNet = "127.0.0.0/8".parse().map_err(std::io::Error::other)?;
        let config = EgressConfig {
            allow: vec![loopback],
            max_response_body_bytes: SNIPPET_BYTES,
            total_timeout: Duration::from_secs(20),
            ..EgressConfig::default()
        };
        Ok(Self {
            address,
            says,
            client: Client::new(config).map_err(std::io::Error::other)?,
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build()?,
        })
    }

    fn says(&self) -> MutexGuard<'_, Vec<u8>> {
        self.says.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a request with a body of one byte, says what it is to say, and hangs up.
fn answer(mut stream: TcpStream, said: &Mutex<Vec<u8>>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut request = Vec::new();
    let mut buffer = [0; 2_048];
    while !request.ends_with(b"\r\n\r\nx") {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            read => request.extend_from_slice(&buffer[..read]),
        }
    }
    let bytes = said.lock().unwrap_or_else(PoisonError::into_inner).clone();
    stream.write_all(&bytes)?;
    stream.shutdown(Shutdown::Write)
}
