//! The programs of a cluster as processes, and devices as real clients of them.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

pub mod net;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use am_client::{Client, ClientOptions};
use am_core::{Clock, DeviceId, ReadingId, Scope, Secret, Timestamp};
use am_pipeline::TokioClock;
use am_pipeline::bus::{self, Area, BusOptions, Parcel, Parcels, TailSpec};
use am_schema::block::{ENCODING, Samples, encode};
use am_schema::{Catalogue, Decoder, Reading, v1};
use am_store::model::{Generations, ScanQuery, Stored};
use am_store::{Store, StoreOptions};

pub const HEART: &str = "device.health.heartrate.raw";
pub const MOVES: &str = "device.sensor.accelerometer.raw";
pub const WINDOWS: &str = "device.sensor.accelerometer.windowed";
pub const ACTIVITY: &str = "motion.classification.activity";
pub const START: i64 = 1_772_352_000;

/// Where the services are; `None`, with a word on why, when they are not there and nobody said they must be.
pub fn services() -> Option<(String, String)> {
    let required = std::env::var("AM_TEST_REQUIRE").unwrap_or_default();
    let get = |variable: &str, name: &str| match std::env::var(variable) {
        Ok(url) => Some(url),
        Err(_) if required.split(',').any(|r| r == name) => panic!("{variable} is not set"),
        Err(_) => {
            eprintln!("skipped: {variable} is not set; `cargo xtask test` starts the services");
            None
        }
    };
    Some((get("AM_TEST_POSTGRES", "postgres")?, get("AM_TEST_NATS", "nats")?))
}

pub fn clock() -> Arc<dyn Clock> {
    Arc::new(TokioClock::default())
}

pub async fn pause(ms: u64) {
    clock().sleep(Duration::from_millis(ms)).await;
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A database and streams of a test's own; the database is dropped at the end.
pub struct Place {
    pub admin: String,
    pub database: String,
    pub store: String,
    pub bus: String,
    pub prefix: String,
    pub folder: tempfile::TempDir,
}

fn psql(url: &str, sql: &str) -> std::process::Output {
    Command::new("psql").args(["-q", "-X", "-v", "ON_ERROR_STOP=1", url, "-c", sql]).output().expect("psql is there")
}

impl Place {
    pub fn new(name: &str) -> Option<Place> {
        let (admin, bus) = services()?;
        let unique = format!("{name}_{}", std::process::id());
        let database = format!("am_test_{unique}");
        let made = psql(&admin, &format!("CREATE DATABASE {database}"));
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let (server, _) = admin.rsplit_once('/').unwrap();
        let store = format!("{server}/{database}");
        Some(Place { store, database, admin, bus, prefix: format!("t{unique}"), folder: tempfile::tempdir().unwrap() })
    }

    pub async fn open(&self) -> Store {
        Store::open(&self.store, StoreOptions::default(), clock(), Catalogue::builtin()).await.unwrap()
    }

    /// A key for the person's devices.
    pub async fn key(&self, store: &Store) -> Secret<String> {
        let grant = am_server::KeyGrant::new(ada());
        am_server::create_key(store.backend().devices.as_ref(), clock().as_ref(), grant).await.unwrap().key
    }

    /// The configuration that all programs of the cluster read.
    pub fn config(&self) -> PathBuf {
        let path = self.folder.path().join("cluster.toml");
        let stream = |name: &str| format!("[bus.nats.streams.{name}]\nmax_bytes = \"64MB\"\n");
        let text = format!(
            "[bus.nats]\nprefix = \"{}\"\n{}{}{}[worker]\nlease_ms = 3000\n[persister.backoff]\nfirst_ms = 50\nmax_ms = 1000\n",
            self.prefix,
            stream("readings"),
            stream("work"),
            stream("errors")
        );
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        psql(&self.admin, &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.database));
    }
}

/// The program of an example, built with the tests.
pub fn program(name: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let target = tests.parent().and_then(Path::parent).unwrap();
    let file = target.join("examples").join(name);
    assert!(file.exists(), "{} is not built: cargo build --examples", file.display());
    file
}

/// One program at work. Killed when dropped.
pub struct Process {
    pub name: String,
    command: Vec<String>,
    child: Option<Child>,
    log: PathBuf,
}

impl Process {
    /// Starts it and waits for the line that says it is ready.
    pub fn start(name: &str, command: Vec<String>, folder: &Path) -> Process {
        let mut p = Process { name: name.to_owned(), command, child: None, log: folder.join(format!("{name}.log")) };
        p.again();
        p
    }

    /// Starts it again.
    pub fn again(&mut self) {
        assert!(self.try_again(), "{} did not start: {}", self.name, self.log());
    }

    /// Starts it again, unless what it needs is away.
    pub fn try_again(&mut self) -> bool {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
        let (program, args) = self.command.split_first().unwrap();
        let mut child = Command::new(program).args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready = line.contains("\"program\"");
        match ready {
            true => self.child = Some(child),
            false => {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
        ready
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut c) = self.child.take() {
            c.kill().unwrap();
            c.wait().unwrap();
        }
    }

    /// SIGTERM, and waits for the end; whether it ended well.
    pub fn stop(&mut self) -> bool {
        let Some(mut c) = self.child.take() else { return true };
        Command::new("kill").arg(c.id().to_string()).status().unwrap();
        c.wait().unwrap().success()
    }

    /// Whether it is still there.
    pub fn is_up(&mut self) -> bool {
        self.child.as_mut().is_some_and(|c| c.try_wait().unwrap().is_none())
    }

    /// Anonymous resident memory, bytes (Linux).
    pub fn memory(&self) -> u64 {
        let pid = self.child.as_ref().map_or(0, Child::id);
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let kb = status.lines().find_map(|l| l.strip_prefix("RssAnon:")?.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
        kb.unwrap_or(0) * 1024
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(c) = &mut self.child {
            let _ = c.kill();
            let _ = c.wait();
        }
    }
}

/// How a member reaches the others.
#[derive(Clone)]
pub struct Way {
    pub bus: String,
    pub store: String,
    /// What to put before its command.
    pub within: Vec<String>,
}

/// Host and port of an address.
pub fn address(url: &str) -> std::net::SocketAddr {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split('/').next().unwrap();
    host.rsplit('@').next().unwrap().parse().unwrap_or_else(|e| panic!("{host}: {e}"))
}

/// Two gateways, three workers (two flows that chain, and a stand-in for the first), a persister.
pub struct Cluster {
    pub ports: [u16; 2],
    pub members: Vec<Process>,
}

impl Cluster {
    /// Starts all of them on this machine.
    pub fn start(place: &Place) -> Cluster {
        Cluster::start_apart(place, |_| None)
    }

    /// Starts all of them, some on hosts of their own or by other addresses.
    pub fn start_apart(place: &Place, way: impl Fn(&str) -> Option<Way>) -> Cluster {
        let config = place.config().display().to_string();
        let flows = flow_files(place.folder.path());
        let ports = [free_port(), free_port()];
        let common = |name: &str, example: &str| {
            let here = || Way { bus: place.bus.clone(), store: place.store.clone(), within: Vec::new() };
            let way = way(name).unwrap_or_else(here);
            let mut c = way.within;
            c.push(program(example).display().to_string());
            c.extend(["--store".into(), way.store, "--bus".into(), way.bus, "--config".into(), config.clone()]);
            c
        };
        let mut members = Vec::new();
        let mut add = |name: &str, example: &str, more: Vec<String>| {
            let mut c = common(name, example);
            c.extend(more);
            members.push(Process::start(name, c, place.folder.path()));
        };
        for (n, port) in ports.iter().enumerate() {
            // Reached from outside where it is on a host of its own.
            let more = ["--grpc", &format!("0.0.0.0:{port}"), "--http", "127.0.0.1:0"].map(str::to_owned);
            add(&format!("gateway-{n}"), "ingest_gateway", more.to_vec());
        }
        add("windows", "flow_worker", vec![flows[0].clone()]);
        add("activity", "flow_worker", vec![flows[1].clone()]);
        add("windows-2", "flow_worker", vec![flows[0].clone()]);
        add("persister", "persister", Vec::new());
        Cluster { ports, members }
    }

    pub fn member(&mut self, name: &str) -> &mut Process {
        self.members.iter_mut().find(|p| p.name == name).unwrap()
    }

    /// Starts again whoever has ended, such as one that gave up while something it needs was away.
    pub fn revive(&mut self) {
        for p in &mut self.members {
            if !p.is_up() {
                p.try_again();
            }
        }
    }

    pub fn logs(&self) -> String {
        let tail = |p: &Process| p.log().lines().rev().take(6).map(|l| format!("  {}: {l}\n", p.name)).collect::<String>();
        self.members.iter().map(tail).collect()
    }
}

/// The motion flow as two: what the first derives, the second reads off the bus.
fn flow_files(folder: &Path) -> [String; 2] {
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    [write("windows.yaml", WINDOWS_FLOW), write("activity.yaml", ACTIVITY_FLOW)]
}

pub const WINDOWS_FLOW: &str = "flow: windows
input: [device.sensor.accelerometer.raw]
steps:
  - window: {processor: motion.window, size: 5s, hop: 2.5s, key: device}
output: [device.sensor.accelerometer.windowed]
";
pub const ACTIVITY_FLOW: &str = "flow: activity
input: [device.sensor.accelerometer.windowed]
steps:
  - activity: {processor: motion.activity, timeout: 2s, on_error: park}
output: [motion.classification.activity]
";

pub fn ada() -> Scope {
    Scope::new("acme", "ada").unwrap()
}

/// Reading `n` of a device: heart rates, and every tenth a block of acceleration.
pub fn reading(device: &str, n: u64) -> Reading {
    let at = |s: u64| Timestamp::from_second(START + s as i64);
    let id = |t: Timestamp| ReadingId::v7_from(t, [(n % 251) as u8; 16]);
    let device = DeviceId::new(device).unwrap();
    let kind = |topic| Catalogue::builtin().get(topic).unwrap();
    if n % 10 == 9 {
        let (t, turn) = (at(n / 10 * 4), (n / 10) as f32);
        let axis =
            |phase: f32| (0..80).map(|i| (turn / 7.0).sin() * 3.0 + ((i as f32) * 0.55 + phase).sin() * (turn % 5.0)).collect::<Vec<f32>>();
        let (x, y, z) = (axis(0.0), axis(1.0), axis(2.0));
        let data = encode(None, &[Samples::F32(&x), Samples::F32(&y), Samples::F32(&z)]).unwrap();
        let channel = |name: &str| v1::Channel { name: name.into(), ..Default::default() };
        let payload = v1::SampleBlock {
            period_ns: 50_000_000,
            count: 80,
            channels: vec![channel("x"), channel("y"), channel("z")],
            encoding: ENCODING.into(),
            data: data.into(),
        };
        return Reading::builder(kind(MOVES), device, t).id(id(t)).payload(&payload).build().unwrap();
    }
    let payload = v1::HeartRate { bpm: 60 + (n % 40) as i32, confidence: 0.9, ..Default::default() };
    Reading::builder(kind(HEART), device, at(n)).id(id(at(n))).payload(&payload).build().unwrap()
}

/// A device: pushes readings at a pace and uploads them until all are answered.
pub async fn device(name: &str, port: u16, key: Secret<String>, folder: &Path, total: u64, pace: Duration) {
    let mut options = ClientOptions::default();
    options.api_key = Some(key);
    // One batch at a time: several on their way may overtake each other, and what arrives late is derived with the history that the
    // database has at that moment (docs/cluster.md, "What to know").
    options.in_flight = 1;
    options.folder = folder.join(name);
    options.endpoint = format!("http://127.0.0.1:{port}");
    let client = Client::open(options).unwrap();
    for n in 0..total {
        client.push(&reading(name, n)).unwrap();
        if n % 50 == 49 {
            clock().sleep(pace).await;
        }
    }
    // The store may be away for long: a device waits.
    let flushed = tokio::select! {
        done = client.flush() => done.map_err(|e| e.to_string()),
        () = pause(600_000) => Err(format!("not drained after ten minutes: {:?}", client.status())),
    };
    flushed.unwrap_or_else(|e| panic!("{name}: {e}"));
    client.close().await.unwrap();
}

pub async fn all(store: &Store, topic: &str) -> Vec<Stored> {
    // The newest: how often a window was derived anew hangs on the order in which blocks arrive, what it is in the end does not.
    let mut query = ScanQuery::of([store.catalogue().get(topic).unwrap()]).generations(Generations::Newest).limit(10_000);
    let mut out = Vec::new();
    loop {
        let page = store.scoped(&ada()).scan(&query).await.unwrap();
        out.extend(page.items);
        match page.cursor {
            Some(c) => query = query.after(c),
            None => return out,
        }
    }
}

/// The raw readings in the order in which the bus has them: what is derived hangs on it, as a device may send again what was cut off.
async fn as_arrived(place: &Place) -> Vec<Reading> {
    let mut options = BusOptions::default();
    options.nats = toml::from_str::<Config>(&std::fs::read_to_string(place.config()).unwrap()).unwrap().bus.nats;
    let bus = bus::open(&place.bus, options, clock()).await.unwrap();
    let mut spec = TailSpec { name: "test".into(), area: Area::Readings, scope: Some(ada()), topics: Vec::new(), after: 0 };
    spec.topics = vec![HEART.into(), MOVES.into()];
    let mut tail = bus.tails.clone().unwrap().open(spec).await.unwrap();
    let mut decoder = Decoder::new(Catalogue::builtin()).trusted();
    let mut out = Vec::new();
    loop {
        let got = tail.next(500, Duration::from_secs(2)).await.unwrap();
        if got.is_empty() {
            return out;
        }
        for s in got {
            let parcel = Parcel::from_body(s.message.unwrap().body).unwrap();
            let at = Timestamp::from_nanos(parcel.received_at);
            out.extend(parcel.readings.into_iter().map(|wire| decoder.decode(wire, at).unwrap()));
        }
    }
}

#[derive(serde::Deserialize)]
struct Config {
    bus: BusOptions,
}

/// What the same flows derive of the same readings in the same order, in one process without a bus.
pub async fn embedded(place: &Place, devices: &[(&str, u64)]) -> BTreeMap<&'static str, Vec<Vec<u8>>> {
    use am_store::runner::{Flow, FlowRunner, RunnerOptions};
    let calm = Store::open("memory:", StoreOptions::default(), clock(), Catalogue::builtin()).await.unwrap();
    for chunk in as_arrived(place).await.chunks(500) {
        calm.scoped(&ada()).put(chunk.to_vec()).await.unwrap();
    }
    let sent: usize = devices.iter().map(|(_, total)| *total as usize).sum();
    let (hearts, moves) = (all(&calm, HEART).await.len(), all(&calm, MOVES).await.len());
    assert_eq!(hearts + moves, sent, "everything that was acknowledged is on the bus");
    let files = [("windows.yaml", WINDOWS_FLOW), ("activity.yaml", ACTIVITY_FLOW)];
    let registry = am_enrich::registry().unwrap();
    // In the order in which they chain.
    let mut flows = Flow::load(&files, "1", &registry, calm.catalogue()).unwrap();
    flows.sort_by_key(|f| f.name() != "windows");
    for flow in flows {
        FlowRunner::new(&calm, flow, RunnerOptions::default()).unwrap().drain().await.unwrap();
    }
    rows(&calm).await
}

/// Every row of the four kinds, as bytes, in the order of scans.
pub async fn rows(store: &Store) -> BTreeMap<&'static str, Vec<Vec<u8>>> {
    let mut out = BTreeMap::new();
    for topic in [HEART, MOVES, WINDOWS, ACTIVITY] {
        out.insert(topic, all(store, topic).await.iter().map(|s| s.reading.to_wire()).collect());
    }
    out
}

/// Waits until the store has as many rows of each kind as wanted; panics with what is missing after a while.
pub async fn settled(store: &Store, wanted: &BTreeMap<&'static str, Vec<Vec<u8>>>, cluster: &mut Cluster, seconds: u64) {
    let mut last = String::new();
    for round in 0..seconds * 2 {
        if round % 4 == 3 {
            cluster.revive();
        }
        let found: BTreeMap<String, u64> = match store.scoped(&ada()).by_kind().await {
            Ok(kinds) => kinds.into_iter().map(|k| (k.topic, k.readings)).collect(),
            Err(_) => BTreeMap::new(),
        };
        let missing = wanted.iter().filter(|(t, rows)| found.get(**t).copied().unwrap_or(0) < rows.len() as u64);
        last = missing.map(|(t, rows)| format!("{t}: {} of {}; ", found.get(*t).copied().unwrap_or(0), rows.len())).collect();
        if last.is_empty() {
            return;
        }
        pause(500).await;
    }
    panic!("after {seconds} s still {last}\n{}", cluster.logs());
}

/// That the store holds exactly what it should, each once, and that the balance holds.
pub async fn verify(store: &Store, wanted: &BTreeMap<&'static str, Vec<Vec<u8>>>) {
    let found = rows(store).await;
    for (topic, rows) in wanted {
        let (have, want) = (found.get(topic).unwrap(), rows);
        assert_eq!(have.len(), want.len(), "{topic}");
        let other = have.iter().zip(want).position(|(a, b)| a != b);
        if let Some(n) = other {
            let say = |wire: &Vec<u8>| {
                let r = Decoder::new(Catalogue::builtin()).trusted().decode(wire.clone().into(), clock().now()).unwrap();
                format!("{r:?} of {:?}", r.lineage().map(|l| l.inputs.clone()))
            };
            panic!("{topic}: row {n} differs\nhave {}\nwant {}", say(&have[n]), say(&want[n]));
        }
    }
    let counts = store.scoped(&ada()).counts().await.unwrap();
    let raw = wanted[HEART].len() + wanted[MOVES].len();
    assert!(counts.balanced() && counts.stored == raw as u64 && counts.dead_lettered == 0, "{counts:?}");
}
