//! The XOR float compression of Gorilla (Pelkonen et al., VLDB 2015), for 32-bit and 64-bit samples, as a baseline.

/// Bits of one sample and of the two header fields.
#[derive(Clone, Copy)]
pub(crate) struct Width {
    bits: u32,
    length_bits: u32,
}

/// 32-bit samples: 5 bits of leading zeros, 5 bits of length.
pub(crate) const W32: Width = Width { bits: 32, length_bits: 5 };
/// 64-bit samples as in the paper: 5 bits of leading zeros, 6 bits of length.
#[cfg(test)]
pub(crate) const W64: Width = Width { bits: 64, length_bits: 6 };

#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    used: usize,
}

impl Bits {
    fn put(&mut self, v: u64, n: u32) {
        for i in (0..n).rev() {
            if self.used.is_multiple_of(8) {
                self.bytes.push(0);
            }
            if let Some(last) = self.bytes.last_mut() {
                *last |= ((v >> i & 1) as u8) << (7 - self.used % 8);
            }
            self.used += 1;
        }
    }
}

/// Compresses one channel.
pub(crate) fn encode(words: &[u64], width: Width) -> Vec<u8> {
    let mut out = Bits::default();
    let (mut before, mut window) = (0u64, None::<(u32, u32)>);
    for (i, w) in words.iter().enumerate() {
        if i == 0 {
            out.put(*w, width.bits);
            before = *w;
            continue;
        }
        let x = w ^ before;
        before = *w;
        if x == 0 {
            out.put(0, 1);
            continue;
        }
        out.put(1, 1);
        let lead = (x.leading_zeros() - (64 - width.bits)).min(31);
        let trail = x.trailing_zeros();
        match window {
            Some((l, t)) if lead >= l && trail >= t => {
                out.put(0, 1);
                out.put(x >> t, width.bits - l - t);
            }
            _ => {
                let length = width.bits - lead - trail;
                out.put(1, 1);
                out.put(u64::from(lead), 5);
                out.put(u64::from(length) & ((1 << width.length_bits) - 1), width.length_bits);
                out.put(x >> trail, length);
                window = Some((lead, trail));
            }
        }
    }
    out.bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(bytes: &[u8], n: usize, width: Width) -> Vec<u64> {
        let mut at = 0usize;
        let mut get = |n: u32| {
            (0..n).fold(0u64, |v, _| {
                let bit = bytes[at / 8] >> (7 - at % 8) & 1;
                at += 1;
                v << 1 | u64::from(bit)
            })
        };
        let mut out = vec![get(width.bits)];
        let (mut lead, mut length) = (0, 0);
        while out.len() < n {
            let mut x = 0;
            if get(1) == 1 {
                if get(1) == 1 {
                    lead = get(5) as u32;
                    length = get(width.length_bits) as u32;
                    length = if length == 0 { width.bits } else { length };
                }
                x = get(length) << (width.bits - lead - length);
            }
            out.push(out[out.len() - 1] ^ x);
        }
        out
    }

    #[test]
    fn the_baseline_is_lossless() {
        let floats: Vec<u64> = (0..500).map(|i| u64::from((f64::from(i) * 0.1).sin().to_bits() as u32 * u32::from(i % 3 > 0))).collect();
        assert_eq!(decode(&encode(&floats, W32), floats.len(), W32), floats);
        let doubles: Vec<u64> = (0..500).map(|i| (f64::from(i / 2) * 0.1).sin().to_bits()).collect();
        assert_eq!(decode(&encode(&doubles, W64), doubles.len(), W64), doubles);
    }
}
