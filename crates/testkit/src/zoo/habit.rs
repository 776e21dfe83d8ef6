//! What there is to misbehave.

use std::time::Duration;

/// How a receiver misbehaves. But for those that say otherwise, it does so after
/// it has read a request, and on every connection.
#[derive(Clone, Debug)]
pub enum Habit {
    /// Nothing listens.
    Refuses,
    /// Listens and never accepts; its queue is full.
    NeverAccepts,
    /// Accepts and says nothing, ever.
    Stalls,
    /// Sends half of a head and no more.
    StallsInHead,
    /// Sends a head and no body.
    StallsInBody,
    /// Sends a head, a byte each time, without end.
    DripsHead(Duration),
    /// Sends a body, a byte each time, without end.
    DripsBody(Duration),
    /// Sends one header field without end.
    EndlessField,
    /// Sends header fields without end.
    EndlessHead,
    /// Sends a body without end, in chunks.
    EndlessBody,
    /// Sends provisional answers (status 1xx) without end.
    EndlessProvisional,
    /// Sends this many provisional answers, then 200.
    Provisional(usize),
    /// Sends a small body that would unpack to a gigabyte.
    GzipBomb,
    /// Resets the connection once it is there.
    ResetsAtOnce,
    /// Resets the connection in place of an answer.
    Resets,
    /// Resets the connection in the midst of the head.
    ResetsInHead,
    /// Resets the connection in the midst of the body.
    ResetsInBody,
    /// Closes the connection in place of an answer.
    HangsUp,
    /// Greets before it is asked, as servers of other protocols do.
    SpeaksFirst(&'static str),
    /// Answers with these bytes and closes.
    Says(Vec<u8>),
    /// Answers 413 before it has read more than the beginning of the request, and
    /// closes.
    AnswersEarly,
    /// HTTP/2 only, without asking whether the other side has it.
    Http2Only,
    /// Answers 200 over TLS, with a certificate of this kind.
    Tls(Certificate),
    /// Accepts, and says nothing in the TLS handshake.
    TlsStalls,
    /// Hangs up in the TLS handshake.
    TlsHangsUp,
    /// Over TLS, and HTTP/2 only.
    TlsHttp2Only,
    /// Answers without TLS to who expects it.
    PlainForTls,
    /// Redirects there, with this status.
    Redirects(u16, String),
    /// Answers 200 and keeps the connection, then closes it when the next
    /// request has come.
    HangsUpOnTheSecond,
    /// The same with a reset.
    ResetsOnTheSecond,
    /// Answers 200 and keeps the connection, and sends another answer that
    /// nobody has asked for.
    AnswersTwice,
}

/// Whether a certificate is good.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Certificate {
    /// Valid, for [`NAME`](super::NAME) and for 127.0.0.1.
    Good,
    /// Valid, for another name.
    OtherName,
    /// No longer valid.
    Expired,
    /// Not yet valid.
    NotYetValid,
    /// Signed by itself.
    SelfSigned,
    /// Signed by itself and marked as that of an authority, as `openssl req
    /// -x509` makes them.
    SelfSignedAuthority,
    /// From an authority that nobody has heard of.
    UnknownAuthority,
}

impl Habit {
    /// Answers with this text and closes.
    pub fn says(text: impl Into<String>) -> Self {
        Self::Says(text.into().into_bytes())
    }

    pub(super) fn is_https(&self) -> bool {
        matches!(
            self,
            Self::Tls(_)
                | Self::TlsStalls
                | Self::TlsHangsUp
                | Self::TlsHttp2Only
                | Self::PlainForTls
        )
    }

    /// The certificate and the protocols that it speaks over TLS.
    pub(super) fn tls(&self) -> Option<(Certificate, &'static [&'static str])> {
        match self {
            Self::Tls(certificate) => Some((*certificate, &[])),
            Self::TlsHttp2Only => Some((Certificate::Good, &["h2"])),
            _ => None,
        }
    }
}
