//! Random files: random text and random changes of a pipeline.

use proptest::prelude::*;

use super::*;

/// Every problem must point into the file, at a line and at most one column after its end.
fn points_into(text: &str) -> std::result::Result<(), TestCaseError> {
    let Err(Error::Problems(problems)) = parse(text) else { return Ok(()) };
    prop_assert!(!problems.is_empty());
    let lines: Vec<usize> = text.replace("\r\n", "\n").split(['\n', '\r']).map(|line| line.chars().count()).collect();
    for problem in problems {
        let Place { line, column, .. } = problem.place;
        prop_assert!((1..=lines.len()).contains(&line), "{problem}");
        prop_assert!((1..=lines[line - 1] + 1).contains(&column), "{problem}");
        prop_assert!(!problem.message.contains('\n'), "{problem}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_read_or_refused_within_it(
        text in "([a-z]{1,3}|name|source|train|[-:,?&*!|>'\"#%@`{}\\[\\]$~.0-9 é]|\n|\r\n|\n  |: |\\$\\{H\\}|\t){0,40}"
    ) {
        points_into(&text)?;
    }

    #[test]
    fn any_change_of_a_pipeline_is_read_or_refused_within_it(
        start in 0usize..1900,
        cut in 0usize..12,
        put in "([a-z]{1,6}|[-:,?&*!|>'\"#{}\\[\\]~.0-9 ]|\n|\\$\\{NO\\}|null|[0-9]{1,20}){0,3}",
    ) {
        let at = |index: usize| WHOLE.len().min(index);
        let text = format!("{}{put}{}", &WHOLE[..at(start)], &WHOLE[at(start + cut)..]);
        points_into(&text)?;
    }

    #[test]
    fn any_value_anywhere_is_read_or_refused(
        line in 0usize..55,
        value in "[a-z]{0,8}|-?[0-9]{1,25}|[0-9]{1,9}\\.[0-9]{0,3}|\\[[a-z0-9, ]{0,9}\\]|\\{ [a-z]{1,6}: [0-9]{0,4} \\}|~|\"\""
    ) {
        let lines: Vec<String> = WHOLE
            .lines()
            .enumerate()
            .map(|(i, text)| match text.split_once(": ") {
                Some((field, _)) if i == line && !text.trim_start().starts_with('-') => format!("{field}: {value}"),
                _ => text.to_string(),
            })
            .collect();
        points_into(&lines.join("\n"))?;
    }
}
