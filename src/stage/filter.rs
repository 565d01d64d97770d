//! To come.
use super::Stage;
use crate::config::{self, Problems};
use crate::record::Layout;

pub(super) fn columns(_predicate: &str) -> Vec<String> {
    Vec::new()
}

pub(super) fn plan(config: &config::Filter, _layout: &mut Layout, problems: &mut Problems) -> Option<Box<dyn Stage>> {
    problems.add(config.predicate.place, "not there yet");
    None
}
