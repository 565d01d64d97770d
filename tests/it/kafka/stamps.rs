//! Timestamps and headers: those of outputs, and records whose time is too far ahead of their message's timestamp.

use rdkafka::Message;
use rdkafka::message::{Header, Headers, OwnedHeaders, OwnedMessage};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::broker::Broker;
use super::process::Setup;
use super::records::all;
use crate::common::kolk_exits;

const HOUR: i64 = 3_600_000;

/// A pipeline without a model; `on` and what the sink has besides its topic.
fn write(broker: &Broker, setup: &Setup, name: &str, on: &str, sink: &str) {
    let Setup { input, output, dead, group, .. } = setup;
    let text = format!(
        "name: {name}\n\
         source: {{ kafka: {{ brokers: \"{}\", topic: {input}, group: {group}-{name}, key: key }} }}\n\
         record: {{ key: key, time: {{ column: ts, unit: ms }}, values: [value] }}\n\
         on: {{ {on} }}\n\
         sink: {{ kafka: {{ topic: {output}, fields: [value], {sink} }} }}\n\
         dead_letters: {{ kafka: {{ topic: {dead} }} }}\n\
         state: {{ path: state/, checkpoint_every: 1h }}\nruntime: {{ workers: 1, instance: one }}\n\
         metrics: {{ labels: {{ pipeline: {name} }} }}\n",
        broker.address
    );
    std::fs::write(setup.file(), text).unwrap();
}

/// Sends one record at the time `ts`, its message stamped with `timestamp`.
fn send(broker: &Broker, topic: &str, ts: i64, timestamp: i64) {
    let producer: BaseProducer = broker.client().create().unwrap();
    let payload = format!("{{\"ts\":{ts},\"value\":1.5}}");
    let header = |key, value| Header { key, value };
    let headers = OwnedHeaders::new()
        .insert(header("tenant", Some("blue")))
        .insert(header("other", Some("x")))
        .insert(header("traceparent", None))
        .insert(header("tenant", Some("red")));
    let record = BaseRecord::to(topic).key("a").payload(&payload).timestamp(timestamp).headers(headers);
    producer.send(record).map_err(|(error, _)| error).unwrap();
    producer.flush(std::time::Duration::from_secs(60)).unwrap();
}

/// The headers of a message as `name=value`; those of kolk's own are left out but for the reason.
fn headers(message: &OwnedMessage) -> Vec<String> {
    let shown = |header: Header<'_, &[u8]>| {
        let value = header.value.map_or("-".to_string(), |value| String::from_utf8(value.to_vec()).unwrap());
        let is_shown = !header.key.starts_with("kolk.") || header.key == "kolk.reason";
        is_shown.then(|| format!("{}={value}", header.key))
    };
    message.headers().map(|all| all.iter().filter_map(shown).collect()).unwrap_or_default()
}

#[test]
fn outputs_have_times_and_headers_and_bad_clocks_are_refused() {
    let broker = Broker::shared();
    let setup = Setup::new(&broker, "stamps", "");
    let file = setup.file();
    let run = |code| kolk_exits(code, &["run", file.to_str().unwrap(), "--until", "end"]).1;
    let now = chrono::Utc::now().timestamp_millis();
    let before = now - 48 * HOUR;
    // One that is two hours ahead of its message, and one that is as late as its message says it may be.
    send(&broker, &setup.input, before, now);
    send(&broker, &setup.input, now + 2 * HOUR, now);
    send(&broker, &setup.input, before + 2 * HOUR, before + HOUR);
    send(&broker, &setup.input, before + 2 * HOUR + 1, now);

    write(
        &broker,
        &setup,
        "guarded",
        "ahead: 1h, late: dead_letter, error: refuse",
        "timestamp: record, headers: [traceparent, tenant]",
    );
    run(0);
    // A second run replays what came since the checkpoint, with the same decisions, and goes on after it.
    send(&broker, &setup.input, before + 3 * HOUR, now);
    run(0);
    let outputs = all(&broker, &setup.output);
    let stamps: Vec<i64> = outputs.iter().map(|output| output.timestamp().to_millis().unwrap() - before).collect();
    assert_eq!(stamps, [0, 2 * HOUR, 2 * HOUR + 1, 3 * HOUR]);
    for output in &outputs {
        assert_eq!(headers(output), ["tenant=blue", "traceparent=-", "tenant=red"]);
    }
    let letters = all(&broker, &setup.dead);
    let found: Vec<Vec<String>> = letters.iter().map(headers).collect();
    assert_eq!(found, [["tenant=blue", "other=x", "traceparent=-", "tenant=red", "kolk.reason=too_far_ahead"]]);
    let detail = letters[0].headers().unwrap().iter().find(|header| header.key == "kolk.detail").unwrap();
    let detail = String::from_utf8(detail.value.unwrap().to_vec()).unwrap();
    assert!(detail.contains("is more than 1h ahead of the message's timestamp"), "{detail}");

    // As it is without these words; the record from the future makes what follows late.
    write(&broker, &setup, "plain", "late: dead_letter", "headers: none");
    let log = run(0);
    assert!(log.contains("late"), "{log}");
    let outputs = all(&broker, &setup.output);
    assert_eq!(outputs.len(), 6);
    for output in &outputs[4..] {
        assert!(output.timestamp().to_millis().unwrap() >= now - 1000, "the clock");
        assert!(output.headers().is_none());
    }
    // The topic doesn't take a time that far ahead: that is said, and not tried for ever.
    write(&broker, &setup, "refused", "late: process", "timestamp: record");
    let log = run(1);
    assert!(log.contains("refuses the timestamp of an output") && log.contains("on.ahead"), "{log}");
}
