//! What may go in and be asked.

use am_core::{Code, Error, Result};

use super::score::norm;
use crate::limits::{self, MAX_DIMENSIONS, MAX_PART, bad};
use crate::model::{Metric, NewVector, VectorFault, VectorModel, VectorQuery};

/// The largest number in a vector: products of two, summed over all dimensions, stay finite.
pub const MAX_VALUE: f32 = 1e15;
/// The least norm that has a direction; the product of two still is a normal number.
const MIN_NORM: f64 = 1e-15;

fn fault_in(model: &VectorModel, values: &[f32]) -> Option<VectorFault> {
    if values.len() != model.dimensions as usize {
        return Some(VectorFault::Dimensions { got: values.len(), want: model.dimensions });
    }
    // Not a number is beyond every bound too.
    if let Some(at) = values.iter().position(|v| !(-MAX_VALUE..=MAX_VALUE).contains(v)) {
        return Some(VectorFault::Value { at });
    }
    (model.metric == Metric::Cosine && norm(values) < MIN_NORM).then_some(VectorFault::NoDirection)
}

/// Why a vector cannot be taken, before its reading is looked for.
pub fn fault_of(model: &VectorModel, v: &NewVector) -> Option<VectorFault> {
    if v.part > MAX_PART {
        return Some(VectorFault::Part(v.part));
    }
    fault_in(model, &v.values)
}

/// A question against its model; the rest of it is checked by [`limits::vectors`].
///
/// # Errors
/// `BAD_QUERY` says what is wrong with the vector.
pub fn query(model: &VectorModel, q: &VectorQuery) -> Result<()> {
    limits::vectors(q)?;
    match fault_in(model, &q.vector) {
        None => Ok(()),
        Some(f) => Err(bad(format!("{}: {f}", model.name))),
    }
}

/// A model that is to be made known.
///
/// # Errors
/// `BAD_QUERY` names what is out of range.
pub fn model(m: &VectorModel) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | '@');
    if !(1..=128).contains(&m.name.len()) || !m.name.chars().all(plain) {
        return Err(bad("a model's name has 1 to 128 letters, digits or any of . _ - / @"));
    }
    if m.version.len() > 128 || m.version.chars().any(char::is_control) {
        return Err(bad(format!("the version of {} has more than 128 bytes, or control characters", m.name)));
    }
    if !(1..=MAX_DIMENSIONS).contains(&m.dimensions) {
        return Err(bad(format!("{} has {} dimensions, expected 1 to {MAX_DIMENSIONS}", m.name, m.dimensions)));
    }
    Ok(())
}

/// Whether a model may be registered beside the one that has its name.
///
/// # Errors
/// `CLOCK_CONFLICT` when they differ.
pub fn same_model(held: &VectorModel, new: &VectorModel) -> Result<()> {
    if held == new {
        return Ok(());
    }
    let of = |m: &VectorModel| format!("{} dimensions, {}, version {:?}", m.dimensions, m.metric, m.version);
    let digest = if held.digest == new.digest { "" } else { " and from another file" };
    let text = format!("{} is there with {}, not with {}{digest}; register it under another name", held.name, of(held), of(new));
    Err(Error::new(Code::CLOCK_CONFLICT, text).op("store.register_model"))
}

/// The error for a model that nobody registered.
pub fn unknown_model(name: &str) -> Error {
    let shown: String = name.chars().take(128).collect();
    Error::new(Code::NOT_FOUND, format!("there is no model {shown:?}; register it first")).op("store.vectors")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_is_told_apart() {
        let cosine = VectorModel::new("m", 2, Metric::Cosine);
        let dot = VectorModel { metric: Metric::Dot, ..cosine.clone() };
        for (values, want) in [
            (vec![1.0], Some(VectorFault::Dimensions { got: 1, want: 2 })),
            (vec![1.0, f32::NAN], Some(VectorFault::Value { at: 1 })),
            (vec![f32::INFINITY, 0.0], Some(VectorFault::Value { at: 0 })),
            (vec![0.0, 1e16], Some(VectorFault::Value { at: 1 })),
            (vec![0.0, 0.0], Some(VectorFault::NoDirection)),
            (vec![0.0, 1.0], None),
        ] {
            assert_eq!(fault_in(&cosine, &values), want, "{values:?}");
        }
        assert_eq!(fault_in(&dot, &[0.0, 0.0]), None);
        assert!(VectorFault::Value { at: 1 }.to_string().contains("1e15"));
    }

    #[test]
    fn models_are_named_plainly_and_differ_by_name() {
        let m = VectorModel::new("org/mini@2", 384, Metric::Cosine);
        assert!(model(&m).is_ok());
        for name in ["", "a b", "ä", "x\0", &"n".repeat(129)] {
            assert!(model(&VectorModel { name: name.into(), ..m.clone() }).is_err(), "{name:?}");
        }
        assert!(model(&VectorModel { dimensions: 0, ..m.clone() }).is_err());
        assert!(same_model(&m, &m).is_ok());
        let e = same_model(&m, &m.clone().digest([1; 32])).unwrap_err();
        assert!(e.message().contains("another file"), "{e}");
    }
}
