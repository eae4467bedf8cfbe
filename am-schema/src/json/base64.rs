//! Base64 (RFC 4648): written in the standard alphabet with padding, read in either alphabet with or without.

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// 0 to 63 for a digit of either alphabet, 255 otherwise.
static VALUES: [u8; 256] = {
    let mut t = [255u8; 256];
    let mut i = 0;
    while i < 64 {
        t[DIGITS[i] as usize] = i as u8;
        i += 1;
    }
    t[b'-' as usize] = 62;
    t[b'_' as usize] = 63;
    t
};

pub(super) fn encode(bytes: &[u8], out: &mut String) {
    let digit = |v: u32| char::from(DIGITS.get(v as usize & 63).copied().unwrap_or(b'='));
    out.reserve(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let (a, b, c) = (chunk.first(), chunk.get(1), chunk.get(2));
        let of = |x: Option<&u8>, shift: u32| x.map_or(0, |v| u32::from(*v) << shift);
        let v = of(a, 16) | of(b, 8) | of(c, 0);
        out.push(digit(v >> 18));
        out.push(digit(v >> 12));
        out.push(if b.is_some() { digit(v >> 6) } else { '=' });
        out.push(if c.is_some() { digit(v) } else { '=' });
    }
}

/// `None` when it is not base64; bits that no byte needs must be 0, so that a text has one meaning and bytes one text.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let mut digits = text.as_bytes();
    if digits.len().is_multiple_of(4) {
        digits = digits.strip_suffix(b"==").or_else(|| digits.strip_suffix(b"=")).unwrap_or(digits);
    }
    let mut out = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    for chunk in digits.chunks(4) {
        let mut v = 0u32;
        for d in chunk {
            let bits = VALUES.get(usize::from(*d)).copied().filter(|b| *b < 64)?;
            v = v << 6 | u32::from(bits);
        }
        match chunk.len() {
            4 => out.extend_from_slice(&[(v >> 16) as u8, (v >> 8) as u8, v as u8]),
            3 if v & 3 == 0 => out.extend_from_slice(&[(v >> 10) as u8, (v >> 2) as u8]),
            2 if v & 15 == 0 => out.push((v >> 4) as u8),
            _ => return None,
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(b: &[u8]) -> String {
        let mut out = String::new();
        encode(b, &mut out);
        out
    }

    proptest! {
        #[test]
        fn bytes_survive_their_text_padded_or_not(b: Vec<u8>) {
            let t = text(&b);
            prop_assert_eq!(decode(&t), Some(b.clone()));
            prop_assert_eq!(decode(t.trim_end_matches('=')), Some(b.clone()));
            prop_assert_eq!(decode(&t.replace('+', "-").replace('/', "_")), Some(b));
        }
    }

    #[test]
    fn the_standards_examples_hold_and_broken_texts_are_refused() {
        for (plain, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("foobar", "Zm9vYmFy")] {
            assert_eq!(text(plain.as_bytes()), coded);
            assert_eq!(decode(coded).as_deref(), Some(plain.as_bytes()));
        }
        for bad in ["Z", "Zg=", "Zh==", "Zm9=", "Zm 9v", "Zm9v=", "====", "Zg==Zg==", "ä"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }
}
