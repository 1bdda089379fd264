//! The service apart from its workers: what answers, and what keeps the books for as long as there
//! is something to.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonemill_api::auth::password::{check_new, one_time};
use tonemill_api::problem::Problem;
use tonemill_api::{Api, routes, server};
use tonemill_job::chain;
use tonemill_job::objects::ObjectStore;
use tonemill_job::queue::Queue;
use tonemill_ledger::alerts::Thresholds;
use tonemill_ledger::dispatcher::{self, Window};
use tonemill_ledger::sweep::Retention;
use tonemill_ledger::users::{NewUser, Role};
use tonemill_ledger::{Ledger, reconciler, recorder, sweep};
use tonemill_notifier::Courier;
use tonemill_telemetry::health::Probe;
use tonemill_telemetry::{Metrics, Shutdown};
use url::{Host, Url};

use super::mail_probe::MailProbe;
use super::measures::{Look, Measures};
use super::parts::Parts;
use crate::args::notifier::NotifyArgs;
use crate::args::serve::{ApiArgs, HttpArgs, LedgerArgs};
use crate::disks::Disks;
use crate::failure::Failure;
use crate::json::print_line;
use crate::notifier::work;
use crate::text::seconds;

/// How long notifications that are under way may go on when all else has ended.
const LAST_CALLS: Duration = Duration::from_secs(2);
/// The name of the first administrator.
const ADMIN: &str = "admin";

/// A service that runs, apart from its workers.
pub struct Service {
    /// What answers.
    http: JoinSet<()>,
    /// What dispatches and records, for as long as there is something to.
    books: JoinSet<()>,
    close_books: CancellationToken,
    vital: Vital,
    ledger: Arc<Ledger>,
    queue: Arc<dyn Queue>,
}

/// What is told of a service, besides what it counts itself.
pub struct Watching {
    pub metrics: Metrics,
    pub disks: Disks,
    /// What else is looked up: workers in this process.
    pub also: Look,
}

/// What tells users and administrators.
struct Notifying {
    courier: Courier,
    thresholds: Thresholds,
    /// The mail server, if there is one.
    mail: Option<Arc<dyn Probe>>,
}

impl Service {
    pub async fn start(
        args: &ApiArgs,
        max_input: Option<u64>,
        parts: Parts,
        watching: Watching,
        notify: Option<(&NotifyArgs, PathBuf)>,
        shutdown: &Shutdown,
    ) -> Result<Self, Failure> {
        let Parts { ledger, queue, store, .. } = parts;
        // Before anything is made or told: it may be wrong.
        let server = args.http.server_config()?;
        let Watching { metrics, disks, also } = watching;
        let (answering, close_books) = (CancellationToken::new(), CancellationToken::new());
        let address = args.http.listen;
        let listener = TcpListener::bind(address).await.map_err(|error| {
            let is_taken = error.kind() == io::ErrorKind::AddrInUse;
            let advice = if is_taken { "choose another with --listen" } else { "" };
            Failure::fault(format!("cannot listen on {address}: {error}"), advice)
        })?;
        let url = args.http.url(&listener);
        let notifying = notifying(notify, &url, &ledger).await?;
        let api = Api::new(
            Arc::clone(&ledger),
            Arc::clone(&queue),
            Arc::clone(&store),
            args.http.api_config(max_input),
            Some(metrics),
            notifying.as_ref().and_then(|notifying| notifying.mail.clone()),
            answering.clone(),
        );
        let api = api.await.map_err(|problem| Failure::cannot("start", problem.detail))?;
        let password = first_administrator(&api, &ledger, &args.ledger).await?;
        greet(&url, password.as_deref());

        let vital = Vital { shutdown: shutdown.clone(), has_died: Arc::default() };
        let mut http = JoinSet::new();
        let grace = seconds(args.grace);
        let router = routes::router(api.clone());
        let told_to_end = answering.clone();
        http.spawn(vital.part("HTTP server", async move {
            if let Err(error) = server::serve(listener, router, server, told_to_end, grace).await {
                tracing::error!(%error, "the HTTP port is closed");
            }
        }));
        http.spawn(vital.part("API", async move { api.run().await }));
        let shutdown = shutdown.clone();
        http.spawn(async move {
            shutdown.draining().await;
            answering.cancel();
        });
        let (l, q) = (Arc::clone(&ledger), Arc::clone(&queue));
        let measures = Measures { ledger: l, queue: q, disks, also };
        let books = JoinSet::new();
        let mut service = Self { http, books, close_books, vital, ledger, queue };
        service.open_books(store, args.ledger.retention(), measures, notifying);
        Ok(service)
    }

    /// Starts what dispatches, records, looks after both, and tells users.
    fn open_books(
        &mut self,
        store: Arc<dyn ObjectStore>,
        retention: Retention,
        measures: Measures,
        notifying: Option<Notifying>,
    ) {
        let Self { books, close_books, vital, ledger, queue, .. } = self;
        let (l, q, end) = (Arc::clone(ledger), Arc::clone(queue), close_books.clone());
        let dispatch = async move { dispatcher::run(&l, &*q, Window::default(), &end).await };
        books.spawn(vital.part("dispatcher", dispatch));
        let (l, q, s, end) =
            (Arc::clone(ledger), Arc::clone(queue), Arc::clone(&store), close_books.clone());
        books.spawn(vital.part("recorder", async move { recorder::run(&l, &*q, s, &end).await }));
        let (l, end) = (Arc::clone(ledger), close_books.clone());
        let sweep = async move { sweep::run(&l, &*store, retention, &end).await };
        books.spawn(vital.part("sweeper", sweep));
        books.spawn(vital.part("measuring", measures.run(close_books.clone())));
        let (l, q, end) = (Arc::clone(ledger), Arc::clone(queue), close_books.clone());
        books.spawn(vital.part("reconciler", async move { reconciler::run(&l, &*q, &end).await }));
        if let Some(Notifying { courier, thresholds, .. }) = notifying {
            let (l, end) = (Arc::clone(ledger), close_books.clone());
            let notify = async move { work(&l, courier, thresholds, &end, LAST_CALLS).await };
            books.spawn(vital.part("notifier", notify));
        }
    }

    /// Ends what is told to: first the answers, then the books about them. Fails if it was not told
    /// by somebody, but by the death of a part.
    pub async fn end(mut self) -> Result<(), Failure> {
        let answered = async { while self.http.join_next().await.is_some() {} };
        tokio::select! {
            () = answered => {}
            // At once: who is being answered is not waited for.
            () = self.vital.shutdown.stopping() => {}
        }
        self.http.shutdown().await;
        self.close_books.cancel();
        while self.books.join_next().await.is_some() {}
        // After the recorder: whoever reads an event is there again.
        if let Err(error) = self.queue.leave().await {
            tracing::debug!(error = chain(&error), "left the queue without a word");
        }
        self.ledger.close().await;
        if self.vital.has_died.load(Ordering::SeqCst) {
            return Err(Failure::fault("a part of the service has died", "the log says which"));
        }
        Ok(())
    }
}

/// Ends the service when a part of it ends that should go on: a service without its dispatcher,
/// say, would look alive and do nothing.
#[derive(Clone)]
struct Vital {
    shutdown: Shutdown,
    has_died: Arc<AtomicBool>,
}

impl Vital {
    /// The `work` of a part of the service, which may end once the service is told to.
    fn part<W: Future<Output = ()> + Send>(
        &self,
        name: &'static str,
        work: W,
    ) -> impl Future<Output = ()> + Send + use<W> {
        let part = Part { name, vital: self.clone() };
        async move {
            // Also when the work panics.
            let _part = part;
            work.await;
        }
    }
}

struct Part {
    name: &'static str,
    vital: Vital,
}

impl Drop for Part {
    fn drop(&mut self) {
        let Vital { shutdown, has_died } = &self.vital;
        if !shutdown.is_draining() {
            tracing::error!("the {} has died: the service ends", self.name);
            has_died.store(true, Ordering::SeqCst);
            shutdown.drain();
        }
    }
}

/// What tells users, if this process does; they reach the API at `url` unless another was said.
async fn notifying(
    notify: Option<(&NotifyArgs, PathBuf)>,
    url: &str,
    ledger: &Arc<Ledger>,
) -> Result<Option<Notifying>, Failure> {
    let Some((notify, folder)) = notify else { return Ok(None) };
    let own: Url = url.parse().map_err(|error| Failure::cannot("name the service", error))?;
    if notify.public_url.is_none() && is_everywhere(&own) {
        tracing::warn!(links = url, "links in mails lead nowhere: say --public-url");
    }
    let public = notify.public_url.clone().unwrap_or(own);
    let config = notify.config(public, Some(folder))?;
    let courier = Courier::new(Arc::clone(ledger), config).await?;
    let mail = MailProbe::of(notify, &courier);
    Ok(Some(Notifying { courier, thresholds: notify.thresholds(), mail }))
}

/// Whether its host stands for all addresses of this machine.
fn is_everywhere(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_unspecified(),
        Some(Host::Ipv6(address)) => address.is_unspecified(),
        _ => false,
    }
}

/// Makes the first administrator where there is nobody; its password, if it was made up here.
async fn first_administrator(
    api: &Api,
    ledger: &Ledger,
    args: &LedgerArgs,
) -> Result<Option<String>, Failure> {
    if ledger.has_users().await? {
        return Ok(None);
    }
    let password = match &args.admin_password {
        Some(given) => {
            check_new(given)
                .map_err(|problem| Failure::usage("--admin-password", problem.detail))?;
            given.clone()
        }
        None => one_time(),
    };
    let failed = |problem: Problem| Failure::cannot("make the first administrator", problem.detail);
    let password_hash = api.passwords().hash(&password).await.map_err(failed)?;
    let new = NewUser { name: ADMIN.to_owned(), role: Role::Admin, password_hash, email: None };
    let added = ledger.add_user(&new).await?;
    // Of several that start at once, one has made it.
    Ok(added.filter(|_| args.admin_password.is_none()).map(|_| password))
}

impl HttpArgs {
    /// Where the service is.
    fn url(&self, listener: &TcpListener) -> String {
        let scheme = if self.tls.tls_cert.is_some() { "https" } else { "http" };
        let address = listener.local_addr().unwrap_or(self.listen);
        format!("{scheme}://{address}")
    }
}

/// Says where the service is, and how to get in for the first time.
fn greet(url: &str, password: Option<&str>) {
    // Nobody may listen, and the service runs all the same.
    print_line(&format!("tonemill: {url}"));
    if let Some(password) = password {
        print_line(&format!(
            "tonemill: log in as {ADMIN} with {password} (this is told once; if it is lost, \
             `tonemill admin users password {ADMIN}` makes another)"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_that_dies_ends_the_service() {
        let vital = Vital { shutdown: Shutdown::new(), has_died: Arc::default() };
        let (mut parts, told) = (JoinSet::new(), vital.shutdown.clone());
        parts.spawn(vital.part("one that goes on", async move { told.draining().await }));
        parts.spawn(vital.part("one that panics", async { panic!("on purpose") }));
        while parts.join_next().await.is_some() {}
        assert!(vital.shutdown.is_draining() && vital.has_died.load(Ordering::SeqCst));
    }

    #[tokio::test]
    async fn parts_that_are_told_to_end_may() {
        let vital = Vital { shutdown: Shutdown::new(), has_died: Arc::default() };
        let (mut parts, told) = (JoinSet::new(), vital.shutdown.clone());
        parts.spawn(vital.part("one that goes on", async move { told.draining().await }));
        vital.shutdown.drain();
        while parts.join_next().await.is_some() {}
        assert!(!vital.has_died.load(Ordering::SeqCst));
    }
}
