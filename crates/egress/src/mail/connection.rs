//! The dialogue with a relay (RFC 5321), a command and its answer at a time.
//!
//! Nothing here has a time limit of its own: whoever calls has one, and lets the
//! connection go when it is over.

use std::net::{IpAddr, SocketAddr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::reply::parse_line;
use super::{
    Accepted, Login, MailAddress, MailFailure, MailFailureKind, Refusal, Relay, RelayReply,
    RelayTls,
};

/// Longest line of a reply, in bytes. RFC 5321, 4.5.3.1.5 says 512; not all
/// relays do.
const MAX_LINE_BYTES: u64 = 4 * 1_024;

/// Most lines of a reply.
const MAX_LINES: usize = 100;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection on which mails can be handed over, one after another.
pub(super) struct Connection {
    stream: BufReader<Box<dyn Stream>>,
    /// What EHLO was answered, a capability a line.
    capabilities: Vec<String>,
    state: State,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum State {
    /// A mail can begin.
    Ready,
    /// A mail has begun.
    Mail,
    /// Something was said that has no answer yet, or never will have.
    Unknown,
}

impl Connection {
    /// Connects, secures, introduces itself and logs in.
    pub(super) async fn open(relay: &Relay, tls: &TlsConnector) -> Result<Self, MailFailure> {
        let tcp = TcpStream::connect((relay.host.as_str(), relay.port)).await;
        let tcp = tcp.map_err(|error| {
            let detail = format!("no connection to the mail relay: {error}");
            MailFailure::new(MailFailureKind::Connect, detail)
        })?;
        // Commands are short and wait for their answers. It is only slower without.
        let _ = tcp.set_nodelay(true);
        let us = introduction(tcp.local_addr().ok());
        let mut stream: Box<dyn Stream> = Box::new(tcp);
        if relay.tls == RelayTls::Implicit {
            stream = secure(stream, relay, tls).await?;
        }
        let mut connection = Self::new(stream);
        let greeting = connection.reply().await?;
        if greeting.code != 220 {
            return Err(MailFailure::relay("the connection", &greeting));
        }
        connection.introduce(&us).await?;
        let is_secured = match relay.tls {
            RelayTls::Implicit => true,
            RelayTls::Off => false,
            RelayTls::Opportunistic if !connection.offers("STARTTLS") => false,
            RelayTls::Required | RelayTls::Opportunistic => {
                connection = connection.start_tls(relay, tls).await?;
                connection.introduce(&us).await?;
                true
            }
        };
        if let Some(login) = &relay.login {
            if !is_secured && relay.tls != RelayTls::Off {
                return Err(MailFailure::new(
                    MailFailureKind::Tls,
                    "the mail relay offers no TLS, and the password is not sent without",
                ));
            }
            connection.log_in(login).await?;
        }
        connection.state = State::Ready;
        Ok(connection)
    }

    fn new(stream: Box<dyn Stream>) -> Self {
        let stream = BufReader::new(stream);
        Self { stream, capabilities: Vec::new(), state: State::Unknown }
    }

    /// Whether another mail can begin.
    pub(super) fn is_ready(&self) -> bool {
        self.state == State::Ready
    }

    /// Begins a mail. Nothing of it has been handed over before this succeeds.
    pub(super) async fn begin(&mut self, sender: &MailAddress) -> Result<(), MailFailure> {
        self.state = State::Unknown;
        let reply = self.command(&format!("MAIL FROM:<{sender}>")).await?;
        if !reply.is_positive() {
            return Err(MailFailure::relay("the sender", &reply));
        }
        self.state = State::Mail;
        Ok(())
    }

    /// Hands over the mail that has begun.
    pub(super) async fn transfer(
        &mut self,
        recipients: &[MailAddress],
        message: &[u8],
    ) -> Result<Accepted, MailFailure> {
        self.state = State::Unknown;
        let mut taken = Vec::new();
        let mut refused = Vec::new();
        for address in recipients {
            let reply = self.command(&format!("RCPT TO:<{address}>")).await?;
            let address = address.clone();
            if reply.is_positive() {
                taken.push(address);
                continue;
            }
            if reply.code == 421 {
                // It hangs up now, whoever the recipient is.
                return Err(MailFailure::relay("to go on", &reply));
            }
            let kind = MailFailureKind::of_recipient(&reply);
            refused.push(Refusal { address, kind, reply });
        }
        if taken.is_empty() {
            self.forget().await;
            return Err(MailFailure::refused(refused));
        }
        let mut reply = self.command("DATA").await?;
        let goes_ahead = reply.code == 354;
        if goes_ahead {
            reply = self.content(message).await?;
        }
        if goes_ahead && reply.is_positive() {
            // From here on the relay answers for the mail.
            self.state = State::Ready;
            return Ok(Accepted { taken, refused, reply });
        }
        let kind = MailFailureKind::of_mail(&reply);
        let with_reply = |address| Refusal { address, kind, reply: reply.clone() };
        refused.extend(taken.into_iter().map(with_reply));
        self.forget().await;
        Err(MailFailure::refused(refused))
    }

    /// Ends a mail that was not handed over, so that another can begin. On a
    /// connection that the relay is closing it comes to nothing.
    async fn forget(&mut self) {
        if matches!(self.command("RSET").await, Ok(reply) if reply.is_positive()) {
            self.state = State::Ready;
        }
    }

    async fn introduce(&mut self, us: &str) -> Result<(), MailFailure> {
        self.write(format!("EHLO {us}\r\n").as_bytes()).await?;
        let (code, lines) = self.lines().await?;
        let reply = RelayReply::new(code, &lines);
        if !reply.is_positive() {
            return Err(MailFailure::relay("our greeting", &reply));
        }
        // The first line is the relay's name.
        self.capabilities =
            lines.into_iter().skip(1).map(|line| line.to_ascii_uppercase()).collect();
        Ok(())
    }

    fn offers(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|line| line.trim() == capability)
    }

    /// Secures the connection (RFC 3207).
    async fn start_tls(mut self, relay: &Relay, tls: &TlsConnector) -> Result<Self, MailFailure> {
        let refused = |detail| Err(MailFailure::new(MailFailureKind::Tls, detail));
        if !self.offers("STARTTLS") {
            return refused(
                "the mail relay offers no TLS, and mail is not sent without".to_owned(),
            );
        }
        let reply = self.command("STARTTLS").await?;
        if reply.code != 220 {
            return refused(format!("the mail relay refused to secure the connection: {reply}"));
        }
        if !self.stream.buffer().is_empty() {
            // Whoever sits in between put it there, to be taken for the relay's
            // first answer over TLS.
            return refused("something was said in the clear after STARTTLS".to_owned());
        }
        Ok(Self::new(secure(self.stream.into_inner(), relay, tls).await?))
    }

    /// Logs in (RFC 4954), with whatever of PLAIN and LOGIN is offered.
    async fn log_in(&mut self, login: &Login) -> Result<(), MailFailure> {
        let offered = |mechanism: &str| {
            let auth = self.capabilities.iter().filter_map(|line| line.strip_prefix("AUTH "));
            auth.flat_map(str::split_whitespace).any(|known| known == mechanism)
        };
        let steps = if offered("PLAIN") {
            let plain = STANDARD.encode(format!("\0{}\0{}", login.user, login.password));
            vec![format!("AUTH PLAIN {plain}")]
        } else if offered("LOGIN") {
            let (user, password) = (STANDARD.encode(&login.user), STANDARD.encode(&login.password));
            vec!["AUTH LOGIN".to_owned(), user, password]
        } else {
            return Err(MailFailure::new(
                MailFailureKind::Login,
                "the mail relay offers neither AUTH PLAIN nor AUTH LOGIN",
            ));
        };
        let last = steps.len() - 1;
        for (index, step) in steps.iter().enumerate() {
            let reply = self.command(step).await?;
            let expected = if index == last { 235 } else { 334 };
            if reply.code != expected {
                // Not its text: it could repeat what it was told.
                let detail = format!("the mail relay refused our login with {}", reply.code);
                return Err(MailFailure::new(MailFailureKind::Login, detail));
            }
        }
        Ok(())
    }

    async fn command(&mut self, command: &str) -> Result<RelayReply, MailFailure> {
        self.write(format!("{command}\r\n").as_bytes()).await?;
        self.reply().await
    }

    /// The message, and the relay's word on it. If this process dies between the
    /// two, the mail is sent again with the same Message-ID.
    async fn content(&mut self, message: &[u8]) -> Result<RelayReply, MailFailure> {
        self.write(&stuffed(message)).await?;
        self.reply().await
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), MailFailure> {
        let result = self.stream.write_all(bytes).await;
        result.map_err(|error| MailFailure::no_answer(&error))?;
        self.stream.flush().await.map_err(|error| MailFailure::no_answer(&error))
    }

    async fn reply(&mut self) -> Result<RelayReply, MailFailure> {
        let (code, lines) = self.lines().await?;
        Ok(RelayReply::new(code, &lines))
    }

    /// The lines of a reply, without the code that they all have.
    async fn lines(&mut self) -> Result<(u16, Vec<String>), MailFailure> {
        let mut lines = Vec::new();
        let mut expected = None;
        while lines.len() < MAX_LINES {
            let line = self.line().await?;
            let Some((code, is_last, text)) = parse_line(&line) else {
                return Err(MailFailure::nonsense("a reply without a code"));
            };
            if *expected.get_or_insert(code) != code {
                return Err(MailFailure::nonsense("a reply with several codes"));
            }
            lines.push(text);
            if is_last {
                return Ok((code, lines));
            }
        }
        Err(MailFailure::nonsense("a reply without an end"))
    }

    async fn line(&mut self) -> Result<Vec<u8>, MailFailure> {
        let mut line = Vec::new();
        let mut limited = (&mut self.stream).take(MAX_LINE_BYTES);
        let read = limited.read_until(b'\n', &mut line).await;
        read.map_err(|error| MailFailure::no_answer(&error))?;
        if line.pop() != Some(b'\n') {
            return Err(if limited.limit() == 0 {
                MailFailure::nonsense("a line without an end")
            } else {
                MailFailure::no_answer(&std::io::ErrorKind::UnexpectedEof.into())
            });
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Ok(line)
    }
}

async fn secure(
    stream: Box<dyn Stream>,
    relay: &Relay,
    tls: &TlsConnector,
) -> Result<Box<dyn Stream>, MailFailure> {
    let failure = |detail: String| {
        let detail = format!("the connection to the mail relay could not be secured: {detail}");
        MailFailure::new(MailFailureKind::Tls, detail)
    };
    let name = relay.server_name().ok_or_else(|| failure("its name is no host".to_owned()))?;
    let secured = tls.connect(name, stream).await;
    Ok(Box::new(secured.map_err(|error| failure(tls_detail(&error)))?))
}

/// What rustls says, but for the names in the certificate, which are the
/// relay's.
fn tls_detail(error: &std::io::Error) -> String {
    use rustls::{CertificateError, Error};
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => "its certificate is for another name".to_owned(),
        _ => error.to_string(),
    }
}

/// How we introduce ourselves (RFC 5321, 4.1.3): containers have addresses, but
/// no names that anyone else knows.
fn introduction(address: Option<SocketAddr>) -> String {
    match address.map(|address| address.ip().to_canonical()) {
        Some(IpAddr::V4(address)) => format!("[{address}]"),
        Some(IpAddr::V6(address)) => format!("[IPv6:{address}]"),
        None => "[127.0.0.1]".to_owned(),
    }
}

/// The message with its end, and with a further dot where a line begins with
/// one (RFC 5321, 4.5.2): no line of it can be taken for the end.
fn stuffed(message: &[u8]) -> Vec<u8> {
    let mut stuffed = Vec::with_capacity(message.len() + message.len() / 64 + 8);
    for line in message.split_inclusive(|byte| *byte == b'\n') {
        if line.starts_with(b".") {
            stuffed.push(b'.');
        }
        stuffed.extend_from_slice(line);
    }
    if !message.ends_with(b"\r\n") {
        stuffed.extend_from_slice(b"\r\n");
    }
    stuffed.extend_from_slice(b".\r\n");
    stuffed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_of_a_message_ends_it() {
        assert_eq!(stuffed(b"a\r\n.\r\n..b\r\n"), b"a\r\n..\r\n...b\r\n.\r\n");
        assert_eq!(stuffed(b".a"), b"..a\r\n.\r\n");
    }

    #[test]
    fn we_are_an_address() {
        let of = |address: &str| introduction(Some(address.parse().unwrap()));
        assert_eq!(of("10.1.2.3:4"), "[10.1.2.3]");
        assert_eq!(of("[::ffff:10.1.2.3]:4"), "[10.1.2.3]");
        assert_eq!(of("[fd00::1]:4"), "[IPv6:fd00::1]");
        assert_eq!(introduction(None), "[127.0.0.1]");
    }
}
