//! A step's parameters: normalising, validating, addressing.
use serde_json::Value;
use super::{Tool, model::When};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterError {
    /// Pipe path: `cond|rep_0|input1`.
    pub name: String,
    pub message: String,
}
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terminal {
    /// Pipe path: `cond|rep_0|input1`.
    pub name: String,
    pub label: String,
    pub kind: TerminalKind,
    pub optional: bool,
}
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TerminalKind {
    Dataset { extensions: Vec<String>, multiple: bool },
    /// No types means any.
    Collection { collection_types: Vec<String>, extensions: Vec<String> },
    /// Galaxy's word: integer, text, select ...
    Parameter { type_name: &'static str, multiple: bool },
}
/// Data and collection terminals of the active branches.
pub fn data_inputs(_tool: &Tool, _state: &Value) -> Vec<Terminal> { todo!() }
/// Every terminal of the active branches.
pub fn terminals(_tool: &Tool, _state: &Value) -> Vec<Terminal> { todo!() }
/// Every fault at once.
pub fn normalise_state(tool: &Tool, state: &Value) -> Result<Value, Vec<ParameterError>> {
    let (state, errors) = normalise_leniently(tool, state);
    if errors.is_empty() { Ok(state) } else { Err(errors) }
}
/// The same for a workflow step, whose data inputs may still be open: the best state and what is wrong with it.
pub fn normalise_leniently(_tool: &Tool, _state: &Value) -> (Value, Vec<ParameterError>) { todo!() }
pub fn get_path<'a>(_state: &'a Value, _path: &str) -> Option<&'a Value> { todo!() }
/// Creates repeat instances up to the index (bounded) and objects as needed; false if the path cannot exist.
pub fn set_path(_state: &mut Value, _path: &str, _value: Value) -> bool { todo!() }
/// Pipe path and value of every leaf.
pub fn flatten(_state: &Value) -> Vec<(String, Value)> { todo!() }
pub fn active_branch<'a>(_whens: &'a [When], _test_value: &Value) -> Option<&'a When> { todo!() }
/// `{"__class__": "ConnectedValue"}`.
pub fn is_connected(_value: &Value) -> bool { todo!() }
/// `{"__class__": "RuntimeValue"}`.
pub fn is_runtime(_value: &Value) -> bool { todo!() }
