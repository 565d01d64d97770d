//! Words that are written in a section where they don't belong: where they do, or that this version lacks them. Also
//! the words that other tools have for the same.

use super::table::{self, Around, Step};

/// Words that the documentation names and this version lacks, wherever they are written.
pub(super) const LATER: [&str; 4] = ["adagrad", "attention", "batch_norm", "tests"];

const PROPERTIES: &str = "`properties: { … }` of `source: { kafka: { … } }` or `sink: { kafka: { … } }`";

/// A word that more sections have says too little.
const MOST_PLACES: usize = 4;

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
    (
        "`train: { schedule: cosine }`, `{ step: { … } }` or `{ plateau: { … } }`",
        &[
            "lr_scheduler",
            "scheduler",
            "lr_schedule",
            "learning_rate_schedule",
            "lr_decay",
            "cosine_annealing",
            "reduce_lr_on_plateau",
        ],
    ),
    (
        "`train: { layers: [ { lstm: 50 }, { dropout: 0.2 } ] }`, with one mask per chunk or window",
        &["variational_dropout", "dropout_rate", "drop_rate"],
    ),
    ("`{ layer_norm: true }` as a layer of `train: { layers: [ … ] }`", &["layernorm", "layer_normalization"]),
    ("`train: { l2: 0.0001 }`", &["kernel_regularizer", "l2_regularization", "weight_l2"]),
    ("`train: { warm_up: 100 }`", &["warmup", "warmup_steps", "warmup_updates", "num_warmup_steps"]),
    (
        "`train: { embeddings: [ { column: region, size: 4 } ] }`; of the key `{ key: true, size: 4 }`",
        &["embedding", "embedding_dim", "static", "static_features", "static_covariates", "categorical"],
    ),
    (
        "`train: { embeddings: [ { column: word, size: 16, max_tokens: 10000 } ] }`",
        &["vocab_size", "vocabulary_size", "num_embeddings"],
    ),
    (
        "`train: { known_ahead: [holiday] }`, a vector column with a number for each row of the horizon",
        &["future_covariates", "known_covariates", "known_future", "futr_exog_list", "known_reals"],
    ),
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
    ("`train: { target: column }`", &["label", "y", "target_column", "output_column"]),
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
    ("`source: { kafka: { topic: name } }`, or `topics: [a, b]`", &["topic_name", "subscribe"]),
    ("`source: { kafka: { group: name } }`", &["group.id", "consumer_group", "consumer.group"]),
    (
        "`source: { kafka: { start: earliest } }`",
        &["auto.offset.reset", "auto_offset_reset", "offsets", "starting_offsets", "startingOffsets"],
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
    let own = own(word);
    if !own.is_empty() && own.len() <= MOST_PLACES {
        let (last, before) = own.split_last()?;
        let all = if before.is_empty() { last.clone() } else { format!("{} or {last}", before.join(", ")) };
        return Some(format!("it in {all}"));
    }
    if let Some((instead, _)) = OTHERS.iter().find(|(_, words)| words.contains(&word)) {
        return Some(instead.to_string());
    }
    let is_property = PROPERTY.iter().any(|beginning| word.starts_with(beginning)) && word.contains('.');
    is_property.then(|| format!("it in {PROPERTIES}"))
}

/// The sections that have a word, as they are written.
fn own(word: &str) -> Vec<String> {
    let mut places: Vec<String> = Vec::new();
    table::walk(&mut |way, section| {
        if section.has(word) {
            let place = written(way);
            if !places.contains(&place) {
                places.push(place);
            }
        }
    });
    places
}

/// The way to a section, as it is written.
fn written(way: &[Step]) -> String {
    // A stage is known by its word, and a format is the same in a source and in a sink.
    let start = way.iter().rposition(|step| matches!(step.name, "stages" | "format")).unwrap_or(0);
    let (before, way) = match &way[start..] {
        [] => return "the top level of the file".into(),
        [stages, stage @ ..] if stages.name == "stages" && !stage.is_empty() => ("the stage ", stage),
        [stages] if stages.name == "stages" => ("the list ", &way[start..]),
        way => ("", way),
    };
    let inner = way.iter().rev().fold("…".to_string(), |inner, step| {
        let (open, close) = if step.around == Around::List { ("[", "]") } else { ("{", "}") };
        format!("{}: {open} {inner} {close}", step.name)
    });
    format!("{before}`{inner}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A word that has two places would be sent to the first.
    #[test]
    fn every_word_has_one_place() {
        let mut words: Vec<&str> = OTHERS.iter().flat_map(|(_, words)| words.iter().copied()).collect();
        words.extend(LATER);
        words.sort_unstable();
        let twice: Vec<_> = words.windows(2).filter(|pair| pair[0] == pair[1]).collect();
        assert!(twice.is_empty(), "{twice:?}");
        let known: Vec<_> = words.into_iter().filter(|word| !own(word).is_empty()).collect();
        assert!(known.is_empty(), "words of other tools that are fields now: {known:?}");
    }

    #[test]
    fn a_place_is_as_it_is_written() {
        for (word, places) in [
            ("horizon", "`train: { … }`"),
            ("beta_1", "`train: { optimizer: { adam: { … } } }`, `train: { optimizer: { adamw: { … } } }`"),
            ("gap", "`record: { sequence: { … } }`, the stage `frame: { … }`, the stage `infer: { … }`"),
            ("resample", "the list `stages: [ … ]`"),
            ("lstm", "`train: { layers: [ … ] }`"),
            ("idle", "`source: { kafka: { … } }`"),
            ("registry", "`format: { avro: { … } }`, `format: { protobuf: { … } }`"),
            ("runtime", "the top level of the file"),
        ] {
            assert_eq!(own(word).join(", "), places, "{word}");
        }
    }
}
