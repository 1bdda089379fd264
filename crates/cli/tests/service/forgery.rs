//! Tokens that somebody made himself: with another algorithm, another key, or a key that they bring
//! along, they open nothing (fault test 25).

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::client::Client;
use crate::ledger::Ledger;
use crate::service::Service;

/// A token of the service's, taken apart, and the key that it is signed with.
struct Forge {
    token: String,
    header: Value,
    claims: Value,
    key: Ed25519KeyPair,
}

impl Forge {
    async fn new(service: &Service, client: &Client) -> Self {
        let token = client.token.clone().unwrap();
        let part = |at| {
            let part = token.split('.').nth(at).expect("three parts");
            serde_json::from_slice::<Value>(&BASE64.decode(part).unwrap()).unwrap()
        };
        let hex = Ledger::of(service).await.texts("SELECT pkcs8_hex FROM signing_keys").await;
        let digits = hex[0].as_bytes().chunks(2).map(|two| std::str::from_utf8(two).unwrap());
        let key: Vec<u8> = digits.map(|two| u8::from_str_radix(two, 16).unwrap()).collect();
        let key = Ed25519KeyPair::from_pkcs8(&key).expect("a key");
        let (header, claims) = (part(0), part(1));
        Self { token, header, claims, key }
    }

    /// Signed with the service's own key.
    fn signed(&self, header: &Value, claims: &Value) -> String {
        let text = unsigned(header, claims);
        let signature = BASE64.encode(self.key.sign(text.as_bytes()));
        format!("{text}.{signature}")
    }

    /// Another header, or without this field of it.
    fn header(&self, name: &str, value: Option<Value>) -> String {
        self.signed(&changed(&self.header, name, value), &self.claims)
    }

    fn claim(&self, name: &str, value: Option<Value>) -> String {
        self.signed(&self.header, &changed(&self.claims, name, value))
    }

    /// As if the public key were a shared secret.
    fn with_secret(&self, secret: &[u8]) -> String {
        let text = unsigned(&changed(&self.header, "alg", Some(json!("HS256"))), &self.claims);
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), text.as_bytes());
        format!("{text}.{}", BASE64.encode(tag.as_ref()))
    }
}

fn unsigned(header: &Value, claims: &Value) -> String {
    [header, claims].map(|part| BASE64.encode(part.to_string())).join(".")
}

fn changed(object: &Value, name: &str, value: Option<Value>) -> Value {
    let mut object = object.clone();
    let fields = object.as_object_mut().unwrap();
    match value {
        Some(value) => fields.insert(name.to_owned(), value),
        None => fields.remove(name),
    };
    object
}

/// Wherever a token can be shown, this one is refused.
async fn refused(client: &Client, what: &str, token: &str) {
    let nobody = Client { token: None, ..client.clone() };
    let places = [
        client.with(token).get("/v1/users"),
        nobody.get("/v1/users").header("x-api-key", token),
        nobody.get(format!("/v1/users?access_token={token}")),
    ];
    for place in places {
        let reply = place.send().await;
        assert_eq!(reply.status, 401, "{what}");
        let challenge = reply.header("www-authenticate");
        assert!(challenge.is_some_and(|c| c.starts_with("Bearer")), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_tokens_open_nothing() {
    let service = Service::embedded();
    let client = service.admin().await;
    let eve = service.user("eve").await;
    let of_eve = Forge::new(&service, &eve).await;
    let forge = Forge::new(&service, &client).await;
    let now = forge.claims["iat"].as_u64().unwrap();
    let jwks = service.nobody().get("/.well-known/jwks.json").send().await.expect(200);
    let x = jwks.json()["keys"][0]["x"].as_str().unwrap().to_owned();
    let parts: Vec<&str> = forge.token.split('.').collect();
    let none = unsigned(&changed(&forge.header, "alg", Some(json!("none"))), &forge.claims);
    let admin = unsigned(&of_eve.header, &changed(&of_eve.claims, "role", Some(json!("admin"))));
    let forged = [
        ("alg none", format!("{none}.")),
        ("alg none, signed", format!("{none}.{}", parts[2])),
        ("alg None", forge.header("alg", Some(json!("None")))),
        ("the public key as a secret", forge.with_secret(&BASE64.decode(&x).unwrap())),
        ("its text as a secret", forge.with_secret(x.as_bytes())),
        ("all keys as a secret", forge.with_secret(&jwks.body)),
        ("another kid", forge.header("kid", Some(json!("0199a0f0000070008000000000000000")))),
        ("a kid that leads elsewhere", forge.header("kid", Some(json!("../../dev/null")))),
        ("no kid", forge.header("kid", None)),
        ("another typ", forge.header("typ", Some(json!("JWT")))),
        ("no typ", forge.header("typ", None)),
        ("another aud", forge.claim("aud", Some(json!("else")))),
        ("no aud", forge.claim("aud", None)),
        ("another iss", forge.claim("iss", Some(json!("else")))),
        ("no iss", forge.claim("iss", None)),
        ("expired", forge.claim("exp", Some(json!(now - 1)))),
        ("no exp", forge.claim("exp", None)),
        ("not yet", forge.claim("nbf", Some(json!(now + 120)))),
        ("somebody else's log-in", forge.claim("sub", Some(of_eve.claims["sub"].clone()))),
        ("no log-in of ours", forge.claim("sid", Some(json!(uuid::Uuid::now_v7())))),
        ("another payload", format!("{admin}.{}", of_eve.token.split('.').nth(2).unwrap())),
        ("no signature", format!("{}.{}.", parts[0], parts[1])),
        ("half a signature", forge.token[..forge.token.len() - 20].to_owned()),
        ("two parts", parts[..2].join(".")),
        ("nothing", String::new()),
    ];
    let again = forge.signed(&forge.header, &forge.claims);
    client.with(again).get("/v1/me").send().await.expect(200);
    for (what, token) in &forged {
        refused(&client, what, token).await;
    }
    println!("{} forged tokens, each in three places: none was taken", forged.len());
    // Who is an administrator is the ledger's to say, whatever a good token says.
    let role = of_eve.claim("role", Some(json!("admin")));
    eve.with(role).get("/v1/users").send().await.problem(403);
}

/// Headers of JWS that say which key to verify with (RFC 7515 sections 4.1.2 to 4.1.8): ours alone
/// are good, and nobody is asked for others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_a_token_brings_along_are_not_taken() {
    let service = Service::embedded();
    let client = service.admin().await;
    let ours = Forge::new(&service, &client).await;
    let elsewhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/keys", elsewhere.local_addr().unwrap());
    let theirs = Ed25519KeyPair::generate().expect("a key");
    let x = BASE64.encode(theirs.public_key().as_ref());
    let mut forge = Forge { key: theirs, ..ours };
    let kid = forge.header["kid"].clone();
    let jwk =
        json!({"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": kid, "x": x});
    let secret = json!({"kty": "oct", "k": BASE64.encode("secret"), "kid": kid});
    let bring = [
        ("nothing", json!({})),
        ("a key", json!({"jwk": jwk})),
        ("a key of its own name", json!({"jwk": jwk, "kid": "theirs"})),
        ("a secret", json!({"jwk": secret, "alg": "HS256"})),
        ("an address of keys", json!({"jku": url})),
        ("an address of a certificate", json!({"x5u": url})),
        ("a certificate", json!({"x5c": [x], "x5t": "AAAA", "x5t#S256": "AAAA"})),
        ("an address, to be understood", json!({"jku": url, "crit": ["jku"]})),
        ("an address for a name", json!({"kid": url})),
        ("a file for a name", json!({"kid": "file:///dev/null"})),
        ("a statement for a name", json!({"kid": "' OR '1'='1"})),
    ];
    let good = forge.header.clone();
    for (what, headers) in &bring {
        forge.header = good.clone();
        for (name, value) in headers.as_object().unwrap() {
            forge.header = changed(&forge.header, name, Some(value.clone()));
        }
        let token = match headers["alg"].as_str() {
            Some(_) => forge.with_secret(b"secret"),
            None => forge.signed(&forge.header, &forge.claims),
        };
        refused(&client, what, &token).await;
    }
    for alg in ["HS384", "HS512", "RS256", "PS256", "ES256", "Ed25519", "eddsa", "none "] {
        refused(&client, alg, &forge.header("alg", Some(json!(alg)))).await;
    }
    client.get("/v1/me").send().await.expect(200);
    let asked = elsewhere.into_std().unwrap().accept();
    assert_eq!(asked.unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "it fetched keys");
}
