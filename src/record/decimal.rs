//! Decimals: an unscaled integer and a scale, as the nearest float and as digits.

/// Maximum digits before or after the point.
const MOST: i64 = 1000;

/// `unscaled * 10^-scale`, rounded once.
pub fn nearest(unscaled: i128, scale: i8) -> f64 {
    // Both sides of the division are exact here, so it is rounded once.
    if unscaled.unsigned_abs() <= 1 << 53 && (0..=22).contains(&scale) {
        return unscaled as f64 / 10_f64.powi(i32::from(scale));
    }
    nearest_of_digits(unscaled, scale).unwrap_or(f64::NAN)
}

/// The same of an integer of any width.
pub fn nearest_of_digits(unscaled: impl std::fmt::Display, scale: i8) -> Option<f64> {
    format!("{unscaled}e{}", -i32::from(scale)).parse().ok()
}

/// The digits of an unscaled integer (two's complement, big-endian; of no bytes: zero) with a point where its scale
/// says, or why there are none.
pub fn digits(bytes: &[u8], scale: i64) -> Result<String, String> {
    let (first, rest) = bytes.split_first().map_or((0, &[][..]), |(first, rest)| (*first as i8, rest));
    if rest.len() > 15 {
        return Err(format!("a decimal of {} bytes has more than 38 digits", bytes.len()));
    }
    if scale.abs() > MOST {
        return Err(format!("a decimal of the scale {scale} can't be read"));
    }
    let unscaled = rest.iter().fold(i128::from(first), |value, byte| value << 8 | i128::from(*byte));
    let digits = unscaled.unsigned_abs().to_string();
    let sign = if unscaled < 0 { "-" } else { "" };
    Ok(match usize::try_from(scale) {
        Ok(0) => format!("{sign}{digits}"),
        Ok(scale) => {
            let digits = format!("{digits:0>width$}", width = scale + 1);
            let (whole, part) = digits.split_at(digits.len() - scale);
            format!("{sign}{whole}.{part}")
        }
        // A zero has no more digits by that.
        Err(_) if unscaled == 0 => "0".into(),
        Err(_) => format!("{sign}{digits}{}", "0".repeat(usize::try_from(-scale).unwrap_or_default())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_integer_with_a_scale_is_a_number() {
        for (bytes, scale, text) in [
            (&[0x01, 0x2c][..], 2, "3.00"),
            (&[0xff], 2, "-0.01"),
            (&[0x80], 0, "-128"),
            (&[0, 0x80], 1, "12.8"),
            (&[0x80, 0], 1, "-3276.8"),
            (&[5], -3, "5000"),
            (&[], 2, "0.00"),
            (&[], -2, "0"),
            (&[0x7f; 16], 0, "169473963133173273960190490760135540607"),
        ] {
            assert_eq!(digits(bytes, scale).as_deref(), Ok(text), "{bytes:?} {scale}");
        }
        assert!(
            digits(&[1; 17], 0).is_err() && digits(&[1], 1001).is_err() && digits(&[1], i64::from(i32::MIN)).is_err()
        );
    }

    #[test]
    fn the_nearest_float_is_rounded_once() {
        assert_eq!(nearest(110, 2), 1.1);
        assert_eq!(nearest(12_345_678_901_234_567_891, 10), "1234567890.1234567891".parse::<f64>().unwrap());

        assert_eq!(nearest(9_007_199_254_740_993, 9), "9007199.254740993".parse::<f64>().unwrap());
        assert_eq!(nearest(300_000_000_000_000_000_000_000, 24), 0.3);
        assert_eq!(nearest_of_digits("-5", -3), Some(-5000.0));
    }
}
