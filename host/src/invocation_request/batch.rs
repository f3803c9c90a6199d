//! One request that asks for several runs: an input of the form `{"batch": true, "product": …, "values": […]}`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::RequestError;

/// A request asks for at most this many runs.
pub const RUNS_MAX: usize = 1_000;

/// One of the runs: the value of each step by order_index, and the values that are this run's own.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Expanded {
    pub values: BTreeMap<usize, Value>,
    pub varied: Vec<Value>,
}

/// Linked lists are walked side by side, then every combination with each `product` list is made.
pub fn expand(values: BTreeMap<usize, Value>) -> Result<Vec<Expanded>, RequestError> {
    let mut constant = BTreeMap::new();
    let mut linked: Vec<(usize, Vec<Value>)> = Vec::new();
    let mut product: Vec<(usize, Vec<Value>)> = Vec::new();
    for (index, value) in values {
        match batch_values(index, &value)? {
            None => drop(constant.insert(index, value)),
            Some((true, list)) => product.push((index, list)),
            Some((false, list)) => linked.push((index, list)),
        }
    }
    let mut runs = vec![Expanded {
        values: constant,
        varied: Vec::new(),
    }];
    if let Some((_, first)) = linked.first() {
        let length = first.len();
        if linked.iter().any(|(_, list)| list.len() != length) {
            return Err(RequestError::invalid(
                "The lists of inputs to run in a batch must be equally long.",
            ));
        }
        within(length)?;
        let base = runs.remove(0);
        runs = (0..length)
            .map(|at| {
                let mut run = base.clone();
                for (index, list) in &linked {
                    run.set(*index, list[at].clone());
                }
                run
            })
            .collect();
    }
    for (index, list) in product {
        within(runs.len().saturating_mul(list.len()))?;
        runs = runs
            .iter()
            .flat_map(|run| {
                list.iter().map(move |value| {
                    let mut run = run.clone();
                    run.set(index, value.clone());
                    run
                })
            })
            .collect();
    }
    Ok(runs)
}

impl Expanded {
    fn set(&mut self, index: usize, value: Value) {
        self.varied.push(value.clone());
        self.values.insert(index, value);
    }
}

fn within(runs: usize) -> Result<(), RequestError> {
    if runs > RUNS_MAX {
        return Err(RequestError::invalid(format!(
            "The request asks for {runs} runs; at most {RUNS_MAX} are taken at once."
        )));
    }
    Ok(())
}

/// (is product, values) of a batch input; None for any other value.
fn batch_values(index: usize, value: &Value) -> Result<Option<(bool, Vec<Value>)>, RequestError> {
    let is_true = |key: &str| value.get(key) == Some(&Value::Bool(true));
    if !is_true("batch") {
        return Ok(None);
    }
    match value.get("values") {
        Some(Value::Array(list)) => Ok(Some((is_true("product"), list.clone()))),
        _ => Err(RequestError::invalid(format!(
            "The batch of inputs for step {index} needs a list called values."
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn expanded(values: Value) -> Result<Vec<Vec<Value>>, RequestError> {
        let values = values.as_array().unwrap().clone();
        let runs = expand(values.into_iter().enumerate().collect())?;
        Ok(runs
            .into_iter()
            .map(|run| run.values.into_values().collect())
            .collect())
    }

    #[test]
    fn linked_lists_go_side_by_side_and_products_multiply() {
        let linked = |values: Value| json!({"batch": true, "values": values});
        let product = |values: Value| json!({"batch": true, "product": true, "values": values});
        assert_eq!(expanded(json!([1, 2])).unwrap(), [[json!(1), json!(2)]]);
        assert_eq!(
            expanded(json!([linked(json!([1, 2])), linked(json!([3, 4])), 9])).unwrap(),
            [[1, 3, 9].map(Value::from), [2, 4, 9].map(Value::from)]
        );
        assert_eq!(
            expanded(json!([linked(json!([1, 2])), product(json!([3, 4]))]))
                .unwrap()
                .len(),
            4
        );
        assert!(expanded(json!([linked(json!([1])), linked(json!([3, 4]))])).is_err());
        assert!(expanded(json!([{"batch": true}])).is_err());
        assert!(expanded(json!([linked(json!([]))])).unwrap().is_empty());
    }

    #[test]
    fn too_many_runs_are_refused_before_they_are_made() {
        let many: Vec<i32> = (0..1000).collect();
        let product = json!({"batch": true, "product": true, "values": many});
        assert!(expanded(json!([product, product, product])).is_err());
    }
}
