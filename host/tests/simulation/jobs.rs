//! What becomes of jobs in a simulated world: a job does nothing but put out something that depends on what it reads.

use std::hash::{DefaultHasher, Hash, Hasher};

use barycenter::invoker::known::Known;
use barycenter::model::state::{DatasetState, JobState};
use barycenter::store::scheduling::ends::{
    CollectionEnd, FileFacts, JobEnd, NewDataset, NewElement, OutputEnd,
};
use barycenter::store::scheduling::jobs::{self, Dispatch, HandOver};
use barycenter::store::scheduling::{known, settle};
use serde_json::json;

use super::World;

impl World {
    async fn dispatch(&self, id: i64) -> (Dispatch, Known) {
        let mut reader = self.store.reader();
        let mut loaded = jobs::load(&mut reader, &[id]).await.expect("reads");
        let job = loaded.pop().expect("there");
        let mut read = Known::default();
        let inputs: Vec<i64> = job.inputs.iter().map(|input| input.hda_id).collect();
        known::load(&mut reader, &mut read, inputs, [])
            .await
            .expect("reads");
        (job, read)
    }

    pub async fn start(&mut self, id: i64) {
        let hand_over = self.hand_over(id).await;
        let taken = jobs::hand_over(&self.store, "main", &[hand_over], self.now)
            .await
            .expect("stored");
        self.running.extend(taken);
    }

    /// What is stored when a job is handed over, whose inputs have to be there.
    pub async fn hand_over(&self, id: i64) -> HandOver {
        let (job, read) = self.dispatch(id).await;
        for input in &job.inputs {
            let hda = &read.hdas[&input.hda_id];
            assert_eq!(
                hda.state,
                DatasetState::Ok,
                "seed {}: job {id} starts before its input is there",
                self.seed
            );
            assert!(
                self.data.dataset(hda.dataset_id).exists(),
                "seed {}: an input of job {id} has no file",
                self.seed
            );
        }
        HandOver {
            job_id: id,
            runner: "simulated".into(),
            command_line: String::new(),
            dataset_ids: job.outputs.iter().map(|output| output.dataset_id).collect(),
        }
    }

    pub async fn end(&mut self, id: i64) {
        self.running.retain(|other| *other != id);
        let end = self.job_end(id).await;
        // Reported twice, as a runner may: the second report changes nothing.
        let twice = self.chance.one_in(8);
        settle::settle(&self.store, vec![end.clone()], self.now)
            .await
            .expect("stored");
        if twice {
            settle::settle(&self.store, vec![end], self.now)
                .await
                .expect("stored");
        }
    }

    /// What a job makes depends on its tool and on what it reads, and on nothing else.
    pub async fn job_end(&self, id: i64) -> JobEnd {
        let (job, read) = self.dispatch(id).await;
        let mut text = job.tool_id.clone();
        for input in &job.inputs {
            let file = self.data.dataset(read.hdas[&input.hda_id].dataset_id);
            text.push_str(&format!(
                " {}={}",
                input.name,
                std::fs::read_to_string(file).expect("a file")
            ));
        }
        let mut hasher = DefaultHasher::new();
        (text.as_str(), self.seed).hash(&mut hasher);
        let hash = hasher.finish();
        let fails = job.tool_id == "flaky" && hash.is_multiple_of(3);
        let made = match job.tool_id.as_str() {
            "decide" => hash.is_multiple_of(2).to_string(),
            _ => format!("{hash:x}"),
        };
        let facts = |extension: &str| FileFacts {
            size: made.len() as i64,
            extension: extension.to_owned(),
            peek: None,
            blurb: None,
            metadata: json!({}),
            validity: None,
        };
        let outputs = job.outputs.iter().map(|slot| {
            if !fails {
                self.data
                    .write_dataset(slot.dataset_id, made.as_bytes())
                    .expect("written");
            }
            OutputEnd {
                hda_id: slot.hda_id,
                dataset_id: slot.dataset_id,
                state: if fails {
                    DatasetState::Error
                } else {
                    DatasetState::Ok
                },
                file: facts(&slot.extension),
                visible: slot.visible,
                info: None,
                share: None,
            }
        });
        let outputs = outputs.collect();
        let collections = job.output_collections.iter().map(|slot| {
            let elements = (0..hash % 4).map(|n| {
                let dataset_id = self.store.ids.dataset();
                self.data
                    .write_dataset(dataset_id, format!("{made} {n}").as_bytes())
                    .expect("written");
                NewElement {
                    identifiers: vec![format!("n{n}")],
                    dataset: NewDataset {
                        hda_id: self.store.ids.hda(),
                        dataset_id,
                        name: format!("n{n}"),
                        visible: false,
                        file: facts("txt"),
                        output_name: format!("__new_primary_file_{}|n{n}__", slot.name),
                    },
                }
            });
            CollectionEnd {
                collection_id: slot.collection_id,
                collection_type: slot.collection_type.clone(),
                elements: (!fails).then(|| elements.collect()),
            }
        });
        JobEnd {
            job_id: id,
            state: if fails { JobState::Error } else { JobState::Ok },
            exit_code: Some(0),
            stdout: String::new(),
            stderr: String::new(),
            info: None,
            started_ms: Some(self.now),
            ended_ms: self.now,
            external_id: None,
            outputs,
            collections: collections.collect(),
            extra: Vec::new(),
            actions: Vec::new(),
        }
    }
}
