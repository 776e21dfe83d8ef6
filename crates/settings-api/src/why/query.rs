//! What is asked about.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use store::history::{Addressee, WhySearch};
use uuid::Uuid;

use crate::domain_name;
use crate::error::ApiError;
use crate::failures::{event_type, limit, moment_of, text};
use crate::form::Form;

/// The range, if the caller does not say.
const DEFAULT_RANGE: TimeDelta = TimeDelta::days(1);

/// A question, as links have it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Asked {
    url: Option<String>,
    /// With hyphens, as decisions have it.
    setting: Option<String>,
    /// Microseconds since the epoch.
    from: i64,
    to: i64,
    domain: Option<String>,
    event_type: Option<String>,
    pub(super) limit: i64,
}

/// Reads a query.
pub(crate) fn read(query: &Form, now: DateTime<Utc>) -> Result<Asked, ApiError> {
    let url = text(query, "url")?;
    let setting = text(query, "alert_setting_id")?;
    if url.is_some() == setting.is_some() {
        return Err(ApiError::bad_request("give url or alert_setting_id, one of them"));
    }
    let setting = setting.map(|id| match Uuid::try_parse(&id) {
        Ok(id) => Ok(id.to_string()),
        Err(_) => Err(ApiError::bad_request("alert_setting_id is no UUID")),
    });
    let domain = text(query, "domain")?;
    if setting.is_some() && domain.is_some() {
        return Err(ApiError::bad_request("alerts have no domain"));
    }
    let to = moment_of(query, "end")?.unwrap_or(now.timestamp_micros());
    let day = DEFAULT_RANGE.num_microseconds().unwrap_or_default();
    let from = moment_of(query, "begin")?.unwrap_or(to.saturating_sub(day));
    if from > to {
        return Err(ApiError::bad_request("begin must be before end"));
    }
    Ok(Asked {
        url,
        setting: setting.transpose()?,
        from,
        to,
        domain,
        event_type: event_type(query)?,
        limit: limit(query)?,
    })
}

impl Asked {
    pub(crate) fn search(&self, account_id: &str) -> Result<WhySearch, ApiError> {
        let unknown = || ApiError::not_found("Domain not found");
        let domain_id = match &self.domain {
            None => None,
            Some(name) => {
                let name = domain_name::canonical(name).ok_or_else(unknown)?;
                // Also one that was deleted: what is its account's stays so.
                Some(store::history::id(&model::domain_id(&name)).ok_or_else(unknown)?)
            }
        };
        let addressee = match (&self.url, &self.setting) {
            (Some(url), _) => Addressee::Url(url.clone()),
            (None, setting) => Addressee::AlertSetting(setting.clone().unwrap_or_default()),
        };
        let at = |micros| DateTime::from_timestamp_micros(micros).unwrap_or_default();
        Ok(WhySearch {
            account_id: account_id.to_owned(),
            addressee,
            from: at(self.from),
            to: at(self.to),
            domain_id,
            event_type: self.event_type.clone(),
        })
    }
}
