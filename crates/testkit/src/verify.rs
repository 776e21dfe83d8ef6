//! Checks the signatures on deliveries with code that shares nothing with ours:
//! Python's standard library, in a process of its own.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::Received;

/// The keys whose signatures a Mailgun Send webhook has to carry, and no others.
#[derive(Clone, Copy, Debug, Default)]
pub struct SendKeys<'a> {
    /// Of the event's account.
    pub key: &'a str,
    /// Of its parent account.
    pub parent: Option<&'a str>,
    /// The account's before this one.
    pub previous: Option<&'a str>,
    /// The parent's before this one.
    pub previous_parent: Option<&'a str>,
}

/// A Python process that checks signatures, one question a line.
#[derive(Debug)]
pub struct Verifier {
    python: Mutex<Python>,
}

#[derive(Debug)]
struct Python {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Verifier {
    /// Starts the process.
    ///
    /// # Panics
    ///
    /// When there is no `python3`.
    pub fn start() -> Self {
        match Python::start() {
            Ok(python) => Self { python: Mutex::new(python) },
            Err(error) => panic!("cannot verify signatures: {error:#}"),
        }
    }

    /// Checks the whole `signature` object of a Mailgun Send webhook: its exact
    /// fields, their forms, the signature, and `parent-signature`, which has to
    /// be there exactly if there is a `parent_key`. (Mailgun reference, 7.2 and 7.3.)
    ///
    /// # Errors
    ///
    /// Says what is wrong.
    pub fn send(&self, body: &[u8], key: &str, parent_key: Option<&str>) -> Result<()> {
        self.send_keys(body, SendKeys { key, parent: parent_key, ..SendKeys::default() })
    }

    /// The same while keys are being replaced: each signature has to be there
    /// exactly if there is a key for it. (Mailgun reference, 12.3.)
    ///
    /// # Errors
    ///
    /// Says what is wrong.
    pub fn send_keys(&self, body: &[u8], keys: SendKeys<'_>) -> Result<()> {
        self.ask(json!({
            "check": "send",
            "body": STANDARD.encode(body),
            "keys": {
                "signature": keys.key,
                "parent-signature": keys.parent,
                "previous-signature": keys.previous,
                "previous-parent-signature": keys.previous_parent,
            },
        }))
    }

    /// Checks the `X-Sign` header of a Mailgun alert against the bytes of the
    /// body. (Mailgun reference, 9.4.)
    ///
    /// # Errors
    ///
    /// Says what is wrong.
    pub fn alert(&self, body: &[u8], x_sign: &str, key: &str) -> Result<()> {
        self.ask(json!({
            "check": "alert",
            "body": STANDARD.encode(body),
            "key": key,
            "x_sign": x_sign,
        }))
    }

    /// Checks the three Standard Webhooks headers against the bytes of the
    /// body; at least one of the signatures has to be right. `secret` begins
    /// with `whsec_`. (Standard Webhooks specification, "Verifying signatures".)
    ///
    /// # Errors
    ///
    /// Says what is wrong.
    pub fn standard_webhooks(
        &self,
        body: &[u8],
        id: &str,
        timestamp: &str,
        signatures: &str,
        secret: &str,
    ) -> Result<()> {
        self.ask(json!({
            "check": "standard_webhooks",
            "body": STANDARD.encode(body),
            "id": id,
            "timestamp": timestamp,
            "signatures": signatures,
            "secret": secret,
        }))
    }

    /// Checks a request's `X-Sign` header.
    ///
    /// # Panics
    ///
    /// When the header is absent or wrong.
    #[track_caller]
    pub fn assert_alert(&self, request: &Received, key: &str) {
        let x_sign = request.header("x-sign").expect("an X-Sign header");
        if let Err(error) = self.alert(&request.body, x_sign, key) {
            panic!("{}: {error:#}", request.path);
        }
    }

    /// Checks the `signature` object in a request's body.
    ///
    /// # Panics
    ///
    /// When it is absent or wrong.
    #[track_caller]
    pub fn assert_send(&self, request: &Received, key: &str, parent_key: Option<&str>) {
        self.assert_send_keys(request, SendKeys { key, parent: parent_key, ..SendKeys::default() });
    }

    /// Checks the `signature` object in a request's body while keys are being
    /// replaced.
    ///
    /// # Panics
    ///
    /// When it is absent or wrong.
    #[track_caller]
    pub fn assert_send_keys(&self, request: &Received, keys: SendKeys<'_>) {
        if let Err(error) = self.send_keys(&request.body, keys) {
            panic!("{}: {error:#}", request.path);
        }
    }

    /// Checks a request's Standard Webhooks headers.
    ///
    /// # Panics
    ///
    /// When one is absent or wrong.
    #[track_caller]
    pub fn assert_standard_webhooks(&self, request: &Received, secret: &str) {
        let header = |name: &str| match request.header(name) {
            Some(value) => value,
            None => panic!("{}: no {name} header", request.path),
        };
        let checked = self.standard_webhooks(
            &request.body,
            header("webhook-id"),
            header("webhook-timestamp"),
            header("webhook-signature"),
            secret,
        );
        if let Err(error) = checked {
            panic!("{}: {error:#}", request.path);
        }
    }

    fn ask(&self, question: Value) -> Result<()> {
        let mut python = self.python.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = python.ask(&question).context("the verifying process has ended")?;
        match answer.get("wrong").and_then(Value::as_str) {
            None => Ok(()),
            Some(wrong) => bail!("{wrong}"),
        }
    }
}

impl Python {
    fn start() -> Result<Self> {
        let mut child = Command::new("python3")
            .args(["-I", "-c", include_str!("verify.py")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run python3")?;
        let questions = child.stdin.take().context("no pipe to python3")?;
        let answers = child.stdout.take().context("no pipe from python3")?;
        Ok(Self { child, questions, answers: BufReader::new(answers) })
    }

    fn ask(&mut self, question: &Value) -> Result<Value> {
        writeln!(self.questions, "{question}")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        // It would end by itself once the pipe closes; this only makes sure.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
