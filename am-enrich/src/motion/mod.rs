//! Movement: windows of acceleration and what a person does.

mod activity;
mod classify;
mod features;
mod samples;
mod spectrum;
mod window;

use am_core::{Code, Error, Result};
use am_pipeline::options::{OptionSpec, OptionType};
use am_pipeline::{Partition, ProcessorSpec};
use am_schema::{Catalogue, Kind};

pub use classify::{Scores, classify};
pub use features::features;
pub use samples::{Samples, decode};

/// The kind of the blocks that come in.
pub const RAW: &str = "device.sensor.accelerometer.raw";
/// The kind of the windows.
pub const WINDOWED: &str = "device.sensor.accelerometer.windowed";
/// The kind of the activities.
pub const ACTIVITY: &str = "motion.classification.activity";

/// `motion.window`: blocks of acceleration become overlapping windows with features.
///
/// # Errors
/// Never in practice: the topics are valid.
pub fn window_spec() -> Result<ProcessorSpec> {
    let spec =
        ProcessorSpec::new("motion.window", "1", "Cuts acceleration into overlapping windows and computes their features", |setup| {
            Ok(Box::new(window::WindowProcessor::new(setup)?))
        });
    Ok(spec.inputs(&[RAW])?.outputs(&[WINDOWED]).key(Partition::Device).options(vec![
        OptionSpec::new("size", OptionType::Duration, "length of a window, 1s to 60s").default("5s"),
        OptionSpec::new("hop", OptionType::Duration, "from the start of a window to that of the next, at most the size").default("2.5s"),
    ]))
}

/// `motion.activity`: windows become activities.
///
/// # Errors
/// Never in practice: the topics are valid.
pub fn activity_spec() -> Result<ProcessorSpec> {
    let spec = ProcessorSpec::new("motion.activity", "1", "Tells from windows of acceleration what a person does", |setup| {
        Ok(Box::new(activity::ActivityProcessor::new(setup)?))
    });
    Ok(spec.inputs(&[WINDOWED])?.outputs(&[ACTIVITY]).key(Partition::Device))
}

fn kind(catalogue: &Catalogue, topic: &str) -> Result<Kind> {
    catalogue.get(topic).ok_or_else(|| Error::new(Code::UNKNOWN_KIND, format!("{topic} is not in the catalogue")).op("motion"))
}
