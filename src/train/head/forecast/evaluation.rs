//! Errors on the held-out time, and those of the naive forecasts on the same entries.
//!
//! Lives here: what is compared with what and in which units. Must not live here: how the network runs (`pass`), and
//! how it is shown (`report`).
//!
//! An entry is (origin, step, target) of the test part whose target was observed and for which a last value is known.
//! In mode carry the state is carried through train and validation into test, with frozen weights, exactly as in
//! serving.

use std::any::Any;
use std::collections::BTreeMap;

use super::naive::{Naive, mase_scale};
use super::samples::{Sample, Samples};
use super::spread::Spreads;
use super::warm_up::{self, WarmUp};
use super::{Forecast, report, table};
use crate::config::Skip;
use crate::error::counted;
use crate::model::ModelKind;
use crate::record::Clock;
use crate::train::dataset::Dataset;
use crate::train::errors::{Compared, Errors, KeyErrors, Unit, train_sd};
use crate::train::head::{Evaluation, Figures};
use crate::train::pass::Model;
use crate::train::report::figure;
use crate::train::split::Subset;
use crate::{Error, Result};

/// Errors of forecasts on the test part.
#[derive(Debug, Clone)]
pub struct ForecastEvaluation {
    /// What was forecast.
    pub head: Forecast,
    /// Per key with a test part, in the order of the series.
    pub keys: Vec<KeyErrors>,
    /// Per target, over all keys.
    pub targets: Vec<Compared>,
    /// Per target, over all keys, of the validation part; without entries where there is none.
    pub validation: Vec<Compared>,
    /// Per target and step of the horizon, over all keys.
    pub steps: Vec<Vec<Compared>>,
    /// With quantiles, per target, over all keys.
    pub spreads: Vec<Spreads>,
    /// The same per key with a test part.
    pub key_spreads: Vec<Vec<Spreads>>,
    /// The same per target and step of the horizon.
    pub step_spreads: Vec<Vec<Spreads>>,
    /// How a key does whose state begins at zero; mode carry.
    pub warm_up: Option<WarmUp>,
    /// Forecast against truth at the end of the test part, for pictures.
    pub samples: Vec<Sample>,
    /// Whether all keys' targets vary by about as much (within a factor of 3), per target: then means over keys are in
    /// own units; else in standard deviations.
    pub comparable: Vec<bool>,
}

/// What the naive forecasts need to know of one key.
struct KeyView<'a> {
    naive: Vec<Naive<'a>>,
    /// Per target, standard deviation over the train part.
    sd: Vec<f64>,
    errors: KeyErrors,
    /// Per target; counted where the head has quantiles.
    spreads: Vec<Spreads>,
}

/// Per target and step, over all keys.
struct BySteps {
    errors: Vec<Vec<Compared>>,
    spreads: Vec<Vec<Spreads>>,
}

/// Who makes a forecast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Model,
    /// The linear path without the network.
    Ridge,
}

/// Evaluates on the test part, and for who compares variants, on the validation part.
pub(super) fn evaluate(head: &Forecast, data: &Dataset, model: &Model) -> Result<ForecastEvaluation> {
    let targets = head.targets.len();
    let mut views = views(head, data, Subset::Test)?;
    let mut steps = BySteps {
        errors: vec![vec![Compared::default(); head.horizon]; targets],
        spreads: vec![vec![Spreads::default(); head.horizon]; targets],
    };
    let mut samples = Samples::new(head, data);
    let mut warm = warm_up::Warm::new(data);
    let mut is_finite = true;
    model.forecasts(data, Subset::Test, &mut |series, step, y| {
        let Some(view) = &mut views[series] else { return };
        let row = data.steps[series].rows[step] as usize;
        samples.add(head, data, &view.naive, series, row, y);
        warm.add(data, model, series, step, y);
        is_finite &= view.add(head, data, (series, row), (Way::Model, y), Some(&mut steps));
    });
    let path = (data.plan.skip == Skip::Ridge).then(|| model.scaled(0.0));
    if let Some(path) = &path {
        is_finite &= add_all(head, data, (Way::Ridge, path), Subset::Test, &mut views, Some(&mut steps));
    }
    let comparable = (0..targets).map(|target| comparable(&views, target)).collect();
    let key_spreads: Vec<Vec<Spreads>> = views.iter().flatten().map(|view| view.spreads.clone()).collect();
    let mut spreads = vec![Spreads::default(); targets];
    key_spreads.iter().for_each(|key| spreads.iter_mut().zip(key).for_each(|(sum, key)| sum.merge(key)));
    let (keys, total) = summed(views, targets);
    let warm_up = (data.plan.kind == ModelKind::Carry).then(|| warm_up::measure(head, data, model, &warm));

    let mut validation = self::views(head, data, Subset::Validation)?;
    for way in std::iter::once((Way::Model, model)).chain(path.as_ref().map(|path| (Way::Ridge, path))) {
        is_finite &= add_all(head, data, way, Subset::Validation, &mut validation, None);
    }
    if !is_finite {
        return Err(Error::failed("the trained network predicts values that are not finite: lower the learning rate"));
    }
    Ok(ForecastEvaluation {
        head: head.clone(),
        samples: samples.finish(&keys),
        keys,
        targets: total,
        validation: summed(validation, targets).1,
        steps: steps.errors,
        spreads,
        key_spreads,
        step_spreads: steps.spreads,
        warm_up,
        comparable,
    })
}

/// Counts all forecasts of a part; false where one isn't finite.
fn add_all(
    head: &Forecast,
    data: &Dataset,
    (way, model): (Way, &Model),
    part: Subset,
    views: &mut [Option<KeyView>],
    mut steps: Option<&mut BySteps>,
) -> bool {
    let mut is_finite = true;
    model.forecasts(data, part, &mut |series, step, y| {
        if let Some(view) = &mut views[series] {
            let row = data.steps[series].rows[step] as usize;
            is_finite &= view.add(head, data, (series, row), (way, y), steps.as_deref_mut());
        }
    });
    is_finite
}

/// The errors of each key, and per target over all keys.
fn summed(views: Vec<Option<KeyView>>, targets: usize) -> (Vec<KeyErrors>, Vec<Compared>) {
    let keys: Vec<KeyErrors> = views.into_iter().flatten().map(|view| view.errors).collect();
    let mut total = vec![Compared::default(); targets];
    for key in &keys {
        total.iter_mut().zip(&key.targets).for_each(|(sum, key)| sum.merge(key));
    }
    (keys, total)
}

impl KeyView<'_> {
    /// Counts the outputs at an origin (series, row); false where one isn't finite.
    fn add(
        &mut self,
        head: &Forecast,
        data: &Dataset,
        origin: (usize, usize),
        (way, y): (Way, &[f32]),
        mut steps: Option<&mut BySteps>,
    ) -> bool {
        let (series, row) = origin;
        let mut is_finite = true;
        for (output, value) in head.point(y).iter().enumerate() {
            let (step, target) = head.step_and_target(output);
            let Some(entry) = Entry::new(head, data, &self.naive[target], series, row, output, head.season()) else {
                continue;
            };
            let predicted = head.to_own(data, series, row, output, *value);
            is_finite &= predicted.is_finite();
            let by_step = steps.as_deref_mut().map(|steps| &mut steps.errors[target][step - 1]);
            for compared in std::iter::once(&mut self.errors.targets[target]).chain(by_step) {
                let count = |errors: &mut Errors, predicted| errors.add(predicted, entry.truth, self.sd[target]);
                match way {
                    Way::Ridge => count(&mut compared.ridge, predicted),
                    Way::Model => {
                        count(&mut compared.model, predicted);
                        count(&mut compared.last, entry.last);
                        count(&mut compared.drift, entry.drift);
                        if let Some(seasonal) = entry.seasonal {
                            count(&mut compared.seasonal, seasonal);
                        }
                    }
                }
            }
            if !head.quantiles.is_empty() {
                let forecast = |at: usize| head.to_own(data, series, row, output, y[at * head.points() + output]);
                let by_step = steps.as_deref_mut().map(|steps| &mut steps.spreads[target][step - 1]);
                for spreads in std::iter::once(&mut self.spreads[target]).chain(by_step) {
                    entry.count_spreads(&head.quantiles, way, &forecast, self.sd[target], spreads);
                }
            }
        }
        is_finite
    }
}

/// One entry, in own units.
struct Entry {
    truth: f64,
    last: f64,
    seasonal: Option<f64>,
    drift: f64,
}

impl Entry {
    /// Counts the forecasts of each quantile.
    fn count_spreads(&self, levels: &[f64], way: Way, forecast: &dyn Fn(usize) -> f64, sd: f64, spreads: &mut Spreads) {
        match way {
            Way::Ridge => spreads.ridge.add(levels, self.truth, forecast, sd),
            Way::Model => {
                spreads.model.add(levels, self.truth, forecast, sd);
                spreads.last.add(levels, self.truth, |_| self.last, sd);
                if let Some(seasonal) = self.seasonal {
                    spreads.seasonal.add(levels, self.truth, |_| seasonal, sd);
                }
            }
        }
    }

    fn new(
        head: &Forecast,
        data: &Dataset,
        naive: &Naive,
        series: usize,
        row: usize,
        output: usize,
        season: Option<usize>,
    ) -> Option<Entry> {
        data.wanted(series, row, output)?;
        let (step, _) = head.step_and_target(output);
        Some(Entry {
            truth: head.truth(data, series, row, output)?,
            last: naive.last(row)?,
            drift: naive.drift(row, step)?,
            seasonal: season.and_then(|season| naive.seasonal(row, step, season)),
        })
    }
}

fn views<'a>(head: &Forecast, data: &Dataset<'a>, part: Subset) -> Result<Vec<Option<KeyView<'a>>>> {
    let pooled: Vec<f64> =
        (0..head.targets.len()).map(|target| train_sd(data, 0..data.series.len(), target).unwrap_or(1.0)).collect();
    (0..data.series.len())
        .map(|series| {
            if data.origins(series, part).next().is_none() {
                return Ok(None);
            }
            let s = &data.series[series];
            let train = |row: usize| data.rows[series][row] == Some(Subset::Train);
            let targets = 0..head.targets.len();
            Ok(Some(KeyView {
                spreads: vec![Spreads::default(); targets.len()],
                naive: targets.clone().map(|target| Naive::new(&s.targets[target])).collect::<Result<_>>()?,
                sd: targets
                    .clone()
                    .map(|target| train_sd(data, series..series + 1, target).unwrap_or(pooled[target]))
                    .collect(),
                errors: KeyErrors {
                    series,
                    key: s.key.clone(),
                    targets: vec![Compared::default(); targets.len()],
                    mase_scale: targets
                        .map(|target| mase_scale(s, target, train, head.season().unwrap_or(1)))
                        .collect(),
                },
            }))
        })
        .collect()
}

fn comparable(views: &[Option<KeyView>], target: usize) -> bool {
    let sds = || views.iter().flatten().map(|view| view.sd[target]);
    sds().fold(0.0, f64::max) <= 3.0 * sds().fold(f64::INFINITY, f64::min)
}

impl ForecastEvaluation {
    /// Mean over keys of the mean absolute error over the key's own scale; `None` where no key has a scale.
    pub fn mase(&self, target: usize, of: impl Fn(&Compared) -> &Errors) -> Option<f64> {
        let scaled = self.keys.iter().filter(|key| of(&key.targets[target]).count > 0);
        let values: Vec<f64> =
            scaled.filter_map(|key| Some(of(&key.targets[target]).mae() / key.mase_scale[target]?)).collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    }

    /// Whether the linear path alone was judged too.
    pub(super) fn has_ridge(&self) -> bool {
        self.targets.iter().any(|compared| compared.ridge.count > 0)
    }

    /// That a naive forecast is better than the model on the test part, judged over all keys: in standard deviations of
    /// each where they differ in scale.
    fn beaten(&self, target: usize) -> Option<String> {
        let compared = &self.targets[target];
        let (unit, words) = match self.comparable[target] {
            true => (Unit::Own, ""),
            false => (Unit::Standard, ", in standard deviations of each key"),
        };
        let beaten = compared.beaten_by(unit)?;
        Some(format!(
            "the model of \"{}\" is worse than {beaten} on the test part{words} ({}): try `residual`, `skip: linear`, \
             `lags` or `scale`, or a longer training",
            self.head.targets[target],
            errors_text(compared, unit)
        ))
    }
}

/// The errors of the model and of the naive forecasts, in words.
fn errors_text(compared: &Compared, unit: Unit) -> String {
    let seasonal = compared.seasonal.count > 0;
    let seasonal =
        if seasonal { format!(", season ago {}", figure(unit.mae(&compared.seasonal))) } else { String::new() };
    format!("MAE {}, last value {}{seasonal}", figure(unit.mae(&compared.model)), figure(unit.mae(&compared.last)))
}

/// Metrics: `<target>.mae`, `.rmse`, `.mse`, `.mase`, `.smape`, `.mae_last_value`, `.mae_seasonal`, `.mae_drift`,
/// `.mae_ridge`, and over all targets
/// `mae_standard`, `mse_standard` (of z-scores by the train part).
impl Evaluation for ForecastEvaluation {
    fn metrics(&self) -> BTreeMap<String, f64> {
        let mut metrics = BTreeMap::new();
        let mut all = Compared::default();
        for (target, name) in self.head.targets.iter().enumerate() {
            let compared = &self.targets[target];
            all.merge(compared);
            for (word, value) in [
                ("mae", compared.model.mae()),
                ("rmse", compared.model.rmse()),
                ("mse", compared.model.mse()),
                ("smape", compared.model.smape()),
                ("smape_seasonal", compared.seasonal.smape()),
                ("mae_last_value", compared.last.mae()),
                ("mae_drift", compared.drift.mae()),
                ("mae_ridge", compared.ridge.mae()),
                ("mae_seasonal", compared.seasonal.mae()),
                ("mase", self.mase(target, |c| &c.model).unwrap_or(f64::NAN)),
                ("mase_last_value", self.mase(target, |c| &c.last).unwrap_or(f64::NAN)),
                ("mase_seasonal", self.mase(target, |c| &c.seasonal).unwrap_or(f64::NAN)),
                ("mae_validation", self.validation[target].model.mae()),
                ("mae_validation_last_value", self.validation[target].last.mae()),
                ("mae_validation_seasonal", self.validation[target].seasonal.mae()),
            ] {
                metrics.insert(format!("{name}.{word}"), value);
            }
            if !self.head.quantiles.is_empty() {
                self.spreads[target].metrics(name, &self.head.quantiles, &mut metrics);
            }
            if let Some(cold) = &self.warm_up {
                metrics.insert(format!("{name}.mae_cold_start"), cold.targets[target].mae());
            }
        }
        for (way, errors) in [
            ("", all.model),
            ("_last_value", all.last),
            ("_seasonal", all.seasonal),
            ("_drift", all.drift),
            ("_ridge", all.ridge),
        ] {
            metrics.insert(format!("mae_standard{way}"), errors.standard_mae());
            metrics.insert(format!("mse_standard{way}"), errors.standard_mse());
        }
        // JSON has no NaN: what could not be measured is left out.
        metrics.retain(|_, value| value.is_finite());
        metrics
    }

    fn figures(&self) -> Vec<String> {
        let own = self.head.targets.iter().filter(|_| self.head.targets.len() == 1).map(|name| format!("{name}.mae"));
        own.chain(["mae_standard", "mse_standard"].map(String::from)).collect()
    }

    fn compared(&self) -> Vec<Figures> {
        table::compared(self)
    }

    fn warm_up(&self) -> usize {
        self.warm_up.as_ref().map_or(0, |cold| cold.steps)
    }

    fn warnings(&self) -> Vec<String> {
        let longest = |cold: &&WarmUp| cold.steps > 0 && cold.steps == cold.by_step.len();
        let warning = |cold: &WarmUp| {
            format!(
                "a cold start was not within 1 % of a warm state after {}, the most in the test part: \
                 warm_up may be too short",
                counted(cold.steps, "step")
            )
        };
        let cold = self.warm_up.as_ref().filter(longest).map(warning);
        cold.into_iter().chain((0..self.targets.len()).filter_map(|target| self.beaten(target))).collect()
    }

    fn validation(&self) -> Vec<String> {
        let known = self.validation.iter().enumerate().filter(|(_, compared)| compared.model.count > 0);
        known
            .map(|(target, compared)| {
                let name = &self.head.targets[target];
                let own = errors_text(compared, Unit::Own);
                let standard = match self.comparable[target] {
                    true => String::new(),
                    false => {
                        format!("; in standard deviations of each key: {}", errors_text(compared, Unit::Standard))
                    }
                };
                format!("validation part, {name}: {own}{standard}")
            })
            .collect()
    }

    fn table(&self) -> String {
        table::table(self)
    }

    fn cards(&self, out: &mut String) {
        report::cards(out, self);
    }

    fn sections(&self, out: &mut String, clock: &Clock, refit: bool) -> Result<()> {
        report::sections(out, self, clock, refit)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
