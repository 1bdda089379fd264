//! A mail server that keeps what it takes, and reads it as a mail program would: `mail_server.py`.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde::Deserialize;
use tempfile::TempDir;

use crate::process::Process;
use crate::server::{self, Server};
use crate::tls::Authority;

/// What a mail may take to come.
const PATIENCE: Duration = Duration::from_mins(1);
const LOOK: Duration = Duration::from_millis(20);

/// How it is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailSecurity {
    /// In the clear, without a log-in.
    Plain,
    /// TLS after the first commands, then a log-in.
    StartTls,
    /// TLS from the beginning, then a log-in.
    Tls,
}

/// A mail, as a mail program reads it.
#[derive(Debug, Clone, Deserialize)]
pub struct Mail {
    /// Whom its envelope is to.
    pub to: Vec<String>,
    /// Whether it came by TLS.
    pub is_tls: bool,
    /// Whether its sender had logged in.
    pub is_authenticated: bool,
    /// Names and values, decoded, in order.
    pub headers: Vec<(String, String)>,
    /// What is wrong with it.
    pub defects: Vec<String>,
    /// The types of its parts, those around others first.
    pub parts: Vec<String>,
    /// Its plain part.
    pub text: String,
    /// Its HTML part.
    pub html: String,
}

impl Mail {
    /// The value of a header that it has once.
    ///
    /// # Panics
    ///
    /// If it has it not once.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        let mut values = self.headers.iter().filter(|(is, _)| is.eq_ignore_ascii_case(name));
        match (values.next(), values.next()) {
            (Some((_, value)), None) => value,
            _ => panic!("{name} is not there once: {:?}", self.headers),
        }
    }
}

/// A running mail server.
#[derive(Debug)]
pub struct MailServer {
    // In this order: first the process, then its folder.
    server: Server,
    security: MailSecurity,
    authority: Authority,
    folder: TempDir,
}

impl MailServer {
    /// The name and the password that it wants.
    pub const CREDENTIALS: (&str, &str) = ("tone:mill@example.org", "p@ss/wörd");

    /// Starts one.
    ///
    /// # Panics
    ///
    /// If it does not start.
    #[must_use]
    pub fn start(security: MailSecurity) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let authority = Authority::new();
        let server = Server::start("the mail server", |port| {
            start(port, security, &authority, folder.path())
        });
        Self { server, security, authority, folder }
    }

    /// Ends it, at once.
    ///
    /// # Panics
    ///
    /// If it does not run.
    pub fn kill(&mut self) {
        drop(self.server.take());
    }

    /// Starts it again, where it was and with what it had.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn restart(&mut self) {
        let Self { security, authority, folder, .. } = self;
        self.server.restart(|port| start(port, *security, authority, folder.path()));
    }

    /// Its port, at `localhost`.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// Who vouches for it.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The mails that it took, in order.
    ///
    /// # Panics
    ///
    /// If one cannot be read.
    #[must_use]
    pub fn mails(&self) -> Vec<Mail> {
        let file = |number: u32| self.folder.path().join(format!("{number}.json"));
        let read = |number| fs::read(file(number)).ok();
        let parsed = |bytes: Vec<u8>| serde_json::from_slice(&bytes).expect("a mail");
        (1..).map_while(read).map(parsed).collect()
    }

    /// Waits until it took so many mails; all of them.
    ///
    /// # Panics
    ///
    /// If they do not come.
    pub async fn wait_for(&self, count: usize) -> Vec<Mail> {
        let start = Instant::now();
        loop {
            let mails = self.mails();
            if mails.len() >= count {
                return mails;
            }
            assert!(start.elapsed() < PATIENCE, "{} of {count} mails came", mails.len());
            tokio::time::sleep(LOOK).await;
        }
    }
}

fn start(
    port: u16,
    security: MailSecurity,
    authority: &Authority,
    folder: &Path,
) -> Option<Process> {
    let tls = match security {
        MailSecurity::Plain => "none",
        MailSecurity::StartTls => "starttls",
        MailSecurity::Tls => "tls",
    };
    // The system's, which has the package, whatever other Python comes first.
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-c", include_str!("mail_server.py")]);
    command.args(["--port", &port.to_string(), "--tls", tls]);
    command.arg("--folder").arg(folder);
    command.arg("--certificate").arg(authority.certificate_file());
    command.arg("--key").arg(authority.key_file());
    if security != MailSecurity::Plain {
        let (name, password) = MailServer::CREDENTIALS;
        command.args(["--name", name, "--password", password]);
    }
    server::start(&mut command, folder, &format!("takes mails on port {port}"))
}
