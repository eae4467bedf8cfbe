//! PF18 on the main job itself: `full_stack` as a person starts it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::harness::{Options, Row, Stopwatch, Target};
use crate::served::Failed;

const MB: f64 = 1e6;

/// The example as a process; it ends when this is dropped.
struct FullStack {
    child: Child,
    out: BufReader<ChildStdout>,
    began: Stopwatch,
}

impl Drop for FullStack {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Builds the example in release mode, where this program was built.
fn program() -> Result<PathBuf, Failed> {
    let own = std::env::current_exe()?;
    let target = own.parent().and_then(Path::parent).ok_or("this program lies nowhere")?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).args(["build", "--quiet", "--release", "--example", "full_stack"]);
    if !cargo.arg("--target-dir").arg(target).status()?.success() {
        return Err("full_stack does not build".into());
    }
    Ok(target.join("release/examples/full_stack"))
}

impl FullStack {
    fn start(program: &Path, folder: &Path, more: &[&str]) -> Result<FullStack, Failed> {
        let began = Stopwatch::default();
        let store = format!("sqlite:{}", folder.join("am.db").display());
        let mut child =
            Command::new(program).args(["--quiet", "--store", &store]).args(more).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let out = BufReader::new(child.stdout.take().ok_or("no output")?);
        Ok(FullStack { child, out, began })
    }

    /// Reads on until a line that begins so; gives that line and the seconds since the start.
    fn until(&mut self, begins: &str) -> Result<(String, f64), Failed> {
        let mut line = String::new();
        loop {
            line.clear();
            if self.out.read_line(&mut line)? == 0 {
                return Err(format!("full_stack ended before it said {begins:?}").into());
            }
            if line.trim_start().starts_with(begins) {
                return Ok((line, self.began.elapsed().as_secs_f64()));
            }
        }
    }
}

fn anonymous(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let kb = status.lines().find_map(|l| l.strip_prefix("RssAnon:"))?.split_whitespace().next()?.parse::<u64>().ok()?;
    Some(kb * 1_024)
}

/// Start, memory while a day is played as fast as the machine can, and memory once it only serves.
pub(crate) fn rows(options: &Options) -> Result<Vec<Row>, Failed> {
    let program = program()?;
    let folder = tempfile::tempdir()?;
    let hours = if options.quick { "0.5" } else { "24" };
    let mut run = FullStack::start(&program, folder.path(), &["--hours", hours, "--speed", "100000"])?;
    let (_, ready) = run.until("health")?;
    let (most, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let watch = std::thread::spawn({
        let (most, done, pid) = (most.clone(), done.clone(), run.child.id());
        move || {
            while !done.load(Ordering::Relaxed) {
                most.fetch_max(anonymous(pid).unwrap_or(0), Ordering::Relaxed);
                std::thread::park_timeout(Duration::from_millis(50));
            }
        }
    });
    let (received, _) = run.until("received")?;
    run.until("serving until")?;
    let seconds = run.began.elapsed().as_secs_f64();
    done.store(true, Ordering::Relaxed);
    watch.join().map_err(|_| "the watch broke off")?;
    // Caches and queues of the day are let go of within moments.
    std::thread::park_timeout(Duration::from_secs(2));
    let after = anonymous(run.child.id()).ok_or("no RssAnon")?;
    drop(run);
    // On the same store with nothing to take in: it only serves.
    let nothing = tempfile::tempdir()?;
    let mut run = FullStack::start(&program, folder.path(), &["--input", &nothing.path().display().to_string()])?;
    run.until("serving until")?;
    std::thread::park_timeout(Duration::from_secs(2));
    let idle = anonymous(run.child.id()).ok_or("no RssAnon")?;
    let items = received.split_whitespace().nth(1).unwrap_or_default().replace(',', "").parse::<f64>().unwrap_or(f64::NAN);
    let row = |what: String, ours: f64, unit, target, note: &str| Row {
        id: "PF18",
        what,
        ours,
        baseline: f64::NAN,
        unit,
        target,
        note: note.into(),
    };
    let load = format!("full_stack: anonymous memory while it plays a day, {:.0} items/s", items / seconds);
    Ok(vec![
        row(
            "full_stack: from start to ready".into(),
            ready,
            "s",
            Target::AtMost(1.0),
            "process start to its line of addresses, new SQLite store",
        ),
        row(
            load,
            most.load(Ordering::Relaxed) as f64 / MB,
            "MB",
            Target::AtMost(256.0),
            "the most seen; three devices, server, store and flow in one process",
        ),
        row(
            "full_stack: anonymous memory, idle".into(),
            idle as f64 / MB,
            "MB",
            Target::AtMost(80.0),
            "started on the day's store with nothing to take in",
        ),
        row(
            "full_stack: anonymous memory after the day".into(),
            after as f64 / MB,
            "MB",
            Target::Nothing,
            "what the allocator keeps of the load; it goes on serving",
        ),
    ])
}
