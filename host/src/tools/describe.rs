//! Galaxy's JSON about a tool.
use serde_json::Value;
use super::Tool;
/// An entry of `GET /api/tools?in_panel=false`.
pub fn summary(_tool: &Tool) -> Value { todo!() }
/// `GET /api/tools/{id}?io_details=true`.
pub fn io_details(_tool: &Tool) -> Value { todo!() }
