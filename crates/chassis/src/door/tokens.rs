//! The tokens that are taken at a door.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

/// Characters of a token, at least. One of `openssl rand -hex 16` is twice as long.
const SHORTEST: usize = 16;
/// Characters of a name, at most.
const LONGEST_NAME: usize = 64;

/// Names by the hashes of their tokens: what a token is, nobody can read here.
/// One name may have several, so that they can be replaced without a gap.
pub(super) struct Tokens(Vec<(Arc<str>, [u8; 32])>);

impl Tokens {
    /// Whose token this is. All are compared, each to its end, so that the time
    /// it takes tells nothing; and hashes of equal length, so that lengths do not.
    pub(super) fn name_of(&self, token: &str) -> Option<Arc<str>> {
        let hash = hash(token);
        let mut found = None;
        for (name, known) in &self.0 {
            let different = known.iter().zip(&hash).fold(0, |bits, (a, b)| bits | (a ^ b));
            if different == 0 {
                found = Some(Arc::clone(name));
            }
        }
        found
    }
}

/// From a file with a line `name:token` for each. Empty lines and those that
/// begin with `#` say nothing.
pub(super) fn make(files: &[(&'static str, Vec<u8>)]) -> Result<Tokens, String> {
    let [(setting, text)] = files else { return Err("tokens stand in one file".into()) };
    let text = std::str::from_utf8(text).map_err(|_| format!("{setting}: expected text"))?;
    let mut tokens: Vec<(Arc<str>, [u8; 32])> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        // Never with the line itself: it holds the token.
        let wrong = |what: &str| format!("{setting}: line {}: {what}", number + 1);
        let (name, token) = line.split_once(':').ok_or_else(|| wrong("expected name:token"))?;
        if !is_name(name) {
            return Err(wrong("expected a name of 1 to 64 of a-z, A-Z, 0-9, \"-\", \"_\", \".\""));
        }
        if token.len() < SHORTEST || !is_token(token) {
            return Err(wrong(
                "expected a token of 16 characters or more of a-z, A-Z, 0-9, \"-\", \".\", \"_\", \
                 \"~\", \"+\", \"/\", and \"=\" at its end",
            ));
        }
        let hash = hash(token);
        if tokens.iter().any(|(_, known)| *known == hash) {
            return Err(wrong("this token stands further up already"));
        }
        tokens.push((name.into(), hash));
    }
    if tokens.is_empty() {
        return Err(format!("{setting}: the file has no token, so that nobody could come in"));
    }
    Ok(Tokens(tokens))
}

fn is_name(name: &str) -> bool {
    (1..=LONGEST_NAME).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

/// RFC 6750, 2.1: `b64token`.
fn is_token(token: &str) -> bool {
    let stem = token.trim_end_matches('=');
    !stem.is_empty() && stem.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~+/".contains(&b))
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Tokens, String> {
        make(&[("TOKENS", text.as_bytes().to_vec())])
    }

    #[test]
    fn a_name_may_have_several_tokens() {
        let text = "# callers\n\nmail:0123456789abcdef\n  mail:fedcba9876543210==\nscan.er-1:ABCDEFGH-._~+/12\n";
        let tokens = read(text).expect("as described");
        let name = |token| tokens.name_of(token).map(|name| name.to_string());
        assert_eq!(name("0123456789abcdef").as_deref(), Some("mail"));
        assert_eq!(name("fedcba9876543210==").as_deref(), Some("mail"));
        assert_eq!(name("ABCDEFGH-._~+/12").as_deref(), Some("scan.er-1"));
        for unknown in ["", "mail", "0123456789abcde", "0123456789abcdeF", "mail:0123456789abcdef"]
        {
            assert_eq!(name(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_by_its_line_and_without_the_token() {
        for (text, expected) in [
            ("", "no token"),
            ("# nobody", "no token"),
            ("mail", "line 1: expected name:token"),
            ("a:0123456789abcdef\nb:short", "line 2: expected a token of 16"),
            ("a b:0123456789abcdef", "line 1: expected a name"),
            (":0123456789abcdef", "line 1: expected a name"),
            ("a:0123456789 abcdef", "line 1: expected a token"),
            ("a:0123456789=abcdef", "line 1: expected a token"),
            ("a:0123456789abcdef\nb:0123456789abcdef", "line 2: this token stands"),
        ] {
            let error = read(text).err().unwrap_or_default();
            assert!(error.starts_with("TOKENS: ") && error.contains(expected), "{text}: {error}");
            assert!(!error.contains("0123456789"), "{error}");
        }
        assert!(make(&[("TOKENS", vec![0xff])]).is_err());
    }
}
