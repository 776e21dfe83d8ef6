//! What webhooks are, said as simply as can be: the rules of the reference
//! (§3 to §5) on lists in memory.

use std::collections::{BTreeMap, BTreeSet};

use model::{EventType, WebhookId};
use protocol::v1::Level;

const MOST: usize = 3;

/// What a write is answered with.
pub(super) enum Written {
    /// This status.
    Status(u16),
    /// All webhooks of the domain.
    Map,
}

#[derive(Default)]
pub(super) struct Model {
    /// By webhook id.
    domain: BTreeMap<String, Vec<String>>,
    /// Of the account, oldest first.
    hooks: Vec<Hook>,
    /// Of its parent.
    parent_hooks: Vec<Hook>,
    /// How many writes have changed something.
    pub(super) changes: usize,
}

struct Hook {
    id: String,
    url: String,
    types: Vec<String>,
}

fn is_web(url: &str) -> bool {
    url.starts_with("https://")
}

fn distinct(urls: &[&str]) -> Vec<String> {
    let mut distinct: Vec<String> = Vec::new();
    for url in urls {
        if !distinct.iter().any(|there| there == url) {
            distinct.push((*url).to_owned());
        }
    }
    distinct
}

impl Model {
    fn done(&mut self, written: Written) -> Written {
        self.changes += 1;
        written
    }

    /// Whether these URLs can be those of one id.
    fn fits(urls: &[&str]) -> bool {
        let urls = distinct(urls);
        (1..=MOST).contains(&urls.len()) && urls.iter().all(|url| is_web(url))
    }

    /// The domain's webhooks from now on, where there is room for it: three URLs of an event type,
    /// and one of an id from before 2018.
    fn becomes(&mut self, domain: BTreeMap<String, Vec<String>>, written: Written) -> Written {
        let of_type = |event_type: EventType| {
            let ids = WebhookId::ALL.into_iter().filter(move |id| id.event_type() == event_type);
            let urls = ids.filter_map(|id| domain.get(id.as_str())).flatten();
            urls.collect::<BTreeSet<_>>().len()
        };
        let old = WebhookId::ALL.into_iter().filter(|id| id.is_older());
        let mut old = old.filter_map(|id| domain.get(id.as_str()));
        if EventType::WEBHOOKS.into_iter().any(|it| of_type(it) > MOST)
            || old.any(|urls| urls.len() > 1)
        {
            return Written::Status(400);
        }
        self.domain = domain;
        self.done(written)
    }

    fn with(&self, id: &str, urls: &[&str]) -> BTreeMap<String, Vec<String>> {
        let mut domain = self.domain.clone();
        domain.insert(id.to_owned(), distinct(urls));
        domain
    }

    pub(super) fn create(&mut self, id: &str, urls: &[&str]) -> Written {
        if WebhookId::parse(id).is_none() || !Self::fits(urls) || self.domain.contains_key(id) {
            return Written::Status(400);
        }
        self.becomes(self.with(id, urls), Written::Status(200))
    }

    pub(super) fn update(&mut self, id: &str, urls: &[&str]) -> Written {
        if WebhookId::parse(id).is_none() {
            return Written::Status(404);
        }
        if !Self::fits(urls) {
            return Written::Status(400);
        }
        if !self.domain.contains_key(id) {
            return Written::Status(404);
        }
        self.becomes(self.with(id, urls), Written::Status(200))
    }

    pub(super) fn delete(&mut self, id: &str) -> Written {
        match self.domain.remove(id) {
            Some(_) => self.done(Written::Status(200)),
            None => Written::Status(404),
        }
    }

    /// Whether a URL and these types can be a request of version 4.
    fn is_pair(url: &str, types: &[&str]) -> bool {
        is_web(url)
            && !types.is_empty()
            && types.iter().all(|id| WebhookId::parse(id).is_some())
            && distinct(types).len() == types.len()
    }

    pub(super) fn add(&mut self, url: &str, types: &[&str]) -> Written {
        let is_free = |id: &&str| {
            let urls = self.domain.get(*id).map(Vec::as_slice).unwrap_or_default();
            urls.len() < MOST && !urls.iter().any(|there| there == url)
        };
        if !Self::is_pair(url, types) || !types.iter().all(is_free) {
            return Written::Status(400);
        }
        let mut domain = self.domain.clone();
        for id in types {
            domain.entry((*id).to_owned()).or_default().push(url.to_owned());
        }
        self.becomes(domain, Written::Map)
    }

    pub(super) fn replace(&mut self, url: &str, types: &[&str]) -> Written {
        if !Self::is_pair(url, types) {
            return Written::Status(400);
        }
        let has = |urls: &Vec<String>| urls.iter().any(|there| there == url);
        if !self.domain.values().any(has) {
            return Written::Status(404);
        }
        let is_full = |id: &&str| self.domain.get(*id).is_some_and(|u| u.len() >= MOST && !has(u));
        if types.iter().any(is_full) {
            return Written::Status(400);
        }
        let mut domain = self.domain.clone();
        for (id, urls) in &mut domain {
            if !types.contains(&id.as_str()) {
                urls.retain(|there| there != url);
            }
        }
        for id in types {
            let urls = domain.entry((*id).to_owned()).or_default();
            if !urls.iter().any(|there| there == url) {
                urls.push(url.to_owned());
            }
        }
        domain.retain(|_, urls| !urls.is_empty());
        self.becomes(domain, Written::Map)
    }

    pub(super) fn remove(&mut self, given: &str) -> Written {
        let stands = |url: &str| self.domain.values().flatten().any(|there| there == url);
        let gone: Vec<&str> = if stands(given) { vec![given] } else { given.split(',').collect() };
        if !gone.iter().any(|url| stands(url)) {
            return Written::Status(404);
        }
        for urls in self.domain.values_mut() {
            urls.retain(|there| !gone.contains(&there.as_str()));
        }
        self.domain.retain(|_, urls| !urls.is_empty());
        self.done(Written::Map)
    }

    fn of(&mut self, of_parent: bool) -> &mut Vec<Hook> {
        if of_parent { &mut self.parent_hooks } else { &mut self.hooks }
    }

    pub(super) fn hook_ids(&self, of_parent: bool) -> Vec<String> {
        let hooks = if of_parent { &self.parent_hooks } else { &self.hooks };
        hooks.iter().map(|hook| hook.id.clone()).collect()
    }

    /// Makes a webhook that got the id `made`, or changes the one with `id`.
    pub(super) fn save_hook(
        &mut self,
        of_parent: bool,
        id: Option<&str>,
        made: Option<String>,
        url: &str,
        types: &[&str],
    ) -> Written {
        if !is_web(url) {
            return Written::Status(400);
        }
        if types.iter().any(|name| EventType::parse(name).is_none()) {
            return Written::Status(404);
        }
        if types.is_empty() || distinct(types).len() != types.len() {
            return Written::Status(400);
        }
        let success = if id.is_some() { 204 } else { 200 };
        let hooks = self.of(of_parent);
        if id.is_some_and(|id| hooks.iter().all(|hook| hook.id != id)) {
            return Written::Status(404);
        }
        for name in types {
            let others = || {
                hooks
                    .iter()
                    .filter(|hook| Some(hook.id.as_str()) != id)
                    .filter(|hook| hook.types.iter().any(|wanted| wanted == name))
            };
            if others().any(|hook| hook.url == url) || others().count() >= MOST {
                return Written::Status(409);
            }
        }
        let types = distinct(types);
        let existing = hooks.iter_mut().find(|hook| Some(hook.id.as_str()) == id);
        match (existing, made) {
            (Some(hook), _) => (hook.url, hook.types) = (url.to_owned(), types),
            (None, Some(made)) => hooks.push(Hook { id: made, url: url.to_owned(), types }),
            // The service has refused what the model takes; the status tells.
            (None, None) => return Written::Status(success),
        }
        self.done(Written::Status(success))
    }

    pub(super) fn remove_hook(&mut self, of_parent: bool, id: &str) -> Written {
        let hooks = self.of(of_parent);
        let before = hooks.len();
        hooks.retain(|hook| hook.id != id);
        if hooks.len() == before {
            return Written::Status(404);
        }
        self.done(Written::Status(204))
    }

    /// The list of the domain's webhooks, to the last byte. Version 3 tells the ids from before
    /// 2018 in the form of then.
    pub(super) fn map(&self, version: u8) -> String {
        let ids = WebhookId::ALL.iter().filter_map(|id| {
            let urls = self.domain.get(id.as_str())?;
            let is_old = version == 3 && id.is_older();
            Some(format!(r#""{}":{}"#, id.as_str(), object(urls, is_old)))
        });
        format!("{{\"webhooks\":{{{}}}}}\n", ids.collect::<Vec<_>>().join(","))
    }

    /// The answer for one id that is configured.
    pub(super) fn one(&self, id: &str) -> Option<String> {
        let is_old = WebhookId::parse(id).is_some_and(WebhookId::is_older);
        self.domain.get(id).map(|urls| format!(r#"{{"webhook":{}}}"#, object(urls, is_old)))
    }

    /// Id, URL and event types of each account webhook, as JSON has them.
    pub(super) fn hooks(&self, of_parent: bool) -> Vec<String> {
        let hooks = if of_parent { &self.parent_hooks } else { &self.hooks };
        let types = |hook: &Hook| hook.types.join("\",\"");
        hooks
            .iter()
            .map(|hook| format!(r#""{}" "{}" ["{}"]"#, hook.id, hook.url, types(hook)))
            .collect()
    }

    /// Where an event goes, and on whose account: the parent, the account, the
    /// domain, each URL once.
    pub(super) fn fan_out(&self, event_type: EventType) -> Vec<(Level, String)> {
        let name = event_type.as_str();
        let mut out: Vec<(Level, String)> = Vec::new();
        let mut send = |level: Level, url: &str| {
            if !out.iter().any(|(_, there)| there == url) {
                out.push((level, url.to_owned()));
            }
        };
        for (hooks, level) in
            [(&self.parent_hooks, Level::ParentAccount), (&self.hooks, Level::Account)]
        {
            for hook in hooks.iter().filter(|hook| hook.types.iter().any(|wanted| wanted == name)) {
                send(level, &hook.url);
            }
        }
        for id in WebhookId::ALL.iter().filter(|id| id.event_type() == event_type) {
            for url in self.domain.get(id.as_str()).into_iter().flatten() {
                send(Level::Domain, url);
            }
        }
        out
    }
}

fn object(urls: &[String], is_old: bool) -> String {
    if is_old {
        return format!(r#"{{"url":"{}"}}"#, urls.join("\",\""));
    }
    format!(r#"{{"urls":["{}"]}}"#, urls.join("\",\""))
}
