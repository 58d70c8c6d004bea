//! Log-ins by identity providers, which are real ones here: HTTP servers with keys of their own. What a dishonest one, or
//! somebody in between, can try.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use legwork_domain::Role;
use legwork_server::{Admits, Provider, Speech};
use openidconnect::PrivateSigningKey as _;
use openidconnect::core::{CoreEdDsaPrivateSigningKey, CoreJwsSigningAlgorithm};
use reqwest::{Response, Url};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::world::World;

/// What the provider does that it should not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    None,
    Nonce,
    Audience,
    Issuer,
    Expired,
    Unsigned,
    SignedByAnother,
    SignedWithTheSecret,
    MailUnverified,
}

struct Idp {
    url: String,
    /// How often it was asked about itself.
    described: AtomicUsize,
    /// What its keys are made from.
    seed: AtomicU8,
    lie: Mutex<Lie>,
    /// The query of the last `authorize`, as the browser would bring it.
    asked: Mutex<HashMap<String, String>>,
    person: Mutex<Value>,
    /// Held while it is to answer nobody.
    answers: tokio::sync::RwLock<()>,
}

/// The PEM of a key (RFC 8410), from its 32 bytes.
fn key(seed: u8) -> CoreEdDsaPrivateSigningKey {
    let mut der = hex::decode("302e020100300506032b657004220420").unwrap();
    der.extend([seed; 32]);
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der));
    CoreEdDsaPrivateSigningKey::from_ed25519_pem(&pem, None).unwrap()
}

impl Idp {
    async fn start() -> Arc<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let idp = Arc::new(Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            described: AtomicUsize::new(0),
            seed: AtomicU8::new(1),
            lie: Mutex::new(Lie::None),
            asked: Mutex::default(),
            person: Mutex::new(
                json!({ "sub": "1", "email": "ada@corp.example", "preferred_username": "ada" }),
            ),
            answers: tokio::sync::RwLock::default(),
        });
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(Self::describe))
            .route("/keys", get(Self::keys))
            .route("/token", post(Self::token))
            .route("/login/oauth/access_token", post(Self::token))
            .route("/api/v3/user", get(Self::user))
            .with_state(Arc::clone(&idp));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        idp
    }

    async fn describe(State(idp): State<Arc<Self>>) -> Json<Value> {
        idp.described.fetch_add(1, Ordering::SeqCst);
        let url = &idp.url;
        Json(json!({
            "issuer": url,
            "authorization_endpoint": format!("{url}/authorize"),
            "token_endpoint": format!("{url}/token"),
            "jwks_uri": format!("{url}/keys"),
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["EdDSA", "HS256", "none"],
        }))
    }

    async fn keys(State(idp): State<Arc<Self>>) -> Json<Value> {
        Json(json!({ "keys": [idp.key().as_verification_key()] }))
    }

    fn key(&self) -> CoreEdDsaPrivateSigningKey {
        key(self.seed.load(Ordering::SeqCst))
    }

    async fn token(
        State(idp): State<Arc<Self>>,
        headers: HeaderMap,
        body: String,
    ) -> Result<Json<Value>, StatusCode> {
        drop(idp.answers.read().await);
        let asked = idp.asked.lock().unwrap().clone();
        let form = Url::parse(&format!("form:?{body}")).unwrap();
        let form: HashMap<String, String> = form.query_pairs().into_owned().collect();
        let proof = URL_SAFE_NO_PAD.encode(Sha256::digest(form["code_verifier"].as_bytes()));
        let basic = format!("Basic {}", STANDARD.encode("us:a%2Bsecret"));
        let is_us = headers.get("authorization").is_some_and(|sent| sent.to_str().unwrap() == basic);
        let fits = proof == asked["code_challenge"] && form["redirect_uri"] == asked["redirect_uri"];
        if !(is_us && fits && form["code"] == "good") {
            return Err(StatusCode::BAD_REQUEST);
        }
        let mut answer = json!({ "access_token": "gho_1", "token_type": "bearer", "expires_in": 60 });
        // GitHub sends none.
        if idp.person.lock().unwrap()["sub"].is_string() {
            answer["id_token"] = json!(idp.id_token(&asked["nonce"]));
        }
        Ok(Json(answer))
    }

    async fn user(State(idp): State<Arc<Self>>, headers: HeaderMap) -> Result<Json<Value>, StatusCode> {
        let is_bearer = headers.get("authorization").is_some_and(|sent| sent == "Bearer gho_1");
        is_bearer.then(|| Json(idp.person.lock().unwrap().clone())).ok_or(StatusCode::UNAUTHORIZED)
    }

    fn id_token(&self, nonce: &str) -> String {
        let lie = *self.lie.lock().unwrap();
        let now = jiff::Timestamp::now().as_second();
        let mut claims = self.person.lock().unwrap().clone();
        let said = |honest: &str, is_lie: bool| if is_lie { "another".to_owned() } else { honest.to_owned() };
        claims["iss"] = if lie == Lie::Issuer { json!("http://another") } else { json!(self.url) };
        claims["aud"] = json!(said("us", lie == Lie::Audience));
        claims["nonce"] = json!(said(nonce, lie == Lie::Nonce));
        claims["email_verified"] = json!(lie != Lie::MailUnverified);
        claims["iat"] = json!(now - 7200);
        claims["exp"] = json!(if lie == Lie::Expired { now - 3600 } else { now + 600 });
        let alg = match lie {
            Lie::Unsigned => "none",
            Lie::SignedWithTheSecret => "HS256",
            Lie::None
            | Lie::Nonce
            | Lie::Audience
            | Lie::Issuer
            | Lie::Expired
            | Lie::SignedByAnother
            | Lie::MailUnverified => "EdDSA",
        };
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", part(&json!({ "alg": alg })), part(&claims));
        let signature = match lie {
            Lie::Unsigned => Vec::new(),
            Lie::SignedWithTheSecret => {
                use hmac::{Hmac, KeyInit as _, Mac as _};
                let mut mac = Hmac::<Sha256>::new_from_slice(b"a+secret").unwrap();
                mac.update(text.as_bytes());
                mac.finalize().into_bytes().to_vec()
            }
            Lie::SignedByAnother => key(2).sign(&CoreJwsSigningAlgorithm::EdDsa, text.as_bytes()).unwrap(),
            Lie::None | Lie::Nonce | Lie::Audience | Lie::Issuer | Lie::Expired | Lie::MailUnverified => {
                self.key().sign(&CoreJwsSigningAlgorithm::EdDsa, text.as_bytes()).unwrap()
            }
        };
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn provider(idp: &Idp, admits: Admits) -> Provider {
    Provider {
        name: "corp".into(),
        speech: Speech::OpenId { issuer: idp.url.clone() },
        client_id: "us".into(),
        client_secret: "a+secret".into(),
        admits,
        role: Some(Role::Runner),
    }
}

fn of_the_company() -> Admits {
    Admits { domains: vec!["corp.example".into()], ..Admits::default() }
}

async fn world(provider: Provider) -> World {
    World::start_with(|config| config.door.providers = vec![provider]).await
}

/// A browser, as far as it matters.
#[derive(Default)]
struct Browser {
    cookies: HashMap<String, String>,
}

impl Browser {
    async fn get(&mut self, url: &str) -> Response {
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy();
        let tls =
            rustls::ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(rustls::RootCertStore::empty())
                .with_no_client_auth();
        let client = client.tls_backend_preconfigured(tls).build().unwrap();
        let cookies: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let answer = client.get(url).header("cookie", cookies.join("; ")).send().await.unwrap();
        for header in answer.headers().get_all("set-cookie") {
            let pair = header.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        answer
    }

    /// Goes to the provider: what it is asked there.
    async fn leave(&mut self, world: &World, idp: &Idp) -> HashMap<String, String> {
        let answer = self.get(&world.url("/auth/corp")).await;
        assert_eq!(answer.status(), 302);
        let url = Url::parse(answer.headers()["location"].to_str().unwrap()).unwrap();
        let asked: HashMap<String, String> = url.query_pairs().into_owned().collect();
        idp.asked.lock().unwrap().clone_from(&asked);
        asked
    }

    /// Comes back from there.
    async fn come_back(&mut self, world: &World, state: &str) -> Response {
        self.get(&world.url(&format!("/auth/corp/callback?code=good&state={state}"))).await
    }

    async fn log_in(&mut self, world: &World, idp: &Idp) -> Response {
        let asked = self.leave(world, idp).await;
        self.come_back(world, &asked["state"]).await
    }

    async fn me(&mut self, world: &World) -> Value {
        self.get(&world.url("/v1/me")).await.json().await.unwrap()
    }
}

#[tokio::test]
async fn a_stranger_whom_the_provider_knows_becomes_a_user_and_stays_the_same() {
    let idp = Idp::start().await;
    let world = world(provider(&idp, of_the_company())).await;
    let page = Browser::default().get(&world.url("/login")).await.text().await.unwrap();
    assert!(page.contains("<a href=\"/auth/corp\">Log in with corp</a>"), "{page}");
    let mut browser = Browser::default();
    let answer = browser.log_in(&world, &idp).await;
    assert_eq!((answer.status().as_u16(), &answer.headers()["location"]), (303, &"/docs".parse().unwrap()));
    let first = browser.me(&world).await;
    assert_eq!((&first["user"]["name"], &first["via"]), (&json!("ada"), &json!("session")), "{first}");
    assert_eq!(first["grants"][0]["role"], "runner");
    // Another name and another address, but the same person.
    *idp.person.lock().unwrap() =
        json!({ "sub": "1", "email": "a@else.where", "preferred_username": "root" });
    let mut elsewhere = Browser::default();
    assert_eq!(elsewhere.log_in(&world, &idp).await.status(), 303);
    assert_eq!(elsewhere.me(&world).await["user"]["id"], first["user"]["id"]);
    // The same name, but another person.
    *idp.person.lock().unwrap() =
        json!({ "sub": "2", "email": "ada2@corp.example", "preferred_username": "ada" });
    let mut namesake = Browser::default();
    assert_eq!(namesake.log_in(&world, &idp).await.status(), 303);
    assert_eq!(namesake.me(&world).await["user"]["name"], "ada-2");
    let actions: Vec<_> =
        world.client.audit(None).await.unwrap().entries.into_iter().map(|e| e.action).collect();
    assert_eq!(actions.iter().filter(|action| *action == "user.create").count(), 2);
    assert_eq!(actions.iter().filter(|action| *action == "session.open").count(), 3);
}

#[tokio::test]
async fn what_the_provider_has_not_signed_for_this_log_in_opens_nothing() {
    let idp = Idp::start().await;
    let world = world(provider(&idp, of_the_company())).await;
    for lie in [
        Lie::Nonce,
        Lie::Audience,
        Lie::Issuer,
        Lie::Expired,
        Lie::Unsigned,
        Lie::SignedByAnother,
        Lie::SignedWithTheSecret,
        Lie::MailUnverified,
    ] {
        *idp.lie.lock().unwrap() = lie;
        let mut browser = Browser::default();
        let answer = browser.log_in(&world, &idp).await;
        assert_eq!(answer.status(), 403, "{lie:?}");
        assert!(!browser.cookies.contains_key("legwork"), "{lie:?}");
        let said = answer.text().await.unwrap();
        let why = if lie == Lie::MailUnverified { "not let in" } else { "not signed by it for this log-in" };
        assert!(said.contains(why), "{lie:?}: {said}");
    }
    assert_eq!(world.client.users().await.unwrap().users.len(), 1, "nobody but the local owner");
}

#[tokio::test]
async fn a_log_in_is_its_browsers_and_good_for_once() {
    let idp = Idp::start().await;
    let world = world(provider(&idp, of_the_company())).await;
    let mut victim = Browser::default();
    let asked = Browser::default().leave(&world, &idp).await;
    // The attacker's own log-in in the victim's browser.
    assert_eq!(victim.come_back(&world, &asked["state"]).await.status(), 400);
    assert_eq!(victim.come_back(&world, "nonsense").await.status(), 400);
    let asked = victim.leave(&world, &idp).await;
    let refused = victim.get(&world.url("/auth/corp/callback?error=%3Cb%3E&state=x")).await;
    assert_eq!(refused.status(), 400);
    assert_eq!(victim.come_back(&world, &asked["state"]).await.status(), 303);
    assert_eq!(victim.come_back(&world, &asked["state"]).await.status(), 400);
    let asked = victim.leave(&world, &idp).await;
    let refused =
        victim.get(&world.url(&format!("/auth/corp/callback?error=%3Cb%3E&state={}", asked["state"]))).await;
    assert_eq!(refused.status(), 403);
    assert!(refused.text().await.unwrap().contains("says: &lt;b&gt;."));
    assert_eq!(victim.get(&world.url("/auth/nobody")).await.status(), 404);
}

#[tokio::test]
async fn a_cookie_that_was_kept_leads_in_once() {
    let idp = Idp::start().await;
    let world = world(provider(&idp, of_the_company())).await;
    let mut browser = Browser::default();
    let asked = browser.leave(&world, &idp).await;
    let mut copy = Browser { cookies: browser.cookies.clone() };
    let mut bent = Browser { cookies: browser.cookies.clone() };
    bent.cookies.values_mut().for_each(|value| value.replace_range(60..62, "00"));
    assert_eq!(bent.come_back(&world, &asked["state"]).await.status(), 400);
    assert_eq!(browser.come_back(&world, &asked["state"]).await.status(), 303);
    assert_eq!(copy.come_back(&world, &asked["state"]).await.status(), 400);
}

#[tokio::test]
async fn what_is_there_twice_gets_a_page() {
    let idp = Idp::start().await;
    let world = world(provider(&idp, of_the_company())).await;
    let mut browser = Browser::default();
    let state = browser.leave(&world, &idp).await["state"].clone();
    let answer = browser.come_back(&world, &format!("{state}&state=x")).await;
    assert_eq!(answer.status(), 400);
    assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("text/html"));
    assert!(answer.text().await.unwrap().contains("there twice"));
    assert_eq!(browser.come_back(&world, &state).await.status(), 303);
}

#[tokio::test]
async fn a_provider_is_asked_about_itself_once_for_many_and_again_for_a_new_key() {
    let idp = Idp::start().await;
    let world = world(provider(&idp, of_the_company())).await;
    for _ in 0..5 {
        assert_eq!(Browser::default().log_in(&world, &idp).await.status(), 303);
    }
    assert_eq!(idp.described.load(Ordering::SeqCst), 1);
    idp.seed.store(3, Ordering::SeqCst);
    // Not right after it was asked: a token that it never signed must not have it asked each time.
    assert_eq!(Browser::default().log_in(&world, &idp).await.status(), 403);
    assert_eq!(idp.described.load(Ordering::SeqCst), 1);
    while Browser::default().log_in(&world, &idp).await.status() != 303 {}
    assert_eq!(idp.described.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn behind_tls_the_cookie_of_a_log_in_is_this_hosts_alone() {
    let idp = Idp::start().await;
    let provider = provider(&idp, of_the_company());
    let world = World::start_with(|config| {
        config.door.providers = vec![provider];
        config.door.public_url = Some("https://127.0.0.1".into());
    })
    .await;
    let answer = Browser::default().get(&world.url("/auth/corp")).await;
    let cookie = answer.headers()["set-cookie"].to_str().unwrap();
    assert!(cookie.starts_with("__Host-legwork_login=") && cookie.contains("; Path=/;"), "{cookie}");
    assert!(cookie.ends_with("; Secure"), "{cookie}");
}

#[tokio::test]
async fn who_is_shut_out_and_who_is_not_admitted_stay_outside() {
    let idp = Idp::start().await;
    let world = world(provider(&idp, of_the_company())).await;
    let mut browser = Browser::default();
    browser.log_in(&world, &idp).await;
    let me = browser.me(&world).await;
    let path = format!("/v1/users/{}/disable", me["user"]["id"].as_str().unwrap());
    assert!(world.http("POST", &path).send().await.unwrap().status().is_success());
    assert_eq!(Browser::default().log_in(&world, &idp).await.status(), 403);
    *idp.person.lock().unwrap() = json!({ "sub": "9", "email": "eve@evil.example" });
    assert_eq!(Browser::default().log_in(&world, &idp).await.status(), 403);
}

#[tokio::test]
async fn a_provider_in_the_house_is_not_asked_unless_that_is_allowed() {
    let idp = Idp::start().await;
    let provider = provider(&idp, of_the_company());
    let world = World::start_with(|config| {
        config.door.providers = vec![provider];
        config.private_hosts.clear();
    })
    .await;
    let answer = Browser::default().get(&world.url("/auth/corp")).await;
    assert_eq!(answer.status(), 502);
    assert!(answer.text().await.unwrap().contains("private network"));
}

#[tokio::test]
async fn github_says_who_somebody_is_in_its_own_way() {
    let idp = Idp::start().await;
    let speech = Speech::GitHub { host: Some(idp.url.clone()) };
    let admits = Admits { users: vec!["Octocat".into()], ..Admits::default() };
    let world = world(Provider { speech, role: None, ..provider(&idp, admits) }).await;
    *idp.person.lock().unwrap() = json!({ "id": 583_231, "login": "octocat" });
    let mut browser = Browser::default();
    assert_eq!(browser.log_in(&world, &idp).await.status(), 303);
    let me = browser.me(&world).await;
    assert_eq!((&me["user"]["name"], &me["grants"]), (&json!("octocat"), &json!([])));
    *idp.person.lock().unwrap() = json!({ "id": 1, "login": "mallory" });
    assert_eq!(Browser::default().log_in(&world, &idp).await.status(), 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_is_asked_about_so_many_at_a_time() {
    const AT_A_TIME: usize = 64;
    let idp = Idp::start().await;
    let world = World::start_with(|config| {
        config.door.providers = vec![provider(&idp, of_the_company())];
        let many = std::num::NonZeroU32::new(1000).unwrap();
        config.door.rates.strangers = legwork_server::Rate { burst: many, per_second: many };
    })
    .await;
    let silent = idp.answers.write().await;
    let mut browsers = Vec::new();
    for _ in 0..=AT_A_TIME {
        let mut browser = Browser::default();
        let asked = browser.leave(&world, &idp).await;
        browsers.push((browser, asked));
    }
    let come_back = |(mut browser, asked): (Browser, HashMap<String, String>)| {
        let world = &world;
        async move { browser.come_back(world, &asked["state"]).await.status().as_u16() }
    };
    let mut coming: futures::stream::FuturesUnordered<_> = browsers.into_iter().map(come_back).collect();
    let first = futures::StreamExt::next(&mut coming).await;
    assert_eq!(first, Some(429), "the others wait for the provider");
    drop(silent);
    let rest: Vec<u16> = futures::StreamExt::collect(coming).await;
    assert!(rest.len() == AT_A_TIME && !rest.contains(&429), "{rest:?}");
    assert_eq!(Browser::default().log_in(&world, &idp).await.status(), 303, "and then there is room again");
}
