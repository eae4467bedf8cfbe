//! A Python environment of the project's own, outside the checkout.

use std::path::PathBuf;
use std::process::Command;

use crate::exec;

/// What the other protobuf implementation needs.
const PACKAGES: [&str; 2] = ["protobuf>=5", "grpcio-tools>=1.66"];
const IMPORTS: &str = "import google.protobuf, grpc_tools.protoc";

/// The interpreter of an environment that holds the packages; makes it when it is not there.
///
/// # Errors
/// Why it cannot be had on this machine.
pub(crate) fn interpreter() -> Result<PathBuf, String> {
    let venv = exec::cache_dir().join("venv");
    let python = venv.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    let ready = || exec::capture(Command::new(&python).args(["-c", IMPORTS])).is_ok();
    if python.exists() && ready() {
        return Ok(python);
    }
    let found = ["python3", "python"].into_iter().find(|p| exec::capture(Command::new(p).arg("--version")).is_ok());
    let base = found.ok_or("there is no python3")?;
    println!("making a Python environment in {}", venv.display());
    exec::capture(Command::new(base).args(["-m", "venv"]).arg(&venv)).map_err(|e| format!("no virtual environment: {e}"))?;
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]).args(PACKAGES);
    exec::capture(&mut pip).map_err(|e| format!("the packages {} cannot be installed: {e}", PACKAGES.join(" ")))?;
    if ready() { Ok(python) } else { Err("the installed packages cannot be imported".into()) }
}
