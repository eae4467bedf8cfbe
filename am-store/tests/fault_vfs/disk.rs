//! A disk in memory that forgets, at a power cut, what was not synced.

use std::collections::HashMap;

use rusqlite::ffi;

/// The unit that a drive writes whole or not at all.
const SECTOR: usize = 512;
/// SQLite's index of the write-ahead log has eight lock slots and regions of 32 KiB.
pub const SLOTS: usize = 8;
pub type Region = Box<[u64; 4_096]>;

/// Which syncs the disk acknowledges without doing them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lose {
    Nothing,
    /// Those of the write-ahead log.
    LogSyncs,
    /// Those of the database file.
    FileSyncs,
    /// Those of the folder: names of new and deleted files.
    FolderSyncs,
}

enum Change {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

#[derive(Default)]
pub struct Inode {
    pub current: Vec<u8>,
    synced: Vec<u8>,
    unsynced: Vec<Change>,
    pub locks: Locks,
    pub regions: Vec<Region>,
    pub mapped: usize,
    /// Per slot: -1 for an exclusive lock, otherwise how many share it.
    pub slots: [i32; SLOTS],
}

#[derive(Default)]
pub struct Locks {
    pub shared: usize,
    pub reserved: Option<u64>,
    pub exclusive: Option<u64>,
}

enum Name {
    Made(String, u64),
    Gone(String),
}

/// A small generator (splitmix64): the same seed gives the same cut.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.roll() % n.max(1)
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// Files, names and what is not durable yet.
pub struct State {
    pub names: HashMap<String, u64>,
    durable_names: HashMap<String, u64>,
    pending: Vec<Name>,
    pub inodes: HashMap<u64, Inode>,
    /// Memory that connections of before the cut may still point to.
    graveyard: Vec<Inode>,
    next: u64,
    /// Handles of another epoch are dead.
    pub epoch: u64,
    pub alive: bool,
    pub lose: Lose,
    /// Writes, truncations, syncs, creations and deletions so far.
    pub operations: u64,
    pub cut_at: Option<u64>,
    /// All files together may not grow beyond it.
    pub capacity: usize,
    pub dice: Dice,
}

impl State {
    pub fn new() -> Self {
        State {
            names: HashMap::new(),
            durable_names: HashMap::new(),
            pending: Vec::new(),
            inodes: HashMap::new(),
            graveyard: Vec::new(),
            next: 1,
            epoch: 0,
            alive: true,
            lose: Lose::Nothing,
            operations: 0,
            cut_at: None,
            capacity: usize::MAX,
            dice: Dice(0),
        }
    }

    /// An empty disk; the cut comes at an operation's number.
    pub fn reset(&mut self, seed: u64, cut_at: Option<u64>, lose: Lose) {
        self.graveyard.extend(self.inodes.drain().map(|(_, i)| i));
        self.names.clear();
        self.durable_names.clear();
        self.pending.clear();
        self.epoch += 1;
        (self.alive, self.lose, self.operations, self.cut_at, self.dice) = (true, lose, 0, cut_at, Dice(seed));
    }

    pub fn handle(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Counts an operation; true when the power goes at it.
    pub fn tick(&mut self) -> bool {
        self.operations += 1;
        self.cut_at == Some(self.operations)
    }

    pub fn create(&mut self, name: &str) -> u64 {
        let inode = self.handle();
        self.inodes.insert(inode, Inode::default());
        self.names.insert(name.to_owned(), inode);
        self.pending.push(Name::Made(name.to_owned(), inode));
        inode
    }

    pub fn delete(&mut self, name: &str) -> bool {
        self.pending.push(Name::Gone(name.to_owned()));
        self.names.remove(name).is_some()
    }

    pub fn sync_folder(&mut self) {
        if self.lose == Lose::FolderSyncs {
            return;
        }
        for n in std::mem::take(&mut self.pending) {
            self.settle(n);
        }
    }

    fn settle(&mut self, n: Name) {
        match n {
            Name::Made(name, inode) => self.durable_names.insert(name, inode),
            Name::Gone(name) => self.durable_names.remove(&name),
        };
    }

    pub fn write(&mut self, inode: u64, at: usize, data: &[u8]) -> i32 {
        let used: usize = self.inodes.values().map(|i| i.current.len()).sum();
        let Some(i) = self.inodes.get_mut(&inode) else { return ffi::SQLITE_IOERR };
        let end = at + data.len();
        if end > i.current.len() {
            if used + end - i.current.len() > self.capacity {
                return ffi::SQLITE_FULL;
            }
            i.current.resize(end, 0);
        }
        i.current[at..end].copy_from_slice(data);
        i.unsynced.push(Change::Write(at, data.to_vec()));
        ffi::SQLITE_OK
    }

    pub fn truncate(&mut self, inode: u64, size: usize) {
        if let Some(i) = self.inodes.get_mut(&inode) {
            i.current.resize(size, 0);
            i.unsynced.push(Change::Truncate(size));
        }
    }

    pub fn sync(&mut self, inode: u64, is_log: bool) {
        let lost = match self.lose {
            Lose::LogSyncs => is_log,
            Lose::FileSyncs => !is_log,
            Lose::Nothing | Lose::FolderSyncs => false,
        };
        if let Some(i) = self.inodes.get_mut(&inode).filter(|_| !lost) {
            i.synced.clone_from(&i.current);
            i.unsynced.clear();
        }
    }

    /// The power goes: of what was not synced, each sector and each name survives or not.
    pub fn cut(&mut self) {
        if !self.alive {
            return;
        }
        self.alive = false;
        let survives = [0, 5, 50, 95, 100][self.dice.below(5) as usize];
        let names = std::mem::take(&mut self.pending);
        for n in names {
            if self.dice.chance(survives) {
                self.settle(n);
            }
        }
        let mut ids: Vec<u64> = self.inodes.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            let Some(i) = self.inodes.get_mut(&id) else { continue };
            let mut image = std::mem::take(&mut i.synced);
            for change in std::mem::take(&mut i.unsynced) {
                match change {
                    Change::Truncate(size) if self.dice.chance(survives) => image.resize(size, 0),
                    Change::Truncate(_) => {}
                    Change::Write(at, data) => tear(&mut image, at, &data, survives, &mut self.dice),
                }
            }
            i.synced = image;
        }
    }

    /// The power is back: what is on the platter is all there is.
    pub fn power_on(&mut self) {
        self.cut();
        let mut inodes = HashMap::new();
        for id in self.durable_names.values() {
            if let Some(i) = self.inodes.get(id) {
                inodes.insert(*id, Inode { current: i.synced.clone(), synced: i.synced.clone(), ..Default::default() });
            }
        }
        self.names = self.durable_names.clone();
        self.graveyard.extend(std::mem::replace(&mut self.inodes, inodes).into_values());
        self.epoch += 1;
        (self.alive, self.cut_at) = (true, None);
    }
}

/// Writes those sectors of the data that the drive got to. Bytes beside the data stay as they are.
fn tear(image: &mut Vec<u8>, at: usize, data: &[u8], survives: u64, dice: &mut Dice) {
    let mut done = 0;
    while done < data.len() {
        let start = at + done;
        let n = (SECTOR - start % SECTOR).min(data.len() - done);
        if dice.chance(survives) {
            if image.len() < start + n {
                image.resize(start + n, 0);
            }
            image[start..start + n].copy_from_slice(&data[done..done + n]);
        }
        done += n;
    }
}
