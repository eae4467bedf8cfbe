//! What devices in the field send in an older form.

use am_core::Result;
use prost::Message;

use crate::block::{self, Samples};
use crate::validate;
use crate::{Finding, Reading, v1};

/// The single sample of field 12 as an encoded one-sample block; `None` with a finding when it is not good.
pub(crate) fn block_of(sample: &[u8], findings: &mut Vec<Finding>) -> Option<Vec<u8>> {
    let before = findings.len();
    validate::message("accelerometer", &crate::shapes::ACCELEROMETER, sample, 0, findings);
    if findings.len() > before {
        return None;
    }
    let made = v1::Accelerometer::decode(sample).map_err(|e| e.to_string()).and_then(|a| one_sample(&a).map_err(|e| e.to_string()));
    match made {
        Ok(b) => Some(b.encode_to_vec()),
        Err(e) => {
            validate::push(findings, "accelerometer", e, "a sample");
            None
        }
    }
}

fn one_sample(a: &v1::Accelerometer) -> Result<v1::SampleBlock> {
    let data = block::encode(None, &[Samples::F32(&[a.x]), Samples::F32(&[a.y]), Samples::F32(&[a.z])])?;
    let channel = |name: &str| v1::Channel { name: name.into(), unit: "m/s2".into(), scale: 0.0 };
    Ok(v1::SampleBlock {
        period_ns: 0,
        count: 1,
        channels: vec![channel("x"), channel("y"), channel("z")],
        encoding: u32::from(block::ENCODING),
        data: data.into(),
    })
}

impl Reading {
    /// The single sample that this reading's block was made from, as the device sent it.
    pub fn original_sample(&self) -> Option<v1::Accelerometer> {
        let mut fields = crate::wire::Fields::new(&self.body);
        while let Ok(Some(f)) = fields.next() {
            if let (crate::envelope::SINGLE_SAMPLE, crate::wire::Value::Len(b)) = (f.number, f.value) {
                return v1::Accelerometer::decode(b).ok();
            }
        }
        None
    }
}
