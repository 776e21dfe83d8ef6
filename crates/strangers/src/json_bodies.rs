//! Bodies of the calls that take JSON alone.

use serde_json::Value;
use settings_api::parsers;

use crate::bounds::within;
use crate::queries::now;

/// Memory, in bytes for each of the body's: a list of empty texts is the most costly one.
const MULTIPLE: usize = 100;

/// Every refusal is the client's fault, and nothing that has a NUL in it is taken, for which
/// the database has no place.
pub(crate) fn check(input: &[u8]) {
    let taken = within(input.len(), MULTIPLE, || parsers::json_bodies(input, now()));
    let taken = taken.unwrap_or_else(|status| panic!("{status} is no refusal of a client"));
    if let Ok(value) = serde_json::from_slice::<Value>(input)
        && has_nul(&value)
    {
        assert_eq!(taken, 0, "a NUL is taken");
    }
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(values) => values.iter().any(has_nul),
        Value::Object(fields) => {
            fields.iter().any(|(name, value)| name.contains('\0') || has_nul(value))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}
