//! The tools there are.
use std::{path::PathBuf, sync::Arc};
use super::Tool;
#[derive(Debug, Clone)]
pub struct Found { pub tool: Arc<Tool>, /** Whether the version asked for is the one found. */ pub exact: bool }
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolFault { pub path: PathBuf, pub message: String }
pub struct Toolbox {}
impl Toolbox {
    /// The stock tools and those of `directories`; broken files are reported by `faults`.
    pub fn new(_directories: Vec<PathBuf>) -> Toolbox { todo!() }
    /// The exact version if it is there, else the newest.
    pub fn get(&self, _id: &str, _version: Option<&str>) -> Option<Found> { todo!() }
    /// Newest version of every visible tool, by name of file and panel order.
    pub fn list(&self) -> Vec<Arc<Tool>> { todo!() }
    pub fn faults(&self) -> Vec<ToolFault> { todo!() }
    pub fn reload(&self) { todo!() }
    pub fn insert_dynamic(&self, _uuid: uuid::Uuid, _tool: Tool) -> Arc<Tool> { todo!() }
    pub fn get_dynamic(&self, _uuid: &uuid::Uuid) -> Option<Arc<Tool>> { todo!() }
    pub fn remove_dynamic(&self, _uuid: &uuid::Uuid) -> bool { todo!() }
}
