//! The processes of jobs, found by where they work.

use std::fs;
use std::path::Path;

use crate::wait::eventually;

/// The ids of the processes whose working directory is `folder` or below it.
pub fn working_below(folder: &Path) -> Vec<i32> {
    let Ok(folder) = folder.canonicalize() else {
        return Vec::new();
    };
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let ids = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    ids.filter(|pid| {
        let works_in = fs::read_link(format!("/proc/{pid}/cwd"));
        works_in.is_ok_and(|cwd| cwd.starts_with(&folder)) && !is_zombie(*pid)
    })
    .collect()
}

/// Whether there is such a process that has not ended.
pub fn is_alive(pid: i32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists() && !is_zombie(pid)
}

fn is_zombie(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name, in brackets, may contain anything; the state follows it.
    let state = stat.rsplit_once(") ").map(|(_, rest)| rest);
    state.is_none_or(|rest| rest.starts_with('Z') || rest.starts_with('X'))
}

/// Sends a signal to a process; that it is gone already is no error.
pub fn signal(pid: i32, signal: i32) {
    assert!(pid > 1, "never a group, never init");
    #[expect(
        unsafe_code,
        reason = "the standard library sends no signal but SIGKILL"
    )]
    // SAFETY: kill takes plain numbers.
    unsafe {
        libc::kill(pid, signal);
    }
}

/// Kills the processes that work below `folder` and waits until they are gone.
pub fn kill_below(folder: &Path) {
    eventually("the processes of the jobs end", || {
        let left = working_below(folder);
        for pid in &left {
            signal(*pid, libc::SIGKILL);
        }
        left.is_empty()
    });
}
