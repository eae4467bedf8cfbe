//! The encoder's choice of entropy tables: how many contexts, where they end, which frequencies.

use super::bits::zigzag;
use super::rans::{LEVELS, MAX_CONTEXTS, Model, TOKENS, level, split};
use super::rice::{Mean, first_parameter};

/// Finest contexts that are tried before neighbours are merged.
const GROUPS: usize = 24;

struct Group {
    end: usize,
    counts: Vec<u32>,
    cost: u64,
}

/// 16ths of a bit: the base-2 logarithm of `v` ≥ 1 with linear interpolation inside an octave, in integers so that every platform agrees.
fn log2_16(v: u32) -> u64 {
    let v = u64::from(v.max(1));
    let octave = u64::from(v.ilog2());
    octave * 16 + (((v << 8) >> octave) - 256) / 16
}

/// Bits (times 16) to code the counts with their own table, the table included.
fn cost(counts: &[u32]) -> u64 {
    let total: u32 = counts.iter().sum();
    if total == 0 {
        return 0;
    }
    let whole = log2_16(total);
    let data: u64 = counts.iter().filter(|c| **c > 0).map(|c| u64::from(*c) * whole.saturating_sub(log2_16(*c))).sum();
    let first = counts.iter().position(|c| *c > 0).unwrap_or(0);
    let last = counts.iter().rposition(|c| *c > 0).unwrap_or(0);
    data + 16 * (16 + 10 * (last + 1 - first) as u64)
}

fn merged(a: &Group, b: &Group) -> Group {
    let counts: Vec<u32> = a.counts.iter().zip(&b.counts).map(|(x, y)| x + y).collect();
    Group { end: b.end, cost: cost(&counts), counts }
}

/// The model for these residuals with this window, and about how many bits (times 16) it needs.
pub(super) fn fit(residuals: &[i64], rate: u32) -> (Model, u64) {
    let start = first_parameter(residuals);
    let mut mean = Mean::new(start, rate);
    let mut seen = vec![[0u32; TOKENS]; LEVELS];
    let mut plain = 0u64;
    for r in residuals {
        let z = zigzag(*r);
        let (token, extra, _) = split(z);
        plain += u64::from(extra);
        if let Some(slot) = seen.get_mut(level(&mean)).and_then(|l| l.get_mut(usize::from(token))) {
            *slot += 1;
        }
        mean.update(z);
    }
    let groups = join(quantiles(&seen, residuals.len()));
    let log = match residuals.len() {
        0..2048 => 10,
        _ => 11,
    };
    let total = plain * 16 + groups.iter().map(|g| g.cost).sum::<u64>();
    let ends = groups.iter().rev().skip(1).rev().map(|g| g.end as u8).collect();
    let tables = groups.iter().map(|g| normalise(&g.counts, log)).collect();
    (Model { start, rate, log, ends, tables }, total)
}

/// Neighbours joined, the most similar first, until only joining costs more than it saves.
fn join(mut groups: Vec<Group>) -> Vec<Group> {
    let pair = |a: &Group, b: &Group| {
        let m = merged(a, b);
        (m.cost as i64 - (a.cost + b.cost) as i64, m)
    };
    let mut pairs: Vec<(i64, Group)> = groups.windows(2).map(|w| pair(&w[0], &w[1])).collect();
    while let Some(i) = (0..pairs.len()).min_by_key(|i| pairs.get(*i).map(|p| p.0)) {
        if pairs.get(i).is_some_and(|p| p.0 > 0) && groups.len() <= MAX_CONTEXTS {
            break;
        }
        groups.splice(i..i + 2, [pairs.remove(i).1]);
        // The joined group has new differences to both neighbours.
        for k in [i.wrapping_sub(1), i] {
            if let (Some(slot), Some(a), Some(b)) = (pairs.get_mut(k), groups.get(k), groups.get(k.wrapping_add(1))) {
                *slot = pair(a, b);
            }
        }
    }
    groups
}

/// Neighbouring levels joined until each group has its share of the samples.
fn quantiles(seen: &[[u32; TOKENS]], samples: usize) -> Vec<Group> {
    let share = (samples / GROUPS).max(1) as u32;
    let mut groups = Vec::new();
    let mut counts = vec![0u32; TOKENS];
    let mut sum = 0;
    for (l, row) in seen.iter().enumerate() {
        for (c, r) in counts.iter_mut().zip(row) {
            *c += r;
            sum += r;
        }
        if sum >= share {
            let full = std::mem::replace(&mut counts, vec![0; TOKENS]);
            groups.push(Group { end: l + 1, cost: cost(&full), counts: full });
            sum = 0;
        }
    }
    if sum > 0 || groups.is_empty() {
        groups.push(Group { end: LEVELS, cost: cost(&counts), counts });
    }
    groups
}

/// Frequencies that sum to `2^log`, at least one for each token that occurs.
fn normalise(counts: &[u32], log: u32) -> [u16; TOKENS] {
    let total = u64::from(counts.iter().sum::<u32>()).max(1);
    let goal = 1i64 << log;
    let mut table = [0u16; TOKENS];
    let mut sum = 0i64;
    for (f, c) in table.iter_mut().zip(counts) {
        if *c > 0 {
            *f = ((u64::from(*c) << log) / total).max(1) as u16;
            sum += i64::from(*f);
        }
    }
    while sum != goal {
        // The largest entry changes least when it takes or gives one; an empty table gets its one token here.
        let Some(most) = table.iter_mut().max() else { break };
        let step = (goal - sum).clamp(-(i64::from(*most) / 2).max(1), goal);
        *most = (i64::from(*most) + step) as u16;
        sum += step;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::super::bits::Bytes;
    use super::super::rans;
    use super::*;

    fn check(residuals: &[i64]) -> usize {
        let (model, _) = fit(residuals, 4);
        let mut out = Vec::new();
        rans::encode(residuals, &model, &mut out);
        let mut back = vec![0; residuals.len()];
        let mut bytes = Bytes::new(&out);
        rans::decode(&mut bytes, &mut back).unwrap();
        assert_eq!(back, residuals);
        assert!(bytes.rest().is_empty());
        out.len()
    }

    #[test]
    fn every_magnitude_comes_back() {
        let all: Vec<i64> = (0..64)
            .flat_map(|b| [1i64 << b, (1i64 << b).wrapping_neg(), (1i64 << b).wrapping_sub(1), 0, 0, 3])
            .chain([i64::MIN, i64::MAX])
            .collect();
        check(&all);
        check(&[0; 1000]);
        check(&[-5]);
    }

    #[test]
    fn contexts_pay_when_the_size_changes_over_time() {
        let mut x = 1u64;
        let mut noise = |spread: u64| {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((x >> 33) % spread) as i64 - spread as i64 / 2
        };
        let calm_then_wild: Vec<i64> = (0..20_000).map(|i| noise(if i / 500 % 2 == 0 { 4 } else { 400 })).collect();
        let bytes = check(&calm_then_wild);
        // Half of them hold 2 bits, the other half 8.64: 13 300 bytes when the state is known.
        assert!(bytes < 14_000, "{bytes}");
    }

    #[test]
    fn split_tokens_are_dense_and_ordered() {
        let mut last = 0;
        for z in 0..100_000u64 {
            let (token, _, _) = split(z);
            assert!(token == last || token == last + 1, "{z}");
            last = token;
        }
        assert_eq!(split(u64::MAX).0, 255);
    }
}
