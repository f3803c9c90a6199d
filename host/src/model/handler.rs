//! Handlers: the processes that share a database. Which roles one plays, who gets a new invocation, and when a lease
//! is over. Galaxy: `galaxy.web_stack.handlers`, `ConfiguresHandlers`.

use std::fmt;

/// What handlers serve that name no tag, and what waits for any of them (Galaxy's name for it).
pub const DEFAULT_TAG: &str = "_default_";

/// The parts a process plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles {
    /// Answers requests.
    pub web: bool,
    /// Advances invocations.
    pub handler: bool,
    /// Hands jobs to the job runners.
    pub runner: bool,
}

impl Roles {
    /// Everything, as a server by itself does.
    pub const ALL: Roles = Roles {
        web: true,
        handler: true,
        runner: true,
    };

    /// Reads `web,handler,runner`, in any order. The error is a sentence.
    pub fn parse(text: &str) -> Result<Roles, &'static str> {
        let mut roles = Roles {
            web: false,
            handler: false,
            runner: false,
        };
        for word in text
            .split(',')
            .map(str::trim)
            .filter(|word| !word.is_empty())
        {
            match word {
                "web" => roles.web = true,
                "handler" => roles.handler = true,
                "runner" => roles.runner = true,
                "all" => roles = Roles::ALL,
                _ => return Err("Give some of `web`, `handler`, `runner`, separated by commas."),
            }
        }
        match roles.web || roles.handler || roles.runner {
            true => Ok(roles),
            false => Err("Give at least one of `web`, `handler`, `runner`."),
        }
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = [
            (self.web, "web"),
            (self.handler, "handler"),
            (self.runner, "runner"),
        ];
        let words: Vec<&str> = words.iter().filter(|w| w.0).map(|w| w.1).collect();
        f.write_str(&words.join(","))
    }
}

/// How a new invocation gets its handler. The order in which they are tried is the operator's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AssignMethod {
    /// The process that took the request, if it is a handler. Galaxy's `mem-self` and `db-self` are one here: nothing
    /// is kept in memory only.
    DbSelf,
    /// One of the live handlers, always the same for a history, so that two invocations in one never race.
    DbPreassign,
    /// Whoever takes it first: it waits under the tag. Galaxy's `db-transaction-isolation` and `db-skip-locked` differ
    /// only in how handlers are kept apart while they take.
    DbSkipLocked,
}

impl AssignMethod {
    /// Galaxy's name of a method.
    pub fn parse(text: &str) -> Option<AssignMethod> {
        Some(match text {
            "mem-self" | "db-self" => AssignMethod::DbSelf,
            "db-preassign" => AssignMethod::DbPreassign,
            "db-transaction-isolation" | "db-skip-locked" => AssignMethod::DbSkipLocked,
            _ => return None,
        })
    }
}

/// A process that shares the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    pub name: String,
    pub roles: Roles,
    /// The tags it serves.
    pub tags: Vec<String>,
}

/// The handler, or the tag under which one will take it, of a new invocation.
///
/// `me` is the process that took the request. Where no method works (no live handler under the tag), it waits under the
/// tag: a handler that starts later finds it.
pub fn assign(
    methods: &[AssignMethod],
    me: &Peer,
    live: &[Peer],
    tag: &str,
    history_id: i64,
) -> String {
    let serves = |peer: &Peer| peer.roles.handler && peer.tags.iter().any(|t| t == tag);
    for method in methods {
        match method {
            AssignMethod::DbSelf if me.roles.handler => return me.name.clone(),
            AssignMethod::DbSelf => {}
            AssignMethod::DbPreassign => {
                let mut names: Vec<&str> = live
                    .iter()
                    .filter(|peer| serves(peer))
                    .map(|peer| peer.name.as_str())
                    .collect();
                names.sort_unstable();
                if !names.is_empty() {
                    let index = history_id.rem_euclid(names.len() as i64) as usize;
                    return names[index].to_owned();
                }
            }
            AssignMethod::DbSkipLocked => return tag.to_owned(),
        }
    }
    tag.to_owned()
}

/// How often a lease is renewed, so that two renewals may fail before it is over.
pub fn renew_every_ms(lease_ms: i64) -> i64 {
    (lease_ms / 3).max(1)
}

/// Names and tags must not look alike: both stand in one column.
pub fn check_name(name: &str) -> Result<(), &'static str> {
    let fits = !name.is_empty()
        && name.len() <= 64
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    match fits {
        true if !name.starts_with('_') => Ok(()),
        _ => Err(
            "Give up to 64 letters, digits, `-`, `_` and `.`, the first not `_` (those are tags).",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(name: &str, roles: &str) -> Peer {
        Peer {
            name: name.into(),
            roles: Roles::parse(roles).expect("roles"),
            tags: vec![DEFAULT_TAG.into()],
        }
    }

    #[test]
    fn roles_are_read_and_printed() {
        assert_eq!(Roles::parse("web, runner,handler"), Ok(Roles::ALL));
        assert_eq!(
            Roles::parse("runner").map(|r| r.to_string()),
            Ok("runner".into())
        );
        assert!(Roles::parse("").is_err());
        assert!(Roles::parse("web,boss").is_err());
    }

    #[test]
    fn the_first_method_that_works_assigns() {
        use AssignMethod::*;
        let (web, one, two) = (
            peer("web", "web"),
            peer("one", "handler"),
            peer("two", "all"),
        );
        let live = [two.clone(), web.clone(), one.clone()];
        let assign = |methods: &[AssignMethod], me: &Peer, live: &[Peer], history| {
            assign(methods, me, live, DEFAULT_TAG, history)
        };
        assert_eq!(assign(&[DbSelf, DbSkipLocked], &two, &live, 1), "two");
        assert_eq!(
            assign(&[DbSelf, DbSkipLocked], &web, &live, 1),
            DEFAULT_TAG,
            "a web process hands on"
        );
        assert_eq!(assign(&[DbPreassign], &web, &live, 4), "one");
        assert_eq!(assign(&[DbPreassign], &web, &live, 5), "two");
        assert_eq!(
            assign(&[DbPreassign], &web, std::slice::from_ref(&web), 5),
            DEFAULT_TAG,
            "without a handler it waits for one"
        );
    }

    #[test]
    fn a_name_is_not_a_tag() {
        assert!(check_name("node-1.example").is_ok());
        for wrong in ["", "_default_", "a b", &"x".repeat(65), "ä"] {
            assert!(check_name(wrong).is_err(), "{wrong}");
        }
    }
}
