//! Numbers of the types that networks take. Must not live here: where they come from (`feed`).

/// A type of the numbers that a network takes.
pub(super) trait Float: Copy {
    /// The nearest number of the type.
    fn of(value: f64) -> Self;
    /// The same number.
    fn of_f32(value: f32) -> Self;
    /// Whether it is neither infinite nor NaN.
    fn is_finite(self) -> bool;
}

impl Float for f32 {
    fn of(value: f64) -> f32 {
        value as f32
    }
    fn of_f32(value: f32) -> f32 {
        value
    }
    fn is_finite(self) -> bool {
        f32::is_finite(self)
    }
}

impl Float for f64 {
    fn of(value: f64) -> f64 {
        value
    }
    fn of_f32(value: f32) -> f64 {
        value.into()
    }
    fn is_finite(self) -> bool {
        f64::is_finite(self)
    }
}

/// Writes numbers; returns whether all are finite.
pub(super) fn put<T: Float>(to: &mut [T], values: &[f64]) -> bool {
    let mut all = true;
    for (to, value) in to.iter_mut().zip(values) {
        *to = T::of(*value);
        all &= to.is_finite();
    }
    all
}
