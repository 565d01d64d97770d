//! Whether the topics are still those that were taken up: a thread asks for all workers of a process.
//!
//! librdkafka fetches by a topic's id, learns a new one on its own, and continues at the old offset without an error.
//! So what was polled before a question for the id began is of the old topic only if the answer is the old id, which
//! never comes back. A commit asks while its messages are on their way; an idle process asks now and then.
//!
//! A topic that a pattern matched, and that was deleted, is given up: nothing of it can be committed, and a commit with
//! its offsets fails for all other partitions too.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;

use super::context::Door;
use super::describe::{self, Asked, Silence};
use super::properties;
use super::subscription::Subscription;
use crate::Result;
use crate::config::KafkaSource;
use crate::error::Context;
use crate::record::SourceTopic;

/// Interval between questions of an idle process.
const EVERY: Duration = Duration::from_secs(5);
/// How long a broker may take to answer before another one is asked, at first, and when none answered.
const PATIENCE: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(8);
/// How long a topic may be missing before it counts as deleted: who deletes one to create it again does so within
/// seconds.
const AWAY: Duration = Duration::from_secs(30);
/// The same for one that a pattern matched: all commits wait meanwhile.
const GIVEN_UP: Duration = Duration::from_secs(5);
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
    /// Whether an id is another one. It stays so.
    is_other: AtomicBool,
    /// How many topics were given up.
    given_up: AtomicUsize,
}

/// Questions are numbered in the order in which they begin.
#[derive(Default)]
struct State {
    wanted: u64,
    begun: u64,
    answered: u64,
    /// When the last answer came.
    heard: Option<Instant>,
    /// A topic that the brokers don't know, and since when.
    away: Option<(String, Instant)>,
    /// The topic that is another one.
    other: Option<String>,
    /// Those that were given up, in that order.
    given_up: Vec<SourceTopic>,
    stop: bool,
}

/// What the brokers report about the topics.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Said {
    Same,
    /// This one isn't.
    Other(String),
    /// This one isn't there.
    Away(String),
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

    fn answer(&self, number: u64, other: Option<String>) {
        let mut state = self.state();
        if let Some(other) = other {
            state.other.get_or_insert(other);
            self.is_other.store(true, Ordering::Release);
        }
        (state.answered, state.away, state.heard) = (number, None, Some(Instant::now()));
        self.changed.notify_all();
    }

    /// A question has no answer: the next attempt has its number.
    fn again(&self, number: u64, away: Option<String>) {
        let until = Instant::now() + AGAIN;
        let mut state = self.state();
        if let (Some(topic), true) = (away, state.away.is_none()) {
            tracing::warn!(topic, "the topic no longer exists: waiting in case it comes back");
            state.away = Some((topic, Instant::now()));
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
    topics: Arc<Subscription>,
    /// The id of the only topic.
    id: String,
    /// Whether topics that are deleted are given up.
    gives_up: bool,
    shared: Arc<Shared>,
    /// Since when topics that may be given up are away.
    away: BTreeMap<SourceTopic, Instant>,
    ids: Vec<i32>,
    next: usize,
    patience: Duration,
}

impl Brokers {
    fn ask(&mut self) -> Said {
        let wanted: Vec<(SourceTopic, String)> = match self.topics.is_several() {
            true => {
                self.topics.topics().into_iter().map(|it| (it, it.name().unwrap_or_default().to_string())).collect()
            }
            false => self.topics.names().into_iter().map(|name| (SourceTopic::ONLY, name)).collect(),
        };
        let Some((_, first)) = wanted.first() else { return Said::Same };
        if self.ids.is_empty() {
            let metadata = self.client.fetch_metadata(Some(first), self.patience);
            self.ids = metadata.map_or(Vec::new(), |metadata| metadata.brokers().iter().map(|it| it.id()).collect());
            self.next = 0;
        }
        let broker = self.ids.get(self.next).copied();
        let asked = Asked { timeout: self.patience, with_rights: false, broker };
        let names: Vec<&str> = wanted.iter().map(|(_, name)| name.as_str()).collect();
        let described = describe::topics(self.client.client(), &names, asked);
        // Errors and log lines are reported in the polls.
        while self.client.poll(Duration::ZERO).is_some() {}
        let (mut away, mut silent) = (None, None);
        let answers = described.unwrap_or_else(|silence| {
            silent = Some(silence);
            Vec::new()
        });
        for ((topic, name), described) in wanted.iter().zip(answers) {
            match described {
                Ok(described) if described.id == *self.id_of(topic) => {
                    self.away.remove(topic);
                }
                Ok(_) => return Said::Other(name.clone()),
                Err(Silence { code: Some(RDKafkaErrorCode::UnknownTopicOrPartition), .. }) => {
                    if !self.gives_up || !self.give_up(*topic) {
                        away.get_or_insert(name.clone());
                    }
                }
                Err(silence) => silent = Some(silence),
            }
        }
        match (away, silent) {
            (Some(away), _) => Said::Away(away),
            (None, None) => {
                self.patience = PATIENCE;
                Said::Same
            }
            (None, Some(silence)) => {
                let topics = self.topics.shown();
                tracing::debug!(topics, broker, why = silence.text, "no answer with the topics' ids: asking again");
                self.next += 1;
                if self.next >= self.ids.len() {
                    self.begin_again();
                }
                Said::Nothing
            }
        }
    }

    fn id_of<'a>(&'a self, topic: &'a SourceTopic) -> &'a str {
        if topic.is_only() { &self.id } else { topic.id() }
    }

    /// Gives a topic up that has been away for long enough.
    fn give_up(&mut self, topic: SourceTopic) -> bool {
        let since = *self.away.entry(topic).or_insert_with(Instant::now);
        if since.elapsed() < GIVEN_UP {
            return false;
        }
        self.away.remove(&topic);
        self.topics.change(self.topics.topics().into_iter().filter(|it| *it != topic));
        self.shared.state().given_up.push(topic);
        self.shared.given_up.fetch_add(1, Ordering::Release);
        true
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
    /// Begins to watch the source's topics; `id` is that of the only one.
    ///
    /// # Errors
    /// Properties that librdkafka doesn't take; no thread to be had.
    pub fn new(source: &KafkaSource, topics: &Arc<Subscription>, id: &str) -> Result<TopicWatch> {
        let config = properties::asking(&source.brokers, &source.properties);
        let client = config.create_with_context(Door::default()).map_err(properties::refused)?;
        let shared = Arc::<Shared>::default();
        let mut brokers = Brokers {
            config,
            client,
            topics: topics.clone(),
            id: id.into(),
            gives_up: source.topics.as_ref().is_some_and(|topics| topics.pattern().is_some()),
            shared: shared.clone(),
            away: BTreeMap::new(),
            ids: Vec::new(),
            next: 0,
            patience: PATIENCE,
        };
        TopicWatch::asking(shared, move || brokers.ask())
    }

    /// As [`TopicWatch::new`], with another way to ask.
    fn asking(shared: Arc<Shared>, mut ask: impl FnMut() -> Said + Send + 'static) -> Result<TopicWatch> {
        let its = shared.clone();
        let run = move || {
            while let Some(number) = its.next() {
                match ask() {
                    Said::Same => its.answer(number, None),
                    Said::Other(topic) => its.answer(number, Some(topic)),
                    Said::Away(topic) => its.again(number, Some(topic)),
                    Said::Nothing => its.again(number, None),
                }
            }
        };
        let thread = std::thread::Builder::new().name("topic-watch".into()).spawn(run);
        let thread = thread.or_failed(|| "start the thread that watches the topic".into())?;
        Ok(TopicWatch { shared, thread: Some(thread) })
    }

    /// The topic that is another one, if any is.
    pub fn other(&self) -> Option<String> {
        if self.is_other() { self.shared.state().other.clone() } else { None }
    }

    /// The topics that were given up, without the first ones.
    pub fn given_up(&self, after: usize) -> Vec<SourceTopic> {
        // This is asked at every poll.
        match self.shared.given_up.load(Ordering::Acquire) > after {
            true => self.shared.state().given_up.iter().skip(after).copied().collect(),
            false => Vec::new(),
        }
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

    /// The topic that was deleted, if no other came.
    pub fn gone(&self) -> Option<String> {
        let state = self.shared.state();
        let (topic, since) = state.away.as_ref()?;
        (since.elapsed() >= AWAY).then(|| topic.clone())
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
        let watch = TopicWatch::asking(Arc::default(), move || {
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
        answers.send(Said::Away("t".into())).unwrap();
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
        let watch = TopicWatch::asking(Arc::default(), move || match count.fetch_add(1, Ordering::Relaxed) {
            1 => Said::Other("t".into()),
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
