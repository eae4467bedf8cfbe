//! A SQLite VFS over [`disk::State`], so that the real backend runs on a disk whose power can be cut.
#![allow(unsafe_code, dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

pub mod disk;
mod shm;

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr;
use std::sync::Arc;

use disk::{Lose, State};
use parking_lot::{Mutex, MutexGuard};
use rusqlite::ffi;
use shm::{shm_barrier, shm_lock, shm_map, shm_unmap};

/// A disk and the VFS that leads to it.
#[derive(Clone)]
pub struct Disk {
    state: Arc<Mutex<State>>,
    pub vfs: String,
}

/// What SQLite keeps per open file; `base` must come first.
#[repr(C)]
struct File {
    base: ffi::sqlite3_file,
    state: *const Mutex<State>,
    inode: u64,
    handle: u64,
    epoch: u64,
    level: c_int,
    shared_slots: u8,
    exclusive_slots: u8,
    mapped: bool,
    is_log: bool,
    sync_folder: bool,
}

impl Disk {
    /// Registers a VFS of its own, for the life of the process.
    pub fn new(name: &str) -> Disk {
        let state = Arc::new(Mutex::new(State::new()));
        let vfs = ffi::sqlite3_vfs {
            iVersion: 1,
            szOsFile: size_of::<File>() as c_int,
            mxPathname: 1_024,
            pNext: ptr::null_mut(),
            zName: CString::new(name).unwrap().into_raw(),
            pAppData: Arc::into_raw(state.clone()) as *mut c_void,
            xOpen: Some(open),
            xDelete: Some(delete),
            xAccess: Some(access),
            xFullPathname: Some(full_path),
            xDlOpen: None,
            xDlError: None,
            xDlSym: None,
            xDlClose: None,
            xRandomness: Some(randomness),
            xSleep: Some(sleep),
            xCurrentTime: Some(current_time),
            xGetLastError: Some(last_error),
            xCurrentTimeInt64: None,
            xSetSystemCall: None,
            xGetSystemCall: None,
            xNextSystemCall: None,
        };
        // SAFETY: the structure, its name and its state are leaked, so they outlive every connection.
        let rc = unsafe { ffi::sqlite3_vfs_register(Box::into_raw(Box::new(vfs)), 0) };
        assert_eq!(rc, ffi::SQLITE_OK);
        Disk { state, vfs: name.to_owned() }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// An empty disk whose power goes at the given operation.
    pub fn reset(&self, seed: u64, cut_at: Option<u64>, lose: Lose) {
        self.state().reset(seed, cut_at, lose);
    }
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

/// The disk of a VFS.
///
/// # Safety
/// `vfs` is one that [`Disk::new`] registered.
unsafe fn disk_of<'a>(vfs: *mut ffi::sqlite3_vfs) -> &'a Mutex<State> {
    // SAFETY: `pAppData` was leaked from an `Arc<Mutex<State>>`.
    unsafe { &*((*vfs).pAppData as *const Mutex<State>) }
}

/// An open file with its disk, locked; `None` when the file is of before the last cut.
///
/// # Safety
/// `file` was filled by [`open`].
unsafe fn file_of<'a>(file: *mut ffi::sqlite3_file) -> (&'a mut File, MutexGuard<'a, State>, bool) {
    // SAFETY: SQLite hands back the memory that `open` filled, from one thread at a time.
    let f = unsafe { &mut *(file as *mut File) };
    // SAFETY: the state was leaked.
    let state = unsafe { &*f.state }.lock();
    let alive = state.alive && state.epoch == f.epoch;
    (f, state, alive)
}

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: called by SQLite with the VFS it was registered as.
    let mutex = unsafe { disk_of(vfs) };
    let mut s = mutex.lock();
    // SAFETY: SQLite wants `pMethods` null when opening fails.
    unsafe { (*file).pMethods = ptr::null() };
    if !s.alive {
        return ffi::SQLITE_IOERR;
    }
    let name = match name.is_null() {
        true => format!("temp-{}", s.handle()),
        // SAFETY: a C string by contract.
        false => unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned(),
    };
    let (inode, made) = match s.names.get(&name) {
        Some(i) => (*i, false),
        None if flags & ffi::SQLITE_OPEN_CREATE == 0 => return ffi::SQLITE_CANTOPEN,
        None => {
            if s.tick() {
                s.cut();
                return ffi::SQLITE_IOERR;
            }
            (s.create(&name), true)
        }
    };
    let journal = flags & (ffi::SQLITE_OPEN_MAIN_JOURNAL | ffi::SQLITE_OPEN_SUPER_JOURNAL | ffi::SQLITE_OPEN_WAL) != 0;
    let filled = File {
        base: ffi::sqlite3_file { pMethods: &raw const METHODS },
        state: mutex,
        inode,
        handle: s.handle(),
        epoch: s.epoch,
        level: 0,
        shared_slots: 0,
        exclusive_slots: 0,
        mapped: false,
        is_log: journal,
        // As the Unix VFS has it: the folder is synced with the first sync of a new journal.
        sync_folder: made && journal,
    };
    // SAFETY: SQLite gave `szOsFile` bytes for it; `out` may be null.
    unsafe {
        (file as *mut File).write(filled);
        if !out.is_null() {
            *out = flags;
        }
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn delete(vfs: *mut ffi::sqlite3_vfs, name: *const c_char, sync_folder: c_int) -> c_int {
    // SAFETY: called by SQLite with the VFS it was registered as, and a C string.
    let (mut s, name) = unsafe { (disk_of(vfs).lock(), CStr::from_ptr(name).to_string_lossy().into_owned()) };
    if !s.alive {
        return ffi::SQLITE_IOERR;
    }
    if !s.names.contains_key(&name) {
        return ffi::SQLITE_IOERR_DELETE_NOENT;
    }
    let cut = s.tick();
    s.delete(&name);
    if cut {
        s.cut();
        return ffi::SQLITE_IOERR;
    }
    if sync_folder != 0 {
        s.sync_folder();
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn access(vfs: *mut ffi::sqlite3_vfs, name: *const c_char, _: c_int, out: *mut c_int) -> c_int {
    // SAFETY: called by SQLite with the VFS it was registered as, a C string and a place for the answer.
    unsafe {
        let s = disk_of(vfs).lock();
        let name = CStr::from_ptr(name).to_string_lossy();
        let file = s.names.get(name.as_ref()).and_then(|i| s.inodes.get(i));
        *out = c_int::from(file.is_some_and(|f| !f.current.is_empty()));
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn full_path(_: *mut ffi::sqlite3_vfs, name: *const c_char, n: c_int, out: *mut c_char) -> c_int {
    // SAFETY: `out` has room for `n` bytes.
    unsafe {
        let name = CStr::from_ptr(name).to_bytes_with_nul();
        if name.len() > n as usize {
            return ffi::SQLITE_CANTOPEN;
        }
        ptr::copy_nonoverlapping(name.as_ptr() as *const c_char, out, name.len());
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn randomness(vfs: *mut ffi::sqlite3_vfs, n: c_int, out: *mut c_char) -> c_int {
    // SAFETY: `out` has room for `n` bytes.
    unsafe {
        let mut s = disk_of(vfs).lock();
        for i in 0..n as usize {
            *out.add(i) = s.dice.roll() as c_char;
        }
    }
    n
}

unsafe extern "C" fn sleep(_: *mut ffi::sqlite3_vfs, micros: c_int) -> c_int {
    std::thread::yield_now();
    micros
}

unsafe extern "C" fn current_time(_: *mut ffi::sqlite3_vfs, out: *mut f64) -> c_int {
    // SAFETY: a place for the answer, by contract. The Julian day of 2026-03-01.
    unsafe { *out = 2_461_100.5 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn last_error(_: *mut ffi::sqlite3_vfs, _: c_int, _: *mut c_char) -> c_int {
    0
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: a file that `open` filled.
    unsafe {
        shm_unmap(file, 0);
        unlock(file, 0);
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn read(file: *mut ffi::sqlite3_file, out: *mut c_void, n: c_int, at: i64) -> c_int {
    // SAFETY: a file that `open` filled, and room for `n` bytes.
    unsafe {
        let (f, s, alive) = file_of(file);
        let Some(i) = s.inodes.get(&f.inode).filter(|_| alive) else { return ffi::SQLITE_IOERR };
        let (n, at) = (n as usize, at as usize);
        let there = i.current.get(at.min(i.current.len())..(at + n).min(i.current.len())).unwrap_or_default();
        ptr::copy_nonoverlapping(there.as_ptr(), out as *mut u8, there.len());
        ptr::write_bytes((out as *mut u8).add(there.len()), 0, n - there.len());
        if there.len() < n { ffi::SQLITE_IOERR_SHORT_READ } else { ffi::SQLITE_OK }
    }
}

unsafe extern "C" fn write(file: *mut ffi::sqlite3_file, data: *const c_void, n: c_int, at: i64) -> c_int {
    // SAFETY: a file that `open` filled, and `n` bytes of data.
    unsafe {
        let (f, mut s, alive) = file_of(file);
        if !alive {
            return ffi::SQLITE_IOERR;
        }
        let cut = s.tick();
        let rc = s.write(f.inode, at as usize, std::slice::from_raw_parts(data as *const u8, n as usize));
        if cut {
            s.cut();
            return ffi::SQLITE_IOERR;
        }
        rc
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: i64) -> c_int {
    // SAFETY: a file that `open` filled.
    let (f, mut s, alive) = unsafe { file_of(file) };
    if !alive {
        return ffi::SQLITE_IOERR;
    }
    let cut = s.tick();
    s.truncate(f.inode, size as usize);
    if cut {
        s.cut();
        return ffi::SQLITE_IOERR;
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    // SAFETY: a file that `open` filled.
    let (f, mut s, alive) = unsafe { file_of(file) };
    if !alive {
        return ffi::SQLITE_IOERR;
    }
    if s.tick() {
        s.cut();
        return ffi::SQLITE_IOERR;
    }
    s.sync(f.inode, f.is_log);
    if std::mem::take(&mut f.sync_folder) {
        s.sync_folder();
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, out: *mut i64) -> c_int {
    // SAFETY: a file that `open` filled, and a place for the answer.
    unsafe {
        let (f, s, alive) = file_of(file);
        let Some(i) = s.inodes.get(&f.inode).filter(|_| alive) else { return ffi::SQLITE_IOERR };
        *out = i.current.len() as i64;
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn lock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: a file that `open` filled.
    let (f, mut s, alive) = unsafe { file_of(file) };
    let Some(i) = s.inodes.get_mut(&f.inode).filter(|_| alive) else { return ffi::SQLITE_IOERR };
    if level <= f.level {
        return ffi::SQLITE_OK;
    }
    let l = &mut i.locks;
    let others = |o: Option<u64>| o.is_some_and(|h| h != f.handle);
    if others(l.exclusive) || (level >= ffi::SQLITE_LOCK_RESERVED && others(l.reserved)) {
        return ffi::SQLITE_BUSY;
    }
    if f.level == 0 {
        l.shared += 1;
        f.level = ffi::SQLITE_LOCK_SHARED;
    }
    if level >= ffi::SQLITE_LOCK_RESERVED {
        l.reserved = Some(f.handle);
        f.level = ffi::SQLITE_LOCK_RESERVED;
    }
    if level >= ffi::SQLITE_LOCK_PENDING {
        if l.shared > 1 {
            return ffi::SQLITE_BUSY;
        }
        l.exclusive = Some(f.handle);
        f.level = level;
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn unlock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: a file that `open` filled.
    let (f, mut s, _) = unsafe { file_of(file) };
    if f.level <= level || s.epoch != f.epoch {
        f.level = f.level.min(level);
        return ffi::SQLITE_OK;
    }
    if let Some(i) = s.inodes.get_mut(&f.inode) {
        let l = &mut i.locks;
        for held in [&mut l.reserved, &mut l.exclusive] {
            if *held == Some(f.handle) {
                *held = None;
            }
        }
        if level == 0 {
            l.shared = l.shared.saturating_sub(1);
        }
    }
    f.level = level;
    ffi::SQLITE_OK
}

unsafe extern "C" fn check_reserved(file: *mut ffi::sqlite3_file, out: *mut c_int) -> c_int {
    // SAFETY: a file that `open` filled, and a place for the answer.
    unsafe {
        let (f, s, _) = file_of(file);
        *out = c_int::from(s.inodes.get(&f.inode).is_some_and(|i| i.locks.reserved.is_some()));
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn file_control(_: *mut ffi::sqlite3_file, _: c_int, _: *mut c_void) -> c_int {
    ffi::SQLITE_NOTFOUND
}

unsafe extern "C" fn sector_size(_: *mut ffi::sqlite3_file) -> c_int {
    512
}

unsafe extern "C" fn characteristics(_: *mut ffi::sqlite3_file) -> c_int {
    // As the Unix VFS says: bytes beside a write survive it.
    ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE
}
