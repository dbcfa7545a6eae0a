//! Templates of new root timelines.

use axum::body::Bytes;
use axum::extract::State;
use http_server::ApiError;
use http_server::extract::{Json, Path};
use pageserver_api::models::TemplateInfo;
use serde::Deserialize;
use types::PgVersion;
use utoipa::IntoParams;

use super::archive::Archive;
use super::{ApiState, error};
use crate::import::{Imported, NewIdentity, import_template};
use crate::storage::template_key;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct TemplatePath {
    pg_version: PgVersion,
}

/// Store a template
///
/// The output of initdb, as a tar compressed with zstd, of which new root timelines are made. Kept only if one can be
/// made of it.
#[utoipa::path(put, path = "/v1/template/{pg_version}", operation_id = "store_template", tag = "Templates", params(TemplatePath),
    request_body(content = Archive, content_type = "application/zstd"),
    responses((status = 200, description = "It is kept.", body = TemplateInfo), ApiError))]
pub(super) async fn store(
    State(state): State<ApiState>,
    Path(TemplatePath { pg_version }): Path<TemplatePath>,
    body: Bytes,
) -> Result<Json<TemplateInfo>, ApiError> {
    let bytes = body.len() as u64;
    import(body.clone(), pg_version).await?;
    let stored = state.manager.remote().put(&template_key(pg_version), body).await;
    stored.map_err(|error| ApiError::internal(error.to_string()))?;
    tracing::info!(%pg_version, bytes, "template stored");
    Ok(Json(TemplateInfo { pg_version, bytes }))
}

/// Is there a template?
#[utoipa::path(get, path = "/v1/template/{pg_version}", operation_id = "describe_template", tag = "Templates", params(TemplatePath),
    responses((status = 200, description = "There is one.", body = TemplateInfo), ApiError))]
pub(super) async fn describe(
    State(state): State<ApiState>,
    Path(TemplatePath { pg_version }): Path<TemplatePath>,
) -> Result<Json<TemplateInfo>, ApiError> {
    match state.manager.remote().head(&template_key(pg_version)).await {
        Ok(Some(bytes)) => Ok(Json(TemplateInfo { pg_version, bytes })),
        Ok(None) => Err(ApiError::not_found(format!("there is no template of PostgreSQL {pg_version}"))),
        Err(error) => Err(ApiError::internal(error.to_string())),
    }
}

/// The entries of a new timeline, with an identity that no other has.
pub(super) async fn load(state: &ApiState, pg_version: PgVersion) -> Result<Imported, ApiError> {
    let template = state.manager.remote().get(&template_key(pg_version)).await.map_err(|error| {
        if error.is_not_found() {
            ApiError::not_acceptable(format!(
                "there is no template of PostgreSQL {pg_version}: put one first"
            ))
        } else {
            ApiError::internal(error.to_string())
        }
    })?;
    import(template, pg_version).await
}

async fn import(template: Bytes, pg_version: PgVersion) -> Result<Imported, ApiError> {
    let work = move || import_template(&template, pg_version, NewIdentity::generate());
    match tokio::task::spawn_blocking(work).await {
        Ok(imported) => imported.map_err(error::import),
        Err(_) => Err(ApiError::unavailable("shutting down")),
    }
}
