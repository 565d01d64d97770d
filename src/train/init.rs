//! Keras' initialisers, with a generator of its own that gives the same numbers everywhere.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Random numbers of a seed.
#[derive(Debug, Clone)]
pub struct Random(ChaCha8Rng);

impl Random {
    /// The generator of a seed.
    pub fn new(seed: u64) -> Self {
        Random(ChaCha8Rng::seed_from_u64(seed))
    }

    /// One of many generators of a seed.
    pub fn of(seed: u64, stream: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(stream);
        Random(random)
    }

    /// Uniform in [0, 1), 53 bits.
    pub fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Standard normal (Box and Muller 1958).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Glorot and Bengio 2010: uniform within ±sqrt(6 / (fan_in + fan_out)); [fan_in, fan_out].
    pub fn glorot_uniform(&mut self, fan_in: usize, fan_out: usize) -> Vec<f64> {
        let limit = (6.0 / (fan_in + fan_out) as f64).sqrt();
        (0..fan_in * fan_out).map(|_| (2.0 * self.uniform() - 1.0) * limit).collect()
    }

    /// Uniform within ±limit.
    pub fn within(&mut self, limit: f64, numbers: usize) -> Vec<f64> {
        (0..numbers).map(|_| (2.0 * self.uniform() - 1.0) * limit).collect()
    }

    /// Saxe et al. 2014: [rows, columns] with orthonormal rows (or columns, if there are fewer of them).
    pub fn orthogonal(&mut self, rows: usize, columns: usize) -> Vec<f64> {
        let (count, length) = (rows.min(columns), rows.max(columns));
        let mut vectors: Vec<Vec<f64>> = Vec::with_capacity(count);
        while vectors.len() < count {
            let mut v: Vec<f64> = (0..length).map(|_| self.normal()).collect();
            // Twice: once leaves a rest of the size of the rounding of a nearly dependent vector.
            for _ in 0..2 {
                for u in &vectors {
                    let along: f64 = v.iter().zip(u).map(|(a, b)| a * b).sum();
                    v.iter_mut().zip(u).for_each(|(a, b)| *a -= along * b);
                }
            }
            let norm = v.iter().map(|a| a * a).sum::<f64>().sqrt();
            if norm > 1e-6 {
                v.iter_mut().for_each(|a| *a /= norm);
                vectors.push(v);
            }
        }
        let by_rows = rows <= columns;
        (0..rows * columns)
            .map(|i| {
                let (row, column) = (i / columns, i % columns);
                if by_rows { vectors[row][column] } else { vectors[column][row] }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orthogonal_rows_are_orthonormal() {
        let m = Random::new(1).orthogonal(5, 20);
        for i in 0..5 {
            for j in 0..5 {
                let dot: f64 = (0..20).map(|k| m[i * 20 + k] * m[j * 20 + k]).sum();
                assert!((dot - f64::from(u8::from(i == j))).abs() < 1e-12, "{i} {j} {dot}");
            }
        }
    }

    #[test]
    fn glorot_keeps_within_its_limit_and_fills_it() {
        let m = Random::new(2).glorot_uniform(30, 50);
        let limit = (6.0_f64 / 80.0).sqrt();
        assert!(m.iter().all(|x| x.abs() <= limit));
        assert!(m.iter().any(|x| *x > 0.95 * limit) && m.iter().any(|x| *x < -0.95 * limit));
    }
}
