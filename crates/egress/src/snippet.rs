//! The beginning of an answer's body, as text that does no harm.

/// UTF-8 as far as it is; the rest, and control characters but for tabs and
/// line ends, become U+FFFD. So no terminal obeys it and every store takes it.
pub(crate) fn readable(bytes: &[u8]) -> String {
    let whole = without_cut_character(bytes);
    String::from_utf8_lossy(whole)
        .chars()
        .map(|c| if c.is_control() && !matches!(c, '\t' | '\n' | '\r') { '\u{fffd}' } else { c })
        .collect()
}

/// Reading stops at a number of bytes, which may be in the midst of a character.
fn without_cut_character(bytes: &[u8]) -> &[u8] {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => &bytes[..error.valid_up_to()],
        _ => bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_and_control_characters_go() {
        assert_eq!(readable("ok, größer\r\n\t".as_bytes()), "ok, größer\r\n\t");
        assert_eq!(readable(b"a\0b\x1b[31mc\x7f"), "a\u{fffd}b\u{fffd}[31mc\u{fffd}");
        assert_eq!(readable(b"a\xffb"), "a\u{fffd}b");
        assert_eq!(readable(b""), "");
    }

    #[test]
    fn a_character_that_was_cut_is_left_out() {
        assert_eq!(readable(&"größe".as_bytes()[..3]), "gr");
        assert_eq!(readable(&"€€".as_bytes()[..5]), "€");
    }
}
