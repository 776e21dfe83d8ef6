//! Webhook ids as customers write them, under the deployment's rule for those
//! from before 2018 (reference §2.1, §13).

use model::WebhookId;

use super::Result;
use crate::error::ApiError;
use crate::webhook_options::LegacyIds;

impl LegacyIds {
    /// The id that is read or removed; whether it is configured is another question.
    pub(super) fn stored(self, name: &str) -> Result<WebhookId> {
        let id = WebhookId::parse(name).ok_or_else(|| ApiError::not_found("Webhook not found"))?;
        Ok(match self {
            Self::Alias => id.todays(),
            Self::Distinct | Self::Reject => id,
        })
    }

    /// The id of this name that gets URLs; `None` when there is no such id.
    ///
    /// # Errors
    /// When it is from before 2018 and such ids are not written any more.
    pub(super) fn written(self, name: &str) -> Result<Option<WebhookId>> {
        let Some(id) = WebhookId::parse(name) else { return Ok(None) };
        match self {
            Self::Distinct => Ok(Some(id)),
            Self::Alias => Ok(Some(id.todays())),
            Self::Reject if id.is_older() => {
                let todays = id.todays().as_str();
                let message =
                    format!("Webhook id '{name}' can no longer be written; use '{todays}'");
                Err(ApiError::webhook(message))
            }
            Self::Reject => Ok(Some(id)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(mode: LegacyIds, name: &str) -> Option<&'static str> {
        mode.stored(name).ok().map(WebhookId::as_str)
    }

    fn written(mode: LegacyIds, name: &str) -> Option<&'static str> {
        mode.written(name).ok().flatten().map(WebhookId::as_str)
    }

    #[test]
    fn older_ids_are_themselves_or_todays_or_read_only() {
        for (mode, expected) in [
            (LegacyIds::Distinct, [Some("drop"), Some("drop")]),
            (LegacyIds::Alias, [Some("permanent_fail"), Some("permanent_fail")]),
            (LegacyIds::Reject, [Some("drop"), None]),
        ] {
            assert_eq!([stored(mode, "drop"), written(mode, "drop")], expected, "{mode:?}");
            let todays = [stored(mode, "opened"), written(mode, "opened")];
            assert_eq!(todays, [Some("opened"); 2], "{mode:?}");
            assert_eq!([stored(mode, "xyz"), written(mode, "xyz")], [None; 2], "{mode:?}");
        }
        assert_eq!(LegacyIds::Reject.written("xyz"), Ok(None));
    }
}
