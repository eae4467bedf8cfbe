//! Dead letters, repaired and taken in again (P02).

use am_core::{Code, Error, Result};
use am_schema::{Decoder, Rejected};
use bytes::Bytes;

use crate::model::{Ingest, Origin, Provenance, PutOutcome};
use crate::scoped::ScopedStore;
use crate::traits::Resolution;

/// The stage of letters that were never taken in.
const INGEST: &str = "ingest";

/// What goes in the place of the letter's item.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Repair {
    /// The item as it came: its cause is gone.
    AsIs,
    /// A corrected encoded `am.v1.Reading`.
    Wire(Bytes),
    /// A corrected reading in canonical JSON.
    Json(String),
}

/// How a replay ended.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Replayed {
    /// The reading is stored now, and the letter is resolved.
    Stored,
    /// It was stored already, and the letter is resolved: nothing was added.
    Duplicate,
    /// It is stored already and a processor failed on it; the letter stays. The flow must read it again: reset its cursor.
    NeedsReset {
        /// The processor.
        stage: String,
    },
    /// It failed again; the letter stays, with what is wrong now.
    Failed(Box<am_pipeline::DeadLetter>),
}

impl ScopedStore {
    /// Decodes a dead letter again, repaired or as it is, and takes it in with origin `Replay`.
    ///
    /// # Errors
    /// `NOT_FOUND` when there is no such letter, `BAD_QUERY` when it was resolved before; as [`ScopedStore::put`] otherwise.
    ///
    /// # Cancel safety
    /// A cancelled replay may have stored the reading with the letter still open; doing it again settles it.
    pub async fn replay(&self, id: &str, repair: Repair) -> Result<Replayed> {
        let letters = &self.store().backend().dead_letters;
        let ctx = self.ctx();
        let row = letters.get(ctx, id).await?.ok_or_else(|| Error::new(Code::NOT_FOUND, format!("there is no dead letter {id}")))?;
        if row.resolution.is_some() {
            return Err(crate::limits::bad(format!("the dead letter {id} was resolved before")));
        }
        let mut letter = row.letter;
        letter.attempts = letter.attempts.saturating_add(1);
        let reading = match self.decode(&letter, repair) {
            Ok(r) => r,
            Err(rejected) => {
                (letter.code, letter.message) = (rejected.code, rejected.to_string());
                letter.findings = rejected.findings;
                letters.amend(ctx, letter.clone()).await?;
                return Ok(Replayed::Failed(Box::new(letter)));
            }
        };
        let provenance = Provenance {
            client: "replay".into(),
            client_version: env!("CARGO_PKG_VERSION").into(),
            batch_id: id.into(),
            received_at: ctx.now(),
            origin: Origin::Replay,
            ..Default::default()
        };
        let out = self.ingest(Ingest { provenance, readings: vec![reading], ..Default::default() }).await?;
        match out.readings.into_iter().next() {
            Some(PutOutcome::Stored(_)) => {
                letters.resolve(ctx, id, Resolution::Replayed).await?;
                Ok(Replayed::Stored)
            }
            Some(PutOutcome::Duplicate) if letter.stage == INGEST => {
                letters.resolve(ctx, id, Resolution::Replayed).await?;
                Ok(Replayed::Duplicate)
            }
            Some(PutOutcome::Duplicate) => Ok(Replayed::NeedsReset { stage: letter.stage }),
            other => {
                letter.code = Code::CLOCK_CONFLICT;
                letter.findings.clear();
                letter.message = match other {
                    Some(PutOutcome::Discarded(why)) => format!("the repaired reading is left out: {why:?}"),
                    _ => "the repaired reading has the key of another one that is stored; give it a new id".into(),
                };
                letters.amend(ctx, letter.clone()).await?;
                Ok(Replayed::Failed(Box::new(letter)))
            }
        }
    }

    fn decode(&self, letter: &am_pipeline::DeadLetter, repair: Repair) -> std::result::Result<am_schema::Reading, Rejected> {
        // Letters are replayed when they are old: only what lies in the future is refused.
        let mut decoder = Decoder::new(self.store().catalogue().clone()).backfill(true);
        let now = self.ctx().now();
        match repair {
            // What a processor failed on was a valid reading, derived or not.
            Repair::AsIs if letter.stage != INGEST => decoder.trusted().decode(letter.wire.clone(), now),
            Repair::AsIs => decoder.decode_either(letter.wire.clone(), now),
            Repair::Wire(bytes) => decoder.decode(bytes, now),
            Repair::Json(text) => decoder.decode_json(&text, now),
        }
    }
}
