//! Whether a file is what its datatype says, read from end to end where that tells more than its first bytes.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::Path;

use serde::de::IgnoredAny;

use super::{matches, sniff};

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Validity {
    /// Nobody here knows how to tell.
    Unknown,
    Valid,
    /// Why not, in a sentence.
    Invalid(String),
}

impl Validity {
    /// Galaxy's word (`validated_state`).
    pub fn state(&self) -> &'static str {
        match self {
            Validity::Unknown => "unknown",
            Validity::Valid => "ok",
            Validity::Invalid(_) => "invalid",
        }
    }

    pub fn message(&self) -> Option<&str> {
        match self {
            Validity::Invalid(why) => Some(why),
            _ => None,
        }
    }
}

/// Longer lines are not looked at whole.
const LINE_MAX: u64 = 64 << 20;

/// Types whose first bytes are the same in every file.
const SURE: [&str; 18] = [
    "png", "jpg", "gif", "tiff", "pdf", "h5", "sqlite", "cram", "bz2", "xz", "bigwig", "bigbed",
    "twobit", "bai", "parquet", "zip", "bam", "vcf",
];

/// Looks at a file. Blocks.
pub fn validate(path: &Path, extension: &str) -> io::Result<Validity> {
    match extension {
        "json" | "expression.json" | "ipynb" | "geojson" => json(path),
        "fasta" => fasta(path),
        "fastq" | "fastqsanger" | "fastqillumina" | "fastqsolexa" | "fastqcssanger" => fastq(path),
        _ => {
            let found = sniff(path)?;
            Ok(match matches(&found, extension) {
                _ if matches!(extension, "data" | "auto" | "") => Validity::Unknown,
                true => Validity::Valid,
                false if SURE.contains(&extension) => {
                    Validity::Invalid(format!("Its content looks like {found}, not {extension}."))
                }
                false => Validity::Unknown,
            })
        }
    }
}

fn json(path: &Path) -> io::Result<Validity> {
    let reader = BufReader::new(File::open(path)?);
    Ok(match serde_json::from_reader::<_, IgnoredAny>(reader) {
        Ok(_) => Validity::Valid,
        Err(error) if error.is_io() => return Err(error.into()),
        Err(error) => Validity::Invalid(format!(
            "Line {}, column {} is not JSON.",
            error.line(),
            error.column()
        )),
    })
}

/// Gives each line without its end to `look` until that says no more, or a line is too long.
fn lines(
    path: &Path,
    mut look: impl FnMut(usize, &[u8]) -> Result<(), String>,
) -> io::Result<Result<usize, String>> {
    let mut reader = BufReader::new(File::open(path)?);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        if (&mut reader).take(LINE_MAX).read_until(b'\n', &mut line)? == 0 {
            return Ok(Ok(number - 1));
        }
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if let Err(why) = look(number, line) {
            return Ok(Err(why));
        }
    }
    Ok(Ok(0))
}

fn fasta(path: &Path) -> io::Result<Validity> {
    let mut begun = false;
    let found = lines(path, |number, line| {
        let is_comment = line.is_empty() || line.starts_with(b"#") || line.starts_with(b";");
        match line.first() {
            Some(b'>') => begun = true,
            _ if is_comment => {}
            _ if !begun => return Err(format!("Line {number} comes before the first name.")),
            _ if line
                .iter()
                .any(|byte| !(0x20..0x7f).contains(byte) && *byte != b'\t') =>
            {
                return Err(format!("Line {number} is not a sequence."));
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok(found.map_or_else(Validity::Invalid, |_| Validity::Valid))
}

fn fastq(path: &Path) -> io::Result<Validity> {
    let mut sequence = 0;
    let found = lines(path, |number, line| {
        let fault = |what: &str| Err(format!("Line {number} {what}."));
        match number % 4 {
            1 if line.first() != Some(&b'@') => fault("does not begin with @"),
            2 => {
                sequence = line.len();
                Ok(())
            }
            3 if line.first() != Some(&b'+') => fault("does not begin with +"),
            0 if line.len() != sequence => {
                fault("has not as many qualities as the sequence has letters")
            }
            0 if line.iter().any(|byte| !(0x21..0x7f).contains(byte)) => {
                fault("holds something that is no quality")
            }
            _ => Ok(()),
        }
    })?;
    Ok(match found {
        Ok(count) if count % 4 != 0 => Validity::Invalid("The last record is cut off.".to_owned()),
        Ok(_) => Validity::Valid,
        Err(why) => Validity::Invalid(why),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(extension: &str, content: &[u8]) -> Validity {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        std::fs::write(&path, content).expect("written");
        validate(&path, extension).expect("read")
    }

    #[test]
    fn files_are_what_they_say() {
        for (extension, content) in [
            ("json", &b"{\"a\": [1, 2]}"[..]),
            ("fasta", b">a\nACGT\n\n>b\r\nAC-GT*\r\n"),
            ("fastqsanger", b"@a\nACGT\n+\nIIII\n@b\nA\n+b\n@\n"),
            ("png", b"\x89PNG\r\n\x1a\n...."),
            ("txt", b"words\n"),
        ] {
            assert_eq!(found(extension, content), Validity::Valid, "{extension}");
        }
    }

    #[test]
    fn files_that_are_not_say_where() {
        for (extension, content, word) in [
            ("json", &b"{\"a\": 1,\n}"[..], "Line 2"),
            ("json", b"", "not JSON"),
            ("fasta", b"ACGT\n>a\n", "Line 1"),
            ("fasta", b">a\nAC\0GT\n", "Line 2"),
            ("fastqsanger", b"@a\nACGT\n+\nIII\n", "Line 4"),
            ("fastqsanger", b"@a\nACGT\n", "cut off"),
            ("fastq", b"ACGT\n", "@"),
            ("png", b"words\n", "txt"),
            ("bam", b"", "not bam"),
        ] {
            let validity = found(extension, content);
            assert_eq!(validity.state(), "invalid", "{extension} {validity:?}");
            let why = validity.message().unwrap_or_default();
            assert!(why.contains(word), "{extension}: {why}");
        }
    }

    #[test]
    fn what_nobody_can_tell_is_unknown() {
        for extension in ["data", "auto", "something_else"] {
            assert_eq!(found(extension, b"\x01\x02"), Validity::Unknown);
        }
    }
}
