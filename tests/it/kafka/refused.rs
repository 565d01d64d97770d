//! Messages that are refused: what the log, readiness and the summary say about them.

use super::broker::{Broker, eventually};
use super::process::Setup;
use super::sample::send;
use crate::http::{free_address, get, value};
use serde_json::Value;

#[test]
fn where_most_is_refused_log_readiness_and_summary_say_so() {
    let broker = Broker::shared();
    let address = free_address();
    let setup = Setup::new(&broker, "refused", &format!("runtime: {{ workers: 1, http: \"{address}\" }}"));
    let bad = (0..80).map(|ts| format!("{{\"ts\":{ts},\"value\":\"x\\u001b[31m\"}}"));
    let good = (80..110).map(|ts| format!("{{\"ts\":{ts},\"value\":1}}"));
    send(&broker, &setup.input, bad.chain(good));
    let kolk = setup.start_as("a", &["--log", "json"], &[]);
    eventually("all of them", || {
        let metrics = get(&address, "/metrics")?;
        (value(&metrics, "kolk_records_out_total")? == 30.0).then_some(())
    });
    // Taken out of service or started again, it would refuse the same messages. Outputs of one partition come before all
    // of them are open.
    let ready = eventually("ready", || get(&address, "/readyz").filter(|page| page.starts_with("HTTP/1.1 200")));
    assert!(ready.contains("most of what comes is refused: 73 %") && ready.contains("bad_value"), "{ready}");
    let log = kolk.stop();
    let object = |line: &str| -> Value { serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")) };
    let lines: Vec<Value> = log.lines().map(object).collect();
    let refused: Vec<&Value> = lines.iter().filter(|line| line["fields"]["reason"] == "bad_value").collect();
    assert_eq!(refused.len(), 1, "one line for eighty messages: {log}");
    let fields = &refused[0]["fields"];
    let at = fields["at"].as_str().unwrap();
    assert!(at.starts_with(&format!("topic {}, partition ", setup.input)) && at.ends_with("offset 0"), "{at}");
    assert!(fields["detail"].as_str().unwrap().contains("value"), "{fields}");
    assert!(lines.iter().any(|line| line["fields"]["message"].as_str().unwrap().starts_with("most of what comes")));
    let summary = &lines.iter().find(|line| line["fields"]["already_finished"].is_boolean()).unwrap()["fields"];
    assert_eq!(summary["dead_letters"]["bad_value"], 80, "{summary}");
    assert_eq!((&summary["rows"], &summary["most_refused"]), (&30.into(), &true.into()), "{summary}");
}
