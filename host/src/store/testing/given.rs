//! What tests put into a store by hand: datasets and collections in a history, requests for an invocation. It names this
//! crate as others do, so that integration tests can use the file as it is.
#![allow(dead_code, reason = "each test uses a part of it")]

use barycenter::args;
use barycenter::model::invocation::NewInvocation;
use barycenter::model::revision::Revision;
use barycenter::model::state::InvocationState;
use barycenter::store::files::DataDir;
use barycenter::store::{Durability, Store, Tx, histories, users};
use uuid::Uuid;

/// A request without inputs, for a workflow and all inside it. Nobody has it yet.
pub fn request(revision: &Revision, history_id: i64, user_id: i64) -> NewInvocation {
    let steps = revision.description.steps.iter();
    let states = steps.map(|s| (revision.step_ids[s.order_index], s.tool_inputs.clone()));
    let children = revision.subrevisions.iter().map(|(n, inner)| {
        let child = request(inner, history_id, user_id);
        (revision.step_ids[*n], child)
    });
    NewInvocation {
        uuid: Uuid::new_v4(),
        workflow_id: revision.id,
        history_id,
        user_id,
        state: InvocationState::New,
        scheduler: None,
        handler: None,
        on_complete: None,
        parameters: Vec::new(),
        step_states: states.collect(),
        input_datasets: Vec::new(),
        input_collections: Vec::new(),
        input_parameters: Vec::new(),
        children: children.collect(),
    }
}

/// A user and a history of theirs, by their ids.
pub async fn owner(store: &Store) -> (i64, i64) {
    let mut tx = store.begin().await.expect("begins");
    let user = users::create(&mut tx, "ada", "ada@example.org", None, false, 1).await;
    let user = user.expect("a user");
    let history = store.ids.history(&mut tx).await.expect("an id");
    let created = histories::create(&mut tx, history, user, "test", 1).await;
    created.expect("a history");
    stored(tx).await;
    (user, history)
}

async fn stored(tx: Tx) {
    let stored = tx.commit(Durability::Acknowledged, "test").await;
    stored.expect("commits");
}

/// A place of a collection.
pub enum Node<'a> {
    /// A dataset with this content.
    Dataset(&'a str),
    /// A collection of this type, with its elements by their identifiers.
    Inner(&'static str, Vec<(&'static str, Node<'a>)>),
}

/// A history that things are put into.
pub struct Contents<'a> {
    pub store: &'a Store,
    pub data: &'a DataDir,
    pub history: i64,
}

impl Contents<'_> {
    /// A dataset with this content, as item 1.
    pub async fn dataset(&self, content: &str) -> i64 {
        let mut tx = self.store.begin().await.expect("begins");
        let id = self.add_dataset(&mut tx, content).await;
        stored(tx).await;
        id
    }

    async fn add_dataset(&self, tx: &mut Tx, content: &str) -> i64 {
        let (id, dataset) = (self.store.ids.hda(), self.store.ids.dataset());
        let written = self.data.write_dataset(dataset, content.as_bytes());
        written.expect("written");
        tx.run(
            "INSERT INTO dataset (id, uuid, state, file_size, create_time, update_time) VALUES ($1, $2, 'ok', 1, 1, 1)",
            args![dataset, Uuid::new_v4()],
        )
        .await
        .expect("a dataset");
        tx.run(
            "INSERT INTO history_dataset_association (id, history_id, dataset_id, hid, name, extension, create_time, update_time)
             VALUES ($1, $2, $3, 1, 'in.txt', 'txt', 1, 1)",
            args![id, self.history, dataset],
        )
        .await
        .expect("an hda");
        id
    }

    /// A list with these contents, as item 2; its identifiers are e0, e1 and so on.
    pub async fn list(&self, contents: &[&str]) -> i64 {
        let nodes = contents.iter().enumerate();
        let nodes = nodes.map(|(n, content)| (format!("e{n}"), Node::Dataset(content)));
        self.collection("list", "list", nodes.collect()).await
    }

    /// A collection of any type, as item 2.
    pub async fn collection(
        &self,
        name: &str,
        collection_type: &str,
        of: Vec<(String, Node<'_>)>,
    ) -> i64 {
        let mut tx = self.store.begin().await.expect("begins");
        let collection = self.add_collection(&mut tx, collection_type, of).await;
        let hdca = self.store.ids.hdca();
        tx.run(
            "INSERT INTO history_dataset_collection_association (id, collection_id, history_id, hid, name, create_time, update_time)
             VALUES ($1, $2, $3, 2, $4, 1, 1)",
            args![hdca, collection, self.history, name],
        )
        .await
        .expect("an hdca");
        stored(tx).await;
        hdca
    }

    async fn add_collection(
        &self,
        tx: &mut Tx,
        collection_type: &str,
        of: Vec<(String, Node<'_>)>,
    ) -> i64 {
        let id = self.store.ids.collection();
        tx.run(
            "INSERT INTO dataset_collection (id, collection_type, populated_state, element_count, create_time, update_time)
             VALUES ($1, $2, 'ok', $3, 1, 1)",
            args![id, collection_type, of.len()],
        )
        .await
        .expect("a collection");
        for (n, (identifier, node)) in of.into_iter().enumerate() {
            let (hda, child) = match node {
                Node::Dataset(content) => (Some(self.add_dataset(tx, content).await), None),
                Node::Inner(inner, of) => {
                    let of = of.into_iter().map(|(name, node)| (name.to_owned(), node));
                    let child = Box::pin(self.add_collection(tx, inner, of.collect())).await;
                    (None, Some(child))
                }
            };
            tx.run(
                "INSERT INTO dataset_collection_element (id, dataset_collection_id, hda_id, child_collection_id, element_index, element_identifier)
                 VALUES ($1, $2, $3, $4, $5, $6)",
                args![self.store.ids.element(), id, hda, child, n, identifier],
            )
            .await
            .expect("an element");
        }
        id
    }
}
