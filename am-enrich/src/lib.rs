//! Processors that derive meaning from signals and context, without a network.
//!
//! | processor | takes | gives |
//! |---|---|---|
//! | `motion.window` | `device.sensor.accelerometer.raw` | `device.sensor.accelerometer.windowed` |
//! | `motion.activity` | `device.sensor.accelerometer.windowed` | `motion.classification.activity` |
//!
//! `docs/motion.md` has the features, thresholds and their sources. What a processor derives depends on the order of its input alone,
//! never on the time of day, on how the input was cut into batches, or on what arrived later.
//!
//! ```
//! let registry = am_enrich::registry()?;
//! assert!(registry.get("motion.window").is_some());
//! # Ok::<(), am_core::Error>(())
//! ```

pub mod motion;
mod snapshot;

use am_core::Result;
use am_pipeline::Registry;

/// All processors of this crate.
///
/// # Errors
/// `BAD_FLOW` when two of them share a name.
pub fn registry() -> Result<Registry> {
    let mut registry = Registry::new();
    register(&mut registry)?;
    Ok(registry)
}

/// Adds all processors of this crate.
///
/// # Errors
/// `BAD_FLOW` when a name is taken.
pub fn register(registry: &mut Registry) -> Result<()> {
    registry.add(motion::window_spec()?)?;
    registry.add(motion::activity_spec()?)
}
