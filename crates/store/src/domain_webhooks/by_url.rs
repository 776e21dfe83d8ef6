//! Changes that are told by URL: decided on all webhooks of a domain at once.

use std::collections::BTreeSet;

use model::WebhookId;

use super::{DomainWebhook, MAX_URLS};
use crate::{StoreError, Thing};

type Webhooks = Vec<DomainWebhook>;

/// The URL at the end of each of these ids.
pub(super) fn add(
    mut webhooks: Webhooks,
    url: &str,
    event_types: &[&str],
) -> Result<Webhooks, StoreError> {
    for event_type in event_types {
        let urls = urls_of(&mut webhooks, event_type);
        if urls.iter().any(|there| there == url) {
            let (event_type, url) = ((*event_type).to_owned(), url.to_owned());
            return Err(StoreError::UrlExists { event_type, url });
        }
        push(urls, event_type, url)?;
    }
    Ok(webhooks)
}

/// The URL on exactly these ids. Where it is already it keeps its place.
pub(super) fn replace(
    mut webhooks: Webhooks,
    url: &str,
    event_types: &[&str],
) -> Result<Webhooks, StoreError> {
    if !stands(&webhooks, url) {
        return Err(StoreError::NotFound(Thing::Webhook));
    }
    for webhook in &mut webhooks {
        if !event_types.contains(&webhook.event_type.as_str()) {
            webhook.urls.retain(|there| there != url);
        }
    }
    for event_type in event_types {
        let urls = urls_of(&mut webhooks, event_type);
        if urls.iter().all(|there| there != url) {
            push(urls, event_type, url)?;
        }
    }
    Ok(webhooks)
}

/// None of these URLs any more.
pub(super) fn remove(mut webhooks: Webhooks, given: &[&str]) -> Result<Webhooks, StoreError> {
    let mut urls: Vec<&str> = Vec::new();
    for text in given {
        if stands(&webhooks, text) {
            urls.push(text);
        } else {
            // A comma may be part of a URL, so that it separates only what is
            // not a URL as a whole.
            urls.extend(text.split(',').map(str::trim));
        }
    }
    let before = count(&webhooks);
    for webhook in &mut webhooks {
        webhook.urls.retain(|there| !urls.contains(&there.as_str()));
    }
    if count(&webhooks) < before { Ok(webhooks) } else { Err(StoreError::NotFound(Thing::Webhook)) }
}

/// One id with the URLs of this webhook, the others as they are.
pub(super) fn with(webhooks: &[DomainWebhook], webhook: &DomainWebhook) -> Webhooks {
    let others = webhooks.iter().filter(|other| other.event_type != webhook.event_type);
    others.chain([webhook]).cloned().collect()
}

/// Refuses more URLs than there may be: three of an event type, whichever of its ids have them,
/// and one of an id from before 2018. What has more already may become less.
pub(super) fn check_room(
    before: &[DomainWebhook],
    after: &[DomainWebhook],
) -> Result<(), StoreError> {
    for id in WebhookId::ALL {
        let of_id = |webhooks: &[DomainWebhook]| {
            let urls = webhooks.iter().filter(|webhook| webhook.event_type == id.as_str());
            urls.map(|webhook| webhook.urls.len()).sum::<usize>()
        };
        let of_type = |webhooks: &[DomainWebhook]| {
            let is_of_type = |webhook: &&DomainWebhook| {
                WebhookId::parse(&webhook.event_type)
                    .is_some_and(|other| other.event_type() == id.event_type())
            };
            let urls = webhooks.iter().filter(is_of_type).flat_map(|webhook| &webhook.urls);
            urls.collect::<BTreeSet<_>>().len()
        };
        let most_of_id = if id.is_older() { 1 } else { MAX_URLS };
        let is_over = |count: usize, before: usize, most| count > most && count > before;
        if is_over(of_id(after), of_id(before), most_of_id) {
            return Err(StoreError::TooManyUrls {
                event_type: id.as_str().to_owned(),
                most: most_of_id,
            });
        }
        if is_over(of_type(after), of_type(before), MAX_URLS) {
            let event_type = id.event_type().as_str().to_owned();
            return Err(StoreError::TooManyUrls { event_type, most: MAX_URLS });
        }
    }
    Ok(())
}

/// How many URLs there are, over all ids.
pub(super) fn count(webhooks: &[DomainWebhook]) -> usize {
    webhooks.iter().map(|webhook| webhook.urls.len()).sum()
}

/// Those of `after` whose URLs are others than before.
pub(super) fn changed(before: &[DomainWebhook], after: &[DomainWebhook]) -> Webhooks {
    after.iter().filter(|webhook| !before.contains(webhook)).cloned().collect()
}

/// Those that have URLs.
pub(super) fn configured(mut webhooks: Webhooks) -> Webhooks {
    webhooks.retain(|webhook| !webhook.urls.is_empty());
    webhooks
}

fn stands(webhooks: &[DomainWebhook], url: &str) -> bool {
    webhooks.iter().any(|webhook| webhook.urls.iter().any(|there| there == url))
}

/// The URLs of an id; none yet when it is not configured.
fn urls_of<'a>(webhooks: &'a mut Webhooks, event_type: &str) -> &'a mut Vec<String> {
    let index = webhooks.iter().position(|webhook| webhook.event_type == event_type);
    let index = index.unwrap_or_else(|| {
        webhooks.push(DomainWebhook { event_type: event_type.to_owned(), urls: Vec::new() });
        webhooks.len() - 1
    });
    &mut webhooks[index].urls
}

fn push(urls: &mut Vec<String>, event_type: &str, url: &str) -> Result<(), StoreError> {
    if urls.len() >= MAX_URLS {
        return Err(StoreError::TooManyUrls { event_type: event_type.to_owned(), most: MAX_URLS });
    }
    urls.push(url.to_owned());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `clicked: a b, opened: c`
    fn webhooks(text: &str) -> Webhooks {
        let ids = text.split(", ").filter(|id| !id.is_empty());
        ids.map(|id| {
            let (event_type, urls) = id.split_once(": ").expect("an id and its URLs");
            DomainWebhook {
                event_type: event_type.to_owned(),
                urls: urls.split(' ').map(str::to_owned).collect(),
            }
        })
        .collect()
    }

    fn text(webhooks: Webhooks) -> String {
        let ids = configured(webhooks).into_iter();
        let ids = ids.map(|id| format!("{}: {}", id.event_type, id.urls.join(" ")));
        ids.collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn a_url_is_added_to_all_types_or_to_none() {
        let add = |before: &str, types: &[&str]| add(webhooks(before), "u", types).map(text);
        assert_eq!(add("", &["opened"]).expect("added"), "opened: u");
        assert_eq!(
            add("clicked: a b, opened: c", &["accepted", "clicked"]).expect("added"),
            "clicked: a b u, opened: c, accepted: u"
        );
        let full = add("clicked: a, opened: b c d", &["clicked", "opened"]);
        let Err(StoreError::TooManyUrls { event_type, .. }) = full else { panic!("{full:?}") };
        assert_eq!(event_type, "opened");
        let there = add("clicked: a, opened: u", &["clicked", "opened"]);
        let Err(StoreError::UrlExists { event_type, url }) = there else { panic!("{there:?}") };
        assert_eq!((event_type.as_str(), url.as_str()), ("opened", "u"));
        // Three others and the URL itself: that it is there says more.
        let there = add("opened: a b u", &["opened"]);
        assert!(matches!(there, Err(StoreError::UrlExists { .. })), "{there:?}");
    }

    #[test]
    fn a_replaced_url_keeps_its_place_where_it_stays() {
        let replace =
            |before: &str, types: &[&str]| replace(webhooks(before), "u", types).map(text);
        assert_eq!(
            replace("clicked: u a, drop: u, opened: b u c", &["opened", "accepted"])
                .expect("replaced"),
            "clicked: a, opened: b u c, accepted: u"
        );
        let nowhere = replace("clicked: a", &["clicked"]);
        assert!(matches!(nowhere, Err(StoreError::NotFound(Thing::Webhook))), "{nowhere:?}");
        let full = replace("clicked: u, opened: a b c", &["opened"]);
        assert!(matches!(full, Err(StoreError::TooManyUrls { .. })), "{full:?}");
    }

    #[test]
    fn commas_separate_only_what_is_no_url_as_a_whole() {
        let before = "clicked: a b, opened: a,b c";
        let remove = |given: &[&str]| remove(webhooks(before), given).map(text);
        assert_eq!(remove(&["a,b"]).expect("removed"), "clicked: a b, opened: c");
        assert_eq!(remove(&["a,c"]).expect("removed"), "clicked: b, opened: a,b");
        assert_eq!(remove(&["b, x", "c"]).expect("removed"), "clicked: a, opened: a,b");
        assert_eq!(remove(&["a,b", "a", "b", "c"]).expect("removed"), "");
        for none in [&["x"][..], &["x,y"], &[""], &[]] {
            let none = remove(none);
            assert!(matches!(none, Err(StoreError::NotFound(Thing::Webhook))), "{none:?}");
        }
    }

    #[test]
    fn only_what_changed_is_written() {
        let before = webhooks("clicked: a b, opened: c");
        let after = remove(before.clone(), &["c"]).expect("removed");
        let changed = changed(&before, &after);
        assert_eq!(changed.len(), 1);
        assert_eq!((changed[0].event_type.as_str(), changed[0].urls.len()), ("opened", 0));
    }

    #[test]
    fn old_and_new_ids_of_a_type_share_its_room() {
        let room = |before, after| check_room(&webhooks(before), &webhooks(after)).is_ok();
        assert!(room("delivered: a b", "delivered: a b, deliver: c"));
        assert!(room("delivered: a b c", "delivered: a b c, deliver: c"), "it is one of the three");
        assert!(!room("delivered: a b c", "delivered: a b c, deliver: d"));
        assert!(!room("deliver: d", "deliver: d, delivered: a b c"));
        assert!(!room("bounce: a, drop: b", "bounce: a, drop: b, permanent_fail: c d"));
        assert!(!room("", "deliver: a b"), "an id from before 2018 has one URL");
        assert!(room("delivered: a b c, deliver: d e", "delivered: a b c, deliver: d"));
        assert!(!room("clicked: a b c", "clicked: a b c d"));
    }
}
