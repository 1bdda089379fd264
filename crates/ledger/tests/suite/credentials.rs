//! Log-ins, refresh tokens, API keys, signing keys.

use std::sync::Arc;

use tokio::sync::Notify;
use tonemill_ledger::LedgerError;
use tonemill_ledger::credentials::{
    ApiKey, ApiKeyMade, MAX_API_KEYS, Refreshed, Session, Token, TokenKind,
};
use tonemill_ledger::signing_keys::SigningKey;
use tonemill_ledger::sweep::{Retention, Sweeper};
use tonemill_ledger::users::{User, UserChange};

use crate::bed::{Bed, PASSWORD_HASH};

const HOUR_MS: i64 = 3_600_000;

async fn log_in(bed: &Bed, user: &User, password_hash: &str) -> Session {
    let session = bed.ledger.log_in(user.id, password_hash, HOUR_MS).await.unwrap();
    session.expect("the password is right")
}

fn made(outcome: Result<ApiKeyMade, LedgerError>) -> (ApiKey, Token) {
    match outcome.unwrap() {
        ApiKeyMade::Made(key, token) => (key, token),
        other => panic!("{other:?}"),
    }
}

fn renewed(outcome: Refreshed) -> Session {
    match outcome {
        Refreshed::Renewed(session) => *session,
        other => panic!("{other:?}"),
    }
}

pub async fn log_ins_are_renewed_and_end(bed: Bed) {
    let user = bed.user("u").await;
    let session = log_in(&bed, &user, PASSWORD_HASH).await;
    assert_eq!(bed.ledger.session_user(session.id).await.unwrap(), Some(user.clone()));
    let next = renewed(bed.ledger.refresh(&session.refresh, HOUR_MS).await.unwrap());
    assert_eq!((next.id, &next.user), (session.id, &user));
    // Its answer was lost: once more, and both successors are good.
    let sibling = renewed(bed.ledger.refresh(&session.refresh, HOUR_MS).await.unwrap());
    let next = renewed(bed.ledger.refresh(&next.refresh, HOUR_MS).await.unwrap());
    renewed(bed.ledger.refresh(&sibling.refresh, HOUR_MS).await.unwrap());

    // A wrong secret, an unknown token, one that has expired.
    let text = next.refresh.text();
    let forged = format!("{}{}", &text[..text.len() - 1], u8::from(text.ends_with('0')));
    let forged = Token::parse(TokenKind::Refresh, &forged).unwrap();
    assert!(matches!(bed.ledger.refresh(&forged, HOUR_MS).await.unwrap(), Refreshed::Unknown));
    let short = bed.ledger.log_in(user.id, PASSWORD_HASH, -1).await.unwrap().unwrap();
    let outcome = bed.ledger.refresh(&short.refresh, HOUR_MS).await.unwrap();
    assert!(matches!(outcome, Refreshed::Unknown));

    // Its first token is forgotten long before its last.
    bed.sql(&format!("UPDATE credentials SET expires_ms = 1 WHERE id = '{}'", session.id)).await;
    Sweeper::new(Retention::default()).sweep(&bed.ledger, &*bed.store).await.unwrap();
    let outcome = bed.ledger.refresh(&session.refresh, HOUR_MS).await.unwrap();
    assert!(matches!(outcome, Refreshed::Unknown), "it is forgotten");
    assert_eq!(bed.ledger.session_user(session.id).await.unwrap(), Some(user.clone()));

    bed.ledger.log_out(session.id).await.unwrap();
    assert_eq!(bed.ledger.session_user(session.id).await.unwrap(), None);
    let outcome = bed.ledger.refresh(&next.refresh, HOUR_MS).await.unwrap();
    assert!(matches!(outcome, Refreshed::Unknown));

    // Another password, and being disabled, end every log-in.
    for (hash, change) in [
        (
            PASSWORD_HASH,
            UserChange { password_hash: Some("new".to_owned()), ..UserChange::default() },
        ),
        ("new", UserChange { disabled: Some(true), ..UserChange::default() }),
    ] {
        let session = log_in(&bed, &user, hash).await;
        assert!(bed.ledger.change_user(user.id, &change).await.unwrap());
        assert_eq!(bed.ledger.session_user(session.id).await.unwrap(), None);
        // Its password was verified before.
        let late = bed.ledger.log_in(user.id, hash, HOUR_MS).await.unwrap();
        assert!(late.is_none());
    }
    let nobody = bed.ledger.log_in(uuid::Uuid::now_v7(), PASSWORD_HASH, HOUR_MS).await.unwrap();
    assert!(nobody.is_none());
}

/// Log-ins whose password was verified before it became another: none of them goes on.
pub async fn no_log_in_outlives_its_password(bed: Bed) {
    let user = bed.user("u").await;
    let (mut hash, mut made) = (PASSWORD_HASH.to_owned(), 0);
    for round in 0..20 {
        let (ledger, old) = (Arc::clone(&bed.ledger), hash);
        let begun = Arc::new(Notify::new());
        let has_begun = Arc::clone(&begun);
        let log_ins = tokio::spawn(async move {
            let mut sessions = Vec::new();
            // Until it is refused, and for a while after that.
            let mut refused = 0;
            while refused < 3 {
                match ledger.log_in(user.id, &old, HOUR_MS).await.unwrap() {
                    Some(session) => {
                        sessions.push(session);
                        begun.notify_one();
                    }
                    None => refused += 1,
                }
            }
            sessions
        });
        hash = round.to_string();
        has_begun.notified().await;
        let password_hash = Some(hash.clone());
        let change = UserChange { password_hash, ..UserChange::default() };
        assert!(bed.ledger.change_user(user.id, &change).await.unwrap());
        let sessions = log_ins.await.unwrap();
        made += sessions.len();
        for session in sessions {
            assert!(bed.ledger.session_user(session.id).await.unwrap().is_none());
        }
    }
    assert!(made > 0, "none was in time");
    log_in(&bed, &user, &hash).await;
}

pub async fn reuse_ends_the_family(bed: Bed) {
    let user = bed.user("u").await;
    let stolen = log_in(&bed, &user, PASSWORD_HASH).await;
    let other = log_in(&bed, &user, PASSWORD_HASH).await;
    let next = renewed(bed.ledger.refresh(&stolen.refresh, HOUR_MS).await.unwrap());
    bed.sql("UPDATE credentials SET used_ms = used_ms - 11000").await;
    let outcome = bed.ledger.refresh(&stolen.refresh, HOUR_MS).await.unwrap();
    assert!(matches!(outcome, Refreshed::Reused));
    assert_eq!(bed.ledger.session_user(stolen.id).await.unwrap(), None);
    let outcome = bed.ledger.refresh(&next.refresh, HOUR_MS).await.unwrap();
    assert!(matches!(outcome, Refreshed::Unknown), "its successors end with it");
    assert!(bed.ledger.session_user(other.id).await.unwrap().is_some(), "others go on");
}

/// A refresh that is under way while its log-in ends adds a token that ends with it.
pub async fn who_logs_out_meets_every_refresh(bed: Bed) {
    let user = bed.user("u").await;
    let mut hash = PASSWORD_HASH.to_owned();
    for round in 0..20 {
        let session = log_in(&bed, &user, &hash).await;
        let (ledger, first) = (Arc::clone(&bed.ledger), session.refresh.clone());
        let refreshes = tokio::spawn(async move {
            let mut last = first;
            // Far more than there is time for.
            for _ in 0..1000 {
                match ledger.refresh(&last, HOUR_MS).await.unwrap() {
                    Refreshed::Renewed(next) => last = next.refresh,
                    _ => return last,
                }
            }
            panic!("it never ends");
        });
        if round % 2 == 0 {
            bed.ledger.log_out(session.id).await.unwrap();
        } else {
            hash = round.to_string();
            let password_hash = Some(hash.clone());
            let change = UserChange { password_hash, ..UserChange::default() };
            assert!(bed.ledger.change_user(user.id, &change).await.unwrap());
        }
        assert_eq!(bed.ledger.session_user(session.id).await.unwrap(), None);
        let last = refreshes.await.unwrap();
        assert!(matches!(bed.ledger.refresh(&last, HOUR_MS).await.unwrap(), Refreshed::Unknown));
        assert_eq!(bed.ledger.session_user(session.id).await.unwrap(), None);
    }
}

/// SQLite has one writer: whoever makes tokens up must not keep it busy.
pub async fn a_made_up_token_waits_for_no_writer(bed: Bed) {
    let writer = bed.slow_writer().await;
    let text = format!("tmr_{}_{}", uuid::Uuid::now_v7(), "0".repeat(64));
    let made_up = Token::parse(TokenKind::Refresh, &text).unwrap();
    assert!(matches!(bed.ledger.refresh(&made_up, HOUR_MS).await.unwrap(), Refreshed::Unknown));
    drop(writer);
}

pub async fn api_keys_do_until_revoked(bed: Bed) {
    let (user, other) = (bed.user("u").await, bed.user("o").await);
    let (key, token) = made(bed.ledger.add_api_key(user.id, "ci", "read write", None).await);
    let (holder, scopes) = bed.ledger.api_key_user(&token).await.unwrap().unwrap();
    assert_eq!((holder.id, scopes.as_str()), (user.id, "read write"));
    let listed = bed.ledger.api_keys(user.id).await.unwrap();
    assert_eq!((listed.len(), listed[0].id, listed[0].label.as_str()), (1, key.id, "ci"));
    assert!(listed[0].used_ms.is_some());
    let past = bed.ledger.now_ms() - 1;
    let (_, expired) = made(bed.ledger.add_api_key(user.id, "", "read", Some(past)).await);
    assert_eq!(bed.ledger.api_key_user(&expired).await.unwrap(), None);
    assert_eq!(bed.ledger.api_keys(user.id).await.unwrap().len(), 1);

    assert!(!bed.ledger.revoke_api_key(other.id, key.id).await.unwrap());
    assert!(bed.ledger.revoke_api_key(user.id, key.id).await.unwrap());
    assert!(!bed.ledger.revoke_api_key(user.id, key.id).await.unwrap());
    assert_eq!(bed.ledger.api_key_user(&token).await.unwrap(), None);
    // A refresh token is no API key, and no key refreshes.
    let session = log_in(&bed, &user, PASSWORD_HASH).await;
    let text = session.refresh.text().replace("tmr_", "tmk_");
    let disguised = Token::parse(TokenKind::ApiKey, &text).unwrap();
    assert_eq!(bed.ledger.api_key_user(&disguised).await.unwrap(), None);
}

/// However many are asked for at once, and whatever happens to the user meanwhile.
pub async fn api_keys_have_a_number_and_an_end(bed: Bed) {
    let user = bed.user("u").await;
    let add = || {
        let (ledger, user) = (Arc::clone(&bed.ledger), user.id);
        tokio::spawn(async move { ledger.add_api_key(user, "", "read", None).await.unwrap() })
    };
    for _ in 0..MAX_API_KEYS - 2 {
        made(bed.ledger.add_api_key(user.id, "", "read", None).await);
    }
    let tries: Vec<_> = (0..8).map(|_| add()).collect();
    let mut count = 0;
    for outcome in tries {
        count += usize::from(matches!(outcome.await.unwrap(), ApiKeyMade::Made(..)));
    }
    assert_eq!(count, 2);

    for key in bed.ledger.api_keys(user.id).await.unwrap() {
        bed.ledger.revoke_api_key(user.id, key.id).await.unwrap();
    }
    let disable = UserChange { disabled: Some(true), ..UserChange::default() };
    let tries: Vec<_> = (0..8).map(|_| add()).collect();
    assert!(bed.ledger.change_user(user.id, &disable).await.unwrap());
    for outcome in tries {
        outcome.await.unwrap();
    }
    assert_eq!(bed.ledger.api_keys(user.id).await.unwrap(), [], "they ended with the user");
    assert!(matches!(add().await.unwrap(), ApiKeyMade::NoUser));
}

pub async fn signing_keys_follow_each_other(bed: Bed) {
    let key = |id: &str, from| SigningKey {
        id: id.to_owned(),
        pkcs8_hex: "00".to_owned(),
        signs_from_ms: from,
    };
    for (id, from) in [("a", 100), ("b", 200), ("c", 300)] {
        bed.ledger.add_signing_key(&key(id, from), 0).await.unwrap();
    }
    let ids = async || {
        let keys = bed.ledger.signing_keys().await.unwrap();
        keys.into_iter().map(|key| key.id).collect::<Vec<_>>()
    };
    assert_eq!(ids().await, ["a", "b", "c"]);
    // "a" signed until 200, "b" until 300.
    bed.ledger.add_signing_key(&key("d", 400), 201).await.unwrap();
    assert_eq!(ids().await, ["b", "c", "d"]);
}
