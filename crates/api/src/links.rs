//! Links in mails, which work without logging in: an MP3 for a while, and an end of the mails.
//!
//! A link that we did not make so is answered like one to nothing. Looking changes nothing:
//! scanners of mails follow every link.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, Method, Uri, header};
use axum::response::{Html, Response};
use tonemill_job::JobId;
use tonemill_ledger::Owner;
use tonemill_ledger::links::Link;
use tonemill_ledger::users::UserChange;
use uuid::Uuid;

use crate::Api;
use crate::problem::{Answer, Problem};

/// A page, and what its browser lets it do.
type Page = ([(HeaderName, &'static str); 2], Html<String>);

/// A form that goes back to where it came from, and nothing else.
const CAREFUL: [(HeaderName, &str); 2] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    ),
    (header::CACHE_CONTROL, "no-store"),
];

/// Download the MP3 by a link in a mail.
#[utoipa::path(
    get, path = "/d/{job}", operation_id = "download_by_link", tag = "Links",
    params(
        ("job" = String, Path, description = "The job"),
        ("expires" = String, Query, description = "Until when it is good, in milliseconds since 1970"),
        ("mac" = String, Query, description = "That we made the link so"),
        ("Range" = Option<String>, Header, description = "One range of bytes"),
        ("If-Range" = Option<String>, Header, description = "The range only of this file"),
        ("If-Match" = Option<String>, Header, description = "Only this file"),
        ("If-None-Match" = Option<String>, Header, description = "Only if you have another"),
    ),
    responses(
        (status = 200, description = "All of it", body = [u8], content_type = "audio/mpeg"),
        (status = 206, description = "The range", body = [u8], content_type = "audio/mpeg"),
        (status = 304, description = "You have it already"),
        (status = 307, description = "It is at the store, under an address for a few minutes"),
        (status = 404, description = "The link is none, or there is no MP3"),
        (status = 410, description = "The link has expired, or the MP3 is not in the store any more"),
        (status = 412, description = "It is not what If-Match says"),
        (status = 416, description = "The range begins after its end"),
    ),
    security(())
)]
pub async fn download(
    State(api): State<Api>,
    uri: Uri,
    method: Method,
    headers: HeaderMap,
) -> Answer<Response> {
    let Some(Link::Download { job, expires_ms }) = api.link(&uri) else { return Err(no_link()) };
    if expires_ms <= api.ledger.now_ms() {
        return Err(Problem::gone("this link has expired: log in to download the MP3"));
    }
    api.output_of(job, &method, &headers).await
}

/// Ask whether somebody wants no more mails: a page with a button.
#[utoipa::path(
    get, path = "/unsubscribe", operation_id = "ask_to_unsubscribe", tag = "Links",
    params(
        ("user" = String, Query, description = "Who gets the mails"),
        ("mac" = String, Query, description = "That we made the link so"),
    ),
    responses(
        (status = 200, description = "The page", body = String, content_type = "text/html"),
        (status = 404, description = "The link is none"),
    ),
    security(())
)]
pub async fn ask(State(api): State<Api>, uri: Uri) -> Answer<Page> {
    api.unsubscriber(&uri)?;
    // Without a place to go to, a form goes to its page's own.
    Ok(page(
        "<p>Do you want no more mails about your jobs?</p>\n<form method=\"post\">\
         <input type=\"hidden\" name=\"List-Unsubscribe\" value=\"One-Click\">\
         <button>No more mails</button></form>",
    ))
}

/// Get no more mails about jobs, by one click in a mail program (RFC 8058).
///
/// Its body, `List-Unsubscribe=One-Click`, is not read: the link says it all.
#[utoipa::path(
    post, path = "/unsubscribe", operation_id = "unsubscribe", tag = "Links",
    params(
        ("user" = String, Query, description = "Who gets the mails"),
        ("mac" = String, Query, description = "That we made the link so"),
    ),
    responses(
        (status = 200, description = "There will be none", body = String, content_type = "text/html"),
        (status = 404, description = "The link is none"),
    ),
    security(())
)]
pub async fn unsubscribe(State(api): State<Api>, uri: Uri) -> Answer<Page> {
    let user = api.unsubscriber(&uri)?;
    let nothing = UserChange { mail_events: Some(Some(Vec::new())), ..UserChange::default() };
    if !api.ledger.change_user(user, &nothing).await? {
        return Err(no_link());
    }
    Ok(page("<p>You get no more mails about your jobs.</p>"))
}

impl Api {
    fn link(&self, uri: &Uri) -> Option<Link> {
        self.links.read(uri.path_and_query()?.as_str())
    }

    fn unsubscriber(&self, uri: &Uri) -> Answer<Uuid> {
        match self.link(uri) {
            Some(Link::Unsubscribe { user }) => Ok(user),
            _ => Err(no_link()),
        }
    }

    /// The MP3 of anybody's job, if there is one and its owner may do anything.
    async fn output_of(
        &self,
        job: JobId,
        method: &Method,
        headers: &HeaderMap,
    ) -> Answer<Response> {
        let found = self.ledger.job(Owner::Anyone, job).await?;
        let job = found.filter(|job| job.output.is_some()).ok_or_else(no_link)?;
        let owner = self.ledger.user(job.user).await?;
        owner.filter(|owner| owner.disabled_ms.is_none()).ok_or_else(no_link)?;
        self.output(&job, method, headers).await
    }
}

fn no_link() -> Problem {
    Problem::not_found("this link leads nowhere, or not any more")
}

fn page(content: &str) -> Page {
    let page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Tonemill</title>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"></head><body>\n\
         <h1>Tonemill</h1>\n{content}\n</body></html>\n"
    );
    (CAREFUL, Html(page))
}
