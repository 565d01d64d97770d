//! Names that exporters and people give to a state that goes in and the one that comes out.
//! Must not live here: shapes and wires (`propose`).

/// What is added to a state's name where it goes in, and where it comes out.
const IN: [&str; 12] = ["in", "input", "prev", "previous", "past", "old", "init", "initial", "0", "cur", "t", "last"];
const OUT: [&str; 15] =
    ["out", "output", "next", "new", "present", "final", "last", "updated", "cur", "t1", "n", "1", "o", "plus1", "nxt"];

/// The longest stem that the name of an input and that of an output share, once what marks them is taken away; `None`
/// where the names say nothing.
pub(super) fn common(input: &str, output: &str) -> Option<usize> {
    let (inputs, outputs) = (stems(input, &IN), stems(output, &OUT));
    inputs.iter().filter(|stem| outputs.contains(stem)).map(String::len).max()
}

/// A name, and what is left of it without its marks, in lower case.
fn stems(name: &str, marks: &[&str]) -> Vec<String> {
    let mut name = name.split(':').next().unwrap_or(name).to_owned();
    // `hN`, `stateN`: the mark is a capital letter at the end of small ones.
    if name.ends_with('N') && name.len() > 1 && name[..name.len() - 1].ends_with(|c: char| !c.is_uppercase()) {
        name.insert(name.len() - 1, '_');
    }
    let name = name.to_lowercase().replace(['.', '/', '-'], "_");
    let mut found = vec![name.trim_matches('_').to_owned()];
    let mut next = 0;
    while let Some(stem) = found.get(next).cloned() {
        next += 1;
        for mark in marks {
            let before = stem.strip_prefix(mark).and_then(|rest| rest.strip_prefix('_'));
            let after = stem.strip_suffix(mark);
            // Short marks need a boundary, but `h0` and `hn`, as PyTorch has them.
            let after = after.filter(|rest| mark.len() > 2 || rest.ends_with('_') || rest.len() <= 2 || *mark == "0");
            for rest in [before, after].into_iter().flatten().map(|rest| rest.trim_matches('_')) {
                if !rest.is_empty() && !found.iter().any(|other| other == rest) {
                    found.push(rest.to_owned());
                }
            }
        }
    }
    found
}

/// Whether a name is one that is usually given to data, not to a state.
pub(super) fn is_data(name: &str) -> bool {
    let name = name.to_lowercase();
    matches!(
        name.as_str(),
        "x" | "y" | "u" | "data" | "features" | "feature" | "frame" | "samples" | "audio" | "logits"
    ) || ["input", "output", "pred", "score", "prob", "mask", "label", "logit"]
        .iter()
        .any(|word| name.starts_with(word) && !is_state(&name))
}

/// Whether a name is one that is usually given to a state.
pub(super) fn is_state(name: &str) -> bool {
    let name = name.to_lowercase();
    let words = ["state", "hidden", "cell", "memory", "cache", "carry", "past", "context", "buffer"];
    words.iter().any(|word| name.contains(word))
        || matches!(name.split(['_', '.']).next().unwrap_or_default(), "h" | "c" | "h0" | "c0" | "hx" | "cx")
}

/// Whether the name of an axis is one of those that are usually given to time.
pub(super) fn is_time(name: &str) -> bool {
    let name = name.to_lowercase();
    let words = ["time", "seq", "step", "frames", "length", "window"];
    words.iter().any(|word| name.contains(word)) || matches!(name.as_str(), "t" | "l")
}

/// Whether the name of an axis is one of those that are usually given to the batch.
pub(super) fn is_batch(name: &str) -> bool {
    let name = name.to_lowercase();
    name.contains("batch") || matches!(name.as_str(), "n" | "b" | "bs" | "bsz")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_paired_by_what_their_names_share() {
        for (input, output) in [
            ("h_0", "h_0_out"),
            ("state", "stateN"),
            ("h0", "hN"),
            ("h0", "hn"),
            ("h", "hn"),
            ("c", "cn"),
            ("past_state", "present_state"),
            ("past_key_values.0.key", "present_key_values.0.key"),
            ("hidden_in", "hidden_out"),
            ("h_in", "h_out"),
            ("initial_h", "final_h"),
            ("state", "new_state"),
            ("state", "next_state"),
            ("input_state", "output_state"),
            ("lstm_state_h", "lstm_state_h_1"),
            ("hidden", "hidden.1"),
            ("state_prev", "state_next"),
            ("h", "h_new"),
        ] {
            assert!(
                common(input, output).is_some(),
                "{input} {output}: {:?} {:?}",
                stems(input, &IN),
                stems(output, &OUT)
            );
        }
        assert!(common("h_1", "h_1_out") > common("h_1", "h_0_out"));
        for (input, output) in [("h", "cn"), ("a", "p"), ("x", "y"), ("state_a", "stateN_b")] {
            assert_eq!(common(input, output), None, "{input} {output}");
        }
    }
}
