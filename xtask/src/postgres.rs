//! A PostgreSQL for the tests: made when they begin, gone when they end, also when they end badly.

use std::env;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::failure::{Failure, Result};
use crate::interrupt;

/// Names the database that tests make theirs beside, as a URL.
pub const VARIABLE: &str = "BARYCENTER_TEST_POSTGRES";
/// The same database by TLS, with a password; `sslrootcert` names whom to trust.
pub const TLS_VARIABLE: &str = "BARYCENTER_TEST_POSTGRES_TLS";

#[derive(clap::Args)]
pub struct Options {}

/// Starts one, prints how to use it, and keeps it until Ctrl-C.
pub fn run(_: &Options) -> Result<()> {
    let programs = Programs::find().ok_or_else(|| {
        Failure::told("PostgreSQL's programs are not here: apt-get install postgresql")
    })?;
    let server = Postgres::start(&programs)?;
    println!("export {VARIABLE}='{}'", server.url());
    if let Some(url) = server.tls_url() {
        println!("export {TLS_VARIABLE}='{url}'");
    }
    eprintln!("until Ctrl-C; then it is removed");
    while interrupt::sleep(Duration::from_secs(1)).is_ok() {}
    Ok(())
}

/// Where PostgreSQL's programs are.
pub struct Programs {
    folder: PathBuf,
}

impl Programs {
    /// On the path, or where Debian keeps them: the newest.
    pub fn find() -> Option<Programs> {
        let of_version = |path: &PathBuf| -> u32 {
            let version = path.parent().and_then(Path::file_name);
            version
                .and_then(|name| name.to_string_lossy().parse().ok())
                .unwrap_or(0)
        };
        let mut versions: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path().join("bin"))
            .collect();
        versions.sort_by_key(of_version);
        let path = env::var_os("PATH").unwrap_or_default();
        let folders = versions.into_iter().rev().chain(env::split_paths(&path));
        // A link alone is not enough: the programs look for their files beside where they really are.
        let real = |folder: PathBuf| {
            let initdb = fs::canonicalize(folder.join("initdb")).ok()?;
            let folder = initdb.parent()?.to_owned();
            folder
                .join("postgres")
                .is_file()
                .then_some(Programs { folder })
        };
        folders.into_iter().find_map(real)
    }
}

/// A running PostgreSQL. Dropping it stops it and removes its files.
pub struct Postgres {
    child: Child,
    folder: TempDir,
    port: u16,
    /// Of the superuser, where TLS is spoken.
    password: Option<String>,
}

/// How long it may take to answer.
const START: Duration = Duration::from_secs(60);
/// How long it may take to stop before it is killed.
const STOP: Duration = Duration::from_secs(10);
const PREFIX: &str = "barycenter-postgres-";
const SUPERUSER: &str = "barycenter";
/// Nothing has to survive: speed instead.
const CARELESS: [&str; 3] = [
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
];
/// Many servers with their pools are connected at the same time.
const SETTINGS: [&str; 5] = [
    "shared_buffers=128MB",
    "max_connections=400",
    "autovacuum_naptime=10s",
    "max_wal_size=2GB",
    "logging_collector=off",
];

impl Postgres {
    /// For tests: what it holds would not survive a power loss.
    pub fn start(programs: &Programs) -> Result<Postgres> {
        Postgres::start_with(programs, &CARELESS)
    }

    /// For measurements: as careful as PostgreSQL is by itself.
    pub fn start_careful(programs: &Programs) -> Result<Postgres> {
        Postgres::start_with(programs, &[])
    }

    fn start_with(programs: &Programs, settings: &[&str]) -> Result<Postgres> {
        remove_what_dead_ones_left();
        let identity = Identity::of_server()?;
        let folder = tempfile::Builder::new()
            .prefix(&format!("{PREFIX}{}-", std::process::id()))
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir()
            .map_err(Failure::during("make a folder for PostgreSQL"))?;
        if let Some(identity) = &identity {
            chown(folder.path(), Some(identity.user), Some(identity.group))
                .map_err(Failure::during("give PostgreSQL its folder"))?;
        }
        let command = |program: &Path| {
            let mut command = Command::new(program);
            command
                .current_dir(folder.path())
                .stdin(Stdio::null())
                .env("HOME", folder.path());
            if let Some(identity) = &identity {
                command.uid(identity.user).gid(identity.group);
            }
            command
        };
        let data = folder.path().join("data");
        let word = secret_word()?;
        let password_file = folder.path().join("password");
        fs::write(&password_file, &word).map_err(Failure::during("write a password"))?;
        if let Some(identity) = &identity {
            chown(&password_file, Some(identity.user), Some(identity.group))
                .map_err(Failure::during("give PostgreSQL its password"))?;
        }
        // Whoever may enter the folder needs no password; from the network everybody does.
        let made = command(&programs.folder.join("initdb"))
            .args(["--auth-local=trust", "--auth-host=scram-sha-256"])
            .args(["--encoding=UTF8", "--locale=C", "--no-sync"])
            .args(["--no-instructions", "-U", SUPERUSER, "--pwfile"])
            .arg(&password_file)
            .arg("-D")
            .arg(&data)
            .output()
            .map_err(Failure::during("start initdb"))?;
        if !made.status.success() {
            let said = String::from_utf8_lossy(&made.stderr);
            let said = said.lines().last().unwrap_or_default();
            return Err(Failure::told(format!("initdb: {said}")));
        }
        let has_tls = make_certificates(|| command(Path::new("openssl")));
        let (port, listen) = match has_tls {
            true => (free_port()?, "listen_addresses=127.0.0.1"),
            false => (5432, "listen_addresses="),
        };
        let log_path = folder.path().join("log");
        let log = File::create(&log_path).map_err(Failure::during("make PostgreSQL's log"))?;
        let mut server = command(&programs.folder.join("postgres"));
        server
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(folder.path())
            .arg("-p")
            .arg(port.to_string())
            .args(["-c", listen])
            .args(
                TLS_SETTINGS
                    .iter()
                    .filter(|_| has_tls)
                    .flat_map(|setting| ["-c", setting]),
            )
            .args(
                SETTINGS
                    .iter()
                    .chain(settings)
                    .flat_map(|setting| ["-c", setting]),
            )
            .stdout(Stdio::null())
            .stderr(log)
            // Ctrl-C is for us; we stop it when the tests have ended.
            .process_group(0);
        end_with_parent(&mut server);
        let child = server
            .spawn()
            .map_err(Failure::during("start PostgreSQL"))?;
        let mut postgres = Postgres {
            child,
            folder,
            port,
            password: has_tls.then_some(word),
        };
        postgres.wait_until_ready(&data, &log_path)?;
        Ok(postgres)
    }

    /// The process that the others are children of.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it listens; its superuser needs no password.
    pub fn url(&self) -> String {
        let folder = self.folder.path().display();
        let port = self.port;
        format!("postgres://{SUPERUSER}@localhost:{port}/postgres?host={folder}")
    }

    /// Where it speaks TLS; None without `openssl`.
    pub fn tls_url(&self) -> Option<String> {
        let (folder, port) = (self.folder.path().display(), self.port);
        let password = self.password.as_ref()?;
        Some(format!(
            "postgres://{SUPERUSER}:{password}@localhost:{port}/postgres?sslmode=verify-full&sslrootcert={folder}/ca.crt"
        ))
    }

    fn wait_until_ready(&mut self, data: &Path, log: &Path) -> Result<()> {
        let end = Instant::now() + START;
        loop {
            let note = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
            if is_ready(&note) {
                return Ok(());
            }
            let ended = self
                .child
                .try_wait()
                .map_err(Failure::during("look after PostgreSQL"))?;
            if ended.is_some() || Instant::now() >= end {
                let said = fs::read_to_string(log).unwrap_or_default();
                let said = said.lines().last().unwrap_or("it says nothing");
                return Err(Failure::told(format!("PostgreSQL does not start: {said}")));
            }
            interrupt::sleep(Duration::from_millis(20))?;
        }
    }
}

const TLS_SETTINGS: [&str; 3] = [
    "ssl=on",
    "ssl_cert_file=../server.crt",
    "ssl_key_file=../server.key",
];

/// An authority, a certificate of its for `localhost`, and another authority that has nothing to do with it. False where
/// `openssl` is missing or too old.
fn make_certificates(openssl: impl Fn() -> Command) -> bool {
    const NEW: [&str; 7] = [
        "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30",
    ];
    let authority = |name: &str| {
        let mut command = openssl();
        command.args(NEW);
        command.args([
            "-keyout",
            &format!("{name}.key"),
            "-out",
            &format!("{name}.crt"),
        ]);
        command.args(["-subj", &format!("/CN=barycenter test {name}")]);
        command.args(["-addext", "basicConstraints=critical,CA:TRUE"]);
        command
    };
    let mut server = openssl();
    server.args(NEW);
    server.args([
        "-keyout",
        "server.key",
        "-out",
        "server.crt",
        "-subj",
        "/CN=localhost",
    ]);
    server.args(["-CA", "ca.crt", "-CAkey", "ca.key"]);
    server.args(["-addext", "subjectAltName=DNS:localhost"]);
    server.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
    [authority("ca"), authority("other"), server]
        .iter_mut()
        .all(|command| {
            let done = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
            done.is_ok_and(|status| status.success())
        })
}

/// A port that nobody listened to a moment ago.
fn free_port() -> Result<u16> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0");
    let address = listener.and_then(|listener| listener.local_addr());
    Ok(address.map_err(Failure::during("find a free port"))?.port())
}

/// A word that nobody guesses.
fn secret_word() -> Result<String> {
    let word = fs::read_to_string("/proc/sys/kernel/random/uuid");
    let word = word.map_err(Failure::during("make a password"))?;
    Ok(word.trim().to_owned())
}

/// Whether the file `postmaster.pid` says that connections are taken: in its eighth line.
fn is_ready(note: &str) -> bool {
    note.lines()
        .nth(7)
        .is_some_and(|line| line.trim() == "ready")
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // SIGQUIT: at once, its processes with it, nothing saved.
        signal(&self.child, libc::SIGQUIT);
        let end = Instant::now() + STOP;
        while let Ok(None) = self.child.try_wait() {
            if Instant::now() >= end {
                let _ = self.child.kill();
                let _ = self.child.wait();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn signal(child: &Child, signal: libc::c_int) {
    let Ok(pid) = libc::pid_t::try_from(child.id()) else {
        return;
    };
    #[expect(unsafe_code, reason = "std can only send SIGKILL")]
    // SAFETY: a child that was not waited for keeps its number; `kill` touches no memory of ours.
    unsafe {
        libc::kill(pid, signal);
    }
}

/// However this process ends, PostgreSQL ends, too.
fn end_with_parent(command: &mut Command) {
    #[expect(unsafe_code, reason = "only the child itself can ask for this")]
    // SAFETY: prctl with these numbers is async-signal-safe and touches no memory of ours. It comes after the change of
    // the user, which would undo it.
    unsafe {
        command.pre_exec(
            || match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGQUIT) {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            },
        );
    }
}

/// Whom PostgreSQL runs as.
struct Identity {
    user: u32,
    group: u32,
}

impl Identity {
    /// PostgreSQL refuses to run as root: then as its own user, or nobody. None: as we do.
    fn of_server() -> Result<Option<Identity>> {
        #[expect(unsafe_code, reason = "std does not tell who we are")]
        // SAFETY: always succeeds and touches no memory.
        let is_root = unsafe { libc::geteuid() } == 0;
        if !is_root {
            return Ok(None);
        }
        let users = fs::read_to_string("/etc/passwd").map_err(Failure::during("list the users"))?;
        ["postgres", "nobody"]
            .iter()
            .find_map(|name| user_named(&users, name))
            .map(Some)
            .ok_or_else(|| Failure::told("no user postgres or nobody that PostgreSQL could run as"))
    }
}

/// A line `name:x:101:104:…` of /etc/passwd.
fn user_named(users: &str, name: &str) -> Option<Identity> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then_some(())?;
        let user = fields.nth(1)?.parse().ok()?;
        let group = fields.next()?.parse().ok()?;
        Some(Identity { user, group })
    })
}

/// A folder stays behind only where this program was killed; PostgreSQL itself ended with it.
fn remove_what_dead_ones_left() {
    for entry in fs::read_dir(env::temp_dir())
        .into_iter()
        .flatten()
        .flatten()
    {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_dead = maker(&name).is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists());
        if is_dead && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// The process that made the folder of this name.
fn maker(name: &str) -> Option<u32> {
    let (pid, _) = name.strip_prefix(PREFIX)?.split_once('-')?;
    pid.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_is_the_eighth_line_of_the_note() {
        let lines = "12\n/data\n1700000000\n5432\n/sock\n\n  5432001  0\n";
        assert!(!is_ready(lines));
        assert!(!is_ready(&format!("{lines}starting\n")));
        assert!(is_ready(&format!("{lines}ready   \n")));
    }

    #[test]
    fn users_and_folders_are_read() {
        let users = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65533:n:/:/bin/false\nbad\n";
        let nobody = user_named(users, "nobody").map(|found| (found.user, found.group));
        assert_eq!(nobody, Some((65534, 65533)));
        assert!(user_named(users, "postgres").is_none() && user_named(users, "bad").is_none());
        assert_eq!(maker("barycenter-postgres-17-abc"), Some(17));
        assert_eq!(maker("barycenter-postgres-x-abc"), None);
        assert_eq!(maker("other-17-abc"), None);
    }

    #[test]
    fn one_is_started_and_leaves_nothing() {
        let Some(programs) = Programs::find() else {
            // The closing list of `cargo xtask test` names PostgreSQL itself.
            return;
        };
        let server = Postgres::start(&programs).unwrap();
        let folder = server.folder.path().to_owned();
        let pid = server.child.id();
        let socket = format!(".s.PGSQL.{}", server.port);
        assert!(folder.join(socket).exists());
        drop(server);
        assert!(!folder.exists() && !Path::new(&format!("/proc/{pid}")).exists());
    }
}
