//! A second name for an output: what is carried as a state can be a column too, and a run gives each name once.

use super::proto::{GraphProto, NodeProto, ValueInfoProto};

/// A name for a copy of an output that nothing in the graph has.
pub fn name(graph: &GraphProto, output: &str) -> String {
    let nodes = graph.node.iter().flat_map(|node| node.output.iter().map(String::as_str));
    let others = graph.input.iter().chain(&graph.output).map(ValueInfoProto::name);
    let taken: Vec<&str> = nodes.chain(others).chain(graph.initializer.iter().map(|tensor| tensor.name())).collect();
    let mut name = format!("{output}_column");
    while taken.contains(&name.as_str()) {
        name.push('_');
    }
    name
}

/// Gives what `output` gives as `copy`, too.
pub fn copy(graph: &mut GraphProto, output: &str, copy: &str) {
    let Some(info) = graph.output.iter().find(|info| info.name() == output).cloned() else { return };
    graph.node.push(NodeProto {
        name: Some(copy.to_owned()),
        op_type: Some("Identity".into()),
        input: vec![output.to_owned()],
        output: vec![copy.to_owned()],
        ..Default::default()
    });
    graph.output.push(ValueInfoProto { name: Some(copy.to_owned()), ..info });
}
