//! `topics:`, several topics in one source, or those that a pattern matches.

use super::At;
use super::kafka::KafkaSource;
use super::kafka_words::TOPICS;
use super::read::{Field, Fields, Reader};
use super::yaml::Kind;

/// Topics that Kafka has for itself: a pattern never matches them.
const INTERNAL: [&str; 4] = ["__consumer_offsets", "__transaction_state", "__share_group_state", "__cluster_metadata"];

/// `topics: [a, b]` or `topics: { matching: "sales\\..*" }`
#[derive(Debug, Clone)]
pub enum Topics {
    /// These.
    List(Vec<At<String>>),
    /// Those whose names match, now and later.
    Matching(Pattern),
}

/// A pattern for whole names, in the syntax of Rust's `regex`, which is that of RE2.
#[derive(Debug, Clone)]
pub struct Pattern {
    text: String,
    regex: regex::Regex,
}

impl Pattern {
    /// # Errors
    /// What is wrong with it.
    pub fn new(text: &str) -> Result<Pattern, String> {
        // As it was written first: alone it must be one, and the message is about it.
        let whole = regex::Regex::new(text).and_then(|_| regex::Regex::new(&format!("^(?:{text})$")));
        let regex = whole.map_err(|error| error.to_string())?;
        Ok(Pattern { text: text.into(), regex })
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether a topic of this name is one of the source.
    pub fn matches(&self, topic: &str) -> bool {
        !INTERNAL.contains(&topic) && self.regex.is_match(topic)
    }
}

impl Topics {
    /// Whether a topic of this name is one of the source, if it exists.
    pub fn has(&self, topic: &str) -> bool {
        match self {
            Topics::List(topics) => topics.iter().any(|it| it.value == topic),
            Topics::Matching(pattern) => pattern.matches(topic),
        }
    }

    /// The pattern, if it is one.
    pub fn pattern(&self) -> Option<&Pattern> {
        match self {
            Topics::List(_) => None,
            Topics::Matching(pattern) => Some(pattern),
        }
    }
}

/// For people: after "topic" or "topics".
impl std::fmt::Display for Topics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Topics::List(topics) => {
                let names: Vec<&str> = topics.iter().map(|topic| topic.value.as_str()).collect();
                f.write_str(&names.join(", "))
            }
            Topics::Matching(pattern) => f.write_str(pattern.text()),
        }
    }
}

impl KafkaSource {
    /// Whether a topic of this name is one of the source.
    pub fn reads(&self, topic: &str) -> bool {
        match &self.topics {
            Some(topics) => topics.has(topic),
            None => self.topic.value == topic,
        }
    }

    /// One of its topics, as a source of its own.
    pub fn of_topic(&self, topic: At<String>) -> KafkaSource {
        KafkaSource { topic, topics: None, ..self.clone() }
    }

    /// What it reads, for people.
    pub fn shown(&self) -> String {
        match &self.topics {
            Some(topics) => format!("topics {}", topics.value),
            None => format!("topic {}", self.topic.value),
        }
    }
}

/// Reads `topic` or `topics`: the name of the only topic, or what stands for several of them.
pub(super) fn read(reader: &mut Reader, fields: &Fields) -> (At<String>, Option<At<Topics>>) {
    match (fields.get("topic"), fields.get("topics")) {
        (Some(_), Some(several)) => {
            reader.problems.add(several.name_place, "`topic` and `topics` exclude each other, write one");
            (At::default(), None)
        }
        (None, Some(several)) => {
            let topics = topics(reader, several);
            let shown = topics.as_ref().map_or_else(String::new, ToString::to_string);
            (several.at(shown), topics.map(|topics| several.at(topics)))
        }
        _ => {
            let topic = reader.need(fields, "topic").and_then(|field| reader.text(field, "a topic"));
            (topic.unwrap_or_default(), None)
        }
    }
}

fn topics(reader: &mut Reader, field: Field<'_>) -> Option<Topics> {
    if !matches!(field.node.kind, Kind::Map(_)) {
        return reader.some_texts(field, "topics").map(Topics::List);
    }
    let fields = reader.section(field, &TOPICS)?;
    let matching = reader.need(&fields, "matching")?;
    let text = reader.text(matching, "a pattern for the names of topics")?;
    match Pattern::new(&text) {
        Ok(pattern) => Some(Topics::Matching(pattern)),
        Err(why) => reader.wrong(matching, format_args!("this is not a pattern: {why}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_for_the_whole_name() {
        let pattern = Pattern::new("sales\\..*|returns").unwrap();
        assert!(pattern.matches("sales.eu") && pattern.matches("returns"));
        for other in ["sales", "my.sales.eu", "returns2", "sales-eu"] {
            assert!(!pattern.matches(other), "{other}");
        }
        assert!(!Pattern::new(".*").unwrap().matches("__consumer_offsets"));
        assert!(Pattern::new("sales(").unwrap_err().contains("sales("));
        assert!(Pattern::new("a)|(b").is_err());
    }
}
