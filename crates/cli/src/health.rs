//! `tonemill health`: asks a process how it is, where there is no curl: in a container.

use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, Url};

use crate::args::HealthArgs;
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::runtime;
use crate::text::plain;

/// How long the answer may take.
const ANSWER: Duration = Duration::from_secs(5);

/// Asks once. Anything but "yes" is a fault.
pub fn run(args: &HealthArgs) -> Outcome {
    runtime::run(ask(&args.url))
}

async fn ask(url: &Url) -> Result<Outcome, Failure> {
    let failed = |error: reqwest::Error| {
        let error = error.without_url();
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
        Failure::fault(format!("{url} does not answer: {error}{}", cause.unwrap_or_default()), "")
    };
    let client = Client::builder()
        .no_proxy()
        .redirect(Policy::none())
        // It asks the neighbour whether it is well, and tells it nothing.
        .danger_accept_invalid_certs(true)
        .timeout(ANSWER)
        .build();
    let answer = client.map_err(failed)?.get(url.clone()).send().await.map_err(failed)?;
    let status = answer.status();
    if status.is_success() {
        return Ok(Outcome::Done);
    }
    let text = answer.text().await.map_err(failed)?;
    Err(Failure::fault(format!("{url} answers {status}: {}", plain(&text)), ""))
}
