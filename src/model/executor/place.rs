//! Where the numbers of a row lie in a tensor: a row is one step of one sequence, and the axes of time and batch may be
//! anywhere. Must not live here: copying (`convert`).

use crate::network::{Axis, TensorSpec};

/// The numbers of a row are pieces of `piece` numbers side by side. Piece `n` of step `t` of sequence `b` begins at
/// `t * time + b * batch + pieces[n]`.
#[derive(Debug, Clone)]
pub(super) struct Place {
    shape: Vec<Axis>,
    /// Steps and sequences that it is laid out for.
    of: Option<(usize, usize)>,
    /// Numbers from a step to the next one; 0 where there is no axis of time: a row is then of all steps.
    pub(super) time: usize,
    /// Numbers from a sequence to the next one.
    pub(super) batch: usize,
    pub(super) piece: usize,
    pub(super) pieces: Vec<usize>,
}

impl Place {
    pub(super) fn new(tensor: &TensorSpec) -> Place {
        Place { shape: tensor.shape.clone(), of: None, time: 0, batch: 0, piece: 0, pieces: Vec::new() }
    }

    /// Lays it out for a run of `t` steps of `b` sequences.
    pub(super) fn lay_out(&mut self, t: usize, b: usize) {
        if self.of == Some((t, b)) {
            return;
        }
        self.of = Some((t, b));
        (self.time, self.batch, self.piece) = (0, 0, 1);
        self.pieces.clear();
        self.pieces.push(0);
        let (mut stride, mut side_by_side) = (1, true);
        for axis in self.shape.iter().rev() {
            match axis {
                Axis::Fixed(size) if side_by_side => (self.piece, stride) = (self.piece * size, stride * size),
                Axis::Fixed(size) => {
                    let inner = self.pieces.len();
                    for at in 1..*size {
                        (0..inner).for_each(|piece| self.pieces.push(self.pieces[piece] + at * stride));
                    }
                    stride *= size;
                }
                Axis::Time => (self.time, stride, side_by_side) = (stride, stride * t, false),
                Axis::Batch => (self.batch, stride, side_by_side) = (stride, stride * b, false),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Element;

    #[test]
    fn a_row_is_found_wherever_time_and_batch_are() {
        let fixed = Axis::Fixed;
        for (shape, time, batch, piece, pieces) in [
            (vec![Axis::Time, Axis::Batch, fixed(3)], 12, 3, 3, vec![0]),
            (vec![Axis::Batch, Axis::Time, fixed(3)], 3, 6, 3, vec![0]),
            (vec![fixed(2), Axis::Batch, fixed(3)], 0, 3, 3, vec![0, 12]),
            (vec![fixed(2), fixed(2), Axis::Batch], 0, 1, 1, vec![0, 4, 8, 12]),
            (vec![fixed(2), Axis::Time, fixed(2), Axis::Batch], 8, 1, 1, vec![0, 4, 16, 20]),
            (vec![fixed(5)], 0, 0, 5, vec![0]),
            (vec![Axis::Batch], 0, 1, 1, vec![0]),
        ] {
            let mut place = Place::new(&TensorSpec { name: "x".into(), element: Element::Float32, shape });
            place.lay_out(2, 4);
            assert_eq!((place.time, place.batch, place.piece), (time, batch, piece), "{place:?}");
            assert_eq!(place.pieces, pieces);
        }
    }
}
