//! To come.
use super::Stage;
use super::plan::Forecast;
use crate::config::{self, Place, Problems};
use crate::record::Layout;

pub(super) fn plan(
    _config: &config::Score,
    _forecast: &Forecast,
    _layout: &mut Layout,
    place: Place,
    problems: &mut Problems,
) -> Option<Box<dyn Stage>> {
    problems.add(place, "not there yet");
    None
}
