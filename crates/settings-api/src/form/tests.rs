use super::*;

async fn read(query: &str, content_type: &str, body: impl Into<Vec<u8>>) -> Result<Form, ApiError> {
    let mut request = Request::post(format!("/v3/domains/a.example/webhooks{query}"));
    if !content_type.is_empty() {
        request = request.header(header::CONTENT_TYPE, content_type);
    }
    let request = request.body(axum::body::Body::from(body.into())).expect("a request");
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
    assert_create(read("", "multipart/form-data", encoded).await);
    assert_create(read("", "", encoded).await);
    assert_create(read("", "", encoded.replace("url=", "url[]=")).await);
    assert_create(read("", "", encoded.replace("url=", "url%5B%5D=")).await);
    assert_create(read("", "", encoded.replace("url=", "url%5B0%5D=")).await);
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
    assert_create(read("", "multipart/form-data; boundary=b0un-dary", body.clone()).await);
    assert_create(read("", "multipart/form-data; boundary=\"b0un-dary\"", body.clone()).await);
    assert_create(read("", "Multipart/Form-Data; Boundary=\"b0un-dary\"", body).await);
}

#[tokio::test]
async fn what_cannot_be_read_is_told() {
    let part: &[u8] = b"--b\r\nContent-Disposition: form-data; name=\"url\"\r\n\r\n";
    let not_utf8 = [part, b"\xff\xfe\r\n--b--\r\n"].concat();
    let broken_off = [part, b"https://a.exam"].concat();
    let no_head: &[u8] = b"--b\r\nhttps://a.example/\r\n--b--\r\n";
    let cases: [(&str, &[u8], u16, &str); 15] = [
        ("application/json", b"{", 400, "the body is not valid JSON"),
        ("application/json", b"{\"url\":\"\xff\"}", 400, "the body is not valid JSON"),
        ("application/json", b"[]", 400, "the body must be a JSON object"),
        ("application/json", b"\"url\"", 400, "the body must be a JSON object"),
        ("application/json", br#"{"url":{"a":1}}"#, 400, "field 'url' must be"),
        ("application/json", br#"{"url":[["a"]]}"#, 400, "field 'url' must be"),
        ("multipart/form-data", b"x", 400, "the multipart body cannot be read"),
        ("multipart/form-data; boundary=", b"x", 400, "the multipart body cannot be read"),
        ("multipart/form-data; boundary=b", b"no boundary", 400, "the multipart body"),
        ("multipart/form-data; boundary=b", &broken_off, 400, "the multipart body cannot be"),
        ("multipart/form-data; boundary=b", no_head, 400, "the multipart body cannot be read"),
        ("multipart/form-data; boundary=b", &not_utf8, 400, "the multipart body is not valid UTF"),
        ("application/x-www-form-urlencoded", b"url=%ff", 400, "the form is not valid UTF-8"),
        ("", b"url=\xe4", 400, "the form is not valid UTF-8"),
        ("text/xml", b"<a/>", 415, "Content-Type 'text/xml' is not supported"),
    ];
    for (content_type, body, status, message) in cases {
        let what = String::from_utf8_lossy(body);
        let error = read("", content_type, body).await.expect_err(&what);
        let ApiError::Message(problem) = error else { panic!("{error:?}") };
        let problem = format!("{problem:?}");
        assert!(problem.contains(&status.to_string()), "{what}: {problem}");
        assert!(problem.contains(message), "{what}: {problem}");
    }
    assert!(read("?url=%e4", "", "").await.is_err());
}

#[tokio::test]
async fn json_that_is_no_text_means_its_text_and_null_means_nothing() {
    let json = r#"{"url":[null,"https://b.example/"],"id":null,"n":[1,true]}"#;
    let form = read("", "application/json; charset=utf-8", json).await.expect("readable");
    assert_eq!(form.first("id"), None);
    assert_eq!(form.values("url").collect::<Vec<_>>(), ["https://b.example/"]);
    assert_eq!(form.values("n").collect::<Vec<_>>(), ["1", "true"]);
}

#[tokio::test]
async fn empty_values_count_as_absent() {
    let form = read("", "", "id=&url=&url=https://b.example/").await.expect("readable");
    assert_eq!(form.first("id"), None);
    assert_eq!(form.values("url").collect::<Vec<_>>(), ["https://b.example/"]);
}
