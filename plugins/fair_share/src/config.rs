//! The plugin's options.

use serde::Deserialize;
use std::collections::BTreeMap;

/// As `plugins.toml` has them; the schema has checked the ranges.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// By user name or e-mail address.
    pub weights: BTreeMap<String, f64>,
    /// Of everybody else.
    pub default_weight: f64,
    /// After this time, what somebody used counts half.
    pub half_life_seconds: f64,
    /// Who has waited so long for a job to start comes next, whatever their share.
    pub patience_seconds: f64,
    /// By user name or e-mail address.
    pub running_jobs_max: BTreeMap<String, u64>,
    /// Of everybody else; none: no limit.
    pub default_running_jobs_max: Option<u64>,
    /// Galaxy's option of the same name.
    pub maximum_workflow_jobs_per_scheduling_iteration: i64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            weights: BTreeMap::new(),
            default_weight: 1.0,
            half_life_seconds: 1800.0,
            patience_seconds: 60.0,
            running_jobs_max: BTreeMap::new(),
            default_running_jobs_max: None,
            maximum_workflow_jobs_per_scheduling_iteration: 1000,
        }
    }
}

impl Config {
    /// What somebody with these names weighs.
    pub fn weight(&self, names: [&str; 2]) -> f64 {
        let named = names.into_iter().find_map(|name| self.weights.get(name));
        named.copied().unwrap_or(self.default_weight)
    }

    /// How many jobs of somebody with these names may run at once.
    pub fn running_max(&self, names: [&str; 2]) -> Option<u64> {
        let named = names
            .into_iter()
            .find_map(|name| self.running_jobs_max.get(name));
        named.copied().or(self.default_running_jobs_max)
    }
}
