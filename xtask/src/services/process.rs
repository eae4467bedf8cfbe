//! Processes that outlive this program: started in a session of their own, recognised later, ended with all their children.

use std::path::Path;
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

/// A process, told apart from a later one that got the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    /// When it started, in the kernel's ticks since boot.
    pub(crate) started: u64,
}

/// How to ask a process to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    Interrupt,
    Terminate,
    Quit,
    Freeze,
    Kill,
}

impl Process {
    /// The process that has this number now.
    pub(super) fn with_pid(pid: u32) -> Option<Self> {
        read_stat(pid).map(|stat| Process { pid, started: stat.started })
    }

    /// This program.
    pub(super) fn own() -> Option<Self> {
        Self::with_pid(std::process::id())
    }

    /// True while it runs. One that ended and that its parent has not asked about counts as gone.
    pub(super) fn is_alive(self) -> bool {
        read_stat(self.pid).is_some_and(|stat| stat.started == self.started && !stat.ended)
    }

    /// Asks it to end; one that is gone needs no asking.
    pub(super) fn ask(self, how: Ask) {
        if self.is_alive() {
            signal(self.pid, how);
        }
    }
}

/// Starts a program that nobody waits for: own session, no input, output into the log.
pub(super) fn spawn(program: &mut Command, log: &Path) -> Result<Process, String> {
    let words: Vec<std::ffi::OsString> = std::iter::once(program.get_program()).chain(program.get_args()).map(Into::into).collect();
    let name = words.first().map(|w| w.to_string_lossy().into_owned()).unwrap_or_default();
    let open = || std::fs::File::options().create(true).append(true).open(log);
    let (out, err) = open().and_then(|f| Ok((f.try_clone()?, f))).map_err(|e| format!("{}: {e}", log.display()))?;
    // setsid replaces itself by the program, so the number stays the same.
    let mut detached = Command::new("setsid");
    detached.args(words).stdin(Stdio::null()).stdout(out).stderr(err);
    // A server must not depend on who started it: of the environment it gets the search path and what is meant for it.
    detached.env_clear().env("LANG", "C.UTF-8").envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    detached.envs(program.get_envs().filter_map(|(k, v)| Some((k, v?))));
    if let Some(dir) = program.get_current_dir() {
        detached.current_dir(dir);
    }
    let mut child = detached.spawn().map_err(|e| format!("setsid {name}: {e}"))?;
    let process = Process::with_pid(child.id());
    // As long as this program lives it is the parent and has to ask how the child ended.
    std::thread::spawn(move || child.wait());
    process.ok_or_else(|| format!("{name} ended at once; its log is {}", log.display()))
}

/// Kills processes and everything below them. They are stopped first, so that none starts another one meanwhile.
pub(super) fn kill_trees(roots: &[u32]) {
    roots.iter().for_each(|pid| signal(*pid, Ask::Freeze));
    let all = with_descendants(roots, &every_process());
    all.iter().for_each(|pid| signal(*pid, Ask::Kill));
}

/// Processes that belong to a server whose data lies in `folder`: they work in it, or they run below `root` and were
/// given the folder as `seen`. Finds those that a killed server left and those that no state file knows.
pub(super) fn left_over(folder: &Path, root: &Path, seen: &str) -> Vec<u32> {
    let link = |pid: u32, name: &str| std::fs::read_link(format!("/proc/{pid}/{name}")).unwrap_or_default();
    let named = |pid: u32| {
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        words.split(|b| *b == 0).any(|word| names_below(&String::from_utf8_lossy(word), seen))
    };
    let ours = |pid: &u32| link(*pid, "cwd").starts_with(folder) || (link(*pid, "root") == root && named(*pid));
    every_process().into_iter().filter(|(_, stat)| !stat.ended).map(|(pid, _)| pid).filter(ours).collect()
}

/// True for the folder itself and what is below it, but not for `folder-2`.
fn names_below(word: &str, folder: &str) -> bool {
    word.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The boot of this machine; empty where the system does not tell.
pub(super) fn boot() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// What the kernel tells about a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    parent: u32,
    started: u64,
    ended: bool,
}

fn read_stat(pid: u32) -> Option<Stat> {
    parse_stat(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// `PID (NAME) STATE PARENT …`, where the name may hold spaces and parentheses; field 22 is the start.
fn parse_stat(text: &str) -> Option<Stat> {
    let rest = text.get(text.rfind(')')? + 1..)?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let started = fields.nth(17)?.parse().ok()?;
    Some(Stat { parent, started, ended: matches!(state, "Z" | "X") })
}

fn every_process() -> Vec<(u32, Stat)> {
    let names = std::fs::read_dir("/proc").into_iter().flatten().flatten().map(|e| e.file_name());
    let pids = names.filter_map(|n| n.to_str().and_then(|n| n.parse().ok()));
    pids.filter_map(|pid| Some((pid, read_stat(pid)?))).collect()
}

fn with_descendants(roots: &[u32], all: &[(u32, Stat)]) -> Vec<u32> {
    let mut out = roots.to_vec();
    let mut at = 0;
    while let Some(&parent) = out.get(at) {
        let children: Vec<u32> = all.iter().filter(|(pid, s)| s.parent == parent && !out.contains(pid)).map(|(pid, _)| *pid).collect();
        out.extend(children);
        at += 1;
    }
    out
}

#[cfg(unix)]
fn signal(pid: u32, how: Ask) {
    use rustix::process::{Pid, Signal, kill_process};
    let signal = match how {
        Ask::Interrupt => Signal::INT,
        Ask::Terminate => Signal::TERM,
        Ask::Quit => Signal::QUIT,
        Ask::Freeze => Signal::STOP,
        Ask::Kill => Signal::KILL,
    };
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // It may have ended a moment ago; then there is nothing to do.
        let _ = kill_process(pid, signal);
    }
}

#[cfg(not(unix))]
fn signal(_: u32, _: Ask) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let line = "42 (a) b (c)) S 7 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 98765 1 1";
        assert_eq!(parse_stat(line), Some(Stat { parent: 7, started: 98765, ended: false }));
        assert!(parse_stat(&line.replace(") S", ") Z")).unwrap().ended);
        assert_eq!(parse_stat("42 (a) S"), None);
    }

    #[test]
    fn a_tree_holds_children_of_children_and_nothing_else() {
        let of = |parent: u32| Stat { parent, started: 0, ended: false };
        let all = [(2, of(1)), (3, of(2)), (4, of(3)), (5, of(1)), (6, of(2))];
        assert_eq!(with_descendants(&[2], &all), [2, 3, 6, 4]);
        assert_eq!(with_descendants(&[], &all), Vec::<u32>::new());
    }

    #[test]
    fn only_the_folder_itself_and_what_is_below_belongs_to_it() {
        assert!(names_below("/srv/am/x/nats", "/srv/am/x/nats") && names_below("/srv/am/x/nats/n.conf", "/srv/am/x/nats"));
        assert!(!names_below("/srv/am/x/nats-cluster/1", "/srv/am/x/nats"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_detached_process_is_recognised_outlives_its_thread_and_dies_with_its_children() {
        let dir = std::env::temp_dir().join(format!("am-xtask-process-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        // It writes its child's number once the child is there.
        let script = "sleep 600 & echo $! > child.new; mv child.new child; wait";
        let process = spawn(Command::new("sh").args(["-c", script]).current_dir(&dir), &dir.join("log")).unwrap();
        let child = dir.join("child");
        while !child.exists() {
            crate::exec::pause(std::time::Duration::from_millis(5)).unwrap();
        }
        let child: u32 = std::fs::read_to_string(child).unwrap().trim().parse().unwrap();
        let child = Process::with_pid(child).unwrap();
        assert!(process.is_alive() && child.is_alive());
        assert!(!Process { started: process.started + 1, ..process }.is_alive(), "another process with the same number");
        let mut found = left_over(&dir, Path::new("/nowhere"), "");
        found.sort_unstable();
        let mut both = [process.pid, child.pid];
        both.sort_unstable();
        assert_eq!(found, both);
        kill_trees(&[process.pid]);
        while process.is_alive() || child.is_alive() {
            crate::exec::pause(std::time::Duration::from_millis(5)).unwrap();
        }
        assert_eq!(left_over(&dir, Path::new("/nowhere"), ""), Vec::<u32>::new());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
