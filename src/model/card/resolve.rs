//! A card beside its file: every tensor that either of them names, with both sides shown where they differ.
//!
//! What the file declares may be open or wrong, so sizes that the card gives count where the file has none, and a run
//! has the last word (`model::import`).

use std::collections::BTreeMap;

use super::shape::{Around, of_input, of_output, of_state};
use crate::Result;
use crate::config::{Card, CardFeed, CardForecast, CardInput, CardOutput, CardState, Init, Layout, OutputStep};
use crate::error::{Problems, did_you_mean};
use crate::model::import::npy;
use crate::model::onnx::copies;
use crate::model::onnx::declared::{self, Declared};
use crate::model::onnx::proto::GraphProto;
use crate::model::onnx::wiring::Wiring;
use crate::network::{Ahead, Axis, Element, Feed, Initial, Input, InputTensor, StateTensor, TensorSpec, taken};
use crate::problem::Place;

/// A card that fits its file, as far as that can be told without a run.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// Inputs, in the order of the card.
    pub inputs: Vec<InputTensor>,
    /// States, in the order of the card.
    pub states: Vec<StateTensor>,
    /// Outputs, in the order of the card.
    pub outputs: Vec<ResolvedOutput>,
    /// Inputs that are always the same.
    pub constants: Vec<Constant>,
    /// Files with initial states, by the names that the version gives them.
    pub files: BTreeMap<String, Vec<u8>>,
    /// What is lost where the graph's types differ from the columns'.
    pub warnings: Vec<String>,
}

impl Resolved {
    /// The tensors that a run takes: inputs, then states.
    pub(in crate::model) fn taken(&self) -> Vec<TensorSpec> {
        taken(&self.inputs, &self.states)
    }
}

/// An output of which only a run can tell the axes.
#[derive(Debug, Clone)]
pub struct ResolvedOutput {
    /// Its name in the graph.
    pub name: String,
    /// The output that it is a copy of: one that is carried as a state as well.
    pub copies: Option<String>,
    /// Its type.
    pub element: Element,
    /// Its axes, where the card says them.
    pub shape: Option<Vec<Axis>>,
    /// Its column.
    pub column: String,
    /// Whether only the last step counts.
    pub last: bool,
    /// Set where it is a forecast.
    pub forecast: Option<Ahead>,
    /// Its place in the card.
    pub place: Place,
}

/// An input that becomes an initialiser.
#[derive(Debug, Clone)]
pub struct Constant {
    /// Its name in the graph.
    pub name: String,
    /// Its values.
    pub values: Vec<f64>,
    /// Their place in the card.
    pub place: Place,
}

/// How wide a column is, where that is known: 1 for a number.
pub type Width<'a> = &'a dyn Fn(&str) -> Option<usize>;

/// Compares a card with the graph of its file.
///
/// # Errors
/// Every difference, with its place in the card.
pub fn resolve(card: &Card, graph: &GraphProto, width: Width<'_>) -> Result<Resolved> {
    let mut resolver = Resolver {
        card,
        graph,
        wiring: Wiring::new(graph),
        inputs: declared::inputs(graph),
        outputs: declared::outputs(graph),
        problems: Problems::new(&card.file),
        resolved: Resolved {
            inputs: Vec::new(),
            states: Vec::new(),
            outputs: Vec::new(),
            constants: Vec::new(),
            files: BTreeMap::new(),
            warnings: Vec::new(),
        },
    };
    card.inputs.iter().for_each(|input| resolver.input(input, width));
    card.states.iter().for_each(|state| resolver.state(state));
    resolver.outputs();
    resolver.missing();
    let fixed = resolver.resolved.taken();
    let wide = fixed.iter().filter_map(|tensor| tensor.check().err());
    wide.for_each(|error| resolver.problems.add(card.onnx.place, error));
    resolver.problems.finish(resolver.resolved)
}

struct Resolver<'a> {
    card: &'a Card,
    graph: &'a GraphProto,
    wiring: Wiring<'a>,
    inputs: Vec<Declared>,
    outputs: Vec<Declared>,
    problems: Problems,
    resolved: Resolved,
}

impl Resolver<'_> {
    fn around(&self) -> Around {
        Around { layout: self.card.layout.value, window: self.card.window.as_ref().map(|window| window.value) }
    }

    /// A tensor of the graph by the name that the card gives, with its type.
    fn find(&mut self, what: &str, name: &str, place: Place) -> Option<(Declared, Element)> {
        let list = if what == "input" { &self.inputs } else { &self.outputs };
        let Some(found) = list.iter().find(|tensor| tensor.name == name).cloned() else {
            let names: Vec<&str> = list.iter().map(|tensor| tensor.name.as_str()).collect();
            let near = did_you_mean(name, names.iter().copied());
            self.problems
                .add(place, format!("the graph has no {what} \"{name}\"{near} (there are: {})", names.join(", ")));
            return None;
        };
        let Some(element) = found.element() else {
            self.problems
                .add(place, format!("{what} \"{name}\" is {found} in the graph; kolk has {}", declared::ELEMENTS));
            return None;
        };
        Some((found, element))
    }

    fn input(&mut self, input: &CardInput, width: Width<'_>) {
        let place = input.name.place;
        let Some((found, element)) = self.find("input", &input.name, place) else { return };
        if let CardFeed::Constant(values) = &input.feed {
            let constant = Constant { name: found.name, values: values.value.clone(), place: values.place };
            self.resolved.constants.push(constant);
            return;
        }
        let columns = match &input.feed {
            CardFeed::Columns(columns) => columns.iter().map(|column| width(column)).sum::<Option<usize>>(),
            CardFeed::PerKey(column) => width(column),
            CardFeed::Ids(..) | CardFeed::Constant(_) => Some(1),
        };
        let per_key = matches!(input.feed, CardFeed::PerKey(_));
        let written = input.shape.as_ref().map(|shape| &shape.value[..]);
        let shape = match of_input(&self.around(), &found, written, per_key, columns) {
            Ok(shape) => shape,
            Err(message) => {
                let place = input.shape.as_ref().map_or(place, |shape| shape.place);
                return self.problems.add(place, format!("input \"{}\": {message}", input.name.value));
            }
        };
        let tensor = TensorSpec { name: found.name.clone(), element, shape };
        if let Some(columns) = columns.filter(|columns| *columns != tensor.width()) {
            self.problems.add(
                place,
                format!(
                    "input \"{}\" takes {} numbers a row ({}), its columns have {columns}",
                    input.name.value,
                    tensor.width(),
                    tensor.describe()
                ),
            );
        }
        let feed = match &input.feed {
            CardFeed::Ids(column, below) => {
                if !matches!(element, Element::Int64 | Element::Int32) {
                    self.problems
                        .add(place, format!("input \"{}\" is {found} in the graph; ids are whole", input.name.value));
                }
                if let Some(rows) = self.wiring.table(&input.name).filter(|rows| (*rows as u64) < below.value) {
                    let message = format!(
                        "`below` is {}, the table that input \"{}\" is looked up in has {rows} rows",
                        below.value, input.name.value
                    );
                    self.problems.add(below.place, message);
                }
                Feed::Ids { column: column.value.clone(), below: below.value }
            }
            CardFeed::PerKey(column) => Feed::PerKey(column.value.clone()),
            CardFeed::Columns(columns) => {
                if matches!(element, Element::Int64 | Element::Int32 | Element::Bool | Element::Float16) {
                    self.resolved.warnings.push(format!(
                        "input \"{}\" is {}: numbers of columns lose what {} can't hold",
                        input.name.value,
                        element.word(),
                        element.word()
                    ));
                }
                let input = |column: &crate::config::At<String>| Input::now(column.value.clone());
                Feed::Columns(columns.iter().map(input).collect())
            }
            CardFeed::Constant(_) => return,
        };
        self.resolved.inputs.push(InputTensor { tensor, feed });
    }

    fn state(&mut self, state: &CardState) {
        let place = state.name.place;
        let found = self.find("input", &state.name, place);
        let out = self.find("output", &state.out, state.out.place);
        let (Some((found, element)), Some((out, out_element))) = (found, out) else { return };
        let (name, out_name) = (&state.name.value, &state.out.value);
        if element != out_element {
            let both = format!("state \"{name}\" is {found} in the graph, its `out` \"{out_name}\" is {out}");
            return self.problems.add(state.out.place, both);
        }
        if self.card.inputs.iter().any(|input| input.name.value == *name) {
            return self.problems.add(place, format!("\"{name}\" is in `inputs` too: it is one or the other"));
        }
        if let Some(other) = self.resolved.states.iter().find(|other| other.out == *out_name) {
            let other = other.tensor.name.clone();
            return self.problems.add(state.out.place, format!("\"{out_name}\" is the `out` of \"{other}\" already"));
        }
        if let Some(operator) = self.wiring.backwards(name) {
            let message = format!(
                "state \"{name}\" begins {operator}, which also runs from the last step to the first: a stream has no last \
                 step; serve it as `layout: window`, without states"
            );
            return self.problems.add(place, message);
        }
        let written = state.shape.as_ref().map(|shape| &shape.value[..]);
        let shape = match of_state(&found, written) {
            Ok(shape) => shape,
            Err(message) => {
                let place = state.shape.as_ref().map_or(place, |shape| shape.place);
                return self.problems.add(place, format!("state \"{name}\": {message}"));
            }
        };
        let tensor = TensorSpec { name: found.name, element, shape };
        let initial = match &state.init.value {
            Init::Number(0.0) => Initial::Zero,
            Init::Number(number) if !element.holds(*number) => {
                let message = format!("state \"{name}\" is {}, which can't be {number:?}", tensor.describe());
                return self.problems.add(state.init.place, message);
            }
            Init::Number(number) => Initial::Number(*number),
            Init::File(path) => match npy::state(path, &tensor) {
                Ok(bytes) => {
                    let name = format!("initial_{}.bin", self.resolved.files.len());
                    self.resolved.files.insert(name.clone(), bytes);
                    Initial::File(name)
                }
                Err(message) => {
                    return self
                        .problems
                        .add(state.init.place, format!("state \"{name}\": {}: {message}", path.display()));
                }
            },
        };
        self.resolved.states.push(StateTensor { tensor, out: out.name, initial });
    }

    fn outputs(&mut self) {
        for (n, output) in self.card.outputs.iter().enumerate() {
            let Some((_, element)) = self.find("output", &output.name, output.name.place) else { continue };
            let name = &output.name.value;
            let is_carried = self.card.states.iter().any(|state| state.out.value == *name);
            let copies = is_carried.then(|| name.clone());
            let column = &output.column;
            if self.card.outputs[..n].iter().any(|other| other.column.value == column.value) {
                self.problems.add(column.place, format!("two outputs have the column \"{}\"", column.value));
            }
            let shape = output.shape.as_ref().map(|shape| of_output(&shape.value));
            let ahead = output.forecast.as_ref().map(|forecast| Ahead {
                targets: forecast.targets.iter().map(|target| target.value.clone()).collect(),
                horizon: forecast.horizon.value,
                quantiles: forecast.quantiles.len(),
            });
            let step = output.step.as_ref();
            if let Some(step) =
                step.filter(|step| step.value == OutputStep::Each && self.card.layout.value == Layout::Window)
            {
                self.problems.add(step.place, "a window gives one row: write `step: last`");
            }
            self.resolved.outputs.push(ResolvedOutput {
                name: copies.as_ref().map_or(name.clone(), |name| copies::name(self.graph, name)),
                copies,
                element,
                shape,
                column: column.value.clone(),
                last: step.is_some_and(|step| step.value == OutputStep::Last),
                forecast: ahead,
                place: output.name.place,
            });
        }
        self.forecasts();
        if self.card.outputs.is_empty() && self.problems.is_empty() {
            self.problems.add(self.card.sections[2], "`outputs` is empty: a model without outputs writes nothing");
        }
    }

    /// Outputs that are forecasts have one `prediction_time`, and the manifest one list of quantiles.
    fn forecasts(&mut self) {
        let named = |output: &'_ CardOutput| Some((output.name.value.clone(), output.forecast.clone()?));
        let forecasts: Vec<(String, CardForecast)> = self.card.outputs.iter().filter_map(named).collect();
        let Some((first, ahead)) = forecasts.first() else { return };
        let of = |(name, _): &(String, CardForecast)| format!("output \"{name}\"");
        for other in &forecasts {
            let (found, expected) = (other.1.horizon.value, ahead.horizon.value);
            if found != expected {
                let message = format!(
                    "{} is {found} steps ahead, output \"{first}\" {expected}: there is one `prediction_time`, so \
                     forecasts have one horizon. Without `targets` and `horizon` an output is a column like others",
                    of(other)
                );
                self.problems.add(other.1.horizon.place, message);
            }
        }
        let mut with: Vec<&(String, CardForecast)> = forecasts.iter().collect();
        with.retain(|(_, forecast)| !forecast.quantiles.is_empty());
        for pair in with.windows(2).filter(|pair| pair[0].1.quantiles != pair[1].1.quantiles) {
            let (a, b) = (&pair[0].1.quantiles, &pair[1].1.quantiles);
            let message = format!("{} has the quantiles {b:?}, {} {a:?}: write the same", of(pair[1]), of(pair[0]));
            self.problems.add(pair[1].1.horizon.place, message);
        }
    }

    /// Inputs of the graph that the card doesn't name. Outputs may be left out.
    fn missing(&mut self) {
        for tensor in &self.inputs {
            let name = &tensor.name;
            let named = self.card.inputs.iter().any(|input| input.name.value == *name)
                || self.card.states.iter().any(|state| state.name.value == *name);
            if !named {
                let message = format!(
                    "the graph's input \"{name}\" ({tensor}) is missing: write it under `inputs`, or under `states` if it \
                     is carried"
                );
                self.problems.add(self.card.sections[0], message);
            }
        }
    }
}
