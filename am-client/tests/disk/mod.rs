//! A disk that forgets what was not synced.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::indexing_slicing, reason = "a tool of tests")]

use std::collections::BTreeMap;
use std::sync::Arc;

use am_client::outbox::{Disk, DiskFile};
use am_core::{Code, Error, Result};
use parking_lot::Mutex;

/// Which kind of sync is left out on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    None,
    FileSync,
    FolderSync,
}

#[derive(Clone, Default)]
struct Inode {
    current: Vec<u8>,
    durable: Vec<u8>,
}

#[derive(Clone)]
enum FolderOp {
    Link(String, usize),
    Unlink(String),
    Rename(String, String),
}

struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    pending: Vec<FolderOp>,
    /// Operations until the power goes.
    fuse: Option<u64>,
    off: bool,
    sabotage: Sabotage,
}

/// Files in memory, each with its synced and its unsynced content.
#[derive(Clone)]
pub struct FaultDisk(Arc<Mutex<State>>);

/// A small random sequence (Marsaglia, "Xorshift RNGs", 2003).
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }
}

fn apply(names: &mut BTreeMap<String, usize>, op: &FolderOp) {
    match op {
        FolderOp::Link(n, i) => {
            names.insert(n.clone(), *i);
        }
        FolderOp::Unlink(n) => {
            names.remove(n);
        }
        FolderOp::Rename(a, b) => {
            if let Some(i) = names.remove(a) {
                names.insert(b.clone(), i);
            }
        }
    }
}

impl FaultDisk {
    pub fn new(sabotage: Sabotage) -> Self {
        FaultDisk(Arc::new(Mutex::new(State {
            inodes: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            pending: Vec::new(),
            fuse: None,
            off: false,
            sabotage,
        })))
    }

    /// Lets the power go after so many operations.
    pub fn cut_after(&self, ops: u64) {
        self.0.lock().fuse = Some(ops);
    }

    /// Cuts the power and brings it back: unsynced writes are kept, dropped or torn; unsynced folder changes are kept up to a point.
    pub fn power_cycle(&self, rng: &mut Rng) {
        let mut s = self.0.lock();
        let kept = rng.below(s.pending.len() as u64 + 1) as usize;
        let mut names = s.durable_names.clone();
        for op in s.pending.clone().iter().take(kept) {
            apply(&mut names, op);
        }
        for inode in &mut s.inodes {
            let mut content = match rng.below(4) {
                0 => inode.durable.clone(),
                1 => inode.current.clone(),
                _ => {
                    let common = inode.durable.len().min(inode.current.len());
                    let upto = common + rng.below((inode.current.len() - common) as u64 + 1) as usize;
                    inode.current[..upto].to_vec()
                }
            };
            // Some of the unsynced sectors never made it.
            let mut sector = inode.durable.len().div_ceil(512) * 512;
            while sector < content.len() {
                if rng.below(3) == 0 {
                    let end = (sector + 512).min(content.len());
                    content[sector..end].fill(0);
                }
                sector += 512;
            }
            inode.current = content.clone();
            inode.durable = content;
        }
        s.names = names.clone();
        s.durable_names = names;
        s.pending.clear();
        s.fuse = None;
        s.off = false;
    }
}

impl State {
    fn step(&mut self) -> Result<()> {
        if let Some(f) = &mut self.fuse {
            match f.checked_sub(1) {
                Some(n) => *f = n,
                None => self.off = true,
            }
        }
        match self.off {
            true => Err(Error::new(Code::IO, "the power is off")),
            false => Ok(()),
        }
    }
}

impl Disk for FaultDisk {
    fn list(&self) -> Result<Vec<String>> {
        let mut s = self.0.lock();
        s.step()?;
        Ok(s.names.keys().cloned().collect())
    }

    fn open(&self, name: &str, create: bool) -> Result<Arc<dyn DiskFile>> {
        let mut s = self.0.lock();
        s.step()?;
        let inode = match s.names.get(name) {
            Some(i) => *i,
            None if create => {
                s.inodes.push(Inode::default());
                let i = s.inodes.len() - 1;
                s.names.insert(name.into(), i);
                s.pending.push(FolderOp::Link(name.into(), i));
                i
            }
            None => return Err(Error::new(Code::IO, format!("{name}: no such file"))),
        };
        Ok(Arc::new(FaultFile { disk: self.clone(), inode }))
    }

    fn remove(&self, name: &str) -> Result<()> {
        let mut s = self.0.lock();
        s.step()?;
        if s.names.remove(name).is_some() {
            s.pending.push(FolderOp::Unlink(name.into()));
        }
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        let mut s = self.0.lock();
        s.step()?;
        let op = FolderOp::Rename(from.into(), to.into());
        apply(&mut s.names, &op);
        s.pending.push(op);
        Ok(())
    }

    fn sync_folder(&self) -> Result<()> {
        let mut s = self.0.lock();
        s.step()?;
        if s.sabotage != Sabotage::FolderSync {
            s.durable_names = s.names.clone();
            s.pending.clear();
        }
        Ok(())
    }
}

struct FaultFile {
    disk: FaultDisk,
    inode: usize,
}

impl DiskFile for FaultFile {
    fn append(&self, bytes: &[u8]) -> Result<()> {
        let mut s = self.disk.0.lock();
        s.step()?;
        s.inodes[self.inode].current.extend_from_slice(bytes);
        Ok(())
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<usize> {
        let mut s = self.disk.0.lock();
        s.step()?;
        let c = &s.inodes[self.inode].current;
        let from = (at as usize).min(c.len());
        let n = buf.len().min(c.len() - from);
        buf[..n].copy_from_slice(&c[from..from + n]);
        Ok(n)
    }

    fn size(&self) -> Result<u64> {
        let mut s = self.disk.0.lock();
        s.step()?;
        Ok(s.inodes[self.inode].current.len() as u64)
    }

    fn truncate(&self, len: u64) -> Result<()> {
        let mut s = self.disk.0.lock();
        s.step()?;
        s.inodes[self.inode].current.truncate(len as usize);
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        let mut s = self.disk.0.lock();
        s.step()?;
        if s.sabotage != Sabotage::FileSync {
            let i = &mut s.inodes[self.inode];
            i.durable = i.current.clone();
        }
        Ok(())
    }
}
