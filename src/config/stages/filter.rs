//! `filter: { where }`

use super::Options;
use crate::config::At;
use crate::config::read::{Field, Reader};
use crate::config::table::{Shape, word};
use crate::config::words::Words;

/// `filter: { where: "value > 0" }`
#[derive(Debug, Clone)]
pub struct Filter {
    /// The expression, unparsed: its columns are known only to the stage.
    pub predicate: At<String>,
}

impl Options for Filter {
    const ABOUT: &'static str = "Keeps the rows for which a condition is true";
    const WORDS: Words = Words::new(
        "`filter`",
        &[word("where", Shape::Text, "The condition, such as value > 0 and kind = 'a'").needed()],
    );

    fn read(reader: &mut Reader, field: Field<'_>) -> Option<Self> {
        let fields = reader.section(field, &Self::WORDS)?;
        let predicate = reader.need(&fields, "where")?;
        Some(Filter { predicate: reader.text(predicate, "a condition such as \"value > 0\"")? })
    }
}
