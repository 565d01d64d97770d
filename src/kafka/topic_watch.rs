//! Whether the topic is still the one of the start: a thread asks for all workers of a process.
//!
//! librdkafka fetches by a topic's id, learns a new one on its own, and continues at the old offset without an error.
//! So what was polled before a question for the id began is of the old topic only if the answer is the old id, which
//! never comes back. A commit asks while its messages are on their way; an idle process asks now and then.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;

use super::context::Door;
use super::describe::{self, Asked, Silence};
use super::properties;
use crate::Result;
use crate::config::KafkaSource;
use crate::error::Context;

/// Interval between questions of an idle process.
const EVERY: Duration = Duration::from_secs(5);
/// How long a broker may take to answer before another one is asked, at first, and when none answered.
const PATIENCE: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(8);
/// How long a topic may be missing before it counts as deleted: who deletes one to create it again does so within
/// seconds.
const AWAY: Duration = Duration::from_secs(30);
/// Before a question without an answer is asked again.
const AGAIN: Duration = Duration::from_millis(50);

/// See the module.
pub struct TopicWatch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// Whether the id is another one. It stays so.
    is_other: AtomicBool,
}

/// Questions are numbered in the order in which they begin.
#[derive(Default)]
struct State {
    wanted: u64,
    begun: u64,
    answered: u64,
    /// When the last answer came.
    heard: Option<Instant>,
    /// Since when the brokers know no such topic.
    away: Option<Instant>,
    stop: bool,
}

/// What the brokers report about the topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Same,
    Other,
    /// There is none.
    Away,
    Nothing,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a question that is wanted, or due, and begins it; `None`: the watch is over.
    fn next(&self) -> Option<u64> {
        let until = Instant::now() + EVERY;
        let mut state = self.state();
        while state.wanted <= state.begun && !state.stop && Instant::now() < until {
            state = self.wait(state, until);
        }
        state.begun += 1;
        (!state.stop).then_some(state.begun)
    }

    fn answer(&self, number: u64, is_same: bool) {
        if !is_same {
            self.is_other.store(true, Ordering::Release);
        }
        let mut state = self.state();
        (state.answered, state.away, state.heard) = (number, None, Some(Instant::now()));
        self.changed.notify_all();
    }

    /// A question has no answer: the next attempt has its number.
    fn again(&self, number: u64, is_away: bool) {
        let until = Instant::now() + AGAIN;
        let mut state = self.state();
        if is_away && state.away.is_none() {
            tracing::warn!("the topic no longer exists: waiting in case it comes back");
            state.away = Some(Instant::now());
        }
        state.begun = number - 1;
        state.wanted = state.wanted.max(number);
        while !state.stop && Instant::now() < until {
            state = self.wait(state, until);
        }
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, until: Instant) -> MutexGuard<'a, State> {
        let left = until.saturating_duration_since(Instant::now());
        self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
    }
}

/// Asks one broker after the other, since any of them may be away, with a longer limit each time.
struct Brokers {
    config: ClientConfig,
    client: BaseConsumer<Door>,
    topic: String,
    id: String,
    ids: Vec<i32>,
    next: usize,
    patience: Duration,
}

impl Brokers {
    fn ask(&mut self) -> Said {
        if self.ids.is_empty() {
            let metadata = self.client.fetch_metadata(Some(&self.topic), self.patience);
            self.ids = metadata.map_or(Vec::new(), |metadata| metadata.brokers().iter().map(|it| it.id()).collect());
            self.next = 0;
        }
        let broker = self.ids.get(self.next).copied();
        let asked = Asked { timeout: self.patience, with_rights: false, broker };
        let described = describe::topic(self.client.client(), &self.topic, asked);
        // Errors and log lines are reported in the polls.
        while self.client.poll(Duration::ZERO).is_some() {}
        match described {
            Ok(described) => {
                self.patience = PATIENCE;
                if described.id == self.id { Said::Same } else { Said::Other }
            }
            Err(Silence { code: Some(RDKafkaErrorCode::UnknownTopicOrPartition), .. }) => Said::Away,
            Err(silence) => {
                tracing::debug!(self.topic, broker, why = silence.text, "no answer with the topic's id: asking again");
                self.next += 1;
                if self.next >= self.ids.len() {
                    self.begin_again();
                }
                Said::Nothing
            }
        }
    }

    /// Nobody answered: the next round has more time, and a new client, since one whose broker was frozen may never ask
    /// again.
    fn begin_again(&mut self) {
        self.ids.clear();
        self.patience = (self.patience * 2).min(LONGEST);
        match self.config.create_with_context(Door::default()) {
            Ok(client) => self.client = client,
            Err(error) => tracing::debug!(%error, "no other client to ask with"),
        }
    }
}

impl TopicWatch {
    /// Begins to watch the source's topic, whose id was found to be `id`.
    ///
    /// # Errors
    /// Properties that librdkafka doesn't take; no thread to be had.
    pub fn new(source: &KafkaSource, id: &str) -> Result<TopicWatch> {
        let config = properties::asking(&source.brokers, &source.properties);
        let client = config.create_with_context(Door::default()).map_err(properties::refused)?;
        let (topic, id) = (source.topic.value.clone(), id.to_string());
        let mut brokers = Brokers { config, client, topic, id, ids: Vec::new(), next: 0, patience: PATIENCE };
        TopicWatch::asking(move || brokers.ask())
    }

    /// As [`TopicWatch::new`], with another way to ask.
    fn asking(mut ask: impl FnMut() -> Said + Send + 'static) -> Result<TopicWatch> {
        let shared = Arc::<Shared>::default();
        let its = shared.clone();
        let run = move || {
            while let Some(number) = its.next() {
                match ask() {
                    said @ (Said::Same | Said::Other) => its.answer(number, said == Said::Same),
                    said => its.again(number, said == Said::Away),
                }
            }
        };
        let thread = std::thread::Builder::new().name("topic-watch".into()).spawn(run);
        let thread = thread.or_failed(|| "start the thread that watches the topic".into())?;
        Ok(TopicWatch { shared, thread: Some(thread) })
    }

    /// Wants a question that begins after this call; gives its number.
    pub fn ask(&self) -> u64 {
        let mut state = self.shared.state();
        // One that had no answer begins again under its number, and others may wait for a later one.
        let number = state.begun + 1;
        state.wanted = state.wanted.max(number);
        self.shared.changed.notify_all();
        number
    }

    /// The answer to a question, or a later one; `None`: there is none within the time.
    pub fn is_same(&self, number: u64, timeout: Duration) -> Option<bool> {
        let until = Instant::now() + timeout;
        let mut state = self.shared.state();
        while state.answered < number {
            if self.is_other() {
                return Some(false);
            }
            if Instant::now() >= until {
                return None;
            }
            state = self.shared.wait(state, until);
        }
        Some(!self.is_other())
    }

    /// Whether there was an answer within that time.
    pub fn has_heard(&self, within: Duration) -> bool {
        self.shared.state().heard.is_some_and(|heard| heard.elapsed() < within)
    }

    /// Whether the topic was deleted, and no other came.
    pub fn is_gone(&self) -> bool {
        self.shared.state().away.is_some_and(|since| since.elapsed() >= AWAY)
    }

    /// Whether it is known that the topic is another one.
    pub fn is_other(&self) -> bool {
        self.shared.is_other.load(Ordering::Acquire)
    }
}

impl Drop for TopicWatch {
    fn drop(&mut self) {
        self.shared.state().stop = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // The panic hook has reported its panic.
            thread.join().ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;
    use std::sync::mpsc;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn an_answer_is_to_a_question_that_began_later() {
        // Each question waits for its answer, and says that it began.
        let (begun, began) = mpsc::channel();
        let (answers, answer) = mpsc::channel::<Said>();
        let watch = TopicWatch::asking(move || {
            begun.send(()).unwrap();
            answer.recv().unwrap()
        })
        .unwrap();
        let first = watch.ask();
        began.recv_timeout(LONG).unwrap();
        // This one began before, so its answer is not that of a question asked now; two that ask now share one.
        let (second, third) = (watch.ask(), watch.ask());
        assert!(second > first && third == second);
        answers.send(Said::Same).unwrap();
        assert_eq!(watch.is_same(first, LONG), Some(true));
        assert_eq!(watch.is_same(second, Duration::ZERO), None);
        began.recv_timeout(LONG).unwrap();
        // No answer: it is asked again, and the answer is that of the question.
        answers.send(Said::Away).unwrap();
        began.recv_timeout(LONG).unwrap();
        assert_eq!(watch.is_same(second, Duration::ZERO), None);
        answers.send(Said::Same).unwrap();
        assert_eq!(watch.is_same(second, LONG), Some(true));
        drop(answers);
        assert!(!watch.is_other());
    }

    #[test]
    fn an_id_that_is_another_stays_so() {
        let count = AtomicU64::new(0);
        let watch = TopicWatch::asking(move || match count.fetch_add(1, Ordering::Relaxed) {
            1 => Said::Other,
            _ => Said::Same,
        })
        .unwrap();
        let first = watch.ask();
        assert_eq!(watch.is_same(first, LONG), Some(true));
        let second = watch.ask();
        assert_eq!(watch.is_same(second, LONG), Some(false));
        let third = watch.ask();
        assert_eq!(watch.is_same(third, LONG), Some(false));
        assert!(watch.is_other());
    }
}
