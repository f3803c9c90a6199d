//! Guessing a file's type from its first bytes.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

/// How much of a file, packed or not, is looked at.
const PREFIX_BYTES: u64 = 64 << 10;
/// How many lines decide about a table.
const LINES_MAX: usize = 100;

/// The extension that the content suggests: `txt` for text of no special kind, `data` for bytes.
pub fn sniff(path: &Path) -> io::Result<String> {
    let mut prefix = Vec::new();
    File::open(path)?
        .take(PREFIX_BYTES)
        .read_to_end(&mut prefix)?;
    Ok(guess(&prefix, path).to_owned())
}

fn guess(prefix: &[u8], path: &Path) -> &'static str {
    if prefix.is_empty() {
        return "txt";
    }
    if prefix.starts_with(&[0x1f, 0x8b]) {
        return packed(prefix);
    }
    if let Some(known) = by_magic(prefix, path) {
        return known;
    }
    let whole = (prefix.len() as u64) < PREFIX_BYTES;
    match text_of(prefix) {
        Some(text) => by_text(&text, whole),
        None => "data",
    }
}

/// What a gzip file holds. A BGZF file (bgzip, BAM) has an extra field named `BC`.
fn packed(prefix: &[u8]) -> &'static str {
    let mut inside = Vec::new();
    // The end of the prefix cuts the stream: what came before it still counts.
    let _ = MultiGzDecoder::new(prefix)
        .take(PREFIX_BYTES)
        .read_to_end(&mut inside);
    let blocked = prefix.len() > 14 && prefix[3] & 4 != 0 && &prefix[12..14] == b"BC";
    if inside.starts_with(b"BAM\x01") {
        return "bam";
    }
    if inside.starts_with(b"BCF") {
        return "bcf";
    }
    if is_tar(&inside) {
        return "tar.gz";
    }
    let Some(text) = text_of(&inside) else {
        return "gz";
    };
    match by_text(&text, false) {
        "fasta" => "fasta.gz",
        "fastqsanger" => "fastqsanger.gz",
        "fastqillumina" => "fastqillumina.gz",
        "vcf" if blocked => "vcf_bgzip",
        "vcf" => "vcf.gz",
        "bed" => "bed.gz",
        _ => "gz",
    }
}

fn is_tar(bytes: &[u8]) -> bool {
    bytes.get(257..262) == Some(b"ustar")
}

fn by_magic(prefix: &[u8], path: &Path) -> Option<&'static str> {
    const MAGIC: &[(&[u8], &str)] = &[
        (b"\x89PNG\r\n\x1a\n", "png"),
        (b"\xff\xd8\xff", "jpg"),
        (b"GIF87a", "gif"),
        (b"GIF89a", "gif"),
        (b"II*\0", "tiff"),
        (b"MM\0*", "tiff"),
        (b"%PDF-", "pdf"),
        (b"\x89HDF\r\n\x1a\n", "h5"),
        (b"SQLite format 3\0", "sqlite"),
        (b"CRAM", "cram"),
        (b"BZh", "bz2"),
        (b"\xfd7zXZ\0", "xz"),
        (b"\x26\xfc\x8f\x88", "bigwig"),
        (b"\x88\x8f\xfc\x26", "bigwig"),
        (b"\xeb\xf2\x89\x87", "bigbed"),
        (b"\x87\x89\xf2\xeb", "bigbed"),
        (b"\x1a\x41\x27\x43", "twobit"),
        (b"\x43\x27\x41\x1a", "twobit"),
        (b"NCBI.sra", "sra"),
        (b"BAI\x01", "bai"),
        (b"PAR1", "parquet"),
    ];
    if let Some((_, ext)) = MAGIC.iter().find(|(magic, _)| prefix.starts_with(magic)) {
        return Some(ext);
    }
    if prefix.starts_with(b"PK\x03\x04") || prefix.starts_with(b"PK\x05\x06") {
        let holds = |name: &[u8]| prefix.windows(name.len()).any(|window| window == name);
        return Some(match () {
            () if holds(b"xl/workbook.xml") || holds(b"xl/worksheets") => "xlsx",
            () if holds(b"word/document.xml") => "docx",
            () if path.extension().is_some_and(|ext| ext == "npz") => "npz",
            () => "zip",
        });
    }
    is_tar(prefix).then_some("tar")
}

/// The prefix as text, its last cut character left off; `None` for bytes.
fn text_of(prefix: &[u8]) -> Option<String> {
    let prefix = prefix.strip_prefix(b"\xef\xbb\xbf").unwrap_or(prefix);
    if prefix.contains(&0) {
        return None;
    }
    match std::str::from_utf8(prefix) {
        Ok(text) => Some(text.to_owned()),
        Err(error) if error.error_len().is_none() => {
            Some(String::from_utf8_lossy(&prefix[..error.valid_up_to()]).into_owned())
        }
        // Latin-1 and the like: text if hardly any byte is a control character.
        Err(_) => {
            let control =
                |byte: &&u8| **byte < 0x20 && !matches!(**byte, b'\t' | b'\n' | b'\r' | 0x0c);
            (prefix.iter().filter(control).count() * 100 <= prefix.len())
                .then(|| String::from_utf8_lossy(prefix).into_owned())
        }
    }
}

fn by_text(text: &str, whole: bool) -> &'static str {
    let trimmed = text.trim_start();
    let lower: String = trimmed
        .chars()
        .take(400)
        .collect::<String>()
        .to_ascii_lowercase();
    if lower.starts_with("<!doctype html") || lower.starts_with("<html") {
        return "html";
    }
    if lower.starts_with("<svg") || (lower.starts_with("<?xml") && lower.contains("<svg")) {
        return "svg";
    }
    if lower.starts_with("<?xml") {
        return "xml";
    }
    if trimmed.starts_with(['{', '[']) && is_json(trimmed, whole) {
        return "json";
    }
    let mut lines: Vec<&str> = text.lines().collect();
    if !whole && lines.len() > 1 {
        // The last line of a cut prefix is cut too.
        lines.pop();
    }
    lines.truncate(LINES_MAX);
    let Some(first) = lines.iter().copied().find(|line| !line.trim().is_empty()) else {
        return "txt";
    };
    if first.starts_with("##fileformat=VCF") {
        return "vcf";
    }
    if first.starts_with("##gff-version") && first.contains('3') {
        return "gff3";
    }
    if is_sam(&lines) {
        return "sam";
    }
    if let Some(quality) = fastq(&lines) {
        return quality;
    }
    if is_fasta(&lines) {
        return "fasta";
    }
    if first.starts_with("##gff-version") {
        return "gff";
    }
    if first.starts_with("LOCUS ") {
        return "genbank";
    }
    if first.starts_with("# STOCKHOLM") {
        return "stockholm";
    }
    if first.starts_with("##maf version") {
        return "maf";
    }
    if first.trim().eq_ignore_ascii_case("#nexus") {
        return "nex";
    }
    table(&lines)
}

fn is_json(text: &str, whole: bool) -> bool {
    if whole {
        return serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
    }
    // Only the end is missing: reading fails there and nowhere before.
    let cut = serde_json::from_str::<serde::de::IgnoredAny>(text);
    cut.is_ok() || cut.is_err_and(|error| error.is_eof())
}

fn is_sam(lines: &[&str]) -> bool {
    let header = |line: &str| {
        ["@HD\t", "@SQ\t", "@RG\t", "@PG\t", "@CO\t"]
            .iter()
            .any(|tag| line.starts_with(tag))
    };
    let mut records = lines
        .iter()
        .filter(|line| !line.is_empty() && !header(line));
    match records.next() {
        None => lines.iter().any(|line| header(line)),
        Some(record) => {
            let fields: Vec<&str> = record.split('\t').collect();
            let number = |at: usize| {
                fields
                    .get(at)
                    .is_some_and(|field| field.parse::<i64>().is_ok())
            };
            fields.len() >= 11
                && [1, 3, 4, 7, 8].into_iter().all(number)
                && fields[5]
                    .bytes()
                    .all(|byte| byte.is_ascii_digit() || b"MIDNSHP=X*".contains(&byte))
        }
    }
}

/// FASTQ by its four-line records; the quality letters say which encoding.
fn fastq(lines: &[&str]) -> Option<&'static str> {
    let records: Vec<&[&str]> = lines.chunks_exact(4).collect();
    let sound = |record: &&[&str]| {
        record[0].starts_with('@')
            && record[2].starts_with('+')
            && record[1].len() == record[3].len()
            && record[1]
                .bytes()
                .all(|byte| byte.is_ascii_alphabetic() || b".-*".contains(&byte))
    };
    if records.is_empty() || !records.iter().all(sound) {
        return None;
    }
    let letters = || records.iter().flat_map(|record| record[3].bytes());
    if letters().any(|byte| !(33..=126).contains(&byte)) {
        return Some("fastq");
    }
    // Below ';' only Sanger's scale has letters; 'K' and above are beyond what it uses in practice.
    let sanger = letters().any(|byte| byte < b';') || letters().all(|byte| byte <= b'K');
    Some(if sanger {
        "fastqsanger"
    } else {
        "fastqillumina"
    })
}

fn is_fasta(lines: &[&str]) -> bool {
    let mut lines = lines.iter().filter(|line| !line.trim().is_empty());
    let Some(header) = lines.next() else {
        return false;
    };
    let residues = |line: &str| {
        line.bytes()
            .all(|byte| byte.is_ascii_alphabetic() || b"*-. ".contains(&byte))
    };
    header.starts_with('>')
        && lines
            .next()
            .is_some_and(|line| !line.starts_with('>') && residues(line.trim()))
}

fn table(lines: &[&str]) -> &'static str {
    let rows: Vec<Vec<&str>> = lines
        .iter()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#') && !is_track_line(line))
        .map(|line| line.split('\t').collect())
        .collect();
    let Some(first) = rows.first() else {
        return "txt";
    };
    if rows.iter().all(|row| is_gff(row)) {
        let attributes = |mark: &str| rows.iter().all(|row| row[8].contains(mark));
        return if attributes("gene_id \"") {
            "gtf"
        } else {
            "gff"
        };
    }
    if rows.iter().all(|row| is_bed(row)) {
        return "bed";
    }
    if is_interval_header(lines) && rows.iter().all(|row| row.len() >= 3) {
        return "interval";
    }
    let columns = first.len();
    if columns >= 2 && rows.iter().all(|row| row.len() == columns) {
        return "tabular";
    }
    if rows.len() >= 2 && is_csv(lines) {
        return "csv";
    }
    "txt"
}

fn is_track_line(line: &str) -> bool {
    line.starts_with("track ") || line.starts_with("browser ")
}

fn whole_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// At least chromosome, start and end, with the start not behind the end, and the further columns
/// as the BED format has them.
fn is_bed(row: &[&str]) -> bool {
    if !(3..=12).contains(&row.len()) || row[0].is_empty() || row[0].contains(' ') {
        return false;
    }
    let (Ok(start), Ok(end)) = (row[1].parse::<u64>(), row[2].parse::<u64>()) else {
        return false;
    };
    let score = row
        .get(4)
        .is_none_or(|score| *score == "." || score.parse::<f64>().is_ok());
    let strand = row
        .get(5)
        .is_none_or(|strand| matches!(*strand, "+" | "-" | "."));
    let thick = row
        .get(6..8.min(row.len()))
        .unwrap_or_default()
        .iter()
        .all(|at| whole_number(at));
    let blocks = row.get(9).is_none_or(|count| whole_number(count));
    start <= end && score && strand && thick && blocks
}

fn is_gff(row: &[&str]) -> bool {
    row.len() == 9
        && whole_number(row[3])
        && whole_number(row[4])
        && (row[5] == "." || row[5].parse::<f64>().is_ok())
        && matches!(row[6], "+" | "-" | "." | "?")
        && matches!(row[7], "0" | "1" | "2" | ".")
}

fn is_interval_header(lines: &[&str]) -> bool {
    let first = lines
        .first()
        .map(|line| line.to_ascii_lowercase())
        .unwrap_or_default();
    first.starts_with("#chrom") && first.contains("start") && first.contains("end")
}

/// The same number of fields, two at least, in every line; commas in quotes do not separate.
fn is_csv(lines: &[&str]) -> bool {
    let fields = |line: &str| {
        let mut quoted = false;
        line.chars()
            .filter(|character| {
                quoted ^= *character == '"';
                *character == ',' && !quoted
            })
            .count()
            + 1
    };
    let mut counts = lines
        .iter()
        .filter(|line| !line.trim().is_empty())
        .map(|line| fields(line));
    match counts.next() {
        Some(first) => first >= 2 && counts.all(|count| count == first),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    fn of(content: &[u8]) -> &'static str {
        guess(content, Path::new("file"))
    }

    #[test]
    fn texts_are_recognised() {
        for (content, wanted) in [
            ("1\t2\t3", "bed"),
            ("chr1\t10\t20\tname\t0\t+\n", "bed"),
            ("chr1\t30\t20\n", "tabular"),
            ("a\tb\nc\td\n", "tabular"),
            ("a\tb\nc\n", "txt"),
            ("1 2 3\n", "txt"),
            ("", "txt"),
            ("a,b\n1,\"x,y\"\n", "csv"),
            ("hello, world\n", "txt"),
            (">seq one\nACGT\n", "fasta"),
            ("> a mail says\n> so\n", "txt"),
            ("@r1\nACGT\n+\n!''*\n", "fastqsanger"),
            ("@r1\nACGT\n+\nhhhh\n", "fastqillumina"),
            ("##fileformat=VCFv4.2\n#CHROM\n", "vcf"),
            ("##gff-version 3\n", "gff3"),
            ("c\ts\texon\t1\t9\t.\t+\t.\tgene_id \"g\";\n", "gtf"),
            ("c\ts\texon\t1\t9\t.\t+\t.\tparent\n", "gff"),
            ("@HD\tVN:1.6\n", "sam"),
            ("r\t0\tc\t1\t60\t4M\t*\t0\t0\tACGT\t!!!!\n", "sam"),
            ("#chrom\tstart\tend\tx\nc\t1\t2\ty\n", "bed"),
            ("#chrom\tstart\tend\tx\nc\ta\t2\ty\n", "interval"),
            ("{\"a\": [1]}\n", "json"),
            ("{not json}\n", "txt"),
            ("<?xml version=\"1.0\"?><a/>", "xml"),
            ("<!DOCTYPE html>\n<p>", "html"),
            ("<svg xmlns=\"x\"/>", "svg"),
        ] {
            assert_eq!(of(content.as_bytes()), wanted, "{content:?}");
        }
    }

    #[test]
    fn bytes_are_recognised() {
        assert_eq!(of(b"\x89PNG\r\n\x1a\n..."), "png");
        assert_eq!(of(b"%PDF-1.7"), "pdf");
        assert_eq!(of(b"SQLite format 3\0"), "sqlite");
        assert_eq!(of(b"PK\x03\x04...."), "zip");
        assert_eq!(of(b"\x00\x01\x02"), "data");
        assert_eq!(of("caf\u{e9} \u{20ac}".as_bytes()), "txt");
        assert_eq!(of(b"caf\xe9 latin one\n"), "txt");
        let mut tar = vec![b'a'; 512];
        tar[257..262].copy_from_slice(b"ustar");
        assert_eq!(of(&tar), "tar");
    }

    #[test]
    fn packed_files_are_looked_into() {
        let pack = |content: &[u8]| {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(content).unwrap();
            encoder.finish().unwrap()
        };
        assert_eq!(
            of(&pack(b"@r1\nACGT\n+\n!''*\n@r2\nACGT\n+\n!''*\n")),
            "fastqsanger.gz"
        );
        assert_eq!(of(&pack(b">s\nACGT\nACGT\n")), "fasta.gz");
        assert_eq!(of(&pack(b"BAM\x01...")), "bam");
        assert_eq!(of(&pack(b"##fileformat=VCFv4.2\n#CHROM\n")), "vcf.gz");
        assert_eq!(of(&pack(b"something\n")), "gz");
        assert_eq!(of(b"\x1f\x8bbroken"), "gz");
    }

    proptest! {
        #[test]
        fn guessing_never_panics(content in proptest::collection::vec(any::<u8>(), 0..200)) {
            of(&content);
        }

        #[test]
        fn guessing_text_never_panics(content in "[>@+#0-9acgt\t\n,\"é<{]{0,80}") {
            of(content.as_bytes());
        }
    }
}
