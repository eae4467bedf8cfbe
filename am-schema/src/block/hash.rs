//! The checksum over decoded samples: XXH64 (Yann Collet's published algorithm) of their little-endian bytes.

const P1: u64 = 0x9E37_79B1_85EB_CA87;
const P2: u64 = 0xC2B2_AE3D_27D4_EB4F;
const P3: u64 = 0x1656_67B1_9E37_79F9;
const P4: u64 = 0x85EB_CA77_C2B2_AE63;
const P5: u64 = 0x27D4_EB2F_1656_67C5;

const fn round(acc: u64, word: u64) -> u64 {
    acc.wrapping_add(word.wrapping_mul(P2)).rotate_left(31).wrapping_mul(P1)
}

const fn merge(h: u64, lane: u64) -> u64 {
    (h ^ round(0, lane)).wrapping_mul(P1).wrapping_add(P4)
}

/// XXH64 of 8-byte values.
pub(super) fn of_words<T: Copy>(seed: u64, values: &[T], word: impl Fn(T) -> u64) -> u64 {
    let (stripes, tail) = values.as_chunks::<4>();
    let mut h = start(seed, stripes.iter().map(|s| [word(s[0]), word(s[1]), word(s[2]), word(s[3])]), values.len() as u64 * 8);
    for v in tail {
        h = absorb8(h, word(*v));
    }
    avalanche(h)
}

/// XXH64 of 4-byte values.
pub(super) fn of_halves<T: Copy>(seed: u64, values: &[T], half: impl Fn(T) -> u32) -> u64 {
    let pair = |a: T, b: T| u64::from(half(a)) | u64::from(half(b)) << 32;
    let (stripes, tail) = values.as_chunks::<8>();
    let lanes = stripes.iter().map(|s| [pair(s[0], s[1]), pair(s[2], s[3]), pair(s[4], s[5]), pair(s[6], s[7])]);
    let mut h = start(seed, lanes, values.len() as u64 * 4);
    let (pairs, last) = tail.as_chunks::<2>();
    for p in pairs {
        h = absorb8(h, pair(p[0], p[1]));
    }
    for v in last {
        h = (h ^ u64::from(half(*v)).wrapping_mul(P1)).rotate_left(23).wrapping_mul(P2).wrapping_add(P3);
    }
    avalanche(h)
}

fn start(seed: u64, stripes: impl ExactSizeIterator<Item = [u64; 4]>, bytes: u64) -> u64 {
    let h = if stripes.len() == 0 {
        seed.wrapping_add(P5)
    } else {
        let mut a = [seed.wrapping_add(P1).wrapping_add(P2), seed.wrapping_add(P2), seed, seed.wrapping_sub(P1)];
        for s in stripes {
            a = [round(a[0], s[0]), round(a[1], s[1]), round(a[2], s[2]), round(a[3], s[3])];
        }
        let h = a[0].rotate_left(1).wrapping_add(a[1].rotate_left(7)).wrapping_add(a[2].rotate_left(12)).wrapping_add(a[3].rotate_left(18));
        a.into_iter().fold(h, merge)
    };
    h.wrapping_add(bytes)
}

const fn absorb8(h: u64, word: u64) -> u64 {
    (h ^ round(0, word)).rotate_left(27).wrapping_mul(P1).wrapping_add(P4)
}

const fn avalanche(mut h: u64) -> u64 {
    h = (h ^ (h >> 33)).wrapping_mul(P2);
    h = (h ^ (h >> 29)).wrapping_mul(P3);
    h ^ (h >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_xxh64() {
        // The empty input's published value, and values of the reference implementation.
        assert_eq!(of_words::<u64>(0, &[], |w| w), 0xEF46_DB37_51D8_E999);
        assert_eq!(of_words(7, &std::array::from_fn::<u64, 10, _>(|i| i as u64), |w| w), 0xDADA_443B_1721_2735);
        assert_eq!(of_halves(7, &std::array::from_fn::<u32, 11, _>(|i| i as u32), |w| w), 0x0D16_A90A_6D09_88FB);
    }

    #[test]
    fn halves_and_words_of_the_same_bytes_agree() {
        for n in 0..20u64 {
            let words: Vec<u64> = (0..n).map(|i| i.wrapping_mul(P1)).collect();
            let halves: Vec<u32> = words.iter().flat_map(|w| [*w as u32, (*w >> 32) as u32]).collect();
            assert_eq!(of_words(7, &words, |w| w), of_halves(7, &halves, |w| w), "{n} words");
        }
    }
}
