//! One job: the files it leaves and how its process is started.

use barycenter_plugin_api::JobSpec;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

/// What the job's shell runs: `sh -c WRAPPER barycenter-job TOKEN RECORD SCRIPT`.
///
/// * The record is created exclusively (`set -C`), so a second start of the same token ends here.
///   It stays empty while the script runs.
/// * The script runs in a subshell, so its `exec`, `exit`, `set` and traps cannot keep the wrapper
///   from noting the exit code. Signals to the group reach script and wrapper; the wrapper catches
///   those that ask to end, and the subshell has them at their defaults again.
/// * The exit code is appended to the record in a single write.
///
/// `$$` in the script is the wrapper, so a script cannot end itself with `kill $$`: the wrapper
/// catches that. One that must can begin with `exec /bin/sh other-script`.
///
/// One file for start and end, because making a file costs more than everything else here. Who
/// sees that the process has ended links the record to where the exit code is wanted. The process
/// is found again by the token among its arguments, which (unlike a number in a file) cannot come
/// to mean another process.
pub const WRAPPER: &str = r#"set -C
true 2>&- >"$2" || exit 125
set +C
trap : HUP INT QUIT TERM
( barycenter_script=$3; shift 3; . "$barycenter_script" )
set -- "$2" $?
echo "$2" >>"$1"
exit "$2""#;

/// The wrapper's `$0`.
pub const WRAPPER_NAME: &str = "barycenter-job";

/// Where a job's own files are.
#[derive(Debug, Clone)]
pub struct Files {
    /// Exists once the command may have started; empty until it has ended, then its exit code.
    pub record: PathBuf,
    /// Another name of the record, once the job has ended.
    pub exit_code: PathBuf,
}

impl Files {
    pub fn of(spec: &JobSpec) -> Self {
        Self {
            record: Path::new(spec.job_directory.as_str()).join(format!("started-{}", spec.token)),
            exit_code: spec.exit_code_path.as_str().into(),
        }
    }

    /// The exit code in the record; `None` while it is empty. An error when it does not exist.
    pub fn recorded_exit_code(&self) -> io::Result<Option<i32>> {
        Ok(std::fs::read_to_string(&self.record)?.trim().parse().ok())
    }

    /// Writes the record of a job whose wrapper was killed before it could.
    pub fn record_exit_code(&self, code: i32) -> io::Result<()> {
        let mut record = OpenOptions::new()
            .append(true)
            .create(true)
            .open(&self.record)?;
        io::Write::write_all(&mut record, format!("{code}\n").as_bytes())
    }

    /// Puts the record of an ended job to where the exit code is wanted.
    pub fn publish_exit_code(&self) -> io::Result<()> {
        match std::fs::hard_link(&self.record, &self.exit_code) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                std::fs::remove_file(&self.exit_code)?;
                std::fs::hard_link(&self.record, &self.exit_code)
            }
            // Another file system, or one without links.
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let mut temporary = self.exit_code.clone().into_os_string();
                temporary.push(".tmp");
                std::fs::copy(&self.record, &temporary)?;
                std::fs::rename(&temporary, &self.exit_code)
            }
            other => other,
        }
    }
}

/// Starts the job's process in a group of its own and returns its id.
pub fn start(spec: &JobSpec, files: &Files) -> io::Result<i32> {
    let mut command = Command::new(spec.shell.as_str());
    command
        .arg("-c")
        .arg(WRAPPER)
        .args([WRAPPER_NAME, spec.token.as_str()])
        .arg(&files.record)
        .arg(spec.script_path.as_str())
        .env_clear()
        .envs(
            spec.environment
                .iter()
                .map(|pair| (pair.name.as_str(), pair.value.as_str())),
        )
        .current_dir(spec.working_directory.as_str())
        .stdin(Stdio::null())
        .stdout(append(&spec.stdout_path)?)
        .stderr(append(&spec.stderr_path)?)
        .process_group(0);
    let child = command.spawn()?;
    i32::try_from(child.id()).map_err(io::Error::other)
}

fn append(path: &str) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .map_err(|error| match crate::sys::is_lack(&error) {
            true => error,
            false => io::Error::new(error.kind(), format!("could not open {path}: {error}")),
        })
}

/// Cuts the outputs to their limit; whether anything was cut.
pub fn limit_logs(spec: &JobSpec) -> bool {
    let limit = spec.log_limit_bytes;
    let cut = |path: &str| -> io::Result<bool> {
        if std::fs::metadata(path)?.len() <= limit {
            return Ok(false);
        }
        OpenOptions::new().write(true).open(path)?.set_len(limit)?;
        Ok(true)
    };
    // A log that is gone needs no limit.
    limit > 0 && (cut(&spec.stdout_path).unwrap_or(false) | cut(&spec.stderr_path).unwrap_or(false))
}

/// Milliseconds since 1970 of a file's last change; 0 when there is none.
pub fn modified_ms(path: &Path) -> i64 {
    let modified = std::fs::metadata(path).and_then(|metadata| metadata.modified());
    modified.map_or(0, to_ms)
}

/// Milliseconds since 1970.
pub fn to_ms(time: SystemTime) -> i64 {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
