//! Readings of every kind, made from the shape tables.

use am_core::{DeviceId, ReadingId, Timestamp};
use am_schema::spec::{Card, FieldType, MessageSpec};
use am_schema::{Inputs, Kind, ProcessorIdentity, Reading, Rejected, block, v1, wire};

/// A small seeded generator of numbers (SplitMix64; Steele, Lea and Flood, 2014): the same seed gives the same readings.
#[derive(Debug, Clone)]
pub struct Seeded(u64);

impl Seeded {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Seeded(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.number() % n.max(1)
    }

    /// A number from 0 to 1.
    pub fn unit(&mut self) -> f64 {
        (self.number() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Puts a list in another order.
    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for i in (1..list.len()).rev() {
            list.swap(i, self.below(i as u64 + 1) as usize);
        }
    }
}

/// A valid reading of a kind with its fields filled in; the same seed gives the same one.
///
/// # Errors
/// The rules it breaks, for a kind whose rules the generator does not know.
pub fn filled(kind: Kind, device: &DeviceId, at: Timestamp, seed: u64) -> Result<Reading, Rejected> {
    let payload = match kind.message().name {
        "SampleBlock" => samples(kind, seed),
        "Quantity" if kind.scalar().is_none() => {
            prost::Message::encode_to_vec(&v1::Quantity { value: 37.0, code: "body_temperature".into(), ..Default::default() })
        }
        _ => {
            let mut g = Generator { kind, at, seeded: Seeded::new(seed), required_only: false };
            let all = g.message(kind.message(), "", 0);
            // Rules over several fields may refuse what is merely filled in; then only what must be there is.
            match build(kind, device, at, all.clone(), seed) {
                Ok(r) => return Ok(r),
                Err(_) => {
                    g.required_only = true;
                    g.message(kind.message(), "", 0)
                }
            }
        }
    };
    build(kind, device, at, payload, seed)
}

fn build(kind: Kind, device: &DeviceId, at: Timestamp, payload: Vec<u8>, seed: u64) -> Result<Reading, Rejected> {
    let mut b = Reading::builder(kind, device.clone(), at).payload_bytes(payload).metadata("seed", &seed.to_string());
    if kind.needs_span() {
        b = b.ended_at(Timestamp::from_nanos(at.as_nanos().saturating_add(60_000_000_000)));
    }
    if kind.stage().is_derived() {
        let input = am_schema::ReadingRef { device: device.clone(), kind, recorded_at: at, id: ReadingId::from_bytes([seed as u8; 16]) };
        b = b.derived_from(&ProcessorIdentity::new("kit.fill", "1", ""), Inputs::of_refs([input]), seed as u32);
    }
    b.build()
}

fn samples(kind: Kind, seed: u64) -> Vec<u8> {
    let (channels, unit) = kind.signal().map_or((&[][..], ""), |s| (s.channels, s.unit));
    let names: Vec<&str> = if channels.is_empty() { vec!["c1"] } else { channels.to_vec() };
    let mut seeded = Seeded::new(seed);
    let data: Vec<Vec<f32>> = names.iter().map(|_| (0..64).map(|_| (seeded.unit() * 8.0 - 4.0) as f32).collect()).collect();
    let borrowed: Vec<block::Samples<'_>> = data.iter().map(|d| block::Samples::F32(d)).collect();
    let block = v1::SampleBlock {
        period_ns: 20_000_000,
        count: 64,
        channels: names.iter().map(|n| v1::Channel { name: (*n).into(), unit: unit.into(), scale: 0.0 }).collect(),
        encoding: u32::from(block::ENCODING),
        data: block::encode(None, &borrowed).unwrap_or_default().into(),
    };
    prost::Message::encode_to_vec(&block)
}

struct Generator {
    kind: Kind,
    at: Timestamp,
    seeded: Seeded,
    required_only: bool,
}

impl Generator {
    fn wanted(&self, path: &str) -> bool {
        let inside = |p: &String| p == path || p.starts_with(&format!("{path}."));
        let needed = self.kind.required_names().iter().any(inside) || self.kind.one_of_names().first().is_some_and(inside);
        // What is absent counts as 0.
        let not_zero = self.kind.bounds().iter().any(|b| b.path == path && b.min > 0.0);
        needed
            || not_zero
            || !self.required_only
            || self.kind.text_names().iter().any(inside)
            || self.kind.scalar().is_some_and(|s| inside(&s.path))
    }

    fn message(&mut self, spec: &'static MessageSpec, prefix: &str, depth: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let mut groups: Vec<&str> = Vec::new();
        for f in spec.fields {
            let path = if prefix.is_empty() { f.name.to_owned() } else { format!("{prefix}.{}", f.name) };
            if depth > 3 || !(self.wanted(&path) || depth > 0 && self.required_only && self.wanted(prefix)) {
                continue;
            }
            if let Card::OneOf(group) = f.card {
                if groups.contains(&group) {
                    continue;
                }
                groups.push(group);
            }
            let number = self.number(&path);
            match f.ty {
                FieldType::Message(m) => {
                    let inner = match m().name {
                        "SampleBlock" => samples(self.kind, self.seeded.number()),
                        _ => self.message(m(), &path, depth + 1),
                    };
                    wire::put_len(&mut out, f.number, &inner);
                }
                FieldType::Timestamp => {
                    let later = if matches!(f.name, "to" | "end" | "until") { 30_000_000_000 } else { 0 };
                    wire::put_timestamp(&mut out, f.number, Timestamp::from_nanos(self.at.as_nanos().saturating_add(later)));
                }
                FieldType::String => wire::put_len(&mut out, f.number, self.text(f.name).as_bytes()),
                FieldType::Bytes => wire::put_len(&mut out, f.number, &blob(f.name)),
                FieldType::StringMap => {
                    let mut entry = Vec::new();
                    wire::put_len(&mut entry, 1, b"key");
                    wire::put_len(&mut entry, 2, b"value");
                    wire::put_len(&mut out, f.number, &entry);
                }
                FieldType::Enum(e) => wire::put_int(&mut out, f.number, e.values.iter().map(|v| v.0).find(|v| *v > 0).unwrap_or(0) as u64),
                FieldType::Bool => wire::put_int(&mut out, f.number, 1),
                FieldType::Double => fixed64(&mut out, f.number, number.to_bits()),
                FieldType::Float => fixed32(&mut out, f.number, (number as f32).to_bits()),
                FieldType::Fixed64 => fixed64(&mut out, f.number, number as u64),
                FieldType::Sfixed64 => fixed64(&mut out, f.number, number as i64 as u64),
                FieldType::Fixed32 => fixed32(&mut out, f.number, number as u32),
                FieldType::Sfixed32 => fixed32(&mut out, f.number, number as i32 as u32),
                FieldType::Sint32 | FieldType::Sint64 => {
                    let v = number as i64;
                    wire::put_int(&mut out, f.number, ((v << 1) ^ (v >> 63)) as u64);
                }
                FieldType::Int32 | FieldType::Int64 | FieldType::Uint32 | FieldType::Uint64 => {
                    wire::put_int(&mut out, f.number, number as i64 as u64);
                }
            }
        }
        out
    }

    fn number(&mut self, path: &str) -> f64 {
        if path.ends_with("dimensions") {
            return 1.0;
        }
        let (min, max) = self.kind.bounds().iter().find(|b| b.path == path).map_or((1.0, 2.0), |b| (b.min, b.max));
        let (min, max) = (min.max(-1e6), max.min(min.max(-1e6) + 100.0));
        (min + (max - min) * (0.25 + self.seeded.unit() / 2.0)).floor().clamp(min, max)
    }

    fn text(&mut self, name: &str) -> String {
        match name {
            "url" => format!("https://example.org/{}", self.seeded.below(1_000)),
            "topic" | "left" | "right" | "kind" => "device.health.heartrate.raw".into(),
            "mime" => "image/png".into(),
            "address" | "bssid" | "mac" => "00:11:22:33:44:55".into(),
            "language" => "en".into(),
            n if n.ends_with("_id") => format!("id-{}", self.seeded.below(1_000_000)),
            n => format!("{n} {}", ["river", "garden", "letter", "winter", "music"].get(self.seeded.below(5) as usize).unwrap_or(&"word")),
        }
    }
}

fn blob(name: &str) -> Vec<u8> {
    let n = if name.contains("digest") { 32 } else { 16 };
    vec![7; n]
}

fn fixed64(out: &mut Vec<u8>, number: u32, v: u64) {
    wire::put_varint(out, u64::from(number) << 3 | 1);
    out.extend(v.to_le_bytes());
}

fn fixed32(out: &mut Vec<u8>, number: u32, v: u32) {
    wire::put_varint(out, u64::from(number) << 3 | 5);
    out.extend(v.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use am_schema::Catalogue;

    #[test]
    fn every_kind_of_the_catalogue_can_be_made() {
        let device = DeviceId::new("phone").unwrap();
        let mut broken = Vec::new();
        for kind in Catalogue::builtin().kinds() {
            for seed in 0..4 {
                match filled(kind, &device, Timestamp::from_second(1_772_323_200), seed) {
                    Ok(r) => assert!(!r.payload_bytes().is_empty(), "{kind} has an empty payload"),
                    Err(e) => broken.push(format!("{kind}: {e}")),
                }
            }
        }
        assert!(broken.is_empty(), "{}", broken.join("\n"));
    }
}
