//! Sample blocks over all kinds of values: what goes in comes out to the bit; damage is an error and never a panic.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use am_core::Code;
use am_schema::block::{Block, Channel, Decoder, Limits, MAX_CHANNELS, MAX_SAMPLES, Samples, decode, decode_untrusted, encode};
use proptest::prelude::*;

/// A small seeded generator, so that signals are the same on every run.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 24
    }
    fn around(&mut self, spread: i64) -> i64 {
        (self.next() % (2 * spread as u64 + 1)) as i64 - spread
    }
}

/// A resonance driven by noise: what a body-worn sensor looks like to a predictor.
fn wave(n: usize, seed: u64, spread: i64) -> Vec<i64> {
    let mut noise = Noise(seed);
    let (mut a, mut b) = (0i64, 0i64);
    (0..n)
        .map(|_| {
            let x = (a * 18 - b * 9) / 10 + noise.around(spread);
            (a, b) = (x, a);
            x
        })
        .collect()
}

fn bits(c: &Channel) -> (u8, Vec<u64>) {
    match c {
        Channel::I32(v) => (0, v.iter().map(|x| *x as u64).collect()),
        Channel::F32(v) => (1, v.iter().map(|x| u64::from(x.to_bits())).collect()),
        Channel::F64(v) => (2, v.iter().map(|x| x.to_bits()).collect()),
    }
}

fn check(offsets: Option<&[i64]>, channels: &[Channel]) -> usize {
    let views: Vec<Samples<'_>> = channels.iter().map(Channel::samples).collect();
    let bytes = encode(offsets, &views).unwrap();
    let shape = Limits::exactly(channels.len(), channels[0].samples().len());
    let back = decode(&bytes, &shape).unwrap();
    assert_eq!(back.offsets_ns.as_deref(), offsets);
    assert_eq!(back.channels.len(), channels.len());
    for (i, (a, b)) in back.channels.iter().zip(channels).enumerate() {
        assert!(bits(a) == bits(b), "channel {i}");
    }
    bytes.len()
}

#[test]
fn every_kind_of_signal_comes_back() {
    let n = 3000;
    let mut noise = Noise(5);
    let ints: Vec<i32> = wave(n, 1, 50).iter().map(|v| *v as i32).collect();
    let decimals: Vec<f32> = wave(n, 2, 900).iter().map(|v| (*v as f64 / 1e4) as f32).collect();
    let stepped: Vec<f32> = wave(n, 3, 90).iter().map(|v| (*v as f64 * 0.000_598_205_5) as f32).collect();
    let binary: Vec<f64> = wave(n, 4, 90).iter().map(|v| *v as f64 / 16_384.0).collect();
    let smooth: Vec<f64> = (0..n).map(|i| (i as f64 * 0.01).sin() * 9.81).collect();
    let smooth32: Vec<f32> = smooth.iter().map(|v| *v as f32).collect();
    let bits32: Vec<f32> = (0..n).map(|_| f32::from_bits(noise.next() as u32)).collect();
    let bits64: Vec<f64> = (0..n).map(|_| f64::from_bits(noise.next() << 32 ^ noise.next())).collect();
    let peculiar = |(i, v): (usize, &f32)| match i % 97 {
        0 => -0.0,
        1 => f32::from_bits(0x7fc0_0abc),
        2 => f32::NEG_INFINITY,
        3 => f32::MIN_POSITIVE / 8.0,
        _ => *v,
    };
    let odd: Vec<f32> = decimals.iter().enumerate().map(peculiar).collect();
    let floats = [decimals, stepped, smooth32, bits32, odd].map(Channel::F32);
    let doubles = [binary, smooth, bits64].map(Channel::F64);
    let mut all: Vec<Channel> = floats.into_iter().chain(doubles).collect();
    all.extend([ints.clone(), vec![7; n], ints].map(Channel::I32));
    check(None, &all);
}

#[test]
fn compression_finds_what_each_signal_is_made_of() {
    let n = 15_000;
    let ints: Vec<i32> = wave(n, 1, 20).iter().map(|v| *v as i32).collect();
    let stepped: Vec<f32> = wave(n, 1, 20).iter().map(|v| (*v as f64 * 0.000_598_205_5) as f32).collect();
    // The noise that drives it holds log2(41) = 5.36 bits a sample.
    let as_ints = check(None, &[Channel::I32(ints.clone())]);
    assert!(as_ints * 8 < n * 55 / 10, "{as_ints}");
    let as_floats = check(None, &[Channel::F32(stepped)]);
    assert!(as_floats < as_ints + 40, "{as_floats} against {as_ints}");
    // A second channel that follows the first costs little.
    let mut noise = Noise(3);
    let follower: Vec<i32> = ints.iter().map(|v| v * 2 + 1000 + noise.around(1) as i32).collect();
    let both = check(None, &[Channel::I32(ints), Channel::I32(follower)]);
    assert!(both < as_ints + n * 2 / 8, "{both} against {as_ints}");
}

#[test]
fn repeated_rows_cost_almost_nothing() {
    let held: Vec<Channel> = (0..4).map(|c| Channel::I32(wave(60, c, 30).iter().flat_map(|v| [*v as i32; 256]).collect())).collect();
    let bytes = check(None, &held);
    assert!(bytes < 4 * 60 * 2, "{bytes}");
    check(None, &[Channel::I32((0..100).map(|i| i / 2).collect())]);
    check(None, &[Channel::I32((0..101).map(|i| i / 2).collect())]);
    assert!(check(None, &[Channel::F32(vec![1.5; MAX_SAMPLES])]) < 32);
}

#[test]
fn irregular_times_come_back_to_the_nanosecond() {
    let mut noise = Noise(9);
    let times: Vec<i64> = (0..2000).map(|i| i * 20_000_000 + noise.around(400_000)).collect();
    let bytes = check(Some(&times), &[Channel::I32(vec![0; 2000])]);
    assert!(bytes < 2000 * 3, "{bytes}");
    let regular: Vec<i64> = (0..2000).map(|i| i * 20_000_000).collect();
    assert!(check(Some(&regular), &[Channel::I32(vec![0; 2000])]) < 40);
    check(Some(&[i64::MIN, i64::MAX, 0, -1]), &[Channel::I32(vec![0; 4])]);
}

#[test]
fn shapes_that_cannot_be_kept_are_refused_by_the_encoder() {
    for (offsets, channels) in [
        (None, vec![]),
        (None, vec![Samples::I32(&[])]),
        (None, vec![Samples::I32(&[1]), Samples::I32(&[1, 2])]),
        (Some(&[1i64, 2][..]), vec![Samples::I32(&[1])]),
        (None, vec![Samples::I32(&[1]); MAX_CHANNELS + 1]),
    ] {
        assert_eq!(encode(offsets, &channels).unwrap_err().code(), Code::BAD_BLOCK);
    }
    let long = vec![0.0f64; MAX_SAMPLES];
    assert!(encode(None, &[Samples::F64(&long), Samples::F64(&long)]).is_err(), "38 MB is over the limit");
}

#[test]
fn unknown_encodings_wrong_shapes_and_claims_beyond_the_limits_are_named() {
    let bytes = encode(None, &[Samples::I32(&[1, 2, 3])]).unwrap();
    let message = |bytes: &[u8], limits: &Limits| {
        let e = decode(bytes, limits).unwrap_err();
        assert_eq!(e.code(), Code::BAD_BLOCK);
        e.to_string()
    };
    let any = Limits::default();
    let mut other = bytes.clone();
    other[0] = 9;
    assert!(message(&other, &any).contains("encoding=9"), "{}", message(&other, &any));
    assert!(message(&bytes, &Limits::exactly(1, 4)).contains("shape"));
    assert!(message(&bytes, &Limits::exactly(2, 3)).contains("shape"));
    assert!(message(&[], &any).contains("ends too early"));
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(message(&longer, &any).contains("follow"));
    let mut damaged = bytes.clone();
    *damaged.last_mut().unwrap() ^= 1;
    assert!(message(&damaged, &any).contains("checksum"));
    // 200 channels of 2.4 million samples in nine bytes.
    assert!(message(&[1, 0, 200, 1, 0x80, 0xbe, 0x92, 1, 0], &any).contains("more bytes than allowed"));
    let mut small = Limits::default();
    small.samples = 2;
    assert!(message(&bytes, &small).contains("more samples"));
}

#[test]
fn a_decoder_can_be_used_again_after_any_block() {
    let mut decoder = Decoder::default();
    let mut block = Block::default();
    let a = encode(Some(&[1, 5, 9]), &[Samples::F32(&[1.0, 2.0, 4.0]), Samples::I32(&[3, 2, 1])]).unwrap();
    let b = encode(None, &[Samples::F64(&[0.1, 0.2])]).unwrap();
    for _ in 0..3 {
        decoder.decode_into(&a, &Limits::default(), &mut block).unwrap();
        assert_eq!(block.offsets_ns, Some(vec![1, 5, 9]));
        assert_eq!(block.channels, [Channel::F32(vec![1.0, 2.0, 4.0]), Channel::I32(vec![3, 2, 1])]);
        decoder.decode_into(&b[..b.len() - 5], &Limits::default(), &mut block).unwrap_err();
        decoder.decode_into(&b, &Limits::default(), &mut block).unwrap();
        assert_eq!(block, Block { offsets_ns: None, channels: vec![Channel::F64(vec![0.1, 0.2])] });
    }
}

const ROWS: usize = 400;

fn values() -> impl Strategy<Value = Channel> {
    let extreme = prop_oneof![Just(i32::MIN), Just(i32::MAX), Just(0)];
    let decimal = |(v, e): (Vec<i64>, u8)| {
        let unit = (0..e).fold(1.0, |u, _| u * 10.0);
        Channel::F64(v.into_iter().map(|k| k as f64 / unit).collect())
    };
    let stepped = |(v, s): (Vec<i64>, f64)| Channel::F32(v.into_iter().map(|k| (k as f64 * s) as f32).collect());
    prop_oneof![
        prop::collection::vec(any::<i32>(), ROWS).prop_map(Channel::I32),
        prop::collection::vec(-3i32..3, ROWS).prop_map(Channel::I32),
        prop::collection::vec(extreme, ROWS).prop_map(Channel::I32),
        prop::collection::vec(any::<u32>(), ROWS).prop_map(|v| Channel::F32(v.into_iter().map(f32::from_bits).collect())),
        prop::collection::vec(any::<u64>(), ROWS).prop_map(|v| Channel::F64(v.into_iter().map(f64::from_bits).collect())),
        (prop::collection::vec(-100_000i64..100_000, ROWS), 0u8..12).prop_map(decimal),
        (prop::collection::vec(-3000i64..3000, ROWS), 1e-6f64..1.0).prop_map(stepped),
        any::<u64>().prop_map(|b| Channel::F64(vec![f64::from_bits(b); ROWS])),
        (any::<u64>(), 1i64..5000).prop_map(|(s, spread)| Channel::I32(wave(ROWS, s, spread).iter().map(|v| *v as i32).collect())),
        // Denormals.
        any::<u64>().prop_map(|s| Channel::F64(wave(ROWS, s, 9).iter().map(|v| f64::from_bits(v.unsigned_abs())).collect())),
    ]
}

fn cut(c: Channel, rows: usize) -> Channel {
    match c {
        Channel::I32(v) => Channel::I32(v[..rows].to_vec()),
        Channel::F32(v) => Channel::F32(v[..rows].to_vec()),
        Channel::F64(v) => Channel::F64(v[..rows].to_vec()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn whatever_goes_in_comes_out(
        channels in prop::collection::vec(values(), 1..4),
        times in prop::option::of(prop::collection::vec(any::<i64>(), ROWS)),
        rows in 1usize..=ROWS,
    ) {
        let channels: Vec<Channel> = channels.into_iter().map(|c| cut(c, rows)).collect();
        check(times.as_deref().map(|t| &t[..rows]), &channels);
    }

    #[test]
    fn damage_is_an_error_and_never_a_panic(channels in prop::collection::vec(values(), 1..3), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let views: Vec<Samples<'_>> = channels.iter().map(Channel::samples).collect();
        let bytes = encode(None, &views).unwrap();
        let i = at.index(bytes.len());
        prop_assert!(decode_untrusted(&bytes[..i]).is_err(), "cut at {} of {}", i, bytes.len());
        let mut flipped = bytes.clone();
        flipped[i] ^= 1 << bit;
        // A flip in unused filling bits changes nothing; any other must be noticed.
        if let Ok(block) = decode_untrusted(&flipped) {
            prop_assert!(block.channels.iter().map(bits).eq(channels.iter().map(bits)), "a flip in byte {} went unnoticed", i);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..300), channels in 1u8..4, rows in 1u8..100, flags in 0u8..4) {
        let _ = decode_untrusted(&bytes);
        if bytes.len() > 4 {
            bytes[..4].copy_from_slice(&[1, flags, channels, rows]);
            let _ = decode_untrusted(&bytes);
        }
    }
}
