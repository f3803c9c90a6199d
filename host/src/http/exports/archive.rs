//! Files of an archive, and writing them as zip or as compressed tar. Blocks.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use zip::CompressionMethod;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::store::datasets::Hda;

/// A file in an archive.
#[derive(Debug)]
pub struct Member {
    pub name: String,
    pub content: Content,
}

#[derive(Debug)]
pub enum Content {
    Text(String),
    /// One that is not there any more is left out.
    File(PathBuf),
}

impl Member {
    pub fn json(name: &str, value: &serde_json::Value) -> Member {
        Member {
            name: name.to_owned(),
            content: Content::Text(format!("{value:#}\n")),
        }
    }
}

/// The name of a dataset in an archive: letters, digits and a few marks, so that it is a file name everywhere.
pub fn dataset_name(hda: &Hda) -> String {
    let plain = |c: char| match c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') {
        true => c,
        false => '_',
    };
    let base: String = hda.name.chars().map(plain).take(120).collect();
    let extension: String = hda.extension.chars().map(plain).take(40).collect();
    format!(
        "datasets/{}_{}.{extension}",
        base.trim_matches('.'),
        hda.hid
    )
}

pub fn write_zip(path: &Path, members: Vec<Member>) -> io::Result<()> {
    let mut zip = ZipWriter::new(BufWriter::new(private(path)?));
    for member in members {
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .large_file(true);
        match member.content {
            Content::Text(text) => {
                zip.start_file(member.name, options)?;
                zip.write_all(text.as_bytes())?;
            }
            Content::File(source) => {
                let Some(mut file) = there(&source)? else {
                    continue;
                };
                zip.start_file(member.name, options)?;
                io::copy(&mut file, &mut zip)?;
            }
        }
    }
    zip.finish()?.flush()
}

pub fn write_tar(path: &Path, members: Vec<Member>) -> io::Result<()> {
    let encoder = GzEncoder::new(BufWriter::new(private(path)?), Compression::default());
    let mut tar = tar::Builder::new(encoder);
    for member in members {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_mtime(0);
        match member.content {
            Content::Text(text) => {
                header.set_size(text.len() as u64);
                tar.append_data(&mut header, member.name, text.as_bytes())?;
            }
            Content::File(source) => {
                let Some(file) = there(&source)? else {
                    continue;
                };
                let size = file.metadata()?.len();
                header.set_size(size);
                tar.append_data(&mut header, member.name, io::Read::take(file, size))?;
            }
        }
    }
    tar.into_inner()?.finish()?.flush()
}

fn there(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn private(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = File::options();
    options.write(true).create_new(true).mode(0o600).open(path)
}
