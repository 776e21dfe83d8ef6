//! What a caller of the bus can act on.

/// Why the broker did not do it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BusError {
    /// Not connected, or no answer in time. It may have been done all the same.
    #[error("the broker did not confirm: {0}")]
    Unavailable(String),
    /// The broker answered no. It was not done.
    #[error("the broker refused: {0}")]
    Refused(String),
    /// The message is larger than the broker takes.
    #[error("the message is larger than the broker's max_payload")]
    TooLarge,
    /// The subject's last message is another one than was expected.
    #[error("the subject holds another message already")]
    Occupied,
    /// A message that is none of ours.
    #[error("cannot read message: {0}")]
    Malformed(String),
    /// The broker cannot serve this version of the platform.
    #[error("{0}")]
    Unsuitable(String),
}

impl BusError {
    pub(crate) fn unavailable(error: impl std::fmt::Display) -> Self {
        Self::Unavailable(error.to_string())
    }

    pub(crate) fn refused(error: impl std::fmt::Display) -> Self {
        Self::Refused(error.to_string())
    }
}

impl From<async_nats::jetstream::context::PublishError> for BusError {
    fn from(error: async_nats::jetstream::context::PublishError) -> Self {
        use async_nats::jetstream::context::PublishErrorKind as Kind;
        match error.kind() {
            Kind::WrongLastSequence | Kind::WrongLastMessageId => Self::Occupied,
            Kind::MaxPayloadExceeded => Self::TooLarge,
            Kind::Other => Self::refused(error),
            Kind::StreamNotFound | Kind::TimedOut | Kind::BrokenPipe | Kind::MaxAckPending => {
                Self::unavailable(error)
            }
        }
    }
}
