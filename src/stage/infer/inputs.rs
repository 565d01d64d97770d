//! What a network is fed: the features of `x`, whether a row can be a step, and whether a new sequence starts at it.
//!
//! An internal stage, always the last before the network. Serving puts `infer` after it, training captures what it
//! makes: both see the same numbers because both run this code. What the network answers must not live here.

use std::sync::Arc;

use bytemuck::{Pod, Zeroable};
use serde_json::Value;

use super::feed::{Fed, Kept, Missing};
use super::rhythm::{NOTHING, Rhythm};
use super::rows::{Made, views};
use crate::Result;
use crate::config::{At, Span};
use crate::error::Problems;
use crate::metrics::Metrics;
use crate::network::{Axis, Element, Feed, Input, InputTensor, TensorSpec};
use crate::problem::Place;
use crate::record::{Batch, Clock, Every, Features, Kind, Layout, Role, Values};
use crate::stage::{Build, Judge, Operator, Stage};
use crate::state::{State, StateSpec};

/// The operator: always the last before the network, whose model or training names the features.
pub struct Inputs {
    /// The network's inputs, in order.
    pub inputs: Vec<InputTensor>,
    /// `gap:` of `infer`.
    pub gap: Option<At<Span>>,
    /// `ttl:` of `infer`.
    pub ttl: Option<At<Span>>,
    /// Where rows are counted that the network can't take; training has none.
    pub metrics: Option<Arc<Metrics>>,
}

impl Inputs {
    /// Of a network with one input, `x`, of these features.
    pub fn of(features: Vec<Input>, gap: Option<At<Span>>, ttl: Option<At<Span>>) -> Inputs {
        let shape = vec![Axis::Time, Axis::Batch, Axis::Fixed(features.len())];
        let tensor = TensorSpec { name: "x".into(), element: Element::Float32, shape };
        Inputs { inputs: vec![InputTensor { tensor, feed: Feed::Columns(features) }], gap, ttl, metrics: None }
    }
}

/// The stage; see the module.
#[derive(Clone)]
struct Prepare {
    inputs: Vec<Fed>,
    judges: Vec<Judge>,
    kept: Kept,
    /// Names of the columns whose past is kept.
    past: Vec<String>,
    /// Names of the columns whose latest vector is kept, with its numbers.
    vectors: Vec<(String, usize)>,
    gap: Option<Every>,
    ttl: Option<Every>,
    clock: Clock,
    restart: Option<usize>,
    /// Whether no stage before makes the rows regular.
    learns: bool,
    metrics: Option<Arc<Metrics>>,
}

/// The state per key besides the rings.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct RowHead {
    /// Rows of the key so far.
    rows: u64,
    /// The latest time of the key.
    last: i64,
    /// Majority vote over the distances of rows (Boyer and Moore 1981): the candidate and its lead.
    interval: i64,
    lead: i64,
    /// Bit 0: after rows that asked for a restart but took no step. The other bits are the key's [`Rhythm`].
    pending: u64,
}

const PENDING: u64 = 1;

impl Operator for Inputs {
    fn word(&self) -> &'static str {
        "inputs"
    }

    /// A model's manifest has a place of its own for them.
    fn canonical(&self, _clock: &Clock) -> Option<Value> {
        None
    }

    /// Resolves the features against the columns before `infer` and adds the internal columns to the layout.
    fn plan(&self, place: Place, layout: &mut Layout, problems: &mut Problems) -> Option<Box<dyn Build>> {
        let (mut kept, mut missing, mut wrong) = (Kept::default(), Missing::default(), Vec::new());
        let planned = |input| Fed::plan(input, layout, &mut kept, &mut missing, &mut wrong);
        let inputs: Vec<Fed> = self.inputs.iter().filter_map(planned).collect();
        let mut fits = inputs.len() == self.inputs.len() && wrong.is_empty();
        wrong.into_iter().for_each(|message| problems.add(place, message));
        let Missing { columns, first } = missing;
        let mut missing: Vec<&str> = Vec::new();
        for column in columns {
            if !missing.contains(&column) {
                missing.push(column);
            }
        }
        // A model of other columns is one problem, however many those are.
        match (first, &missing[..]) {
            (Some(message), [one]) => problems.add(place, format!("the model's input \"{one}\": {message}")),
            (Some(message), all) => {
                problems.add(place, format!("the model's inputs \"{}\": {message}", all.join("\", \"")));
            }
            (None, _) => {}
        }
        let mut span = |span: &Option<At<Span>>, word: &str| {
            span.as_ref().and_then(|span| match layout.clock.every(span.value) {
                Ok(every) => Some(every),
                Err(message) => {
                    problems.add(span.place, format!("{word}: {message}"));
                    fits = false;
                    None
                }
            })
        };
        let (gap, ttl) = (span(&self.gap, "gap"), span(&self.ttl, "ttl"));
        let name = |column: usize| layout.columns[column].name.clone();
        let past = kept.rings.iter().map(|column| name(*column)).collect();
        let vectors = kept.vectors.iter().map(|(column, width)| (name(*column), *width)).collect();
        let mut judges: Vec<Judge> = Vec::new();
        for judge in inputs.iter().flat_map(|input| input.judges(layout)) {
            if !judges.contains(&judge) {
                judges.push(judge);
            }
        }
        let (restart, clock, learns) = (layout.restart, layout.clock.clone(), layout.interval.is_none());
        let mut add = |name: &str, kind: Kind| layout.add(name, kind, Role::Internal);
        // Those beyond the first come last, where `infer` takes them away.
        let mut columns = inputs.iter().zip(&self.inputs).map(|(fed, input)| (&input.tensor.name, fed.kind.clone()));
        let mut features = Features {
            x: columns.next().map(|(name, kind)| add(name, kind)).into_iter().collect(),
            usable: add("usable", Kind::Flag),
            restart: add("restart", Kind::Flag),
            interval: add("interval_ticks", Kind::Integer),
            rhythm: add("rhythm", Kind::Integer),
        };
        features.x.extend(columns.map(|(name, kind)| add(name, kind)));
        layout.features = fits.then_some(features);
        let metrics = self.metrics.clone();
        let prepare = Prepare { inputs, judges, kept, past, vectors, gap, ttl, clock, restart, learns, metrics };
        fits.then(|| Box::new(prepare) as Box<dyn Build>)
    }
}

impl Prepare {
    /// Whether `t` comes too long after `last`.
    fn silent(&self, limit: Option<Every>, last: i64, t: i64) -> bool {
        limit.is_some_and(|limit| self.clock.is_beyond(last, limit, t))
    }
}

impl Stage for Prepare {
    fn name(&self) -> &'static str {
        "inputs"
    }

    /// The [`RowHead`], then the rings, then the vectors.
    fn state(&self) -> StateSpec {
        let header =
            StateSpec::default().u64("rows", 0).i64("last", 0).i64("interval", 0).i64("lead", 0).u64("rhythm", 0);
        let past = |spec: StateSpec, name| spec.f64s(format!("{name}.past"), self.kept.depth, f64::NAN);
        let vector = |spec: StateSpec, (name, width): &(String, usize)| spec.f64s(name, *width, f64::NAN);
        self.vectors.iter().fold(self.past.iter().fold(header, past), vector)
    }

    fn meaning(&self) -> Option<String> {
        let Kept { rings, depth, vectors } = &self.kept;
        let mut meaning = format!("the last {depth} values of columns {rings:?}");
        if !vectors.is_empty() {
            meaning += &format!(" and the latest vectors of {vectors:?}");
        }
        Some(meaning)
    }

    fn judges(&self) -> &[Judge] {
        &self.judges
    }

    fn process(&mut self, batch: &mut Batch, state: &mut State<'_>) -> Result<()> {
        let rows = batch.rows();
        let mut made: Vec<Made> = self.inputs.iter().map(|input| input.room(rows)).collect();
        for (input, made) in self.inputs.iter().zip(&mut made) {
            input.read_texts(batch, made)?;
        }
        let mut usable = vec![true; rows];
        let mut restart = vec![false; rows];
        let mut interval = vec![0_i64; rows];
        let mut known = vec![NOTHING; rows];
        let columns = views(batch);
        let mut beyond_table = 0;
        let keys = state.keys;
        let asked = self.restart.map(|column| &batch.columns[column].values);

        for row in 0..rows {
            let t = batch.times[row];
            let (header, past): (&mut RowHead, &mut [f64]) = state.rows.split_mut(batch.slots[row]);
            let first = header.rows == 0;
            let mut fresh = first || self.silent(self.gap, header.last, t) || self.silent(self.ttl, header.last, t);
            fresh |= matches!(asked, Some(Values::Flag(flags)) if flags[row]);

            let mut beyond = false;
            for (input, made) in self.inputs.iter().zip(&mut made) {
                let key = || keys.map(|keys| keys.get(batch.slots[row]));
                usable[row] &= input.read(&columns, row, &self.kept, (header.rows, past), &key, (made, &mut beyond));
            }
            beyond_table += u64::from(beyond);
            self.kept.keep(&columns, row, header.rows, past);

            if !first && t > header.last {
                let distance = self.clock.distance(header.last, t);
                if self.learns {
                    let mut rhythm = Rhythm::of(&mut header.pending, &self.clock);
                    rhythm.learn(header.last, t, header.interval, distance);
                }
                if header.lead == 0 {
                    (header.interval, header.lead) = (distance, 1);
                } else {
                    header.lead += if header.interval == distance { 1 } else { -1 };
                }
            }
            interval[row] = header.interval;
            if self.learns {
                known[row] = Rhythm::of(&mut header.pending, &self.clock).known(header.interval);
            }

            // A restart at a row that takes no step holds for the next row that does.
            restart[row] = fresh || header.pending & PENDING == PENDING;
            header.pending = header.pending & !PENDING | u64::from(restart[row] && !usable[row]);
            header.rows += 1;
            header.last = if first { t } else { header.last.max(t) };
        }
        if let Some(metrics) = self.metrics.as_ref().filter(|_| beyond_table > 0) {
            metrics.rows_beyond_model.inc_by(beyond_table);
        }
        let mut made = made.into_iter().zip(&self.inputs).map(|(made, input)| made.values(input.width).into());
        batch.columns.extend(made.next());
        batch.columns.push(Values::Flag(usable).into());
        batch.columns.push(Values::Flag(restart).into());
        batch.columns.push(Values::Integer(interval).into());
        batch.columns.push(Values::Integer(known).into());
        batch.columns.extend(made);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Aggregate, Fill, Lags, Resample};
    use crate::stage::testing::{self, Table};

    /// `token` through some stages as an id below 6; gives the judges, and the messages where it can't be planned.
    fn planned(before: &[&dyn Operator], column: &str, table: &Table) -> (Vec<Box<dyn Stage>>, String) {
        let tensor = TensorSpec { name: "token".into(), element: Element::Int64, shape: vec![Axis::Batch] };
        let feed = Feed::Ids { column: column.into(), below: 6 };
        let metrics = Some(Arc::new(Metrics::new().unwrap()));
        let inputs = Inputs { inputs: vec![InputTensor { tensor, feed }], gap: None, ttl: None, metrics };
        let (mut layout, mut problems) = (table.layout(), Problems::new("p.yaml"));
        let operators = before.iter().copied().chain([&inputs as &dyn Operator]);
        let stages = operators.filter_map(|operator| testing::plan(operator, &mut layout, &mut problems)).collect();
        (stages, problems.finish(()).err().map(|error| error.to_string()).unwrap_or_default())
    }

    #[test]
    fn an_id_is_judged_where_its_record_comes_in_however_it_reaches_the_network() {
        let table = Table::new(&["token"]);
        let lags = Lags { columns: vec![(At::default_value("token".into()), vec![2])] };
        let lagged = planned(&[&lags], "token_lag_2", &table).0;
        let judge = Judge { column: "token".into(), least: 0.0, most: 5.0, is_id: true };
        assert_eq!(lagged[1].judges(), std::slice::from_ref(&judge));
        assert_eq!(planned(&[], "token", &table).0[0].judges(), std::slice::from_ref(&judge));
        let resample = |aggregate, fill| Resample {
            every: At::default_value(Span::Nanos(10_000_000_000)),
            aggregate,
            fill: At::default_value(fill),
            max_gap: None,
            delay: At::default_value(Span::Nanos(0)),
            timezone: None,
        };
        let last = resample(Aggregate::Last, Fill::Last);
        assert_eq!(planned(&[&last], "token", &table).0[1].judges(), [judge]);
        for mixed in [resample(Aggregate::Mean, Fill::Last), resample(Aggregate::Last, Fill::Linear)] {
            let refused = planned(&[&mixed], "token", &table).1;
            assert!(refused.contains("\"token\" is an id, which `resample` would change"), "{refused}");
        }
        // What is computed has no record to refuse.
        let count = resample(Aggregate::Count, Fill::Zero);
        assert!(planned(&[&count], "token", &table).0[1].judges().is_empty());
    }

    #[test]
    fn rows_that_the_network_cannot_take_are_counted() {
        let metrics = Arc::new(Metrics::new().unwrap());
        let tensor = TensorSpec { name: "n".into(), element: Element::Int32, shape: vec![Axis::Batch] };
        let feed = Feed::Columns(vec![Input::now("n")]);
        let inputs =
            Inputs { inputs: vec![InputTensor { tensor, feed }], gap: None, ttl: None, metrics: Some(metrics.clone()) };
        let mut table = Table::new(&["n"]);
        for (time, value) in [1.0, 0.5, f64::NAN, 3e9, 7.0].into_iter().enumerate() {
            table.push(0, time as i64, &[value]);
        }
        let mut layout = table.layout();
        let mut problems = Problems::new("p.yaml");
        let mut stages = vec![testing::plan(&inputs, &mut layout, &mut problems).unwrap()];
        problems.finish(()).unwrap();
        let out = testing::run(&mut stages, &table.batch(), &[]);
        let usable = &out.columns[layout.features.unwrap().usable].values;
        assert!(matches!(usable, Values::Flag(flags) if *flags == [true, false, false, false, true]), "{usable:?}");
        assert_eq!(metrics.rows_beyond_model.get(), 2);
    }
}
