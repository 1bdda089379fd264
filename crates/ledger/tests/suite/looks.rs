//! Who only looks at a ledger changes nothing, whatever state it is in.

use tonemill_ledger::users::{NewUser, Role};
use tonemill_ledger::{Bond, Ledger, LedgerConfig, LedgerErrorKind};

use crate::bed::Bed;

async fn look(bed: &Bed) -> Ledger {
    Ledger::open_to_look(LedgerConfig::new(bed.url.clone())).await.unwrap()
}

pub async fn who_looks_changes_nothing(bed: Bed) {
    let looking = look(&bed).await;
    assert_eq!(looking.bond(&*bed.store).await.unwrap(), Bond::None);
    looking.bind(&*bed.store).await.expect_err("it must not mark anything");
    let new = NewUser {
        name: "somebody".to_owned(),
        role: Role::User,
        password_hash: "hash".to_owned(),
        email: None,
    };
    looking.add_user(&new).await.expect_err("it must not write");
    assert_eq!(bed.ledger.bond(&*bed.store).await.unwrap(), Bond::None);
    assert!(!bed.ledger.has_users().await.unwrap());

    bed.ledger.bind(&*bed.store).await.unwrap();
    assert_eq!(looking.bond(&*bed.store).await.unwrap(), Bond::Whole);
    looking.check().await.unwrap();
    looking.close().await;
}

pub async fn the_condition_says_what_the_tables_lack(bed: Bed) {
    let well = look(&bed).await.condition().await.unwrap();
    assert_eq!((well.migration, well.missing_migrations), (well.known_migration, 0));
    assert_eq!((well.broken_migration, well.has_users), (None, false));
    assert_eq!(well.server.too_old_for, None, "{:?}", well.server);
    assert!(well.clock_ahead_ms.abs() < 60_000, "{}", well.clock_ahead_ms);
    bed.user("somebody").await;
    assert!(look(&bed).await.condition().await.unwrap().has_users);

    let last = well.known_migration;
    bed.sql(&format!("UPDATE _sqlx_migrations SET success = FALSE WHERE version = {last}")).await;
    let half_made = look(&bed).await.condition().await.unwrap();
    assert_eq!((half_made.migration, half_made.missing_migrations), (last - 1, 1));
    assert_eq!(half_made.broken_migration, Some(last));

    bed.sql(&format!("DELETE FROM _sqlx_migrations WHERE version = {last}")).await;
    for _ in 0..2 {
        let older = look(&bed).await.condition().await.unwrap();
        assert_eq!((older.migration, older.missing_migrations), (last - 1, 1));
        assert_eq!(older.broken_migration, None);
    }
    bed.sql("UPDATE _sqlx_migrations SET version = 99 WHERE version = 1").await;
    assert_eq!(look(&bed).await.condition().await.unwrap().migration, 99);

    bed.sql("DROP TABLE _sqlx_migrations").await;
    let foreign = look(&bed).await.condition().await.unwrap();
    assert_eq!((foreign.migration, foreign.missing_migrations), (0, last as usize));
    assert!(!foreign.has_users, "not looked up without the tables");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_not_there_is_not_made() {
    let folder = tempfile::tempdir().unwrap();
    for options in ["", "?mode=rwc", "?mode=rwc&cache=private"] {
        let url = format!("sqlite://{}/ledger{options}", folder.path().display());
        let error = Ledger::open_to_look(LedgerConfig::new(url)).await.expect_err(options);
        assert_eq!(error.kind, LedgerErrorKind::Refused, "{error:?}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
