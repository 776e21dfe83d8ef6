//! What a customer sends about account webhooks. What comes first in the
//! request is told first when several things are wrong.

use egress::Client;
use http::StatusCode;
use model::{EventType, Family};
use store::NewAccountWebhook;

use crate::error::ApiError;
use crate::form::{Form, without_index};
use crate::{destination, keys};

/// Longest description, in bytes.
const MAX_DESCRIPTION_BYTES: usize = 1024;

const WEBHOOK_IDS: &str = "webhook_ids";

/// Reads a webhook that is to be made, or what one is to become.
pub(crate) fn read(
    egress: &Client,
    webhook_id: String,
    form: &Form,
) -> Result<NewAccountWebhook, ApiError> {
    let url = url(egress, form)?;
    let event_types = event_types(form)?;
    let description = form.first("description").unwrap_or_default();
    if description.len() > MAX_DESCRIPTION_BYTES || description.contains('\0') {
        let message = format!("must be text of at most {MAX_DESCRIPTION_BYTES} bytes");
        return Err(ApiError::parameter("description", message));
    }
    Ok(NewAccountWebhook { webhook_id, url, event_types, description: description.to_owned() })
}

fn url(egress: &Client, form: &Form) -> Result<String, ApiError> {
    let mut urls = form.values("url");
    let url = urls.next().ok_or_else(no_url)?;
    if urls.next().is_some() {
        return Err(wrong_url("an account webhook has one URL"));
    }
    destination::check_url(egress, url)
        .map_err(|why| wrong_url(&format!("{url} is not a valid url: {why}")))?;
    Ok(url.to_owned())
}

/// Mailgun's words are the same for all that can be wrong with a URL; why it
/// is wrong stands behind them in our message.
pub(super) fn wrong_url(why: &str) -> ApiError {
    no_url().because(why)
}

fn no_url() -> ApiError {
    ApiError::parameter("url", "missing or invalid url parameter")
}

/// Today's webhook ids, at least one, each once, in their order.
fn event_types(form: &Form) -> Result<Vec<String>, ApiError> {
    let mut names: Vec<String> = Vec::new();
    let mut repeated: Vec<String> = Vec::new();
    for name in form.values("event_types").flat_map(|names| names.split(',')).map(str::trim) {
        let known = EventType::parse(name).is_some_and(|known| known.family() == Family::Message);
        if !known {
            // 404, as documented.
            let message = format!("event_type '{name}' is invalid");
            return Err(ApiError::described(StatusCode::NOT_FOUND, message));
        }
        let list =
            if names.iter().any(|earlier| earlier == name) { &mut repeated } else { &mut names };
        if !list.iter().any(|earlier| earlier == name) {
            list.push(name.to_owned());
        }
    }
    if !repeated.is_empty() {
        let repeated: Vec<String> = repeated.iter().map(|name| format!("'{name}'")).collect();
        let value = format!("duplicate event types: {}", repeated.join(", "));
        return Err(ApiError::parameter("event_types", value));
    }
    if names.is_empty() {
        let value = "missing or invalid event_types parameter";
        return Err(ApiError::parameter("event_types", value));
    }
    Ok(names)
}

/// The id in a path.
pub(super) fn webhook_id(id: String) -> Result<String, ApiError> {
    if keys::is_object_id(&id) {
        Ok(id)
    } else {
        Err(ApiError::parameter("webhook_id", "is not valid"))
    }
}

/// Which webhooks a list is to show; `None` for all of them. A list of ids
/// that is empty asks for nothing in particular.
pub(crate) fn filter(query: Option<&str>) -> Result<Option<Vec<String>>, ApiError> {
    let lists = fields(query, WEBHOOK_IDS).filter(|list| !list.is_empty());
    ids(lists)
}

/// Which webhooks are to be removed; `None` for all of them. A list of ids
/// goes before `all`, and one that is empty is a mistake: what was meant by it
/// might be nothing, and must not become everything.
pub(crate) fn meant(query: Option<&str>) -> Result<Option<Vec<String>>, ApiError> {
    if let Some(ids) = ids(fields(query, WEBHOOK_IDS))? {
        return Ok(Some(ids));
    }
    let mut all = false;
    for value in fields(query, "all") {
        all = value
            .to_ascii_lowercase()
            .parse()
            .map_err(|_| ApiError::parameter("all", "must be true or false"))?;
    }
    if all {
        Ok(None)
    } else {
        Err(ApiError::parameter(WEBHOOK_IDS, "one of webhook_ids and all=true is required"))
    }
}

/// The ids of all lists, which have commas between. `None` without a list.
fn ids(lists: impl Iterator<Item = String>) -> Result<Option<Vec<String>>, ApiError> {
    let malformed = |why: &str| {
        let value = format!("malformed webhook_ids parameter: {why}");
        ApiError::parameter(WEBHOOK_IDS, value)
    };
    let mut ids: Option<Vec<String>> = None;
    for list in lists {
        for id in list.split(',').map(str::trim) {
            if id.is_empty() {
                return Err(malformed("empty values not allowed"));
            }
            if !keys::is_object_id(id) {
                return Err(malformed(&format!("'{id}' is not valid")));
            }
            ids.get_or_insert_default().push(id.to_owned());
        }
    }
    Ok(ids)
}

/// All values of a field of the query, empty ones too, also under `name[]` and `name[0]`.
fn fields<'a>(query: Option<&'a str>, name: &'a str) -> impl Iterator<Item = String> + use<'a> {
    form_urlencoded::parse(query.unwrap_or_default().as_bytes())
        .filter(move |(field, _)| without_index(field) == name)
        .map(|(_, value)| value.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "66f0c1de9a7b4e0012ab34cd";
    const B: &str = "0123456789abcdef01234567";

    #[test]
    fn lists_come_with_commas_or_repeated() {
        let both = Ok(Some(vec![A.to_owned(), B.to_owned()]));
        for query in [
            format!("webhook_ids={A},{B}"),
            format!("webhook_ids={A}%2C%20{B}&all=true"),
            format!("webhook_ids={A}&webhook_ids={B}"),
            format!("webhook_ids[]={A}&x=y&webhook_ids[]={B}&all=false"),
        ] {
            assert_eq!(filter(Some(&query)), both, "{query}");
            assert_eq!(meant(Some(&query)), both, "{query}");
        }
    }

    #[test]
    fn an_empty_list_shows_everything_and_removes_nothing() {
        for query in [None, Some(""), Some("webhook_ids="), Some("limit=3")] {
            assert_eq!(filter(query), Ok(None), "{query:?}");
            assert!(meant(query).is_err(), "{query:?}");
        }
        for query in ["webhook_ids=&all=true", "all=false", "all=yes", "all=true&all=false"] {
            assert!(meant(Some(query)).is_err(), "{query}");
        }
        for query in ["all=true", "all=True", "all=false&all=TRUE"] {
            assert_eq!(meant(Some(query)), Ok(None), "{query}");
        }
    }

    #[test]
    fn what_is_no_id_is_refused() {
        let upper = A.to_ascii_uppercase();
        for id in ["1", "%FF", upper.as_str(), "66f0c1de9a7b4e0012ab34c\u{e9}"] {
            let query = format!("webhook_ids={A},{id}");
            assert!(filter(Some(&query)).is_err() && meant(Some(&query)).is_err(), "{id}");
            assert!(webhook_id(id.to_owned()).is_err(), "{id}");
        }
        assert_eq!(webhook_id(A.to_owned()), Ok(A.to_owned()));
    }
}
