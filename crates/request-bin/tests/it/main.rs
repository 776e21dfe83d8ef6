//! Bins from outside: as senders, as programs, as people see them.

use axum::Router;
use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, Request, StatusCode};
use chassis::{Clock, Env};
use http_body_util::BodyExt as _;
use request_bin::{RequestBinConfig, router};
use serde_json::{Value, json};
use tower::ServiceExt as _;

struct World(Router);

struct Answer {
    status: StatusCode,
    headers: axum::http::HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

impl World {
    fn new() -> Self {
        let mut env = Env::from_pairs([]);
        let config = RequestBinConfig::read(&mut env);
        Self(router(&config, Clock::system()))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_vec())).expect("a request");
        let response = self.0.clone().oneshot(request).await.expect("an answer");
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("a body").to_bytes().to_vec();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    async fn post(&self, path: &str, body: &[u8]) -> Answer {
        self.send(Method::POST, path, &[], body).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], b"").await
    }

    /// Makes a bin. Returns the path of its URL, and its name.
    async fn bin(&self, wish: Value) -> (String, String) {
        let made = self.post("/api/bins", wish.to_string().as_bytes()).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
        let made = made.json();
        let url = made["url"].as_str().expect("a URL");
        let path = url.strip_prefix("http://127.0.0.1:8090").expect("the usual address");
        (path.to_owned(), made["name"].as_str().expect("a name").to_owned())
    }
}

#[tokio::test]
async fn a_bin_thanks_and_shows_what_came() {
    let world = World::new();
    let (path, name) = world.bin(json!({})).await;
    let answer = world.post(&path, b"{\"a\":1}").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.text(), "{\"message\":\"Post received. Thanks!\"}\n");
    let below = format!("{path}/deep/er?x=1");
    world.send(Method::PUT, &below, &[("x-mine", "yes")], b"\xff\xfe").await;
    let list = world.get(&format!("/api/bins/{name}/requests")).await.json();
    let [first, second] = list["requests"].as_array().expect("a list").as_slice() else {
        panic!("{list}")
    };
    assert_eq!((&first["method"], &first["body"]), (&json!("POST"), &json!("{\"a\":1}")));
    assert_eq!(second["path"], "/deep/er?x=1");
    assert_eq!(second["body_base64"], "//4=");
    assert_eq!(second["headers"], json!([["x-mine", "yes"]]));
    let newer = world.get(&format!("/api/bins/{name}/requests?after=1")).await.json();
    assert_eq!(newer["requests"].as_array().map(Vec::len), Some(1));
    assert_eq!(newer["has_more"], false);
}

#[tokio::test]
async fn an_answer_with_requests_is_bounded_and_says_that_there_are_more() {
    let world = World::new();
    let (path, name) = world.bin(json!({})).await;
    for _ in 0..5 {
        assert_eq!(world.post(&path, &vec![b'x'; 600 * 1024]).await.status, StatusCode::OK);
    }
    let (mut after, mut numbers) = (0, Vec::new());
    loop {
        let list = world.get(&format!("/api/bins/{name}/requests?after={after}")).await;
        assert!(list.text().len() < 2 * 1024 * 1024);
        let list = list.json();
        let some = list["requests"].as_array().expect("a list").iter();
        numbers.extend(some.map(|request| request["number"].as_u64().expect("a number")));
        after = *numbers.last().expect("some came");
        if list["has_more"] == json!(false) {
            break;
        }
    }
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn a_bin_answers_as_it_was_told_for_as_long_as_it_was_told() {
    let world = World::new();
    let wish = json!({"answer": {"status": 503, "times": 2, "body": "later"}});
    let (path, name) = world.bin(wish).await;
    for expected in [503, 503, 200] {
        assert_eq!(world.post(&path, b"").await.status.as_u16(), expected);
    }
    let changed = json!({"answer": {"status": 406}});
    let bin = format!("/api/bins/{name}");
    let answer = world.send(Method::PUT, &bin, &[], changed.to_string().as_bytes()).await;
    assert_eq!(answer.json()["answer"]["status"], 406);
    assert_eq!(world.get(&path).await.status.as_u16(), 406);
    for wrong in [
        json!({"answer": {"status": 42}}),
        json!({"answer": {"delay_seconds": 600}}),
        json!({"answr": {}}),
        json!({"signing_keys": [""]}),
    ] {
        let refused = world.send(Method::PUT, &bin, &[], wrong.to_string().as_bytes()).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{wrong}");
        assert!(refused.json()["message"].as_str().is_some_and(|text| text.len() > 10));
    }
}

#[tokio::test]
async fn signatures_are_checked_and_keys_are_never_shown() {
    let world = World::new();
    let (path, name) = world.bin(json!({"signing_keys": ["s3cret-key"]})).await;
    let body = b"{\"ip\":\"192.0.2.1\"}";
    let signed = signing::x_sign(&signing::SigningKey::new("s3cret-key"), body);
    world.send(Method::POST, &path, &[("x-sign", &signed)], body).await;
    world.send(Method::POST, &path, &[("x-sign", "0123")], body).await;
    let list = world.get(&format!("/api/bins/{name}/requests")).await.json();
    let verdicts: Vec<&Value> = list["requests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| &r["signatures"][0]["verdict"])
        .collect();
    assert_eq!(verdicts, ["valid", "invalid"]);
    for shown in [format!("/api/bins/{name}"), format!("/bins/{name}")] {
        assert!(!world.get(&shown).await.text().contains("s3cret-key"), "{shown}");
    }
}

#[tokio::test]
async fn a_bin_is_read_by_its_name_alone_and_ends_when_told() {
    let world = World::new();
    let (path, name) = world.bin(json!({})).await;
    let (_, other) = world.bin(json!({})).await;
    world.post(&path, b"for one alone").await;
    assert!(!world.get(&format!("/bins/{other}")).await.text().contains("Request 1"));
    assert_eq!(world.get(&format!("/bins{path}")).await.status, StatusCode::NOT_FOUND);
    assert_eq!(world.get(&format!("/bins/{other}/requests/1")).await.status, StatusCode::NOT_FOUND);
    assert!(world.get(&format!("/bins/{name}/requests/1")).await.text().contains("for one alone"));
    let gone = world.send(Method::DELETE, &format!("/api/bins/{name}"), &[], b"").await;
    assert_eq!(gone.status, StatusCode::OK);
    for gone in [path, format!("/bins/{name}"), format!("/api/bins/{name}/requests")] {
        assert_eq!(world.get(&gone).await.status, StatusCode::NOT_FOUND, "{gone}");
    }
}

#[tokio::test]
async fn who_brings_a_name_has_the_same_url_again() {
    let name = "0123456789abcdef0123456789abcdef";
    let [first, second] = [World::new(), World::new()];
    let (path, known) = first.bin(json!({"name": name})).await;
    assert_eq!((&known, &second.bin(json!({"name": name})).await.0), (&name.to_owned(), &path));
    first.post(&path, b"old").await;
    first.bin(json!({"name": name})).await;
    let list = first.get(&format!("/api/bins/{name}/requests")).await.json();
    assert_eq!(list, json!({"requests": [], "has_more": false}), "it begins anew");
    let refused = first.post("/api/bins", b"{\"name\":\"guess-me\"}").await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn people_make_a_bin_and_set_it_up_by_forms() {
    let world = World::new();
    assert!(world.get("/").await.text().contains("Make a bin"));
    let made = world.post("/bins", b"").await;
    assert_eq!(made.status, StatusCode::SEE_OTHER);
    let page = made.headers["location"].to_str().unwrap().to_owned();
    let form = [(CONTENT_TYPE.as_str(), "application/x-www-form-urlencoded")];
    let submit = |path: String, body: &'static [u8]| {
        let world = &world;
        async move { world.send(Method::POST, &path, &form, body).await }
    };
    let set = submit(format!("{page}/answer"), b"status=500&times=3&delay_seconds=&body=").await;
    assert_eq!(set.status, StatusCode::SEE_OTHER, "{}", set.text());
    let keys = submit(format!("{page}/keys"), b"keys=one%0D%0Atwo").await;
    assert_eq!(keys.status, StatusCode::SEE_OTHER);
    let shown = world.get(&page).await.text();
    assert!(shown.contains("value=\"500\"") && shown.contains("2 in use"), "{shown}");
    let wrong = submit(format!("{page}/answer"), b"status=often").await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
    assert!(wrong.text().contains("status: expected a number, found often"));
}

/// What a sender may try to have run in somebody's browser.
const HOSTILE: [&str; 12] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "</pre></textarea></title><svg/onload=alert(1)>",
    "javascript:alert(1)",
    "{{7*7}}",
    "${alert(1)}",
    "<!--",
    "]]>",
    "&lt;script&gt;",
    "<a hx-get=\"/\" hx-trigger=\"load\">",
    "\u{202e}\u{0}\u{7}\u{1b}[31m",
    "' onmouseover='alert(1)",
];

#[tokio::test]
async fn whatever_senders_put_in_is_shown_as_text() {
    let world = World::new();
    let (path, name) = world.bin(json!({"answer": {"body": HOSTILE[2]}})).await;
    let mut number = 0;
    for hostile in HOSTILE {
        let encoded: String = form_urlencoded::byte_serialize(hostile.as_bytes()).collect();
        let json = json!({hostile: hostile, "signature": {"timestamp": hostile, "token": hostile, "signature": hostile}}).to_string();
        let plain: String = hostile.chars().filter(|c| !c.is_control()).collect();
        for (content_type, body) in [
            ("application/json", json.as_bytes()),
            ("text/html", hostile.as_bytes()),
            ("application/x-www-form-urlencoded", format!("{encoded}={encoded}").as_bytes()),
        ] {
            let request = Request::post(format!("{path}/{encoded}?{encoded}"))
                .header(CONTENT_TYPE, content_type)
                .header("x-hostile", plain.as_bytes())
                .body(Body::from(body.to_vec()))
                .unwrap();
            let answer = world.0.clone().oneshot(request).await.unwrap();
            assert_eq!(answer.headers()[CONTENT_TYPE], "application/json");
            number += 1;
            let view = format!("/bins/{name}/requests/{number}");
            for page in [view.clone(), format!("/bins/{name}"), format!("/bins/{name}/requests")] {
                let page = world.get(&page).await;
                assert_eq!(page.status, StatusCode::OK);
                let text = page.text();
                for mark in [
                    "<script>alert",
                    "<img src=x",
                    "<svg/onload",
                    "<a hx-get",
                    "<!--",
                    "onmouseover='",
                ] {
                    assert!(!text.contains(mark), "{mark} of {hostile}: {text}");
                }
                let policy = page.headers["content-security-policy"].to_str().unwrap();
                assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"));
            }
            let raw = world.get(&format!("{view}/body")).await;
            assert_eq!(raw.body, body, "the body is kept as it came");
            assert_eq!(raw.headers[CONTENT_TYPE], "text/plain; charset=utf-8");
            assert_eq!(raw.headers["x-content-type-options"], "nosniff");
            assert!(raw.headers["content-disposition"].to_str().unwrap().starts_with("attachment"));
        }
    }
}

#[tokio::test]
async fn long_and_broken_content_is_bounded() {
    let world = World::new();
    let (path, name) = world.bin(json!({})).await;
    assert_eq!(world.post(&path, &vec![b'x'; 3 << 20]).await.status, StatusCode::OK);
    world.post(&path, b"\xf0\x28\x8c\x28 broken").await;
    let first = &world.get(&format!("/api/bins/{name}/requests")).await.json()["requests"][0];
    assert_eq!((&first["body_bytes"], &first["is_cut"]), (&json!(3 << 20), &json!(true)));
    let page = world.get(&format!("/bins/{name}/requests/1")).await;
    assert!(page.body.len() < 300 * 1_024 && page.text().contains("longer than what is shown"));
    assert!(world.get(&format!("/bins/{name}/requests/2")).await.text().contains("broken"));
    let refused = world.post(&path, &vec![b'x'; (32 << 20) + 1]).await;
    assert_eq!(refused.status, StatusCode::PAYLOAD_TOO_LARGE);
}
