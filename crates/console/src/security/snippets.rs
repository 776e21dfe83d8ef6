//! How a receiver checks a signature, in the languages of receivers. Those in
//! Python, in JavaScript and for the shell are run by a test.

/// Code for one language.
pub(super) struct Snippet {
    pub(super) language: &'static str,
    pub(super) code: &'static str,
}

impl Snippet {
    pub(super) const ALL: [Self; 7] = [
        Self { language: "Python", code: include_str!("../../templates/snippets/verify.py") },
        Self { language: "Node", code: include_str!("../../templates/snippets/verify.mjs") },
        Self { language: "Go", code: include_str!("../../templates/snippets/verify.go") },
        Self { language: "PHP", code: include_str!("../../templates/snippets/verify.php") },
        Self { language: "Ruby", code: include_str!("../../templates/snippets/verify.rb") },
        Self { language: "Java", code: include_str!("../../templates/snippets/Verify.java") },
        Self { language: "openssl", code: include_str!("../../templates/snippets/verify.sh") },
    ];
}
