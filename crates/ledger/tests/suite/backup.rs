//! The ledger in one file, and back, from any database into any other.

use std::io::{self, Read as _, Seek as _, Write};

use flate2::read::{GzDecoder, MultiGzDecoder};
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::task::block_in_place;
use tonemill_job::message::{FailureKind, What};
use tonemill_job::{Lane, ObjectKey};
use tonemill_ledger::backup::{Backup, BackupError, Since};
use tonemill_ledger::credentials::{ApiKeyMade, Refreshed};
use tonemill_ledger::sweep::{Retention, Sweeper};
use tonemill_ledger::uploads::{NewUpload, UploadKind};
use tonemill_ledger::users::{Role, User};
use tonemill_ledger::{BondError, Idempotency, JobFilter, Ledger, LedgerConfig, Owner, Quotas};

use crate::bed::{Bed, PASSWORD_HASH, failure, finished, hook, new_job};

const HOUR_MS: i64 = 3_600_000;

/// A name that every database has its own trouble with.
const STRANGE: &str = "Ünï 🎧 \"quoted\" \\ back 'n' %_ \t ?$1";

impl Bed {
    pub async fn back_up(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let looking = Ledger::open_to_look(LedgerConfig::new(self.url.clone())).await.unwrap();
        let header = looking.back_up(&mut bytes).await.unwrap();
        assert_eq!(opened(&bytes).unwrap().header(), &header);
        looking.close().await;
        bytes
    }

    /// All kinds of rows.
    async fn fill(&self) -> User {
        let user = self.with_mail("ada", Role::Admin).await;
        self.ledger.bind(&*self.store).await.unwrap();
        self.ledger.log_in(user.id, PASSWORD_HASH, HOUR_MS).await.unwrap().unwrap();
        self.ledger.secret("test").await.unwrap();
        self.ledger.add_webhook(user.id, &hook(&["job.finished"])).await.unwrap();
        let mut job = new_job(&user);
        (job.file_name, job.label) = (STRANGE.to_owned(), STRANGE.to_owned());
        job.webhook = Some(hook(&["job.failed"]));
        let request = Idempotency { key: "Key".to_owned(), request_hash: "hash".to_owned() };
        self.ledger.accept(&job, Some(&request)).await.unwrap();
        self.record(job.id, 1, What::Started).await;
        self.record(job.id, 1, finished(job.id, 1)).await;
        let failed = self.accept(&user, Lane::High).await;
        self.record(failed, 1, What::Failed { failure: failure(FailureKind::BadInput) }).await;
        self.accept(&user, Lane::Low).await;
        let id = tonemill_job::JobId::new();
        let upload = NewUpload {
            id,
            user: user.id,
            kind: UploadKind::Resumable,
            key: ObjectKey::upload(id),
            parts: None,
            file_name: STRANGE.to_owned(),
            metadata: String::new(),
            total_bytes: 5,
            lifetime_ms: 1_000_000,
        };
        self.ledger.begin_upload(&upload).await.unwrap();
        user
    }
}

pub fn opened(bytes: &[u8]) -> Result<Backup, BackupError> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    Backup::open(file)
}

/// What is in a backup, as others read it: both members of gzip.
fn text(bytes: &[u8]) -> String {
    let mut text = String::new();
    MultiGzDecoder::new(bytes).read_to_string(&mut text).unwrap();
    text
}

/// A backup of this text, sealed as docs of the format have it: a second, empty member of gzip
/// whose comment is the hash of the first.
fn sealed(text: &str) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(text.as_bytes()).unwrap();
    let mut bytes = gzip.finish().unwrap();
    let comment = format!("blake3:{}", blake3::hash(&bytes).to_hex());
    bytes.extend([0x1f, 0x8b, 8, 0x10, 0, 0, 0, 0, 0, 0xff]);
    bytes.extend(comment.as_bytes());
    bytes.extend([0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    bytes
}

/// Its rows, table by table, in an order that is nobody's.
fn contents(bytes: &[u8]) -> Vec<Vec<String>> {
    let text = text(bytes);
    let mut tables: Vec<Vec<String>> = Vec::new();
    for line in text.lines().skip(1) {
        if line.starts_with('{') {
            tables.push(Vec::new());
        }
        tables.last_mut().unwrap().push(line.to_owned());
    }
    for rows in &mut tables {
        rows[1..].sort_unstable();
    }
    tables
}

/// The way to grow, and back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_moves_from_database_to_database() {
    let from = Bed::sqlite().await;
    from.fill().await;
    let first = from.back_up().await;
    let due = contents(&first);
    assert!(due.iter().all(|table| table.len() > 1 || is_rare(&table[0])), "{due:#?}");
    let mut last = first;
    for bed in [Bed::postgres().await, Bed::mariadb().await, Bed::sqlite().await] {
        bed.ledger.restore(opened(&last).unwrap(), Since::Nothing).await.unwrap();
        assert_eq!(bed.ledger.audit_rows().await.unwrap(), [""; 0]);
        last = bed.back_up().await;
        assert_eq!(contents(&last), due);
        // It goes on.
        let (user, _) = bed.ledger.user_by_name("ada").await.unwrap().unwrap();
        bed.accept(&user, Lane::Normal).await;
        assert_eq!(bed.ledger.audit_rows().await.unwrap(), [""; 0]);
    }
}

/// Tables that a short life leaves empty.
fn is_rare(head: &str) -> bool {
    ["upload_parts", "delivery_attempts", "alerts", "signing_keys"]
        .iter()
        .any(|name| head.contains(&format!("\"table\":\"{name}\"")))
}

/// Does something in the middle of a backup: when its first bytes are written.
struct Meanwhile<F: FnMut()> {
    bytes: Vec<u8>,
    act: Option<F>,
}

impl<F: FnMut()> Write for Meanwhile<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(mut act) = self.act.take() {
            act();
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub async fn a_backup_is_of_one_moment(bed: Bed) {
    let user = bed.fill().await;
    let due = contents(&bed.back_up().await);
    let act = || {
        block_in_place(|| {
            Handle::current().block_on(async {
                for _ in 0..3 {
                    let job = bed.accept(&user, Lane::Normal).await;
                    bed.record(job, 1, What::Started).await;
                    bed.record(job, 1, finished(job, 1)).await;
                }
            });
        });
    };
    let mut out = Meanwhile { bytes: Vec::new(), act: Some(act) };
    let looking = Ledger::open_to_look(LedgerConfig::new(bed.url.clone())).await.unwrap();
    looking.back_up(&mut out).await.unwrap();
    assert!(out.act.is_none());
    assert_eq!(contents(&out.bytes), due);
    // Who made it holds no lock.
    bed.accept(&user, Lane::Normal).await;
    let more = looking.back_up(io::sink()).await.unwrap();
    assert_eq!(more.rows_of("jobs"), 7);
}

pub async fn a_ledger_that_is_not_empty_takes_none(bed: Bed) {
    let from = Bed::sqlite().await;
    from.fill().await;
    let bytes = from.back_up().await;
    // The last of its rows makes no sense: nothing of it stays.
    let text = text(&bytes);
    let wrong =
        text.trim_end().rsplit_once('\n').unwrap().0.to_owned() + "\n[\"mark\",\"one\",2]\n";
    let outcome = bed.ledger.restore(opened(&sealed(&wrong)).unwrap(), Since::Nothing).await;
    assert!(matches!(outcome, Err(BackupError::Damaged(_))), "{outcome:?}");

    bed.ledger.restore(opened(&bytes).unwrap(), Since::Nothing).await.unwrap();
    let due = contents(&bed.back_up().await);
    let again = bed.ledger.restore(opened(&bytes).unwrap(), Since::Nothing).await;
    assert!(matches!(again, Err(BackupError::NotEmpty("users"))), "{again:?}");
    assert_eq!(contents(&bed.back_up().await), due);
}

pub async fn two_who_restore_at_once_make_one_ledger(bed: Bed) {
    let from = Bed::sqlite().await;
    from.fill().await;
    let bytes = from.back_up().await;
    let other = bed.another_ledger(Quotas::default()).await;
    let (one, two) = tokio::join!(
        bed.ledger.restore(opened(&bytes).unwrap(), Since::Nothing),
        other.restore(opened(&bytes).unwrap(), Since::Nothing),
    );
    assert_eq!([&one, &two].iter().filter(|outcome| outcome.is_ok()).count(), 1, "{one:?} {two:?}");
    assert_eq!(contents(&bed.back_up().await), contents(&bytes));
}

/// What was made from a backup may be old: its store is not to be swept, and log-ins have ended.
pub async fn a_restored_ledger_is_held_back(bed: Bed) {
    let from = Bed::sqlite().await;
    let user = from.fill().await;
    let ApiKeyMade::Made(_, key) =
        from.ledger.add_api_key(user.id, "nightly", "read", None).await.unwrap()
    else {
        panic!("no key")
    };
    let log_in = from.ledger.log_in(user.id, PASSWORD_HASH, HOUR_MS).await.unwrap().unwrap();
    let bytes = from.back_up().await;
    let restored = bed.ledger.restore(opened(&bytes).unwrap(), Since::Something).await.unwrap();
    assert_eq!(restored.log_ins_ended, 2);
    assert!(bed.ledger.session_user(log_in.id).await.unwrap().is_none());
    let refreshed = bed.ledger.refresh(&log_in.refresh, HOUR_MS).await.unwrap();
    assert!(matches!(refreshed, Refreshed::Unknown));
    assert!(bed.ledger.api_key_user(&key).await.unwrap().is_some());
    let since = from.accept(&user, Lane::Normal).await;
    let upload = from.job(since).await.input.unwrap();
    from.put(&upload).await;
    let held = bed.ledger.bind(&*from.store).await;
    assert!(matches!(held, Err(BondError::Restored)), "{held:?}");
    let zero = std::time::Duration::ZERO;
    let hasty =
        Retention { nameless: zero, unfinished: zero, sweep_every: zero, ..Retention::default() };
    let mut sweeper = Sweeper::new(hasty);
    for _ in 0..3 {
        let held = sweeper.sweep(&bed.ledger, &*from.store).await;
        assert!(matches!(held, Err(BondError::Restored)), "{held:?}");
    }
    assert!(from.store.head(&upload).await.is_ok());
}

pub async fn one_that_never_had_a_store_is_held_back(bed: Bed) {
    let from = Bed::sqlite().await;
    from.user("ada").await;
    let bytes = from.back_up().await;
    bed.ledger.restore(opened(&bytes).unwrap(), Since::Something).await.unwrap();
    let held = bed.ledger.bind(&*from.store).await;
    assert!(matches!(held, Err(BondError::Restored)), "{held:?}");
}

/// Whatever bit of it is another, and wherever it ends too early.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_not_as_it_was_is_no_backup() {
    let bed = Bed::sqlite().await;
    bed.fill().await;
    let good = bed.back_up().await;
    for at in 0..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 1 << (at % 8);
        let error = opened(&bytes).expect_err("a changed bit");
        assert!(matches!(error, BackupError::Broken | BackupError::NotOne), "{at}: {error:?}");
        opened(&good[..at]).expect_err("a missing end");
    }
    opened(&[&good[..], b"x"].concat()).expect_err("a byte too many");
    opened(b"no backup").expect_err("something else");
    let mut other = GzEncoder::new(Vec::new(), Compression::fast());
    other.write_all(b"{}\n").unwrap();
    opened(&other.finish().unwrap()).expect_err("something else in gzip");
    // The seal is a member of its own, and empty.
    let mut first = String::new();
    GzDecoder::new(&good[..]).read_to_string(&mut first).unwrap();
    assert_eq!(first, text(&good));
    assert_eq!(contents(&sealed(&first)), contents(&good));
}

/// Sealed by somebody, of another version or with nonsense in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sealed_and_makes_no_sense_is_refused() {
    let bed = Bed::sqlite().await;
    bed.fill().await;
    let good = text(&bed.back_up().await);
    let (head, rest) = good.split_once('\n').unwrap();
    let with = |change: &dyn Fn(&mut Value)| {
        let mut header: Value = serde_json::from_str(head).unwrap();
        change(&mut header);
        sealed(&format!("{header}\n{rest}"))
    };
    let newer = with(&|header| header["tonemill_ledger_backup"] = json!(2));
    assert!(matches!(opened(&newer), Err(BackupError::Format(2))));
    assert!(matches!(opened(&sealed("[]\n")), Err(BackupError::NotOne)));
    assert!(matches!(opened(&sealed("")), Err(BackupError::NotOne)));
    let empty = Bed::sqlite().await;
    let restore =
        async |bytes: &[u8]| empty.ledger.restore(opened(bytes)?, Since::Nothing).await.map(drop);
    for migration in [3, 5] {
        let other = with(&|header| header["migration"] = json!(migration));
        let refused = restore(&other).await;
        let is_told = |error: &BackupError| match error {
            BackupError::OtherVersion { theirs, .. } => *theirs == migration,
            _ => false,
        };
        assert!(refused.as_ref().is_err_and(is_told), "{refused:?}");
    }
    for wrong in [
        with(&|header| header["rows"]["jobs"] = json!(2)),
        with(&|header| header["rows"]["jobs"] = json!(4)),
        with(&|header| header["rows"]["sqlite_master"] = json!(0)),
        sealed(&good.replace("\"stored_bytes\"]", "\"stored_bytes\",\"id\"]")),
        sealed(&good.replace("\"truncated\",", "\"truncated FROM jobs; --\",")),
        sealed(&good.replace("\"high\",0]", "\"high\",\"0\"]")),
        sealed(&good.replace("\"high\",0]", "\"high\",1.5]")),
        sealed(&good.replace("\"high\",0]", "\"high\"]")),
        sealed(&format!("{good}[]\n")),
        sealed(&format!("{good}no end")),
    ] {
        assert_ne!(text(&wrong), good);
        let refused = restore(&wrong).await;
        assert!(matches!(refused, Err(BackupError::Damaged(_))), "{refused:?}");
    }
    restore(&sealed(&good)).await.unwrap();
    let jobs = empty.ledger.list_jobs(Owner::Anyone, &JobFilter::default(), 10).await.unwrap();
    assert!(jobs.iter().any(|job| job.file_name == STRANGE));
}
