//! Memory that connections share beside the log: the wal-index and its locks.

use std::ffi::{c_int, c_void};
use std::ptr;

use rusqlite::ffi;

use super::disk::SLOTS;
use super::file_of;

pub(super) unsafe extern "C" fn shm_map(
    file: *mut ffi::sqlite3_file,
    region: c_int,
    size: c_int,
    extend: c_int,
    out: *mut *mut c_void,
) -> c_int {
    // SAFETY: a file that `open` filled, and a place for the answer. Regions stay where they are until nobody maps the file, and
    // those of before a cut are kept for ever.
    unsafe {
        let (f, mut s, alive) = file_of(file);
        *out = ptr::null_mut();
        let Some(i) = s.inodes.get_mut(&f.inode).filter(|_| alive) else { return ffi::SQLITE_IOERR };
        assert_eq!(size as usize, size_of::<[u64; 4_096]>());
        if !f.mapped {
            f.mapped = true;
            i.mapped += 1;
        }
        let region = region as usize;
        if region >= i.regions.len() {
            if extend == 0 {
                return ffi::SQLITE_OK;
            }
            i.regions.resize_with(region + 1, || Box::new([0; 4_096]));
        }
        *out = i.regions[region].as_mut_ptr() as *mut c_void;
    }
    ffi::SQLITE_OK
}

pub(super) unsafe extern "C" fn shm_lock(file: *mut ffi::sqlite3_file, offset: c_int, n: c_int, flags: c_int) -> c_int {
    // SAFETY: a file that `open` filled.
    let (f, mut s, alive) = unsafe { file_of(file) };
    let Some(i) = s.inodes.get_mut(&f.inode).filter(|_| alive) else { return ffi::SQLITE_IOERR };
    let slots = offset as usize..(offset + n) as usize;
    assert!(slots.end <= SLOTS);
    let exclusive = flags & ffi::SQLITE_SHM_EXCLUSIVE != 0;
    if flags & ffi::SQLITE_SHM_UNLOCK != 0 {
        for k in slots {
            let bit = 1u8 << k;
            if f.exclusive_slots & bit != 0 {
                i.slots[k] = 0;
                f.exclusive_slots &= !bit;
            } else if f.shared_slots & bit != 0 {
                i.slots[k] -= 1;
                f.shared_slots &= !bit;
            }
        }
        return ffi::SQLITE_OK;
    }
    let free = |k: usize| {
        let own = i32::from(f.shared_slots & (1 << k) != 0);
        if exclusive { i.slots[k] == own } else { i.slots[k] >= 0 }
    };
    if !slots.clone().all(free) {
        return ffi::SQLITE_BUSY;
    }
    for k in slots {
        let bit = 1u8 << k;
        if exclusive {
            i.slots[k] = -1;
            f.exclusive_slots |= bit;
            f.shared_slots &= !bit;
        } else if f.shared_slots & bit == 0 {
            i.slots[k] += 1;
            f.shared_slots |= bit;
        }
    }
    ffi::SQLITE_OK
}

pub(super) unsafe extern "C" fn shm_barrier(_: *mut ffi::sqlite3_file) {
    std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
}

pub(super) unsafe extern "C" fn shm_unmap(file: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    // SAFETY: a file that `open` filled.
    unsafe {
        shm_lock(file, 0, SLOTS as c_int, ffi::SQLITE_SHM_UNLOCK | ffi::SQLITE_SHM_SHARED);
        let (f, mut s, _) = file_of(file);
        let same = s.epoch == f.epoch;
        if std::mem::take(&mut f.mapped)
            && same
            && let Some(i) = s.inodes.get_mut(&f.inode)
        {
            i.mapped -= 1;
            if i.mapped == 0 {
                // Whoever maps it next finds it empty and recovers from the log, as after the last process ended.
                i.regions.clear();
            }
        }
    }
    ffi::SQLITE_OK
}
