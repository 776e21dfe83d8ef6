//! How the APIs know the console, whose calls have a limit of their own: both have
//! the secret key.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::sealing::NONCE_LEN;
use crate::{Sealed, SecretKey};

/// The header that says it.
pub const CONSOLE_CALL_HEADER: &str = "x-postrider-console";
/// How long it says so, in seconds, to either side: clocks differ.
const HOLDS_SECONDS: u64 = 60;

/// What the header says in a call that is made now, in seconds since 1970.
pub fn console_call(key: &SecretKey, nonce: [u8; NONCE_LEN], now: u64) -> String {
    let context = Sealed::ConsoleCall.context();
    URL_SAFE_NO_PAD.encode(key.seal(&now.to_be_bytes(), nonce, &context))
}

/// Whether the console has made this call, a moment ago.
pub fn verify_console_call(key: &SecretKey, header: &[u8], now: u64) -> bool {
    let sealed = URL_SAFE_NO_PAD.decode(header).unwrap_or_default();
    let plain = key.unseal(&sealed, &Sealed::ConsoleCall.context()).unwrap_or_default();
    <[u8; 8]>::try_from(plain.as_slice())
        .is_ok_and(|at| u64::from_be_bytes(at).abs_diff(now) <= HOLDS_SECONDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_console_is_known_for_a_minute() {
        let (ours, other): (SecretKey, SecretKey) =
            ("01".repeat(32).parse().unwrap(), "02".repeat(32).parse().unwrap());
        let header = console_call(&ours, [7; NONCE_LEN], 1_000);
        for (now, holds) in [(939, false), (940, true), (1_060, true), (1_061, false)] {
            assert_eq!(verify_console_call(&ours, header.as_bytes(), now), holds, "{now}");
        }
        assert!(!verify_console_call(&other, header.as_bytes(), 1_000));
        for wrong in ["", "x", &header[1..]] {
            assert!(!verify_console_call(&ours, wrong.as_bytes(), 1_000), "{wrong}");
        }
    }
}
