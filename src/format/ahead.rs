//! `on.ahead`: records whose time is too far ahead of their message's timestamp are refused.
//!
//! The timestamp is part of the log. So a record is judged in the same way whenever it is read, in a replay too, which
//! a comparison with the clock would not allow.

use std::ops::Range;

use super::{Decided, DecodeError, Decoded, Decoder, Messages};
use crate::record::{Clock, Every, NO_TIME};

/// The reason of such a record.
pub const TOO_FAR_AHEAD: &str = "too_far_ahead";

/// How far the time of a record may be ahead.
#[derive(Debug, Clone)]
pub(super) struct Limit {
    /// The clock of the records' times.
    pub clock: Clock,
    /// How far, as a length of time …
    pub every: Every,
    /// … and as it is written.
    pub written: String,
    /// Name of the time column.
    pub column: String,
}

impl Limit {
    /// The latest time that a record of a message may have; `None`: any.
    fn latest(&self, timestamp: i64) -> Option<i64> {
        // A message of an old format has no timestamp.
        let ticks = self.clock.ticks_of_millis(timestamp).filter(|_| timestamp >= 0)?;
        self.clock.step(ticks, self.every, 1)
    }

    fn detail(&self, time: i64, timestamp: i64) -> String {
        let sent = chrono::DateTime::from_timestamp_millis(timestamp).map(|at| at.to_rfc3339()).unwrap_or_default();
        format!(
            "column \"{}\": {} is more than {} ahead of the message's timestamp {sent}",
            self.column,
            self.clock.text(time),
            self.written
        )
    }
}

/// A decoder that refuses such records.
pub(super) struct Guarded {
    pub decoder: Box<dyn Decoder>,
    pub limit: Limit,
}

impl Decoder for Guarded {
    fn decode(
        &mut self,
        messages: &Messages,
        range: Range<usize>,
        decided: &mut Decided,
    ) -> Result<Decoded, DecodeError> {
        let mut decoded = self.decoder.decode(messages, range.clone(), decided)?;
        let mut message = range.start;
        // Many messages have one timestamp.
        let mut known = (-1, None);
        let mut found = Vec::new();
        let mut bad = decoded.records.bad.iter().map(|(index, _)| *index).peekable();
        for (index, (time, origin)) in decoded.records.times.iter().zip(&decoded.records.origins).enumerate() {
            while message + 1 < range.end && messages.offsets[message] < origin.row as i64 {
                message += 1;
            }
            let is_bad = bad.next_if_eq(&index).is_some();
            let timestamp = messages.timestamps[message];
            if known.0 != timestamp {
                known = (timestamp, self.limit.latest(timestamp));
            }
            if !is_bad && *time != NO_TIME && known.1.is_some_and(|latest| *time > latest) {
                found.push((index, self.limit.detail(*time, timestamp)));
            }
        }
        if !found.is_empty() {
            decoded.records.bad.extend(found.iter().map(|(index, _)| (*index, TOO_FAR_AHEAD)));
            decoded.records.bad.sort_by_key(|(index, _)| *index);
            decoded.details.append(&mut found);
            decoded.details.sort_by_key(|(index, _)| *index);
        }
        Ok(decoded)
    }

    fn key_of(
        &mut self,
        messages: &Messages,
        index: usize,
        decided: &mut Decided,
    ) -> Result<Option<Vec<u8>>, DecodeError> {
        self.decoder.key_of(messages, index, decided)
    }
}

#[cfg(test)]
mod tests {
    use super::super::law::pipeline;
    use super::*;
    use crate::error::Problems;
    use crate::format::plan_decoder;

    /// Index, reason and detail of what is refused of `(timestamp, payload)`, and the times.
    fn refused(on: &str, time: &str, messages: &[(i64, &str)]) -> Vec<(usize, &'static str, String)> {
        let yaml = format!(
            "name: a\nsource: {{ kafka: {{ brokers: b, topic: t, key: k }} }}\n\
             record: {{ key: k, time: {time}, values: [x] }}\non: {{ {on} }}\n"
        );
        let mut problems = Problems::default();
        let planned = plan_decoder(&pipeline(&yaml), &[], &mut problems).unwrap();
        problems.finish(()).unwrap();
        let mut all = Messages::default();
        // Gaps, as aborted records leave them.
        for (n, (timestamp, payload)) in messages.iter().enumerate() {
            all.push(10 + 3 * n as i64, *timestamp, Some(b"a"), Some(payload.as_bytes()));
        }
        let decoded = planned.decoder().unwrap().decode(&all, 0..all.len(), &mut Decided::default()).unwrap();
        assert_eq!(decoded.records.len(), messages.len());
        let detail =
            |at: usize| decoded.details.iter().find(|(index, _)| *index == at).map(|(_, detail)| detail.clone());
        let bad = decoded.records.bad.iter();
        bad.map(|(index, reason)| (*index, *reason, detail(*index).unwrap_or_default())).collect()
    }

    #[test]
    fn a_time_too_far_ahead_of_its_message_is_refused() {
        let time = "{ column: ts, unit: s }";
        let hour = 3_600;
        let row = |ts: i64| format!("{{\"ts\": {ts}, \"x\": 1}}");
        let texts = [row(hour), row(hour + 1), row(9 * hour), "{\"x\": 1}".into(), row(hour + 2), row(2)];
        let messages: Vec<(i64, &str)> =
            [0, 0, 8_000 * hour, 0, 1_999, 0].into_iter().zip(texts.iter().map(String::as_str)).collect();
        let found = refused("ahead: 1h", time, &messages);
        let reasons: Vec<(usize, &str)> = found.iter().map(|(index, reason, _)| (*index, *reason)).collect();
        assert_eq!(reasons, [(1, TOO_FAR_AHEAD), (3, "null_time"), (4, TOO_FAR_AHEAD)]);
        assert_eq!(
            found[0].2,
            "column \"ts\": 1970-01-01T01:00:01Z is more than 1h ahead of the message's timestamp \
             1970-01-01T00:00:00+00:00"
        );
        assert_eq!(refused("late: process", time, &messages).len(), 1, "without the word nothing is refused");
        // Old messages have no timestamp, which is -1.
        assert!(refused("ahead: 1h", time, &[(-1, &row(i64::from(u32::MAX)))]).is_empty());
    }

    #[test]
    fn it_needs_times_of_a_clock_and_timestamps() {
        let problem = |yaml: &str| {
            let mut problems = Problems::default();
            assert!(plan_decoder(&pipeline(yaml), &[], &mut problems).is_none());
            problems.finish(()).unwrap_err().to_string()
        };
        let kafka = |time: &str, ahead: &str| {
            format!(
                "name: a\nsource: {{ kafka: {{ brokers: b, topic: t, key: k }} }}\n\
                 record: {{ key: k, time: {time}, values: [x] }}\non: {{ ahead: {ahead} }}\n"
            )
        };
        let steps = problem(&kafka("{ column: ts, unit: step }", "1h"));
        assert!(steps.contains("4:14") && steps.contains("step without a clock"), "{steps}");
        let finer = problem(&kafka("{ column: ts, unit: s }", "5ms"));
        assert!(finer.contains("4:14") && finer.contains("finer than the time column"), "{finer}");
    }
}
