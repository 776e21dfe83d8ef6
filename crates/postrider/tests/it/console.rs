//! The console, as somebody without JavaScript sees it.

mod deliveries;
mod sessions;

use std::collections::BTreeMap;

use testkit::http::{Request, Response};

use crate::system::System;

/// Somebody with a browser: keeps cookies, sends forms of the page that is open.
pub(crate) struct Visitor {
    base: String,
    cookies: BTreeMap<String, String>,
    /// The page that was looked at last.
    page: String,
}

impl Visitor {
    pub(crate) fn new(system: &System) -> Self {
        Self::at(system.url(""))
    }

    pub(crate) fn at(base: String) -> Self {
        Self { base, cookies: BTreeMap::new(), page: String::new() }
    }

    /// Somebody who has signed in with this key.
    pub(crate) async fn signed_in(system: &System, key: &str) -> Self {
        let mut visitor = Self::new(system);
        visitor.sign_in(key).await;
        visitor
    }

    pub(crate) async fn sign_in(&mut self, key: &str) {
        let answer = self.send(self.form("/console/sign-in", &[("api_key", key)])).await;
        assert_eq!(answer.expect_status(303).header("location"), Some("/console"));
    }

    /// A request with this visitor's cookies.
    pub(crate) fn get(&self, path: &str) -> Request {
        self.with_cookies(testkit::http::get(self.url(path)))
    }

    /// A form that is sent without a token.
    pub(crate) fn form(&self, path: &str, fields: &[(&str, &str)]) -> Request {
        self.with_cookies(testkit::http::post(self.url(path)).form(fields))
    }

    /// Looks at a page. Returns its text.
    pub(crate) async fn look(&mut self, path: &str) -> &str {
        let page = self.send(self.get(path)).await.expect_status(200).text();
        self.page = page;
        &self.page
    }

    /// Sends a form of the page that was looked at last.
    pub(crate) async fn submit(&mut self, path: &str, fields: &[(&str, &str)]) -> Response {
        let token = self.token().to_owned();
        let fields = [&[("form_token", token.as_str())], fields].concat();
        self.send(self.form(path, &fields)).await
    }

    /// The token of the forms on the page that was looked at last.
    pub(crate) fn token(&self) -> &str {
        let (_, rest) = self.page.split_once("name=\"form_token\" value=\"").expect("a form");
        rest.split('"').next().expect("the end of the token")
    }

    pub(crate) async fn send(&mut self, request: Request) -> Response {
        let answer = request.send().await.expect("answered");
        for (name, value) in &answer.headers {
            if name == "set-cookie" {
                let value = value.to_str().expect("text");
                let pair = value.split(';').next().expect("a pair");
                let (name, value) = pair.split_once('=').expect("a name");
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        answer
    }

    fn with_cookies(&self, request: Request) -> Request {
        let pairs: Vec<String> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if pairs.is_empty() { request } else { request.header("cookie", &pairs.join("; ")) }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }
}
