use super::*;

fn subject(text: &str) -> EventFilter {
    parse(FilterField::Text(TextField::Subject), text).expect("an expression")
}

fn has(text: &str) -> EventFilter {
    EventFilter::Text(TextField::Subject, Match::Contains(text.to_owned()))
}

fn not(filter: EventFilter) -> EventFilter {
    EventFilter::Not(Box::new(filter))
}

#[test]
fn operators_bind_as_documented() {
    use EventFilter::{All, Any};
    for (text, meant) in [
        ("Hello", has("hello")),
        ("a b", All(vec![has("a"), has("b")])),
        ("a AND b OR c", Any(vec![All(vec![has("a"), has("b")]), has("c")])),
        ("a OR b c", Any(vec![has("a"), All(vec![has("b"), has("c")])])),
        ("NOT a b", All(vec![not(has("a")), has("b")])),
        ("NOT NOT a", not(not(has("a")))),
        ("NOT (a OR b)", not(Any(vec![has("a"), has("b")]))),
        ("a and or", All(vec![has("a"), has("and"), has("or")])),
        (r#""a OR (b""#, has("a or (b")),
        (r#"a"b c""#, All(vec![has("a"), has("b c")])),
        (
            "(Hello AND NOT Rachel) OR (Farewell AND Monica)",
            Any(vec![
                All(vec![has("hello"), not(has("rachel"))]),
                All(vec![has("farewell"), has("monica")]),
            ]),
        ),
    ] {
        assert_eq!(subject(text), meant, "{text}");
    }
}

#[test]
fn what_is_no_expression_is_refused_with_the_reason() {
    use InvalidFilter as No;
    let unexpected = |text: &str| No::Unexpected(text.to_owned());
    for (text, error) in [
        ("", No::EndsEarly),
        ("  ", No::EndsEarly),
        ("a OR", No::EndsEarly),
        ("a AND", No::EndsEarly),
        ("NOT", No::EndsEarly),
        ("(a", No::OpenParenthesis),
        ("a)", unexpected(")")),
        ("()", unexpected(")")),
        ("OR a", unexpected("OR")),
        ("a AND OR b", unexpected("OR")),
        (r#""a"#, No::OpenQuote),
        (r#""""#, No::EmptyQuote),
        (&"(".repeat(40), No::TooDeep),
        (&"NOT ".repeat(40), No::TooDeep),
        (&"a ".repeat(101), No::TooLong),
    ] {
        assert_eq!(parse(FilterField::Text(TextField::Subject), text), Err(error), "{text}");
    }
    let size = |text| parse(FilterField::Size, text);
    assert_eq!(size("> x"), Err(No::NotANumber("x".to_owned())));
    assert_eq!(size("big"), Err(No::NotANumber("big".to_owned())));
    assert_eq!(size(">"), Err(No::EndsEarly));
    assert_eq!(size("> (1)"), Err(unexpected("(")));
}

#[test]
fn sizes_are_compared_as_numbers() {
    use Comparison::{AtLeast, AtMost, Equal, Greater, Less};
    let size = |text| parse(FilterField::Size, text).expect("a range");
    for (text, comparison) in [
        ("10", Equal),
        (">10", Greater),
        ("> 10", Greater),
        (">=10", AtLeast),
        ("<10", Less),
        ("<= 10", AtMost),
    ] {
        assert_eq!(size(text), EventFilter::Size(comparison, 10), "{text}");
    }
    let between =
        EventFilter::All(vec![EventFilter::Size(Greater, 10_000), EventFilter::Size(Less, 20_000)]);
    assert_eq!(size(">10000 <20000"), between);
}

#[test]
fn whole_addresses_are_compared_as_a_whole_and_parts_are_looked_for() {
    let text = |field, text: &str| match parse(FilterField::Text(field), text) {
        Ok(EventFilter::Text(_, how)) => how,
        other => panic!("{other:?}"),
    };
    let is = |text: &str| Match::Is(text.to_owned());
    let contains = |text: &str| Match::Contains(text.to_owned());
    assert_eq!(text(TextField::Recipient, "Ada@Customer.example"), is("ada@customer.example"));
    assert_eq!(text(TextField::Recipient, "@customer.example"), contains("@customer.example"));
    assert_eq!(text(TextField::Recipient, "ada"), contains("ada"));
    assert_eq!(text(TextField::Recipient, r#""ada@b.example""#), contains("ada@b.example"));
    assert_eq!(text(TextField::MessageId, "<1.AA@mail.example>"), is("1.aa@mail.example"));
    assert_eq!(text(TextField::MessageId, "1.AA"), contains("1.aa"));
    assert_eq!(text(TextField::Tags, "Order"), is("order"));
    assert_eq!(text(TextField::Tags, r#""two words""#), is("two words"));
    assert_eq!(text(TextField::From, "ada@customer.example"), contains("ada@customer.example"));
    assert_eq!(text(TextField::ListAddress, "list@a.example"), is("list@a.example"));
}

#[test]
fn kinds_and_severities_are_compared_as_a_whole() {
    let event = |name: &str| EventFilter::Event(name.to_owned());
    let both = EventFilter::Any(vec![event("rejected"), event("failed")]);
    assert_eq!(parse(FilterField::Event, "rejected OR Failed"), Ok(both));
    let temporary = EventFilter::Severity("temporary".to_owned());
    assert_eq!(parse(FilterField::Severity, "temporary"), Ok(temporary));
}
