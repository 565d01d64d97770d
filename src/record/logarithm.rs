//! The logarithm that values are scaled by: `ln(1 + |x|)` with the sign of x, so that there is one of every number.
//! Must not live here: which values are (`stage::scale`).

/// Of a value.
pub fn of(value: f64) -> f64 {
    value.abs().ln_1p().copysign(value)
}

/// The value of one.
pub fn back(value: f64) -> f64 {
    value.abs().exp_m1().copysign(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_one_and_comes_back() {
        assert_eq!((of(0.0), back(0.0)), (0.0, 0.0));
        assert!((of(9.0) - 10.0_f64.ln()).abs() < 1e-15 && (of(-9.0) + 10.0_f64.ln()).abs() < 1e-15);
        for value in [1e-9, -0.5, 3.0, -1e6, 1e300] {
            assert!((back(of(value)) / value - 1.0).abs() < 1e-12, "{value}");
        }
        assert!(of(f64::NAN).is_nan() && back(f64::NAN).is_nan());
    }
}
