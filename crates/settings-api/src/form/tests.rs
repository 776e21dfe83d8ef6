use super::*;

async fn read(query: &str, content_type: &str, body: &str) -> Result<Form, ApiError> {
    let mut request = Request::post(format!("/v3/domains/a.example/webhooks{query}"));
    if !content_type.is_empty() {
        request = request.header(header::CONTENT_TYPE, content_type);
    }
    let request = request.body(axum::body::Body::from(body.to_owned())).expect("a request");
    Form::from_request(request, &()).await
}

fn assert_create(form: Result<Form, ApiError>) {
    let form = form.expect("readable");
    assert_eq!(form.first("id"), Some("clicked"));
    let urls: Vec<_> = form.values("url").collect();
    assert_eq!(urls, ["https://a.example/?x=1&y=ä", "https://b.example/"]);
}

#[tokio::test]
async fn every_encoding_of_the_clients_is_read() {
    let encoded =
        "id=clicked&url=https%3A%2F%2Fa.example%2F%3Fx%3D1%26y%3D%C3%A4&url=https://b.example/";
    assert_create(read("", "application/x-www-form-urlencoded", encoded).await);
    assert_create(read("", "application/x-www-form-urlencoded; charset=utf-8", encoded).await);
    assert_create(read("", "", encoded).await);
    assert_create(read("", "", &encoded.replace("url=", "url[]=")).await);
    assert_create(read("", "", &encoded.replace("url=", "url%5B%5D=")).await);
    assert_create(read(&format!("?{encoded}"), "", "").await);
    assert_create(read(&format!("?{encoded}"), "application/x-www-form-urlencoded", "").await);
    assert_create(read(&format!("?{encoded}"), "multipart/form-data; boundary=b", "").await);
    let json = r#"{"id":"clicked","url":["https://a.example/?x=1&y=ä","https://b.example/"]}"#;
    assert_create(read("", "application/json", json).await);
}

#[tokio::test]
async fn multipart_boundaries_may_be_quoted() {
    let part = |name: &str, value: &str| {
        format!(
            "--b0un-dary\r\nContent-Disposition: form-data; name=\"{name}\"\r\nContent-Length: {}\r\n\r\n{value}\r\n",
            value.len()
        )
    };
    let body = [
        part("id", "clicked"),
        part("url", "https://a.example/?x=1&y=ä"),
        part("url", "https://b.example/"),
        "--b0un-dary--\r\n".to_owned(),
    ]
    .concat();
    assert_create(read("", "multipart/form-data; boundary=b0un-dary", &body).await);
    assert_create(read("", "multipart/form-data; boundary=\"b0un-dary\"", &body).await);
    assert_create(read("", "Multipart/Form-Data; Boundary=\"b0un-dary\"", &body).await);
}

#[tokio::test]
async fn what_cannot_be_read_is_told() {
    for (content_type, body, status, message) in [
        ("application/json", "{", 400, "the body is not valid JSON"),
        ("application/json", "[]", 400, "the body must be a JSON object"),
        ("application/json", r#"{"url":{"a":1}}"#, 400, "field 'url' must be"),
        ("multipart/form-data", "x", 400, "the multipart body cannot be read"),
        ("multipart/form-data; boundary=b", "no boundary", 400, "the multipart body"),
        ("text/xml", "<a/>", 415, "Content-Type 'text/xml' is not supported"),
    ] {
        let error = read("", content_type, body).await.expect_err(body);
        let ApiError::Message(problem) = error else { panic!("{error:?}") };
        let problem = format!("{problem:?}");
        assert!(problem.contains(&status.to_string()), "{problem}");
        assert!(problem.contains(message), "{problem}");
    }
}

#[tokio::test]
async fn empty_values_count_as_absent() {
    let form = read("", "", "id=&url=&url=https://b.example/").await.expect("readable");
    assert_eq!(form.first("id"), None);
    assert_eq!(form.values("url").collect::<Vec<_>>(), ["https://b.example/"]);
}
