//! Refusals in words: `application/problem+json` (RFC 9457), or what else a server answers with.

use reqwest::{Response, StatusCode, header};
use serde::Deserialize;

use crate::client::link::{Link, PROBLEM, is_full, is_kind, retry_after};
use crate::client::retry::Trouble;
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::text::plain;

/// Longest problem that is read, in bytes.
const MAX_BYTES: usize = 64 << 10;

#[derive(Deserialize, Default)]
#[serde(default)]
struct Problem {
    title: String,
    detail: String,
    field: Option<String>,
}

impl Link {
    /// What an answer that is no success means.
    pub async fn refused(&self, response: Response) -> Failure {
        let status = response.status();
        if status.is_redirection() {
            let to = response.headers().get(header::LOCATION);
            let to = to.map(|to| String::from_utf8_lossy(to.as_bytes()).into_owned());
            let to = plain(&to.unwrap_or_else(|| "nowhere".to_owned()));
            let message = format!("{} redirects to {to}", plain(&self.base));
            return Failure::usage(message, "name the service by its own address");
        }
        let is_problem = is_kind(&response, PROBLEM);
        let outcome = if is_full(&response) { Outcome::BadInput } else { outcome(status) };
        let problem = if is_problem {
            let body = self.body(response, MAX_BYTES).await.ok();
            body.and_then(|body| serde_json::from_slice::<Problem>(&body).ok())
        } else {
            None
        };
        match problem {
            Some(problem) => problem.words(outcome),
            // A proxy, perhaps, in whose words nobody is interested.
            None if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                Failure::fault(format!("{} answers {status}", plain(&self.base)), "try again later")
            }
            // The answer to a HEAD has no body.
            None if is_problem => {
                Failure::new(outcome, format!("{} answers {status}", plain(&self.base)), "")
            }
            None => {
                let message =
                    format!("{} answers {status}, and not as Tonemill does", plain(&self.base));
                Failure::usage(message, "check the address")
            }
        }
    }

    /// The same for an answer that may be another the next time.
    pub async fn troubled(&self, response: Response) -> Trouble {
        let after = retry_after(&response);
        let is_busy = matches!(response.status().as_u16(), 423 | 425 | 429);
        Trouble { failed: self.refused(response).await, after, is_away: false, is_busy }
    }
}

impl Problem {
    fn words(self, outcome: Outcome) -> Failure {
        let Self { title, detail, field } = self;
        let text = if detail.is_empty() { title } else { detail };
        let message = match field {
            Some(field) => format!("{} ({})", plain(&text), plain(&field)),
            None => plain(&text),
        };
        Failure::new(outcome, message, "")
    }
}

fn outcome(status: StatusCode) -> Outcome {
    match status.as_u16() {
        404 | 409 | 410 | 413 | 415 | 416 => Outcome::BadInput,
        // Too slow, wherever: nothing that was said is wrong.
        408 => Outcome::Fault,
        400..=422 => Outcome::Usage,
        _ => Outcome::Fault,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_whose_turn_it_is() {
        let of = |status| outcome(StatusCode::from_u16(status).unwrap());
        assert_eq!([404, 409, 413, 415].map(of), [Outcome::BadInput; 4]);
        assert_eq!([400, 401, 403, 422].map(of), [Outcome::Usage; 4]);
        assert_eq!([408, 429, 500, 503].map(of), [Outcome::Fault; 4]);
    }
}
