//! One job: the files it leaves and how its process is started.

use barycenter_plugin_api::JobSpec;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

/// What the job's shell runs: `sh -c WRAPPER barycenter-job TOKEN MARKER SCRIPT EXIT_CODE`.
///
/// * The marker is created exclusively (`set -C`), so a second start of the same token ends here.
///   It holds the process id. The token among the arguments tells later whether that id still
///   means this job.
/// * The script runs in a subshell, so its `exec`, `exit`, `set` and traps cannot keep the wrapper
///   from noting the exit code. Signals to the group reach script and wrapper; the wrapper catches
///   those that ask to end, and the subshell has them at their defaults again.
/// * The exit code goes to a temporary name in a single write. Whoever sees that the process has
///   ended renames it: `mv` would be one more program for every job.
pub const WRAPPER: &str = r#"set -C
echo $$ 2>&- >"$2" || exit 125
set +C
trap : HUP INT QUIT TERM
( barycenter_script=$3; shift 4; . "$barycenter_script" )
set -- "$4" $?
echo "$2" >"$1"
exit "$2""#;

/// Where a job's own files are.
#[derive(Debug, Clone)]
pub struct Files {
    /// Exists once the command may have started; holds the process id.
    pub marker: PathBuf,
    /// Where the wrapper writes the exit code.
    pub exit_code_temporary: PathBuf,
    /// Where the exit code is in the end.
    pub exit_code: PathBuf,
}

impl Files {
    pub fn of(spec: &JobSpec) -> Self {
        let mut temporary = spec.exit_code_path.to_string();
        temporary.push_str(".tmp");
        Self {
            marker: Path::new(spec.job_directory.as_str()).join(format!("started-{}", spec.token)),
            exit_code_temporary: temporary.into(),
            exit_code: spec.exit_code_path.as_str().into(),
        }
    }

    /// The process that the marker names; 0 while it is being written.
    pub fn marked_pid(&self) -> io::Result<i32> {
        Ok(std::fs::read_to_string(&self.marker)?
            .trim()
            .parse()
            .unwrap_or(0))
    }

    /// Puts the exit code in its place and returns it; `None` when the wrapper left none.
    pub fn settle_exit_code(&self) -> io::Result<Option<i32>> {
        match std::fs::rename(&self.exit_code_temporary, &self.exit_code) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        match std::fs::read_to_string(&self.exit_code) {
            Ok(text) => Ok(text.trim().parse().ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Like [`Files::settle_exit_code`] when the code is known from the kernel: writes it if the
    /// wrapper could not.
    pub fn settle_known_exit_code(&self, code: i32) -> io::Result<()> {
        match std::fs::rename(&self.exit_code_temporary, &self.exit_code) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                std::fs::write(&self.exit_code_temporary, format!("{code}\n"))?;
                std::fs::rename(&self.exit_code_temporary, &self.exit_code)
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
        .args(["barycenter-job", spec.token.as_str()])
        .arg(&files.marker)
        .arg(spec.script_path.as_str())
        .arg(&files.exit_code_temporary)
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
        .map_err(|error| io::Error::new(error.kind(), format!("could not open {path}: {error}")))
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
