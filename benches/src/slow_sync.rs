//! A SQLite VFS whose syncs take longer: the machine's own one, with a pause in front of every `xSync`.
#![allow(unsafe_code, reason = "a VFS is a table of C functions")]

use std::ffi::c_int;
use std::sync::Once;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::time::Duration;

use rusqlite::ffi;

/// The name to open a store with.
pub(crate) const NAME: &str = "am-slow-sync";

/// What the real VFS opens with, and the real table of a file's functions.
static REAL_VFS: AtomicPtr<ffi::sqlite3_vfs> = AtomicPtr::new(std::ptr::null_mut());
static REAL_METHODS: AtomicPtr<ffi::sqlite3_io_methods> = AtomicPtr::new(std::ptr::null_mut());
static SLOW_METHODS: AtomicPtr<ffi::sqlite3_io_methods> = AtomicPtr::new(std::ptr::null_mut());
static PAUSE_US: AtomicU64 = AtomicU64::new(0);

/// Registers the VFS, once for the process; every sync through it takes `pause` longer.
pub(crate) fn register(pause: Duration) -> Result<(), String> {
    static ONCE: Once = Once::new();
    PAUSE_US.store(u64::try_from(pause.as_micros()).unwrap_or(u64::MAX), Ordering::Release);
    let mut code = ffi::SQLITE_OK;
    ONCE.call_once(|| {
        // SAFETY: the default VFS lives as long as the process; its table is copied, one function of the copy is replaced, and the copy is
        // leaked, so that SQLite may keep it.
        code = unsafe {
            let real = ffi::sqlite3_vfs_find(std::ptr::null());
            if real.is_null() {
                ffi::SQLITE_ERROR
            } else {
                REAL_VFS.store(real, Ordering::Release);
                let slow = Box::leak(Box::new(*real));
                slow.zName = c"am-slow-sync".as_ptr();
                slow.pNext = std::ptr::null_mut();
                slow.xOpen = Some(open);
                ffi::sqlite3_vfs_register(slow, 0)
            }
        };
    });
    if code == ffi::SQLITE_OK { Ok(()) } else { Err(format!("the slow VFS cannot be registered: {code}")) }
}

/// Opens with the real VFS, then gives the file the table with the slow sync.
unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    let _ = vfs;
    let real = REAL_VFS.load(Ordering::Acquire);
    // SAFETY: SQLite calls this with a file of the size that the copied VFS states, which is the real one's; the real functions are given
    // the real VFS. The unix VFS has one static table for all ordinary files.
    unsafe {
        let Some(real_open) = (*real).xOpen else { return ffi::SQLITE_ERROR };
        let code = real_open(real, name, file, flags, out);
        let methods = (*file).pMethods;
        if code != ffi::SQLITE_OK || methods.is_null() {
            return code;
        }
        if REAL_METHODS.load(Ordering::Acquire).is_null() {
            let mut slow = *methods;
            slow.xSync = Some(sync);
            SLOW_METHODS.store(Box::leak(Box::new(slow)), Ordering::Release);
            REAL_METHODS.store(methods.cast_mut(), Ordering::Release);
        }
        if std::ptr::eq(methods, REAL_METHODS.load(Ordering::Acquire)) {
            (*file).pMethods = SLOW_METHODS.load(Ordering::Acquire);
        }
        code
    }
}

/// Pauses, then syncs for real.
#[allow(clippy::disallowed_methods, reason = "the pause stands for a slower disk: it blocks the thread, as a disk does")]
unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    std::thread::sleep(Duration::from_micros(PAUSE_US.load(Ordering::Acquire)));
    // SAFETY: the file was opened above by the real VFS, whose table this is.
    match unsafe { REAL_METHODS.load(Ordering::Acquire).as_ref() }.and_then(|m| m.xSync) {
        // SAFETY: as above.
        Some(real) => unsafe { real(file, flags) },
        None => ffi::SQLITE_IOERR_FSYNC,
    }
}
