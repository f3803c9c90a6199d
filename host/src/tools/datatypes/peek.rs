//! What people see of a dataset without opening it.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use super::datatype;

/// Lines shown.
const LINES_SHOWN: usize = 5;
/// Characters shown of one line.
const WIDTH_SHOWN: usize = 256;
/// How much of a file is read for the peek.
const PREFIX_BYTES: u64 = 64 << 10;
/// Lines are counted in files up to this size; larger ones have no count.
pub const COUNT_BYTES_MAX: u64 = 32 << 20;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Peek {
    /// The first lines, or a word about bytes that cannot be shown.
    pub peek: String,
    /// One phrase: "3 lines", "1 sequence", "12.0 KB".
    pub blurb: String,
    /// All lines; `None` for bytes and for files above [`COUNT_BYTES_MAX`].
    pub lines: Option<u64>,
    /// Lines that are neither empty nor comments.
    pub data_lines: Option<u64>,
    pub comment_lines: Option<u64>,
    /// The most columns in the lines looked at.
    pub columns: Option<u64>,
    /// Galaxy's words: `int`, `float`, `str`.
    pub column_types: Vec<String>,
}

/// Looks at the beginning of a file, and counts its lines unless it is large.
pub fn peek(path: &Path, ext: &str) -> io::Result<Peek> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut prefix = Vec::new();
    file.by_ref().take(PREFIX_BYTES).read_to_end(&mut prefix)?;
    let binary = datatype(ext).map_or_else(|| prefix.contains(&0), |known| known.is_binary);
    if binary && (ext != "data" || prefix.contains(&0)) {
        return Ok(Peek {
            peek: format!("Binary {ext} file"),
            blurb: nice_size(size),
            ..Peek::default()
        });
    }
    let text = String::from_utf8_lossy(&prefix);
    let mut found = Peek {
        peek: first_lines(&text),
        ..Peek::default()
    };
    if datatype(ext).is_some_and(|known| known.tabular) {
        columns(&text, size <= PREFIX_BYTES, &mut found);
    }
    if size <= COUNT_BYTES_MAX {
        file.seek(SeekFrom::Start(0))?;
        count(BufReader::with_capacity(64 << 10, file), ext, &mut found)?;
    } else {
        found.blurb = nice_size(size);
    }
    Ok(found)
}

fn first_lines(text: &str) -> String {
    let mut shown = String::new();
    for line in text.lines().take(LINES_SHOWN) {
        shown.extend(line.chars().take(WIDTH_SHOWN));
        shown.push('\n');
    }
    shown.truncate(shown.trim_end_matches('\n').len());
    shown
}

fn count(mut reader: impl BufRead, ext: &str, found: &mut Peek) -> io::Result<()> {
    let (mut lines, mut comments, mut empty, mut sequences) = (0u64, 0u64, 0u64, 0u64);
    let mut at_start = true;
    loop {
        let buffer = reader.fill_buf()?;
        if buffer.is_empty() {
            break;
        }
        let length = buffer.len();
        for part in buffer.split_inclusive(|byte| *byte == b'\n') {
            if at_start {
                lines += 1;
                comments += u64::from(part[0] == b'#');
                empty += u64::from(part == b"\n" || part == b"\r\n");
                sequences += u64::from(part[0] == b'>');
            }
            at_start = part.ends_with(b"\n");
        }
        reader.consume(length);
    }
    found.lines = Some(lines);
    found.comment_lines = Some(comments);
    found.data_lines = Some(lines - comments - empty);
    let data_lines = lines - comments - empty;
    found.blurb = match ext {
        "fasta" => counted(sequences, "sequence"),
        "fastq" | "fastqsanger" | "fastqillumina" | "fastqsolexa" => {
            counted(data_lines / 4, "sequence")
        }
        "bed" | "interval" | "gff" | "gff3" | "gtf" => counted(data_lines, "region"),
        _ if comments > 0 && datatype(ext).is_some_and(|known| known.tabular) => {
            format!(
                "{}, {}",
                counted(data_lines, "line"),
                counted(comments, "comment")
            )
        }
        _ => counted(lines, "line"),
    };
    Ok(())
}

fn counted(count: u64, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

fn columns(text: &str, whole: bool, found: &mut Peek) {
    let mut lines: Vec<&str> = text.lines().collect();
    if !whole {
        lines.pop();
    }
    let mut types: Vec<&str> = Vec::new();
    for line in lines
        .iter()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .take(1000)
    {
        for (index, field) in line.split('\t').enumerate() {
            let kind = match () {
                () if field.is_empty() => "",
                () if field.parse::<i64>().is_ok() => "int",
                () if field.parse::<f64>().is_ok() => "float",
                () => "str",
            };
            match types.get_mut(index) {
                Some(known) => *known = wider(known, kind),
                None => types.push(kind),
            }
        }
    }
    found.columns = Some(types.len() as u64);
    found.column_types = types
        .into_iter()
        .map(|kind| if kind.is_empty() { "str" } else { kind }.to_owned())
        .collect();
}

/// The narrower of Galaxy's column types that holds both.
fn wider<'t>(one: &'t str, two: &'t str) -> &'t str {
    match (one, two) {
        ("", other) | (other, "") => other,
        ("str", _) | (_, "str") => "str",
        ("float", _) | (_, "float") => "float",
        _ => "int",
    }
}

/// "512 bytes", "1.5 KB", "2.0 GB".
fn nice_size(bytes: u64) -> String {
    let mut size = bytes as f64;
    if bytes < 1024 {
        return format!("{bytes} bytes");
    }
    for unit in ["KB", "MB", "GB", "TB"] {
        size /= 1024.0;
        if size < 1024.0 || unit == "TB" {
            return format!("{size:.1} {unit}");
        }
    }
    format!("{bytes} bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(content: &[u8], ext: &str) -> Peek {
        let place = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(place.path(), content).unwrap();
        peek(place.path(), ext).unwrap()
    }

    #[test]
    fn a_table_has_lines_columns_and_types() {
        let found = of(b"#n\tv\tw\n1\t2.5\tx\n2\t\ty\n\n", "tabular");
        assert_eq!(found.peek, "#n\tv\tw\n1\t2.5\tx\n2\t\ty");
        assert_eq!(found.blurb, "2 lines, 1 comment");
        assert_eq!(
            (found.lines, found.data_lines, found.comment_lines),
            (Some(4), Some(2), Some(1))
        );
        assert_eq!(found.columns, Some(3));
        assert_eq!(found.column_types, ["int", "float", "str"]);
    }

    #[test]
    fn the_blurb_counts_what_the_type_is_about() {
        assert_eq!(of(b"chr1\t1\t2\n", "bed").blurb, "1 region");
        assert_eq!(of(b">a\nAC\n>b\nGT\n", "fasta").blurb, "2 sequences");
        assert_eq!(of(b"@r\nA\n+\n!\n", "fastqsanger").blurb, "1 sequence");
        assert_eq!(of(b"last line is open", "txt").lines, Some(1));
        assert_eq!(of(b"", "txt").blurb, "0 lines");
    }

    #[test]
    fn bytes_are_not_shown_and_long_lines_are_cut() {
        let found = of(b"\x89PNG\0\0", "png");
        assert_eq!(
            (found.peek.as_str(), found.blurb.as_str()),
            ("Binary png file", "6 bytes")
        );
        assert_eq!(found.lines, None);
        let found = of("é".repeat(5000).as_bytes(), "txt");
        assert_eq!(found.peek.chars().count(), WIDTH_SHOWN);
        assert_eq!(of(b"text\n", "data").lines, Some(1));
    }

    #[test]
    fn sizes_read_well() {
        assert_eq!(nice_size(1023), "1023 bytes");
        assert_eq!(nice_size(1536), "1.5 KB");
        assert_eq!(nice_size(5 << 30), "5.0 GB");
    }
}
