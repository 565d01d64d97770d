//! From a trained network to a version in the registry: export, check, publish.
//! Must not live here: how the network came about (`training`), what the files look like (`model::onnx`, `report`).

use std::path::Path;

use super::report;
use super::{Network, Series, Trained};
use crate::model::executor::{Buffer, library};
use crate::model::onnx::export;
use crate::model::{Manifest, ModelKind, Session, Version, registry};
use crate::network::TensorSpec;
use crate::{Error, Result};

/// The most that ONNX Runtime may differ from what was trained, in standard deviations of the output.
const PARITY: f32 = 1e-4;

/// Publishes the network as the next version of `name` in the registry at `models`, after its graph was run through
/// ONNX Runtime over the first steps of `series`. `stages`: the canonical form of the stages before it in training;
/// `tz_database`: the version that these depended on.
///
/// # Errors
/// A registry that can't be written; an export that doesn't compute what was trained.
pub fn publish(
    models: &Path,
    name: &str,
    trained: &Trained,
    series: &[Series],
    stages: Vec<serde_json::Value>,
    tz_database: Option<&str>,
) -> Result<Version> {
    let onnx = export::onnx(&trained.architecture, &trained.tensors, name)?;
    let tz_database = tz_database.map(str::to_string);
    let manifest = Manifest { tz_database, ..manifest(trained, name, stages)? };
    check_parity(&onnx, &manifest, trained, series)?;
    registry::publish(models, manifest, &onnx, &report::html(trained, name)?)
}

fn manifest(trained: &Trained, name: &str, stages: Vec<serde_json::Value>) -> Result<Manifest> {
    let training = &trained.plan;
    let mut manifest = Manifest {
        format: registry::FORMAT,
        name: name.to_string(),
        kind: training.kind,
        form: "operator".into(),
        bitwise: true,
        window: (training.kind == ModelKind::Window).then_some(training.window),
        inputs: training.inputs.clone(),
        states: trained.architecture.states(),
        horizon: 1,
        targets: Vec::new(),
        quantiles: Vec::new(),
        stages,
        warm_up: trained.warm_up,
        seed: training.seed,
        data_hash: trained.data_hash.clone(),
        metrics: trained.metrics.clone(),
        architecture: Some(trained.architecture.clone()),
        signature: None,
        proofs: Vec::new(),
        opset: export::OPSET,
        ir_version: export::IR_VERSION,
        onnx_runtime: library::version()?.to_string(),
        tz_database: None,
        files: Default::default(),
    };
    training.head.describe(&mut manifest);
    Ok(manifest)
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
    let signature = manifest.signature()?;
    let mut session = Session::own(onnx, &signature)?;
    let buffers = |of: &[TensorSpec]| -> Vec<Buffer> {
        of.iter().map(|tensor| Buffer::of(&vec![0.0_f32; tensor.numbers(steps, 2)])).collect()
    };
    let (mut taken, mut given) = (buffers(&signature.taken()), buffers(&signature.given()));
    taken[0] = Buffer::of(&x);
    session.run(steps, 2, &taken, &mut given)?;
    let y: &[f32] = given[0].values();
    let scales = trained.tensors.iter().find(|tensor| tensor.name == "scaling/out_sd").map(|tensor| &tensor.data);
    for (i, (trained, exported)) in expected.iter().zip(y).enumerate() {
        let scale = scales.map_or(1.0, |scales| scales[i % outputs]).max(trained.abs() * 1e-2);
        if (trained - exported).abs() > PARITY * scale {
            return Err(Error::failed(format!(
                "the exported graph gives {exported} but the trained network gives {trained} (step {}): not published; \
                 please report this",
                i / (2 * outputs)
            )));
        }
    }
    Ok(())
}
