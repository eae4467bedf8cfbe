//! The series of blocks that the kill test takes in: two devices, some blocks late.
#![allow(unreachable_pub, dead_code)]

use am_schema::Reading;

use crate::signal::{self, Movement, START};

/// Samples a second.
const RATE: usize = 20;
/// Seconds in a block; windows lie across their borders.
const SECONDS: usize = 4;

/// The block that comes as number `n`.
pub fn block(n: usize) -> Reading {
    let (device, n) = (["phone", "watch"][n % 2], n / 2);
    // Of every seven, the third comes last.
    let place = match n % 7 {
        2..=5 => n + 1,
        6 => n - 4,
        _ => n,
    };
    let movement = [Movement::Still, Movement::Walking, Movement::Running, Movement::Vehicle][place / 10 % 4];
    let rows = signal::signal(movement, RATE as f64, RATE * SECONDS, device == "phone", place as u64);
    signal::block(device, START + (place * SECONDS) as i64 * 1_000_000_000, 1_000_000_000 / RATE as i64, &rows)
}
