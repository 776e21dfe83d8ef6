//! Whatever customers, senders and receivers write is text on a page, and nothing else.

use std::collections::BTreeSet;

use protocol::v1::Event;
use serde_json::{Value, json};
use testkit::http::{get, post, put};
use testkit::{Browser, Look, Page, Reply, free_port};

use super::sign_in;
use crate::system::{SOON, System, example};

/// Stands in every payload, so that it is known which of them are shown.
const MARK: &str = "zq7";
const DOMAIN: &str = "mail.demo.example";

/// Texts that have been taken for something else before, in one browser or another.
fn payloads() -> Vec<String> {
    let script = "window.taken=1";
    let tags = [
        "<script>{}</script>",
        "<img src=x onerror={}>",
        "<svg onload={}>",
        "<svg><animate onbegin={} attributeName=x dur=1s>",
        "<iframe srcdoc='<script>{}</script>'>",
        "<body onload={}>",
        "<details open ontoggle={}>",
        "<a href=javascript:{}>a</a>",
        "<form action=javascript:{}><button>",
        "<base href=//evil.example/>",
        "<meta http-equiv=refresh content='0;url=//evil.example'>",
        "<link rel=stylesheet href=//evil.example>",
        "<style>*{display:none}</style>",
        "<input autofocus onfocus={}>",
        "<div hx-get=/console hx-trigger=load>",
        "<p hx-on::load={} data-hx-get=/>",
        "<dialog open>",
        "<math><mtext><script>{}</script>",
        "<template><script>{}</script></template>",
        "<object data=javascript:{}>",
        "<!--",
        "-->",
        "<![CDATA[",
        "<?php echo 1 ?>",
        "</option></select>",
    ];
    let closers =
        ["", "\"", "'", "\">", "'>", "</title>", "</textarea>", "</pre>", "</script>", "-->"];
    let mut payloads = Vec::new();
    for tag in tags {
        for closer in closers {
            payloads.push(format!("{closer}{MARK}{}", tag.replace("{}", script)));
        }
    }
    payloads.extend(
        [
            "&lt;script&gt;",
            "&#60;script&#62;",
            "&amp;",
            "&",
            "&quot;onclick=x",
            "\\u003cscript\\u003e",
            "\u{202e}evil\u{2066}\u{2069}",
            "\u{200b}\u{feff}\u{2028}\u{2029}",
            "\u{fffd}\u{ffff}",
            "{{7*7}}",
            "${7*7}",
            "{%raw%}",
            "\" onmouseover=\"window.taken=1\" x=\"",
            "` onerror=x `",
            "javascript:window.taken=1",
            "data:text/html,<script>x</script>",
            "//evil.example",
            "\u{1}\u{7}\u{8}\u{b}\u{1b}[31m\u{7f}\u{85}",
            "\u{ff1c}script\u{ff1e}",
            "🐎\u{200d}🔥",
        ]
        .map(|text| format!("{MARK}{text}")),
    );
    payloads
}

/// What a real parser makes of a page: its elements, with attributes that lead
/// somewhere or do something, and its text.
const PARSED: &str = r"(html => { const page = new DOMParser().parseFromString(html, 'text/html');
  const all = [...page.querySelectorAll('*')];
  return {
    elements: [...new Set(all.map(it => it.localName))],
    attributes: [...new Set(all.flatMap(it => it.getAttributeNames()))],
    urls: [...new Set(all.flatMap(it => ['href', 'src', 'action', 'formaction', 'hx-get', 'hx-post']
      .map(name => it.getAttribute(name)).filter(url => url !== null)))],
    comments: html.includes('<!--'),
    text: [page.body.textContent, ...all.map(it => it.getAttribute('value') || '')].join('\n')
  }; })";

/// Elements of ours.
const ELEMENTS: &str = "html head meta title link script body a header div img nav form input span \
    button main h1 h2 p section table thead tbody tr th td code details summary label dialog ol li \
    fieldset legend select option small dl dt dd pre strong datalist textarea";
/// Attributes of ours.
const ATTRIBUTES: &str = "lang charset name content rel href type src defer class id alt title \
    aria-label aria-current aria-labelledby method action value formaction scope data-label open \
    tabindex role required maxlength autofocus placeholder list autocomplete popover popovertarget \
    checked selected disabled hx-post hx-select hx-target hx-swap hx-disabled-elt hx-get hx-trigger \
    rows inputmode spellcheck min max step";

/// Panics unless all of this page is ours. Returns its text.
async fn is_ours(page: &Page, html: &str, name: &str) -> String {
    let parsed = page.eval(&format!("{PARSED}({})", json!(html))).await;
    let known = |list: &'static str| list.split_whitespace().collect::<BTreeSet<_>>();
    for (what, ours) in [("elements", known(ELEMENTS)), ("attributes", known(ATTRIBUTES))] {
        for found in parsed[what].as_array().expect("a list") {
            let found = found.as_str().expect("a name");
            assert!(ours.contains(found), "{name}: {found:?} among the {what}");
        }
    }
    for url in parsed["urls"].as_array().expect("a list") {
        let url = url.as_str().expect("a URL");
        let is_ours = ["/console", "/assets/", "?", "#", "/bins"];
        assert!(
            url == "/" || is_ours.iter().any(|start| url.starts_with(start)),
            "{name}: {url:?}"
        );
        assert!(!url.starts_with("//"), "{name}: {url:?}");
    }
    assert_eq!(parsed["comments"], false, "{name}: a comment, which we never write");
    parsed["text"].as_str().expect("a text").to_owned()
}

/// A text without what no form of HTML keeps as it is.
fn essence(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace() && !c.is_control()).collect()
}

struct World {
    system: System,
    page: Page,
    cookie: String,
    token: String,
    _browser: Browser,
}

impl World {
    async fn new() -> Self {
        let settings = [
            ("SETTINGS_RATE_LIMIT", "1000000"),
            ("CONSOLE_RATE_LIMIT", "1000000"),
            ("QUOTA_API_KEYS", "10000"),
            ("QUOTA_SUBACCOUNTS", "10000"),
        ];
        let (system, browser) = tokio::join!(System::start(&settings), Browser::start());
        let page = browser.page(Look::DESK).await;
        sign_in(&page, &system, "key-demo").await;
        let cookie = page.cookies().await;
        let token = page.eval("document.querySelector('[name=form_token]').value").await;
        let token = token.as_str().expect("a token").to_owned();
        Self { system, page, cookie, token, _browser: browser }
    }

    async fn html(&self, path: &str) -> String {
        let request = get(self.system.url(path)).header("cookie", &self.cookie);
        request.send().await.expect("answered").text()
    }

    /// Panics unless all of this page is ours, and has these texts on it.
    async fn shows(&self, path: &str, texts: &[&str]) {
        let html = self.html(path).await;
        let found = essence(&is_ours(&self.page, &html, path).await);
        for text in texts {
            assert!(found.contains(&essence(text)), "{path} does not show {text:?}");
        }
    }

    async fn post(&self, path: &str, body: &Value) -> u16 {
        let request = post(self.system.url(path)).basic_auth("api", "key-demo").json(body);
        request.send().await.expect("answered").status
    }

    /// A form of the console, as typed by somebody. Returns the page.
    async fn typed(&self, path: &str, fields: &[(&str, &str)]) -> String {
        let fields = [&[("form_token", self.token.as_str())], fields].concat();
        let request = post(self.system.url(path)).header("cookie", &self.cookie).form(&fields);
        request.send().await.expect("answered").text()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_webhooks_are_texts_in_their_list_and_on_their_pages() {
    let world = World::new().await;
    let payloads = payloads();
    assert!(payloads.len() > 250, "{}", payloads.len());
    let mut as_they_are = 0;
    for (number, payload) in payloads.iter().enumerate() {
        let make = async |url: &str| {
            let webhook = json!({"url": url, "event_types": ["opened"], "description": payload});
            let made = post(world.system.url("/v1/webhooks")).basic_auth("api", "key-demo");
            let made = made.json(&webhook).send().await.expect("answered");
            (made.status == 200).then(|| made.json()["webhook_id"].as_str().map(str::to_owned))
        };
        // Wherever the APIs take a text as it is; what they refuse is in nobody's way.
        let mut url = format!("https://hooks.example.net/{number}?{payload}");
        let made = match make(&url).await {
            Some(made) => {
                as_they_are += 1;
                made
            }
            None => {
                url = format!("https://hooks.example.net/{number}?{}", form_urlencoded(payload));
                make(&url).await.expect("an encoded URL is taken, and every description")
            }
        };
        let id = made.expect("an id");
        world.shows("/console/webhooks", &[&url, payload]).await;
        let one = format!("/console/webhook?id={id}&url={}", form_urlencoded(&url));
        world.shows(&one, &[&url, payload]).await;
        // An event type has three URLs at most.
        let delete = testkit::http::delete(world.system.url(&format!("/v1/webhooks/{id}")));
        delete.basic_auth("api", "key-demo").send().await.expect("answered").expect_status(204);
    }
    assert!(as_they_are > 50, "only {as_they_are} were taken as they are");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_typed_and_refused_comes_back_as_text() {
    let world = World::new().await;
    let queries = [
        "webhooks?search=",
        "webhooks?domain=",
        "domains?search=",
        "sign-in?next=",
        "webhook?url=",
        "alert?id=",
        "subaccounts?skip=",
    ];
    for (number, payload) in payloads().iter().enumerate() {
        let text = payload.as_str();
        let webhook =
            [("url", text), ("level", "account"), ("description", text), ("event_types", text)];
        let alert = [("event_type", text), ("channel", "email"), ("emails", text)];
        for (path, fields) in [
            ("/console/webhooks/new", &webhook[..]),
            ("/console/alerts/new", &alert[..]),
            ("/console/domains", &[("create", ""), ("name", text)][..]),
            ("/console/alerts/contact", &[("contact_email", text)][..]),
        ] {
            let page = world.typed(path, fields).await;
            let found = is_ours(&world.page, &page, path).await;
            assert!(essence(&found).contains(&essence(text.trim())), "{path}: {payload:?}");
        }
        let query = queries[number % queries.len()];
        let html = world.html(&format!("/console/{query}{}", form_urlencoded(payload))).await;
        is_ours(&world.page, &html, query).await;
    }
    assert_eq!(world.page.complaints(), [""; 0]);
}

fn form_urlencoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_names_and_answers_are_texts_and_nothing_of_them_runs() {
    let world = World::new().await;
    let payloads = payloads();
    for payload in &payloads {
        let short: String = payload.chars().take(120).collect();
        let key = json!({"role": "basic", "description": short});
        world.post("/v1/keys", &key).await;
        let path = format!("/v5/accounts/subaccounts?name={}", form_urlencoded(&short));
        world.post(&path, &json!({})).await;
    }
    // All of them at once, and as a browser has them: nothing runs, nothing is asked for.
    for path in ["security", "subaccounts", "subaccounts?skip=50", "subaccounts?skip=200"] {
        let html = world.html(&format!("/console/{path}")).await;
        let text = is_ours(&world.page, &html, path).await;
        assert!(text.matches(MARK).count() > 30, "{path} shows them");
        world.page.go(&world.system.url(&format!("/console/{path}"))).await;
        assert_eq!(world.page.eval("window.taken").await, Value::Null, "{path}");
    }
    let name = json!({"name": format!("\"><script>window.taken=1</script>{MARK}")});
    let rename = put(world.system.url("/v5/accounts")).basic_auth("api", "key-demo").json(&name);
    rename.send().await.expect("answered").expect_status(200);

    // What a receiver says to a test.
    let url = world.system.receiver.url("/says");
    let webhook = json!({"url": url, "event_types": ["clicked"]});
    assert_eq!(world.post(&format!("/v4/domains/{DOMAIN}/webhooks"), &webhook).await, 200);
    let one = format!("/console/webhook?domain={DOMAIN}&url={}", form_urlencoded(&url));
    let fields =
        [("domain", DOMAIN), ("was", url.as_str()), ("event_type", "clicked"), ("test", "yes")];
    let long = format!("{MARK}{}", "<b>x".repeat(1 << 18)).into_bytes();
    let invalid = [b"<script>".as_slice(), &[0xff, 0xfe, 0, 0xc0, 0x80], MARK.as_bytes()].concat();
    let bodies =
        payloads.iter().step_by(7).map(|text| text.clone().into_bytes()).chain([long, invalid]);
    for body in bodies {
        world.system.receiver.on_post("/says", [Reply::status(500).body(body.clone())]);
        let page = world.typed("/console/webhook", &fields).await;
        let text = is_ours(&world.page, &page, "what a receiver says").await;
        let said: String = String::from_utf8_lossy(&body).chars().take(500).collect();
        let said: String = essence(&said).replace('\u{fffd}', "");
        assert!(essence(&text).replace('\u{fffd}', "").contains(&said), "{said:?}");
    }
    // In the page itself too, by the script that fetches a part of it.
    world.system.receiver.on_post("/says", [Reply::status(500).body(payloads.concat())]);
    world.page.go(&world.system.url(&one)).await;
    world.page.click("[name=test]").await;
    let answered = "new Promise(done => { const look = () => document.querySelector('#answer')\
        .textContent ? done(document.querySelectorAll('#answer *').length) : setTimeout(look, 20); look(); })";
    assert_eq!(world.page.eval(answered).await, 4, "a line with two words, and the answer");
    assert_eq!(world.page.eval("window.taken").await, Value::Null);
    assert_eq!(world.page.complaints(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_requests_are_texts_in_the_request_bin() {
    let bin = format!("127.0.0.1:{}", free_port().expect("a free port"));
    let mut system = System::start(&[("REQUEST_BIN_ADDR", &bin)]).await;
    system.run("request-bin", None).await;
    let browser = Browser::start().await;
    let page = browser.page(Look::DESK).await;
    page.go(&format!("http://{bin}/")).await;
    page.click_to(".main-action").await;
    let url = page.eval("document.querySelector('.copy').textContent").await;
    let url = url.as_str().expect("a URL").to_owned();
    let place = page.eval("location.href").await.as_str().expect("a URL").to_owned();
    for (number, payload) in payloads().iter().enumerate() {
        let header: String =
            payload.chars().filter(|c| c.is_ascii() && !c.is_ascii_control()).collect();
        let path = format!(
            "{url}/{}?{}",
            form_urlencoded(payload).replace('+', "%20"),
            form_urlencoded(payload)
        );
        let mut request =
            post(path).header("x-hostile", &header).form(&[("text", payload.as_str())]);
        if number % 2 == 0 {
            request = request.json(&json!({"text": payload, payload.as_str(): [payload]}));
        }
        request.send().await.expect("taken").expect_status(200);
        let html = get(format!("{place}/requests/{}", number + 1)).send().await.expect("answered");
        let text = is_ours(&page, &html.text(), "a request").await;
        assert!(essence(&text).contains(&essence(&header)), "{header:?}");
    }
    let html = get(place.clone()).send().await.expect("answered").text();
    is_ours(&page, &html, "a bin").await;
    page.go(&place).await;
    assert_eq!(page.eval("window.taken").await, Value::Null);
    assert_eq!(page.complaints(), [""; 0]);
}

/// A click of which every text is this one. Control characters are refused at the door.
fn click(number: usize, payload: &str) -> Event {
    let payload: String = payload.chars().filter(|c| !c.is_control()).collect();
    let payload = payload.as_str();
    let mut click = serde_json::to_value(example("clicked")).expect("an event");
    let printable: String = payload.chars().filter(|c| matches!(c, ' '..='~')).take(90).collect();
    click["id"] = format!("{number}-{printable}").into();
    let clicked = &mut click["clicked"];
    clicked["url"] = format!("https://books.example/?{payload}").into();
    clicked["labels"] = json!({"tags": [payload], "user_variables": {payload: payload}});
    clicked["geolocation"]["city"] = payload.into();
    clicked["client_info"]["user_agent"] = payload.into();
    clicked["recipient_provider"] = payload.into();
    for header in ["from", "to", "subject"] {
        clicked["message"]["headers"][header] = payload.into();
    }
    serde_json::from_value(click).expect("an event")
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_events_are_texts_in_lists_and_on_their_journeys() {
    let world = World::new().await;
    let payloads = payloads();
    let url = world.system.receiver.url("/says");
    world.system.add_domain_webhook("demo", DOMAIN, "clicked", &[&url]).await;
    // What is answered with 406 is not sent a second time.
    let answers = payloads.iter().map(|text| Reply::status(406).body(text.clone().into_bytes()));
    world.system.receiver.on_post("/says", answers);
    let clicks = payloads.iter().enumerate().map(|(number, payload)| click(number, payload));
    let clicks: Vec<Event> = clicks.collect();
    let ids: Vec<String> = clicks.iter().map(|click| click.id.clone()).collect();
    world.system.publish_all(clicks).await;
    let ended = "SELECT count(*) FROM ends WHERE outcome = 'rejected'";
    testkit::eventually(SOON, "all of them to be rejected", || async {
        (world.system.sql(ended).trim() == payloads.len().to_string()).then_some(())
    })
    .await;

    // All pages of both lists.
    for first in ["/console/events?event=clicked", "/console/failures?status=406"] {
        let mut seen = 0;
        let mut next = Some(first.to_owned());
        while let Some(path) = next {
            let html = world.html(&path).await;
            let text = is_ours(&world.page, &html, &path).await;
            seen += text.matches(MARK).count();
            let older = html.split_once("\">Older</a>").map(|(before, _)| before);
            let link = older.and_then(|before| before.rsplit_once("href=\"")).map(|(_, link)| link);
            next = link.map(|link| link.replace("&#38;", "&"));
        }
        assert!(seen >= payloads.len(), "{first} shows {seen} of {}", payloads.len());
    }
    for (payload, id) in payloads.iter().zip(&ids).step_by(3) {
        let id: String = id.bytes().map(|byte| format!("%{byte:02x}")).collect();
        world.shows(&format!("/console/events/{id}"), &[payload]).await;
    }
    // As a browser has them: nothing runs, nothing is asked for.
    let one: String = ids[3].bytes().map(|byte| format!("%{byte:02x}")).collect();
    for path in ["/console/events", "/console/failures", &format!("/console/events/{one}")] {
        world.page.go(&world.system.url(path)).await;
        assert_eq!(world.page.eval("window.taken").await, Value::Null, "{path}");
    }
    assert_eq!(world.page.complaints(), [""; 0]);
}
