//! Forecast against truth at the end of the test part, kept for pictures.
//!
//! Lives here: which keys and rows are kept. Must not live here: how they are drawn (`report`).

use super::Forecast;
use super::naive::Naive;
use crate::train::dataset::Dataset;
use crate::train::errors::KeyErrors;
use crate::train::split::Subset;

/// Pictures at most.
const PICTURES: usize = 12;
/// Keys in pictures at most.
const KEYS: usize = 8;

/// One target of one key at the end of the test part, as forecast `step` rows earlier.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The key.
    pub key: String,
    /// Index of the target.
    pub target: usize,
    /// How many rows ahead.
    pub step: usize,
    /// Ticks of the rows that were forecast.
    pub times: Vec<i64>,
    /// What came; NaN where it was not observed.
    pub truth: Vec<f64>,
    /// The model's forecast.
    pub model: Vec<f64>,
    /// The better naive forecast of this key.
    pub naive: Vec<f64>,
    /// Whether that one is the seasonal.
    pub naive_is_seasonal: bool,
}

/// Collects forecasts of the first keys that have a test part.
pub(super) struct Samples {
    keys: Vec<KeySamples>,
}

/// One key.
struct KeySamples {
    series: usize,
    first_row: usize,
    /// Per target.
    samples: Vec<Sample>,
    /// Per target, the seasonal naive forecast.
    seasonal: Vec<Vec<f64>>,
}

impl Samples {
    /// None yet.
    pub(super) fn new(head: &Forecast, data: &Dataset) -> Samples {
        let targets = head.targets.len();
        let rows = (8 * head.season().unwrap_or(0).max(head.horizon)).clamp(60, 300);
        let keys = KEYS.min(PICTURES / targets).max(1);
        let kept = |series: usize| {
            let origins: Vec<usize> = data.origins(series, Subset::Test).collect();
            let first = origins.get(origins.len().saturating_sub(rows))?;
            let forecast = |target| Sample {
                key: data.series[series].key.clone(),
                target,
                step: head.horizon,
                times: Vec::new(),
                truth: Vec::new(),
                model: Vec::new(),
                naive: Vec::new(),
                naive_is_seasonal: false,
            };
            Some(KeySamples {
                series,
                first_row: data.steps[series].rows[*first] as usize,
                samples: (0..targets).map(forecast).collect(),
                seasonal: vec![Vec::new(); targets],
            })
        };
        Samples { keys: (0..data.series.len()).filter_map(kept).take(keys).collect() }
    }

    /// Keeps the last step of what was forecast at an origin row, where a picture shows it.
    pub(super) fn add(
        &mut self,
        head: &Forecast,
        data: &Dataset,
        naive: &[Naive],
        series: usize,
        row: usize,
        y: &[f32],
    ) {
        let Some(kept) = self.keys.iter_mut().find(|kept| kept.series == series && row >= kept.first_row) else {
            return;
        };
        let (targets, y) = (head.targets.len(), head.point(y));
        for (target, forecast) in kept.samples.iter_mut().enumerate() {
            let output = (head.horizon - 1) * targets + target;
            let seasonal = head.season().and_then(|season| naive[target].seasonal(row, head.horizon, season));
            forecast.times.push(data.series[series].times[row + head.horizon]);
            forecast.truth.push(head.truth(data, series, row, output).unwrap_or(f64::NAN));
            forecast.model.push(head.to_own(data, series, row, output, y[output]));
            forecast.naive.push(naive[target].last(row).unwrap_or(f64::NAN));
            kept.seasonal[target].push(seasonal.unwrap_or(f64::NAN));
        }
    }

    /// The forecasts, each with the better naive forecast of its key.
    pub(super) fn finish(self, keys: &[KeyErrors]) -> Vec<Sample> {
        let mut found = Vec::new();
        for kept in self.keys {
            let errors = keys.iter().find(|key| key.series == kept.series);
            for (mut forecast, seasonal) in kept.samples.into_iter().zip(kept.seasonal) {
                let compared = errors.map(|key| &key.targets[forecast.target]);
                if compared.is_some_and(|c| c.seasonal.count > 0 && c.seasonal.mae() < c.last.mae()) {
                    forecast.naive = seasonal;
                    forecast.naive_is_seasonal = true;
                }
                found.push(forecast);
            }
        }
        found.truncate(PICTURES);
        found
    }
}
