//! Where derived readings come from.

use am_core::{DeviceId, ReadingId, Timestamp};
use prost_types::Timestamp as Pb;

use crate::{Kind, Reading, ReadingRef, v1};

/// The most inputs that a lineage names one by one.
const MAX_INPUTS: usize = 64;

/// Which processor, in which version, configuration and with which model.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ProcessorIdentity {
    /// Its name in the registry, such as `motion.activity`.
    pub name: String,
    /// Its version; a change re-derives.
    pub version: String,
    /// BLAKE3 of its canonical configuration.
    pub config_digest: [u8; 32],
    /// BLAKE3 of its model's file, if it has one.
    pub model_digest: Option<[u8; 32]>,
}

impl ProcessorIdentity {
    /// A processor without a model; `config` is its canonical configuration text.
    pub fn new(name: impl Into<String>, version: impl Into<String>, config: &str) -> Self {
        ProcessorIdentity {
            name: name.into(),
            version: version.into(),
            config_digest: *blake3::hash(config.as_bytes()).as_bytes(),
            model_digest: None,
        }
    }
}

/// The inputs of one derived reading, in order.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    keys: Vec<ReadingRef>,
    lookups: Vec<v1::LineageLookup>,
    span: Option<(Timestamp, Timestamp)>,
    generation: u32,
}

impl Inputs {
    /// Of readings.
    pub fn of<'a>(readings: impl IntoIterator<Item = &'a Reading>) -> Self {
        Inputs { keys: readings.into_iter().map(Reading::reference).collect(), ..Default::default() }
    }

    /// Of names of readings.
    pub fn of_refs(keys: impl IntoIterator<Item = ReadingRef>) -> Self {
        Inputs { keys: keys.into_iter().collect(), ..Default::default() }
    }

    /// The span of input time that decides the slot, where it is not simply that of the inputs: a window's bounds.
    #[must_use]
    pub fn span(mut self, from: Timestamp, to: Timestamp) -> Self {
        self.span = Some((from, to));
        self
    }

    /// How many times the slot was derived before; newer ones are read.
    #[must_use]
    pub fn generation(mut self, n: u32) -> Self {
        self.generation = n;
        self
    }

    /// Records a question to the history and the digest of its answer.
    #[must_use]
    pub fn lookup(mut self, what: impl Into<String>, at: Timestamp, answer: &[u8]) -> Self {
        self.lookups.push(v1::LineageLookup { what: what.into(), at: Some(pb(at)), digest: blake3::hash(answer).as_bytes().to_vec() });
        self
    }

    /// The lineage message and the derived id: UUIDv8 of BLAKE3(processor, version, digests, input keys, output kind, ordinal).
    pub(crate) fn into_lineage(self, p: &ProcessorIdentity, kind: Kind, device: &DeviceId, ordinal: u32) -> (v1::Lineage, ReadingId) {
        let mut h = blake3::Hasher::new_derive_key("am 2026 derived reading id v1");
        let mut part = |b: &[u8]| {
            h.update(&(b.len() as u64).to_le_bytes());
            h.update(b);
        };
        part(p.name.as_bytes());
        part(p.version.as_bytes());
        part(&p.config_digest);
        part(p.model_digest.as_ref().map(|d| d.as_slice()).unwrap_or_default());
        part(kind.topic().as_bytes());
        part(device.as_str().as_bytes());
        for k in &self.keys {
            key_parts(k, &mut part);
        }
        let span = self.span.or_else(|| {
            let from = self.keys.iter().map(|k| k.recorded_at).min()?;
            let to = self.keys.iter().map(|k| k.recorded_at).max()?;
            Some((from, to))
        });
        if let Some((from, to)) = self.span {
            part(&from.as_nanos().to_le_bytes());
            part(&to.as_nanos().to_le_bytes());
        }
        part(&ordinal.to_le_bytes());
        let id = ReadingId::v8_from(h.finalize().as_bytes());

        let mut s = blake3::Hasher::new_derive_key("am 2026 derived slot v1");
        for b in [p.name.as_bytes(), kind.topic().as_bytes(), device.as_str().as_bytes()] {
            s.update(&(b.len() as u64).to_le_bytes());
            s.update(b);
        }
        if let Some((from, to)) = span {
            s.update(&from.as_nanos().to_le_bytes());
            s.update(&to.as_nanos().to_le_bytes());
        }
        s.update(&ordinal.to_le_bytes());
        let slot = s.finalize().as_bytes()[..16].to_vec();

        let lineage = v1::Lineage {
            processor: p.name.clone(),
            version: p.version.clone(),
            config_digest: p.config_digest.to_vec(),
            model_digest: p.model_digest.map(|d| d.to_vec()).unwrap_or_default(),
            inputs: summarise(&self.keys),
            lookups: self.lookups,
            ordinal,
            slot,
            generation: self.generation,
        };
        (lineage, id)
    }
}

fn key_parts(k: &ReadingRef, part: &mut impl FnMut(&[u8])) {
    part(k.kind.topic().as_bytes());
    part(k.device.as_str().as_bytes());
    part(&k.recorded_at.as_nanos().to_le_bytes());
    part(k.id.as_bytes());
}

fn pb(t: Timestamp) -> Pb {
    Pb { seconds: t.as_second(), nanos: t.subsec_nanos() }
}

/// Up to 64 keys one by one; otherwise one span per device and kind.
fn summarise(keys: &[ReadingRef]) -> Vec<v1::LineageInput> {
    if keys.len() <= MAX_INPUTS {
        return keys
            .iter()
            .map(|k| v1::LineageInput {
                device_id: k.device.as_str().into(),
                kind: k.kind.topic().into(),
                from: Some(pb(k.recorded_at)),
                reading_id: k.id.as_bytes().to_vec(),
                ..Default::default()
            })
            .collect();
    }
    let mut spans: std::collections::BTreeMap<(&DeviceId, Kind), (Timestamp, Timestamp, u64, blake3::Hasher)> = Default::default();
    for k in keys {
        let e = spans.entry((&k.device, k.kind)).or_insert_with(|| (k.recorded_at, k.recorded_at, 0, blake3::Hasher::new()));
        e.0 = e.0.min(k.recorded_at);
        e.1 = e.1.max(k.recorded_at);
        e.2 += 1;
        e.3.update(&k.recorded_at.as_nanos().to_le_bytes());
        e.3.update(k.id.as_bytes());
    }
    spans
        .into_iter()
        .map(|((device, kind), (from, to, count, digest))| v1::LineageInput {
            device_id: device.as_str().into(),
            kind: kind.topic().into(),
            from: Some(pb(from)),
            to: Some(pb(to.shifted(1))),
            count,
            digest: digest.finalize().as_bytes().to_vec(),
            ..Default::default()
        })
        .collect()
}
