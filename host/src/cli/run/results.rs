//! The outputs of a run, written where the person wants them.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use crate::http::{App, DataDir};
use crate::store::collections::{self, Forest};
use crate::store::datasets::{self, Hda};
use crate::store::invocations::{Details, OutputRow};
use crate::store::{Query, StoreError};

/// An output that was written, or why it was not.
#[derive(Debug)]
pub struct Written {
    pub label: String,
    /// A file, or a folder for a collection.
    pub path: PathBuf,
    /// Why it is not there, or not whole.
    pub fault: Option<String>,
}

/// Why the results could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ResultsError {
    #[error("the results could not be written to {path}")]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Whether results can be written into `folder`, which is made only once there are some.
pub fn can_be_written(folder: &Path) -> io::Result<()> {
    let mut place = folder;
    // The nearest that is there.
    loop {
        match std::fs::metadata(place) {
            Ok(found) if found.is_dir() => return tempfile::tempfile_in(place).map(drop),
            Ok(_) => return Err(io::ErrorKind::NotADirectory.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let above = place.parent().filter(|above| !above.as_os_str().is_empty());
                place = above.unwrap_or(Path::new("."));
            }
            Err(error) => return Err(error),
        }
    }
}

/// Writes every labelled output into `folder`, datasets as `label.ext`, collections as folders, values as JSON.
/// What is not ready is left out and told.
pub async fn write(
    app: &App,
    details: &Details,
    folder: &Path,
) -> Result<Vec<Written>, ResultsError> {
    let mut q = app.store.reader();
    let mut names = Names::default();
    let mut plan = Vec::new();
    let mut written = Vec::new();
    let ids: Vec<i64> = details.outputs.iter().map(|output| output.id).collect();
    let hdas = datasets::by_ids(&mut q, &ids).await?;
    for output in &details.outputs {
        let Some(hda) = hdas.get(&output.id) else {
            continue;
        };
        let label = label_of(output);
        let path = folder.join(names.unique(&label, extension(hda)));
        written.push(Written {
            label,
            fault: put(&mut plan, hda, &path),
            path,
        });
    }
    for output in &details.output_collections {
        let label = label_of(output);
        let path = folder.join(names.unique(&label, ""));
        let fault = collection(&mut q, output.id, &path, &mut plan).await?;
        written.push(Written { label, path, fault });
    }
    for output in &details.output_values {
        let label = output.label.clone().unwrap_or_else(|| "value".to_owned());
        let path = folder.join(names.unique(&label, "json"));
        plan.push((Source::Text(format!("{:#}\n", output.value)), path.clone()));
        written.push(Written {
            label,
            path,
            fault: None,
        });
    }
    let data = app.data.clone();
    let folder = folder.to_owned();
    let copied = tokio::task::spawn_blocking(move || copy_all(&data, &folder, plan)).await;
    match copied {
        Ok(done) => done?,
        Err(stopped) => {
            return Err(ResultsError::Io {
                path: PathBuf::new(),
                source: io::Error::other(stopped),
            });
        }
    }
    Ok(written)
}

fn label_of(output: &OutputRow) -> String {
    match &output.label {
        Some(label) if !label.is_empty() => label.clone(),
        _ => format!("{}_{}", output.order_index + 1, output.output_name),
    }
}

/// Where the bytes of a result come from.
enum Source {
    Dataset(i64),
    Text(String),
}

type Plan = Vec<(Source, PathBuf)>;

/// Plans the copy of a dataset that is ready; else says why it is left out.
fn put(plan: &mut Plan, hda: &Hda, path: &Path) -> Option<String> {
    if hda.state != "ok" && hda.state != "empty" {
        return Some(format!("its state is {}", hda.state));
    }
    plan.push((Source::Dataset(hda.dataset_id), path.to_owned()));
    None
}

async fn collection(
    q: &mut impl Query,
    hdca_id: i64,
    path: &Path,
    plan: &mut Plan,
) -> Result<Option<String>, StoreError> {
    let Some(hdca) = collections::by_id(q, hdca_id).await? else {
        return Ok(Some("it is gone".to_owned()));
    };
    let forest = collections::forest(q, &[hdca.collection.id]).await?;
    let hdas = datasets::by_ids(q, &forest.hda_ids()).await?;
    let mut missing = 0;
    let mut levels = vec![(hdca.collection.id, path.to_owned())];
    while let Some((id, folder)) = levels.pop() {
        missing += level(&forest, &hdas, id, &folder, plan, &mut levels);
    }
    Ok((missing > 0).then(|| format!("{missing} of its elements are not ready")))
}

fn level(
    forest: &Forest,
    hdas: &std::collections::HashMap<i64, Hda>,
    id: i64,
    folder: &Path,
    plan: &mut Plan,
    levels: &mut Vec<(i64, PathBuf)>,
) -> usize {
    let mut names = Names::default();
    let mut missing = 0;
    for element in forest.elements(id) {
        if let Some(child) = element.child_id {
            levels.push((child, folder.join(names.unique(&element.identifier, ""))));
            continue;
        }
        let put = element
            .hda_id
            .and_then(|id| hdas.get(&id))
            .is_some_and(|hda| {
                let name = names.unique(&element.identifier, extension(hda));
                put(plan, hda, &folder.join(name)).is_none()
            });
        missing += usize::from(!put);
    }
    missing
}

fn extension(hda: &Hda) -> &str {
    match hda.extension.as_str() {
        "" | "data" | "auto" | "_sniff_" => "dat",
        extension => extension,
    }
}

/// Each file appears whole or not at all.
fn copy_all(data: &DataDir, folder: &Path, plan: Plan) -> Result<(), ResultsError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| ResultsError::Io { path, source }
    };
    std::fs::create_dir_all(folder).map_err(at(folder))?;
    for (source, path) in plan {
        let parent = path.parent().unwrap_or(folder);
        std::fs::create_dir_all(parent).map_err(at(parent))?;
        let unfinished = tempfile::NamedTempFile::new_in(parent).map_err(at(parent))?;
        let copied = match source {
            Source::Dataset(id) => copy(&data.dataset(id), unfinished.path()),
            Source::Text(text) => std::fs::write(unfinished.path(), text),
        };
        copied.map_err(at(&path))?;
        make_readable(unfinished.path()).map_err(at(&path))?;
        unfinished
            .persist(&path)
            .map_err(|error| at(&path)(error.error))?;
    }
    Ok(())
}

/// A dataset that nothing was written to may have no file.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    match std::fs::copy(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => std::fs::write(to, ""),
        done => done.map(drop),
    }
}

/// As a file is that a shell makes, rather than private as temporary files are.
fn make_readable(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644))
}

/// File names from labels: safe, and no two alike in one folder.
#[derive(Default)]
struct Names {
    taken: HashSet<String>,
}

/// Longer names are cut; file systems take 255 bytes.
const NAME_BYTES_MAX: usize = 180;

impl Names {
    fn unique(&mut self, label: &str, extension: &str) -> String {
        let stem = safe(label);
        let extension = safe_extension(extension);
        let mut name = format!("{stem}{extension}");
        let mut n = 1;
        // Some file systems do not tell capitals from small letters.
        while !self.taken.insert(name.to_lowercase()) {
            n += 1;
            name = format!("{stem}_{n}{extension}");
        }
        name
    }
}

/// Letters, digits, `-`, `.`, `+` and `_`; never hidden, never a path.
fn safe(label: &str) -> String {
    let fitting = |c: char| match c {
        '-' | '.' | '+' | '_' => c,
        c if c.is_alphanumeric() => c,
        _ => '_',
    };
    let mut name: String = label.trim().chars().map(fitting).collect();
    while name.len() > NAME_BYTES_MAX {
        name.pop();
    }
    let name = name.trim_start_matches(['.', '-']);
    match name.is_empty() {
        true => "output".to_owned(),
        false => name.to_owned(),
    }
}

fn safe_extension(extension: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let text: String = extension.chars().filter(|c| fits(*c)).take(40).collect();
    match text.trim_matches('.') {
        "" => String::new(),
        text => format!(".{text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_no_results_can_be_written_is_known_beforehand() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        std::fs::write(&file, "").expect("written");
        assert!(can_be_written(&folder.path().join("a/b/c")).is_ok());
        assert!(can_be_written(folder.path()).is_ok());
        assert!(can_be_written(&file).is_err());
        assert!(can_be_written(&file.join("below")).is_err());
        let left = std::fs::read_dir(folder.path()).expect("a folder").count();
        assert_eq!(left, 1, "nothing was made");
    }

    #[test]
    fn labels_become_names_that_cannot_leave_the_folder() {
        let check = |label: &str, name: &str| assert_eq!(safe(label), name, "{label}");
        check("Ten heaviest", "Ten_heaviest");
        check("../../etc/passwd", "_.._etc_passwd");
        check(".hidden", "hidden");
        check("-rf", "rf");
        check("..", "output");
        check("", "output");
        check("a\0b\nc", "a_b_c");
        check("Größe", "Größe");
        assert!(safe(&"ä".repeat(500)).len() <= NAME_BYTES_MAX);
    }

    #[test]
    fn two_outputs_never_share_a_name() {
        let mut names = Names::default();
        assert_eq!(names.unique("a b", "txt"), "a_b.txt");
        assert_eq!(names.unique("a_b", "txt"), "a_b_2.txt");
        assert_eq!(names.unique("A b", "txt"), "A_b_3.txt");
        assert_eq!(names.unique("a b", "fastq.gz"), "a_b.fastq.gz");
        assert_eq!(names.unique("a b", ""), "a_b");
    }

    #[test]
    fn an_extension_is_no_path_either() {
        assert_eq!(safe_extension("../x"), ".x");
        assert_eq!(safe_extension("tabular"), ".tabular");
        assert_eq!(safe_extension("/"), "");
    }
}
