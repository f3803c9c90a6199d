//! What every handler can reach.

use std::io;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use super::auth::KeyCache;
use super::codec::IdCodec;
use super::error::ApiError;
use super::exports::Workshop;
use super::metrics::RequestCounts;
use super::seams::Seams;
use crate::clock::Clock;
use crate::fetch::{Fetcher, Purpose, Rules, Sender};
use crate::scheduling::signals::Signals;
pub use crate::store::files::DataDir;
use crate::store::{Store, StoreError};
use crate::tools::Toolbox;

/// The server, as handlers see it. Cheap to clone.
#[derive(Clone)]
pub struct App {
    inner: Arc<Inner>,
}

/// The parts of an [`App`].
pub struct Inner {
    pub store: Store,
    pub clock: Clock,
    pub signals: Signals,
    pub codec: IdCodec,
    pub data: DataDir,
    pub settings: Settings,
    pub keys: KeyCache,
    /// Fetches by URL what the operator allows.
    pub fetcher: Fetcher,
    /// Calls the webhooks that the operator allows.
    pub sender: Sender,
    pub workshop: Workshop,
    pub requests: RequestCounts,
    seams: OnceLock<Seams>,
}

/// What an operator decides about the doors.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The name in the page's corner; `brand` of `/api/configuration`.
    pub brand: String,
    /// Acts as an administrator without being a user.
    pub bootstrap_admin_api_key: Option<String>,
    /// The longest body other than an upload.
    pub body_max_bytes: usize,
    /// The longest upload.
    pub upload_max_bytes: u64,
    /// How clients reach this server, such as `https://example.org`; without it, as their request says.
    pub public_url: Option<String>,
    /// Users may define tools. Their commands run as the server does, without a container, so this is for servers whose
    /// users may do all that the server may.
    pub enable_user_defined_tools: bool,
    /// What may be fetched by URL.
    pub fetch: Rules,
    /// Who may read `/metrics`.
    pub metrics: MetricsFor,
    /// What may be called when an invocation is completed.
    pub webhooks: Rules,
    /// Where archives of invocations may be put.
    pub export_directories: Vec<PathBuf>,
    /// Items of a list when the caller names no limit, and at most.
    pub page_default: i64,
    pub page_max: i64,
}

/// Who may read `/metrics`. Administrators may in any case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MetricsFor {
    /// Programs on this machine.
    #[default]
    Loopback,
    /// Everybody.
    Public,
    /// Nobody else.
    Admin,
}

impl MetricsFor {
    /// From the word in the configuration.
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "loopback" => Some(Self::Loopback),
            "public" => Some(Self::Public),
            "admin" => Some(Self::Admin),
            _ => None,
        }
    }
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            brand: "Barycenter".to_owned(),
            bootstrap_admin_api_key: None,
            body_max_bytes: 64 << 20,
            upload_max_bytes: 100 << 30,
            public_url: None,
            enable_user_defined_tools: false,
            fetch: Rules::default(),
            metrics: MetricsFor::default(),
            webhooks: Rules {
                purpose: Purpose::Webhook,
                ..Rules::default()
            },
            export_directories: Vec::new(),
            page_default: 500,
            page_max: 10_000,
        }
    }
}

impl App {
    /// Assembles the server's parts; makes the secret for ids at the very first start.
    pub async fn new(
        store: Store,
        clock: Clock,
        signals: Signals,
        data: DataDir,
        settings: Settings,
    ) -> Result<App, StoreError> {
        let codec = IdCodec::of_installation(&store).await?;
        let sender = Sender::new(settings.webhooks.clone());
        let fetcher = Fetcher::new(settings.fetch.clone(), Some(data.root().to_owned()));
        Ok(App {
            inner: Arc::new(Inner {
                store,
                clock,
                signals,
                codec,
                data,
                settings,
                keys: KeyCache::default(),
                fetcher,
                sender,
                workshop: Workshop::default(),
                requests: RequestCounts::default(),
                seams: OnceLock::new(),
            }),
        })
    }

    /// Connects the handlers with the rest of the server. Only the first call counts.
    pub fn wire(&self, seams: Seams) {
        if self.inner.seams.set(seams).is_err() {
            tracing::error!("the server's parts were wired twice; the second time is ignored");
        }
    }

    /// The rest of the server; the stock tools alone before [`App::wire`].
    pub fn seams(&self) -> &Seams {
        self.inner
            .seams
            .get_or_init(|| Seams::unwired(Arc::new(Toolbox::new(Vec::new()))))
    }

    pub fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// The id as clients see it.
    pub fn encode(&self, id: i64) -> String {
        self.codec.encode(id)
    }

    /// The id behind what a client sent. 400 400009 if it is none of ours.
    pub fn decode(&self, text: &str) -> Result<i64, ApiError> {
        self.codec.decode(text)
    }
}

impl Deref for App {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.inner
    }
}

/// Runs something that blocks on the disk or the processor where blocking is allowed.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, ApiError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(ApiError::broken),
        Err(stopped) => Err(ApiError::broken(stopped)),
    }
}
