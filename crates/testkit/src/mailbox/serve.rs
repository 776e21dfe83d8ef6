//! The mailbox's side of the connections.

use std::io;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::script::{Act, Stage};
use super::stream::Stream;
use super::{Letter, MailboxTls, Shared};

pub(super) async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    shared.state().connections += 1;
                    let shared = Arc::clone(&shared);
                    // An error is either the script's wish, or the client's hanging up.
                    connections.spawn(async move { drop(serve(stream, shared).await) });
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) -> io::Result<()> {
    let mut stream: Box<dyn Stream> = Box::new(stream);
    let mut is_secured = false;
    if let Some(MailboxTls::Implicit(acceptor)) = &shared.options.tls {
        stream = Box::new(acceptor.accept(stream).await?);
        is_secured = true;
    }
    let mut session = Session {
        stream: BufReader::new(stream),
        shared,
        is_secured,
        login: None,
        sender: None,
        recipients: Vec::new(),
    };
    session.at(Stage::Greeting, "220 mailbox.test ESMTP\r\n").await?;
    loop {
        let line = session.line().await?;
        session.shared.state().commands.push(line.clone());
        if !session.obey(&line).await? {
            return Ok(());
        }
    }
}

struct Session {
    stream: BufReader<Box<dyn Stream>>,
    shared: Arc<Shared>,
    is_secured: bool,
    /// The user, once logged in.
    login: Option<String>,
    sender: Option<String>,
    recipients: Vec<String>,
}

impl Session {
    /// Answers a command; false ends the connection.
    async fn obey(&mut self, line: &str) -> io::Result<bool> {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" => {
                self.forget();
                let answer = self.capabilities();
                self.at(Stage::Hello, &answer).await?;
            }
            "STARTTLS" => self.secure().await?,
            "AUTH" => self.log_in(rest).await?,
            "MAIL" => self.mail_from(rest).await?,
            "RCPT" => self.recipient(rest).await?,
            "DATA" => self.data().await?,
            "RSET" => {
                self.forget();
                self.at(Stage::Reset, "250 2.0.0 forgotten\r\n").await?;
            }
            "NOOP" => self.say("250 2.0.0 fine\r\n").await?,
            "QUIT" => {
                self.at(Stage::Quit, "221 2.0.0 good bye\r\n").await?;
                return Ok(false);
            }
            _ => self.say("500 5.5.2 no such command\r\n").await?,
        }
        Ok(true)
    }

    fn capabilities(&self) -> String {
        let mut answer = String::from("250-mailbox.test\r\n");
        if matches!(self.shared.options.tls, Some(MailboxTls::StartTls(_))) && !self.is_secured {
            answer.push_str("250-STARTTLS\r\n");
        }
        if self.shared.options.login.is_some() {
            answer.push_str(&format!("250-AUTH {}\r\n", self.shared.options.mechanisms));
        }
        answer.push_str("250 ENHANCEDSTATUSCODES\r\n");
        answer
    }

    async fn secure(&mut self) -> io::Result<()> {
        let acceptor = match &self.shared.options.tls {
            Some(MailboxTls::StartTls(acceptor)) if !self.is_secured => acceptor.clone(),
            _ => return self.say("502 5.5.1 not offered\r\n").await,
        };
        if self.at(Stage::StartTls, "220 2.0.0 go ahead\r\n").await? {
            let plain = std::mem::replace(
                &mut self.stream,
                BufReader::new(Box::new(tokio::io::empty()) as Box<dyn Stream>),
            );
            let secured = acceptor.accept(plain.into_inner()).await?;
            self.stream = BufReader::new(Box::new(secured));
            self.is_secured = true;
        }
        Ok(())
    }

    async fn log_in(&mut self, rest: &str) -> io::Result<()> {
        let Some(expected) = self.shared.options.login.clone() else {
            return self.say("502 5.5.1 not offered\r\n").await;
        };
        let (mechanism, initial) = rest.split_once(' ').unwrap_or((rest, ""));
        let offered = self.shared.options.mechanisms.split(' ').any(|known| known == mechanism);
        let given = match mechanism {
            "PLAIN" if offered && !initial.is_empty() => {
                let plain = decoded(initial);
                let mut parts = plain.split('\0').skip(1).map(str::to_owned);
                parts.next().zip(parts.next())
            }
            "LOGIN" if offered => {
                self.say("334 VXNlcm5hbWU6\r\n").await?;
                let user = decoded(&self.line().await?);
                self.say("334 UGFzc3dvcmQ6\r\n").await?;
                Some((user, decoded(&self.line().await?)))
            }
            _ => return self.say("504 5.5.4 no such mechanism\r\n").await,
        };
        if given.as_ref() != Some(&expected) {
            return self.say("535 5.7.8 wrong user name or password\r\n").await;
        }
        if self.at(Stage::Login, "235 2.7.0 welcome\r\n").await? {
            self.login = Some(expected.0);
        }
        Ok(())
    }

    async fn mail_from(&mut self, rest: &str) -> io::Result<()> {
        let Some(sender) = path(rest, "FROM:") else {
            return self.say("501 5.5.4 MAIL FROM:<address>\r\n").await;
        };
        if self.shared.options.login.is_some() && self.login.is_none() {
            return self.say("530 5.7.0 log in first\r\n").await;
        }
        if self.sender.is_some() {
            return self.say("503 5.5.1 one mail at a time\r\n").await;
        }
        if self.at(Stage::Sender, "250 2.1.0 sender taken\r\n").await? {
            self.sender = Some(sender);
        }
        Ok(())
    }

    async fn recipient(&mut self, rest: &str) -> io::Result<()> {
        let Some(recipient) = path(rest, "TO:") else {
            return self.say("501 5.5.4 RCPT TO:<address>\r\n").await;
        };
        if self.sender.is_none() {
            return self.say("503 5.5.1 MAIL first\r\n").await;
        }
        let act = self.shared.state().scripts.next_for(&recipient);
        if self.act(act, "250 2.1.5 recipient taken\r\n").await? {
            self.recipients.push(recipient);
        }
        Ok(())
    }

    async fn data(&mut self) -> io::Result<()> {
        if self.recipients.is_empty() {
            return self.say("503 5.5.1 RCPT first\r\n").await;
        }
        if !self.at(Stage::Data, "354 go on\r\n").await? {
            return Ok(());
        }
        self.at(Stage::Content, "").await?;
        let raw = self.content().await?;
        let sender = self.sender.take().unwrap_or_default();
        let recipients = std::mem::take(&mut self.recipients);
        let act = self.shared.state().scripts.next(Stage::Mail);
        let refuses = matches!(&act, Act::Say(text) if is_refusal(text));
        if !refuses {
            // Kept before it is confirmed: a server that hangs or hangs up now
            // has the mail, and its client does not know.
            let (login, is_secured) = (self.login.clone(), self.is_secured);
            self.shared.keep(Letter { sender, recipients, login, is_secured, raw });
        }
        self.act(act, "250 2.0.0 taken\r\n").await?;
        Ok(())
    }

    /// The mail, without the dots that only the transport needs.
    async fn content(&mut self) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        loop {
            let mut line = Vec::new();
            if self.stream.read_until(b'\n', &mut line).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if line == b".\r\n" {
                return Ok(content);
            }
            content.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
        }
    }

    /// Does what the script says, or else says this. True when the answer was
    /// no refusal.
    async fn at(&mut self, stage: Stage, normal: &str) -> io::Result<bool> {
        let act = self.shared.state().scripts.next(stage);
        self.act(act, normal).await
    }

    async fn act(&mut self, act: Act, normal: &str) -> io::Result<bool> {
        let text = match act {
            Act::Normal => normal.to_owned(),
            Act::Say(text) => text,
            Act::Hang => std::future::pending().await,
            Act::Drop => return Err(io::ErrorKind::ConnectionAborted.into()),
        };
        self.say(&text).await?;
        Ok(!is_refusal(&text))
    }

    async fn say(&mut self, text: &str) -> io::Result<()> {
        self.stream.write_all(text.as_bytes()).await?;
        self.stream.flush().await
    }

    async fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    }

    fn forget(&mut self) {
        self.sender = None;
        self.recipients.clear();
    }
}

fn is_refusal(text: &str) -> bool {
    text.starts_with(['4', '5'])
}

/// The address between angle brackets.
fn path(rest: &str, keyword: &str) -> Option<String> {
    let head = rest.get(..keyword.len())?;
    let path = rest.get(keyword.len()..)?.trim_start().strip_prefix('<')?;
    let (address, _parameters) = path.split_once('>')?;
    head.eq_ignore_ascii_case(keyword).then(|| address.to_owned())
}

fn decoded(text: &str) -> String {
    let bytes = STANDARD.decode(text.trim()).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}
