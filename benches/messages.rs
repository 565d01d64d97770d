//! How fast JSON messages become records: key, time, two values and one carried field, beside some that aren't read.

use std::path::Path;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kolk::config::{At, parse};
use kolk::error::Problems;
use kolk::format::{Decided, Messages, plan_decoder};

const MESSAGES: usize = 100_000;

/// A source with further words, and the record.
fn pipeline(source: &str, record: &str) -> String {
    format!(
        "name: bench\nsource: {{ kafka: {{ brokers: b, topic: t, partitioned_by: key{source} }} }}\nrecord: {{ {record} }}\n\
         sink: {{ stdout: {{}} }}\n"
    )
}

fn row(index: usize) -> String {
    let (key, ts, value) = (index * 7919 % 1000, 1_700_000_000_000 + index, (index as f64 * 0.01).sin());
    format!(
        r#"{{"key":"key-{key:05}","ts":{ts},"a":{value},"b":{index},"note":"some text","unread":{{"x":[1,2,3]}},"flag":true}}"#
    )
}

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("messages");
    group.throughput(Throughput::Elements(MESSAGES as u64)).sample_size(20);
    let plain = "key: key, time: { column: ts, unit: ms }, values: [a, b]";
    let nested = "key: m.key, time: { column: m.ts, unit: ms }, values: [m.a, m.b]";
    for (name, pipeline, field, around) in [
        ("json", pipeline("", plain), "note", ("", "")),
        ("json nested", pipeline("", nested), "m.note", (r#"{"m":"#, "}")),
        (
            "json debezium",
            pipeline(", envelope: debezium", plain),
            "note",
            (r#"{"before":null,"after":"#, r#","source":{"ts_ms":5},"op":"c"}"#),
        ),
    ] {
        let Ok(pipeline) = parse(&pipeline, Path::new("bench.yaml")) else {
            eprintln!("{name}: not in this version");
            continue;
        };
        let fields = [At::default_value(field.to_string())];
        let planned = plan_decoder(&pipeline, &fields, &mut Problems::new("bench"));
        let Some(Ok(mut decoder)) = planned.map(|planned| planned.decoder()) else { continue };
        let mut messages = Messages::default();
        for index in 0..MESSAGES {
            let payload = format!("{}{}{}", around.0, row(index), around.1);
            messages.push(index as i64, 0, None, Some(payload.as_bytes()));
        }
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let decoded = decoder.decode(&messages, 0..messages.len(), &mut Decided::default());
                let records = decoded.map(|decoded| decoded.records).unwrap_or_default();
                assert_eq!((records.len(), records.bad.len()), (MESSAGES, 0));
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decode);
criterion_main!(benches);
