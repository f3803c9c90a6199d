//! Workflows: revisions, which are immutable, and the stored workflows that collect them.

mod cache;
mod list;
mod load;
mod save;
mod stored;

pub use cache::RevisionCache;
pub use list::{ListQuery, Listed, SortBy, list};
pub use load::load_revision;
pub use save::{add_revision, create_stored_workflow, save_revision, save_revisions};
pub use stored::{
    Attributes, StoredWorkflow, Version, by_id, by_revision, by_uuid, counts, is_shared_with,
    revision_at, set_attributes, share_with, shared_with, slug_taken, versions,
};

#[cfg(test)]
mod tests;
