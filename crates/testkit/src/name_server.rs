//! A name server with zones in every kind of trouble.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// Answers questions over UDP until it is dropped:
///
/// | name ends with | answer |
/// | --- | --- |
/// | `hole.test` | none |
/// | `slow6.test` | none for IPv6 |
/// | `broken.test` | SERVFAIL |
/// | `refused.test` | REFUSED |
/// | `no.test` | there is no such name |
/// | `both.test` | its address, and one of IPv6 that is somewhere in the world |
/// | `six.test` | that of IPv6 alone |
/// | anything else | its address |
#[derive(Debug)]
pub struct NameServer {
    address: SocketAddr,
    is_silent: Arc<AtomicBool>,
    answers: JoinHandle<()>,
}

impl NameServer {
    /// Starts one for which every name has this address.
    ///
    /// # Panics
    /// When there is no port.
    pub async fn start(leads_to: Ipv4Addr) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a socket");
        let address = socket.local_addr().expect("its address");
        let is_silent = Arc::new(AtomicBool::new(false));
        let silence = Arc::clone(&is_silent);
        #[expect(clippy::disallowed_methods, reason = "ends when this is dropped")]
        let answers = tokio::spawn(async move {
            let mut buffer = [0; 1_500];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                if silence.load(Ordering::Relaxed) {
                    continue;
                }
                if let Some(answer) = answer(&buffer[..length], leads_to) {
                    // The asker may be gone.
                    let _ = socket.send_to(&answer, from).await;
                }
            }
        });
        Self { address, is_silent, answers }
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Has it answer nothing at all any more, or as before.
    pub fn be_silent(&self, is_silent: bool) {
        self.is_silent.store(is_silent, Ordering::Relaxed);
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.answers.abort();
    }
}

const SOMEWHERE: Ipv6Addr = Ipv6Addr::new(0x2606, 0x4700, 0, 0, 0, 0, 0, 0x1111);

/// RFC 1035, section 4: a head of twelve bytes, then the question. `None` for silence.
fn answer(query: &[u8], leads_to: Ipv4Addr) -> Option<Vec<u8>> {
    let (mut labels, mut at) = (Vec::new(), 12);
    while *query.get(at)? != 0 {
        let length = usize::from(query[at]);
        labels.push(String::from_utf8_lossy(query.get(at + 1..=at + length)?).to_lowercase());
        at += 1 + length;
    }
    let name = labels.join(".");
    let is_v6 = query.get(at + 1..at + 3)? == [0, 28];
    let is_in = |zone: &str| name.ends_with(zone);
    let (code, has_address) = match () {
        () if is_in("hole.test") || is_in("slow6.test") && is_v6 => return None,
        () if is_in("broken.test") => (2, false),
        () if is_in("no.test") => (3, false),
        () if is_in("refused.test") => (5, false),
        () if is_in("both.test") => (0, true),
        () if is_in("six.test") => (0, is_v6),
        () => (0, !is_v6),
    };
    let mut answer = query[..2].to_vec();
    answer.extend([0x81, 0x80 | code, 0, 1, 0, u8::from(has_address), 0, 0, 0, 0]);
    answer.extend(query.get(12..at + 5)?);
    if has_address {
        // The name of the question, a record of a minute.
        let (kind, bytes) = match is_v6 {
            true => (28, SOMEWHERE.octets().to_vec()),
            false => (1, leads_to.octets().to_vec()),
        };
        answer.extend([0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 60, 0, if is_v6 { 16 } else { 4 }]);
        answer.extend(bytes);
    }
    Some(answer)
}
