//! Subaccounts (reference §10).

use utoipa_axum::router::OpenApiRouter;

use crate::SettingsApi;

/// The calls of this module.
pub(crate) fn routes() -> OpenApiRouter<SettingsApi> {
    OpenApiRouter::new()
}
