//! Child processes: each in a group of its own, so that stopping this program stops all that they started.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use crate::project_root;

static STOPPING: AtomicBool = AtomicBool::new(false);
/// How many pieces of work want to clean up before this program ends.
static HELD: AtomicU32 = AtomicU32::new(0);
/// The process group of the child that runs now; 0 when none does.
static CHILD: AtomicU32 = AtomicU32::new(0);

/// True once the user asked to stop.
pub(crate) fn stopping() -> bool {
    STOPPING.load(Ordering::SeqCst)
}

/// Passes Ctrl-C and termination on to the running child and everything below it; the second time without mercy.
pub(crate) fn stop_children_on_signals() {
    #[cfg(unix)]
    {
        use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
        let Ok(mut signals) = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP]) else { return };
        std::thread::spawn(move || {
            for _ in signals.forever() {
                let again = STOPPING.swap(true, Ordering::SeqCst);
                match CHILD.load(Ordering::SeqCst) {
                    0 if !again && HELD.load(Ordering::SeqCst) > 0 => {}
                    0 => std::process::exit(130),
                    group => kill_group(group, again),
                }
            }
        });
    }
}

/// While this lives, the first wish to stop does not end the program: the work under way sees [`stopping`] and cleans up.
pub(crate) struct CleansUp(());

impl CleansUp {
    pub(crate) fn begin() -> Self {
        HELD.fetch_add(1, Ordering::SeqCst);
        CleansUp(())
    }
}

impl Drop for CleansUp {
    fn drop(&mut self) {
        HELD.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Waits, for asking again later whether something has happened outside this program.
///
/// # Errors
/// The user asked to stop.
pub(crate) fn pause(d: Duration) -> Result<(), String> {
    let (_keep, nobody_sends) = std::sync::mpsc::sync_channel::<()>(0);
    let _ = nobody_sends.recv_timeout(d);
    if stopping() { Err("stopped".into()) } else { Ok(()) }
}

#[cfg(unix)]
fn kill_group(group: u32, hard: bool) {
    use rustix::process::{Pid, Signal, kill_process_group};
    if let Some(pid) = i32::try_from(group).ok().and_then(Pid::from_raw) {
        // It may have ended a moment ago; then there is nothing to stop.
        let _ = kill_process_group(pid, if hard { Signal::KILL } else { Signal::TERM });
    }
}

/// Cargo, run from the project root, building outside the checkout.
pub(crate) fn cargo<S: Into<OsString>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut c = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    c.args(args.into_iter().map(Into::into)).current_dir(project_root()).env("CARGO_TARGET_DIR", target_dir());
    c
}

/// Where build results go: `$CARGO_TARGET_DIR`, else `~/.cache/am/target`.
pub(crate) fn target_dir() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => std::path::absolute(&dir).unwrap_or_else(|_| dir.into()),
        None => cache_dir().join("target"),
    }
}

/// The folder for what is built or fetched once and used again: `~/.cache/am`.
pub(crate) fn cache_dir() -> PathBuf {
    match std::env::home_dir() {
        Some(home) => home.join(".cache/am"),
        None => project_root().join("target/am"),
    }
}

/// Runs a command to its end, its output going where ours goes.
///
/// # Errors
/// What it could not do, or how it ended.
pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    println!("$ {}", shown(command));
    let status = wait(command.stdin(Stdio::null()))?.0;
    if status.success() { Ok(()) } else { Err(format!("{}: {status}", program(command))) }
}

/// Runs a command to its end and gives what it wrote to its standard output.
///
/// # Errors
/// What it could not do, or the last line it wrote to its standard error.
pub(crate) fn capture(command: &mut Command) -> Result<String, String> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let (status, out, err) = wait(command)?;
    if status.success() {
        return Ok(out);
    }
    let last = err.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or_default();
    Err(format!("{}: {status}: {}", program(command), last.trim()))
}

/// Runs a command to its end, its output going into a file.
///
/// # Errors
/// What it could not do, or the last line of its output.
pub(crate) fn run_into(command: &mut Command, log: &Path) -> Result<(), String> {
    let open = || std::fs::File::create(log).and_then(|f| Ok((f.try_clone()?, f)));
    let (out, err) = open().map_err(|e| format!("{}: {e}", log.display()))?;
    let (status, _, _) = wait(command.stdin(Stdio::null()).stdout(out).stderr(err))?;
    if status.success() {
        return Ok(());
    }
    let text = std::fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let last = text.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or_default();
    Err(format!("{}: {status}: {} (all of it: {})", program(command), last.trim(), log.display()))
}

/// Runs a command of the user to its end, input and output as they are, and gives its exit code; as in a shell, one that
/// a signal ended has 128 and the signal's number.
///
/// # Errors
/// It cannot be started.
pub(crate) fn exit_code(command: &mut Command) -> Result<u8, String> {
    // A terminal gives its input to its own group only, and the child is in another.
    command.stdin(if std::io::stdin().is_terminal() { Stdio::null() } else { Stdio::inherit() });
    let status = wait(command)?.0;
    #[cfg(unix)]
    let signal = std::os::unix::process::ExitStatusExt::signal(&status).map(|signal| 128 + signal);
    #[cfg(not(unix))]
    let signal = None;
    Ok(status.code().or(signal).and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

fn wait(command: &mut Command) -> Result<(std::process::ExitStatus, String, String), String> {
    if stopping() {
        return Err("stopped".into());
    }
    #[cfg(unix)]
    {
        use std::os::unix::process::CommandExt;
        command.process_group(0);
    }
    let child = command.spawn().map_err(|e| format!("{}: {e}", program(command)))?;
    CHILD.store(child.id(), Ordering::SeqCst);
    #[cfg(unix)]
    if stopping() {
        kill_group(child.id(), false);
    }
    let output = child.wait_with_output();
    CHILD.store(0, Ordering::SeqCst);
    let output = output.map_err(|e| format!("{}: {e}", program(command)))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((output.status, text(&output.stdout), text(&output.stderr)))
}

fn program(command: &Command) -> String {
    let path = std::path::Path::new(command.get_program());
    path.file_name().unwrap_or(command.get_program()).to_string_lossy().into_owned()
}

fn shown(command: &Command) -> String {
    let mut words = vec![program(command)];
    words.extend(command.get_args().map(|a| a.to_string_lossy().into_owned()));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_command_says_how_it_ended_and_a_missing_one_that_it_is_missing() {
        assert_eq!(capture(Command::new("sh").args(["-c", "echo yes"])), Ok("yes\n".into()));
        let e = capture(Command::new("sh").args(["-c", "echo first >&2; echo last >&2; exit 3"])).unwrap_err();
        assert!(e.starts_with("sh: exit status: 3: last"), "{e}");
        assert_eq!(exit_code(Command::new("sh").args(["-c", "exit 3"])), Ok(3));
        #[cfg(unix)]
        assert_eq!(exit_code(Command::new("sh").args(["-c", "kill -9 $$"])), Ok(137));
        assert!(run(&mut Command::new("no-such-program-here")).unwrap_err().starts_with("no-such-program-here: "));
    }
}
