//! A server to measure: its data, its tools, a user.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::workflows;
use crate::failure::{Failure, Result};
use crate::galaxy::Galaxy;
use crate::server::Server;
use crate::{interrupt, secret, workspace};

/// An invocation that does not end in time is a failure.
const INVOCATION_SECONDS: u64 = 900;
/// What a new file takes on a disk that has nothing to get over, with room; measured over so many files; how long to
/// wait for it. Ext4 without a journal looks at every inode that was removed within the last minutes.
const FILE_MAX: Duration = Duration::from_micros(60);
const FILES: u32 = 300;
const REST_MAX: Duration = Duration::from_secs(360);
const POLL: Duration = Duration::from_millis(10);

/// Where everything is built and measured.
pub struct Ground {
    program: PathBuf,
    /// All that is measured is below it. It is removed at the end and not before: some file systems (ext4 without a
    /// journal) create files many times more slowly for a minute after many were removed.
    home: tempfile::TempDir,
}

impl Ground {
    /// Measures below the folder that `program` was built in: a disk that people build on, not a folder in memory.
    pub fn new(program: PathBuf) -> Result<Self> {
        let target = program
            .parent()
            .and_then(Path::parent)
            .unwrap_or(Path::new("target"));
        let home = target.join("bench");
        fs::create_dir_all(&home).map_err(Failure::during(format!("create {}", home.display())))?;
        let home = tempfile::Builder::new()
            .prefix("run-")
            .tempdir_in(&home)
            .map_err(Failure::during(format!(
                "create a folder in {}",
                home.display()
            )))?;
        Ok(Self { program, home })
    }

    /// A new folder.
    pub fn folder(&self) -> Result<PathBuf> {
        tempfile::Builder::new()
            .disable_cleanup(true)
            .tempdir_in(self.home.path())
            .map(tempfile::TempDir::keep)
            .map_err(Failure::during(format!(
                "create a folder in {}",
                self.home.path().display()
            )))
    }

    /// Waits until the disk has got over earlier removals (builds remove much, and so does the end of a benchmark).
    pub fn rest(&self) -> Result<()> {
        let end = Instant::now() + REST_MAX;
        let mut told = false;
        loop {
            let took = self.time_of_a_new_file()?;
            if took < FILE_MAX {
                return Ok(());
            }
            if Instant::now() > end {
                eprintln!(
                    "a new file still takes {took:?}: every figure is worse than it could be"
                );
                return Ok(());
            }
            if !told {
                eprintln!("a new file takes {took:?}: waiting until the disk is itself again");
                told = true;
            }
            interrupt::sleep(Duration::from_secs(5))?;
        }
    }

    fn time_of_a_new_file(&self) -> Result<Duration> {
        let folder = self.folder()?;
        let begin = Instant::now();
        for file in 0..FILES {
            fs::File::create(folder.join(file.to_string()))
                .map_err(Failure::during("create a file"))?;
        }
        Ok(begin.elapsed() / FILES)
    }

    /// A server with a new, empty data directory and a user.
    pub fn bed(&self) -> Result<Bed> {
        let folder = self.folder()?;
        let starts = folder.join("starts");
        fs::write(&starts, "").map_err(Failure::during("create the file of job starts"))?;
        workflows::write_tools(&folder.join("tools"), &starts)?;
        let bootstrap_key = secret()?;
        let (server, ready_after) = self.start(&folder, &bootstrap_key)?;
        let admin = Galaxy::new(&server.url, &bootstrap_key);
        let key = admin.create_user("bench", "bench@example.org", &secret()?)?;
        let galaxy = Galaxy::new(&server.url, &key);
        Ok(Bed {
            history: galaxy.create_history("Benchmark")?,
            galaxy,
            key,
            server,
            ready_after,
            starts,
            folder,
        })
    }

    /// Starts a server on a folder's data; how long it took until it listened.
    pub fn start(&self, folder: &Path, bootstrap_key: &str) -> Result<(Server, Duration)> {
        self.start_with(folder, bootstrap_key, &workspace().join("plugins.toml"))
    }

    /// The same with other plugins.
    pub fn start_with(
        &self,
        folder: &Path,
        bootstrap_key: &str,
        plugins: &Path,
    ) -> Result<(Server, Duration)> {
        let command = self.serve(folder, bootstrap_key, plugins);
        let begin = Instant::now();
        let server = Server::start(command, &folder.join("server.log"))?;
        Ok((server, begin.elapsed()))
    }

    /// One of several servers that share a database and the folder's data.
    pub fn start_one(
        &self,
        folder: &Path,
        bootstrap_key: &str,
        database_url: &str,
        name: &str,
    ) -> Result<Server> {
        let mut command = self.serve(folder, bootstrap_key, &workspace().join("plugins.toml"));
        command
            .env("BARYCENTER_DATABASE_URL", database_url)
            .args(["--name", name]);
        Server::start(command, &folder.join(format!("{name}.log")))
    }

    fn serve(&self, folder: &Path, bootstrap_key: &str, plugins: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command
            .current_dir(workspace())
            .env("BARYCENTER_BOOTSTRAP_ADMIN_API_KEY", bootstrap_key)
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(folder.join("data"))
            .arg("--plugins")
            .arg(plugins)
            .arg("--tool-dir")
            .arg(folder.join("tools"));
        command
    }
}

/// A server to measure. Dropping it stops the server.
pub struct Bed {
    pub galaxy: Galaxy,
    pub history: String,
    /// Its user's.
    key: String,
    /// From starting the process to its word that it listens.
    pub ready_after: Duration,
    /// Where the jobs of the tool `bench_clock` note when they started.
    pub starts: PathBuf,
    pub server: Server,
    pub folder: PathBuf,
}

impl Bed {
    /// Stops the server, runs `barycenter …` on its data meanwhile, and starts it again; what the command printed.
    pub fn restart_after(mut self, ground: &Ground, arguments: &[&str]) -> Result<(Self, String)> {
        self.server.stop()?;
        let mut command = Command::new(&ground.program);
        command
            .args(arguments)
            .arg("--data-dir")
            .arg(self.folder.join("data"));
        let done = command
            .output()
            .map_err(Failure::during("run barycenter"))?;
        if !done.status.success() {
            let told = String::from_utf8_lossy(&done.stderr);
            return Err(Failure::told(format!("barycenter {arguments:?}: {told}")));
        }
        (self.server, self.ready_after) = ground.start(&self.folder, &secret()?)?;
        self.galaxy = Galaxy::new(&self.server.url, &self.key);
        Ok((self, String::from_utf8_lossy(&done.stdout).into_owned()))
    }

    /// Invokes a workflow and waits until it is complete with `jobs` jobs, all ok. The time from sending the request
    /// to seeing it completed.
    pub fn complete(&mut self, workflow: &str, inputs: &Value, jobs: u64) -> Result<Duration> {
        let begin = Instant::now();
        let invocation = self.galaxy.invoke(workflow, &self.history, inputs)?;
        let end = begin + Duration::from_secs(INVOCATION_SECONDS);
        loop {
            // The page of one invocation without its steps: its cost does not depend on the invocation's size.
            let page = self.galaxy.newest_invocation()?;
            match page["state"].as_str() {
                Some("completed") => break,
                Some(over @ ("failed" | "cancelled")) => {
                    return Err(self.told(&format!("the invocation ended as {over}")));
                }
                _ if Instant::now() > end => {
                    return Err(self.told("the invocation did not complete in time"));
                }
                _ => interrupt::sleep(POLL)?,
            }
        }
        let took = begin.elapsed();
        let summary = self.galaxy.jobs_summary(&invocation)?;
        if summary["states"]["ok"].as_u64() != Some(jobs) {
            return Err(self.told(&format!("{jobs} jobs should be ok, but: {summary}")));
        }
        Ok(took)
    }

    /// Processor time of the server and of its jobs so far.
    pub fn cpu(&self) -> Result<Duration> {
        super::process::cpu(self.server.pid())
    }

    /// Ends the server before it removes what its jobs left, which would disturb what is measured next.
    pub fn end(self) -> Result<()> {
        self.server.kill()
    }

    fn told(&self, sentence: &str) -> Failure {
        let log = self.server.log_tail();
        Failure::told(format!("{sentence}; the end of the server's log:\n{log}"))
    }
}
