//! The recorded signals that figures are measured on, read where they lie.

use std::io::Read;
use std::path::{Path, PathBuf};

use am_schema::block::Channel;

/// A recording cut into blocks.
pub(crate) struct Signal {
    pub(crate) name: String,
    /// Blocks of channels.
    pub(crate) blocks: Vec<Vec<Channel>>,
}

fn folder() -> PathBuf {
    std::env::var_os("AM_DATA").map_or_else(|| PathBuf::from("../shared/data"), PathBuf::from).join("signals")
}

fn text(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))
}

fn floats<'a>(cells: impl Iterator<Item = &'a str>) -> Result<Vec<f32>, String> {
    cells.map(|c| c.trim().parse().map_err(|e| format!("{c}: {e}"))).collect()
}

/// Accelerometer and gyroscope of a watch at 10 Hz. `joined` recordings of 10 s make a block; ten in a row are of the same activity.
pub(crate) fn wrist_motion(joined: usize) -> Result<Signal, String> {
    let all = text(&folder().join("wrist-motion-10hz.ts"))?;
    let mut cases = Vec::new();
    for line in all.lines().filter(|l| !l.is_empty() && !l.starts_with(['@', '#'])) {
        let columns: Result<Vec<_>, _> = line.split(':').take(6).map(|d| floats(d.split(','))).collect();
        cases.push(columns?);
    }
    let blocks = cases
        .chunks(joined)
        .map(|group| (0..6).map(|d| Channel::F32(group.iter().filter_map(|c| c.get(d)).flatten().copied().collect())).collect())
        .collect();
    Ok(Signal { name: format!("wrist motion 10 Hz × 6 float, {} s blocks", joined * 10), blocks })
}

/// All numeric columns of a headband's recording.
pub(crate) fn headband() -> Result<Signal, String> {
    let all = text(&folder().join("eeg-headband.csv"))?;
    let mut columns: Vec<Vec<f32>> = Vec::new();
    for line in all.lines().skip(1) {
        let cells = floats(line.split(',').skip(1).filter(|c| !c.is_empty()))?;
        columns.resize(columns.len().max(cells.len()), Vec::new());
        for (column, v) in columns.iter_mut().zip(cells) {
            column.push(v);
        }
    }
    let rows = columns.first().map_or(0, Vec::len);
    columns.retain(|c| c.len() == rows);
    let name = format!("EEG headband 1 Hz × {} float, {rows} s", columns.len());
    Ok(Signal { name, blocks: vec![columns.into_iter().map(Channel::F32).collect()] })
}

/// The channels of an EDF file (Kemp et al. 1992), one block.
pub(crate) fn eeg() -> Result<Signal, String> {
    let path = folder().join("eeg-16ch.edf");
    let bytes = std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let field = |at: usize, n: usize| -> Result<usize, String> {
        let cell = bytes.get(at..at + n).and_then(|b| std::str::from_utf8(b).ok()).ok_or("the EDF header is cut")?;
        cell.trim().parse().map_err(|_| format!("the EDF header has {cell:?} where a number belongs"))
    };
    let (header, records, signals) = (field(184, 8)?, field(236, 8)?, field(252, 4)?);
    let lengths: Result<Vec<usize>, String> = (0..signals).map(|s| field(256 + 216 * signals + 8 * s, 8)).collect();
    let mut channels = vec![Vec::new(); signals];
    let mut at = header;
    for _ in 0..records {
        for (channel, n) in channels.iter_mut().zip(lengths.as_deref().unwrap_or_default()) {
            let data = bytes.get(at..at + n * 2).ok_or("the EDF file is cut")?;
            channel.extend(data.as_chunks::<2>().0.iter().map(|b| i32::from(i16::from_le_bytes(*b))));
            at += n * 2;
        }
    }
    lengths?;
    let rows = channels.first().map_or(0, Vec::len);
    channels.retain(|c| c.len() == rows);
    let name = format!("EEG (EDF) 256 Hz × {} int, {records} s", channels.len());
    Ok(Signal { name, blocks: vec![channels.into_iter().map(Channel::I32).collect()] })
}

/// An ECG at 360 Hz as SciPy up to 1.11 ships it (`scipy/misc/ecg.dat`), or any text file of whole numbers: `AM_ECG` names the file or a
/// `site-packages` folder; otherwise the active or local virtual environment is looked at.
pub(crate) fn ecg() -> Result<Signal, String> {
    let path = find_ecg().ok_or("no ECG found; set AM_ECG to scipy/misc/ecg.dat of SciPy 1.11 or earlier")?;
    let bytes = std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let samples = if bytes.starts_with(b"PK\x03\x04") { npz(&bytes)? } else { lines(&String::from_utf8_lossy(&bytes))? };
    let name = format!("ECG 360 Hz × 1 int, {} samples", samples.len());
    Ok(Signal { name, blocks: vec![vec![Channel::I32(samples)]] })
}

fn find_ecg() -> Option<PathBuf> {
    let in_site = |site: &Path| Some(site.join("scipy/misc/ecg.dat")).filter(|p| p.is_file());
    if let Some(given) = std::env::var_os("AM_ECG").map(PathBuf::from) {
        return if given.is_dir() { in_site(&given) } else { Some(given) };
    }
    let environments = std::env::var_os("VIRTUAL_ENV").map(PathBuf::from).into_iter().chain([".venv".into(), "venv".into()]);
    environments
        .filter_map(|e| std::fs::read_dir(e.join("lib")).ok())
        .flat_map(|entries| entries.filter_map(Result::ok))
        .find_map(|python| in_site(&python.path().join("site-packages")))
}

/// The first array of a NumPy archive, 16-bit.
fn npz(zip: &[u8]) -> Result<Vec<i32>, String> {
    let cut = "the NumPy archive is cut";
    let word = |b: &[u8], at: usize| b.get(at..at + 2).and_then(|w| w.first_chunk::<2>()).map(|w| u16::from_le_bytes(*w)).ok_or(cut);
    let data = zip.get(30 + usize::from(word(zip, 26)?) + usize::from(word(zip, 28)?)..).ok_or(cut)?;
    let mut npy = Vec::new();
    match word(zip, 8)? {
        8 => flate2::read::DeflateDecoder::new(data).take(1 << 24).read_to_end(&mut npy).map(drop).map_err(|e| e.to_string())?,
        _ => npy.extend_from_slice(data),
    }
    let header = usize::from(word(&npy, 8)?);
    let about = npy.get(10..10 + header).map(String::from_utf8_lossy).ok_or(cut)?;
    let values = npy.get(10 + header..).ok_or(cut)?.as_chunks::<2>().0;
    if about.contains("'<u2'") {
        Ok(values.iter().map(|b| i32::from(u16::from_le_bytes(*b))).collect())
    } else if about.contains("'<i2'") {
        Ok(values.iter().map(|b| i32::from(i16::from_le_bytes(*b))).collect())
    } else {
        Err(format!("the array is not of 16-bit integers: {about}"))
    }
}

/// The last number of each line that ends in one.
fn lines(text: &str) -> Result<Vec<i32>, String> {
    let values: Vec<i32> = text.lines().filter_map(|l| l.rsplit(',').next()?.trim().parse().ok()).take(108_000).collect();
    if values.is_empty() { Err("the ECG file holds no whole numbers".into()) } else { Ok(values) }
}
