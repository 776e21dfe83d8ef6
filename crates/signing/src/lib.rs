//! The signatures on deliveries, and the sealing of secrets.
//!
//! Three signatures travel with a delivery: Mailgun Send's block inside the
//! body ([`send_signature`]), Mailgun's alert header ([`x_sign`]), and on both
//! families the headers of Standard Webhooks ([`standard_webhooks`]). The same
//! module checks what the other end would check, for tests and the request bin.
//!
//! What must always hold: a signature covers bytes exactly as they are sent,
//! nothing here re-encodes them; comparing never takes a time that tells how
//! much was right; no key can be printed.
//!
//! Deliberately absent: the clock and chance. Timestamps, tokens and nonces
//! come in as arguments, so that whether a signature is too old is for the
//! caller to say.

mod api_key;
mod console_call;
mod context;
mod key;
mod mac;
mod sealing;
mod send;
mod standard_webhooks;
mod x_sign;

pub use api_key::api_key_hash;
pub use console_call::{CONSOLE_CALL_HEADER, console_call, verify_console_call};
pub use context::Sealed;
pub use key::SigningKey;
pub use sealing::{InvalidSecretKey, SealError, SecretKey};
pub use send::{send_signature, verify_send_signature};
pub use standard_webhooks::{
    standard_webhooks, standard_webhooks_secret, verify_standard_webhooks,
};
pub use x_sign::{verify_x_sign, x_sign};
