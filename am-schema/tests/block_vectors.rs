//! The format of sample blocks cannot change unnoticed: fixed samples give these bytes, and these bytes give the samples.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use am_schema::block::{Block, Channel, Samples, decode_untrusted, encode};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
    digits.chunks(2).map(|d| d[0] << 4 | d[1]).collect()
}

fn check(offsets: Option<Vec<i64>>, channels: Vec<Channel>, expected: &str) {
    let views: Vec<Samples<'_>> = channels.iter().map(Channel::samples).collect();
    let bytes = encode(offsets.as_deref(), &views).unwrap();
    assert_eq!(hex(&bytes), expected.replace(char::is_whitespace, ""), "the encoder writes other bytes");
    let back = decode_untrusted(&unhex(expected)).unwrap();
    assert_eq!(format!("{back:?}"), format!("{:?}", Block { offsets_ns: offsets, channels }), "the decoder reads other samples");
}

/// FNV-1a of long blocks, so that their bytes need not be spelled out.
fn fingerprint(bytes: &[u8]) -> String {
    let h = bytes.iter().fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3));
    format!("{} bytes {h:016x}", bytes.len())
}

fn check_long(channels: Vec<Channel>, expected: &str) {
    let views: Vec<Samples<'_>> = channels.iter().map(Channel::samples).collect();
    let bytes = encode(None, &views).unwrap();
    assert_eq!(fingerprint(&bytes), expected, "the encoder writes other bytes");
    assert_eq!(decode_untrusted(&bytes).unwrap().channels, channels);
}

/// A resonance driven by a seeded generator, in integers.
fn wave(n: usize, seed: u64, spread: u64) -> Vec<i64> {
    let (mut x, mut a, mut b) = (seed, 0i64, 0i64);
    (0..n)
        .map(|_| {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let v = (a * 18 - b * 9) / 10 + ((x >> 33) % (2 * spread + 1)) as i64 - spread as i64;
            (a, b) = (v, a);
            v
        })
        .collect()
}

fn ints(v: &[i64]) -> Channel {
    Channel::I32(v.iter().map(|v| *v as i32).collect())
}

#[test]
fn integers() {
    check(None, vec![Channel::I32(vec![1, 2, 3])], "01000103000a020003fc11a900");
    check(
        None,
        vec![Channel::I32(vec![i32::MIN, i32::MAX, 0, -1]), Channel::I32(vec![100, 104, 92, 96])],
        "
            010002040009ffffffff0f1fe7ffffffafffffff2f000000000028c8010401a91e03d3a6",
    );
    check(
        None,
        vec![ints(&wave(20, 1, 9))],
        "
            01000114000a0b437b3a8dd294764602abadc000418d1955",
    );
}

#[test]
fn repeated_rows() {
    let held: Vec<i64> = wave(5, 1, 9).iter().flat_map(|v| [*v; 8]).collect();
    check(
        None,
        vec![ints(&held)],
        "
            01010128050002000e000b0b037b1a144b86434f",
    );
}

#[test]
fn offsets() {
    let times = (0..8).map(|i| i * 20_000_000 + i % 3 * 1000).collect();
    check(
        Some(times),
        vec![Channel::I32(vec![5; 8])],
        "
            010201082a00b8174aff9f0500100001002000020000000a1149896f",
    );
}

#[test]
fn float_bits_and_corrections() {
    let odd = f32::from_bits(0x7fc0_0abc);
    check(
        None,
        vec![Channel::F32(vec![0.25, -0.0, 0.5, odd, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.25, 2.5, 2.75, 3.0])],
        "
            0100010e25020200022801bd9580860401012a321940fd6e000086f6c0a6",
    );
    check(
        None,
        vec![Channel::F64(vec![std::f64::consts::PI, std::f64::consts::E])],
        "
            010001020228b0b4a1c4eafe90898001afabbfc98cded8010001e0fd39ff",
    );
}

#[test]
fn floats_on_decimals_binary_fractions_and_steps() {
    let of = |k: &[i64], f: fn(f64) -> f64| Channel::F32(k.iter().map(|k| f(*k as f64) as f32).collect());
    check(
        None,
        vec![of(&wave(12, 3, 99), |k| k / 1000.0)],
        "
            0100010c05030a6a06b0375ad4c97395dc507b177327b550",
    );
    check(
        None,
        vec![of(&wave(12, 4, 99), |k| k / 16_384.0)],
        "
            0100010c090e00096406c346f956f078cd5d91f4c120a43474",
    );
    check(
        None,
        vec![of(&wave(40, 5, 99), |k| k * 0.000_598_205_5)],
        "
            010001280d8e0c33881c9a433f0a5c8799532ce15aad8630a543c820b239182780455272dde797f6ebbfc53d639522f9b951817a2fd53ad2
            09d0dd696a",
    );
    check(
        None,
        vec![of(&wave(40, 6, 99), |k| (k * 2_663.372_6 + 0.5).floor() / 1e6)],
        "
            010001281106f3a76fbcbecea4400a284796ca9d73023b8d63679f6f3966a1fa74adc4e8080f30db1e4ee30ac4114ce716c1d0d32a5b36ef
            9c8a03b36bfd85",
    );
}

#[test]
fn linear_prediction_with_a_reference_and_entropy_tables() {
    let first = wave(3000, 7, 400);
    let second: Vec<i64> = first.iter().zip(wave(3000, 8, 20)).map(|(a, b)| a * 2 + b).collect();
    check_long(vec![ints(&first)], "3712 bytes bfa34fea518eacff");
    check_long(vec![ints(&first), ints(&second)], "5840 bytes c7a70bc6a4ce301f");
    let doubles = first.iter().map(|v| *v as f64 / 1e4 + 0.1).collect();
    check_long(vec![Channel::F64(doubles)], "20632 bytes 6c1ed3932f661804");
}
