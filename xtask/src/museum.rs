//! The museum: sample plugins as compilers of the day built them with each released version of the contract. They are
//! committed, and every later server must go on loading them.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use clap::Args;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::failure::{Failure, Result};
use crate::workspace;

#[derive(Args)]
pub struct Options {
    /// Build again what the museum has already; only before that version is released
    #[arg(long)]
    replace: bool,
}

/// A way to build the samples.
struct Build {
    name: &'static str,
    toolchain: &'static str,
    flags: &'static str,
    release: bool,
    samples: &'static [&'static str],
}

/// The first version has every kind; what differs later is the scheduler's contract and the compilers.
const BUILDS: [Build; 3] = [
    Build {
        name: "stable",
        toolchain: "stable",
        flags: "",
        release: true,
        samples: &["scheduler", "module", "runner"],
    },
    Build {
        name: "nightly-randomized-layout",
        toolchain: "nightly",
        flags: "-Zrandomize-layout",
        release: true,
        samples: &["scheduler"],
    },
    Build {
        name: "nightly-debug",
        toolchain: "nightly",
        flags: "",
        release: false,
        samples: &["scheduler"],
    },
];

/// Builds what the present version of the contract puts into the museum.
pub fn run(options: &Options) -> Result<()> {
    let version = api_version()?;
    let folder = workspace().join("tests/museum").join(&version);
    if folder.exists() && !options.replace {
        return Err(Failure::told(format!(
            "{} is there already; a released version stays as it was built (--replace before a release)",
            folder.display()
        )));
    }
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(Failure::during("clear the folder"))?;
    }
    fs::create_dir_all(&folder).map_err(Failure::during("make the folder"))?;
    let mut notes = format!(
        "# Built with plugin-api {version}\n\nBy `cargo xtask museum`, from `tests/museum/samples` and `plugin-api` of the commit {}.\n\n\
         | file | compiler | flags |\n|---|---|---|\n",
        output(
            Command::new("git")
                .args(["rev-parse", "HEAD"])
                .current_dir(workspace())
        )?
    );
    for build in &BUILDS {
        let target = workspace().join("target/museum").join(build.name);
        let mut cargo = Command::new("rustup");
        cargo.args(["run", build.toolchain, "cargo", "build", "--target-dir"]);
        cargo.arg(&target);
        if build.release {
            cargo.arg("--release");
        }
        for sample in build.samples {
            cargo.args(["--package", &format!("museum-{sample}")]);
        }
        cargo
            .current_dir(workspace().join("tests/museum/samples"))
            .env("RUSTFLAGS", build.flags)
            .env_remove("CARGO")
            .env_remove("RUSTC")
            .env_remove("RUSTUP_TOOLCHAIN");
        if !cargo
            .status()
            .map_err(Failure::during("start cargo"))?
            .success()
        {
            return Err(Failure::told(format!("the build `{}` failed", build.name)));
        }
        let compiler = output(
            Command::new("rustup")
                .args(["run", build.toolchain, "rustc", "--version"])
                .env_remove("RUSTUP_TOOLCHAIN"),
        )?;
        let profile = if build.release { "release" } else { "debug" };
        for sample in build.samples {
            let built = target.join(profile).join(format!("libmuseum_{sample}.so"));
            let name = format!("{sample}-{}.so.gz", build.name);
            compress(&built, &folder.join(&name)).map_err(Failure::during("compress"))?;
            let flags = format!("{profile} {}", build.flags);
            let _ = writeln!(notes, "| `{name}` | {compiler} | {} |", flags.trim());
        }
    }
    fs::write(folder.join("README.md"), notes).map_err(Failure::during("write the README"))?;
    println!("{}", folder.display());
    Ok(())
}

fn compress(from: &Path, to: &Path) -> std::io::Result<()> {
    let mut out = GzEncoder::new(File::create(to)?, Compression::best());
    std::io::copy(&mut File::open(from)?, &mut out)?;
    out.finish()?;
    Ok(())
}

fn output(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .map_err(Failure::during("start a program"))?;
    if !output.status.success() {
        return Err(Failure::told(format!("{command:?} failed")));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// `MAJOR.MINOR`, as plugin-api's manifest says.
fn api_version() -> Result<String> {
    let manifest = fs::read_to_string(workspace().join("plugin-api/Cargo.toml"))
        .map_err(Failure::during("read plugin-api/Cargo.toml"))?;
    let version = manifest
        .lines()
        .find_map(|line| line.strip_prefix("version = \""))
        .and_then(|rest| rest.split('.').next().zip(rest.split('.').nth(1)));
    version
        .map(|(major, minor)| format!("{major}.{minor}"))
        .ok_or_else(|| Failure::told("plugin-api/Cargo.toml names no version"))
}
