//! Where a plugin runs, and why.

/// What plugins.toml asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Isolation {
    /// What suits the plugin, see [`choose`].
    #[default]
    Auto,
    /// Inside the server's own process.
    InProcess,
    /// In a process of its own.
    Process,
}

impl Isolation {
    /// The word in plugins.toml.
    pub fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::InProcess => "inproc",
            Self::Process => "process",
        }
    }

    /// From the word in plugins.toml.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Auto, Self::InProcess, Self::Process]
            .into_iter()
            .find(|isolation| isolation.word() == word)
    }
}

/// What the choice depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// It came with the server.
    pub shipped: bool,
    /// plugins.toml names its digest.
    pub pinned: bool,
    /// A panic in it can be turned into an error.
    pub unwinds: bool,
    /// It was built with debug assertions.
    pub debug: bool,
    /// This very file failed too often before.
    pub quarantined: bool,
    /// plugins.toml limits its memory.
    pub has_memory_limit: bool,
}

/// Where it runs, and why, in a few words. Never [`Isolation::Auto`].
pub fn choose(wanted: Isolation, facts: Facts) -> (Isolation, &'static str) {
    match wanted {
        Isolation::InProcess => (Isolation::InProcess, "as plugins.toml says"),
        Isolation::Process => (Isolation::Process, "as plugins.toml says"),
        Isolation::Auto if !facts.unwinds => {
            (Isolation::Process, "it was built with panic = \"abort\"")
        }
        Isolation::Auto if facts.quarantined => (Isolation::Process, "it was in quarantine before"),
        Isolation::Auto if facts.has_memory_limit => (Isolation::Process, "its memory is limited"),
        Isolation::Auto if facts.shipped => (Isolation::InProcess, "it came with the server"),
        Isolation::Auto if !facts.pinned => {
            (Isolation::Process, "its file is not pinned by sha256")
        }
        Isolation::Auto if facts.debug => (Isolation::Process, "it is a debug build"),
        Isolation::Auto => (Isolation::InProcess, "its file is pinned by sha256"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: Facts = Facts {
        shipped: true,
        pinned: false,
        unwinds: true,
        debug: false,
        quarantined: false,
        has_memory_limit: false,
    };

    fn auto(facts: Facts) -> Isolation {
        choose(Isolation::Auto, facts).0
    }

    #[test]
    fn what_came_with_the_server_runs_inside_it_unless_it_failed() {
        assert_eq!(auto(OURS), Isolation::InProcess);
        assert_eq!(
            auto(Facts {
                debug: true,
                ..OURS
            }),
            Isolation::InProcess
        );
        assert_eq!(
            auto(Facts {
                quarantined: true,
                ..OURS
            }),
            Isolation::Process
        );
        assert_eq!(
            auto(Facts {
                has_memory_limit: true,
                ..OURS
            }),
            Isolation::Process
        );
    }

    #[test]
    fn what_came_from_elsewhere_runs_inside_only_when_it_is_pinned_and_fit() {
        let foreign = Facts {
            shipped: false,
            ..OURS
        };
        assert_eq!(auto(foreign), Isolation::Process);
        let pinned = Facts {
            pinned: true,
            ..foreign
        };
        assert_eq!(auto(pinned), Isolation::InProcess);
        assert_eq!(
            auto(Facts {
                debug: true,
                ..pinned
            }),
            Isolation::Process
        );
        assert_eq!(
            auto(Facts {
                unwinds: false,
                ..pinned
            }),
            Isolation::Process
        );
        assert_eq!(
            auto(Facts {
                quarantined: true,
                ..pinned
            }),
            Isolation::Process
        );
    }

    #[test]
    fn the_operators_word_counts() {
        assert_eq!(choose(Isolation::Process, OURS).0, Isolation::Process);
        let bad = Facts {
            shipped: false,
            quarantined: true,
            ..OURS
        };
        assert_eq!(choose(Isolation::InProcess, bad).0, Isolation::InProcess);
    }
}
