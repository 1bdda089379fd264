//! Access tokens: JWTs (RFC 9068) signed with Ed25519 (RFC 8037), by keys that change.
//!
//! Keys live in the ledger, so that every replica signs and verifies alike. A new key is published
//! a while before it signs, and stays published until the last token that it signed has expired.

use std::fmt::Write as _;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tonemill_ledger::Ledger;
use tonemill_ledger::signing_keys::SigningKey;
use uuid::Uuid;

use crate::problem::{Answer, Problem};

/// Who issues our tokens, and who they are for.
const ISSUER: &str = "tonemill";
/// The type of our tokens: nothing else that we sign is taken for one.
const TYPE: &str = "at+jwt";
/// How long before it signs a key is published: verifiers may keep old lists for as long.
const PUBLISHED_BEFORE_MS: i64 = 24 * 3600 * 1000;
/// How often keys that nobody knows are looked for: anybody can make up their names.
const LOOK: Duration = Duration::from_secs(1);
/// How far clocks may be apart.
const LEEWAY_SECONDS: u64 = 30;

/// How long tokens and keys last.
#[derive(Debug, Clone, Copy)]
pub struct TokenLifetimes {
    /// An access token. Default: 15 minutes.
    pub access: Duration,
    /// A refresh token. Default: 30 days.
    pub refresh: Duration,
    /// A key signs for this long. Default: 90 days.
    pub key: Duration,
}

impl Default for TokenLifetimes {
    fn default() -> Self {
        let day = Duration::from_hours(24);
        Self { access: Duration::from_mins(15), refresh: 30 * day, key: 90 * day }
    }
}

/// What an access token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    iss: String,
    aud: String,
    /// The user.
    pub sub: Uuid,
    /// The log-in.
    pub sid: Uuid,
    /// The user's role.
    pub role: String,
    /// The token.
    pub jti: Uuid,
    iat: u64,
    nbf: u64,
    exp: u64,
}

/// Signs and verifies access tokens.
#[derive(Debug)]
pub struct Tokens {
    lifetimes: TokenLifetimes,
    keys: RwLock<Arc<Vec<Key>>>,
    /// When an unknown key was looked for.
    looked: Mutex<Option<Instant>>,
}

struct Key {
    id: String,
    signs_from_ms: i64,
    signs: EncodingKey,
    verifies: DecodingKey,
    public: Jwk,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Tokens {
    /// Reads the keys, and makes the first or the next one if it is time.
    pub async fn open(ledger: &Ledger, lifetimes: TokenLifetimes) -> Answer<Self> {
        let tokens = Self { lifetimes, keys: RwLock::default(), looked: Mutex::default() };
        tokens.refresh_keys(ledger).await?;
        Ok(tokens)
    }

    /// How long tokens last.
    #[must_use]
    pub fn lifetimes(&self) -> TokenLifetimes {
        self.lifetimes
    }

    /// Reads the keys again, and makes the next one if it is time. To be called now and then.
    pub async fn refresh_keys(&self, ledger: &Ledger) -> Answer<()> {
        let now = ledger.now_ms();
        let mut stored = ledger.signing_keys().await?;
        let due = match stored.last() {
            None => Some(now),
            Some(last) => {
                let next = last.signs_from_ms.saturating_add(ms(self.lifetimes.key));
                let is_near = next - PUBLISHED_BEFORE_MS <= now;
                is_near.then_some(next.max(now + PUBLISHED_BEFORE_MS))
            }
        };
        if let Some(signs_from_ms) = due {
            let forget_before = now - 2 * ms(self.lifetimes.access) - PUBLISHED_BEFORE_MS;
            ledger.add_signing_key(&new_key(signs_from_ms)?, forget_before).await?;
            stored = ledger.signing_keys().await?;
        }
        self.set_keys(&stored)
    }

    /// Reads the keys again if `token` names one that is not among them: a replica that started in
    /// the same moment may have made it. Whether that key is known now.
    pub async fn learn_key(&self, ledger: &Ledger, token: &str) -> Answer<bool> {
        let named = jsonwebtoken::decode_header(token).ok().and_then(|header| header.kid);
        let Some(kid) = named.filter(|kid| !self.knows(kid)) else { return Ok(false) };
        let mut looked = self.looked.lock().await;
        if !self.knows(&kid) && looked.is_none_or(|looked| looked.elapsed() > LOOK) {
            *looked = Some(Instant::now());
            self.set_keys(&ledger.signing_keys().await?)?;
        }
        Ok(self.knows(&kid))
    }

    fn knows(&self, kid: &str) -> bool {
        self.keys().iter().any(|key| key.id == kid)
    }

    fn set_keys(&self, stored: &[SigningKey]) -> Answer<()> {
        let keys: Answer<Vec<Key>> = stored.iter().map(Key::read).collect();
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys?);
        Ok(())
    }

    /// A token for a log-in.
    pub fn sign(&self, now_ms: i64, user: Uuid, role: &str, session: Uuid) -> Answer<String> {
        let now = u64::try_from(now_ms / 1000).unwrap_or_default();
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: ISSUER.to_owned(),
            sub: user,
            sid: session,
            role: role.to_owned(),
            jti: Uuid::new_v4(),
            iat: now,
            nbf: now,
            exp: now + self.lifetimes.access.as_secs(),
        };
        let keys = self.keys();
        let signing = keys.iter().rev().find(|key| key.signs_from_ms <= now_ms);
        let key = signing.or(keys.first()).ok_or_else(|| Problem::internal("no key signs"))?;
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(TYPE.to_owned());
        header.kid = Some(key.id.clone());
        jsonwebtoken::encode(&header, &claims, &key.signs).map_err(|e| Problem::defect(&e))
    }

    /// What a token says, if it is one of ours and its time is now. Only the name of its key is
    /// believed of its header, and only as a name.
    #[must_use]
    pub fn verify(&self, now_ms: i64, token: &str) -> Option<Claims> {
        let header = jsonwebtoken::decode_header(token).ok()?;
        let is_ours = header.alg == Algorithm::EdDSA && header.typ.as_deref() == Some(TYPE);
        let kid = header.kid.filter(|_| is_ours)?;
        let keys = self.keys();
        let key = keys.iter().find(|key| key.id == kid)?;
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[ISSUER]);
        validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
        // Times are compared with the ledger's clock, below.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        let claims = jsonwebtoken::decode::<Claims>(token, &key.verifies, &validation).ok()?.claims;
        let now = u64::try_from(now_ms / 1000).unwrap_or_default();
        let is_now = claims.nbf <= now + LEEWAY_SECONDS && now < claims.exp;
        is_now.then_some(claims)
    }

    /// The public keys (RFC 7517 section 5).
    #[must_use]
    pub fn public_keys(&self) -> JwkSet {
        JwkSet { keys: self.keys().iter().map(|key| key.public.clone()).collect() }
    }

    fn keys(&self) -> Arc<Vec<Key>> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Key {
    fn read(stored: &SigningKey) -> Answer<Self> {
        let broken = || {
            tracing::error!(key = stored.id, "a signing key in the ledger is broken");
            Problem::internal("a signing key is broken")
        };
        let pkcs8 = unhex(&stored.pkcs8_hex).ok_or_else(broken)?;
        let pair = Ed25519KeyPair::from_pkcs8(&pkcs8).map_err(|_| broken())?;
        let signs = EncodingKey::from_ed_der(&pkcs8);
        let mut public = Jwk::from_encoding_key(&signs, Algorithm::EdDSA).map_err(|_| broken())?;
        public.common.key_id = Some(stored.id.clone());
        public.common.public_key_use = Some(jsonwebtoken::jwk::PublicKeyUse::Signature);
        Ok(Self {
            id: stored.id.clone(),
            signs_from_ms: stored.signs_from_ms,
            signs,
            verifies: DecodingKey::from_ed_der(pair.public_key().as_ref()),
            public,
        })
    }
}

fn new_key(signs_from_ms: i64) -> Answer<SigningKey> {
    let failed = |_| Problem::internal("no key can be made");
    let pair = Ed25519KeyPair::generate().map_err(failed)?;
    let der = pair.to_pkcs8v1().map_err(failed)?;
    Ok(SigningKey {
        id: Uuid::now_v7().simple().to_string(),
        pkcs8_hex: hex(der.as_ref()),
        signs_from_ms,
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    (0..text.len()).step_by(2).map(digits).collect()
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4)
}
