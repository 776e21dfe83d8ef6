//! Replies of a mail relay.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use chassis::Clock;
use egress::mail::{Mail, MailAddress, MailConfig, MailFailureKind, Mailer, Relay, Sender};
use tokio::runtime::Runtime;

use crate::bounds::within_room;
use crate::queries::now;

/// Memory, in bytes for each of the replies'.
const MULTIPLE: usize = 32;
const BUFFERS_BYTES: usize = 512 * 1_024;
const TO: [&str; 2] = ["ada@customer.example", "ben@customer.example"];
/// Longest line with its end, and most lines, of a reply.
const LINE_BYTES: usize = 4 * 1_024;
const LINES: usize = 100;

/// A byte for how the relay is spoken to, then all that it ever says. It has the mail for those,
/// and for those alone, for whom a naive reader of the dialogue finds that it does; nothing is
/// charged to a recipient before one is named; and where TLS is asked for, no mail goes without.
pub(crate) fn check(input: &[u8]) {
    let Some((choice, said)) = input.split_first() else { return };
    let rig = Rig::get();
    *rig.says() = said.to_vec();
    let mailer = &rig.mailers[usize::from(*choice) % rig.mailers.len()];
    let result = within_room(said.len(), MULTIPLE, BUFFERS_BYTES, || {
        rig.runtime.block_on(mailer.mailer.send(&mail()))
    });
    let expected = naive(said, mailer.has_login);
    match (&result, mailer.needs_tls) {
        (Ok(_), true) => panic!("a mail went without TLS"),
        (Err(failure), true) => {
            assert!(failure.kind.is_ours() && failure.refused.is_empty(), "{failure:?}");
        }
        (Ok(accepted), false) => {
            let text = |addresses: &[MailAddress]| -> Vec<String> {
                addresses.iter().map(ToString::to_string).collect()
            };
            let refused: Vec<MailAddress> =
                accepted.refused.iter().map(|refusal| refusal.address.clone()).collect();
            let Named::Taken(taken) = &expected else { panic!("{expected:?}, and it went") };
            assert_eq!(&text(&accepted.taken), taken);
            assert_eq!(taken.len() + refused.len(), TO.len());
        }
        (Err(failure), false) => {
            assert!(!matches!(expected, Named::Taken(_)), "{expected:?}, and {failure:?}");
            if expected == Named::Nobody {
                assert!(failure.kind.is_ours() && failure.refused.is_empty(), "{failure:?}");
            }
            assert_ne!(failure.kind, MailFailureKind::NoRecipient);
            assert!(!failure.detail.contains(char::is_control), "{failure:?}");
        }
    }
}

/// How far a dialogue comes.
#[derive(Debug, Eq, PartialEq)]
enum Named {
    /// To no recipient.
    Nobody,
    /// To recipients, and not to its end.
    Some,
    /// To its end, for these.
    Taken(Vec<String>),
}

/// The dialogue, reply by reply.
fn naive(said: &[u8], has_login: bool) -> Named {
    let mut rest = said;
    let mut next = || {
        let (code, lines, left) = reply(rest)?;
        rest = left;
        Some((code, lines))
    };
    let is_positive = |code: u16| (200..300).contains(&code);
    if next().is_none_or(|(code, _)| code != 220) {
        return Named::Nobody;
    }
    let Some((code, lines)) = next() else { return Named::Nobody };
    if !is_positive(code) {
        return Named::Nobody;
    }
    if has_login {
        let offers = |mechanism: &str| {
            lines.iter().skip(1).any(|line| {
                let line = line.to_ascii_uppercase();
                let auth = line.strip_prefix("AUTH ").unwrap_or_default();
                auth.split_whitespace().any(|known| known == mechanism)
            })
        };
        let codes: &[u16] = match (offers("PLAIN"), offers("LOGIN")) {
            (true, _) => &[235],
            (false, true) => &[334, 334, 235],
            (false, false) => return Named::Nobody,
        };
        if !codes.iter().all(|expected| next().is_some_and(|(code, _)| code == *expected)) {
            return Named::Nobody;
        }
    }
    if next().is_none_or(|(code, _)| !is_positive(code)) {
        return Named::Nobody;
    }
    let mut taken = Vec::new();
    for address in TO {
        match next() {
            Some((code, _)) if is_positive(code) => taken.push(address.to_owned()),
            Some((code, _)) if code != 421 => {}
            _ => return Named::Some,
        }
    }
    let goes_ahead = !taken.is_empty() && next().is_some_and(|(code, _)| code == 354);
    if goes_ahead && next().is_some_and(|(code, _)| is_positive(code)) {
        Named::Taken(taken)
    } else {
        Named::Some
    }
}

/// The first reply, and what comes after it.
fn reply(mut said: &[u8]) -> Option<(u16, Vec<String>, &[u8])> {
    let mut lines = Vec::new();
    let mut known = None;
    for _ in 0..LINES {
        let end = said.iter().position(|byte| *byte == b'\n').filter(|end| *end < LINE_BYTES)?;
        let line = said[..end].strip_suffix(b"\r").unwrap_or(&said[..end]);
        said = &said[end + 1..];
        let digits = line.get(..3).filter(|code| code.iter().all(u8::is_ascii_digit))?;
        let code: u16 = std::str::from_utf8(digits).ok()?.parse().ok()?;
        if !(200..600).contains(&code) || known.is_some_and(|known| known != code) {
            return None;
        }
        known = Some(code);
        lines.push(String::from_utf8_lossy(line.get(4..).unwrap_or_default()).into_owned());
        match line.get(3) {
            None | Some(b' ') => return Some((code, lines, said)),
            Some(b'-') => {}
            Some(_) => return None,
        }
    }
    None
}

fn mail() -> Mail {
    Mail {
        id: "1".to_owned(),
        to: TO.iter().filter_map(|text| text.parse().ok()).collect(),
        subject: "s".to_owned(),
        text: "t\n".to_owned(),
        html: None,
        delivery: None,
        list: None,
    }
}

/// A relay on loopback, and ways to speak to it.
struct Rig {
    says: Arc<Mutex<Vec<u8>>>,
    mailers: [Way; 4],
    runtime: Runtime,
}

struct Way {
    mailer: Mailer,
    has_login: bool,
    needs_tls: bool,
}

impl Rig {
    fn get() -> &'static Self {
        static RIG: OnceLock<Rig> = OnceLock::new();
        RIG.get_or_init(|| Self::start().unwrap_or_else(|error| panic!("no relay: {error}")))
    }

    fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let at = listener.local_addr()?;
        let says = Arc::new(Mutex::new(Vec::new()));
        let said = Arc::clone(&says);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let bytes = said.lock().unwrap_or_else(PoisonError::into_inner).clone();
                std::thread::spawn(move || drop(speak(stream, &bytes)));
            }
        });
        let way = |url: String, has_login, needs_tls| {
            let relay: Relay = url.parse().map_err(std::io::Error::other)?;
            let sender: Sender = "alerts@sender.example".parse().map_err(std::io::Error::other)?;
            // No connection is kept, so that each mail has a dialogue of its own.
            let config =
                MailConfig { idle_timeout: Duration::ZERO, ..MailConfig::new(relay, sender) };
            let mailer = Mailer::new(config, Clock::fixed(now())).map_err(std::io::Error::other)?;
            std::io::Result::Ok(Way { mailer, has_login, needs_tls })
        };
        Ok(Self {
            says,
            mailers: [
                way(format!("smtp://{at}?tls=none"), false, false)?,
                way(format!("smtp://user:password@{at}?tls=none"), true, false)?,
                way(format!("smtp://{at}?tls=required"), false, true)?,
                way(format!("smtps://{at}"), false, true)?,
            ],
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build()?,
        })
    }

    fn says(&self) -> MutexGuard<'_, Vec<u8>> {
        self.says.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says everything at once, hears until the other side hangs up.
fn speak(mut stream: TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    stream.write_all(bytes)?;
    stream.shutdown(Shutdown::Write)?;
    let mut heard = [0; 4_096];
    while stream.read(&mut heard)? > 0 {}
    Ok(())
}
