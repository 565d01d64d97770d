//! What differs between two sections in canonical form, field by field, as a user would write both sides.
//!
//! Lives here: [`Change`], and how values are shown. Must not live here: which differences matter.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::rust_text;

/// The words of a user for values whose canonical text is another: `14d` for `2w`.
pub type Written = BTreeMap<String, String>;

/// One difference of two fingerprints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The field, such as `record.time`.
    pub field: String,
    /// What it was.
    pub before: String,
    /// What it is now.
    pub now: String,
}

/// Two sides of a comparison, with the words of each.
#[derive(Debug, Clone, Copy)]
pub struct Sides<'a> {
    /// Words of the state, or of the model.
    pub before: &'a Written,
    /// Words of the pipeline file.
    pub now: &'a Written,
}

/// What an absent field is shown as.
const ABSENT: &str = "(not written)";

/// What fields had that were not written, when fingerprints were still texts in which each field was shown.
const DEFAULTS: [(&str, &str); 19] = [
    ("null", "carry"),
    ("late", "process"),
    ("watermark", "key"),
    ("tombstone", "reset"),
    ("error", "dead_letter"),
    ("aggregate", "mean"),
    ("fill", "last"),
    ("delay", "0"),
    ("timezone", "UTC"),
    ("min_count", "24"),
    ("mode", "carry"),
    ("step", "1"),
    ("tail", "0.001"),
    ("long", "4000"),
    ("short", "10"),
    ("fields", "[]"),
    ("headers", "none"),
    ("part_records", "131072"),
    ("columns", "{}"),
];

/// Differences of a section of a fingerprint.
pub(super) fn of_section(name: &str, before: Option<&Value>, now: Option<&Value>, sides: Sides<'_>) -> Vec<Change> {
    if before == now {
        return Vec::new();
    }
    let fields = |value: Option<&Value>| match value {
        Some(Value::String(text)) => rust_text::fields(name, text),
        _ => None,
    };
    let (old, new) = (fields(before), fields(now));
    let path = match name {
        // The names under which sections are kept are not always those of the file.
        "from and until" => "source",
        "dead letters" => "dead_letters",
        // Each topic that is made has an id of its own.
        "topic id" => "the topic, by its id (one that is deleted and made again is another)",
        "source" if is_topic(before) || is_topic(now) => "source.kafka",
        name => name,
    };
    let mut changes = of(path, old.as_ref().or(before), new.as_ref().or(now), sides);
    for change in &mut changes {
        // How sections are kept is not always how they are written.
        change.field = match change.field.as_str() {
            "record.unit" => "record.time.unit".into(),
            field => field.replace("source.kafka.reads.", "source.kafka."),
        };
    }
    if old.is_some() && new.is_none() {
        changes.retain(|change| {
            let field = change.field.rsplit('.').next().unwrap_or_default();
            change.now != ABSENT || !DEFAULTS.contains(&(field, change.before.as_str()))
        });
    }
    changes
}

/// Whether a source, as fields or as text, is one of messages.
fn is_topic(source: Option<&Value>) -> bool {
    match source {
        Some(Value::String(text)) => text.starts_with("Some(("),
        source => source.is_some_and(|source| source.get("reads").is_some()),
    }
}

/// Differences of two values, each named by its path in the pipeline file.
pub fn of(path: &str, before: Option<&Value>, now: Option<&Value>, sides: Sides<'_>) -> Vec<Change> {
    let mut changes = Vec::new();
    compare(path, before, now, sides, &mut changes);
    changes
}

/// Goes down to the fields that differ.
fn compare<'a>(
    path: &str,
    before: Option<&'a Value>,
    now: Option<&'a Value>,
    sides: Sides<'_>,
    changes: &mut Vec<Change>,
) {
    // Manifests of models write what is not there as null.
    let there = |value: Option<&'a Value>| value.filter(|value| !value.is_null());
    match (there(before), there(now)) {
        (before, now) if before == now => {}
        (Some(Value::Object(before)), Some(Value::Object(now))) => each_field(path, before, now, sides, changes),
        (Some(Value::Array(before)), Some(Value::Array(now))) => {
            if let (Some(before), Some(now)) = (mapping(before), mapping(now)) {
                each_field(path, &before, &now, sides, changes);
            } else if before.iter().chain(now).all(|item| word(item).is_some()) {
                each_stage(path, before, now, sides, changes);
            } else {
                change(path, Some(&Value::from(before.clone())), Some(&Value::from(now.clone())), sides, changes);
            }
        }
        (before, now) => change(path, before, now, sides, changes),
    }
}

fn change(path: &str, before: Option<&Value>, now: Option<&Value>, sides: Sides<'_>, changes: &mut Vec<Change>) {
    let field = path.rsplit('.').next().unwrap_or(path);
    let show = |value: Option<&Value>, words| value.map_or(ABSENT.to_string(), |value| shown(field, value, words));
    changes.push(Change { field: path.into(), before: show(before, sides.before), now: show(now, sides.now) });
}

fn each_field(
    path: &str,
    before: &Map<String, Value>,
    now: &Map<String, Value>,
    sides: Sides<'_>,
    changes: &mut Vec<Change>,
) {
    let names: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
    for name in names {
        compare(&format!("{path}.{name}"), before.get(name), now.get(name), sides, changes);
    }
}

/// A list of pairs of a name and a value, as `lags` is kept.
fn mapping(items: &[Value]) -> Option<Map<String, Value>> {
    let pair = |item: &Value| match item.as_array()?.as_slice() {
        [Value::String(name), value] if !value.is_string() => Some((name.clone(), value.clone())),
        _ => None,
    };
    if items.is_empty() { None } else { items.iter().map(pair).collect() }
}

/// The word of a stage.
fn word(stage: &Value) -> Option<&str> {
    stage.as_object().filter(|stage| stage.len() == 1)?.keys().next().map(String::as_str)
}

/// Compares stages with those of the same word at the same place; what one side has more is a stage that came or went.
fn each_stage(path: &str, before: &[Value], now: &[Value], sides: Sides<'_>, changes: &mut Vec<Change>) {
    let (mut i, mut j) = (0, 0);
    let common = common(before, now);
    for (a, b) in common.into_iter().chain([(before.len(), now.len())]) {
        for (at, stage) in before.iter().enumerate().take(a).skip(i) {
            compare(&format!("{path}[{at}]"), Some(stage), None, sides, changes);
        }
        for (at, stage) in now.iter().enumerate().take(b).skip(j) {
            compare(&format!("{path}[{at}]"), None, Some(stage), sides, changes);
        }
        compare(&format!("{path}[{b}]"), before.get(a), now.get(b), sides, changes);
        (i, j) = (a + 1, b + 1);
    }
}

/// The pairs of stages that stand for each other: in order, as many as possible, equal ones first.
fn common(before: &[Value], now: &[Value]) -> Vec<(usize, usize)> {
    let likeness = |a: &Value, b: &Value| match (word(a) == word(b), a == b) {
        (_, true) => 3,
        (true, false) => 2,
        (false, false) => 0,
    };
    // The best sum from each pair of places on.
    let mut best = vec![vec![0_usize; now.len() + 1]; before.len() + 1];
    for i in (0..before.len()).rev() {
        for j in (0..now.len()).rev() {
            let pair = match likeness(&before[i], &now[j]) {
                0 => 0,
                likeness => likeness + best[i + 1][j + 1],
            };
            best[i][j] = pair.max(best[i + 1][j]).max(best[i][j + 1]);
        }
    }
    let (mut pairs, mut i, mut j) = (Vec::new(), 0, 0);
    while i < before.len() && j < now.len() {
        let likeness = likeness(&before[i], &now[j]);
        if likeness > 0 && best[i][j] == likeness + best[i + 1][j + 1] {
            pairs.push((i, j));
            (i, j) = (i + 1, j + 1);
        } else if best[i][j] == best[i + 1][j] {
            i += 1;
        } else {
            j += 1;
        }
    }
    pairs
}

/// A value as the pipeline file has it.
fn shown(field: &str, value: &Value, words: &Written) -> String {
    match value {
        Value::String(text) => match words.get(text) {
            Some(written) => written.clone(),
            None => in_days(field, text).unwrap_or_else(|| text.clone()),
        },
        Value::Array(items) => match mapping(items) {
            Some(fields) => shown(field, &Value::Object(fields), words),
            None => {
                let items: Vec<String> = items.iter().map(|item| shown(field, item, words)).collect();
                format!("[{}]", items.join(", "))
            }
        },
        Value::Object(fields) if fields.is_empty() => "{}".into(),
        Value::Object(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|(name, value)| format!("{name}: {}", shown(name, value, words))).collect();
            format!("{{ {} }}", fields.join(", "))
        }
        other => other.to_string(),
    }
}

/// Nobody writes `2w` who did not say so.
fn in_days(field: &str, text: &str) -> Option<String> {
    const DURATIONS: [&str; 7] = ["half_life", "every", "delay", "max_gap", "ttl", "gap", "reorder"];
    let weeks: u64 = text.strip_suffix('w')?.parse().ok()?;
    DURATIONS.contains(&field).then(|| format!("{}d", weeks * 7))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn changes(name: &str, before: Value, now: Value) -> Vec<String> {
        let (none, words) = (Written::new(), Written::from([("4w".to_string(), "28d".to_string())]));
        let sides = Sides { before: &none, now: &words };
        of_section(name, Some(&before), Some(&now), sides)
            .iter()
            .map(|c| format!("{}: {} -> {}", c.field, c.before, c.now))
            .collect()
    }

    #[test]
    fn stages_are_compared_with_those_of_their_word() {
        let scale = |half_life: &str| json!({"scale": {"values": ["v"], "half_life": half_life}});
        let calendar = json!({"calendar": {"features": ["hour"]}});
        let infer = json!({"infer": {"model": "m"}});
        let lags = |lags: Value| json!({"lags": [["v", lags]]});
        let stages = |list: &[&Value]| Value::Array(list.iter().map(|stage| (*stage).clone()).collect());
        let (two, four) = (scale("2w"), scale("4w"));
        for (before, now, expected) in [
            (stages(&[&two, &infer]), stages(&[&four, &infer]), vec!["stages[0].scale.half_life: 14d -> 28d"]),
            (
                stages(&[&two, &infer]),
                stages(&[&calendar, &two, &infer]),
                vec!["stages[0]: (not written) -> { calendar: { features: [hour] } }"],
            ),
            (
                stages(&[&calendar, &two, &infer]),
                stages(&[&four, &infer]),
                vec![
                    "stages[0]: { calendar: { features: [hour] } } -> (not written)",
                    "stages[0].scale.half_life: 14d -> 28d",
                ],
            ),
            (
                stages(&[&lags(json!([1, 2]))]),
                stages(&[&lags(json!([1, 24]))]),
                vec!["stages[0].lags.v: [1, 2] -> [1, 24]"],
            ),
            (stages(&[]), stages(&[&lags(json!([1]))]), vec!["stages[0]: (not written) -> { lags: { v: [1] } }"]),
        ] {
            assert_eq!(changes("stages", before, now), expected);
        }
    }

    /// What an earlier version wrote as text is shown in the words of the file as well.
    #[test]
    fn texts_of_earlier_versions_are_shown_as_fields() {
        let on = |late: &str| json!(format!("Policies {{ null: Skip, late: {late}, reorder: None, watermark: Key }}"));
        assert_eq!(changes("on", on("Process"), on("DeadLetter")), ["on.late: process -> dead_letter"]);
        assert_eq!(
            changes("on", on("Process"), json!({"null": "skip", "made_up": 1})),
            ["on.made_up: (not written) -> 1"]
        );
        assert_eq!(
            changes("from and until", json!("None None Some(Instant(2024-01-01T00:00:00Z))"), json!("None None None")),
            ["source.emit_from: 2024-01-01T00:00:00Z -> (not written)"]
        );
        assert_eq!(
            changes(
                "stages",
                json!("[Scale(Scale { values: [\"v\"], half_life: Nanos(2592000000000000), min_count: 24 })]"),
                json!("[Scale(Scale { values: [\"v\"], half_life: Nanos(1209600000000000), min_count: 24 })]")
            ),
            ["stages[0].scale.half_life: 30d -> 14d"]
        );
    }
}
