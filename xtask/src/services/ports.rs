//! Free ports on the loopback interface.

use std::net::{Ipv4Addr, TcpListener};

/// Below what systems hand out to outgoing connections: a server that is stopped finds its port free when it starts again.
const RANGE: std::ops::Range<u16> = 20_000..30_000;

/// Takes ports that nobody listens on, each once.
pub(super) struct Ports<'a> {
    taken: Vec<u16>,
    start: u16,
    free: &'a dyn Fn(u16) -> bool,
}

impl<'a> Ports<'a> {
    /// `seed` says where to begin, so that sets of services that start at the same time rarely want the same port.
    pub(super) fn new(taken: Vec<u16>, seed: &str, free: &'a dyn Fn(u16) -> bool) -> Self {
        let sum = seed.bytes().fold(0_u16, |sum, byte| sum.wrapping_mul(31).wrapping_add(u16::from(byte)));
        Ports { taken, start: sum % (RANGE.end - RANGE.start), free }
    }

    /// `wanted` when it is free, else the next free port.
    pub(super) fn next(&mut self, wanted: u16) -> Result<u16, String> {
        let width = RANGE.end - RANGE.start;
        let others = (0..width).map(|n| RANGE.start + (self.start + n) % width);
        let found = std::iter::once(wanted).filter(|p| *p != 0).chain(others).find(|p| !self.taken.contains(p) && (self.free)(*p));
        let port = found.ok_or_else(|| format!("no port from {} to {} is free on 127.0.0.1", RANGE.start, RANGE.end - 1))?;
        self.taken.push(port);
        Ok(port)
    }
}

/// True when nobody listens there.
pub(super) fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_port_is_given_once_and_taken_ones_never() {
        let busy = |p: u16| p.is_multiple_of(2);
        let mut ports = Ports::new(vec![20_000, 20_002], "", &busy);
        assert_eq!(ports.next(0), Ok(20_004));
        assert_eq!(ports.next(20_004), Ok(20_006));
        assert_eq!(ports.next(25_000), Ok(25_000));
        assert_eq!(ports.next(25_000), Ok(20_008));
        assert_eq!(ports.next(25_001), Ok(20_010), "a wanted port that is busy is not taken");
    }

    #[test]
    fn the_search_wraps_around_and_ends() {
        let last = |p: u16| p == RANGE.end - 1 || p == RANGE.start;
        let mut ports = Ports::new(Vec::new(), "another place", &last);
        let mut both = [ports.next(0).unwrap(), ports.next(0).unwrap()];
        both.sort_unstable();
        assert_eq!(both, [RANGE.start, RANGE.end - 1]);
        assert!(ports.next(0).unwrap_err().contains("20000 to 29999"));
    }

    #[test]
    fn a_port_with_a_listener_is_not_free() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        assert!(!is_free(listener.local_addr().unwrap().port()));
    }
}
