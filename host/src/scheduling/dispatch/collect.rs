//! From a runner's last word about a job to what is stored: logs, results moved into place, what their files hold.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use barycenter_plugin_api::{JobReport, JobStatus};
use serde_json::{Map, Value, json};

use super::outcome::{broken_collections, broken_output};
use super::prepare::Unwritten;
use super::runners::Held;
use crate::model::state::{DatasetState, JobState};
use crate::scheduling::engine::Services;
use crate::store::scheduling::ends::{
    CollectionEnd, EndAction, FileFacts, JobEnd, NewDataset, NewElement, OutputEnd, merge_metadata,
};
use crate::store::scheduling::jobs::OutputSlot;
use crate::tools::datatypes::{self, Validity};
use crate::tools::model::OutputKind;
use crate::tools::outputs::{self, Collected, CollectedDataset};

/// What the database keeps of each log, in bytes; longer ones stay as files and their middle is left out here.
pub(super) const LOG_KEPT: usize = 32 << 10;

/// Reads what the job left and moves its results into place; an error where the machine has no room for them just now.
/// Blocks.
pub(super) fn collect(
    services: &Services,
    held: &Held,
    report: &JobReport,
) -> Result<JobEnd, String> {
    let job = &held.prepared;
    let directory = &job.directory;
    let mut end = JobEnd {
        job_id: held.id,
        state: JobState::Ok,
        exit_code: (report.status == JobStatus::FINISHED && report.signal == 0)
            .then_some(report.exit_code.into()),
        stdout: log(&directory.join("stdout")),
        stderr: log(&directory.join("stderr")),
        info: None,
        started_ms: (report.started_ms > 0).then_some(report.started_ms),
        ended_ms: if report.ended_ms > 0 {
            report.ended_ms
        } else {
            services.clock.now_ms()
        },
        external_id: (!report.external_id.is_empty()).then(|| report.external_id.to_string()),
        outputs: Vec::new(),
        collections: Vec::new(),
        extra: Vec::new(),
        actions: job.dispatch.actions.clone(),
    };
    let fault = match verdict(report) {
        Some(fault) => Some(fault),
        None => match gather(services, held) {
            Ok(gathered) => {
                match place(services, held, gathered, &job.dispatch.actions, &mut end) {
                    Ok(()) => None,
                    Err(Unwritten::Fault(fault)) => Some(fault),
                    Err(Unwritten::NoRoom(why)) => return Err(why),
                }
            }
            Err(fault) => Some(fault),
        },
    };
    if let Some(fault) = fault {
        let stderr = end.stderr.trim();
        let shown: String = stderr.chars().take(250).collect();
        let info = if shown.is_empty() {
            fault.clone()
        } else {
            shown
        };
        end.state = JobState::Error;
        end.info = Some(fault);
        end.outputs = job
            .dispatch
            .outputs
            .iter()
            .map(|output| broken_output(output, Some(&info)))
            .collect();
        end.collections = broken_collections(&job.dispatch);
        end.extra = Vec::new();
    }
    Ok(end)
}

/// Why a job did not succeed; None if it did.
fn verdict(report: &JobReport) -> Option<String> {
    let message = report.message.to_string();
    if report.has_flag("timeout") {
        return Some("The job took longer than its time limit and was stopped.".into());
    }
    if report.has_flag("cancelled") {
        return Some("The job was stopped.".into());
    }
    if report.status != JobStatus::FINISHED {
        let text = if message.is_empty() {
            "The job did not start, or nobody knows how it ended.".into()
        } else {
            message
        };
        return Some(text);
    }
    match (report.signal, report.exit_code) {
        (0, 0) => None,
        (0, code) => Some(format!("The command ended with exit code {code}.")),
        (signal, _) => Some(format!("The command was ended by signal {signal}.")),
    }
}

fn gather(services: &Services, held: &Held) -> Result<Collected, String> {
    let job = &held.prepared;
    let _ = services;
    outputs::collect(
        &job.tool,
        &job.working_directory(),
        &job.dispatch.params,
        &job.views,
    )
    .map_err(|e| e.to_string())
}

/// Moves every result into place. A result named by two outputs is copied for the second. Where that goes wrong, what was
/// found out to be there is not in place; what was declared may be, and may be another server's that was quicker.
pub(super) fn place(
    services: &Services,
    held: &Held,
    gathered: Collected,
    actions: &[EndAction],
    end: &mut JobEnd,
) -> Result<(), Unwritten> {
    let mut moved = HashMap::new();
    let placed = place_each(services, held, gathered, actions, end, &mut moved);
    if placed.is_err() {
        let declared = held.prepared.dataset_ids();
        let declared: Vec<PathBuf> = declared
            .iter()
            .map(|id| services.data.dataset(*id))
            .collect();
        for file in moved.values().filter(|file| !declared.contains(file)) {
            let _ = std::fs::remove_file(file);
        }
    }
    placed
}

fn place_each(
    services: &Services,
    held: &Held,
    gathered: Collected,
    actions: &[EndAction],
    end: &mut JobEnd,
    moved: &mut HashMap<PathBuf, PathBuf>,
) -> Result<(), Unwritten> {
    let job = &held.prepared;
    let mut put = |from: &Path, dataset_id: i64| -> Result<PathBuf, Unwritten> {
        let to = services.data.dataset(dataset_id);
        let done = match moved.get(from) {
            Some(earlier) => std::fs::copy(earlier, &to).map(|_| ()),
            None => services.data.link_in(from, dataset_id),
        };
        done.map_err(|e| Unwritten::of("A result could not be moved into place", &e))?;
        moved.insert(from.to_owned(), to.clone());
        Ok(to)
    };
    for slot in &job.dispatch.outputs {
        let found = gathered
            .datasets
            .iter()
            .find(|d| !d.extra && d.output_name == slot.name);
        let hidden = actions
            .iter()
            .any(|a| a.action_type == "HideDatasetAction" && a.is_for(&slot.name));
        let visible = slot.visible && !hidden;
        let file = match found {
            Some(dataset) => {
                let file = put(&dataset.path, slot.dataset_id)?;
                let scalar = scalar_output(held, slot);
                if let Some(kind) = scalar {
                    write_scalar(services, &file, kind)?;
                }
                facts(
                    &file,
                    &extension(slot, dataset),
                    slot,
                    dataset.dbkey.as_deref(),
                    actions,
                )
            }
            // Declared, and nothing was written for it: an empty dataset, as in Galaxy.
            None => {
                let file = services.data.dataset(slot.dataset_id);
                services
                    .data
                    .make_empty(slot.dataset_id)
                    .map_err(|e| Unwritten::of("A result could not be written", &e))?;
                facts(&file, &slot.extension, slot, None, actions)
            }
        };
        end.outputs.push(OutputEnd {
            hda_id: slot.hda_id,
            dataset_id: slot.dataset_id,
            state: DatasetState::Ok,
            file,
            visible,
            info: None,
            share: None,
        });
    }
    let checked = |mut new: NewDataset, output: &str| {
        let file = services.data.dataset(new.dataset_id);
        new.file.validity = validity(&file, &new.file.extension, output, actions);
        new
    };
    for dataset in gathered.datasets.iter().filter(|d| d.extra) {
        let slot = job
            .dispatch
            .outputs
            .iter()
            .find(|slot| slot.name == dataset.output_name);
        let base = slot.map_or("result", |slot| slot.hda_name.as_str());
        let name = match dataset.name.as_ref().or(dataset.designation.as_ref()) {
            Some(name) => format!("{base} ({name})"),
            None => base.to_owned(),
        };
        let output_name = match &dataset.designation {
            Some(designation) => {
                format!("__new_primary_file_{}|{designation}__", dataset.output_name)
            }
            None => dataset.output_name.clone(),
        };
        let new = new_dataset(
            services,
            &mut put,
            &dataset.path,
            &dataset.ext,
            dataset.dbkey.as_deref(),
            name,
            output_name,
            dataset.visible,
        )?;
        end.extra.push(checked(new, &dataset.output_name));
    }
    for slot in &job.dispatch.output_collections {
        let found = gathered
            .collections
            .iter()
            .find(|c| c.output_name == slot.name);
        let mut elements = Vec::new();
        for element in found.map(|c| c.elements.as_slice()).unwrap_or_default() {
            let identifier = element.identifiers.last().cloned().unwrap_or_default();
            let ext = changed_type(actions, &slot.name).unwrap_or(&element.ext);
            let output_name = format!(
                "__new_primary_file_{}|{}__",
                slot.name,
                element.identifiers.join("_")
            );
            let dataset = new_dataset(
                services,
                &mut put,
                &element.path,
                ext,
                element.dbkey.as_deref(),
                identifier,
                output_name,
                false,
            )?;
            elements.push(NewElement {
                identifiers: element.identifiers.clone(),
                dataset: checked(dataset, &slot.name),
            });
        }
        end.collections.push(CollectionEnd {
            collection_id: slot.collection_id,
            collection_type: slot.collection_type.clone(),
            elements: Some(elements),
        });
    }
    Ok(())
}

/// The datatype that an action gives to the elements of an output.
fn changed_type<'a>(actions: &'a [EndAction], output: &str) -> Option<&'a str> {
    let wanted = actions
        .iter()
        .rfind(|a| a.action_type == "ChangeDatatypeAction" && a.is_for(output))?;
    wanted.arguments["newtype"]
        .as_str()
        .filter(|ext| !ext.is_empty())
}

#[expect(clippy::too_many_arguments, reason = "the parts of one row")]
fn new_dataset(
    services: &Services,
    put: &mut dyn FnMut(&Path, i64) -> Result<PathBuf, Unwritten>,
    from: &Path,
    ext: &str,
    dbkey: Option<&str>,
    name: String,
    output_name: String,
    visible: bool,
) -> Result<NewDataset, Unwritten> {
    let dataset_id = services.store.ids.dataset();
    let file = put(from, dataset_id)?;
    let (peek, blurb, found) = look_into(&file, ext);
    let metadata = merge_metadata(&json!({"dbkey": dbkey.unwrap_or("?")}).to_string(), found);
    Ok(NewDataset {
        hda_id: services.store.ids.hda(),
        dataset_id,
        name,
        visible,
        file: FileFacts {
            size: size(&file),
            extension: ext.to_owned(),
            peek,
            blurb,
            metadata,
            validity: None,
        },
        output_name,
    })
}

fn extension(slot: &OutputSlot, found: &CollectedDataset) -> String {
    // A datatype set when the output was made (by a post-job action, say) stands; only what was left open is found out.
    match slot.extension.as_str() {
        "" | "auto" | "data" | "_sniff_" => found.ext.clone(),
        set => set.to_owned(),
    }
}

pub(super) fn facts(
    file: &Path,
    extension: &str,
    slot: &OutputSlot,
    dbkey: Option<&str>,
    actions: &[EndAction],
) -> FileFacts {
    let (peek, blurb, mut found) = look_into(file, extension);
    if let (Some(dbkey), Value::Object(found)) = (dbkey, &mut found) {
        found.insert("dbkey".into(), dbkey.into());
    }
    for action in actions
        .iter()
        .filter(|a| a.action_type == "ColumnSetAction" && a.is_for(&slot.name))
    {
        for (key, column) in action.arguments.as_object().into_iter().flatten() {
            // "3" and "c3" both name the third column.
            let number = column
                .as_i64()
                .or_else(|| column.as_str()?.trim_start_matches('c').parse().ok());
            if let (Some(number), Value::Object(found)) = (number.filter(|n| *n > 0), &mut found) {
                found.insert(key.clone(), number.into());
            }
        }
    }
    FileFacts {
        size: size(file),
        extension: extension.to_owned(),
        peek,
        blurb,
        metadata: merge_metadata(&slot.metadata, found),
        validity: validity(file, extension, &slot.name, actions),
    }
}

/// Whether a file is what it says, if the step wants that looked at (ValidateOutputsAction).
fn validity(file: &Path, extension: &str, output: &str, actions: &[EndAction]) -> Option<Validity> {
    let is_wanted = actions
        .iter()
        .any(|a| a.action_type == "ValidateOutputsAction" && a.is_for(output));
    is_wanted.then(|| {
        datatypes::validate(file, extension).unwrap_or_else(|error| {
            tracing::warn!("a result could not be validated: {error}");
            Validity::Unknown
        })
    })
}

fn size(file: &Path) -> i64 {
    std::fs::metadata(file).map_or(0, |m| m.len() as i64)
}

fn look_into(file: &Path, extension: &str) -> (Option<String>, Option<String>, Value) {
    let Ok(peek) = datatypes::peek(file, extension) else {
        return (None, None, json!({}));
    };
    let mut metadata = Map::new();
    for (name, value) in [
        ("data_lines", peek.data_lines),
        ("comment_lines", peek.comment_lines),
        ("columns", peek.columns),
    ] {
        if let Some(value) = value {
            metadata.insert(name.into(), value.into());
        }
    }
    if !peek.column_types.is_empty() {
        metadata.insert("column_types".into(), json!(peek.column_types));
    }
    (Some(peek.peek), Some(peek.blurb), Value::Object(metadata))
}

/// The kind of a declared output that is a plain value.
fn scalar_output(held: &Held, slot: &OutputSlot) -> Option<crate::tools::model::ScalarKind> {
    match held
        .prepared
        .tool
        .output(&slot.name)
        .map(|output| &output.kind)
    {
        Some(OutputKind::Scalar(scalar)) => Some(scalar.kind),
        _ => None,
    }
}

/// A command writes a value as text; consumers read JSON.
fn write_scalar(
    services: &Services,
    file: &Path,
    kind: crate::tools::model::ScalarKind,
) -> Result<(), Unwritten> {
    use crate::tools::model::ScalarKind as K;
    let text =
        std::fs::read_to_string(file).map_err(|e| format!("A value could not be read: {e}"))?;
    let trimmed = text.trim();
    let wrong = || {
        format!(
            "The command wrote {:?} where a {} is declared.",
            trimmed.chars().take(40).collect::<String>(),
            kind.as_str()
        )
    };
    let value: Value = match kind {
        K::Text => Value::String(text.strip_suffix('\n').unwrap_or(&text).to_owned()),
        K::Integer => trimmed.parse::<i64>().map_err(|_| wrong())?.into(),
        K::Float => trimmed
            .parse::<f64>()
            .ok()
            .and_then(serde_json::Number::from_f64)
            .map(Value::Number)
            .ok_or_else(wrong)?,
        K::Boolean => match trimmed.to_ascii_lowercase().as_str() {
            "true" | "1" => true.into(),
            "false" | "0" => false.into(),
            _ => return Err(wrong().into()),
        },
    };
    // The command's own file stays as it is: it may have to be read again.
    let replaced = services.data.replace(file, value.to_string().as_bytes());
    replaced.map_err(|e| Unwritten::of("A value could not be written", &e))
}

/// A log as the database keeps it: whole, or its beginning and its end.
fn log(path: &Path) -> String {
    read_log(path).unwrap_or_default()
}

fn read_log(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    if length <= LOG_KEPT as u64 {
        let mut bytes = Vec::with_capacity(length as usize);
        file.take(LOG_KEPT as u64).read_to_end(&mut bytes)?;
        return Ok(text(bytes));
    }
    let half = LOG_KEPT / 2;
    let mut head = vec![0; half];
    file.read_exact(&mut head)?;
    file.seek(SeekFrom::End(-(half as i64)))?;
    let mut tail = Vec::with_capacity(half);
    file.take(half as u64).read_to_end(&mut tail)?;
    let left_out = length - 2 * half as u64;
    Ok(format!(
        "{}\n[… {left_out} bytes left out …]\n{}",
        text(head),
        text(tail)
    ))
}

/// Logs may hold anything; what is no text is replaced, and null bytes, which no database takes as text.
pub(super) fn text(bytes: Vec<u8>) -> String {
    let text = String::from_utf8(bytes)
        .unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned());
    if text.contains('\0') {
        text.replace('\0', "\u{fffd}")
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_log_keeps_its_beginning_and_its_end() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("stdout");
        std::fs::write(&path, format!("first{}last", "x".repeat(100_000))).expect("written");
        let kept = log(&path);
        assert!(kept.starts_with("first") && kept.ends_with("last"));
        assert!(kept.contains("bytes left out"));
        assert!(kept.len() < LOG_KEPT + 100);
    }

    #[test]
    fn a_log_may_hold_anything() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("stderr");
        std::fs::write(&path, b"a\0b\xffc").expect("written");
        assert_eq!(log(&path), "a\u{fffd}b\u{fffd}c");
        assert_eq!(log(&directory.path().join("none")), "");
    }
}
