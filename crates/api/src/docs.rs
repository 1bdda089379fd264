//! The description for readers: `/openapi.json`, a page to try it out, and what each problem means.
//! Nothing of it comes from outside.

use std::fmt::Write as _;

use axum::Router;
use axum::response::{Html, Redirect};
use axum::routing::get;
use utoipa::openapi::OpenApi;
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::Api;
use crate::problem::KINDS;

/// Where the page is.
const DOCS: &str = "/docs";

/// The routes of the description.
pub(crate) fn routes(document: OpenApi) -> Router<Api> {
    let config = Config::from("/openapi.json").persist_authorization(true);
    let pages = SwaggerUi::new("/docs/api").config(config).url("/openapi.json", document);
    Router::new().merge(pages).route(DOCS, get(problems))
}

/// Who comes with a browser is shown the way.
pub(crate) async fn home() -> Redirect {
    Redirect::temporary(DOCS)
}

async fn problems() -> Html<String> {
    let mut rows = String::new();
    for (slug, status, title) in KINDS {
        let status = status.as_u16();
        // Writing to a string cannot fail.
        let _ = writeln!(
            rows,
            "<tr id=\"{slug}\"><td>{status}</td><td><code>{slug}</code></td><td>{title}</td></tr>"
        );
    }
    Html(PAGE.replace("{rows}", &rows))
}

const PAGE: &str = "<!doctype html>
<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Tonemill</title>
<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">
<style>
body { font: 16px/1.5 sans-serif; max-width: 48em; margin: 2em auto; padding: 0 1em }
td { padding: .2em 1em .2em 0; vertical-align: top }
tr:target { background: #ffd }
pre { background: #f4f4f4; padding: 1em; overflow: auto }
</style></head><body>
<h1>Tonemill</h1>
<p>Videos in, MP3s out. <a href=\"/docs/api/\">Every route, to read and to try out</a>, or
<a href=\"/openapi.json\">as OpenAPI 3.1</a>.</p>
<pre>token=$(curl -su NAME:PASSWORD -X POST $URL/login)
curl -H \"Authorization: Bearer $token\" -F file=@talk.mp4 $URL/v1/jobs
curl -H \"Authorization: Bearer $token\" -N $URL/v1/jobs/JOB/events
curl -H \"Authorization: Bearer $token\" -OJ $URL/v1/jobs/JOB/output</pre>
<h2>Problems</h2>
<p>Every error is an <code>application/problem+json</code> (RFC 9457) whose <code>type</code> leads
here.</p>
<table>
{rows}</table></body></html>
";
