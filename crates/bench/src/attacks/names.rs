//! Name servers of ours: one zone whose names are well, and one of which nobody ever answers.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use dev_servers::Scratch;
use tokio::net::UdpSocket;

use crate::receiver::detach;

/// Where name servers are asked: the port cannot be said in resolv.conf.
const SERVER: (Ipv4Addr, u16) = (Ipv4Addr::new(127, 0, 2, 53), 53);
/// Names below it have the address 127.0.0.1.
pub(super) const WELL: &str = "well.test";
/// Questions about names below it are swallowed.
pub(super) const HOLE: &str = "hole.test";

/// Bytes of a DNS header.
const HEADER: usize = 12;
const TYPE_A: u16 = 1;

/// The server, and the file that leads to it.
pub(super) struct Names {
    pub(super) resolv_conf: PathBuf,
    _scratch: Scratch,
}

impl Names {
    /// Serves from now on.
    pub(super) async fn start() -> Result<Self> {
        let socket = UdpSocket::bind(SERVER).await.context(
            "name servers need port 53 of 127.0.2.53, and a mount namespace: run as root",
        )?;
        detach(async move {
            let mut buffer = [0; 1_500];
            loop {
                let Ok((count, from)) = socket.recv_from(&mut buffer).await else { continue };
                if let Some(answer) = answer(&buffer[..count]) {
                    // The client will ask again.
                    let _ = socket.send_to(&answer, from).await;
                }
            }
        });
        let scratch = Scratch::new()?;
        let resolv_conf = scratch.path().join("resolv.conf");
        std::fs::write(&resolv_conf, format!("nameserver {}\n", SERVER.0))?;
        Ok(Self { resolv_conf, _scratch: scratch })
    }
}

/// The answer to a question; nothing where it is swallowed, or is none.
fn answer(question: &[u8]) -> Option<Vec<u8>> {
    let mut labels = Vec::new();
    let mut at = HEADER;
    loop {
        let length = usize::from(*question.get(at)?);
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(question.get(at + 1..at + 1 + length)?).to_lowercase());
        at += 1 + length;
    }
    let end = at + 5;
    let kind = u16::from_be_bytes([*question.get(at + 1)?, *question.get(at + 2)?]);
    let name = labels.join(".");
    if name.ends_with(HOLE) {
        return None;
    }
    let exists = name.ends_with(WELL);
    let has_address = exists && kind == TYPE_A;
    let mut answer = question.get(..2)?.to_vec();
    // An answer, recursion available; "no such name" where there is none.
    answer.extend([0x81, if exists { 0x80 } else { 0x83 }, 0, 1, 0, u8::from(has_address)]);
    answer.extend([0; 4]);
    answer.extend(question.get(HEADER..end)?);
    if has_address {
        // The name of the question, A, IN, not to be kept, four bytes.
        answer.extend([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1]);
    }
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(name: &str, kind: u8) -> Vec<u8> {
        let mut bytes = vec![7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            bytes.push(u8::try_from(label.len()).unwrap());
            bytes.extend(label.bytes());
        }
        bytes.extend([0, 0, kind, 0, 1]);
        bytes
    }

    #[test]
    fn one_zone_is_well_and_one_swallows() {
        let found = answer(&question("a.well.test", 1)).unwrap();
        assert_eq!((found[3] & 0xf, found[7]), (0, 1));
        assert!(found.ends_with(&[127, 0, 0, 1]));
        let no_ipv6 = answer(&question("a.well.test", 28)).unwrap();
        assert_eq!((no_ipv6[3] & 0xf, no_ipv6[7]), (0, 0));
        assert_eq!(answer(&question("else.where", 1)).unwrap()[3] & 0xf, 3);
        assert_eq!(answer(&question("a.hole.test", 1)), None);
    }
}
