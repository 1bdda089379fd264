//! Users.

use tonemill_ledger::users::{NewUser, Role, UserChange};
use tonemill_ledger::{Acceptance, Quotas};

use crate::bed::{Bed, new_job};

pub async fn users_come_and_change(bed: Bed) {
    assert!(!bed.ledger.has_users().await.unwrap());
    let new = NewUser {
        name: "Ada".to_owned(),
        role: Role::Admin,
        password_hash: "one".to_owned(),
        email: Some("ada@example.org".to_owned()),
    };
    let ada = bed.ledger.add_user(&new).await.unwrap().unwrap();
    assert!(bed.ledger.has_users().await.unwrap());
    assert_eq!(bed.ledger.add_user(&new).await.unwrap(), None, "the name is taken");
    assert_eq!((ada.role, ada.email.as_deref()), (Role::Admin, Some("ada@example.org")));
    let (found, hash) = bed.ledger.user_by_name("Ada").await.unwrap().unwrap();
    assert_eq!((&found, hash.as_str()), (&ada, "one"));
    assert_eq!(bed.ledger.user_by_name("ada").await.unwrap(), None, "names differ by case");
    for spaced in ["Ada ", " Ada"] {
        assert_eq!(bed.ledger.user_by_name(spaced).await.unwrap(), None, "and by spaces");
    }
    for name in ["zoë", "ada", "Bob"] {
        bed.user(name).await;
    }
    let names = async |after: Option<&str>, most| {
        let users = bed.ledger.list_users(after, most).await.unwrap();
        users.into_iter().map(|user| user.name).collect::<Vec<_>>()
    };
    let all = names(None, 100).await;
    assert_eq!(all.len(), 4);
    assert_eq!(names(Some(&all[1]), 1).await, all[2..3]);

    let quotas = Quotas { stored_bytes: Some(5), ..Quotas::default() };
    let change = UserChange {
        role: Some(Role::User),
        disabled: Some(true),
        password_hash: Some("two".to_owned()),
        if_password_hash: Some("one".to_owned()),
        email: Some(None),
        mail_events: None,
        quotas: Some(quotas),
    };
    assert!(bed.ledger.change_user(ada.id, &change).await.unwrap());
    assert!(!bed.ledger.change_user(ada.id, &change).await.unwrap(), "of another password");
    let (changed, hash) = bed.ledger.user_by_name("Ada").await.unwrap().unwrap();
    assert_eq!((changed.role, changed.email, hash.as_str()), (Role::User, None, "two"));
    assert_eq!(changed.quotas, quotas);
    assert!(changed.disabled_ms.is_some());
    let refused = bed.ledger.accept(&new_job(&ada), None).await.unwrap();
    assert_eq!(refused, Acceptance::NoUser);
    let back = UserChange { disabled: Some(false), ..UserChange::default() };
    assert!(bed.ledger.change_user(ada.id, &back).await.unwrap());
    assert_eq!(bed.ledger.user(ada.id).await.unwrap().unwrap().disabled_ms, None);
    assert!(!bed.ledger.change_user(uuid::Uuid::now_v7(), &back).await.unwrap());
}
