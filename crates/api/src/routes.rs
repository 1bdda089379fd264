//! Every route, on one page.

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{Method, Uri};
use axum::routing::get;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::names::{
    ChannelsName, DecoderName, DeliveryStateName, EventName, FailureName, LaneName, RoleName,
    ScopeName, StateName,
};
use crate::problem::Problem;
use crate::{
    Api, account, admin, classic, deliveries, description, docs, health, jobs, keys, links, login,
    middleware, uploads, webhooks,
};

/// The whole API, and its description.
pub fn router(api: Api) -> Router {
    let (routes, mut document) = described().split_for_parts();
    description::complete(&mut document);
    let routes = routes
        .merge(docs::routes(document))
        .fallback(nothing_here)
        .method_not_allowed_fallback(not_for_this)
        // Each route says how much it takes.
        .layer(DefaultBodyLimit::disable());
    middleware::around(routes, &api).with_state(api)
}

/// The description alone (OpenAPI 3.1).
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    let mut document = described().split_for_parts().1;
    description::complete(&mut document);
    document
}

fn described() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(login::log_in))
        .routes(routes!(login::refresh))
        .routes(routes!(login::log_out))
        .routes(routes!(login::change_password))
        .routes(routes!(login::public_keys))
        .routes(routes!(jobs::create::create, jobs::look::list))
        .routes(routes!(jobs::look::show, jobs::transitions::end))
        .routes(routes!(jobs::transitions::cancel))
        .routes(routes!(jobs::transitions::retry))
        .routes(routes!(jobs::events::events))
        .routes(routes!(jobs::output::download))
        .routes(routes!(uploads::resumable::create))
        .routes(routes!(
            uploads::resumable::look,
            uploads::resumable::append,
            uploads::resumable::give_up,
            uploads::resumable::instead
        ))
        .routes(routes!(uploads::direct::create))
        .routes(routes!(account::me, account::change_me))
        .routes(routes!(keys::add_key, keys::list_keys))
        .routes(routes!(keys::delete_key))
        .routes(routes!(webhooks::add_webhook, webhooks::list_webhooks))
        .routes(routes!(webhooks::show_webhook, webhooks::change_webhook, webhooks::delete_webhook))
        .routes(routes!(webhooks::rotate_secret))
        .routes(routes!(webhooks::try_out))
        .routes(routes!(deliveries::list_deliveries))
        .routes(routes!(deliveries::show_delivery))
        .routes(routes!(deliveries::replay_delivery))
        .routes(routes!(links::download))
        .routes(routes!(links::ask, links::unsubscribe))
        .routes(routes!(admin::add_user, admin::list_users))
        .routes(routes!(admin::change_user))
        .routes(routes!(classic::log_in))
        .routes(routes!(classic::upload))
        .routes(routes!(classic::download))
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(health::health))
        .routes(routes!(health::version))
        .routes(routes!(health::metrics))
        .route("/", get(docs::home))
}

async fn nothing_here(uri: Uri) -> Problem {
    Problem::not_found(format!("there is nothing at {}", uri.path()))
}

async fn not_for_this(method: Method) -> Problem {
    Problem::method_not_allowed(format!("{method} does not work here"))
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tonemill",
        description = "Videos in, MP3s out. Log in, submit a video, watch it become an MP3, download it.",
        license(name = "MIT"),
    ),
    components(schemas(
        Problem, ChannelsName, DecoderName, DeliveryStateName, EventName, FailureName, LaneName,
        RoleName, ScopeName, StateName,
    )),
    modifiers(&Security),
    security(("bearer" = [])),
    tags(
        (name = "Log-in", description = "Tokens"),
        (name = "Jobs", description = "Videos on their way to become MP3s"),
        (name = "Uploads", description = "Uploads in several requests (tus), or straight into the store"),
        (name = "Account", description = "Who you are, and API keys"),
        (name = "Notifications", description = "Webhooks, and what you were told"),
        (name = "Links", description = "What mails lead to, without logging in"),
        (name = "Administration", description = "Users"),
        (name = "Classic", description = "The short routes of the classic tutorial system"),
        (name = "Operation", description = "Probes and measures"),
    )
)]
struct Description;

/// How one shows who one is.
struct Security;

impl Modify for Security {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_default();
        for (name, scheme) in [("bearer", HttpAuthScheme::Bearer), ("basic", HttpAuthScheme::Basic)]
        {
            components.add_security_scheme(name, SecurityScheme::Http(Http::new(scheme)));
        }
    }
}
