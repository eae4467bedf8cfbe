//! GPX 1.0 and 1.1, streamed point by point.
//!
//! Track, route and way points with a time become `device.sensor.gps.raw`; Garmin's track point extension also gives heart rate and air
//! temperature. Schema: "GPX 1.1 Schema Documentation", Topografix.

use std::io::BufRead;

use am_core::{DeviceId, Timestamp};
use am_schema::{Kind, Reading, v1};
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::bounded::Bounded;
use crate::imported::{ImportOptions, Imported, Importer, Skip};

/// The largest tag or text.
const MAX_PIECE: usize = 1 << 20;
/// The deepest nesting that is followed.
const MAX_DEPTH: usize = 64;

/// Reads one GPX file.
pub struct GpxImport<R: BufRead + Send> {
    file: String,
    xml: Reader<Bounded<R>>,
    buf: Vec<u8>,
    kinds: Kinds,
    device: Option<DeviceId>,
    depth: usize,
    point: Option<Point>,
    field: Option<Field>,
    text: String,
    ready: std::collections::VecDeque<Imported>,
    points: u64,
    over: bool,
}

struct Kinds {
    gps: Option<Kind>,
    heart: Option<Kind>,
    temperature: Option<Kind>,
}

/// A point that is being read.
#[derive(Default)]
struct Point {
    at_byte: u64,
    depth: usize,
    name: &'static str,
    lat: Option<f64>,
    lon: Option<f64>,
    time: Option<String>,
    elevation: Option<f64>,
    speed: Option<f32>,
    course: Option<f32>,
    heart_rate: Option<f64>,
    temperature: Option<f64>,
    bad: Vec<String>,
}

#[derive(Clone, Copy)]
enum Field {
    Time,
    Elevation,
    Speed,
    Course,
    HeartRate,
    Temperature,
}

impl<R: BufRead + Send> GpxImport<R> {
    /// Begins a file; `name` is what reports call it.
    pub fn new(name: &str, input: R, options: &ImportOptions) -> Self {
        let kind = |t| options.catalogue.get(t);
        GpxImport {
            file: name.into(),
            xml: Reader::from_reader(Bounded::new(input, MAX_PIECE)),
            buf: Vec::new(),
            kinds: Kinds {
                gps: kind("device.sensor.gps.raw"),
                heart: kind("device.health.heartrate.raw"),
                temperature: kind("device.sensor.temperature.raw"),
            },
            device: options.device.clone(),
            depth: 0,
            point: None,
            field: None,
            text: String::new(),
            ready: std::collections::VecDeque::new(),
            points: 0,
            over: false,
        }
    }

    fn skip(&mut self, place: String, reason: impl Into<String>) {
        self.ready.push_back(Imported::Skipped(Skip { file: self.file.clone(), place, reason: reason.into() }));
    }

    /// Reads on until something is ready or the file ends.
    fn step(&mut self) {
        self.xml.get_mut().reset();
        self.buf.clear();
        let at = self.xml.buffer_position();
        let mut buf = std::mem::take(&mut self.buf);
        let event = self.xml.read_event_into(&mut buf).map(Event::into_owned);
        self.buf = buf;
        match event {
            Ok(Event::Start(e)) => {
                self.depth += 1;
                if self.depth > MAX_DEPTH {
                    self.end(format!("byte {at}"), "tags are nested too deeply");
                    return;
                }
                self.open(&e, at);
            }
            Ok(Event::Empty(e)) => {
                self.depth += 1;
                self.open(&e, at);
                self.close();
            }
            Ok(Event::End(_)) => self.close(),
            Ok(Event::Text(t)) if self.field.is_some() => self.text.push_str(&t.decode().unwrap_or_default()),
            Ok(Event::CData(t)) if self.field.is_some() => self.text.push_str(&t.decode().unwrap_or_default()),
            Ok(Event::Eof) => {
                if self.depth > 0 {
                    let place = format!("byte {at}");
                    self.end(place, "the file ends in the middle");
                }
                self.over = true;
            }
            Ok(_) => {}
            Err(e) => self.end(format!("byte {}", self.xml.error_position()), format!("not well-formed XML: {e}")),
        }
    }

    fn end(&mut self, place: String, reason: impl Into<String>) {
        self.skip(place, reason);
        self.over = true;
    }

    fn open(&mut self, e: &BytesStart<'_>, at: u64) {
        let name = e.local_name();
        match name.as_ref() {
            b"gpx" if self.device.is_none() => {
                let creator = attribute(e, b"creator").unwrap_or_default();
                self.device = device_of(&creator);
            }
            b"trkpt" | b"wpt" | b"rtept" if self.point.is_none() => {
                let mut p = Point { at_byte: at, depth: self.depth, name: point_name(name.as_ref()), ..Default::default() };
                p.lat = number(&mut p.bad, "lat", attribute(e, b"lat"));
                p.lon = number(&mut p.bad, "lon", attribute(e, b"lon"));
                self.points += 1;
                self.point = Some(p);
            }
            name => {
                let Some(p) = &self.point else { return };
                // Standard elements are children of the point; those of extensions may lie deeper.
                self.field = match name {
                    b"time" if self.depth == p.depth + 1 => Some(Field::Time),
                    b"ele" if self.depth == p.depth + 1 => Some(Field::Elevation),
                    b"speed" => Some(Field::Speed),
                    b"course" => Some(Field::Course),
                    b"hr" => Some(Field::HeartRate),
                    b"atemp" => Some(Field::Temperature),
                    _ => None,
                };
                self.text.clear();
            }
        }
    }

    fn close(&mut self) {
        if let (Some(f), Some(p)) = (self.field.take(), &mut self.point) {
            let text = self.text.trim().to_owned();
            match f {
                Field::Time => p.time = Some(text),
                Field::Elevation => p.elevation = number(&mut p.bad, "ele", Some(text)),
                Field::Speed => p.speed = number(&mut p.bad, "speed", Some(text)).map(|v| v as f32),
                Field::Course => p.course = number(&mut p.bad, "course", Some(text)).map(|v| v as f32),
                Field::HeartRate => p.heart_rate = number(&mut p.bad, "hr", Some(text)),
                Field::Temperature => p.temperature = number(&mut p.bad, "atemp", Some(text)),
            }
        }
        if self.point.as_ref().is_some_and(|p| p.depth == self.depth)
            && let Some(p) = self.point.take()
        {
            self.finish(p);
        }
        self.depth = self.depth.saturating_sub(1);
    }

    fn finish(&mut self, p: Point) {
        let place = format!("{} {} at byte {}", p.name, self.points, p.at_byte);
        for why in &p.bad {
            self.skip(place.clone(), why.clone());
        }
        let (Some(latitude), Some(longitude)) = (p.lat, p.lon) else {
            if p.bad.is_empty() {
                self.skip(place, "a point without lat or lon");
            }
            return;
        };
        let time = match p.time.as_deref() {
            None | Some("") => return self.skip(place, "a point without time"),
            Some(t) => match parse_time(t) {
                Some(t) => t,
                None => return self.skip(place, "a time that is not ISO 8601"),
            },
        };
        let device = match &self.device {
            Some(d) => d.clone(),
            None => match device_of("") {
                Some(d) => d,
                None => return,
            },
        };
        let gps = v1::Gps {
            latitude,
            longitude,
            altitude: p.elevation,
            speed: p.speed,
            bearing: p.course,
            provider: "gpx".into(),
            ..Default::default()
        };
        self.emit(self.kinds.gps, &device, time, &gps, &place);
        if let Some(bpm) = p.heart_rate {
            let hr = v1::HeartRate { bpm: bpm.round() as i32, confidence: 1.0, source: "gpx".into(), ..Default::default() };
            self.emit(self.kinds.heart, &device, time, &hr, &place);
        }
        if let Some(value) = p.temperature {
            self.emit(self.kinds.temperature, &device, time, &v1::Quantity { value, ..Default::default() }, &place);
        }
    }

    fn emit<P: am_schema::Payload>(&mut self, kind: Option<Kind>, device: &DeviceId, time: Timestamp, payload: &P, place: &str) {
        let Some(kind) = kind else { return self.skip(place.into(), "a kind that the catalogue does not have") };
        match Reading::builder(kind, device.clone(), time).payload(payload).build() {
            Ok(r) => self.ready.push_back(Imported::Reading(r)),
            Err(e) => self.skip(place.into(), e.to_string()),
        }
    }
}

impl<R: BufRead + Send> Importer for GpxImport<R> {
    fn next(&mut self) -> Option<Imported> {
        while self.ready.is_empty() && !self.over {
            self.step();
        }
        self.ready.pop_front()
    }
}

fn point_name(tag: &[u8]) -> &'static str {
    match tag {
        b"trkpt" => "track point",
        b"rtept" => "route point",
        _ => "way point",
    }
}

fn attribute(e: &BytesStart<'_>, name: &[u8]) -> Option<String> {
    let a = e.attributes().flatten().find(|a| a.key.local_name().as_ref() == name)?;
    a.unescape_value().ok().map(|v| v.into_owned())
}

fn number(bad: &mut Vec<String>, name: &str, text: Option<String>) -> Option<f64> {
    let text = text?;
    match text.trim().parse::<f64>() {
        Ok(v) if v.is_finite() => Some(v),
        _ => {
            bad.push(format!("a value of {name} that is not a number"));
            None
        }
    }
}

/// A time with a zone; one without is taken as UTC, as GPX says it is.
fn parse_time(t: &str) -> Option<Timestamp> {
    Timestamp::parse(t).or_else(|_| Timestamp::parse(&format!("{t}Z"))).ok()
}

/// `gpx-` and the program that wrote the file, as an id.
fn device_of(creator: &str) -> Option<DeviceId> {
    let slug: String = creator.chars().map(|c| if c.is_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).take(60).collect();
    let slug = slug.trim_matches('-');
    DeviceId::new(if slug.is_empty() { "gpx-import".to_owned() } else { format!("gpx-{slug}") }).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(xml: &[u8]) -> (Vec<Reading>, Vec<Skip>) {
        let mut i = GpxImport::new("t.gpx", xml, &ImportOptions::default());
        let (mut readings, mut skips) = (Vec::new(), Vec::new());
        while let Some(x) = i.next() {
            match x {
                Imported::Reading(r) => readings.push(r),
                Imported::Skipped(s) => skips.push(s),
            }
        }
        (readings, skips)
    }

    #[test]
    fn a_track_point_becomes_a_position_and_its_extensions_too() {
        let xml = br#"<gpx creator="My App 2"><trk><trkseg><trkpt lat="46.5" lon="14.25"><ele>550.5</ele><time>2024-05-01T10:00:00Z</time>
            <extensions><gpxtpx:TrackPointExtension><gpxtpx:hr>131</gpxtpx:hr><gpxtpx:atemp>21.5</gpxtpx:atemp></gpxtpx:TrackPointExtension></extensions>
            </trkpt></trkseg></trk></gpx>"#;
        let (r, s) = all(xml);
        assert!(s.is_empty(), "{s:?}");
        assert_eq!(r.len(), 3);
        let g: v1::Gps = r[0].payload().unwrap();
        assert_eq!((g.latitude, g.longitude, g.altitude), (46.5, 14.25, Some(550.5)));
        assert_eq!(r[0].device().as_str(), "gpx-my-app-2");
        assert_eq!(r[1].payload::<v1::HeartRate>().unwrap().bpm, 131);
    }

    #[test]
    fn custody_p09_broken_points_are_named_and_the_rest_goes_on() {
        let xml = br#"<gpx><wpt lat="1" lon="2"/><trkpt lat="91" lon="0"><time>2024-05-01T10:00:00Z</time></trkpt>
            <trkpt lat="x" lon="0"><time>2024-05-01T10:00:00Z</time></trkpt><trkpt lat="1" lon="0"><time>yesterday</time></trkpt>
            <trkpt lat="1" lon="0"><time>2024-05-01T10:00:00</time></trkpt></gpx>"#;
        let (r, s) = all(xml);
        assert_eq!(r.len(), 1);
        let reasons: Vec<&str> = s.iter().map(|s| s.reason.as_str()).collect();
        assert_eq!(reasons.len(), 4, "{reasons:?}");
        assert_eq!(reasons[0], "a point without time");
        assert!(reasons[1].contains("latitude is 91"), "{}", reasons[1]);
        assert_eq!(reasons[2], "a value of lat that is not a number");
        assert!(s[0].place.contains("way point 1"));
    }

    #[test]
    fn a_cut_off_file_gives_what_was_whole_and_says_that_it_is_cut() {
        let xml = br#"<gpx><trkpt lat="1" lon="0"><time>2024-05-01T10:00:00Z</time></trkpt><trkpt lat="1" lon="0"><ti"#;
        let (r, s) = all(xml);
        assert_eq!((r.len(), s.len()), (1, 1));
    }

    #[test]
    fn custody_p10_an_endless_text_is_refused() {
        let mut xml = b"<gpx><trkpt lat=\"1\" lon=\"0\"><time>".to_vec();
        xml.extend(std::iter::repeat_n(b'x', 3 << 20));
        let (r, s) = all(&xml);
        assert_eq!((r.len(), s.len()), (0, 1));
        assert!(s[0].reason.contains("larger than"), "{}", s[0].reason);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(b in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = all(&b);
        }

        #[test]
        fn no_cut_makes_it_panic(cut in 0usize..300) {
            let xml = br#"<?xml version="1.0"?><gpx creator="a"><trk><trkpt lat="1" lon="0"><time>2024-05-01T10:00:00Z</time><ele>1</ele></trkpt></trk></gpx>"#;
            let _ = all(&xml[..cut.min(xml.len())]);
        }
    }
}
