//! File types: which there are, what a content looks like, what people see of it.

mod peek;
mod sniff;
mod text;
mod validate;

pub use peek::{COUNT_BYTES_MAX, Peek, peek};
pub use sniff::sniff;
pub use text::normalise_text;
pub use validate::{Validity, validate};

/// One of Galaxy's file types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datatype {
    pub extension: &'static str,
    pub mime: &'static str,
    pub is_binary: bool,
    /// Made of several files. No such type is known here.
    pub composite: bool,
    /// The more general type that this one can be used as, `data` at last.
    pub parent: Option<&'static str>,
    /// Whether lines are rows of columns separated by tabs.
    pub tabular: bool,
}

const fn binary(extension: &'static str, mime: &'static str, parent: &'static str) -> Datatype {
    Datatype {
        extension,
        mime,
        is_binary: true,
        composite: false,
        parent: Some(parent),
        tabular: false,
    }
}

const fn text(extension: &'static str, mime: &'static str, parent: &'static str) -> Datatype {
    Datatype {
        extension,
        mime,
        is_binary: false,
        composite: false,
        parent: Some(parent),
        tabular: false,
    }
}

const fn table(extension: &'static str, parent: &'static str) -> Datatype {
    Datatype {
        extension,
        mime: "text/plain",
        is_binary: false,
        composite: false,
        parent: Some(parent),
        tabular: true,
    }
}

const BYTES: &str = "application/octet-stream";
const PLAIN: &str = "text/plain";

static KNOWN: &[Datatype] = &[
    Datatype {
        extension: "data",
        mime: BYTES,
        is_binary: true,
        composite: false,
        parent: None,
        tabular: false,
    },
    text("txt", PLAIN, "data"),
    binary("binary", BYTES, "data"),
    table("tabular", "txt"),
    table("tsv", "tabular"),
    text("csv", "text/csv", "txt"),
    table("interval", "tabular"),
    table("bed", "interval"),
    table("bed3", "bed"),
    table("bed4", "bed"),
    table("bed6", "bed"),
    table("bed12", "bed"),
    table("bedgraph", "interval"),
    table("encodepeak", "interval"),
    table("gff", "tabular"),
    table("gff3", "gff"),
    table("gtf", "gff"),
    table("vcf", "tabular"),
    table("sam", "tabular"),
    table("pileup", "tabular"),
    table("wig", "txt"),
    text("fasta", PLAIN, "txt"),
    text("fastq", PLAIN, "txt"),
    text("fastqsanger", PLAIN, "fastq"),
    text("fastqillumina", PLAIN, "fastq"),
    text("fastqsolexa", PLAIN, "fastq"),
    text("genbank", PLAIN, "txt"),
    text("newick", PLAIN, "txt"),
    text("nhx", PLAIN, "newick"),
    text("nex", PLAIN, "txt"),
    text("phylip", PLAIN, "txt"),
    text("stockholm", PLAIN, "txt"),
    text("clustal", PLAIN, "txt"),
    text("maf", PLAIN, "txt"),
    text("pdb", "chemical/x-pdb", "txt"),
    text("mol2", PLAIN, "txt"),
    text("sdf", PLAIN, "txt"),
    text("mgf", PLAIN, "txt"),
    text("obo", PLAIN, "txt"),
    text("biom1", "application/json", "json"),
    text("json", "application/json", "txt"),
    text("expression.json", "application/json", "json"),
    text("yaml", "application/yaml", "txt"),
    text("xml", "application/xml", "txt"),
    text("html", "text/html", "txt"),
    text("svg", "image/svg+xml", "xml"),
    text("markdown", "text/markdown", "txt"),
    text("md", "text/markdown", "txt"),
    text("linecount", PLAIN, "txt"),
    binary("gz", "application/gzip", "binary"),
    binary("bz2", "application/x-bzip2", "binary"),
    binary("xz", "application/x-xz", "binary"),
    binary("zip", "application/zip", "binary"),
    binary("tar", "application/x-tar", "binary"),
    binary("tar.gz", "application/gzip", "gz"),
    binary("fasta.gz", "application/gzip", "gz"),
    binary("fastq.gz", "application/gzip", "gz"),
    binary("fastqsanger.gz", "application/gzip", "fastq.gz"),
    binary("fastqillumina.gz", "application/gzip", "fastq.gz"),
    binary("fastqsanger.bz2", "application/x-bzip2", "bz2"),
    binary("vcf.gz", "application/gzip", "gz"),
    binary("vcf_bgzip", "application/gzip", "vcf.gz"),
    binary("tabular.gz", "application/gzip", "gz"),
    binary("bed.gz", "application/gzip", "gz"),
    binary("bam", BYTES, "binary"),
    binary("unsorted.bam", BYTES, "bam"),
    binary("qname_sorted.bam", BYTES, "bam"),
    binary("qname_input_sorted.bam", BYTES, "bam"),
    binary("bai", BYTES, "binary"),
    binary("cram", BYTES, "binary"),
    binary("bcf", BYTES, "binary"),
    binary("tbi", BYTES, "binary"),
    binary("bigwig", BYTES, "binary"),
    binary("bigbed", BYTES, "binary"),
    binary("twobit", BYTES, "binary"),
    binary("sra", BYTES, "binary"),
    binary("h5", "application/x-hdf5", "binary"),
    binary("h5ad", "application/x-hdf5", "h5"),
    binary("loom", "application/x-hdf5", "h5"),
    binary("cool", "application/x-hdf5", "h5"),
    binary("mcool", "application/x-hdf5", "h5"),
    binary("biom2", "application/x-hdf5", "h5"),
    binary("sqlite", "application/vnd.sqlite3", "binary"),
    binary("rdata", BYTES, "binary"),
    binary("rds", BYTES, "binary"),
    binary("npz", BYTES, "zip"),
    binary("parquet", "application/vnd.apache.parquet", "binary"),
    binary("pdf", "application/pdf", "data"),
    binary("png", "image/png", "data"),
    binary("jpg", "image/jpeg", "data"),
    binary("gif", "image/gif", "data"),
    binary("tiff", "image/tiff", "data"),
    binary("bmp", "image/bmp", "data"),
    binary(
        "xlsx",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "zip",
    ),
    binary(
        "docx",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "zip",
    ),
    binary("mzml", "application/xml", "data"),
];

/// Every type that has a meaning here. A dataset may have any other extension; it is then bytes.
pub fn known() -> &'static [Datatype] {
    KNOWN
}

pub fn datatype(extension: &str) -> Option<&'static Datatype> {
    KNOWN.iter().find(|known| known.extension == extension)
}

/// The MIME type to send a dataset with.
pub fn mime(extension: &str) -> &'static str {
    datatype(extension).map_or(BYTES, |known| known.mime)
}

/// Whether a dataset of type `actual` may be used where `wanted` is asked for: a bed file is
/// tabular and text, and everything is data. `auto` is not known yet and fits everywhere.
pub fn matches(actual: &str, wanted: &str) -> bool {
    if actual == wanted
        || matches!(wanted, "data" | "auto" | "")
        || matches!(actual, "auto" | "_sniff_")
    {
        return true;
    }
    let mut current = datatype(actual);
    while let Some(known) = current {
        if known.extension == wanted {
            return true;
        }
        current = known.parent.and_then(datatype);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_parent_is_known_and_the_chain_ends() {
        for known in known() {
            assert!(matches(known.extension, "data"), "{}", known.extension);
            if let Some(parent) = known.parent {
                assert!(datatype(parent).is_some(), "{parent}");
                assert!(matches(known.extension, parent), "{}", known.extension);
            }
        }
    }

    #[test]
    fn a_special_type_serves_as_a_general_one_and_not_the_reverse() {
        assert!(matches("bed6", "tabular"));
        assert!(matches("gtf", "txt"));
        assert!(matches("auto", "bam"));
        assert!(!matches("txt", "tabular"));
        assert!(!matches("somethingelse", "txt"));
        assert_eq!(mime("json"), "application/json");
        assert_eq!(mime("somethingelse"), "application/octet-stream");
    }
}
