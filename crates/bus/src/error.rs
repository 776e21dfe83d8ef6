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
    /// The message is larger than the broker, or this stream, takes.
    #[error("the message is larger than the broker takes")]
    TooLarge,
    /// The newest message on the subject is another one than was expected.
    #[error("another message is ahead of this one")]
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
            Kind::Other => match refusal_code(&error) {
                // A write there, or of the same message, is on its way already, and may
                // still come to nothing; ask again.
                Some(SUBJECT_IN_PROCESS | DUPLICATE_IN_PROCESS) => Self::unavailable(error),
                Some(LARGER_THAN_STREAM_TAKES) => Self::TooLarge,
                _ => Self::refused(error),
            },
            Kind::StreamNotFound | Kind::TimedOut | Kind::BrokenPipe | Kind::MaxAckPending => {
                Self::unavailable(error)
            }
        }
    }
}

/// A replicated stream has a write on the same subject under way. (It says "wrong last
/// sequence", and names none.)
const SUBJECT_IN_PROCESS: u64 = 10164;
/// A replicated stream has the same message id under way.
const DUPLICATE_IN_PROCESS: u64 = 10158;
/// The stream has a limit of its own (`max_msg_size`).
const LARGER_THAN_STREAM_TAKES: u64 = 10054;

fn refusal_code(error: &async_nats::jetstream::context::PublishError) -> Option<u64> {
    use std::error::Error as _;
    let refusal = error.source()?.downcast_ref::<async_nats::jetstream::Error>()?;
    Some(refusal.error_code().0)
}
