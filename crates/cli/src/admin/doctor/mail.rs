//! The mail server: whether it answers and lets us in.

use tonemill_job::chain;
use tonemill_notifier::mail::try_out;
use url::Url;

use super::Finding;
use crate::args::notifier::NotifyArgs;
use crate::failure::Failure;

const ABOUT: &str = "mail";

pub(super) async fn look(args: &NotifyArgs) -> Finding {
    match (ask(args).await, &args.smtp_url) {
        (Ok(trouble), Some(server)) => verdict(&server.host, trouble, args.public_url.is_some()),
        (Ok(_), None) => {
            Finding::warning(ABOUT, "no mail server: mails become files", "set --smtp-url")
        }
        (Err(failure), _) => {
            Finding::bad(ABOUT, failure.to_string(), "look at the settings of mails")
        }
    }
}

/// What is wrong with the mail server, if there is one. The settings or the templates are wrong if
/// this fails.
async fn ask(args: &NotifyArgs) -> Result<Option<String>, Failure> {
    // No mail is written: where its links lead does not matter, nor where it would go.
    let anywhere = || Url::parse("http://localhost").expect("it is a URL");
    let folder = tempfile::tempdir();
    let folder = folder.map_err(|error| Failure::cannot("make a temporary folder", error))?;
    let public_url = args.public_url.clone().unwrap_or_else(anywhere);
    let config = args.config(public_url, Some(folder.path().to_owned()))?;
    let part = try_out(config.mail).await;
    Ok(part.map_err(|error| Failure::usage(chain(&error), ""))?.trouble)
}

fn verdict(host: &str, trouble: Option<String>, is_public: bool) -> Finding {
    match trouble {
        Some(trouble) => {
            let advice = "look at --smtp-url, its name, password and certificate";
            Finding::bad(ABOUT, trouble, advice)
        }
        None if !is_public => {
            let says = "links in mails lead to where the service listens";
            Finding::warning(ABOUT, says, "set --public-url")
        }
        None => Finding::ok(ABOUT, format!("{host} answers and lets us in")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::verdicts_of;
    use super::*;

    #[test]
    fn a_mail_server_that_is_away_counts_more_than_links() {
        for (trouble, is_public, due) in [
            (None, true, "ok"),
            (None, false, "warning"),
            (Some("away"), true, "bad"),
            (Some("away"), false, "bad"),
        ] {
            let finding = verdict("mail.example.org", trouble.map(str::to_owned), is_public);
            assert_eq!(verdicts_of(&[finding]), [due], "{trouble:?} {is_public}");
        }
    }
}
