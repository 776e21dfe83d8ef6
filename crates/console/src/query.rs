//! Queries, of our pages and of the APIs.

use chrono::{NaiveDate, NaiveDateTime, NaiveTime, SecondsFormat};

use crate::fields::Fields;

/// Pairs, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Those of these names that a form has filled in.
    pub(crate) fn of(fields: &Fields, names: &[&str]) -> Self {
        let pairs = names.iter().map(|name| ((*name).to_owned(), fields.one(name).to_owned()));
        Self(pairs.filter(|(_, value)| !value.is_empty()).collect())
    }

    /// With one pair more.
    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.0.push((name.to_owned(), value.into()));
        self
    }

    /// What stands under a name, or nothing.
    pub(crate) fn one(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(found, _)| found == name);
        found.map(|(_, value)| value.as_str()).unwrap_or_default()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// With its question mark, unless there is nothing to ask.
impl std::fmt::Display for Query {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(&self.0).finish();
        write!(f, "?{query}")
    }
}

/// What a field for a moment has sent, as the APIs take it. Beside such fields stands
/// that it is UTC; a day alone begins at midnight.
pub(crate) fn moment(text: &str) -> String {
    let spaced = text.replace('T', " ");
    let day = |format: &str| NaiveDateTime::parse_from_str(&spaced, format).ok();
    let whole = NaiveDate::parse_from_str(&spaced, "%Y-%m-%d").ok();
    let at = day("%Y-%m-%d %H:%M:%S").or_else(|| day("%Y-%m-%d %H:%M"));
    match at.or_else(|| whole.map(|day| day.and_time(NaiveTime::MIN))) {
        Some(at) => at.and_utc().to_rfc3339_opts(SecondsFormat::Secs, true),
        // What it is, the APIs tell.
        None => text.to_owned(),
    }
}

/// The place in a list that a link of the APIs leads to: what its query has under this
/// name, or the last part of its path.
pub(crate) fn page_of(link: &str) -> Option<String> {
    let (path, query) = link.split_once('?').unwrap_or((link, ""));
    let mut fields = form_urlencoded::parse(query.as_bytes());
    match fields.find(|(name, _)| name == "page") {
        Some((_, page)) => Some(page.into_owned()),
        None => path.rsplit_once('/').map(|(_, page)| page.to_owned()),
    }
    .filter(|page| !page.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_hold_whatever_was_typed() {
        let fields = Fields::parse(b"a=%3Cb%3E%26&empty=&other=1");
        let query = Query::of(&fields, &["a", "empty", "none"]).with("page", "x/y");
        assert_eq!(query.to_string(), "?a=%3Cb%3E%26&page=x%2Fy");
        assert_eq!((query.one("a"), query.one("empty")), ("<b>&", ""));
        assert_eq!(Query::default().to_string(), "");
    }

    #[test]
    fn moments_of_forms_are_utc() {
        assert_eq!(moment("2026-11-21T08:00"), "2026-11-21T08:00:00Z");
        assert_eq!(moment("2026-11-21T08:00:05"), "2026-11-21T08:00:05Z");
        assert_eq!(moment("2026-11-21 8:00"), "2026-11-21T08:00:00Z");
        assert_eq!(moment("2026-11-21"), "2026-11-21T00:00:00Z");
        for other in ["1760000000", "soon", "2026-13-01", ""] {
            assert_eq!(moment(other), other);
        }
    }

    #[test]
    fn places_are_read_from_links() {
        let page = |link| page_of(link);
        assert_eq!(page("http://a.example/v3/d/events/AbC").as_deref(), Some("AbC"));
        assert_eq!(page("http://a.example/postrider/v1/failures?page=x").as_deref(), Some("x"));
        assert_eq!(page("nothing"), None);
    }
}
