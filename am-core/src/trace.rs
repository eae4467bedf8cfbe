//! W3C trace context.

use std::fmt;

/// A `traceparent` (W3C Trace Context, version 00): which trace a piece of work belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct TraceParent {
    trace: u128,
    span: u64,
    flags: u8,
}

impl TraceParent {
    /// Of its parts; `None` when the trace or span id is zero.
    pub fn new(trace: u128, span: u64, flags: u8) -> Option<Self> {
        (trace != 0 && span != 0).then_some(TraceParent { trace, span, flags })
    }

    /// Parses the header's text; anything malformed is `None`, as the standard asks.
    pub fn parse(s: &str) -> Option<Self> {
        let mut parts = s.split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let hex = |t: &str, n: usize| t.len() == n && t.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !hex(version, 2) || version == "ff" || !hex(trace, 32) || !hex(span, 16) || !hex(flags, 2) {
            return None;
        }
        if version == "00" && parts.next().is_some() {
            return None;
        }
        Self::new(u128::from_str_radix(trace, 16).ok()?, u64::from_str_radix(span, 16).ok()?, u8::from_str_radix(flags, 16).ok()?)
    }

    /// The 16-byte trace id.
    pub const fn trace_id(&self) -> u128 {
        self.trace
    }

    /// False for the default value, which belongs to no trace.
    pub const fn is_some(&self) -> bool {
        self.trace != 0
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, self.flags)
    }
}

impl fmt::Debug for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standards_example_survives_and_malformed_ones_are_none() {
        let s = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(TraceParent::parse(s).unwrap().to_string(), s);
        for bad in [
            "",
            "00-0-0-0",
            &s.to_uppercase(),
            &format!("{s}-x"),
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceParent::parse(bad), None, "{bad}");
        }
    }
}
