//! How deliveries are made, where an account wants it otherwise than the
//! deployment does it. Nothing of this is Mailgun's: it lies under `/postrider/v1`.

pub(crate) mod policies;
mod policy;
mod urls;

use utoipa_axum::router::OpenApiRouter;

use crate::SettingsApi;

/// The calls of this module.
pub(crate) fn routes() -> OpenApiRouter<SettingsApi> {
    OpenApiRouter::new().merge(policies::routes()).merge(urls::routes())
}
