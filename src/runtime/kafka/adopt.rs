//! `kolk state adopt`: where a partition can continue from one of its checkpoints, and what that skips or repeats.
//!
//! Lives here: the decision for one partition. Must not live here: requests to brokers and the store, and writing.
//!
//! What is committed is a [`Commit`] as of the checkpoint, at the offset where reading continues. Count and hash are
//! the checkpoint's, so the next start restores exactly that and replays nothing. Its number is above those of all
//! checkpoints: what is written from then on never meets a file of the history that is given up.

use std::ops::Range as Offsets;

use super::commit::Commit;
use crate::error::counted;
use crate::kafka::{Committed, LogRange};
use crate::state::{CommitPosition, Saved};

/// What there is of a partition.
#[derive(Debug)]
pub struct Situation<'a> {
    /// Its log, for a reader of committed messages.
    pub range: LogRange,
    /// What the group has.
    pub committed: Option<&'a Committed>,
    /// Its checkpoints, newest first.
    pub saved: &'a [Saved],
    /// The highest number of a checkpoint, readable or not.
    pub highest: u64,
}

/// What to do with a partition.
#[derive(Debug, PartialEq, Eq)]
pub enum AdoptionStep {
    /// Nothing, for this reason.
    Leave(String),
    /// It cannot be resumed, for this reason.
    Refuse(String),
    /// Commit this.
    Adopt(Adoption),
}

/// Where a partition continues.
#[derive(Debug, PartialEq, Eq)]
pub struct Adoption {
    /// Offset of the next message.
    pub offset: i64,
    /// What is committed with it.
    pub metadata: String,
    /// The checkpoint; `None`: it has taken nothing yet, and has none.
    pub from: Option<Saved>,
    /// Offsets whose records are in no state.
    pub skips: Option<Offsets<i64>>,
    /// Offsets whose outputs may be there already and come again, and whether it is known that they are.
    pub repeats: Option<(Offsets<i64>, bool)>,
}

/// Decides.
pub fn adoption_step(situation: &Situation<'_>) -> AdoptionStep {
    let Situation { range, committed, saved, highest } = *situation;
    let commit = committed.and_then(|committed| Commit::parse(committed.offset, &committed.metadata));
    let Some(commit) = commit else {
        return match (saved.first(), committed) {
            (Some(newest), _) => from(newest, range, highest, None),
            (None, None) => {
                AdoptionStep::Leave("it has neither a checkpoint nor an offset, and begins as a new one".into())
            }
            (None, Some(committed)) => AdoptionStep::Leave(format!(
                "it has no checkpoint, and begins at the group's offset {}",
                committed.offset
            )),
        };
    };
    let offset = commit.at.offset;
    if range.end < offset {
        return AdoptionStep::Refuse(format!(
            "the topic ends at {}, before the committed offset {offset}: it was truncated or created again",
            range.end
        ));
    }
    let highest = highest.max(commit.at.sequence);
    let fits = |saved: &&Saved| {
        let before = saved.at.sequence < commit.at.sequence && saved.at.offset <= offset;
        saved.epoch == commit.epoch && (before || saved.at == commit.at)
    };
    let Some(fitting) = saved.iter().find(fits) else {
        return match saved.first() {
            Some(newest) => from(newest, range, highest, Some(offset)),
            None if commit.at.sequence > 0 => AdoptionStep::Leave(format!(
                "offset {offset} is committed and there is no readable checkpoint: nothing can be resumed (kolk state \
                 reset)"
            )),
            None if range.start > offset => later(&commit, range.start, commit.at.sequence, None),
            None => AdoptionStep::Leave(format!("it has taken nothing yet, and begins at offset {offset}")),
        };
    };
    let same = fitting.position == commit.position && fitting.at.hash == commit.at.hash;
    if range.start <= offset && (same || range.start <= fitting.at.offset) {
        return AdoptionStep::Leave(format!("its offset {offset} and its checkpoint belong together"));
    }
    match same {
        true => later(&commit, range.start, highest + 1, Some(fitting)),
        false => from(fitting, range, highest, Some(offset)),
    }
}

/// The state is that of the commit: only offsets that the log no longer has are skipped.
fn later(commit: &Commit, start: i64, sequence: u64, from: Option<&Saved>) -> AdoptionStep {
    let at = CommitPosition { sequence, offset: start, hash: commit.at.hash };
    let skips = Some(commit.at.offset..start);
    adopted(Commit { at, ..commit.clone() }, from, skips, None)
}

/// Goes on from a checkpoint. `until` is up to where outputs are known to be written.
fn from(saved: &Saved, range: LogRange, highest: u64, until: Option<i64>) -> AdoptionStep {
    let CommitPosition { sequence, offset, hash } = saved.at;
    if range.end < offset {
        return AdoptionStep::Refuse(format!(
            "the topic ends at {}, before offset {offset} of its checkpoint: it was truncated or created again",
            range.end
        ));
    }
    let at = offset.max(range.start);
    let commit = Commit {
        at: CommitPosition { sequence: highest.max(sequence) + 1, offset: at, hash },
        position: saved.position,
        epoch: saved.epoch.clone(),
        complete_from: sequence,
        ..Commit::default()
    };
    let end = until.unwrap_or(range.end);
    adopted(commit, Some(saved), (at > offset).then_some(offset..at), (end > at).then_some((at..end, until.is_some())))
}

fn adopted(
    commit: Commit,
    from: Option<&Saved>,
    skips: Option<Offsets<i64>>,
    repeats: Option<(Offsets<i64>, bool)>,
) -> AdoptionStep {
    match commit.metadata() {
        Some(metadata) => {
            AdoptionStep::Adopt(Adoption { offset: commit.at.offset, metadata, from: from.cloned(), skips, repeats })
        }
        None => AdoptionStep::Refuse(
            "the decisions of the clock don't fit into a commit: internal error, please report".into(),
        ),
    }
}

impl Adoption {
    /// What it does, in lines for people.
    pub fn lines(&self) -> Vec<String> {
        let state = match &self.from {
            Some(saved) => format!("with the state of {} as of offset {}", counted(saved.keys, "key"), saved.at.offset),
            None => "with no state, as it has taken nothing yet".into(),
        };
        let mut lines = vec![format!("continues at offset {}, {state}", self.offset)];
        let last = |offsets: &Offsets<i64>| offsets.end - 1;
        if let Some(skips) = &self.skips {
            lines.push(format!(
                "skips offsets {} to {}, which the topic no longer has: their records are in no state",
                skips.start,
                last(skips)
            ));
        }
        match &self.repeats {
            Some((repeats, true)) => lines.push(format!(
                "repeats offsets {} to {}: their outputs were written and come again",
                repeats.start,
                last(repeats)
            )),
            Some((repeats, false)) => lines.push(format!(
                "repeats from offset {} on, up to {} at most: how far processing was is no longer known; outputs that \
                 were \
                 written come again",
                repeats.start,
                last(repeats)
            )),
            None => lines.push("repeats nothing".into()),
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::ModelEpoch;

    fn saved(sequence: u64, offset: i64, position: u64) -> Saved {
        let epoch = ModelEpoch { model: "m/1".into(), from: 0 };
        Saved { at: CommitPosition { sequence, offset, hash: position + 1 }, epoch, position, keys: 3 }
    }

    fn committed(of: &Saved) -> Committed {
        let commit = Commit { at: of.at, position: of.position, epoch: of.epoch.clone(), ..Commit::default() };
        Committed { offset: of.at.offset, metadata: commit.metadata().unwrap() }
    }

    fn decide(saved: &[Saved], committed: Option<&Committed>, (start, end): (i64, i64), highest: u64) -> AdoptionStep {
        adoption_step(&Situation { range: LogRange { start, end }, committed, saved, highest })
    }

    fn adopted(step: AdoptionStep) -> (Adoption, Commit) {
        let AdoptionStep::Adopt(adoption) = step else { panic!("{step:?}") };
        let commit = Commit::parse(adoption.offset, &adoption.metadata).unwrap();
        (adoption, commit)
    }

    #[test]
    fn what_belongs_together_is_left_alone() {
        let at = saved(7, 70, 60);
        let left = |step: AdoptionStep| matches!(step, AdoptionStep::Leave(_));
        assert!(left(decide(std::slice::from_ref(&at), Some(&committed(&at)), (10, 90), 7)));
        // Retention has removed what no replay needs.
        let later = saved(9, 75, 60);
        assert!(left(decide(std::slice::from_ref(&at), Some(&committed(&later)), (72, 90), 7)));
        assert!(left(decide(&[], None, (0, 9), 0)));
        assert!(left(decide(&[], Some(&committed(&saved(3, 5, 5))), (0, 9), 0)), "no state to resume");
    }

    #[test]
    fn offsets_that_are_gone_or_set_by_hand_give_way_to_the_newest_checkpoint() {
        let all = [saved(7, 70, 60), saved(5, 50, 40)];
        let by_hand = Committed { offset: 20, metadata: String::new() };
        for committed in [None, Some(&by_hand)] {
            // A checkpoint of number 9 exists and can't be read.
            let (adoption, commit) = adopted(decide(&all, committed, (10, 90), 9));
            assert_eq!((adoption.offset, adoption.skips, adoption.repeats), (70, None, Some((70..90, false))));
            assert_eq!((commit.at.sequence, commit.at.hash, commit.position), (10, 61, 60));
            assert_eq!((commit.complete_from, &commit.epoch), (7, &all[0].epoch));
        }
        let (adoption, _) = adopted(decide(&all, None, (70, 70), 7));
        assert_eq!(adoption.repeats, None);
        assert_eq!(
            adoption.lines(),
            ["continues at offset 70, with the state of 3 keys as of offset 70", "repeats nothing"]
        );
    }

    #[test]
    fn a_log_that_begins_behind_is_gone_on_with_from_its_start() {
        let (at, end) = (saved(7, 70, 60), saved(8, 80, 70));
        // A clean stop: the state is that of the commit, and its decisions stay.
        let (adoption, commit) = adopted(decide(std::slice::from_ref(&at), Some(&committed(&at)), (75, 90), 7));
        assert_eq!((adoption.offset, adoption.skips, adoption.repeats), (75, Some(70..75), None));
        assert_eq!((commit.at.sequence, commit.at.hash), (8, 61));
        // A crash: the work since the checkpoint can't be replayed.
        let (adoption, _) = adopted(decide(std::slice::from_ref(&at), Some(&committed(&end)), (75, 90), 7));
        assert_eq!((adoption.offset, adoption.skips, adoption.repeats), (75, Some(70..75), Some((75..80, true))));
        // Nothing was taken yet.
        let first = Saved { at: CommitPosition { sequence: 0, offset: 2, hash: 0 }, position: 0, ..saved(0, 2, 0) };
        let (adoption, commit) = adopted(decide(&[], Some(&committed(&first)), (5, 9), 0));
        assert_eq!((adoption.offset, adoption.from, commit.at.sequence), (5, None, 0));
    }

    #[test]
    fn a_topic_that_ends_before_is_refused() {
        let at = saved(7, 70, 60);
        for committed in [None, Some(&committed(&at))] {
            assert!(matches!(decide(std::slice::from_ref(&at), committed, (0, 60), 7), AdoptionStep::Refuse(_)));
        }
    }
}
