//! Half-precision floats, as GGUF files and the KV cache store them.

/// The value of an IEEE 754 half-precision number.
pub fn to_f32(bits: u16) -> f32 {
    let sign = u32::from(bits >> 15) << 31;
    let exponent = u32::from(bits >> 10 & 0x1f);
    let fraction = u32::from(bits & 0x3ff);
    match (exponent, fraction) {
        (0, 0) => f32::from_bits(sign),
        (0, _) => {
            let magnitude = fraction as f32 * (1.0 / 16_777_216.0);
            if sign == 0 { magnitude } else { -magnitude }
        }
        (31, 0) => f32::from_bits(sign | 0x7f80_0000),
        // A quiet NaN that keeps its payload, as the processor's own conversion does.
        (31, _) => f32::from_bits(sign | 0x7fc0_0000 | fraction << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | fraction << 13),
    }
}

/// The nearest half-precision number, ties to even, as the processor's own conversion does.
pub fn from_f32(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = (bits >> 16 & 0x8000) as u16;
    let magnitude = bits & 0x7fff_ffff;
    if magnitude > 0x7f80_0000 {
        return sign | 0x7e00 | (magnitude >> 13 & 0x3ff) as u16;
    }
    if magnitude >= 0x4780_0000 {
        return sign | 0x7c00;
    }
    if magnitude < 0x3880_0000 {
        // Below the smallest normal half: scale so that one unit is one step, and round.
        let steps = (f32::from_bits(magnitude) * 16_777_216.0).round_ties_even();
        return sign | steps as u16;
    }
    let rounded = magnitude + 0xfff + (magnitude >> 13 & 1);
    sign | ((rounded >> 13) - (112 << 10)) as u16
}

/// The value of a bfloat16 number: the upper half of a single-precision one.
pub fn brain_to_f32(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// The nearest bfloat16 number, ties to even.
pub fn brain_from_f32(value: f32) -> u16 {
    let bits = value.to_bits();
    if value.is_nan() {
        return (bits >> 16 | 0x40) as u16;
    }
    (bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_half_survives_a_round_trip() {
        for bits in 0..=u16::MAX {
            let value = super::to_f32(bits);
            if value.is_nan() {
                assert!(super::to_f32(super::from_f32(value)).is_nan());
            } else {
                assert_eq!(super::from_f32(value), bits);
            }
        }
    }

    #[test]
    fn a_number_between_two_halves_goes_to_the_even_one() {
        assert_eq!(super::from_f32(1.0 + 1.0 / 2048.0), super::from_f32(1.0));
        assert_eq!(
            super::from_f32(1.0 + 3.0 / 2048.0),
            super::from_f32(1.0 + 4.0 / 2048.0)
        );
        assert_eq!(super::from_f32(65520.0), 0x7c00);
        assert_eq!(super::from_f32(65519.0), 0x7bff);
    }
}
