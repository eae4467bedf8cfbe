//! Numbers as text and back.

use std::fmt::Write;

/// Room for the longest text of a float with an exponent.
struct Text {
    bytes: [u8; 40],
    len: usize,
}

impl Write for Text {
    fn write_str(&mut self, s: &str) -> std::fmt::Result {
        let end = self.len + s.len();
        self.bytes.get_mut(self.len..end).ok_or(std::fmt::Error)?.copy_from_slice(s.as_bytes());
        self.len = end;
        Ok(())
    }
}

/// Writes a finite float with the fewest digits that give it again, laid out as ECMAScript's `Number::toString` does; only -0
/// differs, which keeps its sign.
pub(super) fn push_float(out: &mut String, v: impl std::fmt::LowerExp) {
    let mut t = Text { bytes: [0; 40], len: 0 };
    if write!(t, "{v:e}").is_err() {
        return;
    }
    let text = t.bytes.get(..t.len).and_then(|b| std::str::from_utf8(b).ok()).unwrap_or_default();
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |m| ("-", m));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    // The digits as one row, and how many of them stand before the point.
    let (count, point) = ((whole.len() + fraction.len()) as i32, exponent + 1);
    let digits = |from: i32, to: i32| {
        whole.bytes().chain(fraction.bytes()).skip(from.max(0) as usize).take((to - from).max(0) as usize).map(char::from)
    };
    let zeros = |n: i32| std::iter::repeat_n('0', n.max(0) as usize);
    out.push_str(sign);
    if count <= point && point <= 21 {
        out.extend(digits(0, count).chain(zeros(point - count)));
    } else if 0 < point && point <= 21 {
        out.extend(digits(0, point));
        out.push('.');
        out.extend(digits(point, count));
    } else if -6 < point && point <= 0 {
        out.push_str("0.");
        out.extend(zeros(-point).chain(digits(0, count)));
    } else {
        out.extend(digits(0, 1));
        if count > 1 {
            out.push('.');
            out.extend(digits(1, count));
        }
        let _ = write!(out, "e{}{}", if point > 0 { '+' } else { '-' }, (point - 1).abs());
    }
}

/// The integer that a JSON number is, however it is spelled: `61`, `61.0`, `6.1e1`; `None` when it has a fraction or is beyond
/// 128 bits.
pub(super) fn integer(text: &str) -> Option<i128> {
    let (negative, rest) = text.strip_prefix('-').map_or((false, text), |r| (true, r));
    if rest.len() <= 18 && rest.bytes().all(|b| b.is_ascii_digit()) && !rest.is_empty() {
        let v = rest.parse::<i64>().ok()?;
        return Some(i128::from(if negative { -v } else { v }));
    }
    let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
        Some((m, e)) => (m, e.strip_prefix('+').unwrap_or(e)),
        None => (rest, "0"),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let fraction = fraction.trim_end_matches('0');
    let mut v = 0i128;
    for d in whole.bytes().chain(fraction.bytes()) {
        v = v.checked_mul(10)?.checked_add(i128::from(d.checked_sub(b'0').filter(|d| *d < 10)?))?;
    }
    if v == 0 {
        return Some(0);
    }
    // An exponent of more digits than a number can have is far beyond any type either way.
    let mut exponent = exponent.parse::<i64>().ok()?.checked_sub(fraction.len() as i64)?;
    while exponent < 0 && v % 10 == 0 {
        v /= 10;
        exponent += 1;
    }
    if !(0..40).contains(&exponent) {
        return None;
    }
    for _ in 0..exponent {
        v = v.checked_mul(10)?;
    }
    Some(if negative { -v } else { v })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(v: impl std::fmt::LowerExp) -> String {
        let mut out = String::new();
        push_float(&mut out, v);
        out
    }

    proptest! {
        #[test]
        fn doubles_survive_their_text_to_the_bit(bits: u64) {
            let v = f64::from_bits(bits);
            prop_assume!(v.is_finite());
            prop_assert_eq!(text(v).parse::<f64>().unwrap().to_bits(), bits, "{}", text(v));
            prop_assert!(serde_json::from_str::<f64>(&text(v)).is_ok());
        }

        #[test]
        fn singles_survive_their_text_to_the_bit(bits: u32) {
            let v = f32::from_bits(bits);
            prop_assume!(v.is_finite());
            prop_assert_eq!(text(v).parse::<f32>().unwrap().to_bits(), bits, "{}", text(v));
        }

        #[test]
        fn integers_are_read_in_every_spelling(v: i64, zeros in 0usize..5) {
            let expected = Some(i128::from(v));
            prop_assert_eq!(integer(&v.to_string()), expected);
            prop_assert_eq!(integer(&format!("{v}.{}", "0".repeat(zeros.max(1)))), expected);
            prop_assert_eq!(integer(&format!("{v}{}E-{zeros}", "0".repeat(zeros))), expected);
            prop_assert_eq!(integer(&format!("{v}e+{zeros}")), expected.map(|x| x * 10i128.pow(zeros as u32)));
        }
    }

    #[test]
    fn layouts_are_those_of_ecmascript() {
        // From RFC 8785, appendix B, where -0 is written as 0.
        for (bits, expected) in [
            (0x0000_0000_0000_0001u64, "5e-324"),
            (0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308"),
            (0x4340_0000_0000_0000, "9007199254740992"),
            (0x4430_0000_0000_0000, "295147905179352830000"),
            (0x44b5_2d02_c7e1_4af5, "9.999999999999997e+22"),
            (0x44b5_2d02_c7e1_4af6, "1e+23"),
            (0x444b_1ae4_d6e2_ef4e, "999999999999999700000"),
            (0x444b_1ae4_d6e2_ef50, "1e+21"),
            (0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7"),
            (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
            (0x41b3_de43_5555_5553, "333333333.3333332"),
            (0xbecb_f647_612f_3696, "-0.0000033333333333333333"),
            (0, "0"),
            (0x8000_0000_0000_0000, "-0"),
        ] {
            assert_eq!(text(f64::from_bits(bits)), expected);
        }
        assert_eq!((text(0.9f32), text(61f32), text(1e-7f32)), ("0.9".into(), "61".into(), "1e-7".into()));
    }

    #[test]
    fn fractions_and_giants_are_no_integers() {
        for bad in ["61.5", "1e-1", "1e400", "1e99999999999999999999", "123456789012345678901234567890123456789012", "6a"] {
            assert_eq!(integer(bad), None, "{bad}");
        }
        assert_eq!(integer("18446744073709551615"), Some(i128::from(u64::MAX)));
        assert_eq!(integer("0e99999"), Some(0));
    }
}
