//! Domains, as far as webhooks lean on them (reference §6.3).

use utoipa_axum::router::OpenApiRouter;

use crate::SettingsApi;

/// The calls of this module.
pub(crate) fn routes() -> OpenApiRouter<SettingsApi> {
    OpenApiRouter::new()
}
