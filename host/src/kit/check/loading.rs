//! L: the library loads, and does nothing else.

use std::time::{Duration, Instant};

use object::read::elf::{Dyn, FileHeader};
use object::{Endianness, elf};

use super::{ALL, Context, Test, Verdict, faults_or_passed, left_out, noted, passed, passed_with};
use crate::plugins::load;

pub(super) const TESTS: [Test; 6] = [
    Test {
        id: "L.preamble",
        text: "what the library says about itself can be read without running it",
        kinds: ALL,
        run: preamble,
    },
    Test {
        id: "L.libraries",
        text: "it needs no library but the system's own",
        kinds: ALL,
        run: libraries,
    },
    Test {
        id: "L.load",
        text: "it is loaded, its types fit, and it says the same as its preamble",
        kinds: ALL,
        run: loads,
    },
    Test {
        id: "L.create",
        text: "an instance is made with the given options",
        kinds: ALL,
        run: create,
    },
    Test {
        id: "L.twice",
        text: "two instances live side by side",
        kinds: ALL,
        run: twice,
    },
    Test {
        id: "L.quiet",
        text: "loading it starts no thread, leaves no file open and changes neither folder nor environment",
        kinds: ALL,
        run: quiet,
    },
];

fn preamble(context: &Context) -> Verdict {
    let preamble = &context.subject.preamble;
    let mut faults = Vec::new();
    if !preamble.unwind {
        faults.push("it was built with panic = \"abort\": every panic ends its process; build it with \"unwind\"".to_owned());
    }
    if preamble.kinds().count() != 1 {
        faults.push("it says that it is of several kinds, or of none".to_owned());
    }
    if preamble.version.is_empty() {
        faults.push("it has no version".to_owned());
    }
    if !preamble.rustc.starts_with("rustc ") {
        faults.push("it does not say which compiler built it".to_owned());
    }
    faults_or_passed(faults)
}

/// What every system has that can run the server.
const SYSTEM: [&str; 7] = [
    "libc.so",
    "libm.so",
    "libgcc_s.so",
    "libdl.so",
    "libpthread.so",
    "librt.so",
    "ld-linux",
];

fn libraries(context: &Context) -> Verdict {
    let bytes = std::fs::read(&context.subject.path).map_err(|error| error.to_string())?;
    let needed = needed(&bytes).map_err(|error| error.to_string())?;
    let others: Vec<String> = needed
        .into_iter()
        .filter(|name| !SYSTEM.iter().any(|known| name.starts_with(known)))
        .collect();
    if others.is_empty() {
        passed()
    } else {
        noted(format!(
            "it needs {}, which an operator's machine may not have",
            others.join(", ")
        ))
    }
}

fn needed(bytes: &[u8]) -> object::Result<Vec<String>> {
    let header = elf::FileHeader64::<Endianness>::parse(bytes)?;
    let endian = header.endian()?;
    let sections = header.sections(endian, bytes)?;
    let Some((entries, link)) = sections.dynamic(endian, bytes)? else {
        return Ok(Vec::new());
    };
    let strings = sections.strings(endian, bytes, link)?;
    let needed = entries
        .iter()
        .filter(|entry| entry.tag(endian) == elf::DT_NEEDED);
    let names = needed.map(|entry| {
        let at = u32::try_from(entry.val(endian)).unwrap_or(0);
        String::from_utf8_lossy(strings.get(at).unwrap_or_default()).into_owned()
    });
    Ok(names.collect())
}

/// A disk may be slow, a constructor that works for a second is at fault.
const LOAD_LIMIT: Duration = Duration::from_secs(1);

fn loads(context: &Context) -> Verdict {
    let begin = Instant::now();
    let loaded = load(&context.subject.path, None, None).map_err(|error| error.to_string())?;
    let took = begin.elapsed();
    let preamble = &context.subject.preamble;
    let mut faults = Vec::new();
    if loaded.info.type_id != preamble.type_id {
        faults.push(format!(
            "loaded it is `{}`, its preamble says `{}`",
            loaded.info.type_id, preamble.type_id
        ));
    }
    if loaded.info.version != preamble.version
        && !preamble.version.starts_with(loaded.info.version.as_str())
    {
        faults.push(format!(
            "loaded it is version {}, its preamble says {}",
            loaded.info.version, preamble.version
        ));
    }
    if took > LOAD_LIMIT {
        faults.push(format!(
            "loading took {took:.1?}, the limit is {LOAD_LIMIT:?}"
        ));
    }
    if faults.is_empty() {
        return passed_with(format!("{took:.1?}"));
    }
    faults_or_passed(faults)
}

fn create(context: &Context) -> Verdict {
    context.open()?;
    passed()
}

fn twice(context: &Context) -> Verdict {
    let first = context.open()?;
    let second = context
        .open()
        .map_err(|error| format!("the second one: {error}"))?;
    drop(first);
    let third = context
        .open()
        .map_err(|error| format!("one after another was dropped: {error}"))?;
    drop((second, third));
    passed()
}

/// What loading must not change.
#[derive(PartialEq)]
struct Surroundings {
    threads: usize,
    files: usize,
    folder: Option<std::path::PathBuf>,
    environment: Vec<(std::ffi::OsString, std::ffi::OsString)>,
}

fn entries(folder: &str) -> usize {
    std::fs::read_dir(folder).map_or(0, |entries| entries.count())
}

impl Surroundings {
    fn now() -> Self {
        Self {
            threads: entries("/proc/self/task"),
            files: entries("/proc/self/fd"),
            folder: std::env::current_dir().ok(),
            environment: std::env::vars_os().collect(),
        }
    }
}

fn quiet(context: &Context) -> Verdict {
    if cfg!(not(target_os = "linux")) {
        return left_out("only Linux tells");
    }
    let before = Surroundings::now();
    load(&context.subject.path, None, None).map_err(|error| error.to_string())?;
    let after = Surroundings::now();
    let mut faults = Vec::new();
    if after.threads > before.threads {
        faults.push(format!(
            "it started {} threads",
            after.threads - before.threads
        ));
    }
    if after.files > before.files {
        faults.push(format!("it opened {} files", after.files - before.files));
    }
    if after.folder != before.folder {
        faults.push("it changed the working directory".to_owned());
    }
    if after.environment != before.environment {
        faults.push("it changed the environment".to_owned());
    }
    faults_or_passed(faults)
}
