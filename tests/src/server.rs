//! A server as a child process, with a data directory of its own.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use crate::build;
use crate::client::{Client, text};
use crate::database::Database;
use crate::processes;

/// The key that may create users.
pub const BOOTSTRAP_KEY: &str = "bootstrap-key-of-the-tests";
/// How long a server may take to say where it listens.
const START: Duration = Duration::from_secs(60);
/// How long a server may take to stop (issue: 10 s).
const STOP: Duration = Duration::from_secs(10);

/// How a server is to be started.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Slots of the local runner.
    pub workers: u32,
    /// Lines added to plugins.toml; with `plugins` its whole text.
    pub plugins: Option<String>,
    /// More of the environment, such as `BARYCENTER_JOB_TIME_LIMIT_SECONDS`.
    pub environment: Vec<(String, String)>,
    /// More tool files, by name.
    pub tools: Vec<(String, String)>,
    /// The data directory is a file system of its own with so many MiB; only within [`crate::room::in_own_mounts`].
    pub room: Option<u32>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            workers: 4,
            plugins: None,
            environment: Vec::new(),
            tools: Vec::new(),
            room: None,
        }
    }
}

impl Setup {
    pub fn workers(mut self, workers: u32) -> Self {
        self.workers = workers;
        self
    }

    pub fn plugins(mut self, text: &str) -> Self {
        self.plugins = Some(text.to_owned());
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn tool(mut self, file: &str, text: &str) -> Self {
        self.tools.push((file.to_owned(), text.to_owned()));
        self
    }

    /// See [`Setup::room`].
    pub fn room(mut self, mebibytes: u32) -> Self {
        self.room = Some(mebibytes);
        self
    }

    /// Starts it, and makes an administrator and a user.
    pub fn start(self) -> TestServer {
        TestServer::with(self)
    }
}

/// A running server. Dropping it kills it and whatever is left of its jobs.
pub struct TestServer {
    folder: TempDir,
    database: Database,
    child: Option<Child>,
    setup: Setup,
    /// The address that this run of the server listens on.
    pub url: String,
    /// The key of the ordinary user.
    key: String,
    admin_key: String,
    leaves_jobs: bool,
}

impl TestServer {
    /// A server with the three shipped plugins.
    pub fn start() -> Self {
        Self::with(Setup::default())
    }

    fn with(setup: Setup) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("barycenter-test-")
            .tempdir()
            .expect("a temporary folder");
        let tools = folder.path().join("tools");
        fs::create_dir(&tools).expect("a new folder");
        for file in fs::read_dir(build::fixture("tools")).expect("the fixtures are there") {
            let file = file.expect("a fixture");
            fs::copy(file.path(), tools.join(file.file_name())).expect("a copy");
        }
        for (name, text) in &setup.tools {
            fs::write(tools.join(name), text).expect("a tool file");
        }
        if let Some(mebibytes) = setup.room {
            fs::create_dir(folder.path().join("data")).expect("a new folder");
            crate::room::mount(&folder.path().join("data"), mebibytes);
        }
        let mut server = Self {
            database: Database::for_server(&folder.path().join("data")),
            folder,
            child: None,
            setup,
            url: String::new(),
            key: String::new(),
            admin_key: String::new(),
            leaves_jobs: false,
        };
        server.write_plugins();
        let environment = server.setup.environment.clone();
        server.launch(&environment);
        server.key = server.create_user("ada", false);
        server.admin_key = server.create_user("root", true);
        server
    }

    /// The temporary folder: `data`, `tools`, `plugins.toml`, `log`.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn data_dir(&self) -> PathBuf {
        self.folder().join("data")
    }

    /// Its database.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Another database, for the next start. The old one goes, if it is none in the data directory.
    pub fn set_database(&mut self, database: Database) {
        self.database = database;
    }

    /// `barycenter db …` on this server's database and data.
    pub fn db(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(build::binary());
        command.arg("db").args(arguments);
        command.arg("--data-dir").arg(self.data_dir());
        command.args(["--database-url", &self.database.url]);
        clean(&mut command).output().expect("the program runs")
    }

    /// What `barycenter admin …` prints about this server's database. It must succeed.
    #[track_caller]
    pub fn admin_command(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(build::binary());
        command.arg("admin").args(arguments);
        command.arg("--data-dir").arg(self.data_dir());
        command.args(["--database-url", &self.database.url]);
        let output = clean(&mut command).output().expect("the program runs");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The ordinary user.
    pub fn client(&self) -> Client {
        Client::new(&self.url, Some(&self.key))
    }

    /// A user who is an administrator.
    pub fn admin(&self) -> Client {
        Client::new(&self.url, Some(&self.admin_key))
    }

    /// The bootstrap key, which is nobody's.
    pub fn bootstrap(&self) -> Client {
        Client::new(&self.url, Some(BOOTSTRAP_KEY))
    }

    pub fn anonymous(&self) -> Client {
        Client::new(&self.url, None)
    }

    /// A new user; returns their key.
    #[track_caller]
    pub fn create_user(&self, name: &str, admin: bool) -> String {
        let (email, folder) = (format!("{name}@example.org"), self.data_dir());
        let mut command = Command::new(build::binary());
        command.args([
            "admin",
            "create-user",
            &email,
            "--username",
            name,
            "--data-dir",
        ]);
        command
            .arg(folder)
            .args(["--database-url", &self.database.url]);
        if admin {
            command.arg("--admin");
        }
        if !admin {
            // By the door, as an operator without a shell would.
            let password = "a long enough secret";
            let user = json!({"username": name, "email": email, "password": password});
            let made = self.bootstrap().post("/api/users", &user).ok();
            let path = format!("/api/users/{}/api_key", text(&made, "id"));
            let key = self.bootstrap().post(&path, &json!({})).ok();
            return key.as_str().expect("a key").to_owned();
        }
        let output = clean(&mut command).output().expect("the program runs");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// The command that starts this server, without having started it.
    pub fn command(&self) -> Command {
        let mut command = serve(&self.data_dir());
        command
            .arg("--plugins")
            .arg(self.folder().join("plugins.toml"))
            .arg("--tool-dir")
            .arg(self.folder().join("tools"))
            .args(["--database-url", &self.database.url])
            .current_dir(self.folder());
        command
    }

    fn write_plugins(&self) {
        let text = match &self.setup.plugins {
            Some(text) => text.clone(),
            None => format!(
                "[[scheduler]]\ntype = \"default\"\n[[workflow_module]]\ntype = \"pause\"\n\
                 [[job_runner]]\ntype = \"local\"\n[job_runner.config]\nworkers = {}\n\
                 kill_grace_seconds = 0.5\nlog_check_seconds = 0.1\n",
                self.setup.workers
            ),
        };
        fs::write(self.folder().join("plugins.toml"), text).expect("plugins.toml");
    }

    /// Replaces plugins.toml, for the next start.
    pub fn set_plugins(&mut self, text: &str) {
        self.setup.plugins = Some(text.to_owned());
        self.write_plugins();
    }

    #[track_caller]
    fn launch(&mut self, environment: &[(String, String)]) {
        let (child, url) = self.spawn(&[], environment);
        self.child = Some(child);
        self.url = url;
    }

    /// Starts a process of this server's program on its data, with more arguments, and waits until it listens.
    #[track_caller]
    fn spawn(&self, arguments: &[&str], environment: &[(String, String)]) -> (Child, String) {
        let mut command = self.command();
        command.args(arguments);
        for (name, value) in environment {
            command.env(name, value);
        }
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path());
        let mut log = log.expect("a log file");
        writeln!(log, "---- start {arguments:?}").expect("the log is written");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log);
        end_with_parent(&mut command);
        let mut child = command.spawn().expect("the server starts");
        let stdout = child.stdout.take().expect("a pipe");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let told = match lines.recv_timeout(START) {
            Ok(line) => line
                .strip_prefix("listening on ")
                .map(str::to_owned)
                .ok_or_else(|| format!("the server's first line on stdout is {line:?}")),
            Err(RecvTimeoutError::Timeout) => Err("the server does not say its address".into()),
            Err(RecvTimeoutError::Disconnected) => Err("the server ended at its start".into()),
        };
        match told {
            Ok(url) => (child, url),
            Err(sentence) => {
                let _ = child.kill();
                let _ = child.wait();
                self.fail(&sentence)
            }
        }
    }

    /// One more server on the same data and database, with more arguments (`--name`, `--role`), and this one's
    /// environment. Only on PostgreSQL.
    #[track_caller]
    pub fn peer(&self, arguments: &[&str]) -> Peer {
        let (child, url) = self.spawn(arguments, &self.setup.environment);
        Peer {
            child: Some(child),
            url,
        }
    }

    /// The ordinary user, through another server of the same data.
    pub fn client_of(&self, peer: &Peer) -> Client {
        Client::new(&peer.url, Some(&self.key))
    }

    /// The server's process id.
    pub fn pid(&self) -> i32 {
        let child = self.child.as_ref().expect("the server runs");
        i32::try_from(child.id()).expect("a process id")
    }

    /// Ends the server as a power cut would: only the server; jobs that run go on.
    pub fn kill9(&mut self) {
        let mut child = self.child.take().expect("the server runs");
        child.kill().expect("killed");
        child.wait().expect("gone");
    }

    /// Waits until the server has died by itself (at a crash point, say).
    #[track_caller]
    pub fn wait_for_death(&mut self) -> ExitStatus {
        let child = self.child.as_mut().expect("the server was started");
        let status = crate::wait::until_told(|| child.try_wait().expect("it can be waited for"));
        let Some(status) = status else {
            self.fail("the server did not die");
        };
        self.child = None;
        status
    }

    /// Whether the server still runs.
    pub fn is_running(&mut self) -> bool {
        let child = self.child.as_mut();
        child.is_some_and(|child| child.try_wait().expect("it can be waited for").is_none())
    }

    /// Starts the server again on the same data, with the same environment.
    #[track_caller]
    pub fn restart(&mut self) {
        let environment = self.setup.environment.clone();
        self.restart_with(&environment);
    }

    /// Starts the server again on the same data, with this environment. One that still runs is killed.
    #[track_caller]
    pub fn restart_with(&mut self, environment: &[(String, String)]) {
        if self.child.is_some() {
            self.kill9();
        }
        self.launch(environment);
    }

    /// Stops the server by SIGTERM; it must end with status 0 within ten seconds.
    #[track_caller]
    pub fn stop(&mut self) {
        let pid = self.pid();
        let mut child = self.child.take().expect("the server runs");
        processes::signal(pid, libc::SIGTERM);
        let end = Instant::now() + STOP;
        loop {
            if let Some(status) = child.try_wait().expect("it can be waited for") {
                if !status.success() {
                    self.fail(&format!("after SIGTERM the server ended with {status}"));
                }
                return;
            }
            if Instant::now() >= end {
                let _ = child.kill();
                let _ = child.wait();
                self.fail("ten seconds after SIGTERM the server still runs");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The processes of this server's jobs.
    pub fn job_processes(&self) -> Vec<i32> {
        processes::working_below(&self.data_dir())
            .into_iter()
            .filter(|pid| {
                self.child
                    .as_ref()
                    .is_none_or(|child| child.id() != *pid as u32)
            })
            .collect()
    }

    /// This test ends while jobs run; dropping the server kills them and does not complain.
    pub fn leaves_jobs(&mut self) {
        self.leaves_jobs = true;
    }

    fn log_path(&self) -> PathBuf {
        self.folder().join("log")
    }

    /// All that the server has logged.
    pub fn log(&self) -> String {
        let bytes = fs::read(self.log_path()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }

    #[track_caller]
    fn fail(&self, sentence: &str) -> ! {
        // The log follows when this is dropped.
        panic!("{sentence}")
    }
}

/// Another server on the data of a [`TestServer`]. Dropping it kills it.
pub struct Peer {
    child: Option<Child>,
    pub url: String,
}

impl Peer {
    pub fn pid(&self) -> i32 {
        let child = self.child.as_ref().expect("the server runs");
        i32::try_from(child.id()).expect("a process id")
    }

    /// Kills it without warning.
    pub fn kill9(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Stops it by SIGTERM; it must end with status 0.
    #[track_caller]
    pub fn stop(&mut self) {
        processes::signal(self.pid(), libc::SIGTERM);
        let mut child = self.child.take().expect("the server runs");
        let status = crate::wait::until_told(|| child.try_wait().expect("it can be waited for"));
        assert!(
            status.is_some_and(|status| status.success()),
            "after SIGTERM: {status:?}"
        );
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.kill9();
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let left = self.job_processes();
        processes::kill_below(&self.data_dir());
        if self.setup.room.is_some() {
            crate::room::unmount(&self.data_dir());
        }
        if std::thread::panicking() {
            eprintln!("the end of the server's log:\n{}", self.log_tail());
            if std::env::var_os("BARYCENTER_TEST_KEEP").is_some() {
                self.folder.disable_cleanup(true);
                eprintln!("kept: {}", self.folder.path().display());
            }
        } else if !self.leaves_jobs {
            assert!(left.is_empty(), "processes of jobs were left: {left:?}");
        }
    }
}

/// `barycenter serve` on a free port with this data directory.
pub fn serve(data_dir: &Path) -> Command {
    serve_on("127.0.0.1:0", data_dir)
}

/// `barycenter serve` on this address.
pub fn serve_on(listen: &str, data_dir: &Path) -> Command {
    let mut command = Command::new(build::binary());
    command
        .args(["serve", "--listen", listen, "--data-dir"])
        .arg(data_dir);
    clean(&mut command);
    command.env("BARYCENTER_BOOTSTRAP_ADMIN_API_KEY", BOOTSTRAP_KEY);
    command
}

/// What is wrong with a start that must fail.
#[track_caller]
pub fn refused(command: &mut Command, code: i32) -> String {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let end = Instant::now() + START;
    while child.try_wait().expect("it can be waited for").is_none() {
        if Instant::now() > end {
            child.kill().expect("killed");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output().expect("the program ended");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{command:?}: {told}");
    assert!(
        output.stdout.is_empty(),
        "it said that it listens: {output:?}"
    );
    assert!(
        !told.trim().is_empty() && !told.contains("panicked"),
        "{told}"
    );
    told
}

/// Takes away what the environment of whoever runs the tests would decide.
pub fn clean(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("BARYCENTER_") {
            command.env_remove(name);
        }
    }
    command
}

/// Even if the tests are killed the server gets a SIGKILL.
fn end_with_parent(command: &mut Command) {
    #[expect(unsafe_code, reason = "only the child itself can ask for this")]
    // SAFETY: prctl with these numbers is async-signal-safe and touches no memory of ours.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        });
    }
}
