//! The OpenAPI document of a daemon's HTTP API, and a page to read it and to try it.

use axum::Router;
use prometheus::Registry;
use utoipa::PartialSchema;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder};
use utoipa_axum::router::OpenApiRouter;
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::Guard;

use crate::error;

/// Where the document is.
pub const DOCUMENT: &str = "/v1/openapi.json";

/// Where the page is.
const VIEWER: &str = "/v1/doc";

/// The scheme's name within the document.
const TOKEN: &str = "token";

/// A document without routes yet, for `OpenApiRouter::with_openapi`.
pub fn document(title: &str, description: &str) -> OpenApi {
    let token = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title(title)
                .version(env!("CARGO_PKG_VERSION"))
                .description(Some(description))
                .license(Some(
                    LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build(),
                )),
        )
        .components(Some(
            ComponentsBuilder::new()
                .security_scheme(TOKEN, token)
                .schema(error::SCHEMA, error::Body::schema())
                .build(),
        ))
        .security(Some([SecurityRequirement::new(TOKEN, Vec::<String>::new())]))
        .build()
}

/// What [`crate::router`] makes of these routes, with their document and the page. Those two need no token: a browser
/// has none before somebody has typed it into the page, and they say only what is in the source.
pub fn described(api: OpenApiRouter, guard: Guard, registry: Registry) -> Router {
    let (api, document) = api.split_for_parts();
    // No validator: it would be asked over the internet. The token is not kept when the page is left.
    let config = Config::from(DOCUMENT).validator_url("none").try_it_out_enabled(true);
    crate::router(api, guard, registry).merge(SwaggerUi::new(VIEWER).url(DOCUMENT, document).config(config))
}
