//! What is made of sound, pictures and videos.

use super::{DataClass, KindDef};

fn media(topic: &str, field: u32, title: &str) -> KindDef {
    KindDef::derived(topic, field).title(title).class(DataClass::Content)
}

/// The kinds, in the order of the docs.
pub(super) fn kinds() -> Vec<KindDef> {
    let mut all = sound();
    all.extend(pictures());
    all.extend(scenes());
    all
}

fn sound() -> Vec<KindDef> {
    vec![
        media("media.audio.vad_filtered", 100, "Speech in a recording")
            .span()
            .bound("sample_rate", 8_000.0, 192_000.0, "Hz")
            .bound("channels", 1.0, 8.0, "{channel}")
            .ratios(&["speech_ratio", "segments.probability"])
            .scalar("speech_ratio", "1"),
        media("media.text.transcribed.words", 101, "Transcript")
            .span()
            .keep_days(90)
            .require("text")
            .ratios(&["confidence", "words.confidence"])
            .text(&["text"]),
        media("media.audio.environment_classified", 102, "Sound environment")
            .span()
            .require("classes")
            .require("classes.label")
            .ratios(&["classes.confidence"])
            .bound("loudness", -200.0, 0.0, "dB")
            .bound("peak", -200.0, 0.0, "dB")
            .text(&["classes.label"])
            .scalar("loudness", "dB"),
    ]
}

fn pictures() -> Vec<KindDef> {
    vec![
        media("media.image.camera.preprocessed", 103, "Photo made ready")
            .require("blob")
            .bound("width", 1.0, 65_535.0, "{pixel}")
            .bound("height", 1.0, 65_535.0, "{pixel}")
            .bound("scale", 0.0, 1.0, "1")
            .bound("rotation", 0.0, 270.0, "deg")
            .bound("brightness", 0.0, 1.0, "1")
            .bound("sharpness", 0.0, 1e9, "1"),
        media("media.image.screenshot.preprocessed", 104, "Screenshot made ready")
            .require_one(&["blob", "duplicate_of"])
            .bound("width", 1.0, 65_535.0, "{pixel}")
            .bound("height", 1.0, 65_535.0, "{pixel}")
            .bound("scale", 0.0, 4.0, "1")
            .bound("distance", 0.0, 64.0, "{bit}"),
        media("media.image.analysis.moondream_results", 105, "Caption")
            .require("caption")
            .ratios(&["confidence"])
            .text(&["caption", "tags"]),
        media("media.image.objects_detected", 106, "Detected objects")
            .keep_days(90)
            .require("objects.class")
            .ratios(&["objects.confidence"])
            .bound("objects.bbox.width", 0.0, 65_535.0, "{pixel}")
            .bound("objects.bbox.height", 0.0, 65_535.0, "{pixel}")
            .text(&["objects.class"]),
        media("media.image.objects_hashed", 107, "Hashed objects")
            .keep_days(90)
            .require("objects.class")
            .require("objects.perceptual_hash")
            .text(&["objects.class"]),
        media("media.image.faces_detected", 108, "Detected faces").require("faces.bbox").ratios(&["faces.confidence"]),
        media("media.image.pose_detected", 109, "Detected poses")
            .require("people.keypoints")
            .ratios(&["people.confidence", "people.keypoints.visibility"])
            .text(&["people.posture"]),
        media("media.image.gaze_detected", 110, "Detected gazes")
            .bound("gazes.yaw", -180.0, 180.0, "deg")
            .bound("gazes.pitch", -90.0, 90.0, "deg")
            .ratios(&["gazes.confidence"]),
        media("media.text.ocr_extracted", 111, "Text in a picture").ratios(&["lines.confidence"]).text(&["lines.text"]),
        media("media.text.ocr_cleaned", 112, "Cleaned text of a picture").text(&["text", "window_title", "app"]),
    ]
}

fn scenes() -> Vec<KindDef> {
    vec![
        media("media.video.analysis.yolo_results", 113, "Objects and movement in a video")
            .span()
            .require("frames")
            .ratios(&["frames.objects.confidence"])
            .bound("frames.flow_magnitude", 0.0, 1e6, "{pixel}/s")
            .bound("frames.flow_direction", 0.0, 360.0, "deg")
            .text(&["frames.objects.class"]),
        media("spatial.slam.mapping", 114, "Map of the surroundings")
            .require("map_id")
            .require("tracking")
            .bound("position", -1e6, 1e6, "m")
            .bound("orientation", -1.0, 1.0, "1"),
        media("analysis.3d_reconstruction.dustr_results", 115, "Scene in three dimensions").require("cloud").ratios(&["confidence"]),
        media("analysis.inferred_context.qwen_results", 116, "Inferred context")
            .require("summary")
            .ratios(&["confidence"])
            .text(&["summary", "activity", "place", "people", "tags"]),
    ]
}
