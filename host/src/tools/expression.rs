//! Evaluating templates and JavaScript.
use std::time::Duration;
use serde_json::Value;
use thiserror::Error;
use super::template::Template;

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ExpressionError {
    #[error("the expression {expression} failed: {message}")]
    Failed { expression: String, message: String },
    #[error("the expression {expression} did not finish within {} ms", limit.as_millis())]
    TooSlow { expression: String, limit: Duration },
    #[error("the expression {expression} needs more than {limit_mb} MiB of memory")]
    TooLarge { expression: String, limit_mb: usize },
    #[error("the JavaScript engine did not start: {0}")]
    Engine(String),
    #[error("{0}")]
    Unfinished(#[from] super::template::UnfinishedExpression),
}

#[derive(Debug, Clone, Copy)]
pub struct Limits { pub time: Duration, pub memory_bytes: usize, pub stack_bytes: usize }

/// The names in scope.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> { pub inputs: &'a Value, pub runtime: &'a Value, pub library: &'a [String] }

/// Evaluates the expressions of one job.
pub struct Evaluator<'a> { scope: Scope<'a>, limits: Limits }
impl<'a> Evaluator<'a> {
    pub fn new(scope: Scope<'a>, limits: Limits) -> Self { Evaluator { scope, limits } }
    /// The value of a whole-text expression as it is, else text.
    pub fn value(&mut self, _template: &Template) -> Result<Value, ExpressionError> { let _ = (&self.scope, &self.limits); todo!() }
    pub fn text(&mut self, _template: &Template) -> Result<String, ExpressionError> { todo!() }
}
/// A step's `when`.
pub fn evaluate_when(_expression: &str, _inputs: &Value) -> Result<Value, ExpressionError> { todo!() }
/// An expression tool's body, which returns an object with one key per output.
pub fn evaluate_expression_tool(_script: &str, _inputs: &Value, _library: &[String]) -> Result<serde_json::Map<String, Value>, ExpressionError> { todo!() }
