//! Account webhooks, version 1 (reference §5).

use utoipa_axum::router::OpenApiRouter;

use crate::SettingsApi;

/// The calls of this module.
pub(crate) fn routes() -> OpenApiRouter<SettingsApi> {
    OpenApiRouter::new()
}
