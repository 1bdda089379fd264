//! What happens around every request: a name for it, a line in the log, a measure, limits in the
//! headers, headers that make browsers careful.

use std::any::Any;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use tonemill_telemetry::trace;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowHeaders, AllowOrigin, Any as AnyValue, CorsLayer};
use tracing::field::Empty;
use tracing::{Instrument as _, Span};
use uuid::Uuid;

use crate::Api;
use crate::in_flight::Answering;
use crate::problem::Problem;
use crate::server::UntilSent;
use crate::uploads::resumable::{abilities, speak_tus};

/// The name of a request, of the client's or ours.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest name of a client's.
const MAX_ID_BYTES: usize = 100;

/// `routes` with all of it around.
pub(crate) fn around(routes: Router<Api>, api: &Api) -> Router<Api> {
    routes
        .layer(CatchPanicLayer::custom(panicked))
        .layer(cors(&api.config.cors_origins))
        .layer(from_fn_with_state(api.clone(), attend))
}

async fn attend(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let start = Instant::now();
    let is_preflight = request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let is_upload = request.uri().path().starts_with("/v1/uploads");
    if request.method() == Method::OPTIONS && !is_preflight && is_upload {
        return abilities(&api);
    }
    let id = request_id(&request);
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let route = route.unwrap_or_else(|| "none".to_owned());
    let method = request.method().clone();
    let span = span_of(&request, &id, &route);
    request.headers_mut().insert(REQUEST_ID, id.clone());
    let counted = Counted::default();
    request.extensions_mut().insert(counted.clone());
    let mut response = next.run(request).instrument(span.clone()).await;

    let status = response.status();
    let seconds = start.elapsed().as_secs_f64();
    let labels = [
        ("route", route.clone()),
        ("method", known(&method).to_owned()),
        ("status", status.as_str().to_owned()),
    ];
    metrics::counter!("tonemill_http_requests_total", &labels).increment(1);
    metrics::histogram!("tonemill_http_request_duration_seconds", "route" => route.clone())
        .record(seconds);
    trace::answered(&span, known(&method), &route, status.as_u16());
    span.in_scope(|| {
        tracing::debug!(%method, route, status = status.as_u16(), seconds, "answered");
    });
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, id);
    make_careful(headers, &route);
    api.tell_limits(headers, &counted);
    if is_upload {
        speak_tus(status, headers);
    }
    response.extensions_mut().insert(UntilSent(counted.0));
    response
}

/// The request in the log, and in the client's trace or one of its own. Probes come too often to be
/// of interest to others.
fn span_of(request: &Request, id: &HeaderValue, route: &str) -> Span {
    let id = id.to_str().unwrap_or_default();
    if ["/livez", "/readyz", "/healthz", "/metrics"].contains(&route) {
        return tracing::info_span!(target: trace::UNTRACED, "request", request = id);
    }
    let span = tracing::info_span!("request", request = id, trace_id = Empty, otel.kind = "server");
    let traceparent = request.headers().get("traceparent").and_then(|value| value.to_str().ok());
    trace::continued(span, traceparent)
}

/// Who a request turned out to come from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counted(Arc<WhoseRequest>);

#[derive(Debug, Default)]
struct WhoseRequest {
    user: OnceLock<Uuid>,
    answering: OnceLock<Answering>,
}

impl Counted {
    pub(crate) fn set(&self, user: Uuid) {
        let _ = self.0.user.set(user);
    }

    /// The request counts as being answered until it is.
    pub(crate) fn answer(&self, answering: Answering) {
        let _ = self.0.answering.set(answering);
    }
}

impl Api {
    /// `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers).
    fn tell_limits(&self, headers: &mut axum::http::HeaderMap, counted: &Counted) {
        let Some(user) = counted.0.user.get() else { return };
        let rate = self.requests.rate();
        let window = (f64::from(rate.burst) / rate.per_second).ceil().max(1.0);
        let policy = format!("\"requests\";q={};w={window}", rate.burst);
        let limit = match self.requests.look(user) {
            Ok(left) => {
                let full_in = left.full_in.as_secs_f64().ceil();
                format!("\"requests\";r={};t={full_in}", left.tokens)
            }
            Err(pause) => format!("\"requests\";r=0;t={}", pause.as_secs_f64().ceil()),
        };
        for (name, value) in [("ratelimit-policy", policy), ("ratelimit", limit)] {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
    }
}

/// The client's name for a request, if it is a decent one, or a new one.
fn request_id(request: &Request) -> HeaderValue {
    let given = request.headers().get(REQUEST_ID).filter(|id| {
        let is_decent = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte);
        id.len() <= MAX_ID_BYTES && !id.is_empty() && id.as_bytes().iter().all(is_decent)
    });
    given.cloned().unwrap_or_else(|| {
        let id = Uuid::now_v7().simple().to_string();
        HeaderValue::from_str(&id).unwrap_or(HeaderValue::from_static("unknown"))
    })
}

/// Methods are a client's to invent; measures are not. The last is OpenTelemetry's name.
fn known(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "_OTHER",
    }
}

/// Headers that keep a browser from taking an answer for something else.
fn make_careful(headers: &mut axum::http::HeaderMap, route: &str) {
    // Swagger UI has styles within its page.
    let policy = if route.starts_with("/docs") {
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
         img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; \
         form-action 'none'"
    } else {
        "default-src 'none'; sandbox; frame-ancestors 'none'"
    };
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}

fn cors(origins: &[String]) -> CorsLayer {
    let exposed = [
        "location",
        "etag",
        "x-request-id",
        "x-job-id",
        "retry-after",
        "ratelimit",
        "tus-resumable",
        "upload-offset",
        "upload-length",
        "upload-metadata",
        "upload-expires",
    ];
    let layer = CorsLayer::new()
        .allow_methods([
            Method::GET,
            Method::HEAD,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
        ])
        // Not `*`, which leaves `Authorization` out (Fetch standard, section 3.3.5).
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(exposed.map(HeaderName::from_static))
        .max_age(std::time::Duration::from_hours(1));
    if origins.iter().any(|origin| origin == "*") {
        return layer.allow_origin(AnyValue);
    }
    let origins = origins.iter().filter_map(|origin| origin.parse().ok());
    layer.allow_origin(AllowOrigin::list(origins))
}

/// A handler that panicked: a defect. The panic itself is told by the hook of the process.
fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    tracing::error!("a handler panicked");
    Problem::internal("this is logged: give the request's id to whoever runs the service")
        .into_response()
}
