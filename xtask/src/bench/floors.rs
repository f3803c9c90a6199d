//! What the machine itself allows: the same commands without a server.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::process;
use crate::failure::{Failure, Result};

/// What some work took.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    pub wall: Duration,
    pub cpu: Duration,
}

impl Cost {
    pub fn jobs_per_second(&self, jobs: u32) -> f64 {
        f64::from(jobs) / self.wall.as_secs_f64()
    }

    pub fn cpu_ms_per_job(&self, jobs: u32) -> f64 {
        self.cpu.as_secs_f64() * 1000.0 / f64::from(jobs)
    }

    pub fn wall_ms_per_job(&self, jobs: u32) -> f64 {
        self.wall.as_secs_f64() * 1000.0 / f64::from(jobs)
    }
}

/// `jobs` shells that write a small file each, as many at once as there are processors.
pub fn xargs(folder: &Path, jobs: u32) -> Result<Cost> {
    create(folder)?;
    let list: String = (1..=jobs).map(|job| format!("{job}\n")).collect();
    let list_file = folder.join("list");
    write(&list_file, &list)?;
    let mut command = Command::new("xargs");
    command
        .arg("-P")
        .arg(process::processors().to_string())
        .args(["-I{}", "sh", "-c", "echo x > out-{}.txt"])
        .current_dir(folder)
        .stdin(fs::File::open(&list_file).map_err(Failure::during("open the list of jobs"))?);
    let cost = measure(command)?;
    expect_file(&folder.join(format!("out-{jobs}.txt")))?;
    Ok(cost)
}

/// The same under `make`. None where there is no make.
pub fn make_independent(folder: &Path, jobs: u32) -> Result<Option<Cost>> {
    create(folder)?;
    let mut makefile = String::from("all:");
    for job in 1..=jobs {
        let _ = write!(makefile, " out-{job}.txt");
    }
    makefile.push_str("\nout-%.txt:\n\t@echo x > $@\n");
    make(folder, &makefile, jobs)
}

/// A chain under `make`: each job copies what the one before it wrote.
pub fn make_chain(folder: &Path, jobs: u32) -> Result<Option<Cost>> {
    create(folder)?;
    let mut makefile = format!("all: out-{jobs}.txt\nout-1.txt:\n\t@echo x > $@\n");
    for job in 2..=jobs {
        let _ = write!(
            makefile,
            "out-{job}.txt: out-{}.txt\n\t@cat $< > $@\n",
            job - 1
        );
    }
    make(folder, &makefile, jobs)
}

fn make(folder: &Path, makefile: &str, jobs: u32) -> Result<Option<Cost>> {
    write(&folder.join("Makefile"), makefile)?;
    let version = Command::new("make")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    if version.is_err() {
        eprintln!("there is no make here: no figures beside it (install make to have them)");
        return Ok(None);
    }
    let mut command = Command::new("make");
    command
        .arg(format!("-j{}", process::processors()))
        .current_dir(folder);
    let cost = measure(command)?;
    expect_file(&folder.join(format!("out-{jobs}.txt")))?;
    Ok(Some(cost))
}

fn measure(mut command: Command) -> Result<Cost> {
    let name = command.get_program().to_string_lossy().into_owned();
    let before = process::children_cpu()?;
    let begin = Instant::now();
    let status = command
        .stdout(Stdio::null())
        .status()
        .map_err(Failure::during(format!("run {name}")))?;
    let wall = begin.elapsed();
    crate::interrupt::check()?;
    if !status.success() {
        return Err(Failure::told(format!("{name} ended with {status}")));
    }
    Ok(Cost {
        wall,
        cpu: process::children_cpu()?.saturating_sub(before),
    })
}

fn expect_file(path: &Path) -> Result<()> {
    match path.exists() {
        true => Ok(()),
        false => Err(Failure::told(format!("{} was not made", path.display()))),
    }
}

fn create(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(Failure::during(format!("create {}", folder.display())))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(Failure::during(format!("write {}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floors_do_all_their_work() {
        let folder = tempfile::tempdir().unwrap();
        let made = |name: &str| fs::read_dir(folder.path().join(name)).unwrap().count();
        xargs(&folder.path().join("xargs"), 12).unwrap();
        assert_eq!(made("xargs"), 13);
        if make_independent(&folder.path().join("make"), 12)
            .unwrap()
            .is_some()
        {
            assert_eq!(made("make"), 13);
            make_chain(&folder.path().join("chain"), 5).unwrap();
            let last = folder.path().join("chain/out-5.txt");
            assert_eq!(fs::read_to_string(last).unwrap(), "x\n");
        }
    }
}
