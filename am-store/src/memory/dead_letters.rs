//! What could not be taken in or processed.

use std::ops::Bound;

use am_core::{Code, Ctx, Error, Result};
use am_pipeline::DeadLetter;
use async_trait::async_trait;

use super::Memory;
use super::ingest::Plan;
use super::state::letter_cost;
use crate::limits;
use crate::traits::{DeadLetterQuery, DeadLetterRow, DeadLetters, Resolution};

#[async_trait]
impl DeadLetters for Memory {
    async fn park(&self, ctx: &Ctx, letters: Vec<DeadLetter>) -> Result<()> {
        ctx.check()?;
        let mut guard = self.change()?;
        let state = &mut *guard;
        let mut plan = Plan::new(state, "", ctx.now());
        letters.iter().for_each(|l| plan.letter(ctx.scope(), l));
        let cost = plan.cost;
        self.room(state, cost, 0)?;
        for letter in letters {
            state.park(ctx.scope(), letter);
        }
        Ok(())
    }

    async fn list(&self, ctx: &Ctx, query: &DeadLetterQuery) -> Result<Vec<DeadLetterRow>> {
        let state = self.open_for(ctx)?;
        let after = query.after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let Some(data) = state.scope(ctx.scope()) else { return Ok(Vec::new()) };
        let rows = data.dead_letters.range::<str, _>((after, Bound::Unbounded)).map(|(_, row)| row);
        let wanted =
            |r: &&DeadLetterRow| (query.resolved || r.resolution.is_none()) && query.stage.as_ref().is_none_or(|s| *s == r.letter.stage);
        Ok(rows.filter(wanted).take(limits::letters(query.limit)).cloned().collect())
    }

    async fn get(&self, ctx: &Ctx, id: &str) -> Result<Option<DeadLetterRow>> {
        let state = self.open_for(ctx)?;
        Ok(state.scope(ctx.scope()).and_then(|d| d.dead_letters.get(id)).cloned())
    }

    async fn amend(&self, ctx: &Ctx, letter: DeadLetter) -> Result<()> {
        ctx.check()?;
        let mut guard = self.change()?;
        let state = &mut *guard;
        let Some(row) = state.scope_mut(ctx.scope()).dead_letters.get_mut(&letter.id) else { return Err(unknown(&letter.id)) };
        let before = letter_cost(&row.letter);
        row.letter = DeadLetter {
            code: letter.code,
            findings: letter.findings,
            message: letter.message,
            attempts: letter.attempts,
            ..row.letter.clone()
        };
        let after = letter_cost(&row.letter);
        state.used = state.used.saturating_sub(before).saturating_add(after);
        Ok(())
    }

    async fn resolve(&self, ctx: &Ctx, id: &str, how: Resolution) -> Result<()> {
        ctx.check()?;
        let mut state = self.change()?;
        match state.scope_mut(ctx.scope()).dead_letters.get_mut(id) {
            Some(row) => {
                row.resolution = Some((how, ctx.now()));
                Ok(())
            }
            None => Err(unknown(id)),
        }
    }
}

fn unknown(id: &str) -> Error {
    Error::new(Code::NOT_FOUND, format!("there is no dead letter {id}")).op("store.dead_letters")
}
