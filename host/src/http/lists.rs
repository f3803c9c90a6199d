//! Filters and orders of lists, from what clients write.

use super::error::ApiError;
use super::extract::{Params, parse_flag};
use super::time::parse_iso;
use crate::store::filter::{Field, Filter, FilterError, Readers, order_by};

const READERS: Readers = Readers {
    time: parse_iso,
    flag: parse_flag,
};

/// More filters than this are refused.
const FILTERS_MAX: usize = 50;

/// Adds the pairs `q=…&qv=…` to a filter.
pub fn add_q(filter: &mut Filter, fields: &[Field], params: &Params) -> Result<(), ApiError> {
    let keys: Vec<&str> = params.all("q").collect();
    let values: Vec<&str> = params.all("qv").collect();
    if keys.len() != values.len() {
        return Err(ApiError::invalid("Every q needs its qv."));
    }
    if keys.len() > FILTERS_MAX {
        return Err(ApiError::invalid(format!(
            "More than {FILTERS_MAX} filters."
        )));
    }
    for (key, value) in keys.into_iter().zip(values) {
        filter.add(fields, key, value, &READERS).map_err(refused)?;
    }
    Ok(())
}

/// Whether a `q` names this field.
pub fn asks_for(params: &Params, field: &str) -> bool {
    params
        .all("q")
        .any(|key| key.split('-').next() == Some(field))
}

/// The `ORDER BY` for the parameter `order`.
pub fn order(
    params: &Params,
    fields: &[Field],
    default: &str,
    tie: &str,
) -> Result<String, ApiError> {
    let text = params
        .text("order")
        .filter(|t| !t.is_empty())
        .unwrap_or(default);
    order_by(fields, text, tie).map_err(refused)
}

fn refused(error: FilterError) -> ApiError {
    ApiError::invalid(error.to_string())
}
