//! What columns a batch has between two stages, known before anything starts.

use arrow::datatypes::DataType;

use super::{Batch, Clock, KeyType, Values};
use crate::config::{NumberType, Span, VectorColumn};
use crate::error::did_you_mean;

/// What a column holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// f64, NaN for null.
    Number,
    /// f32 lists of a fixed width (width 1 is written as a plain float32), NaN for null.
    Vector(usize),
    /// Any number of f32 in each row; null where there are none. Its values are an array ([`Kind::vectors`]).
    Samples,
    /// f64 lists of a fixed width; between stages only.
    Doubles(usize),
    /// Booleans.
    Flag,
    /// Ticks of the pipeline's clock, `NO_TIME` for null.
    Time,
    /// A 64-bit integer, such as `model_version`.
    Integer,
    /// Passthrough through untouched from the source, whatever its type.
    Passthrough(DataType),
}

/// The purpose of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// One of the record's values.
    Value,
    /// Asked for by the sink or the split, passed through.
    Field,
    /// Made by a stage before `infer`, an input of models.
    Feature,
    /// Made by a stage for the reader of the output; always written.
    Output,
    /// Between stages only; never written, never named by a user.
    Internal,
}

/// One column of a [`Layout`].
#[derive(Debug, Clone, PartialEq)]
pub struct LayoutColumn {
    /// Its name in the pipeline file and in the output.
    pub name: String,
    /// What it holds.
    pub kind: Kind,
    /// Its purpose.
    pub role: Role,
    /// Columns with the mean and standard deviation that `infer` scales it by, if a `scale` stage named it.
    pub scaled_by: Option<(usize, usize)>,
    /// Whether these are of its logarithms, [`super::logarithm`].
    pub log: bool,
    /// The column whose earlier values it holds, if a `lags` stage made it.
    pub lag_of: Option<usize>,
    /// The stage that computed its values, where they are no longer those of records, and whether they stay whole.
    pub computed: Option<(&'static str, bool)>,
    /// What the numbers of a vector of the source are written as, where that isn't what they are read as.
    pub number: Option<NumberType>,
}

/// A column that is the same in all rows of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Constant {
    /// The topic's name; here that of the only one.
    Topic(String),
    /// The number of the partition.
    Partition,
}

impl Constant {
    /// The type of the column.
    pub fn data_type(&self) -> DataType {
        match self {
            Constant::Topic(_) => DataType::Utf8,
            Constant::Partition => DataType::Int32,
        }
    }
}

/// What `inputs` makes of each row for the network: the columns of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Features {
    /// A column for each input of the network: [`Kind::Vector`], [`Kind::Doubles`] or, for ids, [`Kind::Integer`].
    pub x: Vec<usize>,
    /// Flag: all features of the row are there, and finite.
    pub usable: usize,
    /// Flag: the state is zero before the row.
    pub restart: usize,
    /// Integer: the usual distance of the key's rows, in ticks; negative: calendar months; 0: unknown.
    pub interval: usize,
    /// Integer: whether that distance counts, and what is known of days of the week (`infer`'s).
    pub rhythm: usize,
}

/// What `infer` predicts, for the stages after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forecast {
    /// Columns that are forecast, as the model's manifest names them.
    pub targets: Vec<String>,
    /// Steps ahead.
    pub horizon: usize,
    /// Quantiles of each step and target; 0 for point forecasts.
    pub quantiles: usize,
    /// The column of predictions: [`Kind::Vector`] of [`Forecast::width`], by step, target and quantile.
    pub column: usize,
}

impl Features {
    /// What `inputs` made of each row: for each input of the network its rows, then whether a row is a step, and
    /// whether the state is the initial one before it.
    ///
    /// # Errors
    /// A batch of another layout.
    pub fn read<'b>(&self, batch: &'b Batch) -> crate::Result<(Vec<&'b Values>, &'b [bool], &'b [bool])> {
        let values = |column: usize| batch.columns.get(column).map(|column| &column.values);
        let inputs: Option<Vec<&Values>> = self.x.iter().map(|column| values(*column)).collect();
        match (inputs, values(self.usable), values(self.restart)) {
            (Some(inputs), Some(Values::Flag(usable)), Some(Values::Flag(restart))) => Ok((inputs, usable, restart)),
            _ => Err(crate::Error::failed(
                "the columns before the network are not those of inputs: internal error, please report",
            )),
        }
    }
}

impl Forecast {
    /// Numbers of a prediction.
    pub fn width(&self) -> usize {
        self.horizon * self.targets.len() * self.quantiles.max(1)
    }
}

/// The shape of every batch at one place of the pipeline.
#[derive(Debug, Clone, PartialEq)]
pub struct Layout {
    /// Name of the key column in the output.
    pub key_name: String,
    /// Its type.
    pub key_type: KeyType,
    /// Whether the whole source is one series, whose key is the empty text and no column of the source.
    pub is_one_series: bool,
    /// Name of the time column.
    pub time_name: String,
    /// Unit of time.
    pub clock: Clock,
    /// Distance of two rows of a key where a stage guarantees it (`resample`).
    pub interval: Option<Span>,
    /// Columns, in the order of [`super::Batch::columns`].
    pub columns: Vec<LayoutColumn>,
    /// Columns that no batch has, because whoever writes its rows knows them: any stage may come before.
    pub constants: Vec<(String, Constant)>,
    /// Flag of the rows at which `on.null: reset` starts a key's sequence again; after `sequence` that of all rows that
    /// begin one.
    pub restart: Option<usize>,
    /// Flag of the rows that end a sequence, after `sequence`.
    pub ends: Option<usize>,
    /// What the network reads, after `inputs`.
    pub features: Option<Features>,
    /// What of the network's answer is about times ahead, after `infer`: all of one horizon.
    pub forecasts: Vec<Forecast>,
}

impl Layout {
    /// Key and time alone.
    pub fn new(key_name: impl Into<String>, key_type: KeyType, time_name: impl Into<String>, clock: Clock) -> Layout {
        Layout {
            key_name: key_name.into(),
            key_type,
            is_one_series: false,
            time_name: time_name.into(),
            clock,
            interval: None,
            columns: Vec::new(),
            constants: Vec::new(),
            restart: None,
            ends: None,
            features: None,
            forecasts: Vec::new(),
        }
    }

    /// Index of a column.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name && column.role != Role::Internal)
    }

    /// Index of a numeric column, or the message for the user.
    pub fn number(&self, name: &str) -> Result<usize, String> {
        let index = self.find(name).ok_or_else(|| self.unknown(name))?;
        match &self.columns[index].kind {
            Kind::Number => Ok(index),
            other => Err(format!("column \"{name}\" is not numeric here: {other:?}")),
        }
    }

    /// Adds a column and returns its index.
    pub fn add(&mut self, name: impl Into<String>, kind: Kind, role: Role) -> usize {
        let name = name.into();
        let (scaled_by, lag_of, computed, number) = (None, None, None, None);
        self.columns.push(LayoutColumn { name, kind, role, scaled_by, log: false, lag_of, computed, number });
        self.columns.len() - 1
    }

    /// Adds the record's vector columns.
    pub fn add_vectors(&mut self, vectors: &[VectorColumn]) {
        for column in vectors {
            let at = self.add(column.name.value.clone(), column.kind(), Role::Value);
            self.columns[at].number = column.number;
        }
    }

    /// "there is no column …", with the columns there are and the nearest one.
    pub fn unknown(&self, name: &str) -> String {
        let names: Vec<&str> = self.names().collect();
        format!(
            "there is no column \"{name}\" here (there are: {}){}",
            names.join(", "),
            did_you_mean(name, names.iter().copied())
        )
    }

    /// Names a user can write, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().filter(|c| c.role != Role::Internal).map(|c| c.name.as_str())
    }

    /// What a constant column is, if there is one of this name.
    pub fn constant(&self, name: &str) -> Option<&Constant> {
        self.constants.iter().find(|(constant, _)| constant == name).map(|(_, of)| of)
    }
}
