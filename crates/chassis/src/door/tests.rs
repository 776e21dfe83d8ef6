use std::fs;
use std::path::Path;

use rcgen::{CertificateParams, KeyPair};

use super::*;

/// A certificate and its key, in PEM.
fn certificate() -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["ingest.internal".to_owned()]).unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

/// A directory of its own, with these files, gone at the end.
struct Files(PathBuf);

impl Files {
    fn new(files: &[(&str, &str)]) -> Self {
        let unique = u64::from_be_bytes(crate::entropy::bytes());
        let directory = std::env::temp_dir().join(format!("postrider-door-{unique:016x}"));
        fs::create_dir(&directory).unwrap();
        for (name, content) in files {
            fs::write(directory.join(name), content).unwrap();
        }
        Self(directory)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn read(pairs: &[(&str, &str)]) -> Result<Door, String> {
    let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let mut env = Env::from_pairs(pairs);
    let door = Door::read(&mut env, &INGEST);
    let known = env.settings().to_vec();
    env.finish(&known).map(|()| door).map_err(|error| error.to_string())
}

#[test]
fn nothing_is_asked_for_by_default() {
    let door = read(&[]).expect("right");
    assert!(!door.is_tls());
    assert_eq!(door.admit(None, None), Ok(Caller(None)));
    assert_eq!(door.admit(None, Some("Bearer x")), Ok(Caller(None)));
}

#[test]
fn what_does_not_fit_together_is_told_before_a_port_is_bound() {
    let (cert, key) = certificate();
    let (_, other_key) = certificate();
    let files = Files::new(&[
        ("cert", &cert),
        ("key", &key),
        ("other", &other_key),
        ("text", "hello\n"),
        ("tokens", "mail:0123456789abcdef\n"),
    ]);
    let path = |name: &str| files.path(name);
    let set = |cert: &str, key: &str| {
        read(&[("POSTRIDER_INGEST_TLS_CERT", cert), ("POSTRIDER_INGEST_TLS_KEY", key)])
    };
    assert!(set(&path("cert"), &path("key")).expect("they fit").is_tls());
    for (cert, key, expected) in [
        ("cert", "other", "TLS_KEY: this key is not that of the certificate"),
        ("cert", "gone", "TLS_KEY: cannot read"),
        ("gone", "key", "TLS_CERT: cannot read"),
        ("text", "key", "TLS_CERT: expected certificates in PEM, found none"),
        ("key", "key", "TLS_CERT: expected certificates in PEM, found none"),
        ("cert", "text", "TLS_KEY: expected a private key in PEM"),
    ] {
        let error = set(&path(cert), &path(key)).err().unwrap_or_default();
        assert!(error.contains(expected), "{cert} {key}: {error}");
    }
    let one = read(&[("POSTRIDER_INGEST_TLS_CERT", &path("cert"))]).err().unwrap_or_default();
    assert!(one.contains("belong together"), "{one}");
    let alone = read(&[("POSTRIDER_INGEST_CLIENT_CA", &path("cert"))]).err().unwrap_or_default();
    assert!(alone.contains("CLIENT_CA: certificates of callers need TLS"), "{alone}");
    let both = read(&[
        ("POSTRIDER_INGEST_TLS_CERT", &path("cert")),
        ("POSTRIDER_INGEST_TLS_KEY", &path("key")),
        ("POSTRIDER_INGEST_CLIENT_CA", &path("text")),
        ("POSTRIDER_INGEST_TOKENS_FILE", &path("text")),
    ])
    .err()
    .unwrap_or_default();
    assert!(both.contains("2 problem(s)"), "{both}");
    assert!(both.contains("CLIENT_CA: expected certificates"), "{both}");
    assert!(both.contains("TOKENS_FILE: line 1"), "{both}");
}

#[test]
fn a_token_is_asked_for_and_names_the_caller() {
    let files = Files::new(&[("tokens", "mail:0123456789abcdef\n")]);
    let door = read(&[("POSTRIDER_INGEST_TOKENS_FILE", &files.path("tokens"))]).expect("right");
    let certified = Peer { address: ([127, 0, 0, 1], 1).into(), name: Some("by-tls".into()) };
    for right in ["Bearer 0123456789abcdef", "bearer  0123456789abcdef "] {
        assert_eq!(door.admit(Some(&certified), Some(right)), Ok(Caller(Some("mail".into()))));
    }
    for (header, error) in [
        (None, Unauthenticated::NoToken),
        (Some(""), Unauthenticated::NoToken),
        (Some("Bearer "), Unauthenticated::NoToken),
        (Some("0123456789abcdef"), Unauthenticated::NoToken),
        (Some("Basic 0123456789abcdef"), Unauthenticated::NoToken),
        (Some("Bearer 0123456789abcdee"), Unauthenticated::WrongToken),
    ] {
        assert_eq!(door.admit(Some(&certified), header), Err(error), "{header:?}");
    }
}

#[test]
fn files_that_change_are_taken_when_they_are_right() {
    let (cert, key) = certificate();
    let files =
        Files::new(&[("cert", &cert), ("key", &key), ("tokens", "mail:0123456789abcdef\n")]);
    let door = read(&[
        ("POSTRIDER_INGEST_TLS_CERT", &files.path("cert")),
        ("POSTRIDER_INGEST_TLS_KEY", &files.path("key")),
        ("POSTRIDER_INGEST_TOKENS_FILE", &files.path("tokens")),
    ])
    .expect("right");
    let write =
        |name: &str, content: &str| fs::write(Path::new(&files.path(name)), content).unwrap();
    let knows = |token: &str| door.admit(None, Some(&format!("Bearer {token}"))).is_ok();
    let before = door.tls(Speaks::Grpc).expect("TLS");
    let same = || Arc::ptr_eq(&before, &door.tls(Speaks::Grpc).expect("TLS"));
    door.look();
    assert!(same() && knows("0123456789abcdef"));

    write("tokens", "mail:fedcba9876543210\nmail:0123456789abcdef\n");
    door.look();
    assert!(knows("0123456789abcdef") && knows("fedcba9876543210"), "both, for a while");
    write("tokens", "mail:fedcba9876543210\n");
    door.look();
    assert!(!knows("0123456789abcdef") && knows("fedcba9876543210"));
    for wrong in ["", "mail:short\n"] {
        write("tokens", wrong);
        door.look();
        assert!(knows("fedcba9876543210"), "what was right stays");
    }
    assert!(same(), "tokens are not certificates");

    let (cert, key) = certificate();
    write("cert", &cert);
    door.look();
    assert!(same(), "half of a pair");
    write("key", &key);
    door.look();
    assert!(!same());
    fs::remove_file(files.path("key")).unwrap();
    door.look();
    assert!(door.is_tls(), "what was right stays");
}
