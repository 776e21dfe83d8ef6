//! Domain names as they are compared: lower case, in ASCII (reference §3).

/// The form in which a domain name is stored and looked up; `None` when this
/// is no name of a domain.
pub(crate) fn canonical(name: &str) -> Option<String> {
    let Ok(url::Host::Domain(name)) = url::Host::parse(name) else { return None };
    let name = name.strip_suffix('.').unwrap_or(&name);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    (name.len() <= 253 && name.split('.').all(label)).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::canonical;

    #[test]
    fn case_and_script_do_not_matter() {
        let ascii = Some("xn--mller-kva.example".to_owned());
        assert_eq!(canonical("Müller.Example"), ascii);
        assert_eq!(canonical("XN--MLLER-KVA.example."), ascii);
        assert_eq!(canonical("mail.demo.example").as_deref(), Some("mail.demo.example"));
    }

    #[test]
    fn what_is_no_domain_is_refused() {
        for wrong in ["", "192.0.2.1", "[::1]", "a b.example", "a..b", "-a.example", "a/b", "a\0b"]
        {
            assert_eq!(canonical(wrong), None, "{wrong:?}");
        }
        assert_eq!(canonical(&format!("{}.example", "a".repeat(64))), None);
    }
}
