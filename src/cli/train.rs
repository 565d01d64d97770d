//! `kolk train`: capture, train, evaluate, export, check, publish.

use std::sync::Arc;

use indicatif::ProgressBar;

use super::{TrainArgs, print, progress};
use crate::model::{Manifest, ModelKind, Session, Signature, export, library, registry};
use crate::runtime::{self, Captured, Plan, Purpose};
use crate::train::{self, Network, Phase, Progress, Series, Trained};
use crate::{Error, Result, config, http};

/// The most that ONNX Runtime may differ from what was trained, in standard deviations of the output.
const PARITY: f32 = 1e-4;

/// Trains the model that the pipeline's `infer` stage names; prints the label of the version it published.
///
/// # Errors
/// Those of [`runtime::plan`] and [`train::train`]; a registry that can't be written; an export that doesn't compute what
/// was trained.
pub fn run(arguments: &TrainArgs) -> Result<()> {
    let pipeline = config::load(&arguments.pipeline)?;
    library::library()?;
    let address = arguments.http.or(pipeline.runtime.http.as_ref().map(|at| at.value));
    let plan = runtime::plan(pipeline, Purpose::Train)?;
    let (Some(training), Some(infer)) = (&plan.train, plan.pipeline.infer()) else {
        return Err(Error::refused("training needs a `train` section and an `infer` stage"));
    };
    let health = Arc::new(http::Health::default());
    let server = address.map(|address| http::serve(address, plan.metrics.clone(), health.clone())).transpose()?;
    plan.metrics.onnx_runtime(library::version()?);
    health.running();

    let captured = capture(&plan, training)?;
    let trained = learn(&captured.series, training)?;
    for warning in &trained.warnings {
        tracing::warn!("{warning}");
    }
    eprintln!("{}", trained.table());

    let name = infer.model.split('/').next().unwrap_or_default();
    let onnx = export::onnx(&trained.architecture, &trained.tensors, name)?;
    let manifest = manifest(&plan, &trained, name)?;
    check_parity(&onnx, &manifest, &trained, &captured.series)?;
    let report = train::report::html(&trained, name)?;
    let version = registry::publish(&plan.pipeline.models, manifest, &onnx, &report)?;
    registry::set_champion(&plan.pipeline.models, name, version.number)?;
    eprintln!("published {}: {}", runtime::label(&version), version.folder.join(registry::REPORT).display());
    drop(server);
    print(runtime::label(&version))
}

/// Reads the source through the stages before the network.
fn capture(plan: &Plan, training: &train::Plan) -> Result<Captured> {
    let split = match plan.pipeline.train.as_ref().map(|train| &train.split.value) {
        Some(config::Split::Column(column)) => Some(column.as_str()),
        _ => None,
    };
    let bar = progress::records(plan.files()?.records());
    plan.metrics.source_rows.set(i64::try_from(plan.files()?.records()).unwrap_or(i64::MAX));
    let read = &plan.metrics.source_rows_read;
    let captured = runtime::capture(plan, &training.targets, split, &mut |records| {
        bar.set_position(records);
        read.inc_by(records.saturating_sub(read.get()));
    })?;
    bar.finish_and_clear();
    let rows: usize = captured.series.iter().map(|series| series.times.len()).sum();
    eprintln!("{} records read, {rows} rows of {} keys behind the stages", captured.records, captured.series.len());
    for (reason, count) in &captured.rejected {
        eprintln!("{count} records left out of training: {reason}");
    }
    Ok(captured)
}

/// Trains behind a progress bar; without a terminal, a line for each tenth of the way.
fn learn(series: &[Series], training: &train::Plan) -> Result<Trained> {
    let mut shown: Option<(Phase, ProgressBar)> = None;
    let mut told = 0;
    let trained = train::train(series, training, &mut |now: Progress| {
        if shown.as_ref().is_none_or(|(phase, _)| *phase != now.phase) {
            if let Some((_, bar)) = shown.take() {
                bar.finish_and_clear();
            }
            told = 0;
        }
        let (_, bar) = shown.get_or_insert_with(|| (now.phase, progress::steps(now.of_updates as u64)));
        bar.set_length(now.of_updates as u64);
        bar.set_position(now.updates as u64);
        let message = message(&now);
        let tenth = now.updates * 10 / now.of_updates.max(1);
        if bar.is_hidden() && now.finished.is_some() && tenth > told {
            told = tenth;
            tracing::info!("{message}, update {} of {}, {} s left", now.updates, now.of_updates, now.left.as_secs());
        }
        bar.set_message(message);
    });
    if let Some((_, bar)) = shown {
        bar.finish_and_clear();
    }
    trained
}

fn message(now: &Progress) -> String {
    let phase = match now.phase {
        Phase::Train => "train",
        Phase::Refit => "train on everything",
        Phase::Evaluate => return "evaluate".to_string(),
    };
    let validation = now.finished.and_then(|end| end.validation_loss).map(|loss| format!(", validation {loss:.4}"));
    format!("{phase}: epoch {}, loss {:.4}{}", now.epoch, now.train_loss, validation.unwrap_or_default())
}

fn manifest(plan: &Plan, trained: &Trained, name: &str) -> Result<Manifest> {
    let training = &trained.plan;
    Ok(Manifest {
        format: registry::FORMAT,
        name: name.to_string(),
        kind: training.kind,
        form: "operator".into(),
        bitwise: true,
        window: (training.kind == ModelKind::Window).then_some(training.window),
        inputs: training.inputs.clone(),
        states: trained.architecture.states(),
        horizon: training.horizon,
        targets: training.targets.clone(),
        quantiles: Vec::new(),
        stages: runtime::stages_of_model(&plan.pipeline),
        warm_up: trained.warm_up,
        seed: training.seed,
        data_hash: trained.data_hash.clone(),
        metrics: trained.metrics.clone(),
        architecture: trained.architecture.clone(),
        opset: export::OPSET,
        ir_version: export::IR_VERSION,
        onnx_runtime: library::version()?.to_string(),
        files: Default::default(),
    })
}

/// Runs the first steps of the data through the trained network and through ONNX Runtime: they must agree.
fn check_parity(onnx: &[u8], manifest: &Manifest, trained: &Trained, series: &[Series]) -> Result<()> {
    let shape = &trained.architecture;
    let (features, outputs) = (shape.features, shape.outputs);
    let Some(series) = series.iter().max_by_key(|series| series.usable.iter().filter(|usable| **usable).count()) else {
        return Ok(());
    };
    // The same rows in both lanes: a batch of one is computed by other code.
    let mut x = Vec::new();
    let rows = (0..series.usable.len()).filter(|row| series.usable[*row]).take(64);
    for row in rows {
        for _ in 0..2 {
            x.extend_from_slice(&series.x[row * features..(row + 1) * features]);
        }
    }
    let steps = x.len() / (2 * features);
    if steps == 0 {
        return Ok(());
    }
    let expected = Network::<f32>::restored(shape, &trained.tensors)?.outputs(&x, steps, 2);
    let mut session = Session::new(onnx, &Signature::from(manifest))?;
    let widths: Vec<usize> = manifest.states.iter().map(|pair| pair.shape.iter().product::<usize>() * 2).collect();
    let zeros: Vec<Vec<f32>> = widths.iter().map(|width| vec![0.0; *width]).collect();
    let mut out = zeros.clone();
    let mut y = vec![0.0; steps * 2 * outputs];
    let states: Vec<&[f32]> = zeros.iter().map(Vec::as_slice).collect();
    let mut states_out: Vec<&mut [f32]> = out.iter_mut().map(Vec::as_mut_slice).collect();
    session.run(steps, 2, &x, &states, &mut y, &mut states_out)?;
    let scales = trained.tensors.iter().find(|tensor| tensor.name == "scaling/out_sd").map(|tensor| &tensor.data);
    for (i, (trained, exported)) in expected.iter().zip(&y).enumerate() {
        let scale = scales.map_or(1.0, |scales| scales[i % outputs]).max(trained.abs() * 1e-2);
        if (trained - exported).abs() > PARITY * scale {
            return Err(Error::failed(format!(
                "the exported graph gives {exported} where the trained network gives {trained} (step {}): not published; \
                 please report this",
                i / (2 * outputs)
            )));
        }
    }
    Ok(())
}
