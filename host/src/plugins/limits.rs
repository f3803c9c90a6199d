//! What a plugin may use: the table `limits` of plugins.toml, and what holds where it says nothing.

use super::options::Reader;
use super::supervision::Budget;
use barycenter_plugin_api::PluginKind;
use std::time::Duration;

/// What plugins.toml says about limits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// How long a call may take.
    pub call_timeout: Option<Duration>,
    /// Address space of its process, in bytes.
    pub memory: Option<u64>,
    /// How often it may fail.
    pub restarts: Option<Budget>,
    /// How many calls it gets at once.
    pub in_flight: Option<u32>,
    /// How long a passive scheduler may ask for nothing while work waits for it.
    pub silence: Option<Duration>,
}

impl Limits {
    /// How long a call may take. A scheduler or module holds up others; a runner may have to ask a cluster.
    pub fn call_timeout(&self, kind: PluginKind) -> Duration {
        self.call_timeout.unwrap_or(match kind {
            PluginKind::Scheduler | PluginKind::WorkflowModule => Duration::from_secs(5),
            PluginKind::JobRunner => Duration::from_secs(20),
        })
    }

    /// Address space of its process. What a runner starts inherits the limit, so it has one only when it is given.
    pub fn memory(&self, kind: PluginKind) -> Option<u64> {
        const USUAL: u64 = 2 << 30;
        self.memory
            .or((kind != PluginKind::JobRunner).then_some(USUAL))
    }

    /// How often it may fail before it is left alone.
    pub fn restarts(&self) -> Budget {
        self.restarts.unwrap_or_default()
    }

    /// How long a passive scheduler may ask for nothing while work waits for it, before it is taken for hung.
    pub fn silence(&self) -> Duration {
        self.silence.unwrap_or(Duration::from_secs(60))
    }

    /// How many calls it gets at once.
    pub fn in_flight(&self, kind: PluginKind) -> u32 {
        match kind {
            PluginKind::Scheduler => 1,
            _ => self.in_flight.unwrap_or(4),
        }
    }
}

/// Reads the table `limits`. `may_have_memory`: not where plugins.toml itself puts the plugin into the server's process.
pub(super) fn read(table: &mut Reader<'_, '_>, kind: PluginKind, may_have_memory: bool) -> Limits {
    let limits = Limits {
        call_timeout: table.checked("call_timeout", |text| {
            duration(text).ok_or("a duration such as `250ms` or `5s`".to_owned())
        }),
        memory: table.checked("memory", |text| {
            size(text).ok_or(format!(
                "a size from {MEMORY_MIN_MIB}MiB on, such as `256MiB` or `1GiB`"
            ))
        }),
        restarts: table.checked("restarts", |text| {
            budget(text).ok_or("a number and a time, such as `5/10m`".to_owned())
        }),
        in_flight: table.positive("in_flight"),
        silence: table.checked("silence", |text| {
            duration(text).ok_or("a duration such as `30s` or `5m`".to_owned())
        }),
    };
    if limits.silence.is_some() && kind != PluginKind::Scheduler {
        table.fault(
            "silence",
            "`limits.silence` is for schedulers that take their invocations by themselves",
            "Take the line out.",
        );
    }
    if limits.memory.is_some() && !may_have_memory {
        table.fault(
            "memory",
            "`limits.memory` needs a process of the plugin's own, and isolation is `inproc`",
            "Take the line out, or set isolation = \"process\".",
        );
    }
    if limits.in_flight.is_some_and(|count| count > 1) && kind == PluginKind::Scheduler {
        table.fault(
            "in_flight",
            "`limits.in_flight` is more than 1, but a scheduler is called once at a time",
            "Take the line out.",
        );
    }
    if limits.in_flight.is_some_and(|count| count > IN_FLIGHT_MAX) {
        table.fault(
            "in_flight",
            format!("`limits.in_flight` is more than {IN_FLIGHT_MAX}"),
            "Give a smaller number: each call has a thread.",
        );
    }
    limits
}

const IN_FLIGHT_MAX: u32 = 64;
/// Less than this, and the program itself does not start.
const MEMORY_MIN_MIB: u64 = 128;

/// `250ms`, `5s`, `2m`, `1h`; never zero.
fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = number_and_unit(text)?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    // A hundred days are as good as no limit, and no sum with them overflows.
    let ms = number.checked_mul(unit_ms)?.min(100 * 24 * 3_600_000);
    Some(Duration::from_millis(ms))
}

/// `256MiB`, `1GiB`, also with `KiB`, `TiB` and plain bytes.
fn size(text: &str) -> Option<u64> {
    let (number, unit) = number_and_unit(text).or_else(|| Some((text.parse().ok()?, "")))?;
    let shift = match unit {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return None,
    };
    let bytes = number.checked_mul(1 << shift)?;
    (bytes >= MEMORY_MIN_MIB << 20).then_some(bytes)
}

/// `5/10m`: five times within ten minutes.
fn budget(text: &str) -> Option<Budget> {
    let (count, window) = text.split_once('/')?;
    Some(Budget {
        count: count.trim().parse().ok()?,
        window: duration(window.trim())?,
    })
}

fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let number = text[..digits].parse().ok().filter(|number| *number > 0)?;
    Some((number, text[digits..].trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_sizes_and_budgets_are_read() {
        assert_eq!(duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(duration("2m"), Some(Duration::from_secs(120)));
        assert_eq!(size("256MiB"), Some(256 << 20));
        assert_eq!(size("1 GiB"), Some(1 << 30));
        assert_eq!(size("268435456"), Some(256 << 20));
        let wanted = Budget {
            count: 5,
            window: Duration::from_secs(600),
        };
        assert_eq!(budget("5/10m"), Some(wanted));
        assert_eq!(budget("0/1s").map(|budget| budget.count), Some(0));
    }

    #[test]
    fn a_call_has_a_limit_of_its_kind_unless_another_is_given() {
        let limits = Limits::default();
        let of = |kind| limits.call_timeout(kind).as_secs();
        assert_eq!(of(PluginKind::Scheduler), 5);
        assert_eq!(of(PluginKind::WorkflowModule), 5);
        assert_eq!(of(PluginKind::JobRunner), 20);
        let given = Limits {
            call_timeout: Some(Duration::from_millis(250)),
            ..limits
        };
        for kind in PluginKind::ALL {
            assert_eq!(given.call_timeout(kind).as_millis(), 250);
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in [
            "",
            "5",
            "0s",
            "s",
            "-1s",
            "1d",
            "1.5s",
            "99999999999999999999s",
        ] {
            assert_eq!(duration(text), None, "{text}");
        }
        for text in ["", "0", "12", "1MB", "127MiB", "MiB", "99999999TiB"] {
            assert_eq!(size(text), None, "{text}");
        }
        for text in ["", "5", "5/", "/10m", "-1/10m", "5/0s", "5/10"] {
            assert_eq!(budget(text), None, "{text}");
        }
    }
}
