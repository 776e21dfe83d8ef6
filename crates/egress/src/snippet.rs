//! The beginning of an answer's body, as text that does no harm.

/// UTF-8 as far as it is; the rest, control characters but for tabs and line
/// ends, and those that turn the direction of text become U+FFFD. So no terminal
/// obeys it, no page shows it as something else, and every store takes it.
///
/// The text has at most `max_bytes`: a replacement may be longer than what it
/// replaces.
pub(crate) fn readable(bytes: &[u8], max_bytes: usize) -> String {
    let whole = without_cut_character(bytes);
    let mut text: String = String::from_utf8_lossy(whole)
        .chars()
        .map(|c| if is_harmful(c) { '\u{fffd}' } else { c })
        .collect();
    text.truncate(text.floor_char_boundary(max_bytes));
    text
}

fn is_harmful(c: char) -> bool {
    let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || (c.is_control() && !matches!(c, '\t' | '\n' | '\r'))
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
    fn readable(bytes: &[u8]) -> String {
        super::readable(bytes, 1_000)
    }

    #[test]
    fn text_stays_and_control_characters_go() {
        assert_eq!(readable("ok, größer\r\n\t".as_bytes()), "ok, größer\r\n\t");
        assert_eq!(readable(b"a\0b\x1b[31mc\x7f"), "a\u{fffd}b\u{fffd}[31mc\u{fffd}");
        assert_eq!(readable(b"a\xffb"), "a\u{fffd}b");
        assert_eq!(readable("a\u{202e}b\u{2066}".as_bytes()), "a\u{fffd}b\u{fffd}");
        assert_eq!(readable(b""), "");
    }

    #[test]
    fn a_character_that_was_cut_is_left_out() {
        assert_eq!(readable(&"größe".as_bytes()[..3]), "gr");
        assert_eq!(readable(&"€€".as_bytes()[..5]), "€");
    }

    #[test]
    fn replacements_do_not_make_the_text_longer_than_it_may_be() {
        for bytes in [vec![0xff; 4_096], vec![0; 4_095], b"\x1f\x8b\x08\0\0\0\0\0".repeat(512)] {
            let text = super::readable(&bytes, 4_096);
            assert!(text.len() <= 4_096 && text.len() > 4_000, "{}", text.len());
        }
    }
}
