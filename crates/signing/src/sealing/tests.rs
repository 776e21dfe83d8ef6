use super::*;

const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const BASE64: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const OTHER: &str = "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff";
const NONCE: [u8; NONCE_LEN] = [7; NONCE_LEN];

fn key(text: &str) -> SecretKey {
    text.parse().unwrap()
}

#[test]
fn what_is_sealed_opens_again_in_its_context_only() {
    let key = key(HEX);
    let sealed = key.seal(b"key-0f", NONCE, b"account/1");
    assert_eq!(key.unseal(&sealed, b"account/1").unwrap(), b"key-0f");
    assert_eq!(key.unseal(&sealed, b"account/2"), Err(SealError::Altered));
    assert!(!sealed.windows(6).any(|bytes| bytes == b"key-0f"));
}

#[test]
fn the_cipher_is_the_one_of_the_draft() {
    // draft-irtf-cfrg-xchacha, A.3.1, with the key and nonce of that vector.
    let key = key("808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f");
    let nonce: [u8; NONCE_LEN] = std::array::from_fn(|n| 0x40 + u8::try_from(n).unwrap());
    let context = hex::decode("50515253c0c1c2c3c4c5c6c7").unwrap();
    let plaintext = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.";
    let sealed = key.seal(plaintext, nonce, &context);
    let text = &sealed[1 + KEY_ID_LEN + NONCE_LEN..];
    assert_eq!(hex::encode(&text[..16]), "bd6d179d3e83d43b9576579493c0e939");
    assert_eq!(hex::encode(&text[text.len() - 16..]), "c0875924c1c7987947deafd8780acf49");
}

#[test]
fn both_spellings_are_the_same_key() {
    let sealed = key(HEX).seal(b"secret", NONCE, b"");
    assert_eq!(key(BASE64).unseal(&sealed, b"").unwrap(), b"secret");
    assert_eq!(key(BASE64.trim_end_matches('=')).unseal(&sealed, b"").unwrap(), b"secret");
}

#[test]
fn after_a_rotation_old_and_new_secrets_open() {
    let rotated = key(&format!("{OTHER}, {BASE64}"));
    let old = key(HEX).seal(b"old", NONCE, b"");
    let new = rotated.seal(b"new", NONCE, b"");
    assert_eq!(rotated.unseal(&old, b"").unwrap(), b"old");
    assert_eq!(rotated.unseal(&new, b"").unwrap(), b"new");
    assert!(rotated.is_current(&new));
    assert!(!rotated.is_current(&old));
    assert_eq!(key(OTHER).unseal(&new, b"").unwrap(), b"new");
    let unknown = key(HEX).unseal(&new, b"").unwrap_err();
    assert!(matches!(unknown, SealError::UnknownKey { key_id } if key_id.len() == 8));
}

#[test]
fn every_altered_byte_is_noticed() {
    let key = key(HEX);
    let sealed = key.seal(b"secret", NONCE, b"");
    for at in 0..sealed.len() {
        let mut altered = sealed.clone();
        altered[at] ^= 1;
        assert!(key.unseal(&altered, b"").is_err(), "byte {at}");
        assert!(key.unseal(&sealed[..at], b"").is_err(), "cut at {at}");
    }
}

#[test]
fn text_that_is_no_key_is_refused_without_repeating_it() {
    for (text, position) in [
        ("", 1),
        ("c2hvcnQ=", 1),
        ("not base64!", 1),
        (&format!("{HEX},"), 2),
        (&format!("{HEX},{}", &HEX[2..]), 2),
        (&HEX.replace('f', "g"), 1),
    ] {
        let error = text.parse::<SecretKey>().unwrap_err();
        assert_eq!(error, InvalidSecretKey { position }, "{text}");
    }
    assert_eq!(format!("{:?}", key(HEX)), "[redacted]");
}
