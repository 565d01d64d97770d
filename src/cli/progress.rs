//! Progress bars: on a terminal only, to stderr.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar over records: count, rate, time left.
pub fn records(total: u64) -> ProgressBar {
    bar(total, "{elapsed_precise} {wide_bar} {human_pos}/{human_len} records  {per_sec}  {eta} left")
}

/// A bar over epochs or updates, with a message.
pub fn steps(total: u64) -> ProgressBar {
    bar(total, "{elapsed_precise} {wide_bar} {pos}/{len}  {msg}  {eta} left")
}

/// A terminal that gets JSON has no bars in between.
fn on_terminal(bar: ProgressBar) -> ProgressBar {
    if super::messages::is_json() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    bar
}

fn bar(total: u64, template: &str) -> ProgressBar {
    shown(ProgressBar::new(total), template)
}

fn shown(bar: ProgressBar, template: &str) -> ProgressBar {
    let bar = on_terminal(bar);
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}

/// Records of a source without an end.
pub fn endless() -> ProgressBar {
    shown(ProgressBar::new_spinner(), "{elapsed_precise} {spinner} {human_pos} records  {per_sec}")
}

/// What is being done, one after the other.
pub fn doing() -> ProgressBar {
    shown(ProgressBar::new_spinner(), "{elapsed_precise} {spinner} {msg}")
}
