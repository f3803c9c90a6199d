//! Who is calling (Galaxy 26.1, first found): query `key`, header `x-api-key`, `Authorization: Bearer`.
//!
//! A key is 32 random bytes in hex, stored as its SHA-256 hash and shown once, when it is made.

use std::collections::HashMap;
use std::sync::Mutex;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use sha2::{Digest, Sha256};

use super::app::App;
use super::error::ApiError;
use super::extract::Params;
use crate::store::users::{self, KeyHolder, KeyKind, User};
use crate::store::{StoreError, Tx};

/// Whoever calls; perhaps nobody we know.
#[derive(Debug, Clone)]
pub struct Caller {
    pub user: Option<User>,
    /// An administrator, or the bootstrap key (then `user` is empty).
    pub is_admin: bool,
}

impl Caller {
    /// The user. 403 403001 for nobody, 400 400016 for the bootstrap key.
    pub fn user(&self) -> Result<&User, ApiError> {
        match &self.user {
            Some(user) => Ok(user),
            None if self.is_admin => Err(ApiError::real_user_required(
                "This needs a user; the bootstrap admin key is none.",
            )),
            None => Err(ApiError::login_required(
                "You must be logged in to do this.",
            )),
        }
    }

    /// The user's id, for `WHERE user_id`. As [`Caller::user`].
    pub fn user_id(&self) -> Result<i64, ApiError> {
        self.user().map(|u| u.id)
    }

    /// Whether somebody is behind the request: a user, or the bootstrap key.
    pub fn is_known(&self) -> bool {
        self.user.is_some() || self.is_admin
    }

    /// 403 403006 unless an administrator calls (403 403001 for nobody).
    pub fn require_admin(&self) -> Result<(), ApiError> {
        match (self.is_admin, &self.user) {
            (true, _) => Ok(()),
            (false, Some(_)) => Err(ApiError::admin_required(
                "Only an administrator may do this.",
            )),
            (false, None) => Err(ApiError::login_required(
                "You must be logged in to do this.",
            )),
        }
    }
}

impl FromRequestParts<App> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let caller = match presented_key(parts) {
            None => Caller {
                user: None,
                is_admin: false,
            },
            Some(key) => identify(app, &key).await?,
        };
        match parts.headers.get("run-as") {
            None => Ok(caller),
            Some(value) => run_as(app, &caller, value.to_str().unwrap_or("")).await,
        }
    }
}

/// The key that came with a request, believed or not. It is never kept.
pub struct PresentedKey(pub Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for PresentedKey {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(PresentedKey(presented_key(parts)))
    }
}

fn presented_key(parts: &Parts) -> Option<String> {
    let from_query = Params::parse(parts.uri.query().unwrap_or(""))
        .text("key")
        .map(str::to_owned);
    // Whatever the bytes are, they were presented as a key: a wrong one is refused, not taken for nobody's request.
    let header = |name: &str| {
        let value = parts.headers.get(name)?.as_bytes();
        Some(String::from_utf8_lossy(value).into_owned())
    };
    let bearer = || {
        let value = header("authorization")?;
        let (scheme, token) = value.split_once(' ')?;
        scheme
            .eq_ignore_ascii_case("bearer")
            .then(|| token.trim().to_owned())
    };
    from_query
        .or_else(|| header("x-api-key"))
        .or_else(bearer)
        .filter(|key| !key.is_empty())
}

pub async fn identify(app: &App, key: &str) -> Result<Caller, ApiError> {
    let hash = hash_key(key);
    if let Some(bootstrap) = &app.settings.bootstrap_admin_api_key
        && is_same(hash_key(bootstrap).as_bytes(), hash.as_bytes())
    {
        return Ok(Caller {
            user: None,
            is_admin: true,
        });
    }
    let now_ms = app.now_ms();
    let holder = match app.keys.get(&hash, now_ms) {
        Some(user) => KeyHolder::User(user),
        None => {
            let seen = app.keys.generation();
            let holder = users::by_key_hash(&mut app.store.reader(), &hash).await?;
            if let KeyHolder::User(user) = &holder {
                app.keys.put(seen, hash, user.clone(), now_ms);
            }
            holder
        }
    };
    match holder {
        KeyHolder::User(user) => Ok(Caller {
            is_admin: user.is_admin,
            user: Some(user),
        }),
        KeyHolder::Expired => Err(ApiError::authentication_failed(
            "Provided API key has expired.",
        )),
        KeyHolder::Nobody => Err(ApiError::authentication_failed(
            "Provided API key is not valid.",
        )),
    }
}

async fn run_as(app: &App, caller: &Caller, encoded: &str) -> Result<Caller, ApiError> {
    if !caller.is_admin {
        return Err(ApiError::run_as_forbidden(
            "User does not have permissions to run jobs as another user.",
        ));
    }
    let unknown = || ApiError::run_as_unknown("run-as names no user of this server.");
    let id = app.decode(encoded).map_err(|_| unknown())?;
    let user = users::by_id(&mut app.store.reader(), id).await?;
    let user = user.filter(|u| !u.deleted).ok_or_else(unknown)?;
    Ok(Caller {
        is_admin: user.is_admin,
        user: Some(user),
    })
}

/// Makes a key for a user within `tx` and returns it; only its hash is kept. After the commit the caller has to
/// [`KeyCache::clear`] the cache, because an older key may have expired by this.
pub async fn make_key(
    tx: &mut Tx,
    user_id: i64,
    kind: KeyKind,
    now_ms: i64,
) -> Result<String, StoreError> {
    let key = random_hex(32);
    users::add_key(tx, user_id, &hash_key(&key), kind, now_ms).await?;
    Ok(key)
}

/// As many random bytes as asked for, in hex.
pub fn random_hex(bytes: usize) -> String {
    let mut random = vec![0; bytes];
    getrandom::fill(&mut random).expect("the system gives random bytes");
    hex::encode(random)
}

/// What is stored of a key. Keys are long and random, so a plain hash is enough.
pub fn hash_key(key: &str) -> String {
    hex::encode(Sha256::digest(key.as_bytes()))
}

/// Compares in a time that does not depend on where the two differ.
fn is_same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differ, (x, y)| differ | (x ^ y)) == 0
}

/// How long a key is believed without asking the database: an `admin` command in another process is
/// noticed after this.
const BELIEVE_MS: i64 = 5_000;
const CACHED_MAX: usize = 10_000;

/// Keys that were valid a moment ago. Whoever changes keys or users clears it.
#[derive(Default)]
pub struct KeyCache {
    inner: Mutex<Cached>,
}

#[derive(Default)]
struct Cached {
    generation: u64,
    users: HashMap<String, (User, i64)>,
}

impl KeyCache {
    /// Forgets everything; to be called after the commit of a change of keys or users.
    pub fn clear(&self) {
        let mut cached = self.lock();
        cached.generation += 1;
        cached.users.clear();
    }

    fn generation(&self) -> u64 {
        self.lock().generation
    }

    fn get(&self, hash: &str, now_ms: i64) -> Option<User> {
        let cached = self.lock();
        let (user, until) = cached.users.get(hash)?;
        (now_ms < *until).then(|| user.clone())
    }

    /// `seen` is the generation before the database was asked: what was read before a change is not kept after it.
    fn put(&self, seen: u64, hash: String, user: User, now_ms: i64) {
        let mut cached = self.lock();
        if cached.generation != seen {
            return;
        }
        if cached.users.len() >= CACHED_MAX {
            cached.users.clear();
        }
        cached.users.insert(hash, (user, now_ms + BELIEVE_MS));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Cached> {
        self.inner
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
