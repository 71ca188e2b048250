use std::sync::Arc;

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;

use super::error::{ApiError, shown};
use super::state::App;
use crate::bundles::Deployment;

/// The model that a request selects: that of the bundle in its path, else that of the first bundle.
/// The request keeps it until its response, even if the bundle is replaced meanwhile.
pub(super) struct Selected(pub(super) Arc<Deployment>);

impl FromRequestParts<Arc<App>> for Selected {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let Ok(parameters) = RawPathParams::from_request_parts(parts, app).await else {
            return Err(ApiError::bad_request("the path is not valid UTF-8"));
        };
        let name = parameters
            .iter()
            .find_map(|(parameter, value)| (parameter == "name").then_some(value));
        let Some(name) = name else {
            return Ok(Self(app.bundles.default().current()));
        };
        match app.bundles.get(name) {
            Some(slot) => Ok(Self(slot.current())),
            None => Err(ApiError::new(
                404,
                "unknown_bundle",
                format!("unknown bundle `{}`; see /v1/bundles", shown(name)),
            )),
        }
    }
}
