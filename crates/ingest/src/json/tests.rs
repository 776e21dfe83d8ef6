use super::*;

fn json(body: &str) -> Events {
    parse(body.as_bytes()).expect(body)
}

fn problem(body: &str) -> String {
    parse(body.as_bytes()).expect_err(body).to_string()
}

const ONE: &str = r#"{"account":"demo","ip_listed":{"ip":"192.0.2.44","blocklist":"Example BL"}}"#;

#[test]
fn one_event_an_array_and_lines_are_told_apart() {
    assert!(matches!(json(&format!("\n {ONE}\n")), Events::One(event) if event.account == "demo"));
    assert!(matches!(json(&format!("[{ONE}]")), Events::Several(events) if events.len() == 1));
    let lines = json(&format!("{ONE}\n\n{ONE}\n"));
    assert!(matches!(lines, Events::Several(events) if events.len() == 2));
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
    assert!(problem.contains("duplicate field"), "{problem}");
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
fn more_events_than_a_request_may_have_are_not_read() {
    for (few, many) in [("{} {}", "{} {} {} {nonsense"), ("[{},{}]", "[{},{},{},nonsense]")] {
        assert_eq!(parse_at_most(few.as_bytes(), 2).expect(few).into_vec().len(), 2);
        let problem = parse_at_most(many.as_bytes(), 2).expect_err(many).to_string();
        assert!(problem.contains("more than 2 events"), "{problem}");
    }
}
