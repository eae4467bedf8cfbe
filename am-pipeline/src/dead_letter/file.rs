//! Dead letters in one append-only file.
//!
//! A record is `length u32 | crc32 u32 | payload`, little-endian; the payload is a line of JSON, a letter or `{"resolved": id}`. A torn
//! record at the end is cut off when the file is opened: it was never acknowledged. Damage before the end is an error.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use am_core::{Code, Ctx, Error, Result};
use async_trait::async_trait;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::{DeadLetter, DeadLetters, LetterQuery};
use crate::record;

/// The file is written anew without its resolved letters when they make up this many and more than half of it.
const COMPACT_AT: usize = 1_024;

/// Keeps letters in a file; what was parked survives a power cut.
#[derive(Debug, Clone)]
pub struct DeadLetterFile(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    file: File,
    end: u64,
    letters: BTreeMap<String, DeadLetter>,
    resolved: usize,
    limit: usize,
}

impl DeadLetterFile {
    /// Opens or makes the file; at most `limit` open letters are taken, so that memory stays bounded.
    ///
    /// # Errors
    /// `IO` when it cannot be opened, `STORE_CORRUPT` when it is damaged before its end.
    pub fn open(path: impl AsRef<Path>, limit: usize) -> Result<DeadLetterFile> {
        let path = path.as_ref().to_owned();
        let io = |e| Error::io("dead_letters.open", path.display(), e);
        let mut file = File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(io)?;
        record::sync_folder(&path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(io)?;
        let mut inner = Inner { path: path.clone(), file, end: 0, letters: BTreeMap::new(), resolved: 0, limit };
        let mut reader = record::Reader::new(&bytes);
        while let Some(payload) = reader.next(&path)? {
            let v: Value = serde_json::from_slice(payload)
                .map_err(|e| Error::new(Code::STORE_CORRUPT, format!("{}: {e}", path.display())).op("dead_letters.open"))?;
            match v.get("resolved").and_then(Value::as_str) {
                Some(id) => inner.resolved += usize::from(inner.letters.remove(id).is_some()),
                None => {
                    let l = DeadLetter::from_json(&v)?;
                    inner.letters.insert(l.id.clone(), l);
                }
            }
        }
        inner.end = reader.good();
        inner.file.set_len(inner.end).map_err(io)?;
        Ok(DeadLetterFile(Arc::new(Mutex::new(inner))))
    }

    /// Number of open letters.
    pub fn len(&self) -> usize {
        self.0.lock().letters.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// File work blocks, so it runs where that harms nobody.
    async fn blocking<T: Send + 'static>(&self, f: impl FnOnce(&mut Inner) -> Result<T> + Send + 'static) -> Result<T> {
        let inner = self.0.clone();
        let joined = tokio::task::spawn_blocking(move || f(&mut inner.lock())).await;
        joined.map_err(|e| Error::new(Code::INTERNAL, format!("the file's thread ended: {e}")).op("dead_letters"))?
    }
}

impl Inner {
    fn append(&mut self, payloads: &[Value]) -> Result<()> {
        let mut buf = Vec::new();
        for p in payloads {
            record::put(&mut buf, p.to_string().as_bytes());
        }
        let path = &self.path;
        let io = |e| Error::io("dead_letters.append", path.display(), e);
        let write = |file: &mut File| {
            file.seek(SeekFrom::Start(self.end))?;
            file.write_all(&buf)?;
            file.sync_data()
        };
        if let Err(e) = write(&mut self.file) {
            // What is half written must not stand before the next record.
            let _ = self.file.set_len(self.end);
            return Err(io(e));
        }
        self.end += buf.len() as u64;
        Ok(())
    }

    fn compact(&mut self) -> Result<()> {
        if self.resolved < COMPACT_AT || self.resolved < self.letters.len() {
            return Ok(());
        }
        let mut buf = Vec::new();
        for l in self.letters.values() {
            record::put(&mut buf, l.to_json().to_string().as_bytes());
        }
        self.file = record::replace(&self.path, &buf)?;
        self.end = buf.len() as u64;
        self.resolved = 0;
        Ok(())
    }
}

#[async_trait]
impl DeadLetters for DeadLetterFile {
    async fn park(&self, _: &Ctx, letters: Vec<DeadLetter>) -> Result<()> {
        self.blocking(move |inner| {
            let mut fresh: BTreeMap<String, DeadLetter> = BTreeMap::new();
            fresh.extend(letters.into_iter().filter(|l| !inner.letters.contains_key(&l.id)).map(|l| (l.id.clone(), l)));
            if inner.letters.len() + fresh.len() > inner.limit {
                let message = format!("{} holds {} letters; resolve some", inner.path.display(), inner.letters.len());
                return Err(Error::new(Code::OVERLOADED, message).op("dead_letters.park"));
            }
            inner.append(&fresh.values().map(DeadLetter::to_json).collect::<Vec<_>>())?;
            inner.letters.append(&mut fresh);
            Ok(())
        })
        .await
    }

    async fn list(&self, ctx: &Ctx, query: &LetterQuery) -> Result<Vec<DeadLetter>> {
        Ok(query.pick(ctx, self.0.lock().letters.values()))
    }

    async fn resolve(&self, ctx: &Ctx, ids: &[String]) -> Result<usize> {
        let (scope, ids) = (ctx.scope().clone(), ids.to_vec());
        self.blocking(move |inner| {
            let open: Vec<String> = ids.into_iter().filter(|id| inner.letters.get(id).is_some_and(|l| l.scope == scope)).collect();
            inner.append(&open.iter().map(|id| json!({"resolved": id})).collect::<Vec<_>>())?;
            for id in &open {
                inner.letters.remove(id);
            }
            inner.resolved += open.len();
            inner.compact()?;
            Ok(open.len())
        })
        .await
    }
}
