//! PF15: bytes per sample of sample blocks on recorded signals, and how quickly they decode.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use am_schema::block::{Block, Channel, Decoder, Limits, Samples, encode};
use parquet::basic::{Compression, Encoding, Repetition, Type as PhysicalType, ZstdLevel};
use parquet::data_type::{FloatType, Int32Type};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;

use crate::gorilla;
use crate::harness::{Options, Row, Target, alternate};
use crate::signals::{self, Signal};

const ID: &str = "PF15";

/// Measures every signal that this machine has.
pub(crate) fn run(options: &Options) -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    let all = [
        ("wrist motion", signals::wrist_motion(10)),
        ("wrist motion", signals::wrist_motion(1)),
        ("EEG (EDF)", signals::eeg()),
        ("EEG headband", signals::headband()),
        ("ECG", signals::ecg()),
    ];
    for (name, signal) in all {
        match signal {
            Ok(s) => rows.extend(measure(&s, options)?),
            Err(why) => rows.push(Row::unavailable(ID, name, why)),
        }
    }
    Ok(rows)
}

fn measure(signal: &Signal, options: &Options) -> Result<[Row; 3], String> {
    let blocks: Vec<Vec<Samples<'_>>> = signal.blocks.iter().map(|b| b.iter().map(Channel::samples).collect()).collect();
    let samples: usize = blocks.iter().flatten().map(Samples::len).sum();
    let coded: Result<Vec<Vec<u8>>, String> = blocks.iter().map(|b| encode(None, b).map_err(|e| e.to_string())).collect();
    let coded = coded?;
    check(&coded, &signal.blocks)?;
    let bytes: usize = coded.iter().map(Vec::len).sum();

    let levels: &[i32] = if options.quick { &[3] } else { &[1, 3, 9, 19, 22] };
    let mut baselines: Vec<(String, usize)> =
        vec![("Gorilla/XOR".into(), blocks.iter().flatten().map(|c| gorilla::encode(&words(c), gorilla::W32).len()).sum())];
    for (form, raw) in raw_forms(&blocks) {
        for level in levels {
            let sizes: Result<Vec<usize>, String> =
                raw.iter().map(|r| zstd::bulk::compress(r, *level).map(|z| z.len()).map_err(|e| e.to_string())).collect();
            baselines.push((format!("{form} + zstd -{level}"), sizes?.iter().sum()));
        }
    }
    for (form, plan) in [("dictionary", None), ("plain", Some(Encoding::PLAIN)), ("delta or byte planes", Some(special(&blocks)))] {
        for level in levels {
            baselines.push((format!("Parquet {form} + zstd -{level}"), parquet_size(&blocks, plan, *level)?));
        }
    }
    let (best, least) = baselines.into_iter().min_by_key(|(_, n)| *n).ok_or("there is no baseline")?;

    let raw_bytes = samples * 4;
    let packed: Vec<Vec<u8>> = raw_forms(&blocks).into_iter().next().map(|(_, r)| r).unwrap_or_default();
    let squeezed: Result<Vec<Vec<u8>>, String> = packed.iter().map(|r| zstd::bulk::compress(r, 3).map_err(|e| e.to_string())).collect();
    let squeezed = squeezed?;
    let (rounds, least_time) = if options.quick { (1, Duration::from_millis(5)) } else { (9, Duration::from_millis(120)) };
    let (mut decoder, mut block, limits) = (Decoder::default(), Block::default(), Limits::default());
    let (ours, theirs) = alternate(
        rounds,
        least_time,
        || {
            for b in &coded {
                let _ = black_box(decoder.decode_into(b, &limits, &mut block));
            }
        },
        || {
            for (z, r) in squeezed.iter().zip(&packed) {
                let _ = black_box(zstd::bulk::decompress(z, r.len()));
            }
        },
    );
    let (encoding, squeezing) = alternate(
        rounds.min(3),
        least_time,
        || {
            for b in &blocks {
                let _ = black_box(encode(None, b));
            }
        },
        || {
            for r in &packed {
                let _ = black_box(zstd::bulk::compress(r, 19));
            }
        },
    );
    let mb = raw_bytes as f64 / 1e6;
    Ok([
        Row {
            id: ID,
            what: format!("{}: size", signal.name),
            ours: bytes as f64 / samples as f64,
            baseline: least as f64 / samples as f64,
            unit: "B/sample",
            target: Target::RatioAtMost(0.92),
            note: format!("best baseline is {best}"),
        },
        Row {
            id: ID,
            what: format!("{}: decode", signal.name),
            ours: mb / ours,
            baseline: mb / theirs,
            unit: "MB/s",
            target: Target::AtLeast(200.0),
            note: "one core, of 4-byte samples; the baseline is zstd alone, without putting samples together".into(),
        },
        Row {
            id: ID,
            what: format!("{}: encode", signal.name),
            ours: mb / encoding,
            baseline: mb / squeezing,
            unit: "MB/s",
            target: Target::Nothing,
            note: "one core, of 4-byte samples; the baseline is zstd -19".into(),
        },
    ])
}

/// Every sample must come back to the bit before a size counts.
fn check(coded: &[Vec<u8>], blocks: &[Vec<Channel>]) -> Result<(), String> {
    for (bytes, channels) in coded.iter().zip(blocks) {
        let shape = Limits::exactly(channels.len(), channels.first().map_or(0, |c| c.samples().len()));
        let back = am_schema::block::decode(bytes, &shape).map_err(|e| e.to_string())?;
        let same = back.channels.iter().zip(channels).all(|(a, b)| words(&a.samples()) == words(&b.samples()));
        if !same {
            return Err("a block did not come back as it was".into());
        }
    }
    Ok(())
}

fn words(c: &Samples<'_>) -> Vec<u64> {
    match c {
        Samples::I32(s) => s.iter().map(|v| u64::from(*v as u32)).collect(),
        Samples::F32(s) => s.iter().map(|v| u64::from(v.to_bits())).collect(),
        Samples::F64(s) => s.iter().map(|v| v.to_bits()).collect(),
    }
}

/// The raw bytes of each block: channel after channel and row after row, 4 bytes a sample, and 2 where integers fit.
fn raw_forms(blocks: &[Vec<Samples<'_>>]) -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let cells = |b: &Vec<Samples<'_>>| -> Vec<Vec<u64>> { b.iter().map(words).collect() };
    let fits = blocks.iter().flatten().all(|c| matches!(c, Samples::I32(s) if s.iter().all(|v| i16::try_from(*v).is_ok())));
    let mut forms = Vec::new();
    for width in if fits { vec![4, 2] } else { vec![4] } {
        let put = |out: &mut Vec<u8>, w: u64| out.extend(w.to_le_bytes().iter().take(width));
        let by_channel = |b: &Vec<Samples<'_>>| {
            let mut out = Vec::new();
            cells(b).iter().flatten().for_each(|w| put(&mut out, *w));
            out
        };
        let by_row = |b: &Vec<Samples<'_>>| {
            let mut out = Vec::new();
            let c = cells(b);
            (0..c.first().map_or(0, Vec::len)).for_each(|t| c.iter().filter_map(|c| c.get(t)).for_each(|w| put(&mut out, *w)));
            out
        };
        let names = if width == 4 { ["raw by channel", "raw by row"] } else { ["raw 16-bit by channel", "raw 16-bit by row"] };
        forms.push((names[0], blocks.iter().map(by_channel).collect()));
        forms.push((names[1], blocks.iter().map(by_row).collect()));
    }
    forms
}

/// Parquet's own encoding for signals: deltas of integers, byte planes of floats.
fn special(blocks: &[Vec<Samples<'_>>]) -> Encoding {
    match blocks.first().and_then(|b| b.first()) {
        Some(Samples::I32(_)) => Encoding::DELTA_BINARY_PACKED,
        _ => Encoding::BYTE_STREAM_SPLIT,
    }
}

/// The whole recording as one Parquet file, which is to its advantage: a header and a dictionary for all blocks together.
fn parquet_size(blocks: &[Vec<Samples<'_>>], plan: Option<Encoding>, level: i32) -> Result<usize, String> {
    write_parquet(blocks, plan, level).map_err(|e| e.to_string())
}

fn write_parquet(blocks: &[Vec<Samples<'_>>], plan: Option<Encoding>, level: i32) -> parquet::errors::Result<usize> {
    let channels = blocks.first().map_or(0, Vec::len);
    let parts = |c: usize| blocks.iter().filter_map(move |b| b.get(c));
    let fields = (0..channels)
        .map(|c| {
            let ty = if matches!(parts(c).next(), Some(Samples::I32(_))) { PhysicalType::INT32 } else { PhysicalType::FLOAT };
            Type::primitive_type_builder(&format!("c{c}"), ty).with_repetition(Repetition::REQUIRED).build().map(Arc::new)
        })
        .collect::<parquet::errors::Result<Vec<_>>>()?;
    let schema = Arc::new(Type::group_type_builder("samples").with_fields(fields).build()?);
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(level)?))
        .set_statistics_enabled(EnabledStatistics::None);
    properties = match plan {
        None => properties.set_dictionary_enabled(true),
        Some(encoding) => properties.set_dictionary_enabled(false).set_encoding(encoding),
    };
    let mut file = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut file, schema, Arc::new(properties.build()))?;
    let mut group = writer.next_row_group()?;
    let mut c = 0;
    while let Some(mut column) = group.next_column()? {
        if matches!(parts(c).next(), Some(Samples::I32(_))) {
            let all: Vec<i32> = parts(c).flat_map(|s| if let Samples::I32(v) = s { *v } else { &[] }).copied().collect();
            column.typed::<Int32Type>().write_batch(&all, None, None)?;
        } else {
            let all: Vec<f32> = parts(c).flat_map(|s| if let Samples::F32(v) = s { *v } else { &[] }).copied().collect();
            column.typed::<FloatType>().write_batch(&all, None, None)?;
        }
        column.close()?;
        c += 1;
    }
    group.close()?;
    writer.close()?;
    Ok(file.len())
}
