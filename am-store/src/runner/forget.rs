//! Which states an erasure reaches.

use am_core::Scope;
use am_schema::Kind;

use crate::model::Predicate;

/// The keys of states that may hold something of what was erased, see `Lane::state_key`. Rather too many than too few.
pub(super) fn reached<'a>(keys: impl Iterator<Item = &'a String>, scope: &Scope, erased: &Predicate, inputs: &[Kind]) -> Vec<String> {
    let whose = |key: &&String| {
        let mut parts = key.splitn(4, ' ');
        let (tenant, user, device) = (parts.next(), parts.next(), parts.next().unwrap_or_default());
        tenant == Some(scope.tenant().as_str()) && user == Some(scope.user().as_str()) && may_match(erased, device, inputs)
    };
    let mut found: Vec<String> = keys.filter(whose).cloned().collect();
    found.sort();
    found
}

/// Whether a reading of the device and one of the kinds could match; an empty device stands for any.
fn may_match(p: &Predicate, device: &str, inputs: &[Kind]) -> bool {
    match p {
        Predicate::Device(list) => device.is_empty() || list.iter().any(|d| d.as_str() == device),
        Predicate::Kind(list) => list.iter().any(|k| inputs.contains(k)),
        Predicate::And(list) => list.iter().all(|p| may_match(p, device, inputs)),
        Predicate::Or(list) => list.iter().any(|p| may_match(p, device, inputs)),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use am_core::DeviceId;

    #[test]
    fn an_erasure_reaches_the_states_of_its_person_and_device_only() {
        let keys: Vec<String> = ["a b watch p", "a b phone p", "a b  q", "a c watch p"].map(str::to_owned).to_vec();
        let scope = Scope::new("a", "b").unwrap();
        let of = |p: &Predicate| reached(keys.iter(), &scope, p, &[]);
        let watch = Predicate::Device(vec![DeviceId::new("watch").unwrap()]);
        assert_eq!(of(&watch), ["a b  q", "a b watch p"]);
        assert_eq!(of(&Predicate::Not(Box::new(watch.clone()))), ["a b  q", "a b phone p", "a b watch p"]);
        assert!(of(&Predicate::And(vec![watch, Predicate::Kind(Vec::new())])).is_empty());
    }
}
