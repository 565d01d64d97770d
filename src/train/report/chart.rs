//! Line charts as SVG text.
//!
//! Lives here: axes, lines, legend and colours. Must not live here: what is drawn.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::error::Context;
use crate::{Error, Result};

/// Size of a chart over time.
pub const WIDE: (u32, u32) = (940, 300);
/// Size of any other chart.
pub const NARROW: (u32, u32) = (940, 280);

/// What came.
pub const TRUTH: RGBColor = RGBColor(31, 41, 55);
/// The model.
pub const MODEL: RGBColor = RGBColor(37, 99, 235);
/// The last value.
pub const LAST: RGBColor = RGBColor(156, 163, 175);
/// The value a season ago.
pub const SEASONAL: RGBColor = RGBColor(217, 119, 6);
const INK: RGBColor = RGBColor(75, 85, 99);
const GRID: RGBColor = RGBColor(229, 231, 235);

/// One line. Points that aren't finite break it.
#[derive(Debug, Clone)]
pub struct Line {
    /// In the legend.
    pub name: String,
    /// Its colour.
    pub color: RGBColor,
    /// Points from left to right.
    pub points: Vec<(f64, f64)>,
    /// Width in pixels.
    pub width: u32,
}

/// A chart.
pub struct Chart<'a> {
    /// Above the plot.
    pub title: String,
    /// Under the x axis.
    pub x_label: String,
    /// Beside the y axis.
    pub y_label: String,
    /// The lines, back to front.
    pub lines: Vec<Line>,
    /// Whether y starts at zero.
    pub from_zero: bool,
    /// Text of a place on the x axis.
    pub x_text: &'a dyn Fn(f64) -> String,
    /// Pixels.
    pub size: (u32, u32),
}

impl Chart<'_> {
    /// The chart as an `<svg>` element; the same bytes for the same lines.
    pub fn svg(&self) -> Result<String> {
        let mut svg = String::new();
        {
            let area = SVGBackend::with_string(&mut svg, self.size).into_drawing_area();
            self.draw(&area).or_failed(|| format!("drawing the chart \"{}\"", self.title))?;
        }
        Ok(svg)
    }

    fn draw(&self, area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>) -> Result<()> {
        let failed = |e: &dyn std::fmt::Display| Error::failed(e);
        area.fill(&WHITE).map_err(|e| failed(&e))?;
        let (x, y) = self.ranges();
        let height = y.end - y.start;
        let font = |size: i32| ("sans-serif", size).into_font().color(&INK);
        area.draw(&Text::new(self.title.clone(), (14, 10), ("sans-serif", 20).into_font().color(&TRUTH)))
            .map_err(|e| failed(&e))?;
        self.legend(area).map_err(|e| failed(&e))?;
        let mut chart = ChartBuilder::on(area)
            .margin_top(58)
            .margin_right(22)
            .margin_bottom(8)
            .margin_left(8)
            .x_label_area_size(50)
            .y_label_area_size(74)
            .build_cartesian_2d(x, y)
            .map_err(|e| failed(&e))?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(GRID)
            .label_style(font(16))
            .axis_desc_style(font(16))
            .x_desc(&self.x_label)
            .y_desc(&self.y_label)
            .x_labels(7)
            .y_labels(6)
            .x_label_formatter(&|x| (self.x_text)(*x))
            .y_label_formatter(&|y| label(*y, height))
            .draw()
            .map_err(|e| failed(&e))?;
        for line in &self.lines {
            for part in line.points.split(|(_, y)| !y.is_finite()).filter(|part| !part.is_empty()) {
                let style = line.color.stroke_width(line.width);
                chart.draw_series(LineSeries::new(part.iter().copied(), style)).map_err(|e| failed(&e))?;
                if let [(x, y)] = part {
                    let dot = Circle::new((*x, *y), line.width, line.color.filled());
                    chart.draw_series(std::iter::once(dot)).map_err(|e| failed(&e))?;
                }
            }
        }
        area.present().map_err(|e| failed(&e))
    }

    /// A row of strokes and names under the title.
    fn legend(
        &self,
        area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    ) -> std::result::Result<(), DrawingAreaErrorKind<std::io::Error>> {
        let mut left = 14;
        for line in &self.lines {
            area.draw(&PathElement::new(
                vec![(left, 43), (left + 22, 43)],
                line.color.stroke_width(line.width.max(2)),
            ))?;
            let style = ("sans-serif", 16).into_font().color(&INK).pos(Pos::new(HPos::Left, VPos::Center));
            area.draw(&Text::new(line.name.clone(), (left + 28, 43), style))?;
            left += 28 + 8 * line.name.chars().count() as i32 + 22;
        }
        Ok(())
    }

    fn ranges(&self) -> (std::ops::Range<f64>, std::ops::Range<f64>) {
        let finite = || self.lines.iter().flat_map(|line| &line.points).filter(|(_, y)| y.is_finite());
        let range = |values: &mut dyn Iterator<Item = f64>| {
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)))
        };
        let (left, right) = range(&mut finite().map(|(x, _)| *x));
        let (low, high) = range(&mut finite().map(|(_, y)| *y));
        let low = if self.from_zero { low.min(0.0) } else { low };
        (widened(left, right, 0.0), widened(low, high, 0.06))
    }
}

/// A range that isn't empty, with a margin.
fn widened(low: f64, high: f64, margin: f64) -> std::ops::Range<f64> {
    if !(low.is_finite() && high.is_finite()) {
        return 0.0..1.0;
    }
    let width = high - low;
    if width <= f64::EPSILON * high.abs().max(low.abs()) {
        let half = if low == 0.0 { 1.0 } else { low.abs() * 0.1 };
        return low - half..high + half;
    }
    let below = if low == 0.0 { 0.0 } else { width * margin };
    low - below..high + width * margin
}

/// A number beside an axis that is `width` long: as many digits as tell neighbouring labels apart.
fn label(value: f64, width: f64) -> String {
    // Zero comes out of sums of steps as a tiny number.
    let value = if value.abs() < width * 1e-9 { 0.0 } else { value };
    if value.abs() >= 1e6 || (value != 0.0 && width < 1e-4) {
        return format!("{value:.1e}");
    }
    let decimals = (1.0 - width.log10().floor()).clamp(0.0, 6.0) as usize;
    format!("{value:.decimals$}")
}

/// A number in few digits, such as a count beside an axis.
pub fn number(value: f64) -> String {
    label(value, 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<(f64, f64)>) -> String {
        let line = Line { name: "a <name>".into(), color: MODEL, points, width: 2 };
        Chart {
            title: "t".into(),
            x_label: "x".into(),
            y_label: "y".into(),
            lines: vec![line],
            from_zero: false,
            x_text: &number,
            size: (600, 240),
        }
        .svg()
        .unwrap()
    }

    #[test]
    fn a_chart_is_drawn_for_any_points() {
        for points in [
            vec![],
            vec![(0.0, 1.0)],
            vec![(0.0, 5.0), (1.0, 5.0)],
            vec![(0.0, f64::NAN), (1.0, f64::NAN)],
            vec![(0.0, 1e-12), (1.0, 3e12)],
            vec![(0.0, 1.0), (1.0, 2.0), (2.0, f64::NAN), (3.0, 4.0), (4.0, 3.0)],
        ] {
            let svg = chart(points.clone());
            assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{points:?}");
            assert!(svg.contains("a &lt;name&gt;") && !svg.contains("NaN"), "{points:?}");
        }
    }

    #[test]
    fn labels_tell_neighbours_apart() {
        assert_eq!([0.0, 5.0, 10.0].map(|v| label(v, 12.0)), ["0", "5", "10"]);
        assert_eq!([1.002, 1.004].map(|v| label(v, 0.02)), ["1.002", "1.004"]);
        assert_eq!([-2.0, 1e-17, 2.0].map(|v| label(v, 5.0)), ["-2.0", "0.0", "2.0"]);
        assert_eq!(label(2.5e7, 1e7), "2.5e7");
        assert_eq!(number(24.0), "24");
    }
}
