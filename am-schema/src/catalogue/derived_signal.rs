//! What is made of movement, hearts, sleep and brains.

use super::{DataClass, KindDef};

/// The kinds, in the order of the docs.
pub(super) fn kinds() -> Vec<KindDef> {
    let mut all = motion();
    all.extend(health());
    all
}

fn motion() -> Vec<KindDef> {
    let motion = |topic: &str, field: u32, title: &str| KindDef::derived(topic, field).title(title).class(DataClass::Behaviour);
    let mut window = motion("device.sensor.accelerometer.windowed", 130, "Window of acceleration")
        .every(2.5)
        .keep_days(30)
        .span()
        .require("count")
        .require("magnitude")
        .bound("count", 1.0, 10_000_000.0, "{sample}")
        .bound("rate", 0.0, 100_000.0, "Hz")
        .ratios(&["coverage", "dominant_power", "spectral_entropy"])
        .bound("sma", 0.0, 1_000.0, "m/s2")
        .bound("dominant_frequency", 0.0, 100_000.0, "Hz")
        .bound("tilt", 0.0, 180.0, "deg")
        .bound("autocorrelation", -1.0, 1.0, "1")
        .bound("jerk", 0.0, 1e6, "m/s3")
        .bound("step_frequency", 0.0, 20.0, "Hz")
        .scalar("magnitude.std", "m/s2");
    for axis in ["x", "y", "z", "magnitude"] {
        window = window
            .bound(&format!("{axis}.mean"), -300.0, 300.0, "m/s2")
            .bound(&format!("{axis}.std"), 0.0, 300.0, "m/s2")
            .bound(&format!("{axis}.min"), -300.0, 300.0, "m/s2")
            .bound(&format!("{axis}.max"), -300.0, 300.0, "m/s2")
            .bound(&format!("{axis}.energy"), 0.0, 90_000.0, "m2/s4")
            .bound(&format!("{axis}.zero_crossings"), 0.0, 100_000.0, "/s")
            .bound(&format!("{axis}.iqr"), 0.0, 600.0, "m/s2");
    }
    vec![
        window,
        motion("motion.events.significant", 131, "Significant motion")
            .require("event")
            .bound("peak", 0.0, 300.0, "m/s2")
            .bound("std", 0.0, 300.0, "m/s2")
            .ratios(&["confidence"])
            .scalar("peak", "m/s2"),
        motion("motion.classification.activity", 132, "Activity").every(2.5).span().require("activity").ratios(&[
            "confidence",
            "margin",
            "candidates.score",
        ]),
    ]
}

fn health() -> Vec<KindDef> {
    let health = |topic: &str, field: u32, title: &str| KindDef::derived(topic, field).title(title).class(DataClass::Health).span();
    let power = |k: KindDef, band: &str| k.bound(&format!("channels.{band}"), 0.0, 1e9, "uV2");
    vec![
        health("health.hrv.computed", 140, "Heart rate variability")
            .every(300.0)
            .require("beats")
            .bound("mean_rr", 200.0, 3_000.0, "ms")
            .bound("rmssd", 0.0, 2_000.0, "ms")
            .bound("sdnn", 0.0, 2_000.0, "ms")
            .bound("pnn50", 0.0, 100.0, "%")
            .bound("lf", 0.0, 1e7, "ms2")
            .bound("hf", 0.0, 1e7, "ms2")
            .bound("lf_hf", 0.0, 1e6, "1")
            .bound("sd1", 0.0, 2_000.0, "ms")
            .bound("sd2", 0.0, 4_000.0, "ms")
            .scalar("rmssd", "ms"),
        health("health.sleep.staged", 141, "Sleep stages")
            .every(86_400.0)
            .require("segments")
            .require("segments.stage")
            .ratios(&["efficiency", "segments.confidence"])
            .scalar("efficiency", "1"),
        health("eeg.signal.cleaned", 142, "Cleaned EEG")
            .every(10.0)
            .require("block")
            .ratios(&["clean_ratio"])
            .bound("high_pass", 0.0, 1_000.0, "Hz")
            .bound("low_pass", 0.0, 10_000.0, "Hz")
            .bound("notch", 0.0, 1_000.0, "Hz")
            .signal(&[], "uV", 5_000.0),
        ["delta", "theta", "alpha", "beta", "gamma"].iter().fold(
            health("eeg.features.extracted", 143, "EEG band power")
                .every(10.0)
                .require("channels")
                .require("channels.name")
                .ratios(&["clean_ratio", "channels.spectral_entropy"])
                .bound("channels.peak_alpha", 0.0, 100.0, "Hz"),
            |k, band| power(k, band),
        ),
    ]
}
