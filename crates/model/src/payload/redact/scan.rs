//! Small questions about a text, asked while an address is looked for.

/// What stands between the halves of an address.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum Sign {
    /// The local part comes first.
    LocalFirst,
    /// It may also come last.
    EitherWay,
}

/// The sign that a text begins with, and its length.
pub(super) fn sign_at(text: &str) -> Option<(Sign, usize)> {
    const SPELT: [&str; 4] = [" at ", "(at)", "[at]", "{at}"];
    Some(match text.chars().next()? {
        '@' | '%' | '#' => (Sign::LocalFirst, 1),
        '＠' => (Sign::LocalFirst, '＠'.len_utf8()),
        '=' | '!' => (Sign::EitherWay, 1),
        ' ' | '(' | '[' | '{' => {
            (Sign::LocalFirst, SPELT.iter().find(|word| text.starts_with(*word))?.len())
        }
        _ => return None,
    })
}

/// Where `needle`, which is not empty, stands, overlapping or not.
pub(super) fn occurrences(text: &str, needle: &str) -> impl Iterator<Item = (usize, usize)> {
    let step = needle.chars().next().map_or(1, char::len_utf8);
    let mut from = 0;
    std::iter::from_fn(move || {
        let start = from + text[from..].find(needle)?;
        from = start + step;
        Some((start, start + needle.len()))
    })
}

/// Whether this word is what a text begins with.
pub(super) fn begins_with_word(text: &str, word: &str) -> bool {
    text.strip_prefix(word).is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
}

/// Whether a word ends before these characters, which may be read backwards.
pub(super) fn ends_word(mut next: impl Iterator<Item = char>) -> bool {
    match next.next() {
        None => true,
        Some('.' | '-') => !next.next().is_some_and(char::is_alphanumeric),
        Some(c) => !c.is_alphanumeric() && c != '_',
    }
}

/// Compared without ASCII case.
pub(super) fn contains_ignoring_case(text: &str, needle: &str) -> bool {
    !needle.is_empty()
        && text
            .as_bytes()
            .windows(needle.len())
            .any(|window| window.eq_ignore_ascii_case(needle.as_bytes()))
}
