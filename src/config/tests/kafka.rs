//! What can be wrong with Kafka, at its exact place; and what is read where nothing is.

use super::*;

fn source(kafka: &str) -> String {
    format!("name: a\nsource: {{ kafka: {{ {kafka} }} }}\nrecord: {{ key: k, time: t, values: [x] }}\n")
}

const FINE: &str = "brokers: b, topic: t, key: k";

#[test]
fn what_is_not_written_has_a_default() {
    let p = parse(&(source(FINE) + "sink: { kafka: { topic: o } }")).unwrap();
    let kafka = p.source.kafka().unwrap();
    assert_eq!((kafka.group.as_str(), kafka.start.value, kafka.idle.is_none()), ("a", Start::Earliest, true));
    assert_eq!(kafka.encoding.format.value, Format::Json);
    let Some(Sink::Kafka(sink)) = p.sink.map(|sink| sink.value) else { panic!("no kafka") };
    assert_eq!((sink.brokers.as_str(), sink.topic.as_str(), &sink.headers), ("b", "o", &Headers::None));
    assert_eq!(sink.timestamp.value, Stamp::Now);
    assert_eq!(p.runtime.delivery.value, Delivery::ExactlyOnce);
    assert_eq!(p.on.tombstone, OnTombstone::Reset);
}

#[test]
fn everything_is_read() {
    let text = source(
        "brokers: b, topic: t, key: k, timestamp: at, group: g, start: 2024-01-01, idle: 10s, partitioned_by: key, \
         format: { protobuf: { registry: http://r, auth: { user: u, password: p }, message: m.M } }, \
         properties: { sasl.password: hidden, session.timeout.ms: 6000, linger.ms: 1 }",
    );
    let rest = "sink: { kafka: { topic: o, headers: all } }\n\
                runtime: { delivery: at_least_once, commit_every: 50ms, grace: 3s, instance: i }\n\
                on: { tombstone: skip }";
    let p = parse(&(text + rest)).unwrap();
    let kafka = p.source.kafka().unwrap();
    let Format::Protobuf(schema) = &kafka.encoding.format.value else { panic!("no protobuf") };
    assert_eq!((schema.subject.as_str(), schema.message.as_ref().unwrap().as_str()), ("t-value", "m.M"));
    assert!(!format!("{p:?}").contains("hidden"), "a secret is shown");
    let Some(Sink::Kafka(sink)) = &p.sink.as_ref().map(|sink| &sink.value) else { panic!("no kafka") };
    let names: Vec<&str> = sink.properties.0.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["sasl.password", "linger.ms"], "the producer has what reaches the brokers");
    assert_eq!((p.runtime.grace.as_secs(), p.on.tombstone), (3, OnTombstone::Skip));
}

#[test]
fn a_run_ends_where_until_says() {
    let until = |text: &str| {
        let p = parse(&source(&format!("{FINE}, until: {text}"))).unwrap();
        p.source.kafka().and_then(|kafka| kafka.until.as_ref().map(|until| until.value))
    };
    for text in ["end", "now", "2024-01-31", "2024-01-31T12:00:00+02:00"] {
        assert_eq!(until(text), Some(Until::parse(text).unwrap()), "the file and the argument mean the same");
    }
    assert!(Until::parse("5").is_err() && Until::parse("never").unwrap_err().contains("end, now or a time"));
}

#[test]
fn how_often_the_registry_is_looked_at() {
    let every = |text: &str| parse(&(source(FINE) + text)).unwrap().runtime.model_every.map(|every| every.as_millis());
    assert_eq!(every(""), Some(10_000));
    assert_eq!(every("runtime: { model_every: 250ms }"), Some(250));
    for never in ["never", "0"] {
        assert_eq!(every(&format!("runtime: {{ model_every: {never} }}")), None, "{never}");
    }
    let found = problems(&(source(FINE) + "runtime: { model_every: often }"));
    assert!(found.len() == 1 && found[0].starts_with("4:25: `model_every`: "), "{found:?}");
}

#[test]
fn a_schema_is_pinned() {
    let pinned = |schema: &str| {
        let text = source(&format!("{FINE}, format: {{ avro: {{ registry: http://r, schema: {schema} }} }}"));
        parse(&text).unwrap().source.encoding().unwrap().schema.as_ref().map(|pin| pin.value)
    };
    assert_eq!(pinned("7"), Some(Pin::Id(7)));
    assert_eq!(pinned("{ version: 3 }"), Some(Pin::Version(3)));
    assert_eq!(parse(&source(FINE)).unwrap().source.encoding().unwrap().schema, None);
}

#[test]
fn subjects_have_names_by_a_strategy_and_schemas_may_be_files() {
    let of = |more: &str| {
        let text = source(&format!("{FINE}, format: {{ {more} }}"));
        let parsed = parse(&text).unwrap_or_else(|error| panic!("{error}"));
        let (Format::Avro(found) | Format::Protobuf(found)) = &parsed.source.encoding().unwrap().format.value else {
            panic!()
        };
        found.clone()
    };
    for (more, subject) in [
        ("avro: { registry: http://r }", "t-value"),
        ("avro: { registry: http://r, subject_name: topic, record: shop.Sale }", "t-value"),
        ("avro: { registry: http://r, subject_name: record, record: shop.Sale }", "shop.Sale"),
        ("avro: { registry: http://r, subject_name: topic_record, record: shop.Sale }", "t-shop.Sale"),
        ("protobuf: { registry: http://r, subject_name: topic_record, message: shop.Sale }", "t-shop.Sale"),
        ("avro: { registry: http://r, subject: \":.lab:s\" }", ":.lab:s"),
    ] {
        assert_eq!(of(more).subject.value, subject, "{more}");
    }
    let files = of("avro: { schema: { file: [a.avsc, b.avsc] } }");
    assert!(!files.has_registry() && files.files.len() == 2 && files.files[0].value.0.ends_with("a.avsc"));
    let token = of("avro: { registry: http://r, auth: { token: \" secret-token \" } }").token.unwrap();
    assert_eq!((token.secret.reveal(), token.file), ("secret-token", None));
}

#[test]
fn what_is_wrong_is_at_its_place() {
    let sink = |text: &str| source(FINE) + text;
    let pinned =
        |schema: &str| source(&format!("{FINE}, format: {{ protobuf: {{ registry: http://r, schema: {schema} }} }}"));
    let letters =
        |text: &str| format!("name: a\nsource: {{ dead_letters: {{ {text} }} }}\nrecord: {{ time: t, values: [x] }}\n");
    let from = "name: a\nsource: { kafka: { brokers: b, topic: t, key: k }, from: 2024-01-01 }\n\
                record: { key: k, time: t, values: [x] }";
    for (text, expected) in [
        (source("topic: t, key: k"), "2:11: `kafka` needs `brokers`"),
        (source("brokers: b, key: k"), "2:11: `kafka` needs `topic`"),
        (source("brokers: b, topic: t"), "3:16: state belongs to the partition of a key's messages"),
        (source(&format!("{FINE}, format: avro")), "2:58: `format`: needs a schema registry"),
        (source(&format!("{FINE}, format: {{ avro: {{ registry: r }} }}")), "2:78: `registry`: expected a URL"),
        (pinned("seven"), "2:100: `schema`: expected the id of a schema, or { version: … }, found the text"),
        (pinned("[7]"), "2:100: `schema`: expected the id of a schema, or { version: … }, found a list"),
        (pinned("{ }"), "2:92: `schema` needs `version`"),
        (pinned("{ version: latest }"), "2:111: `version`: expected a whole number from 1 to"),
        (pinned("{ version: 0 }"), "2:111: `version`: expected a whole number from 1 to"),
        (
            sink("sink: { kafka: { topic: o, format: { avro: { registry: http://r, schema: { file: f } } } } }"),
            "4:76: unknown field `file` in `schema`",
        ),
        (pinned("latest"), "2:100: a source begins with the newest schema anyway"),
        (
            source("brokers: b, topic: t, key: { column: k, format: avro }"),
            "2:47: `key`: a key in avro needs a schema registry",
        ),
        (
            source("brokers: b, topic: t, key: { column: k, format: int, field: f }"),
            "2:80: only keys with a schema or in JSON have fields",
        ),
        (
            source("brokers: b, topic: t, key: { column: k, format: avro }, format: { avro: { registry: r } }"),
            "2:104: `registry`: expected a URL",
        ),
        (source(&format!("{FINE}, start: 5")), "2:57: `start`: expected earliest, latest or a time"),
        (sink("sink: { kafka: { topic: o, headers: some } }"), "4:37: `headers`: expected none, all, or a list"),
        (sink("sink: { kafka: { topic: o, headers: [] } }"), "4:37: `headers`: the list is empty"),
        (sink("sink: { kafka: { topic: o, headers: [a, a] } }"), "4:41: `headers`: this is listed twice"),
        (sink("sink: { kafka: { topic: o, timestamp: event } }"), "4:39: `timestamp`: expected one of: now, record"),
        (
            source(&format!("{FINE}, properties: {{ group.protocol: consumer, session.timeout.ms: 6000 }}")),
            "2:90: `session.timeout.ms` can't be set with `group.protocol: consumer`: the brokers set it",
        ),
        (
            source(&format!("{FINE}, properties: {{ group.instance.id: a, group.protocol: consumer }}")),
            "2:64: `group.instance.id` can't be set with `group.protocol: consumer`: a killed process",
        ),
        (
            source(&format!("{FINE}, properties: {{ group.protocol: share }}")),
            "2:80: `group.protocol`: expected one of: classic, consumer",
        ),
        (source(&format!("{FINE}, until: latest")), "2:57: `until`: expected "),
        (source(&format!("{FINE}, until: 5")), "2:57: `until`: expected end, now or a time"),
        (source(&format!("{FINE}, start: 2024-01-02, until: 2024-01-02")), "2:76: `until` must be later than `start`"),
        (source(&format!("{FINE}, properties: {{ acks: 1 }}")), "2:64: `acks` can't be set here, kolk sets it: all"),
        (
            source(&format!("{FINE}, properties: {{ plugin.library.paths: /x.so }}")),
            "2:64: `plugin.library.paths` can't be set: it loads a library",
        ),
        (source(&format!("{FINE}, properties: {{ a: {{ file: no-such-file }} }}")), "2:75: `file`: "),
        (source(&format!("{FINE}, columns: {{ n: int }}")), "2:64: `n`: expected one of: string, float64, int64"),
        (source(&format!("{FINE}, timestamp: k")), "2:61: column \"k\" is already the message's key"),
        (sink("sink: { kafka: { topic: t } }"), "4:25: the sink is the source"),
        (
            sink("sink: { kafka: { topic: o } }\ndead_letters: { kafka: { topic: o } }"),
            "5:33: topic \"o\" is already the sink",
        ),
        (sink("sink: { parquet: { path: o } }\ndead_letters: { kafka: { topic: d } }"), "5:33: dead letters go to a t"),
        (
            format!("{SMALLEST}sink: {{ kafka: {{ brokers: b, topic: t }} }}"),
            "4:9: a pipeline that reads files writes to",
        ),
        (format!("{SMALLEST}dead_letters: {{ kafka: {{ topic: t }} }}"), "4:17: dead letters go to a topic only"),
        (from.to_string(), "2:58: `from` is for files"),
        (from.replace("from:", "until:"), "2:59: `until` here is for files"),
        (letters("path: l, format: { avro: { registry: http://r } }"), "2:46: `avro` needs `subject`"),
        (letters("path: l").replace(" } }\n", " }, from: 2024-01-01 }\n"), "2:44: `from` is for files of records"),
        (
            letters("path: l") + "dead_letters: { parquet: { path: l } }",
            "4:34: records that are refused again would go to",
        ),
    ] {
        let found = problems(&text);
        assert!(found.len() == 1 && found[0].starts_with(expected), "{text}: {found:?}");
    }
    let at_least_once = source(&format!("{FINE}, properties: {{ acks: 1 }}")) + "runtime: { delivery: at_least_once }";
    assert_eq!(problems(&at_least_once), Vec::<String>::new());
}

#[test]
fn metadata_become_columns_of_their_own() {
    let metadata = "metadata: { topic: shop, offset: nr, timestamp: at }";
    for text in [
        source(&format!("{FINE}, {metadata}")),
        format!("name: a\nsource: {{ dead_letters: {{ path: l, {metadata} }} }}\nrecord: {{ time: t, values: [x] }}\n"),
    ] {
        let parsed = parse(&text).unwrap();
        let encoding = parsed.source.encoding().unwrap();
        assert_eq!(encoding.metadata.find("shop"), Some(Metadatum::Topic));
        assert_eq!((encoding.metadata.find("nr"), encoding.metadata.find("at")), (Some(Metadatum::Offset), None));
        assert_eq!(encoding.timestamp.as_deref(), Some(&"at".to_string()));
    }
    for (more, expected) in [
        (
            "metadata: { offset: k }",
            "2:70: column \"k\" is the record's key: give the column of the offset another name",
        ),
        ("metadata: { topic: t }", "2:69: column \"t\" is the record's time"),
        ("metadata: { partition: x }", "2:73: column \"x\" is one of the record's values"),
        ("metadata: { topic: a, timestamp: a }", "2:69: column \"a\" is the message's timestamp"),
        ("metadata: { topic: a, offset: a }", "2:80: column \"a\" is another one of `metadata`"),
        ("metadata: { topic: a }, columns: { a: int64 }", "2:69: column \"a\" is one of `columns`"),
        ("timestamp: a, metadata: { timestamp: b }", "2:76: `timestamp` is written beside `metadata` already"),
        ("metadata: { headers: a }", "2:62: `headers` does not belong in `metadata`"),
    ] {
        let found = problems(&source(&format!("{FINE}, {more}")));
        assert!(found.len() == 1 && found[0].starts_with(expected), "{more}: {found:?}");
    }
}

#[test]
fn several_topics_are_read_and_no_output_is_among_them() {
    let of = |topics: &str, rest: &str| source(&format!("brokers: b, key: k, {topics}")) + rest;
    let sink = "sink: { kafka: { topic: sales.out } }\ndead_letters: { kafka: { topic: refused } }";
    let p = parse(&of("topics: [sales, returns]", sink)).unwrap();
    let kafka = p.source.kafka().unwrap();
    assert!(kafka.reads("returns") && !kafka.reads("sales.out"));
    assert_eq!(kafka.shown(), "topics sales, returns");
    let p = parse(&of(r"topics: { matching: 'sales\.[a-n].*' }", sink)).unwrap();
    assert!(p.source.kafka().unwrap().reads("sales.eu") && !p.source.kafka().unwrap().reads("sales"));
    let wrong = |topics: &str| problems(&of(topics, sink)).join("\n");
    let found = wrong(r"topics: { matching: 'sales.*' }");
    assert!(found.contains("the sink is the source") && found.contains("matches topic \"sales.out\""), "{found}");
    let found = wrong("topics: { matching: '.*used' }");
    assert!(found.contains("topic \"refused\" is already the source"), "{found}");
    let found = wrong("topics: [a, sales.out]");
    assert!(found.contains("the sink is the source"), "{found}");
    for (topics, words) in [
        ("topics: []", "the list is empty"),
        ("topics: [a, a]", "listed twice"),
        ("topics: { matching: 'a(' }", "this is not a pattern"),
        ("topics: [a], topic: b", "exclude each other"),
        ("topics: [a], history: { path: x }", "`history` needs one `topic`"),
        ("topics: [a], format: { avro: { registry: http://r } }", "needs `subject`"),
    ] {
        let found = wrong(topics);
        assert!(found.contains(words), "{topics}: {found}");
    }
    let p = parse(&of("topics: [a]", "on: { partitions: adopt }")).unwrap();
    assert_eq!(
        (p.on.partitions.value, p.on.canonical()),
        (OnPartitions::Adopt, parse(&of("topics: [a]", "")).unwrap().on.canonical())
    );
}
