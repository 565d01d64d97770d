//! As many messages as can be decoded at present: what can't be decoded yet keeps back nothing that came before it.

use std::ops::Range;

use crate::Result;
use crate::format::{Decided, DecodeError, Decoded, Decoder, Messages};

/// What a message waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StallReason {
    /// An answer of the schema registry; and why there is none.
    Answer(String),
    /// A checkpoint, after which decisions have room in a commit again.
    Checkpoint,
}

/// Messages that were decoded.
pub(super) struct Piece {
    /// Up to this index: to the message that decoding stopped at, if it did.
    pub end: usize,
    /// Their records.
    pub decoded: Decoded,
    /// What is decided now.
    pub decided: Decided,
}

/// Decodes the messages `range`, or the half of them, or the half of that: as many as are there to be decoded, and need
/// no more decisions than there is room for; or returns what the first of them waits for. `decided` says what was
/// decided before.
///
/// # Errors
/// What isn't the messages' fault, and trying again won't help.
pub(super) fn decode(
    decoder: &mut dyn Decoder,
    messages: &Messages,
    range: Range<usize>,
    decided: impl Fn() -> Decided,
    has_room: impl Fn(&Decided) -> bool,
) -> Result<std::result::Result<Piece, StallReason>> {
    let mut end = range.end;
    loop {
        let mut decided = decided();
        let wait = match decoder.decode(messages, range.start..end, &mut decided) {
            Ok(decoded) if has_room(&decided) => {
                let end = decoded.deleted.as_ref().map_or(end, |deleted| deleted.index);
                return Ok(Ok(Piece { end, decoded, decided }));
            }
            Ok(_) => StallReason::Checkpoint,
            Err(DecodeError::Unavailable(why)) => StallReason::Answer(why),
            Err(DecodeError::Failed(error)) => return Err(error),
        };
        if end <= range.start + 1 {
            return Ok(Err(wait));
        }
        end = range.start + (end - range.start) / 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::DecodeError;

    /// Knows the messages before one; every other message has an unknown schema.
    struct Knows(usize);

    impl Decoder for Knows {
        fn decode(
            &mut self,
            messages: &Messages,
            range: Range<usize>,
            decided: &mut Decided,
        ) -> std::result::Result<Decoded, DecodeError> {
            if range.end > self.0 {
                return Err(DecodeError::Unavailable("not yet".into()));
            }
            range.filter(|index| index % 2 == 0).for_each(|index| decided.note(messages.offsets[index], None));
            Ok(Decoded::default())
        }

        fn key_of(
            &mut self,
            _: &Messages,
            _: usize,
            _: &mut Decided,
        ) -> std::result::Result<Option<Vec<u8>>, DecodeError> {
            Ok(None)
        }
    }

    /// How many of 100 messages are taken, piece by piece, and what the next one waits for.
    fn taken(knows: usize, room: usize) -> (usize, Option<StallReason>) {
        let mut messages = Messages::default();
        (0..100).for_each(|offset| messages.push(offset, 0, None, Some(b"")));
        let (mut at, mut decided) = (0, Decided::default());
        while at < messages.len() {
            let has_room = |decided: &Decided| decided.unknown.len() <= room;
            match decode(&mut Knows(knows), &messages, at..messages.len(), || decided.clone(), has_room).unwrap() {
                Ok(piece) => (at, decided) = (piece.end, piece.decided),
                Err(wait) => return (at, Some(wait)),
            }
        }
        (at, None)
    }

    #[test]
    fn what_comes_before_is_taken() {
        let not_yet = || Some(StallReason::Answer("not yet".into()));
        for knows in [0, 1, 37, 99] {
            assert_eq!(taken(knows, 100), (knows, not_yet()));
        }
        assert_eq!(taken(100, 100), (100, None));
        // The seventh unknown one has no room; the message before it is the last that is taken.
        assert_eq!(taken(100, 6), (12, Some(StallReason::Checkpoint)));
        assert_eq!(taken(5, 6), (5, not_yet()));
    }
}
