//! Who is let in, and for how long.

use serde_json::json;

use super::Visitor;
use crate::system::System;

const HOME: &str = "/console";

async fn make_key(system: &System, role: &str) -> (String, String) {
    let request = testkit::http::post(system.url("/v1/keys")).basic_auth("api", "key-demo");
    let made = request.form(&[("role", role)]).send().await.expect("answered");
    let key = made.expect_status(200).json()["key"].clone();
    let text = |name: &str| key[name].as_str().expect(name).to_owned();
    (text("id"), text("secret"))
}

#[tokio::test]
async fn nobody_sees_anything_without_a_key() {
    let system = System::start(&[]).await;
    let mut visitor = Visitor::new(&system);
    let answer = visitor.send(visitor.get("/")).await.expect_status(303);
    assert_eq!(answer.header("location"), Some(HOME));
    let answer = visitor.send(visitor.get(HOME)).await.expect_status(303);
    assert_eq!(answer.header("location"), Some("/console/sign-in"));
    let part = visitor.get(HOME).header("hx-request", "true");
    let answer = visitor.send(part).await.expect_status(204);
    assert_eq!(answer.header("hx-redirect"), Some("/console/sign-in"));

    let wrong = visitor.form("/console/sign-in", &[("api_key", "key-nobody")]);
    let answer = visitor.send(wrong).await.expect_status(401);
    assert!(answer.text().contains("not a valid API key") && answer.header("set-cookie").is_none());
    let empty = visitor.form("/console/sign-in", &[]);
    visitor.send(empty).await.expect_status(400);

    visitor.sign_in("key-demo").await;
    assert!(visitor.look(HOME).await.contains("Overview"));
    // The key itself is nowhere to be seen.
    let shown = visitor.page.clone() + &format!("{:?}", visitor.cookies);
    assert!(!shown.contains("key-demo"), "{shown}");
    visitor.submit("/console/sign-out", &[]).await.expect_status(303);
    visitor.send(visitor.get(HOME)).await.expect_status(303);
}

#[tokio::test]
async fn a_sign_in_leads_to_the_page_that_was_asked_for_and_never_elsewhere() {
    let system = System::start(&[]).await;
    let mut visitor = Visitor::new(&system);
    let asked = "/console?range=7d&a=%3Cb%3E";
    let answer = visitor.send(visitor.get(asked)).await.expect_status(303);
    let to = answer.header("location").expect("leads on").to_owned();
    let page = visitor.send(visitor.get(&to)).await.expect_status(200).text();
    assert!(page.contains("value=\"/console?range=7d&#38;a=%3Cb%3E\""), "{page}");
    for (next, leads_to) in [
        (asked, asked),
        ("//evil.example", HOME),
        ("https://evil.example/console", HOME),
        ("/console.evil.example", HOME),
        ("/console\\evil", HOME),
    ] {
        let fields = [("api_key", "key-demo"), ("next", next)];
        let answer = visitor.send(visitor.form("/console/sign-in", &fields)).await;
        assert_eq!(answer.expect_status(303).header("location"), Some(leads_to), "{next}");
    }
}

#[tokio::test]
async fn what_was_planted_before_a_sign_in_is_worth_nothing_after_it() {
    let system = System::start(&[]).await;
    let mut attacker = Visitor::signed_in(&system, "key-demo").await;
    system.create_account("other", None).await;
    let planted = attacker.cookies.clone();
    attacker.look(HOME).await;

    let mut visitor = Visitor::new(&system);
    visitor.cookies = planted.clone();
    visitor.sign_in("key-other").await;
    assert_ne!(visitor.cookies, planted, "a sign-in always makes a session anew");
    visitor.look(HOME).await;
    assert_ne!(visitor.token(), attacker.token());
    let token = attacker.token().to_owned();
    // Nor does a token of another session send a form of this one.
    let forged = visitor.form("/console/sign-out", &[("form_token", &token)]);
    visitor.send(forged).await.expect_status(403);
}

#[tokio::test]
async fn a_form_of_another_site_changes_nothing() {
    let system = System::start(&[]).await;
    let mut visitor = Visitor::signed_in(&system, "key-demo").await;
    visitor.look(HOME).await;
    let token = visitor.token().to_owned();
    let good = [("form_token", token.as_str())];
    for (fields, header) in [
        (&[][..], None),
        (&[("form_token", "00")][..], None),
        (&good[..], Some(("sec-fetch-site", "cross-site"))),
        (&good[..], Some(("sec-fetch-site", "same-site"))),
        (&good[..], Some(("origin", "https://evil.example"))),
        (&good[..], Some(("origin", "null"))),
    ] {
        let mut request = visitor.form("/console/sign-out", fields);
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        let answer = visitor.send(request).await.expect_status(403);
        assert!(answer.header("set-cookie").is_none(), "{header:?}");
    }
    // Nor is anybody signed in to another's account that way.
    let planted = visitor.form("/console/sign-in", &[("api_key", "key-demo")]);
    visitor.send(planted.header("sec-fetch-site", "cross-site")).await.expect_status(403);
    visitor.look(HOME).await;
    visitor.submit("/console/sign-out", &[]).await.expect_status(303);
}

#[tokio::test]
async fn a_session_ends_with_its_key() {
    let system = System::start(&[]).await;
    let (id, secret) = make_key(&system, "basic").await;
    let mut visitor = Visitor::signed_in(&system, &secret).await;
    assert!(visitor.look(HOME).await.contains("read only"));
    let request = testkit::http::delete(system.url(&format!("/v1/keys/{id}")));
    request.basic_auth("api", "key-demo").send().await.expect("answered").expect_status(200);
    let answer = visitor.send(visitor.get(HOME)).await.expect_status(303);
    assert_eq!(answer.header("location"), Some("/console/sign-in?expired"));
    assert!(visitor.cookies.values().all(String::is_empty), "{:?}", visitor.cookies);

    // A key that can only send sees nothing at all.
    let (_, secret) = make_key(&system, "sending").await;
    let request = visitor.form("/console/sign-in", &[("api_key", &secret)]);
    visitor.send(request).await.expect_status(403);
}

#[tokio::test]
async fn who_tries_many_keys_has_to_wait() {
    let system = System::start(&[("CONSOLE_PROXIES", "1")]).await;
    let mut visitor = Visitor::new(&system);
    let mut statuses = Vec::new();
    for number in 0..11 {
        let key = format!("key-{number}");
        let request = visitor.form("/console/sign-in", &[("api_key", &key)]);
        let request = request.header("x-forwarded-for", "192.0.2.7");
        statuses.push(visitor.send(request).await.status);
    }
    assert_eq!(statuses[..10], [401; 10]);
    assert_eq!(statuses[10], 429);
    let elsewhere = visitor.form("/console/sign-in", &[("api_key", "key-demo")]);
    let elsewhere = elsewhere.header("x-forwarded-for", "192.0.2.7, 192.0.2.8");
    visitor.send(elsewhere).await.expect_status(303);
}

#[tokio::test]
async fn the_console_has_calls_of_its_own_also_from_another_process() {
    let mut system = System::start_apart(&[("SETTINGS_RATE_LIMIT", "3")]).await;
    system.run("console", None).await;
    let base = format!("http://{}", system.setting("CONSOLE_ADDR"));
    let mut visitor = Visitor::at(base);
    visitor.sign_in("key-demo").await;
    assert!(visitor.look(HOME).await.contains("demo"));

    let list = || async {
        let request = testkit::http::get(system.url("/v1/webhooks")).basic_auth("api", "key-demo");
        request.send().await.expect("answered")
    };
    for _ in 0..3 {
        list().await.expect_status(200);
    }
    list().await.expect_status(429);
    // What only looks like the console is not.
    let request = testkit::http::get(system.url("/v1/webhooks")).basic_auth("api", "key-demo");
    let request = request.header("x-postrider-console", "AAAA");
    request.send().await.expect("answered").expect_status(429);

    // Without the APIs there is no page, and no session is lost.
    system.kill9("settings-api").await;
    let answer = visitor.send(visitor.get(HOME)).await.expect_status(502);
    assert!(answer.text().contains("Not just now"), "{}", json!(answer.text()));
}

#[tokio::test]
async fn people_and_programs_have_budgets_of_their_own() {
    let limits = [("SETTINGS_RATE_LIMIT", "3"), ("CONSOLE_RATE_LIMIT", "30")];
    let system = System::start(&limits).await;
    let calls = async |most: usize| {
        for made in 0..most {
            let call = testkit::http::get(system.url("/v1/webhooks")).basic_auth("api", "key-demo");
            if call.send().await.expect("answered").status == 429 {
                return made;
            }
        }
        most
    };
    let mut visitor = Visitor::signed_in(&system, "key-demo").await;
    // A minute may end in between, and with it what was counted: once more then.
    assert!(calls(7).await < 7, "a program has used its calls up");
    visitor.look("/console/alerts").await;
    let mut looks = 0;
    let refused = loop {
        let answer = visitor.send(visitor.get("/console/alerts")).await;
        looks += 1;
        if answer.status != 200 {
            break answer;
        }
        assert!(looks < 70, "somebody looks without end");
    };
    let page = refused.expect_status(429).text();
    assert!(page.contains("Too many requests"), "{page}");
}
