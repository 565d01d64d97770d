//! The answers of a registry about schema ids, and when to ask it again. No network here: [`super::registry`] asks.
//!
//! Schemas never change, so a found one is kept forever. An id that is missing may be registered the next moment, so it
//! is unknown only once it has been missing for [`GRACE`]; after that each verdict holds for [`HOLDS`]. Without an
//! answer nothing is decided: the caller waits.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::schema::{Schema, SchemaName, Silence};

/// How long an id must be missing before it is unknown.
pub(super) const GRACE: Duration = Duration::from_secs(5);
/// How long an unknown id stays unknown without a new answer.
const HOLDS: Duration = Duration::from_secs(2);
/// Pause after an answer that decides nothing.
const AGAIN: Duration = Duration::from_millis(500);

/// What is known about an id at present.
#[derive(Debug, Clone)]
pub(super) enum Verdict {
    Schema(Arc<Schema>),
    /// There is one, and no message can be read with it.
    Refused(String),
    /// The registry doesn't know the id.
    Unknown,
    /// Nothing yet, and why.
    Pending(String),
}

enum State {
    Decided(Verdict),
    Open(Open),
}

/// An id without a schema so far.
struct Open {
    /// A question is on its way.
    asked: bool,
    /// No new question before then.
    again: Instant,
    /// When the registry first said that it doesn't know the id.
    missing: Option<Instant>,
    /// When that became a verdict, or was confirmed.
    unknown: Option<Instant>,
    why: String,
}

/// The answers of one registry.
#[derive(Default)]
pub(super) struct Answers(Mutex<HashMap<SchemaName, State>>);

impl Answers {
    fn lock(&self) -> MutexGuard<'_, HashMap<SchemaName, State>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known about an id, and whether the caller must ask the registry now. Only one caller must, until its
    /// answer is [taken](Answers::take).
    pub fn of(&self, id: SchemaName, now: Instant) -> (Verdict, bool) {
        let mut all = self.lock();
        let state = all.entry(id).or_insert_with(|| {
            let why = format!("waiting for the schema registry's answer about schema {id}");
            State::Open(Open { asked: false, again: now, missing: None, unknown: None, why })
        });
        let open = match state {
            State::Decided(verdict) => return (verdict.clone(), false),
            State::Open(open) => open,
        };
        if open.unknown.is_some_and(|since| now < since + HOLDS) {
            return (Verdict::Unknown, false);
        }
        let ask = !open.asked && now >= open.again;
        open.asked |= ask;
        (Verdict::Pending(open.why.clone()), ask)
    }

    /// Takes the registry's answer about an id; `None`: it doesn't know it.
    pub fn take(&self, id: SchemaName, answer: Result<Option<Arc<Schema>>, Silence>, now: Instant) {
        let mut all = self.lock();
        let verdict = match answer {
            Ok(Some(schema)) => Verdict::Schema(schema),
            Err(Silence::Refused(why)) => Verdict::Refused(why),
            Ok(None) => {
                if let Some(State::Open(open)) = all.get_mut(&id) {
                    open.missed(id, now);
                }
                return;
            }
            Err(Silence::Unavailable(why)) => {
                if let Some(State::Open(open)) = all.get_mut(&id) {
                    (open.asked, open.again, open.why) = (false, now + AGAIN, why);
                }
                return;
            }
        };
        all.insert(id, State::Decided(verdict));
    }
}

impl Open {
    /// The registry doesn't know the id.
    fn missed(&mut self, id: SchemaName, now: Instant) {
        let since = *self.missing.get_or_insert(now);
        self.asked = false;
        if now >= since + GRACE {
            (self.unknown, self.again) = (Some(now), now);
            self.why = format!("asking the schema registry again for schema {id}, which it didn't know");
        } else {
            self.again = now + AGAIN;
            self.why = format!("the schema registry doesn't know schema {id} yet");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: SchemaName = SchemaName::Id(9);

    fn is_pending(answers: &Answers, now: Instant) -> Option<bool> {
        match answers.of(ID, now) {
            (Verdict::Pending(_), ask) => Some(ask),
            _ => None,
        }
    }

    #[test]
    fn one_question_at_a_time() {
        let (answers, start) = (Answers::default(), Instant::now());
        assert_eq!(is_pending(&answers, start), Some(true));
        assert_eq!(is_pending(&answers, start + GRACE), Some(false), "the first is on its way");
        answers.take(ID, Err(Silence::Unavailable("away".into())), start + GRACE);
        assert!(matches!(answers.of(ID, start + GRACE), (Verdict::Pending(why), false) if why == "away"));
        assert_eq!(is_pending(&answers, start + GRACE + AGAIN), Some(true));
    }

    #[test]
    fn a_missing_id_is_unknown_after_the_grace_and_until_another_answer() {
        let (answers, start) = (Answers::default(), Instant::now());
        let mut now = start;
        while now < start + GRACE {
            assert_eq!(is_pending(&answers, now), Some(true), "asked again within the grace");
            answers.take(ID, Ok(None), now);
            now += AGAIN;
        }
        assert_eq!(is_pending(&answers, now), Some(true), "only an answer decides");
        answers.take(ID, Ok(None), now);
        assert!(matches!(answers.of(ID, now), (Verdict::Unknown, false)));
        now += HOLDS;
        assert_eq!(is_pending(&answers, now), Some(true), "a verdict doesn't hold for ever");
        answers.take(ID, Ok(None), now);
        assert!(matches!(answers.of(ID, now), (Verdict::Unknown, false)), "there is no second grace");
        now += HOLDS;
        assert_eq!(is_pending(&answers, now), Some(true));
        let schema = Schema { id: 9, text: String::new(), references: Vec::new() };
        answers.take(ID, Ok(Some(Arc::new(schema))), now);
        assert!(matches!(answers.of(ID, now), (Verdict::Schema(_), false)));
    }
}
