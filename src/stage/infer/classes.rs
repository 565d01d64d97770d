//! The probabilities of classes as columns: the most probable class, how probable it is, and of those classes that
//! somebody names, how probable each is. Must not live here: which classes there are (the model's manifest).

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use arrow::datatypes::DataType;

use crate::record::{Column, Kind, Layout, Role, Values};

/// The columns that an output with classes becomes.
#[derive(Debug, Clone)]
pub(super) struct Classes {
    names: Arc<[String]>,
    /// Those that have a column of their own.
    shown: Vec<usize>,
}

/// Name of the column with the most probable class' probability, beside that of the class.
pub(super) fn probability(column: &str) -> String {
    format!("{column}_probability")
}

/// Name of the column with a class' probability.
pub(super) fn of_class(column: &str, class: &str) -> String {
    format!("{column}_{class}")
}

impl Classes {
    /// Adds the columns of an output to a layout; `wanted` are the names of columns that somebody asks for.
    pub(super) fn add(names: &[String], column: &str, wanted: &[String], layout: &mut Layout) -> Classes {
        layout.add(column, Kind::Passthrough(DataType::Utf8), Role::Output);
        layout.add(probability(column), Kind::Vector(1), Role::Output);
        let is_shown = |class: &usize| wanted.contains(&of_class(column, &names[*class]));
        let shown: Vec<usize> = (0..names.len()).filter(is_shown).collect();
        for class in &shown {
            layout.add(of_class(column, &names[*class]), Kind::Vector(1), Role::Feature);
        }
        Classes { names: names.into(), shown }
    }

    /// The columns of rows of probabilities, NaN where there are none.
    pub(super) fn columns(&self, probabilities: &[f32]) -> Vec<Column> {
        let rows = || probabilities.chunks_exact(self.names.len().max(1));
        // Of equal ones the first.
        let best = |row: &[f32]| {
            let start = (0, *row.first()?);
            let best = row.iter().enumerate().fold(start, |best, (n, p)| if *p > best.1 { (n, *p) } else { best });
            (!best.1.is_nan()).then_some(best)
        };
        let best: Vec<Option<(usize, f32)>> = rows().map(best).collect();
        let class: ArrayRef =
            Arc::new(best.iter().map(|best| best.map(|(n, _)| self.names[n].as_str())).collect::<StringArray>());
        let probability = best.iter().map(|best| best.map_or(f32::NAN, |(_, p)| p)).collect();
        let of_class = |class: &usize| Values::Vector(rows().map(|row| row[*class]).collect(), 1);
        let two = [Values::Passthrough(class), Values::Vector(probability, 1)];
        two.into_iter().chain(self.shown.iter().map(of_class)).map(Column::from).collect()
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray};

    use super::*;
    use crate::record::{Clock, KeyType};

    #[test]
    fn the_most_probable_class_and_those_that_are_named() {
        let names = ["no", "yes", "maybe"].map(String::from);
        let mut layout = Layout::new("key", KeyType::Utf8, "time", Clock::default());
        let wanted = ["prediction_maybe".to_string(), "prediction_other".to_string()];
        let classes = Classes::add(&names, "prediction", &wanted, &mut layout);
        let made: Vec<_> = layout.columns.iter().map(|column| (column.name.as_str(), column.role)).collect();
        let expected = [
            ("prediction", Role::Output),
            ("prediction_probability", Role::Output),
            ("prediction_maybe", Role::Feature),
        ];
        assert_eq!(made, expected);
        let nan = f32::NAN;
        let columns = classes.columns(&[0.2, 0.7, 0.1, 0.4, 0.2, 0.4, nan, nan, nan]);
        let Values::Passthrough(class) = &columns[0].values else { panic!("{:?}", columns[0]) };
        let class = class.as_string::<i32>();
        assert_eq!((class.value(0), class.value(1), class.is_null(2)), ("yes", "no", true));
        let numbers = |column: &Column| match &column.values {
            Values::Vector(values, 1) => values.iter().map(|value| value.to_bits()).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
        assert_eq!(numbers(&columns[1]), [0.7, 0.4, nan].map(f32::to_bits));
        assert_eq!(numbers(&columns[2]), [0.1, 0.4, nan].map(f32::to_bits));
    }
}
