//! FIT, message by message.
//!
//! Records become positions, heart rates and temperatures; monitoring messages heart rates; `hrv` messages RR intervals. Kinds of messages
//! that have no kind of reading are counted and named. Profile: "FIT SDK", Garmin.

use std::collections::{BTreeMap, VecDeque};
use std::io::Read;

use am_core::{DeviceId, Timestamp};
use am_schema::{Kind, Reading, v1};
use fitparser::de::{FitObject, FitStreamProcessor};
use fitparser::profile::MesgNum;
use fitparser::{FitDataField, FitDataRecord, Value};

use crate::imported::{ImportOptions, Imported, Importer, Skip};

/// Degrees per semicircle.
const SEMICIRCLE: f64 = 180.0 / 2_147_483_648.0;

/// Reads one FIT file. The parser wants it whole, so larger files than [`ImportOptions::max_whole_file`] are refused.
pub struct FitImport {
    file: String,
    bytes: Vec<u8>,
    at: usize,
    parser: FitStreamProcessor,
    options: ImportOptions,
    device: Option<DeviceId>,
    last_time: Option<Timestamp>,
    messages: u64,
    unused: BTreeMap<String, u64>,
    ready: VecDeque<Imported>,
    over: bool,
    header_next: bool,
}

impl FitImport {
    /// Begins a file; `name` is what reports call it.
    pub fn new(name: &str, input: impl Read, options: &ImportOptions) -> Self {
        let mut bytes = Vec::new();
        let mut ready = VecDeque::new();
        let skip = |reason: String| Imported::Skipped(Skip { file: name.into(), place: String::new(), reason });
        let mut over = false;
        match input.take(options.max_whole_file + 1).read_to_end(&mut bytes) {
            Ok(n) if n as u64 > options.max_whole_file => {
                ready.push_back(skip(format!("a FIT file larger than {} bytes", options.max_whole_file)));
                over = true;
            }
            Ok(_) => {}
            Err(e) => {
                ready.push_back(skip(format!("cannot be read: {e}")));
                over = true;
            }
        }
        FitImport {
            file: name.into(),
            bytes,
            at: 0,
            parser: FitStreamProcessor::new(),
            options: options.clone(),
            device: options.device.clone(),
            last_time: None,
            messages: 0,
            unused: BTreeMap::new(),
            ready,
            over,
            header_next: true,
        }
    }

    fn skip(&mut self, place: String, reason: impl Into<String>) {
        self.ready.push_back(Imported::Skipped(Skip { file: self.file.clone(), place, reason: reason.into() }));
    }

    fn step(&mut self) {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        if rest.is_empty() {
            return self.finish();
        }
        // The parser trusts the header's own size.
        if self.header_next && !matches!(rest.first(), Some(12 | 14)) {
            let place = format!("byte {} of {}", self.at, self.bytes.len());
            self.skip(place, "not FIT: no header where one should be");
            return self.finish();
        }
        let parser = &mut self.parser;
        let (left, object) = match guarded(|| parser.deserialize_next(rest).map(|(left, o)| (left.len(), o)).map_err(|e| e.to_string())) {
            Ok(x) => x,
            Err(e) => {
                let place = format!("byte {} of {}", self.at, self.bytes.len());
                let reason = match rest.len() < 64 || e.contains("Eof") {
                    true => "the file ends in the middle".to_owned(),
                    false => format!("not FIT: {}", first_line(&e)),
                };
                self.skip(place, reason);
                return self.finish();
            }
        };
        self.at = self.bytes.len() - left;
        self.header_next = matches!(object, FitObject::Crc(_));
        if let FitObject::DataMessage(m) = object {
            self.messages += 1;
            let parser = &mut self.parser;
            match guarded(|| parser.decode_message(m).map_err(|e| e.to_string())) {
                Ok(record) => self.message(&record),
                Err(e) => {
                    let place = format!("message {}", self.messages);
                    self.skip(place, format!("a message that cannot be decoded: {}", first_line(&e)));
                }
            }
        }
    }

    fn finish(&mut self) {
        self.over = true;
        for (name, n) in std::mem::take(&mut self.unused) {
            self.skip(format!("{n} messages"), format!("{name} messages have no kind of reading"));
        }
    }

    fn message(&mut self, m: &FitDataRecord) {
        let f = Fields(m.fields());
        if let Some(t) = f.time("timestamp") {
            self.last_time = Some(t);
        }
        match m.kind() {
            MesgNum::FileId => {
                if self.device.is_none() {
                    let text = |n| f.text(n).unwrap_or_default();
                    let slug: String = format!("fit-{}-{}", text("manufacturer"), text("serial_number"))
                        .chars()
                        .map(|c| if c.is_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
                        .take(80)
                        .collect();
                    self.device = DeviceId::new(slug.trim_matches('-')).ok();
                }
            }
            MesgNum::Record => self.record(&f),
            MesgNum::Monitoring => self.monitoring(&f),
            MesgNum::Hrv => self.hrv(&f),
            other => *self.unused.entry(format!("{other:?}")).or_default() += 1,
        }
    }

    fn record(&mut self, f: &Fields<'_>) {
        let place = format!("message {}", self.messages);
        let Some(time) = f.time("timestamp") else { return self.skip(place, "a record without timestamp") };
        let mut used = false;
        if let (Some(lat), Some(lon)) = (f.number("position_lat"), f.number("position_long")) {
            let gps = v1::Gps {
                latitude: lat * SEMICIRCLE,
                longitude: lon * SEMICIRCLE,
                altitude: f.number("enhanced_altitude").or_else(|| f.number("altitude")),
                speed: f.number("enhanced_speed").or_else(|| f.number("speed")).map(|v| v as f32),
                accuracy: f.number("gps_accuracy").map(|v| v as f32),
                provider: "fit".into(),
                ..Default::default()
            };
            self.emit("device.sensor.gps.raw", time, &gps, &place);
            used = true;
        }
        if let Some(bpm) = f.number("heart_rate") {
            self.heart_rate(time, bpm, &place);
            used = true;
        }
        if let Some(value) = f.number("temperature") {
            self.emit("device.sensor.temperature.raw", time, &v1::Quantity { value, ..Default::default() }, &place);
            used = true;
        }
        if !used {
            self.skip(place, "a record without position, heart rate or temperature");
        }
    }

    /// Monitoring messages carry a 16-bit time that counts on from the last full one ("FIT SDK", monitoring files).
    fn monitoring(&mut self, f: &Fields<'_>) {
        let place = format!("message {}", self.messages);
        let short = f.number("timestamp_16");
        let time = match (f.time("timestamp"), short, self.last_time) {
            (Some(t), _, _) => t,
            (None, Some(low), Some(last)) => {
                const FIT_EPOCH: i64 = 631_065_600;
                let base = last.as_second() - FIT_EPOCH;
                let step = (low as i64 - base).rem_euclid(65_536);
                let t = Timestamp::from_second(last.as_second() + step);
                self.last_time = Some(t);
                t
            }
            _ => return self.skip(place, "a monitoring message without time"),
        };
        match f.number("heart_rate") {
            Some(bpm) => self.heart_rate(time, bpm, &place),
            None => *self.unused.entry("Monitoring (without heart rate)".into()).or_default() += 1,
        }
    }

    fn hrv(&mut self, f: &Fields<'_>) {
        let place = format!("message {}", self.messages);
        let Some(time) = self.last_time else { return self.skip(place, "RR intervals before the first time") };
        let ms: Vec<f32> = f.numbers("time").into_iter().map(|s| (s * 1_000.0) as f32).collect();
        if !ms.is_empty() {
            self.emit("device.health.rr_interval.raw", time, &v1::RrIntervals { ms }, &place);
        }
    }

    fn heart_rate(&mut self, time: Timestamp, bpm: f64, place: &str) {
        let hr = v1::HeartRate { bpm: bpm.round() as i32, confidence: 1.0, source: "fit".into(), ..Default::default() };
        self.emit("device.health.heartrate.raw", time, &hr, place);
    }

    fn emit<P: am_schema::Payload>(&mut self, topic: &str, time: Timestamp, payload: &P, place: &str) {
        let kind: Option<Kind> = self.options.catalogue.get(topic);
        let device = self.device.clone().or_else(|| DeviceId::new("fit-import").ok());
        let (Some(kind), Some(device)) = (kind, device) else {
            return self.skip(place.into(), "a kind that the catalogue does not have");
        };
        match Reading::builder(kind, device, time).payload(payload).build() {
            Ok(r) => self.ready.push_back(Imported::Reading(r)),
            Err(e) => self.skip(place.into(), e.to_string()),
        }
    }
}

impl Importer for FitImport {
    fn next(&mut self) -> Option<Imported> {
        while self.ready.is_empty() && !self.over {
            self.step();
        }
        self.ready.pop_front()
    }
}

/// Runs the foreign parser; a panic within it is an error of the file, not the end of the import.
fn guarded<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or_else(|_| Err("the parser failed on these bytes".into()))
}

fn first_line(s: &str) -> String {
    s.lines().next().unwrap_or_default().chars().take(120).collect()
}

/// The fields of a message by name.
struct Fields<'a>(&'a [FitDataField]);

impl Fields<'_> {
    fn value(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|f| f.name() == name).map(FitDataField::value)
    }

    fn time(&self, name: &str) -> Option<Timestamp> {
        match self.value(name)? {
            Value::Timestamp(t) => t.timestamp_nanos_opt().map(Timestamp::from_nanos),
            _ => None,
        }
    }

    fn number(&self, name: &str) -> Option<f64> {
        number(self.value(name)?)
    }

    fn numbers(&self, name: &str) -> Vec<f64> {
        match self.value(name) {
            Some(Value::Array(v)) => v.iter().filter_map(number).collect(),
            Some(v) => number(v).into_iter().collect(),
            None => Vec::new(),
        }
    }

    fn text(&self, name: &str) -> Option<String> {
        self.value(name).map(ToString::to_string)
    }
}

fn number(v: &Value) -> Option<f64> {
    match v {
        Value::Timestamp(_) | Value::String(_) | Value::Array(_) | Value::Invalid => None,
        v => {
            let n: Result<f64, _> = v.clone().try_into();
            n.ok().filter(|n| n.is_finite())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(bytes: &[u8]) -> (usize, Vec<Skip>) {
        let mut i = FitImport::new("t.fit", bytes, &ImportOptions::default());
        let (mut n, mut skips) = (0, Vec::new());
        while let Some(x) = i.next() {
            match x {
                Imported::Reading(_) => n += 1,
                Imported::Skipped(s) => skips.push(s),
            }
        }
        (n, skips)
    }

    /// A FIT file of one definition and some heart rate records, made by hand after the SDK's description.
    fn sample(records: &[(u32, u8)]) -> Vec<u8> {
        let mut data = vec![0x40, 0, 0, 20, 0, 2, 253, 4, 0x86, 3, 1, 0x02];
        for (t, bpm) in records {
            data.push(0);
            data.extend_from_slice(&t.to_le_bytes());
            data.push(*bpm);
        }
        let mut out = vec![14, 0x10, 0x64, 0];
        out.extend_from_slice(&(data.len() as u32).to_le_bytes());
        out.extend_from_slice(b".FIT\0\0");
        out.extend_from_slice(&data);
        let crc = crc(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    fn crc(b: &[u8]) -> u16 {
        b.iter().fold(0u16, |mut c, byte| {
            c ^= u16::from(*byte);
            for _ in 0..8 {
                c = if c & 1 == 1 { (c >> 1) ^ 0xa001 } else { c >> 1 };
            }
            c
        })
    }

    #[test]
    fn records_become_heart_rates_and_impossible_ones_are_named() {
        let (n, skips) = all(&sample(&[(1_000_000_000, 120), (1_000_000_001, 121), (1_000_000_002, 7)]));
        assert_eq!(n, 2);
        assert_eq!(skips.len(), 1, "{skips:?}");
        assert!(skips[0].reason.contains("bpm is 7"), "{}", skips[0].reason);
    }

    #[test]
    fn a_cut_off_file_gives_what_was_whole_and_says_that_it_is_cut() {
        let whole = sample(&[(1_000_000_000, 120), (1_000_000_001, 121), (1_000_000_002, 122)]);
        let (n, skips) = all(&whole[..whole.len() - 5]);
        assert_eq!(n, 2);
        assert_eq!(skips[0].reason, "the file ends in the middle");
    }

    #[test]
    fn custody_p10_a_file_beyond_the_limit_is_refused() {
        let o = ImportOptions { max_whole_file: 10, ..Default::default() };
        let mut i = FitImport::new("t.fit", &sample(&[(1, 120)])[..], &o);
        assert!(matches!(i.next(), Some(Imported::Skipped(s)) if s.reason.contains("larger than 10")));
        assert!(i.next().is_none());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(b in prop::collection::vec(any::<u8>(), 0..300), flip in 0usize..60, with: u8) {
            let _ = all(&b);
            let mut s = sample(&[(1_000_000_000, 120), (1_000_000_001, 121)]);
            let i = flip % s.len();
            s[i] ^= with;
            let _ = all(&s);
        }
    }
}
