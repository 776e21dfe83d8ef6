use super::*;

fn json(body: &str) -> Events<'_> {
    find(body.as_bytes(), 10).expect(body)
}

fn problem(body: &str) -> String {
    parse(body.as_bytes()).expect_err(body).to_string()
}

/// Of each line the event's id, or the field and the message.
fn lines(body: &[u8]) -> Vec<Result<String, (String, String)>> {
    let found = find_lines(body, 10).expect("lines");
    let read = found.iter().map(Written::read);
    read.map(|event| {
        event.map(|event| event.id).map_err(|misread| (misread.field, misread.message))
    })
    .collect()
}

const ONE: &str = r#"{"account":"demo","ip_listed":{"ip":"192.0.2.44","blocklist":"Example BL"}}"#;

#[test]
fn one_event_an_array_and_lines_are_told_apart() {
    assert!(matches!(json(&format!("\n {ONE}\n")), Events::One(event) if event.len() == ONE.len()));
    assert!(matches!(json(&format!("[{ONE}]")), Events::Several(events) if events.len() == 1));
    let lines = format!("{ONE}\n\n{ONE}\n");
    assert!(matches!(json(&lines), Events::Several(events) if events.len() == 2));
    assert!(matches!(json("[]"), Events::Several(events) if events.is_empty()));
}

#[test]
fn a_field_that_does_not_exist_is_refused_with_its_name() {
    let body = ONE.replace("blocklist", "block_list");
    let problem = problem(&body);
    assert!(problem.contains("unknown field `block_list`"), "{problem}");
    assert!(problem.contains("`blocklist`"), "what would be right: {problem}");
}

#[test]
fn an_error_names_the_event_and_the_place() {
    let second_is_wrong = format!("[{ONE},\n  {{\"account\": 7}}]");
    let of_array = problem(&second_is_wrong);
    assert!(of_array.starts_with("event 2, line 2, column "), "{of_array}");

    let of_lines = problem(&format!("{ONE}\n{ONE}\n{{nonsense\n"));
    assert!(of_lines.starts_with("event 3, line 3, column "), "{of_lines}");

    let cut_off = problem(&ONE[..20]);
    assert!(cut_off.starts_with("event 1, line 1, column 20"), "{cut_off}");
}

#[test]
fn two_kinds_in_one_event_are_refused() {
    let problem = problem(r#"{"ip_listed":{},"ip_delisted":{}}"#);
    assert!(
        problem.ends_with("`ip_delisted` is one more kind, and an event has exactly one"),
        "{problem}"
    );
}

#[test]
fn what_follows_an_array_is_refused() {
    assert!(problem(&format!("[{ONE}] {ONE}")).contains("trailing"));
}

#[test]
fn a_body_without_events_is_refused() {
    for body in ["", " \n", "null", "7", "\"x\""] {
        problem(body);
    }
}

#[test]
fn a_line_that_is_wrong_hides_no_other_one() {
    let id = |id: &str| format!(r#"{{"id":"{id}","ip_listed":{{}}}}"#);
    let (one, last) = (id("one"), id("last"));
    for (wrong, says) in [
        (&br#"{"id":"two","ip_lsted":{}}"#[..], "unknown field `ip_lsted`"),
        (br#"{"id":7}"#, "invalid type: integer `7`"),
        (br#"{"id":"two""#, "line 2, column "),
        (br#"{"id":"tw"#, "line 2, column "),
        (br#"{"id":"two"}}"#, "trailing"),
        (br#"{"id":"\ud800"}"#, "line 2, column "),
        (b"{\"id\":\"\xff\"}", "line 2, column "),
        (b"nonsense", "line 2, column "),
        (b"null", "invalid type: null"),
    ] {
        let body = [one.as_bytes(), b"\r\n\n", wrong, b"\n", last.as_bytes()].concat();
        let read = lines(&body);
        assert_eq!((&read[0], read.last()), (&Ok("one".into()), Some(&Ok("last".into()))));
        let message = &read[1].as_ref().expect_err("wrong").1;
        assert!(message.starts_with("event 2, line 3, column "), "{message}");
        assert!(message.contains(says.trim_start_matches("line 2, column ")), "{message}");
        assert_eq!(read.len(), 3, "{read:?}");
    }
    let twice = r#"{"id":"a","id":"b"}"#;
    assert!(problem(twice).ends_with("duplicate field `id`"), "{}", problem(twice));
    // An event may stand in several lines where all is JSON.
    let tall = one.replace(',', ",\n");
    assert_eq!(lines(format!("{tall}\n{last}").as_bytes()).len(), 2);
}

#[test]
fn an_element_that_is_wrong_is_told_with_its_id_and_field() {
    let body = format!(
        "\u{feff} [{ONE},\n {{\"id\":\"b\",\"opened\":{{\"message\":{{\"size\":true}}}}}}]"
    );
    let Events::Several(found) = json(&body) else { panic!("an array") };
    assert!(found[0].read().is_ok());
    let misread = found[1].read().expect_err("no number");
    assert_eq!((misread.id.as_str(), misread.field.as_str()), ("b", "opened.message.size"));
    assert_eq!(misread.message, "event 2, line 2, column 44: expected a number");
}

#[test]
fn a_moment_that_is_none_is_told_what_would_be_one() {
    for wrong in ["\"yesterday\"", "1763714530", "\"1763714530\"", "\"2025-11-21T08:42:10\""] {
        let body = format!(r#"{{"timestamp":{wrong},"ip_listed":{{}}}}"#);
        let Events::One(written) = json(&body) else { panic!("{body}") };
        let misread = written.read().expect_err(wrong);
        assert_eq!(misread.field, "timestamp");
        assert!(misread.message.ends_with(r#"RFC 3339: "2025-10-09T08:53:20.5Z""#), "{misread}");
    }
}

#[test]
fn variables_within_a_variable_are_told_how_they_can_stand() {
    let nested = r#"{"opened":{"labels":{"user_variables":{"cart":{"items":3}}}}}"#;
    let Events::One(written) = json(nested) else { panic!("{nested}") };
    let misread = written.read().expect_err("nested");
    assert!(misread.field.starts_with("opened.labels.user_variables"), "{misread:?}");
    let end = "a variable is a text, in which others can stand as JSON";
    assert!(misread.message.ends_with(end), "{misread}");
}

#[test]
fn more_events_than_a_request_may_have_are_not_found() {
    for (few, many) in [("{} {}", "{} {} {} {}"), ("[{},{}]", "[{},{},{},{}]")] {
        assert!(
            matches!(find(few.as_bytes(), 2), Ok(Events::Several(events)) if events.len() == 2)
        );
        let problem = find(many.as_bytes(), 2).expect_err(many).to_string();
        assert!(problem.contains("more than 2 events"), "{problem}");
        let lines = many.replace(' ', "\n") + "\nnonsense\n7\n8";
        let problem = find_lines(lines.as_bytes(), 2).expect_err(&lines).to_string();
        assert!(problem.contains("more than 2 events"), "{problem}");
    }
}
