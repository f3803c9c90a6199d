//! HTTP and HTTPS, one request: no proxy of the environment, no redirect that is not looked at, and no connection to
//! an address that was not looked at: the resolver's answer is what is connected to, so a name cannot be checked as one
//! address and used as another.

use std::sync::Arc;
use std::time::Duration;

use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

use super::rules::{NOT_PUBLIC, Rules};

/// What a name led to is not to be connected to.
#[derive(Debug, thiserror::Error)]
#[error("{NOT_PUBLIC}")]
pub struct NotPublic;

#[derive(Debug)]
struct Checked {
    inner: DefaultResolver,
    rules: Arc<Rules>,
}

impl Resolver for Checked {
    fn resolve(
        &self,
        uri: &Uri,
        config: &ureq::config::Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = self.inner.resolve(uri, config, timeout)?;
        let host = uri.host().unwrap_or_default();
        let mut allowed = self.empty();
        for address in found.iter() {
            if self.rules.may_connect(host, address.ip()) {
                allowed.push(*address);
            }
        }
        match allowed.is_empty() {
            true => Err(ureq::Error::Other(Box::new(NotPublic))),
            false => Ok(allowed),
        }
    }
}

/// How long a server may take to be found, to be reached, and to say nothing.
const RESOLVE: Duration = Duration::from_secs(10);
const CONNECT: Duration = Duration::from_secs(15);
const SILENCE: Duration = Duration::from_secs(60);

/// Whoever makes the requests.
pub fn agent(rules: Arc<Rules>) -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .proxy(None)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .timeout_resolve(Some(RESOLVE))
        .timeout_connect(Some(CONNECT))
        .timeout_recv_response(Some(SILENCE))
        .timeout_per_read(Some(SILENCE))
        .max_idle_connections(0)
        .user_agent(concat!("barycenter/", env!("CARGO_PKG_VERSION")))
        .build();
    let resolver = Checked {
        inner: DefaultResolver::default(),
        rules,
    };
    ureq::Agent::with_parts(config, DefaultConnector::default(), resolver)
}
