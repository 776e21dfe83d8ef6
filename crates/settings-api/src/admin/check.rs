//! What operators give, checked before it is used.

use tonic::Status;

use crate::{domain_name, keys};

/// Longest reason, in characters.
const MAX_REASON: usize = 1024;

/// A name of an account.
pub(super) fn account_name<'a>(name: &'a str, field: &str) -> Result<&'a str, Status> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b);
    if !(1..=64).contains(&name.len()) || !name.bytes().all(allowed) {
        let expected = "expected 1 to 64 characters of a-z, 0-9, \"-\", \"_\" and \".\"";
        return Err(Status::invalid_argument(format!("{field}: {expected}")));
    }
    // Internal callers name accounts by name or id.
    if keys::is_object_id(name) {
        return Err(Status::invalid_argument(format!("{field}: looks like the id of an account")));
    }
    Ok(name)
}

/// The name or the id of an account that is there.
pub(super) fn account<'a>(name: &'a str, field: &str) -> Result<&'a str, Status> {
    if keys::is_object_id(name) { Ok(name) } else { account_name(name, field) }
}

/// The same, when it may be left out.
pub(super) fn optional_account<'a>(name: &'a str, field: &str) -> Result<Option<&'a str>, Status> {
    if name.is_empty() { Ok(None) } else { account(name, field).map(Some) }
}

/// Why something was done; `None` when it was left out.
pub(super) fn reason(reason: &str) -> Result<Option<&str>, Status> {
    text(reason, "reason", MAX_REASON)?;
    Ok(Some(reason).filter(|reason| !reason.is_empty()))
}

/// A note of at most this many characters.
pub(super) fn text(text: &str, field: &str, max_chars: usize) -> Result<(), Status> {
    if text.chars().count() > max_chars || text.contains('\0') {
        return Err(Status::invalid_argument(format!("{field}: at most {max_chars} characters")));
    }
    Ok(())
}

/// A domain's name in its canonical form.
pub(super) fn domain(name: &str) -> Result<String, Status> {
    domain_name::canonical(name)
        .ok_or_else(|| Status::invalid_argument("name: this is not the name of a domain"))
}

/// A given API key; made up when it was left out.
pub(super) fn api_key_or_new(key: &str) -> Result<String, Status> {
    if key.is_empty() {
        return Ok(keys::api_key());
    }
    if !(8..=128).contains(&key.len()) || !key.bytes().all(|b| b.is_ascii_graphic()) {
        let expected = "expected 8 to 128 printable ASCII characters without spaces";
        return Err(Status::invalid_argument(format!("api_key: {expected}")));
    }
    Ok(key.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_be_mistaken_are_refused() {
        for right in ["demo", "demo-sub", "a.b_c", "66f0c1de9a7b4e0012ab34cdx"] {
            assert!(account_name(right, "name").is_ok(), "{right}");
        }
        let long = "a".repeat(65);
        for wrong in ["", "Demo", "a b", "a\0", "66f0c1de9a7b4e0012ab34cd", long.as_str()] {
            let error = account_name(wrong, "name").expect_err(wrong);
            assert_eq!(error.code(), tonic::Code::InvalidArgument);
            assert!(error.message().starts_with("name: "), "{error}");
        }
    }

    #[test]
    fn api_keys_are_made_up_or_taken_as_given() {
        assert_eq!(api_key_or_new("key-demo").expect("taken"), "key-demo");
        assert_eq!(api_key_or_new("").expect("made up").len(), 36);
        for wrong in ["short", "with space", "key-\u{e4}bcdef"] {
            assert!(api_key_or_new(wrong).is_err(), "{wrong}");
        }
    }
}
