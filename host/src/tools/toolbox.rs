//! The tools there are: the stock ones, those in the operator's directories, and those that
//! users defined.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use uuid::Uuid;

use super::Tool;
use super::stock;
use super::yaml;

/// How often at most the directories are looked through for changes.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Larger files are not tools.
const FILE_BYTES_MAX: u64 = 1 << 20;
const DEPTH_MAX: usize = 8;

#[derive(Debug, Clone)]
pub struct Found {
    pub tool: Arc<Tool>,
    /// Whether the version asked for is the one found.
    pub exact: bool,
}

/// A tool file that cannot be used, or not as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolFault {
    pub path: PathBuf,
    pub message: String,
}

/// Shared by all threads. Looking a tool up takes one read lock.
pub struct Toolbox {
    directories: Vec<PathBuf>,
    shelf: RwLock<Arc<Shelf>>,
    looked: Mutex<Instant>,
    dynamic: RwLock<HashMap<Uuid, Arc<Tool>>>,
}

/// Everything read at one time.
#[derive(Default)]
struct Shelf {
    files: BTreeMap<PathBuf, FileEntry>,
    /// Versions of each tool, oldest first.
    by_id: HashMap<String, Vec<Arc<Tool>>>,
    /// Ids in panel order.
    order: Vec<String>,
    faults: Vec<ToolFault>,
}

#[derive(Clone)]
struct FileEntry {
    stamp: Stamp,
    /// The last version of the file that was sound.
    tool: Option<Arc<Tool>>,
    fault: Option<String>,
}

type Stamp = (Option<SystemTime>, u64);

impl Toolbox {
    /// The stock tools and those of `directories` (read recursively, `.yml` and `.yaml`). A tool
    /// there replaces a stock tool of the same id and version. Broken files are in [`faults`].
    ///
    /// [`faults`]: Toolbox::faults
    pub fn new(directories: Vec<PathBuf>) -> Toolbox {
        let shelf = read(&directories, &Shelf::default());
        Toolbox {
            directories,
            shelf: RwLock::new(Arc::new(shelf)),
            looked: Mutex::new(Instant::now()),
            dynamic: RwLock::default(),
        }
    }

    /// The version asked for if it is there, else the newest.
    ///
    /// A Tool Shed id (`host/repos/owner/repository/tool/version`) that is not itself a tool's id
    /// finds the tool of its short id, with the version from the long one.
    pub fn get(&self, id: &str, version: Option<&str>) -> Option<Found> {
        let shelf = self.current();
        let (versions, wanted) = match shelf.by_id.get(id) {
            Some(versions) => (versions, version),
            None => {
                let (short, shed_version) = shed_parts(id)?;
                (shelf.by_id.get(short)?, version.or(shed_version))
            }
        };
        let same = wanted.and_then(|wanted| versions.iter().find(|tool| tool.version == wanted));
        let tool = same.or(versions.last())?;
        let is_safe =
            || wanted.is_some_and(|wanted| is_safe_update(&tool.id, wanted, &tool.version));
        Some(Found {
            tool: Arc::clone(tool),
            exact: wanted.is_none() || same.is_some() || is_safe(),
        })
    }

    /// The newest version of every tool that is not hidden, in panel order: stock tools first.
    pub fn list(&self) -> Vec<Arc<Tool>> {
        let shelf = self.current();
        shelf
            .order
            .iter()
            .filter_map(|id| shelf.by_id.get(id)?.last())
            .filter(|tool| !tool.hidden)
            .cloned()
            .collect()
    }

    /// The versions there are of a tool, oldest first.
    pub fn versions(&self, id: &str) -> Vec<String> {
        let shelf = self.current();
        let versions = shelf.by_id.get(id).into_iter().flatten();
        versions.map(|tool| tool.version.clone()).collect()
    }

    /// What is wrong with the files in the directories, by path.
    pub fn faults(&self) -> Vec<ToolFault> {
        self.current().faults.clone()
    }

    /// Looks through the directories now.
    pub fn reload(&self) {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let shelf = Arc::new(read(&self.directories, &self.shelf()));
        *self.shelf.write().unwrap_or_else(PoisonError::into_inner) = shelf;
        *looked = Instant::now();
    }

    /// Adds a user's tool, which is found by its uuid only.
    pub fn insert_dynamic(&self, uuid: Uuid, tool: Tool) -> Arc<Tool> {
        let tool = Arc::new(tool);
        let mut dynamic = self.dynamic.write().unwrap_or_else(PoisonError::into_inner);
        dynamic.insert(uuid, Arc::clone(&tool));
        tool
    }

    pub fn get_dynamic(&self, uuid: &Uuid) -> Option<Arc<Tool>> {
        let dynamic = self.dynamic.read().unwrap_or_else(PoisonError::into_inner);
        dynamic.get(uuid).cloned()
    }

    /// Whether there was such a tool.
    pub fn remove_dynamic(&self, uuid: &Uuid) -> bool {
        let mut dynamic = self.dynamic.write().unwrap_or_else(PoisonError::into_inner);
        dynamic.remove(uuid).is_some()
    }

    fn shelf(&self) -> Arc<Shelf> {
        Arc::clone(&self.shelf.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The shelf, looked through again if that was long ago and nobody else is at it.
    fn current(&self) -> Arc<Shelf> {
        if !self.directories.is_empty()
            && let Ok(mut looked) = self.looked.try_lock()
            && looked.elapsed() >= LOOK_AGAIN_AFTER
        {
            let old = self.shelf();
            if changed(&self.directories, &old) {
                let shelf = Arc::new(read(&self.directories, &old));
                *self.shelf.write().unwrap_or_else(PoisonError::into_inner) = shelf;
            }
            *looked = Instant::now();
        }
        self.shelf()
    }
}

/// Tools whose later versions do what the earlier ones did (Galaxy: WORKFLOW_SAFE_TOOL_VERSION_UPDATES): id, the first
/// and the last version of which that is known. A workflow that names one of them runs with another.
const SAFE_UPDATES: &[(&str, &str, &str)] = &[
    ("Filter1", "1.1.0", "1.1.1"),
    ("Grep1", "1.0.1", "1.0.4"),
    ("Show beginning1", "1.0.0", "1.0.2"),
    ("Show tail1", "1.0.0", "1.0.1"),
    ("sort1", "1.1.0", "1.2.0"),
];

fn is_safe_update(id: &str, wanted: &str, there: &str) -> bool {
    let numbers =
        |text: &str| -> Option<Vec<u32>> { text.split('.').map(|n| n.parse().ok()).collect() };
    SAFE_UPDATES.iter().any(|(tool, first, last)| {
        let within = |version: &str| {
            let (version, first, last) = (numbers(version), numbers(first), numbers(last));
            version.is_some() && version >= first && version <= last
        };
        *tool == id && within(wanted) && within(there)
    })
}

/// The short id and version of a Tool Shed id.
fn shed_parts(id: &str) -> Option<(&str, Option<&str>)> {
    let (_, rest) = id.split_once("/repos/")?;
    let mut parts = rest.split('/').skip(2);
    let short = parts.next()?;
    Some((short, parts.next()))
}

fn changed(directories: &[PathBuf], old: &Shelf) -> bool {
    let files = tool_files(directories);
    files.len() != old.files.len()
        || files.iter().any(|(path, stamp)| {
            let known = old.files.get(path);
            known.is_none_or(|entry| entry.stamp != *stamp)
        })
}

/// The first of the directories that cannot be read, and why.
pub fn unreadable(directories: &[PathBuf]) -> Option<(&Path, io::Error)> {
    directories.iter().find_map(|directory| {
        let error = fs::read_dir(directory).err()?;
        Some((directory.as_path(), error))
    })
}

fn read(directories: &[PathBuf], old: &Shelf) -> Shelf {
    let mut shelf = Shelf::default();
    for tool in stock::tools() {
        put(&mut shelf, tool);
    }
    let mut owners: HashMap<(String, String), PathBuf> = HashMap::new();
    for directory in directories {
        if let Err(error) = fs::read_dir(directory) {
            shelf.faults.push(ToolFault {
                path: directory.clone(),
                message: format!("the directory could not be read: {error}"),
            });
        }
    }
    for (path, stamp) in tool_files(directories) {
        let entry = match old.files.get(&path) {
            Some(entry) if entry.stamp == stamp => entry.clone(),
            previous => read_file(&path, stamp, previous),
        };
        let mut fault = entry.fault.clone();
        if let Some(tool) = &entry.tool {
            let key = (tool.id.clone(), tool.version.clone());
            match owners.get(&key) {
                Some(owner) => {
                    let owner = owner.display();
                    fault.get_or_insert(format!(
                        "{}: tool {} {} is already defined in {owner}",
                        path.display(),
                        tool.id,
                        tool.version
                    ));
                }
                None => {
                    owners.insert(key, path.clone());
                    put(&mut shelf, Arc::clone(tool));
                }
            }
        }
        if let Some(message) = fault {
            let path = path.clone();
            shelf.faults.push(ToolFault { path, message });
        }
        shelf.files.insert(path, entry);
    }
    shelf
}

fn read_file(path: &Path, stamp: Stamp, previous: Option<&FileEntry>) -> FileEntry {
    let shown = path.display().to_string();
    let parsed = if stamp.1 > FILE_BYTES_MAX {
        Err(format!(
            "{shown}: the file has more than {FILE_BYTES_MAX} bytes"
        ))
    } else {
        fs::read_to_string(path)
            .map_err(|error| format!("{shown}: the file could not be read: {error}"))
            .and_then(|text| yaml::parse(&text, &shown).map_err(|error| error.to_string()))
    };
    match parsed {
        Ok(tool) => FileEntry {
            stamp,
            tool: Some(Arc::new(tool)),
            fault: None,
        },
        Err(message) => {
            let tool = previous.and_then(|entry| entry.tool.clone());
            let kept = match &tool {
                Some(tool) => format!(" (version {} from before stays in use)", tool.version),
                None => String::new(),
            };
            FileEntry {
                stamp,
                tool,
                fault: Some(message + &kept),
            }
        }
    }
}

fn put(shelf: &mut Shelf, tool: Arc<Tool>) {
    let versions = shelf.by_id.entry(tool.id.clone()).or_default();
    if versions.is_empty() {
        shelf.order.push(tool.id.clone());
    }
    match versions
        .iter_mut()
        .find(|other| other.version == tool.version)
    {
        Some(same) => *same = tool,
        None => {
            versions.push(tool);
            versions.sort_by(|left, right| compare_versions(&left.version, &right.version));
        }
    }
}

/// Versions part by part: numbers as numbers, words as words, and `1.0` before `1.0.1`.
pub fn compare_versions(left: &str, right: &str) -> Ordering {
    let parts = |version: &str| -> Vec<(u64, String)> {
        let mut parts: Vec<String> = Vec::new();
        let mut last = None;
        for character in version.chars() {
            let kind = (character.is_ascii_digit(), character.is_alphanumeric());
            if !kind.1 {
                last = None;
                continue;
            }
            match (parts.last_mut(), last == Some(kind)) {
                (Some(part), true) => part.push(character),
                _ => parts.push(character.to_string()),
            }
            last = Some(kind);
        }
        // A word sorts before any number, as 1.0rc1 comes before 1.0.1.
        let number = |part: &String| {
            part.parse::<u64>()
                .map_or(0, |number| number.saturating_add(1))
        };
        parts
            .iter()
            .map(|part| (number(part), part.clone()))
            .collect()
    };
    let (one, two) = (parts(left), parts(right));
    for (left, right) in one.iter().zip(&two) {
        let order = match left.0.cmp(&right.0) {
            Ordering::Equal if left.0 == 0 => left.1.cmp(&right.1),
            order => order,
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    one.len().cmp(&two.len())
}

fn tool_files(directories: &[PathBuf]) -> Vec<(PathBuf, Stamp)> {
    let mut files = Vec::new();
    for directory in directories {
        find_files(directory, 0, &mut files);
    }
    files
}

fn find_files(directory: &Path, depth: usize, files: &mut Vec<(PathBuf, Stamp)>) {
    let mut entries: Vec<PathBuf> = fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    entries.sort();
    for path in entries {
        let hidden = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        let Ok(metadata) = fs::metadata(&path) else {
            continue;
        };
        if hidden {
            continue;
        }
        if metadata.is_dir() {
            if depth < DEPTH_MAX {
                find_files(&path, depth + 1, files);
            }
        } else if path
            .extension()
            .is_some_and(|ext| ext == "yml" || ext == "yaml")
        {
            files.push((path, (metadata.modified().ok(), metadata.len())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool_text(version: &str) -> String {
        format!(
            "class: GalaxyTool\nid: My Tool\nversion: '{version}'\nshell_command: 'true'\noutputs: []\n"
        )
    }

    #[test]
    fn the_exact_version_is_preferred_and_else_the_newest() {
        let place = tempfile::tempdir().unwrap();
        for version in ["1.9", "1.10", "1.2"] {
            fs::write(
                place.path().join(format!("{version}.yml")),
                tool_text(version),
            )
            .unwrap();
        }
        let toolbox = Toolbox::new(vec![place.path().to_path_buf()]);
        assert_eq!(toolbox.faults(), []);
        let get = |version| {
            let found = toolbox.get("My Tool", version).unwrap();
            (found.tool.version.clone(), found.exact)
        };
        assert_eq!(get(None), ("1.10".to_owned(), true));
        assert_eq!(get(Some("1.2")), ("1.2".to_owned(), true));
        assert_eq!(get(Some("7")), ("1.10".to_owned(), false));
        assert!(toolbox.get("no such tool", None).is_none());
        assert_eq!(toolbox.versions("My Tool"), ["1.2", "1.9", "1.10"]);
    }

    #[test]
    fn a_tool_shed_id_finds_the_tool_of_its_short_id() {
        let toolbox = Toolbox::new(Vec::new());
        let id = "toolshed.g2.bx.psu.edu/repos/bgruening/text_processing/tp_awk_tool/0.1";
        let found = toolbox.get(id, Some("0.1")).unwrap();
        assert_eq!(
            (found.tool.id.as_str(), found.exact),
            ("tp_awk_tool", false)
        );
        assert!(toolbox.get("x/repos/y", None).is_none());
    }

    #[test]
    fn a_broken_file_keeps_the_tool_that_was_there() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("mine.yml");
        fs::write(&path, tool_text("1.0")).unwrap();
        let toolbox = Toolbox::new(vec![place.path().to_path_buf()]);
        fs::write(&path, "class: GalaxyTool\nid: My Tool\nshel_command: x\n").unwrap();
        toolbox.reload();
        assert!(toolbox.get("My Tool", None).is_some());
        let faults = toolbox.faults();
        assert_eq!(faults.len(), 1);
        assert!(
            faults[0].message.contains("mine.yml"),
            "{}",
            faults[0].message
        );
        fs::remove_file(&path).unwrap();
        toolbox.reload();
        assert!(toolbox.get("My Tool", None).is_none());
        assert_eq!(toolbox.faults(), []);
    }

    #[test]
    fn a_changed_file_is_noticed_after_a_second_without_being_asked() {
        let place = tempfile::tempdir().unwrap();
        let toolbox = Toolbox::new(vec![place.path().to_path_buf()]);
        assert!(toolbox.get("My Tool", None).is_none());
        fs::write(place.path().join("mine.yaml"), tool_text("1.0")).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while toolbox.get("My Tool", None).is_none() {
            assert!(Instant::now() < deadline, "the new tool never showed up");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    #[test]
    fn two_files_with_one_tool_are_a_fault_and_the_operator_replaces_stock() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("a.yml"), tool_text("1.0")).unwrap();
        fs::write(place.path().join("b.yml"), tool_text("1.0")).unwrap();
        let stock = Toolbox::new(Vec::new()).get("cat1", None).unwrap().tool;
        let own = tool_text(&stock.version).replace("My Tool", "cat1");
        fs::write(place.path().join("c.yml"), own).unwrap();
        let toolbox = Toolbox::new(vec![place.path().to_path_buf()]);
        assert_eq!(toolbox.faults().len(), 1);
        assert!(toolbox.faults()[0].message.contains("already defined"));
        assert!(toolbox.get("cat1", None).unwrap().tool.inputs.is_empty());
    }

    #[test]
    fn dynamic_tools_are_found_by_uuid_only() {
        let toolbox = Toolbox::new(Vec::new());
        let uuid = Uuid::from_u128(7);
        toolbox.insert_dynamic(uuid, yaml::parse(&tool_text("1"), "x").unwrap());
        assert_eq!(toolbox.get_dynamic(&uuid).unwrap().id, "My Tool");
        assert!(toolbox.get("My Tool", None).is_none());
        assert!(toolbox.remove_dynamic(&uuid));
        assert!(toolbox.get_dynamic(&uuid).is_none());
    }

    #[test]
    fn an_earlier_version_known_to_do_the_same_counts_as_the_one_asked_for() {
        assert!(is_safe_update("Show beginning1", "1.0.0", "1.0.2"));
        assert!(!is_safe_update("Show beginning1", "0.9", "1.0.2"));
        assert!(!is_safe_update("Show beginning1", "1.0.0", "2.0"));
        assert!(!is_safe_update("cat1", "1.0.0", "1.0.2"));
    }

    #[test]
    fn the_toolbox_is_shared_by_threads() {
        fn shared<T: Send + Sync>() {}
        shared::<Toolbox>();
    }

    #[test]
    fn versions_are_compared_part_by_part() {
        let mut versions = [
            "1.0.1",
            "9.5+galaxy10",
            "1.0",
            "1.0rc1",
            "9.5+galaxy2",
            "0.9",
        ];
        versions.sort_by(|left, right| compare_versions(left, right));
        assert_eq!(
            versions,
            [
                "0.9",
                "1.0",
                "1.0rc1",
                "1.0.1",
                "9.5+galaxy2",
                "9.5+galaxy10"
            ]
        );
    }
}
