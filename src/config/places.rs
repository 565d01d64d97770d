//! Words that are written in a section where they don't belong: where they do, or that this version lacks them. Also
//! the words that other tools have for the same.

/// Words that the documentation names and this version lacks, wherever they are written.
pub(super) const LATER: [&str; 24] = [
    "adagrad",
    "adamw",
    "attention",
    "batch_norm",
    "bidirectional",
    "by_key",
    "cross_entropy",
    "dropout",
    "embedding",
    "known_ahead",
    "layer_norm",
    "lr_scheduler",
    "patch",
    "quantile",
    "quantiles",
    "recurrent_dropout",
    "rmsprop",
    "scheduler",
    "sequence",
    "sgd",
    "static",
    "tests",
    "variational_dropout",
    "weight_decay",
];

const TRAIN: &str = "`train: { … }`";
const ADAM: &str = "`train: { optimizer: { adam: { … } } }`";
const INFER: &str = "the stage `infer: { … }`";
const RESAMPLE: &str = "the stage `resample: { … }`";
const SCALE: &str = "the stage `scale: { … }`";
const CALENDAR: &str = "the stage `calendar: { … }`";
const SCORE: &str = "the stage `score: { … }`";
const RECORD: &str = "`record: { … }`";
const ON: &str = "`on: { … }`";
const SOURCE: &str = "`source: { … }`";
const KAFKA: &str = "`source: { kafka: { … } }`";
const EITHER_KAFKA: &str = "`source: { kafka: { … } }` or `sink: { kafka: { … } }`";
const REGISTRY: &str = "`format: { avro: { … } }` or `format: { protobuf: { … } }`";
const SINK: &str = "`sink: { parquet: { … } }`";
const STATE: &str = "`state: { … }`";
const RUNTIME: &str = "`runtime: { … }`";
const STAGES: &str = "the list `stages: [ … ]`";
const LAYERS: &str = "`train: { layers: [ … ] }`";
const PROPERTIES: &str = "`properties: { … }` of `source: { kafka: { … } }` or `sink: { kafka: { … } }`";

/// kolk's own words, and the section that each belongs in. Words of several sections are not here.
const OWN: &[(&str, &[&str])] = &[
    (ADAM, &["learning_rate", "beta_1", "beta_2", "epsilon", "epsilon_form"]),
    (
        TRAIN,
        &[
            "target",
            "targets",
            "horizon",
            "residual",
            "skip",
            "layers",
            "head",
            "chunk",
            "burn_in",
            "loss",
            "optimizer",
            "clip_norm",
            "epochs",
            "updates",
            "patience",
            "batch_size",
            "seed",
            "seasonality",
            "split",
            "refit",
            "inputs",
        ],
    ),
    ("`train: { split: { … } }`", &["per_key", "rows", "last"]),
    ("`train: { optimizer: { adam: { … } } }`", &["adam"]),
    (LAYERS, &["lstm", "gru", "simple_rnn", "rnn"]),
    ("`train: { head: [ … ] }`", &["dense"]),
    (INFER, &["model", "mode", "window", "ttl", "gap"]),
    (RESAMPLE, &["every", "aggregate", "fill", "max_gap", "delay"]),
    (SCALE, &["half_life", "min_count"]),
    (CALENDAR, &["features", "timezone"]),
    ("the stage `filter: { … }`", &["where"]),
    (SCORE, &["actual", "step", "tail", "long", "short"]),
    (STAGES, &["filter", "resample", "calendar", "scale", "lags", "infer", "score"]),
    (RECORD, &["columns_as_keys", "time", "values"]),
    (ON, &["null", "late", "reorder", "watermark", "error", "tombstone"]),
    (SOURCE, &["from", "until", "emit_from"]),
    (EITHER_KAFKA, &["brokers", "topic", "format", "properties"]),
    (KAFKA, &["group", "start", "partitioned_by", "idle", "history", "timestamp"]),
    (REGISTRY, &["registry", "auth", "subject"]),
    ("`format: { protobuf: { … } }`", &["message"]),
    ("`sink: { kafka: { … } }`", &["headers"]),
    (SINK, &["part_records"]),
    (STATE, &["checkpoint_every", "or_records", "partitions"]),
    (RUNTIME, &["workers", "batch", "linger", "delivery", "commit_every", "model_every", "grace", "instance", "http"]),
    ("the top level of the file", &["source", "record", "on", "dead_letters", "sink", "state", "runtime", "train"]),
];

/// Words of Keras, PyTorch, Kafka, pandas and others, and what to write.
const OTHERS: &[(&str, &[&str])] = &[
    (
        "the number of units with its layer, as in `train: { layers: [ { lstm: 50 } ] }`",
        &["hidden_size", "hidden_dim", "hidden_units", "num_units", "n_units", "units", "rnn_units", "hidden"],
    ),
    (
        "one entry of `train: { layers: [ { lstm: 50 }, { lstm: 50 } ] }` for each layer",
        &["num_layers", "n_layers", "rnn_layers", "cell", "cell_type", "rnn_type"],
    ),
    ("`train: { optimizer: { adam: { learning_rate: 0.001 } } }`", &["lr", "eta", "step_size"]),
    ("`train: { optimizer: { adam: { beta_1: 0.9, beta_2: 0.999 } } }`", &["beta1", "beta2", "betas"]),
    ("`train: { optimizer: { adam: { epsilon: 1e-7 } } }`", &["eps"]),
    ("`train: { epochs: 10 }`", &["n_epochs", "num_epochs", "max_epochs", "epoch"]),
    ("`train: { updates: 1000 }`", &["max_steps", "n_steps", "num_steps", "iterations", "steps_per_epoch"]),
    ("`train: { patience: 3 }`", &["early_stopping", "early_stop", "early_stopping_patience", "callbacks"]),
    ("`train: { clip_norm: 1 }`", &["clipnorm", "grad_clip", "gradient_clip", "gradient_clip_val", "max_grad_norm"]),
    ("`train: { seed: 7 }`", &["random_state", "random_seed"]),
    ("`train: { loss: mse }`", &["loss_fn", "loss_function", "criterion", "objective"]),
    (
        "`train: { split: { per_key: [0.7, 0.15, 0.15] } }`",
        &[
            "validation_split",
            "test_size",
            "train_size",
            "test_split",
            "validation_data",
            "train_test_split",
            "val_split",
        ],
    ),
    (
        "`train: { horizon: 24 }`",
        &["forecast_horizon", "prediction_length", "steps_ahead", "n_ahead", "output_chunk_length", "pred_len", "fh"],
    ),
    ("`train: { target: column }`", &["label", "labels", "y", "target_column", "output_column"]),
    ("`train: { inputs: [columns] }`", &["feature_columns", "input_columns", "input_size", "x", "covariates"]),
    ("`train: { chunk: 64 }`", &["bptt", "tbptt", "truncated_bptt_steps"]),
    ("`train: { seasonality: 24 }`", &["season_length", "seasonal_period", "period"]),
    (
        "the stage `infer: { mode: window, window: 24 }`",
        &[
            "lookback",
            "look_back",
            "seq_len",
            "sequence_length",
            "window_size",
            "timesteps",
            "context_length",
            "input_chunk_length",
        ],
    ),
    ("the stage `infer: { mode: carry }`", &["stateful"]),
    (
        "the stage `scale: { values: [columns], half_life: 30d }`",
        &["scaler", "normalize", "normalization", "standardize", "scaling"],
    ),
    ("the stage `resample: { every: 1h }`", &["freq", "frequency", "interval", "resolution"]),
    ("the stage `calendar: { timezone: Europe/Berlin }`", &["tz", "time_zone"]),
    (
        "`record: { time: column }`",
        &["time_column", "timestamp_column", "date_column", "datetime", "ds", "event_time", "time_col"],
    ),
    ("`record: { time: { column: column, unit: ms } }`", &["time_unit", "timestamp_unit"]),
    (
        "`record: { key: column }`",
        &["key_column", "group_by", "group_id", "id_column", "unique_id", "series_id", "item_id"],
    ),
    ("`record: { values: [columns] }`", &["value_columns", "value_column"]),
    (
        "`source: { kafka: { brokers: \"host:9092\" } }`",
        &["bootstrap.servers", "bootstrap_servers", "metadata.broker.list"],
    ),
    ("`source: { kafka: { topic: name } }`, one topic", &["topics", "topic_name", "subscribe"]),
    ("`source: { kafka: { group: name } }`", &["group.id", "consumer_group", "consumer.group"]),
    (
        "`source: { kafka: { start: earliest } }`",
        &["auto.offset.reset", "auto_offset_reset", "offset", "offsets", "starting_offsets", "startingOffsets"],
    ),
    (
        "`format: json`, `{ avro: { … } }` or `{ protobuf: { … } }` in `source: { kafka: { … } }`",
        &["value.deserializer", "value.serializer", "value_format", "value.converter", "deserializer", "serializer"],
    ),
    (
        "`source: { kafka: { key: column } }`: keys are read as they are",
        &["key.deserializer", "key.serializer", "key.converter"],
    ),
    (
        "`format: { avro: { registry: \"http://host:8081\" } }`",
        &["schema.registry.url", "schema_registry", "schema_registry_url", "schemaRegistry"],
    ),
    (
        "`format: { avro: { auth: { user: …, password: … } } }`",
        &["basic.auth.user.info", "basic.auth.credentials.source", "schema.registry.basic.auth.user.info"],
    ),
    ("`runtime: { delivery: exactly_once }`", &["processing.guarantee", "delivery.guarantee", "semantic", "acks"]),
    ("`runtime: { workers: 4 }`", &["num.stream.threads", "threads", "parallelism", "num_workers", "tasks.max"]),
    ("`runtime: { commit_every: 100ms }`", &["commit.interval.ms", "commit_interval"]),
    ("`runtime: { instance: name }`", &["transactional.id", "transactional_id"]),
    ("`name: name` at the top level", &["application.id", "application_id", "pipeline", "job_name"]),
    ("`state: { path: folder }`", &["state.dir", "state_dir", "checkpoint_dir", "checkpoint_path"]),
    ("`state: { checkpoint_every: 30s }`", &["checkpoint_interval", "checkpoint.interval"]),
    ("`dead_letters: { kafka: { topic: name } }` at the top level", &["dlq", "dead_letter_queue", "dead_letter_topic"]),
    (
        "`sasl.mechanism`, `sasl.username` and `sasl.password` under `properties`",
        &["sasl.jaas.config", "username", "sasl"],
    ),
    (
        "`ssl.ca.location: ca.pem` under `properties`",
        &["ssl.truststore.location", "ssl.truststore.password", "truststore"],
    ),
];

/// Beginnings of the names of librdkafka's properties.
const PROPERTY: [&str; 22] = [
    "sasl.",
    "ssl.",
    "security.",
    "session.",
    "heartbeat.",
    "max.poll.",
    "max.partition.",
    "fetch.",
    "queued.",
    "queue.",
    "socket.",
    "client.",
    "compression.",
    "linger.",
    "batch.",
    "message.",
    "request.",
    "retry.",
    "retries",
    "reconnect.",
    "metadata.",
    "statistics.",
];

/// Where a word belongs that a section doesn't have; after "write".
pub(super) fn of(word: &str) -> Option<String> {
    let find = |table: &[(&'static str, &[&str])]| {
        table.iter().find(|(_, words)| words.contains(&word)).map(|(place, _)| *place)
    };
    if let Some(place) = find(OWN) {
        return Some(format!("it in {place}"));
    }
    if let Some(instead) = find(OTHERS) {
        return Some(instead.to_string());
    }
    let is_property = PROPERTY.iter().any(|beginning| word.starts_with(beginning)) && word.contains('.');
    is_property.then(|| format!("it in {PROPERTIES}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A word that has two places would be sent to the first.
    #[test]
    fn every_word_has_one_place() {
        let mut words: Vec<&str> = OWN.iter().chain(OTHERS).flat_map(|(_, words)| words.iter().copied()).collect();
        words.extend(LATER);
        words.sort_unstable();
        let twice: Vec<_> = words.windows(2).filter(|pair| pair[0] == pair[1]).collect();
        assert!(twice.is_empty(), "{twice:?}");
    }
}
