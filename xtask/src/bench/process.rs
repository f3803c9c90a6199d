//! What the system says about processes.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::time::Duration;

use crate::failure::{Failure, Result};

/// Linux counts processor time for users in hundredths of a second, whatever the kernel's own clock.
const TICK: Duration = Duration::from_millis(10);

/// Processor time of a process and of its descendants that ended and were waited for.
pub fn cpu(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let [user, system, children_user, children_system] = cpu_fields(&read(&path)?)
        .ok_or_else(|| Failure::told(format!("{path} does not look as expected")))?;
    Ok(TICK * (user + system + children_user + children_system))
}

/// Processor time of a process itself, and of its descendants that ended and were waited for.
pub fn own_and_children_cpu(pid: u32) -> Result<(Duration, Duration)> {
    let path = format!("/proc/{pid}/stat");
    let [user, system, children_user, children_system] = cpu_fields(&read(&path)?)
        .ok_or_else(|| Failure::told(format!("{path} does not look as expected")))?;
    let of = |user, system| TICK * (user + system);
    Ok((of(user, system), of(children_user, children_system)))
}

/// Processor time of a process, of its children that live, and of those that ended.
pub fn family_cpu(pid: u32) -> Result<Duration> {
    let children = read(&format!("/proc/{pid}/task/{pid}/children"))?;
    let children = children
        .split_whitespace()
        .filter_map(|child| child.parse().ok());
    // One that ends just now is counted with its parent's dead, or not at all.
    let living: Duration = children.filter_map(|child| cpu(child).ok()).sum();
    Ok(cpu(pid)? + living)
}

/// Processor time of this process's descendants that ended and were waited for.
pub fn children_cpu() -> Result<Duration> {
    let path = "/proc/self/stat";
    let [_, _, user, system] = cpu_fields(&read(path)?)
        .ok_or_else(|| Failure::told(format!("{path} does not look as expected")))?;
    Ok(TICK * (user + system))
}

/// A process's memory in MB: resident, and its fair share of what it shares with others.
pub fn memory_mb(pid: u32) -> Result<(f64, f64)> {
    let text = read(&format!("/proc/{pid}/smaps_rollup"))?;
    let kb = |name| field(&text, name).map(|kb| kb as f64 / 1024.0);
    match (kb("Rss:"), kb("Pss:")) {
        (Some(rss), Some(pss)) => Ok((rss, pss)),
        _ => Err(Failure::told("the system does not tell a process's memory")),
    }
}

/// What a process did so far.
#[derive(Clone, Debug)]
pub struct Activity {
    /// Calls of read and write.
    pub transfers: u64,
    /// How often each of its threads gave the processor away: together at least twice for each database statement.
    switches: HashMap<OsString, u64>,
}

impl Activity {
    /// Switches since an earlier look. Those of threads that ended meanwhile are not known.
    pub fn switches_since(&self, earlier: &Activity) -> u64 {
        let before = |thread| earlier.switches.get(thread).copied().unwrap_or(0);
        self.switches
            .iter()
            .map(|(thread, count)| count.saturating_sub(before(thread)))
            .sum()
    }
}

pub fn activity(pid: u32) -> Result<Activity> {
    let io = read(&format!("/proc/{pid}/io"))?;
    let transfers = field(&io, "syscr:").unwrap_or(0) + field(&io, "syscw:").unwrap_or(0);
    let folder = format!("/proc/{pid}/task");
    let threads = fs::read_dir(&folder).map_err(Failure::during(format!("list {folder}")))?;
    let switches = threads
        .flatten()
        .filter_map(|thread| {
            let status = fs::read_to_string(thread.path().join("status")).ok()?;
            Some((
                thread.file_name(),
                field(&status, "voluntary_ctxt_switches:")?,
            ))
        })
        .collect();
    Ok(Activity {
        transfers,
        switches,
    })
}

/// The load of the last minute.
pub fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let first = text.split_whitespace().next();
    first.and_then(|number| number.parse().ok()).unwrap_or(0.0)
}

pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).map_err(Failure::during(format!("read {path}")))
}

/// utime, stime, cutime and cstime. The process's name comes before them and may hold anything.
fn cpu_fields(stat: &str) -> Option<[u32; 4]> {
    let mut fields = stat.rsplit(')').next()?.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse().ok();
    Some([next()?, next()?, next()?, next()?])
}

/// The number behind a name at the beginning of a line.
pub fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_times_are_found_behind_any_name() {
        let stat = "7 (a) b) (c) S 1 7 7 0 -1 4194304 9 0 0 0 11 12 13 14 20 0 1 0 100";
        assert_eq!(cpu_fields(stat), Some([11, 12, 13, 14]));
        assert_eq!(cpu_fields("7 (a) S 1"), None);
    }

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let text = "nonvoluntary_ctxt_switches:\t3\nvoluntary_ctxt_switches:\t12\nRss:   2048 kB\n";
        assert_eq!(field(text, "voluntary_ctxt_switches:"), Some(12));
        assert_eq!(field(text, "Rss:"), Some(2048));
        assert_eq!(field(text, "Pss:"), None);
    }

    #[test]
    fn a_thread_that_ended_takes_nothing_from_the_others() {
        let activity = |threads: &[(&str, u64)]| Activity {
            transfers: 0,
            switches: threads.iter().map(|(id, n)| (id.into(), *n)).collect(),
        };
        let before = activity(&[("1", 10), ("2", 500)]);
        let after = activity(&[("1", 14), ("3", 2)]);
        assert_eq!(after.switches_since(&before), 6);
    }

    #[test]
    fn the_system_tells_about_this_process() {
        let pid = std::process::id();
        assert!(family_cpu(pid).unwrap() >= cpu(pid).unwrap());
        own_and_children_cpu(pid).unwrap();
        activity(pid).unwrap();
        assert!(memory_mb(pid).unwrap().0 > 0.5);
        assert!(cpu(u32::MAX).is_err());
    }
}
