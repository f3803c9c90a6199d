//! From a URL to a file.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ureq::http::header::LOCATION;
use url::Url;

use super::rules::{Refusal, Rules, Target};
use super::web::{self, NotPublic};

/// Fetches what the operator allows. Shared by everybody in the server.
#[derive(Debug, Clone)]
pub struct Fetcher {
    rules: Arc<Rules>,
    agent: ureq::Agent,
    /// The server's own files, which nobody gets this way whatever is allowed.
    own: Option<PathBuf>,
}

/// What one fetch may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub bytes: u64,
    pub time: Duration,
}

/// Why nothing was fetched: one sentence, and whether another try may help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{sentence}")]
pub struct Failure {
    pub sentence: String,
    pub may_pass: bool,
}

impl Failure {
    pub(super) fn lasting(sentence: impl Into<String>) -> Failure {
        Failure {
            sentence: sentence.into(),
            may_pass: false,
        }
    }

    pub(super) fn passing(sentence: impl Into<String>) -> Failure {
        Failure {
            sentence: sentence.into(),
            may_pass: true,
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        Failure::lasting(refusal.0)
    }
}

/// More redirects than these are not followed.
const REDIRECTS_MAX: usize = 5;

impl Fetcher {
    pub fn new(rules: Rules, own: Option<PathBuf>) -> Fetcher {
        let rules = Arc::new(rules);
        Fetcher {
            agent: web::agent(rules.clone()),
            rules,
            own,
        }
    }

    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Whether a URL may be fetched, as far as that can be told without asking anybody.
    pub fn check(&self, url: &str) -> Result<(), Refusal> {
        self.rules.check(url).map(drop)
    }

    /// The limits of the operator.
    pub fn limits(&self) -> Limits {
        Limits {
            bytes: self.rules.max_bytes,
            time: self.rules.time_limit,
        }
    }

    /// Fetches into a new file. Ends early when `stop` is set. Blocks, for as long as `limits` says.
    pub fn fetch(
        &self,
        url: &str,
        into: &Path,
        limits: Limits,
        stop: &AtomicBool,
    ) -> Result<u64, Failure> {
        let begun = Instant::now();
        let mut copy = Copy {
            into,
            limits,
            begun,
            stop,
        };
        match self.rules.check(url)? {
            Target::File(path) => copy.run(&mut self.open(&path)?),
            Target::Web(url) => self.get(url, &mut copy),
        }
    }

    fn get(&self, mut url: Url, copy: &mut Copy<'_>) -> Result<u64, Failure> {
        for _ in 0..=REDIRECTS_MAX {
            let left = copy.time_left()?;
            let asked = self
                .agent
                .get(url.as_str())
                .config()
                .timeout_global(Some(left))
                .build()
                .call();
            let mut answer = asked.map_err(|error| failed(&url, &error))?;
            let status = answer.status().as_u16();
            if matches!(status, 301 | 302 | 303 | 307 | 308) {
                let next = answer.headers().get(LOCATION).and_then(|v| v.to_str().ok());
                let next = next.and_then(|next| url.join(next).ok()).ok_or_else(|| {
                    Failure::lasting(format!("{} redirects to nowhere.", place(&url)))
                })?;
                url = match self.rules.check(next.as_str())? {
                    Target::Web(url) => url,
                    Target::File(_) => {
                        return Err(Failure::lasting(format!(
                            "{} redirects to a file of this server's machine.",
                            place(&url)
                        )));
                    }
                };
                continue;
            }
            if status != 200 {
                let sentence = format!("{} answered with status {status}.", place(&url));
                return Err(match status {
                    408 | 425 | 429 | 500.. => Failure::passing(sentence),
                    _ => Failure::lasting(sentence),
                });
            }
            if answer
                .body()
                .content_length()
                .is_some_and(|n| n > copy.limits.bytes)
            {
                return Err(copy.too_large());
            }
            return copy.run(&mut answer.body_mut().as_reader());
        }
        Err(Failure::lasting(format!(
            "{} is the end of more than {REDIRECTS_MAX} redirects.",
            place(&url)
        )))
    }

    /// Opens a file that is really where the operator lets files be read, and really a file. The decision is about
    /// what was opened, so that swapping a folder for a link meanwhile gains nothing.
    fn open(&self, path: &Path) -> Result<File, Failure> {
        let shown = path.display();
        let missing = |error: io::Error| {
            Failure::lasting(format!("The file {shown} cannot be read: {error}"))
        };
        let elsewhere = || {
            Failure::lasting(format!(
                "The file {shown} is really somewhere else, where this server's option fetch_url_prefixes allows nothing."
            ))
        };
        let allowed = |real: &Path| {
            self.rules.may_read(real) && self.own.as_ref().is_none_or(|own| !real.starts_with(own))
        };
        let real = path.canonicalize().map_err(missing)?;
        if !allowed(&real) {
            return Err(elsewhere());
        }
        // Without waiting for the other end of a pipe.
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW | libc::O_NOCTTY)
            .open(&real)
            .map_err(missing)?;
        let opened = file.metadata().map_err(missing)?;
        if !opened.is_file() {
            return Err(Failure::lasting(format!("{shown} is not a file.")));
        }
        let real = match opened_as(&file) {
            Some(real) => real,
            None => real.canonicalize().map_err(missing)?,
        };
        let there = real.symlink_metadata().map_err(missing)?;
        if !allowed(&real) || (there.dev(), there.ino()) != (opened.dev(), opened.ino()) {
            return Err(elsewhere());
        }
        Ok(file)
    }
}

/// Where the system says that an open file is.
fn opened_as(file: &File) -> Option<PathBuf> {
    use std::os::fd::AsRawFd as _;
    std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()
}

/// What of a URL may be shown: queries often hold somebody's credentials.
pub(super) fn place(url: &Url) -> String {
    let mut shown = url.clone();
    shown.set_query(None);
    shown.set_fragment(None);
    shown.as_str().chars().take(200).collect()
}

fn failed(url: &Url, error: &ureq::Error) -> Failure {
    let place = place(url);
    match error {
        ureq::Error::Other(inner) if inner.is::<NotPublic>() => {
            Failure::lasting(format!("The URL {place} {NotPublic}"))
        }
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => {
            Failure::lasting(format!("{place} cannot be fetched: {error}."))
        }
        _ => Failure::passing(format!("{place} cannot be fetched: {error}.")),
    }
}

struct Copy<'a> {
    into: &'a Path,
    limits: Limits,
    begun: Instant,
    stop: &'a AtomicBool,
}

impl Copy<'_> {
    fn time_left(&self) -> Result<Duration, Failure> {
        let left = self.limits.time.saturating_sub(self.begun.elapsed());
        match left.is_zero() {
            true => Err(Failure::passing(format!(
                "Fetching took longer than {} seconds.",
                self.limits.time.as_secs()
            ))),
            false => Ok(left),
        }
    }

    fn too_large(&self) -> Failure {
        Failure::lasting(format!(
            "It is larger than the {} bytes that are fetched.",
            self.limits.bytes
        ))
    }

    fn run(&self, source: &mut dyn Read) -> Result<u64, Failure> {
        let disk = |error: io::Error| Failure::passing(format!("It could not be stored: {error}."));
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(self.into)
            .map_err(disk)?;
        let mut buffer = vec![0; 64 << 10];
        let mut bytes = 0;
        loop {
            self.time_left()?;
            if self.stop.load(Ordering::Relaxed) {
                return Err(Failure::passing("Fetching was stopped."));
            }
            let n = match source.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    return Err(Failure::passing(format!(
                        "It broke off after {bytes} bytes: {error}."
                    )));
                }
            };
            bytes += n as u64;
            if bytes > self.limits.bytes {
                return Err(self.too_large());
            }
            file.write_all(&buffer[..n]).map_err(disk)?;
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests;
