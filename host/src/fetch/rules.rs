//! What an operator lets the server fetch. Without a word from them: nothing.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use url::{Host, Url};

use super::address::{Network, is_public};

/// What URLs are for: there is an option with prefixes for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Purpose {
    #[default]
    Fetch,
    /// To tell somebody that an invocation is completed.
    Webhook,
}

/// The options of fetching.
#[derive(Debug, Clone)]
pub struct Rules {
    pub purpose: Purpose,
    /// What may be fetched; empty: nothing (`fetch_url_prefixes`, `webhook_url_prefixes`).
    pub prefixes: Vec<Prefix>,
    /// Who may be asked although their address is not public (`fetch_url_allowlist`).
    pub local: Vec<Local>,
    /// The longest content.
    pub max_bytes: u64,
    /// The longest time for one, redirects and all.
    pub time_limit: Duration,
    /// How many at once, for all users together.
    pub at_once: usize,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules {
            purpose: Purpose::Fetch,
            prefixes: Vec::new(),
            local: Vec::new(),
            max_bytes: 100 << 30,
            time_limit: Duration::from_secs(3600),
            at_once: 4,
        }
    }
}

/// How a URL has to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prefix {
    Web {
        scheme: String,
        /// None: any.
        host: Option<String>,
        port: Option<u16>,
        path: String,
    },
    /// Files in and below this directory.
    Files(PathBuf),
}

impl Prefix {
    /// Reads `https://example.org/data/`, `https://` (any host), `file:///srv/data/`.
    pub fn parse(text: &str) -> Option<Prefix> {
        for scheme in ["http", "https"] {
            if text.strip_prefix(scheme) == Some("://") {
                return Some(Prefix::Web {
                    scheme: scheme.to_owned(),
                    host: None,
                    port: None,
                    path: "/".to_owned(),
                });
            }
        }
        let url = Url::parse(text).ok()?;
        if url.query().is_some() || url.fragment().is_some() || has_user(&url) {
            return None;
        }
        match url.scheme() {
            "http" | "https" => Some(Prefix::Web {
                scheme: url.scheme().to_owned(),
                host: Some(url.host_str()?.to_owned()),
                port: url.port_or_known_default(),
                path: url.path().to_owned(),
            }),
            "file" => local_path(&url).map(Prefix::Files),
            _ => None,
        }
    }

    fn holds(&self, url: &Url) -> bool {
        match self {
            Prefix::Web {
                scheme,
                host,
                port,
                path,
            } => {
                scheme == url.scheme()
                    && host.as_deref().is_none_or(|host| {
                        Some(host) == url.host_str() && *port == url.port_or_known_default()
                    })
                    && is_below(url.path(), path)
            }
            Prefix::Files(folder) => {
                url.scheme() == "file"
                    && local_path(url).is_some_and(|path| path.starts_with(folder))
            }
        }
    }
}

/// Whether a path is `prefix` or continues it after a slash. A path with a hidden slash is below the root only: what its
/// server takes it for cannot be known.
fn is_below(path: &str, prefix: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    if prefix != "/" && ["%2f", "%5c"].iter().any(|hidden| lower.contains(hidden)) {
        return false;
    }
    match path.strip_prefix(prefix) {
        Some(rest) => prefix.ends_with('/') || rest.is_empty() || rest.starts_with('/'),
        None => false,
    }
}

fn has_user(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

fn local_path(url: &Url) -> Option<PathBuf> {
    match url.host_str() {
        None | Some("" | "localhost") => {}
        Some(_) => return None,
    }
    let path = url.to_file_path().ok()?;
    path.is_absolute().then_some(path)
}

/// Somebody in the server's own network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Local {
    Network(Network),
    /// In lower case.
    Host(String),
}

impl Local {
    /// Reads an address, `10.0.1.0/24`, or the name of a host.
    pub fn parse(text: &str) -> Option<Local> {
        if let Some(network) = Network::parse(text) {
            return Some(Local::Network(network));
        }
        match Host::parse(text).ok()? {
            Host::Domain(name) if !text.contains('/') => Some(Local::Host(name)),
            _ => None,
        }
    }
}

/// A URL that may be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    Web(Url),
    File(PathBuf),
}

/// Why a URL is not fetched: one sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub String);

/// Longer URLs are not looked at.
const URL_MAX: usize = 8192;

impl Rules {
    /// Whether a URL may be fetched, as far as that can be told without asking anybody.
    pub fn check(&self, text: &str) -> Result<Target, Refusal> {
        let refused = |why: &str| Refusal(format!("The URL {:?} {why}", shown(text)));
        if text.len() > URL_MAX {
            return Err(refused("is too long."));
        }
        let url = Url::parse(text).map_err(|_| refused("cannot be read."))?;
        if !matches!(url.scheme(), "http" | "https" | "file") {
            return Err(refused(
                "is of a kind that is not fetched; http, https and file URLs can be.",
            ));
        }
        if has_user(&url) {
            return Err(refused(
                "holds a user or a password; it would be kept and shown.",
            ));
        }
        if !self.prefixes.iter().any(|prefix| prefix.holds(&url)) {
            return Err(refused(match (self.purpose, self.prefixes.is_empty()) {
                (Purpose::Fetch, true) => {
                    "is not fetched: this server fetches nothing, as its option fetch_url_prefixes is not set. Send the data itself."
                }
                (Purpose::Fetch, false) => {
                    "is not fetched: it begins with nothing that this server's option fetch_url_prefixes allows."
                }
                (Purpose::Webhook, true) => {
                    "is not called: this server calls nobody, as its option webhook_url_prefixes is not set."
                }
                (Purpose::Webhook, false) => {
                    "is not called: it begins with nothing that this server's option webhook_url_prefixes allows."
                }
            }));
        }
        if url.scheme() == "file" {
            return local_path(&url)
                .map(Target::File)
                .ok_or_else(|| refused("does not name a file."));
        }
        let literal = match url.host() {
            Some(Host::Ipv4(v4)) => Some(IpAddr::V4(v4)),
            Some(Host::Ipv6(v6)) => Some(IpAddr::V6(v6)),
            _ => None,
        };
        if let Some(address) = literal
            && !self.may_connect(url.host_str().unwrap_or_default(), address)
        {
            return Err(refused(NOT_PUBLIC));
        }
        Ok(Target::Web(url))
    }

    /// Whether a connection to this address may be made on behalf of that host.
    pub fn may_connect(&self, host: &str, address: IpAddr) -> bool {
        is_public(address)
            || self.local.iter().any(|local| match local {
                Local::Network(network) => network.contains(address),
                Local::Host(name) => name.eq_ignore_ascii_case(host),
            })
    }

    /// Whether a file, by its real path, is where files may be read.
    pub fn may_read(&self, real: &Path) -> bool {
        self.prefixes.iter().any(|prefix| match prefix {
            // The operator's own directory may be reached through a link.
            Prefix::Files(folder) => folder
                .canonicalize()
                .is_ok_and(|folder| real.starts_with(folder)),
            Prefix::Web { .. } => false,
        })
    }

    /// The schemes that may be fetched.
    pub fn schemes(&self) -> Vec<&str> {
        ["http", "https", "file"]
            .into_iter()
            .filter(|known| {
                self.prefixes.iter().any(|prefix| match prefix {
                    Prefix::Web { scheme, .. } => scheme == known,
                    Prefix::Files(_) => *known == "file",
                })
            })
            .collect()
    }
}

pub(super) const NOT_PUBLIC: &str = "leads to an address that is not public, which this server's option fetch_url_allowlist does not name.";

fn shown(url: &str) -> String {
    url.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rules(prefixes: &[&str], local: &[&str]) -> Rules {
        Rules {
            prefixes: prefixes
                .iter()
                .map(|p| Prefix::parse(p).expect(p))
                .collect(),
            local: local.iter().map(|l| Local::parse(l).expect(l)).collect(),
            ..Rules::default()
        }
    }

    #[test]
    fn nothing_is_fetched_unless_the_operator_says_so() {
        for url in [
            "http://example.org/",
            "https://example.org/",
            "file:///etc/passwd",
        ] {
            let refusal = Rules::default().check(url).expect_err(url);
            assert!(refusal.0.contains("fetch_url_prefixes"), "{refusal}");
        }
        assert_eq!(Rules::default().schemes(), [""; 0]);
    }

    #[test]
    fn prefixes_end_where_names_end() {
        let rules = rules(
            &[
                "https://example.org/data",
                "http://h:81/",
                "file:///srv/data/",
            ],
            &[],
        );
        for url in [
            "https://example.org/data",
            "https://EXAMPLE.org:443/data/x.txt?q=1#f",
            "http://h:81/anything",
            "file:///srv/data/x",
            "file://localhost/srv/data/x",
        ] {
            assert!(rules.check(url).is_ok(), "{url}");
        }
        for url in [
            "https://example.org/database",
            "https://example.org/data/../secret",
            "https://example.org/data/%2e%2e/secret",
            "https://example.org/data/..%2fsecret",
            "https://example.org.evil.org/data/",
            "https://example.org@evil.org/data/",
            "https://user:word@example.org/data/",
            "https://example.org:444/data/",
            "http://example.org/data/",
            "http://h/anything",
            "file:///srv/data/../secret",
            "file:///srv/database",
            "file://other/srv/data/x",
            "ftp://example.org/data/",
            "gopher://example.org/data/",
            "https:///",
            "",
        ] {
            assert!(rules.check(url).is_err(), "{url}");
        }
    }

    #[test]
    fn own_networks_are_left_alone_however_they_are_written() {
        let open = rules(&["http://", "https://"], &[]);
        for url in [
            "http://127.0.0.1/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://0177.0.0.1/",
            "http://[::1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://169.254.169.254/latest/meta-data/",
            "http://10.0.0.1/",
            "http://0/",
        ] {
            assert!(
                open.check(url)
                    .expect_err(url)
                    .0
                    .contains("fetch_url_allowlist"),
                "{url}"
            );
        }
        assert!(open.check("http://93.184.215.14/").is_ok());
        let named = rules(&["http://"], &["127.0.0.1", "minio.local"]);
        assert!(named.check("http://127.0.0.1:9000/").is_ok());
        assert!(named.check("http://127.0.0.2:9000/").is_err());
        assert!(named.may_connect("MinIO.local", "10.0.0.9".parse().unwrap()));
        assert!(!named.may_connect("other.local", "10.0.0.9".parse().unwrap()));
    }

    #[test]
    fn what_is_no_prefix_is_told() {
        for text in [
            "",
            "example.org",
            "ftp://x/",
            "https://u@x/",
            "https://x/?q",
            "file://host/x",
            "/srv",
        ] {
            assert_eq!(Prefix::parse(text), None, "{text}");
        }
        for text in ["", "a b", "10.0.0.0/99", "x/y"] {
            assert_eq!(Local::parse(text), None, "{text}");
        }
        let schemes = rules(&["file:///", "https://"], &[]);
        assert_eq!(schemes.schemes(), ["https", "file"]);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,60}") {
            let _ = rules(&["http://", "file:///"], &[]).check(&text);
            let _ = (Prefix::parse(&text), Local::parse(&text));
        }
    }
}
