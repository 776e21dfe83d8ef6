//! An SMTP server that does what a test tells it to, and keeps everything that
//! it was sent.

mod letter;
mod script;
mod serve;
mod stream;
mod tls;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

pub use letter::Letter;
pub use script::{Act, Stage};
pub use tls::loopback_certificate;

use script::Scripts;

/// What a mailbox is like before anything is scripted.
#[derive(Clone)]
pub struct MailboxOptions {
    /// The user name and the password without which no mail is taken.
    pub login: Option<(String, String)>,
    /// What EHLO says of AUTH when there is a login.
    pub mechanisms: &'static str,
    /// How connections can be secured, if at all.
    pub tls: Option<MailboxTls>,
}

/// How a mailbox secures its connections.
#[derive(Clone)]
pub enum MailboxTls {
    /// From the first byte on.
    Implicit(TlsAcceptor),
    /// When the client asks for it.
    StartTls(TlsAcceptor),
}

impl Default for MailboxOptions {
    fn default() -> Self {
        Self { login: None, mechanisms: "PLAIN LOGIN", tls: None }
    }
}

impl std::fmt::Debug for MailboxOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tls = match self.tls {
            None => "none",
            Some(MailboxTls::Implicit(_)) => "implicit",
            Some(MailboxTls::StartTls(_)) => "starttls",
        };
        f.debug_struct("MailboxOptions")
            .field("login", &self.login)
            .field("mechanisms", &self.mechanisms)
            .field("tls", &tls)
            .finish()
    }
}

/// An SMTP server on 127.0.0.1. Dropping it closes all its connections.
///
/// It takes every mail until a script says otherwise. A script is a list of
/// acts, one for each time that the stage is reached; the last one stays.
#[derive(Debug)]
pub struct Mailbox {
    address: SocketAddr,
    shared: Arc<Shared>,
    _accepting: JoinSet<()>,
}

impl Mailbox {
    /// Starts on a free port, without login and without TLS.
    ///
    /// # Panics
    ///
    /// When the machine has no port left.
    pub async fn start() -> Self {
        Self::with(MailboxOptions::default()).await
    }

    /// Starts on a free port.
    ///
    /// # Panics
    ///
    /// When the machine has no port left.
    pub async fn with(options: MailboxOptions) -> Self {
        Self::on(0, options).await
    }

    /// Starts on this port, so that it can come back where one was before.
    ///
    /// # Panics
    ///
    /// When somebody else has the port.
    pub async fn on(port: u16, options: MailboxOptions) -> Self {
        let listener = match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
            Ok(listener) => listener,
            Err(error) => panic!("the mailbox cannot listen: {error}"),
        };
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared =
            Arc::new(Shared { options, state: Mutex::default(), changed: Notify::default() });
        let mut accepting = JoinSet::new();
        accepting.spawn(serve::accept(listener, Arc::clone(&shared)));
        Self { address, shared, _accepting: accepting }
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of a relay that is not secured and asks for no login.
    pub fn url(&self) -> String {
        format!("smtp://{}?tls=none", self.address)
    }

    /// Sets what happens at this stage, from the next time on.
    pub fn at(&self, stage: Stage, acts: impl IntoIterator<Item = Act>) {
        self.shared.state().scripts.at(stage, acts);
    }

    /// Sets what this recipient is answered. It comes before what is set for
    /// [`Stage::Recipient`].
    pub fn on_recipient(&self, address: &str, acts: impl IntoIterator<Item = Act>) {
        self.shared.state().scripts.on_recipient(address, acts);
    }

    /// All mails that were taken so far, in that order.
    pub fn letters(&self) -> Vec<Letter> {
        self.shared.state().letters.clone()
    }

    /// All lines that clients have sent as commands, without the contents of
    /// mails.
    pub fn commands(&self) -> Vec<String> {
        self.shared.state().commands.clone()
    }

    /// How many connections were accepted so far.
    pub fn connections(&self) -> usize {
        self.shared.state().connections
    }

    /// Forgets the mails and the commands so far; the scripts stay.
    pub fn forget(&self) {
        let mut state = self.shared.state();
        state.letters.clear();
        state.commands.clear();
    }

    /// Waits for this many mails, and returns them.
    ///
    /// # Panics
    ///
    /// When there are fewer within this time; the message lists what the
    /// clients have said instead.
    pub async fn wait_for(&self, count: usize, deadline: Duration) -> Vec<Letter> {
        let arrival = async {
            loop {
                // Registered before the look, so that an arrival in between is not missed.
                let changed = self.shared.changed.notified();
                let letters = self.letters();
                if letters.len() >= count {
                    return letters;
                }
                changed.await;
            }
        };
        match tokio::time::timeout(deadline, arrival).await {
            Ok(letters) => letters,
            Err(_) => panic!(
                "waited {deadline:?} in vain for {count} mails; said so far: {:?}",
                self.commands()
            ),
        }
    }
}

#[derive(Debug)]
struct Shared {
    options: MailboxOptions,
    state: Mutex<State>,
    /// Told of every mail that was taken.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    letters: Vec<Letter>,
    commands: Vec<String>,
    connections: usize,
    scripts: Scripts,
}

impl Shared {
    /// A test that panicked elsewhere is no reason to panic here as well.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, letter: Letter) {
        self.state().letters.push(letter);
        self.changed.notify_waiters();
    }
}
