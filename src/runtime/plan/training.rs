//! What `kolk train` needs: the chain up to the network's inputs, and what is trained on them.

use crate::config::{At, Infer, Key, Pipeline, Split, Train};
use crate::error::Problems;
use crate::record::{Layout, Role};
use crate::stage::{self, inputs::Inputs};
use crate::train;

/// The chain up to the network, and what is trained behind it.
pub(super) type BeforeNetwork = (Vec<Box<dyn stage::Stage>>, train::Plan);

pub(super) fn before_network(
    pipeline: &Pipeline,
    train: &At<Train>,
    infer: &At<Infer>,
    layout: &mut Layout,
    problems: &mut Problems,
) -> Option<BeforeNetwork> {
    let chain = stage::chain(pipeline, layout.clone(), stage::Stop::BeforeInfer, &mut |_, _, _| None, problems);
    *layout = chain.before_infer;
    let mut stages = chain.stages;
    let lags: Vec<String> = layout
        .columns
        .iter()
        .filter(|c| c.role == Role::Feature && c.name.contains("_lag_"))
        .map(|c| c.name.clone())
        .collect();
    let plan = train::Plan::new(train, Some(infer), &lags, &layout.clock, layout.interval, problems)?;
    let used = plan.inputs.iter().any(|input| lags.contains(&input.column));
    if !lags.is_empty() && !used {
        problems.add(train.place, "the lags are not used: name them in `inputs`, or set `skip: linear`");
    }
    for target in &train.targets {
        if let Err(message) = layout.number(target) {
            problems.add(target.place, message);
        }
    }
    for input in &train.inputs {
        if let Err(message) = layout.number(input) {
            problems.add(input.place, message);
        }
    }
    if let (Split::Column(_), Key::Melted(_)) = (&train.split.value, &pipeline.record.key) {
        problems.add(train.split.place, "columns_as_keys has no further columns to split by");
    }
    if !problems.is_empty() {
        return None;
    }
    let inputs = Inputs::plan(&plan.inputs, infer, layout, train.place, problems)?;
    stages.push(Box::new(inputs));
    Some((stages, plan))
}
