//! The report for people.

use std::fmt::Write;

use comfy_table::{CellAlignment, Table, presets};

use super::quantity::{of_bytes, of_seconds, short};
use super::{Report, machine};
use crate::runtime::size::{Costs, From, Limit, Need};

/// All of it.
pub fn of(report: &Report) -> String {
    let mut text = String::new();
    let (cores, model) = machine();
    let with = match report.costs.from {
        From::Made => "made-up messages",
        From::Topic => "the last messages of the topic",
        From::File => "records of files",
    };
    let _ = writeln!(text, "{}, measured on this machine ({cores} x {model}) with {with}", report.pipeline);
    let _ = writeln!(text, "\n{}", measured(&report.costs));
    let _ = writeln!(text, "{}", assumed(report));
    let _ = writeln!(text, "{}", computed(report));
    text + &what_breaks(report)
}

fn table(lines: &[[String; 2]], title: &str) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([title, ""]);
    lines.iter().for_each(|line| _ = table.add_row(line));
    if let Some(column) = table.column_mut(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    trimmed(&table)
}

fn trimmed(table: &Table) -> String {
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

fn measured(costs: &Costs) -> String {
    let line = |name: &str, value: String| [name.to_string(), value];
    let nanos = |value: f64| format!("{value:.0} ns");
    let mut lines: Vec<[String; 2]> = costs
        .pieces
        .iter()
        .map(|piece| line(&format!("{}, per message", piece.name), nanos(piece.worker + piece.client)))
        .collect();
    let all = costs.message();
    lines.push(line("a message in all, CPU", nanos(all * 1e9)));
    lines.push(line("messages a second per core", short(1.0 / all)));
    if costs.steps > 0.0 {
        lines.push(line("of the stages, the network", nanos(costs.network)));
        lines.push(line("steps of the network per message", format!("{:.2}", costs.steps)));
    }
    lines.push(line("rows of a batch", costs.batch.to_string()));
    if costs.message_bytes > 0.0 {
        lines.push(line("a message, key and payload", of_bytes(costs.message_bytes.round())));
    }
    lines.push(line("outputs per message", format!("{:.2}", costs.rows)));
    lines.push(line("an output", of_bytes(costs.row_bytes.round())));
    lines.push(line("memory of a process without keys", of_bytes(costs.fixed_bytes)));
    lines.push(line("memory of the networks of each further worker", of_bytes(costs.worker_bytes)));
    lines
        .push(line(&format!("memory of a key ({} keys)", short(costs.keys as f64)), of_bytes(costs.key_bytes.round())));
    lines.push(line("a checkpoint, per key (not compressed)", of_bytes(costs.stored_bytes.round())));
    lines.push(line("checkpoints are made at, per core", format!("{}/s", of_bytes(costs.write_rate))));
    lines.push(line("checkpoints are taken in at, per core", format!("{}/s", of_bytes(costs.load_rate))));
    lines.push(line("keys are taken in at, per core", format!("{}/s", short(costs.load_rate / costs.stored_bytes))));
    table(&lines, "measured")
}

fn assumed(report: &Report) -> String {
    let (assumed, line) = (&report.assumed, |name: &str, value: String| [name.to_string(), value]);
    let rate = |bytes: f64| format!("{}/s", of_bytes(bytes));
    let mut lines = vec![
        line("cores of a pod (--cores)", short(assumed.cores)),
        line("memory of a pod (--memory)", of_bytes(assumed.memory)),
        line("CPU in use (--load)", format!("{:.0} %", assumed.load * 100.0)),
        line("a pod is restored within (--restore)", of_seconds(assumed.restore)),
        line("the store gives and takes, per pod (--store-mb-per-s)", rate(assumed.store_rate)),
        line("keys get their messages", "at random".into()),
    ];
    if report.kafka {
        lines.extend([
            line("partitions for more workers (--growth)", format!("x{}", short(assumed.growth))),
            line("a broker takes, copies included (--broker-mb-per-s)", rate(assumed.broker_rate)),
            line("a partition takes (--partition-mb-per-s)", rate(assumed.partition_rate)),
            line("copies of a partition", short(assumed.replicas)),
            line("copies of partitions that a broker holds", short(assumed.broker_partitions)),
            line("markers that a broker writes", format!("{}/s", short(assumed.broker_markers))),
            line("members of a group", short(assumed.members)),
            line("readers of the outputs", "1".into()),
            line("a commit takes", of_seconds(assumed.commit)),
            line("the group notices a dead member after", of_seconds(assumed.session)),
        ]);
    }
    table(&lines, "assumed")
}

fn whole(value: f64) -> String {
    format!("{value:.0}")
}

/// A line of the table: what it is, and how it is shown of a need.
type Line = (&'static str, fn(&Need) -> String);

const LINES: [Line; 14] = [
    ("cores in use", |need| short(need.cores)),
    ("messages a second per worker, at most", |need| short(need.worker_rate)),
    ("pods", |need| whole(need.pods)),
    ("runtime.workers of a pod", |need| whole(need.workers)),
    ("memory of a pod", |need| of_bytes(need.memory.0)),
    ("of which state of keys", |need| of_bytes(need.memory.1)),
    ("checkpoints of a partition, every", |need| of_seconds(need.checkpoints.every)),
    ("keys that change between two", |need| format!("{:.1} %", need.checkpoints.changed * 100.0)),
    ("checkpoints to the store", |need| format!("{}/s", of_bytes(need.checkpoints.rate))),
    ("objects to the store", |need| format!("{:.1}/s", need.checkpoints.objects)),
    ("the store holds", |need| of_bytes(need.checkpoints.stored)),
    ("restore of a pod that restarts, at worst", |need| of_seconds(need.pod.restart())),
    ("of which loading", |need| of_seconds(need.pod.load)),
    ("of which replay", |need| of_seconds(need.pod.replay)),
];

const KAFKA: [Line; 10] = [
    ("partitions", |need| whole(need.partitions)),
    ("keys of a partition", |need| short(need.rate.keys / need.partitions)),
    ("a pod that is gone, until others go on", |need| of_seconds(need.pod.lost())),
    ("and until they have caught up", |need| of_seconds(need.pod.lost() + need.pod.catch_up)),
    ("a partition that moves", |need| of_seconds(need.partition.restart())),
    ("from producers", |need| format!("{}/s", of_bytes(need.network.0))),
    ("to consumers", |need| format!("{}/s", of_bytes(need.network.1))),
    ("brokers", |need| whole(need.brokers)),
    ("transactions", |need| format!("{:.0}/s", need.transactions.0)),
    ("from a message to its output, on average", |need| of_seconds(need.latency)),
];

fn computed(report: &Report) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let columns = report.answers.iter().map(|(rate, _)| format!("{}/s", short(rate.events)));
    table.set_header(std::iter::once("computed".to_string()).chain(columns));
    let keys = report.answers.iter().map(|(rate, _)| short(rate.keys));
    table.add_row(std::iter::once("keys".to_string()).chain(keys));
    let lines = LINES.iter().chain(KAFKA.iter().filter(|_| report.kafka));
    for (name, shown) in lines {
        let cells = report.answers.iter().map(|(_, need)| need.as_ref().map_or("-".into(), |(need, _)| shown(need)));
        table.add_row(std::iter::once((*name).to_string()).chain(cells));
    }
    for column in 1..=report.answers.len() {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    trimmed(&table)
}

fn what_breaks(report: &Report) -> String {
    let mut text =
        "what breaks first, where events and keys grow and pods, partitions and brokers stay (computed)\n".to_string();
    for (rate, answer) in &report.answers {
        let at = format!("{}/s, {} keys", short(rate.events), short(rate.keys));
        let Some((_, limits)) = answer else {
            let _ = writeln!(
                text,
                "  {at}: 100,000 pods are not enough: give a pod more memory or cores (--memory, --cores), or its \
                 restore more time (--restore)"
            );
            continue;
        };
        let shown = |limit: &Limit| format!("x{:.2} {} ({})", limit.at, limit.name, limit.remedy);
        let _ = writeln!(text, "  {at}");
        if let Some(first) = limits.first() {
            let _ = writeln!(text, "    first {}", shown(first));
        }
        // What pods can't help against comes next for who adds pods.
        let then = limits
            .iter()
            .skip(1)
            .find(|limit| limits.first().is_some_and(|first| !first.pods_help || !limit.pods_help));
        if let Some(then) = then {
            let _ = writeln!(text, "    then  {}", shown(then));
        }
    }
    text
}
