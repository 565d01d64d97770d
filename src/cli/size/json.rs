//! The report for machines: plain numbers in bytes, seconds and per second.

use serde_json::{Value, json};

use super::{Report, machine};
use crate::runtime::size::{From, Need, Rate, Restore};

/// All of it: `measured`, `assumed`, `computed`.
pub fn of(report: &Report) -> Value {
    let (cores, model) = machine();
    let (costs, assumed) = (&report.costs, &report.assumed);
    let pieces: Vec<Value> = costs
        .pieces
        .iter()
        .map(|piece| {
            let (worker, client) = (piece.worker / 1e9, piece.client / 1e9);
            json!({ "name": piece.name, "worker_seconds": worker, "client_seconds": client })
        })
        .collect();
    let with = match costs.from {
        From::Made => "made",
        From::Topic => "topic",
        From::File => "file",
    };
    json!({
        "pipeline": report.pipeline,
        "machine": { "cores": cores, "model": model },
        "measured": {
            "with": with,
            "batch": costs.batch,
            "pieces": pieces,
            "message_cpu_seconds": costs.message(),
            "message_worker_seconds": costs.worker(),
            "messages_per_core_second": 1.0 / costs.message(),
            "network_seconds": costs.network / 1e9,
            "network_steps_per_message": costs.steps,
            "message_bytes": costs.message_bytes,
            "outputs_per_message": costs.rows,
            "output_bytes": costs.row_bytes,
            "keys": costs.keys,
            "key_bytes": costs.key_bytes,
            "process_bytes": costs.fixed_bytes,
            "worker_bytes": costs.worker_bytes,
            "checkpoint_key_bytes": costs.stored_bytes,
            "checkpoint_page_keys": costs.page_keys,
            "checkpoint_write_bytes_per_second": costs.write_rate,
            "checkpoint_load_bytes_per_second": costs.load_rate,
            "step_ticks": costs.step.0,
            "step_is_of_sample": costs.step.1,
        },
        "assumed": {
            "pod_cores": assumed.cores,
            "pod_memory_bytes": assumed.memory,
            "load": assumed.load,
            "growth": assumed.growth,
            "restore_seconds": assumed.restore,
            "store_bytes_per_second": assumed.store_rate,
            "broker_bytes_per_second": assumed.broker_rate,
            "partition_bytes_per_second": assumed.partition_rate,
            "replicas": assumed.replicas,
            "broker_partitions": assumed.broker_partitions,
            "broker_markers_per_second": assumed.broker_markers,
            "group_members": assumed.members,
            "commit_seconds": assumed.commit,
            "session_seconds": assumed.session,
        },
        "computed": report.answers.iter().map(|(rate, answer)| computed(rate, answer.as_ref().map(|(need, _)| need), {
            let limits = answer.iter().flat_map(|(_, limits)| limits);
            limits.map(|limit| json!({ "limit": limit.name, "at": limit.at, "remedy": limit.remedy })).collect()
        })).collect::<Vec<_>>(),
    })
}

fn computed(rate: &Rate, need: Option<&Need>, limits: Vec<Value>) -> Value {
    let asked = json!({ "events_per_second": rate.events, "keys": rate.keys, "active_keys": rate.active });
    let Some(need) = need else { return json!({ "for": asked, "enough": false }) };
    json!({
        "for": asked,
        "enough": true,
        "cores": need.cores,
        "worker_messages_per_second": need.worker_rate,
        "pods": need.pods,
        "workers": need.workers,
        "partitions": need.partitions,
        "pod_bytes": need.memory.0,
        "pod_state_bytes": need.memory.1,
        "checkpoints": {
            "every_seconds": need.checkpoints.every,
            "changed": need.checkpoints.changed,
            "share_of_whole": need.checkpoints.share,
            "bytes_per_second": need.checkpoints.rate,
            "objects_per_second": need.checkpoints.objects,
            "stored_bytes": need.checkpoints.stored,
        },
        "network": {
            "produced_bytes_per_second": need.network.0,
            "consumed_bytes_per_second": need.network.1,
            "copied_bytes_per_second": need.network.2,
        },
        "brokers": need.brokers,
        "transactions_per_second": need.transactions.0,
        "markers_per_second": need.transactions.1,
        "restore_of_a_pod": restore(&need.pod),
        "restore_of_a_partition": restore(&need.partition),
        "latency_seconds": need.latency,
        "breaks_first": limits,
    })
}

fn restore(restore: &Restore) -> Value {
    json!({
        "noticed_seconds": restore.noticed,
        "load_seconds": restore.load,
        "replay_seconds": restore.replay,
        "catch_up_seconds": restore.catch_up,
    })
}
