//! Readings from JSON lines, and dead letters once more.

use std::collections::{BTreeMap, VecDeque};
use std::io::BufRead;
use std::sync::Arc;

use am_core::{Code, Ctx, Error, Result};
use am_schema::{Catalogue, Decoder, Finding, Reading, Rejected};
use async_trait::async_trait;
use bytes::Bytes;

use crate::{Arrival, DeadLetter, DeadLetters, LetterQuery, Origin, Outcome, Polled, Settled, Source, Token};

/// The longest line that is read; of longer ones the start goes to the dead letters.
const MAX_LINE: usize = 8 << 20;

/// Reads one reading or dead letter per line. Blank lines are skipped.
///
/// The input must not wait for someone, such as a terminal: it is read on the runtime's own thread.
pub struct JsonLines<R> {
    input: R,
    decoder: Decoder,
    catalogue: Catalogue,
    line: u64,
    at_end: bool,
    /// Lines handed over and not settled, to be handed over again.
    out: BTreeMap<u64, Bytes>,
    again: VecDeque<u64>,
}

impl<R: BufRead + Send> JsonLines<R> {
    /// Reads from `input`; old times are taken, as in an import.
    pub fn new(input: R, catalogue: Catalogue) -> Self {
        let decoder = Decoder::new(catalogue.clone()).backfill(true);
        JsonLines { input, decoder, catalogue, line: 0, at_end: false, out: BTreeMap::new(), again: VecDeque::new() }
    }

    fn next_line(&mut self) -> Result<Option<Bytes>> {
        let io = |line: u64, e| Error::io("replay.read", format!("line {line}"), e);
        let mut text = Vec::new();
        let mut limited = std::io::Read::take(&mut self.input, MAX_LINE as u64 + 1);
        let n = limited.read_until(b'\n', &mut text).map_err(|e| io(self.line + 1, e))?;
        if n == 0 {
            return Ok(None);
        }
        self.line += 1;
        if text.last() == Some(&b'\n') {
            text.pop();
        } else if text.len() > MAX_LINE {
            // The rest of the line is passed over without keeping it.
            loop {
                let found = self.input.fill_buf().map_err(|e| io(self.line, e))?;
                if found.is_empty() {
                    break;
                }
                let end = found.iter().position(|b| *b == b'\n');
                let n = end.map_or(found.len(), |i| i + 1);
                self.input.consume(n);
                if end.is_some() {
                    break;
                }
            }
        }
        Ok(Some(Bytes::from(text)))
    }

    fn read(&mut self, wire: &Bytes, ctx: &Ctx) -> std::result::Result<Reading, Rejected> {
        let bad = |code, value: &str, rule: &str| Rejected::new(code, vec![Finding::new("line", value, rule)], wire.clone());
        if wire.len() > MAX_LINE {
            return Err(bad(Code::TOO_LARGE, "longer", &format!("at most {MAX_LINE} bytes")));
        }
        let text = std::str::from_utf8(wire).map_err(|_| bad(Code::UNDECODABLE, "not UTF-8", "a line of JSON"))?;
        if text.contains("\"wire\"")
            && let Some(letter) = serde_json::from_str(text).ok().and_then(|v| DeadLetter::from_json(&v).ok())
        {
            return letter.reading(&self.catalogue);
        }
        self.decoder.decode_json(text, ctx.now())
    }
}

#[async_trait]
impl<R: BufRead + Send> Source for JsonLines<R> {
    async fn poll(&mut self, ctx: &Ctx, room: usize) -> Result<Option<Polled>> {
        let mut items = Vec::new();
        while items.len() < room {
            let (number, wire) = match self.again.pop_front() {
                Some(n) => match self.out.get(&n) {
                    Some(wire) => (n, wire.clone()),
                    None => continue,
                },
                None if self.at_end => break,
                None => match self.next_line() {
                    Ok(Some(wire)) if wire.trim_ascii().is_empty() => continue,
                    Ok(Some(wire)) => (self.line, wire),
                    Ok(None) => {
                        self.at_end = true;
                        break;
                    }
                    // What was read before is handed over first; the error shows again.
                    Err(_) if !items.is_empty() => break,
                    Err(e) => return Err(e),
                },
            };
            let item = self.read(&wire, ctx);
            self.out.insert(number, wire);
            items.push(Arrival { token: Token(number), item });
        }
        if items.is_empty() && self.at_end {
            return Ok(None);
        }
        Ok(Some(Polled { items, origin: Origin::Backfill }))
    }

    async fn settle(&mut self, _: &Ctx, outcomes: &[Settled]) -> Result<()> {
        for s in outcomes {
            match s.outcome {
                Outcome::Retry(_) => self.again.push_back(s.token.0),
                _ => {
                    self.out.remove(&s.token.0);
                }
            }
        }
        Ok(())
    }
}

/// Brings the readings of dead letters once more, and marks the letters as ended when they arrive.
pub struct ReplayLetters {
    letters: Arc<dyn DeadLetters>,
    catalogue: Catalogue,
    query: LetterQuery,
    out: BTreeMap<u64, DeadLetter>,
    again: VecDeque<u64>,
    next: u64,
    at_end: bool,
}

impl ReplayLetters {
    /// Replays the letters that a query finds, each once. One whose item is parked again stays open.
    pub fn new(letters: Arc<dyn DeadLetters>, catalogue: Catalogue, query: LetterQuery) -> Self {
        ReplayLetters { letters, catalogue, query, out: BTreeMap::new(), again: VecDeque::new(), next: 0, at_end: false }
    }
}

#[async_trait]
impl Source for ReplayLetters {
    async fn poll(&mut self, ctx: &Ctx, room: usize) -> Result<Option<Polled>> {
        let mut items = Vec::new();
        while items.len() < room
            && let Some(n) = self.again.pop_front()
        {
            if let Some(letter) = self.out.get(&n) {
                items.push(Arrival { token: Token(n), item: letter.reading(&self.catalogue) });
            }
        }
        if items.is_empty() && !self.at_end {
            let page = self.letters.list(ctx, &self.query.clone().limit(room.min(1_000))).await?;
            self.at_end = page.is_empty();
            for letter in page {
                self.query.after = Some(letter.id.clone());
                items.push(Arrival { token: Token(self.next), item: letter.reading(&self.catalogue) });
                self.out.insert(self.next, letter);
                self.next += 1;
            }
        }
        let ended = items.is_empty() && self.at_end;
        Ok(if ended { None } else { Some(Polled { items, origin: Origin::Replay }) })
    }

    async fn settle(&mut self, ctx: &Ctx, outcomes: &[Settled]) -> Result<()> {
        let ended = |s: &&Settled| matches!(s.outcome, Outcome::Delivered | Outcome::Discarded(_));
        let ids: Vec<String> = outcomes.iter().filter(ended).filter_map(|s| self.out.get(&s.token.0)).map(|l| l.id.clone()).collect();
        if !ids.is_empty() {
            self.letters.resolve(ctx, &ids).await?;
        }
        for s in outcomes {
            match s.outcome {
                Outcome::Retry(_) => self.again.push_back(s.token.0),
                _ => {
                    self.out.remove(&s.token.0);
                }
            }
        }
        Ok(())
    }
}
