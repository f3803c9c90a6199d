//! The one description of a tool that the rest of the server knows, whatever language the tool
//! was written in.

use std::time::Duration;

use serde_json::Value;

use super::template::Template;

/// A tool that loaded, which means that every template in it was parsed and every input it names
/// exists.
#[derive(Debug, Clone)]
pub struct Tool {
    pub id: String,
    /// What people read: "Concatenate datasets".
    pub name: String,
    pub version: String,
    /// Continues the name: "tail-to-head".
    pub description: String,
    pub class: ToolClass,
    pub inputs: Vec<Input>,
    pub outputs: Vec<Output>,
    pub action: Action,
    pub config_files: Vec<ConfigFile>,
    pub requirements: Requirements,
    pub container: Option<String>,
    pub help: Option<Help>,
    pub license: Option<String>,
    pub citations: Vec<Citation>,
    pub edam_operations: Vec<String>,
    pub edam_topics: Vec<String>,
    pub xrefs: Vec<CrossReference>,
    /// Test cases as they were written; this server stores them and does not run them.
    pub tests: Vec<Value>,
    /// The Galaxy release whose defaults the tool expects, such as `24.2`.
    pub profile: String,
    /// Made in the working directory before the command starts.
    pub precreate_directories: Vec<String>,
    /// The file's own text, for `raw_tool_source`.
    pub source: String,
    /// Kept out of the tool panel, and still runnable by id.
    pub hidden: bool,
}

/// Who wrote the tool, and with it how far it is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToolClass {
    /// Provided by the operator.
    GalaxyTool,
    /// Provided by a user; a container is mandatory.
    GalaxyUserTool,
}

impl ToolClass {
    pub fn as_str(self) -> &'static str {
        match self {
            ToolClass::GalaxyTool => "GalaxyTool",
            ToolClass::GalaxyUserTool => "GalaxyUserTool",
        }
    }
}

/// What running the tool means.
#[derive(Debug, Clone)]
pub enum Action {
    /// `shell_command`: evaluated as one text, results inserted as they are.
    Shell(Template),
    /// `base_command` and `arguments`: an argument changed by evaluation is quoted as a whole.
    Arguments {
        base_command: Vec<String>,
        arguments: Vec<Template>,
    },
    /// JavaScript that returns an object, one key per output; no command runs.
    Expression(String),
    /// What holds of collections is arranged anew; no command runs and no data are copied.
    Collection(CollectionOperation),
}

macro_rules! operations {
    ($($variant:ident => $word:literal),+ $(,)?) => {
        /// Galaxy's operations on collections.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum CollectionOperation { $($variant),+ }

        impl CollectionOperation {
            /// By its word in a tool file.
            pub fn parse(word: &str) -> Option<CollectionOperation> {
                match word {
                    $($word => Some(CollectionOperation::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

operations! {
    Flatten => "flatten",
    Zip => "zip",
    Unzip => "unzip",
    BuildList => "build_list",
    Merge => "merge",
    CrossProductFlat => "cross_product_flat",
    CrossProductNested => "cross_product_nested",
    DuplicateFile => "duplicate_file",
    Extract => "extract",
    FilterFailed => "filter_failed",
    FilterEmpty => "filter_empty",
    FilterNull => "filter_null",
    KeepSuccess => "keep_success",
    Harmonize => "harmonize",
    Sort => "sort",
    Relabel => "relabel_from_file",
    FilterFromFile => "filter_from_file",
    TagFromFile => "tag_from_file",
    ApplyRules => "apply_rules",
}

/// A file written into the job's directory before the command starts.
#[derive(Debug, Clone)]
pub struct ConfigFile {
    pub name: Option<String>,
    /// Relative to the working directory, never leaving it.
    pub filename: String,
    pub content: Template,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Requirements {
    pub cores_min: u32,
    pub cores_max: Option<u32>,
    /// Mebibytes.
    pub ram_min_mb: u64,
    /// Mebibytes.
    pub ram_max_mb: Option<u64>,
    pub time_limit: Option<Duration>,
    /// JavaScript put before every expression of the command.
    pub expression_lib: Vec<String>,
}

impl Default for Requirements {
    fn default() -> Self {
        Requirements {
            cores_min: 1,
            cores_max: None,
            ram_min_mb: 256,
            ram_max_mb: None,
            time_limit: None,
            expression_lib: Vec::new(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Help {
    /// `markdown`, `restructuredtext` or `plain_text`.
    pub format: String,
    pub content: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Citation {
    /// `doi` or `bibtex`.
    pub kind: String,
    pub content: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrossReference {
    pub kind: String,
    pub value: String,
}

/// One node of the parameter tree.
#[derive(Debug, Clone)]
pub struct Input {
    pub name: String,
    pub label: Option<String>,
    pub help: Option<String>,
    pub optional: bool,
    pub kind: InputKind,
    pub validators: Vec<Validator>,
}

#[derive(Debug, Clone)]
pub enum InputKind {
    Boolean {
        value: Option<bool>,
    },
    Integer {
        value: Option<i64>,
        min: Option<i64>,
        max: Option<i64>,
    },
    Float {
        value: Option<f64>,
        min: Option<f64>,
        max: Option<f64>,
    },
    Text {
        value: Option<String>,
        /// Offer a box of several lines.
        area: bool,
    },
    Color {
        value: Option<String>,
    },
    Select {
        options: Vec<SelectOption>,
        multiple: bool,
    },
    Data {
        /// Empty means any.
        extensions: Vec<String>,
        multiple: bool,
    },
    Collection {
        /// Empty means any.
        collection_types: Vec<String>,
        extensions: Vec<String>,
    },
    Conditional {
        test: Box<Input>,
        whens: Vec<When>,
    },
    Repeat {
        inputs: Vec<Input>,
        min: usize,
        max: Option<usize>,
    },
    Section {
        inputs: Vec<Input>,
    },
    /// Rules that reorganise a collection: an object of Galaxy's rule language.
    Rules,
}

impl InputKind {
    /// Galaxy's word for the type, as it stands in a tool file.
    pub fn type_name(&self) -> &'static str {
        match self {
            InputKind::Boolean { .. } => "boolean",
            InputKind::Integer { .. } => "integer",
            InputKind::Float { .. } => "float",
            InputKind::Text { .. } => "text",
            InputKind::Color { .. } => "color",
            InputKind::Select { .. } => "select",
            InputKind::Data { .. } => "data",
            InputKind::Collection { .. } => "data_collection",
            InputKind::Conditional { .. } => "conditional",
            InputKind::Repeat { .. } => "repeat",
            InputKind::Section { .. } => "section",
            InputKind::Rules => "rules",
        }
    }

    /// Whether a dataset or collection is what this input takes.
    pub fn is_data(&self) -> bool {
        matches!(self, InputKind::Data { .. } | InputKind::Collection { .. })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectOption {
    pub label: String,
    pub value: String,
    pub selected: bool,
}

/// One branch of a conditional: taken when the test parameter has the value `discriminator`
/// (`true` or `false` for a boolean).
#[derive(Debug, Clone)]
pub struct When {
    pub discriminator: String,
    pub inputs: Vec<Input>,
}

#[derive(Debug, Clone)]
pub struct Validator {
    pub check: Check,
    /// The tool author's sentence for people whose value is refused.
    pub message: Option<String>,
    /// Refuse what the check accepts.
    pub negate: bool,
}

#[derive(Debug, Clone)]
pub enum Check {
    Regex(regex::Regex),
    /// In characters, both ends included.
    Length {
        min: Option<usize>,
        max: Option<usize>,
    },
    InRange {
        min: Option<f64>,
        max: Option<f64>,
        exclude_min: bool,
        exclude_max: bool,
    },
    EmptyField,
    NoOptions,
}

#[derive(Debug, Clone)]
pub struct Output {
    pub name: String,
    /// As written, with `$(inputs.x.name)` references not yet filled in.
    pub label: Option<String>,
    pub hidden: bool,
    pub kind: OutputKind,
    /// The output is there only if this holds.
    pub only_if: Option<Condition>,
    /// Where the tool is mapped over several inputs: the one that the elements of this output are called after.
    pub default_identifier_source: Option<String>,
}

/// A parameter has one of these values (Galaxy's output filter).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Pipe path.
    pub input: String,
    pub values: Vec<String>,
}

impl Condition {
    /// Whether it holds for these parameters.
    pub fn holds(&self, state: &Value) -> bool {
        let found = match super::parameters::get_path(state, &self.input) {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => return false,
        };
        self.values.contains(&found)
    }
}

#[derive(Debug, Clone)]
pub enum OutputKind {
    Data(DataOutput),
    Collection(CollectionOutput),
    /// A value, stored as `expression.json`.
    Scalar(ScalarOutput),
}

#[derive(Debug, Clone, Default)]
pub struct DataOutput {
    /// `auto` means: look at the content.
    pub format: Option<String>,
    /// The input whose extension the output takes.
    pub format_source: Option<String>,
    pub metadata_source: Option<String>,
    pub files: OutputFiles,
    /// For an expression tool: the key of the returned object.
    pub from: Option<String>,
}

#[derive(Debug, Clone)]
pub enum OutputFiles {
    /// A path or simple glob, relative to the working directory.
    WorkDir(String),
    Discover(Vec<Discovery>),
}

impl Default for OutputFiles {
    fn default() -> Self {
        OutputFiles::Discover(Vec::new())
    }
}

#[derive(Debug, Clone, Default)]
pub struct CollectionOutput {
    pub collection_type: Option<String>,
    pub collection_type_source: Option<String>,
    pub structured_like: Option<String>,
    pub inherit_format: bool,
    pub format: Option<String>,
    pub format_source: Option<String>,
    pub discover: Vec<Discovery>,
}

#[derive(Debug, Clone)]
pub struct ScalarOutput {
    pub kind: ScalarKind,
    pub files: OutputFiles,
    /// For an expression tool: the key of the returned object.
    pub from: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScalarKind {
    Text,
    Integer,
    Float,
    Boolean,
}

impl ScalarKind {
    pub fn as_str(self) -> &'static str {
        match self {
            ScalarKind::Text => "text",
            ScalarKind::Integer => "integer",
            ScalarKind::Float => "float",
            ScalarKind::Boolean => "boolean",
        }
    }
}

/// How files that nobody named beforehand become datasets.
#[derive(Debug, Clone)]
pub struct Discovery {
    /// Matches a file name (or relative path) from its beginning, as Python's `re.match` does; its
    /// named groups describe the dataset.
    pub pattern: regex::Regex,
    pub format: Option<String>,
    /// Relative to the working directory; the working directory itself by default.
    pub directory: Option<String>,
    pub recurse: bool,
    pub match_relative_path: bool,
    pub visible: bool,
    pub assign_primary_output: bool,
    pub sort_key: SortKey,
    pub numeric: bool,
    pub reverse: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SortKey {
    Filename,
    Name,
    Designation,
    Dbkey,
}

impl Tool {
    pub fn output(&self, name: &str) -> Option<&Output> {
        self.outputs.iter().find(|output| output.name == name)
    }

    /// The outputs that a job with these parameters has.
    pub fn outputs_for<'t>(&'t self, state: &'t Value) -> impl Iterator<Item = &'t Output> {
        let there = |output: &&Output| output.only_if.as_ref().is_none_or(|c| c.holds(state));
        self.outputs.iter().filter(there)
    }

    /// Whether the tool only computes values with JavaScript and starts no process.
    pub fn is_expression(&self) -> bool {
        matches!(self.action, Action::Expression(_))
    }
}
