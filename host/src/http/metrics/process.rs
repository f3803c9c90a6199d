//! What the system knows about this process.

/// A reading of /proc.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub resident_bytes: u64,
    pub threads: u64,
    pub open_files: u64,
    /// User and system time, in ticks of 1/100 s.
    pub cpu_ticks: u64,
}

/// None where there is no /proc.
pub fn usage() -> Option<Usage> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let number = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    Some(Usage {
        resident_bytes: number("VmRSS:")? * 1024,
        threads: number("Threads:")?,
        open_files: std::fs::read_dir("/proc/self/fd").ok()?.count() as u64,
        cpu_ticks: cpu_ticks(&stat)?,
    })
}

/// Fields 14 and 15; the second, the program's name, may have blanks and brackets.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let (user, system) = (fields.next()?, fields.next()?);
    Some(user.parse::<u64>().ok()? + system.parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_are_found_whatever_the_program_is_called() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 100 0 0 0 21 34 0 0 20 0 3 0 1 2 3";
        assert_eq!(cpu_ticks(stat), Some(55));
        assert_eq!(cpu_ticks("7 (a) S"), None);
    }

    #[test]
    fn this_process_has_memory_threads_and_files() {
        let usage = usage().expect("there is /proc");
        assert!(usage.resident_bytes > 100_000 && usage.threads > 0 && usage.open_files > 2);
    }
}
