//! Plots as parts of a page: paths in a square of 1000 by 300 that is stretched to whatever width there is, with
//! ticks and labels as text beside it, which is not.

use serde::Serialize;

/// Width and height of the coordinates.
const SIZE: (f64, f64) = (1000.0, 300.0);

/// A plot.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Plot {
    /// What it shows, for those who do not see it.
    pub label: String,
    /// What is on each axis.
    pub x_name: String,
    pub y_name: String,
    pub shapes: Vec<Shape>,
    /// Lines from top to bottom, with their names.
    pub marks: Vec<Mark>,
    pub x_ticks: Vec<Tick>,
    pub y_ticks: Vec<Tick>,
    /// What is to be known of it.
    pub caption: String,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Shape {
    /// A path of SVG.
    pub path: String,
    /// `area`, `line`, `trend` or `dots`.
    pub class: &'static str,
}

/// Places are in percent, from the left or from the bottom.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Tick {
    pub at: f64,
    pub text: String,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Mark {
    pub at: f64,
    pub text: String,
    /// Which of several lines of text its name is in: names that are close do not lie on each other.
    pub row: usize,
    /// Whether its name stands on the left of the line.
    pub is_left: bool,
}

/// An axis from the least to the greatest value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Axis {
    pub low: f64,
    pub high: f64,
    pub is_log: bool,
}

impl Axis {
    /// Linear; where both ends are the same, a little around them.
    pub fn new(low: f64, high: f64) -> Axis {
        let room = if high > low { 0.0 } else { low.abs().max(1e-9) * 0.05 };
        Axis { low: low - room, high: high + room, is_log: false }
    }

    /// Logarithmic where the ends are far apart and positive.
    pub fn spanning(low: f64, high: f64) -> Axis {
        const FAR: f64 = 6.0;
        let axis = Axis::new(low, high);
        Axis { is_log: axis.low > 0.0 && axis.high / axis.low > FAR, ..axis }
    }

    /// From 0 at the low end to 1 at the high one.
    pub fn share(&self, value: f64) -> f64 {
        let scale = |value: f64| if self.is_log { value.max(f64::MIN_POSITIVE).ln() } else { value };
        let (low, high) = (scale(self.low), scale(self.high));
        ((scale(value) - low) / (high - low)).clamp(0.0, 1.0)
    }

    /// The value at a share.
    pub fn value(&self, share: f64) -> f64 {
        match self.is_log {
            true => self.low * (self.high / self.low).powf(share),
            false => self.low + (self.high - self.low) * share,
        }
    }

    /// About `count` round numbers on it.
    pub fn ticks(&self, count: usize) -> Vec<Tick> {
        let values = if self.is_log { self.log_values() } else { self.linear_values(count) };
        values.into_iter().map(|value| Tick { at: 100.0 * self.share(value), text: number(value) }).collect()
    }

    fn linear_values(&self, count: usize) -> Vec<f64> {
        let rough = (self.high - self.low) / count.max(1) as f64;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|step| step * power).find(|&step| step >= rough);
        let step = step.unwrap_or(rough);
        let first = (self.low / step).ceil() as i64;
        let last = (self.high / step + 1e-9).floor() as i64;
        (first..=last.min(first + 50)).map(|index| index as f64 * step).collect()
    }

    fn log_values(&self) -> Vec<f64> {
        let decades = (self.low.log10().floor() as i32)..=(self.high.log10().ceil() as i32);
        // Over many decades their beginnings are enough.
        let steps: &[f64] = match self.high / self.low {
            ..20.0 => &[1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0],
            20.0..200.0 => &[1.0, 2.0, 5.0],
            _ => &[1.0],
        };
        let values = decades.flat_map(|decade| steps.iter().map(move |step| step * 10f64.powi(decade)));
        values.filter(|value| (self.low..=self.high).contains(value)).collect()
    }
}

/// As short as it can be said: `0.25`, `1500`.
fn number(value: f64) -> String {
    let rounded = format!("{value:.6}");
    let text = rounded.trim_end_matches('0').trim_end_matches('.');
    if text.is_empty() || text == "-0" { "0".into() } else { text.into() }
}

/// Two axes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub x: Axis,
    pub y: Axis,
}

impl Frame {
    fn point(&self, (x, y): (f64, f64)) -> String {
        format!("{:.1} {:.1}", SIZE.0 * self.x.share(x), SIZE.1 * (1.0 - self.y.share(y)))
    }

    /// From point to point.
    pub fn line(&self, points: &[(f64, f64)], class: &'static str) -> Shape {
        let points: Vec<String> = points.iter().map(|&point| self.point(point)).collect();
        Shape { path: format!("M{}", points.join("L")), class }
    }

    /// A dot at each point: a line of no length with round ends.
    pub fn dots(&self, points: &[(f64, f64)]) -> Shape {
        let dots: String = points.iter().map(|&point| format!("M{}h0", self.point(point))).collect();
        Shape { path: dots, class: "dots" }
    }

    /// Columns from the bottom: the ends of each, and its height.
    pub fn columns(&self, columns: &[(f64, f64, f64)]) -> Shape {
        let x = |value: f64| SIZE.0 * self.x.share(value);
        let column = |&(from, to, height): &(f64, f64, f64)| {
            // A hair between them.
            let (left, right) = (x(from) + 0.6, (x(to) - 0.6).max(x(from) + 1.2));
            let top = SIZE.1 * (1.0 - self.y.share(height));
            format!("M{left:.1} {0}V{top:.1}H{right:.1}V{0}Z", SIZE.1)
        };
        Shape { path: columns.iter().filter(|column| column.2 > 0.0).map(column).collect(), class: "area" }
    }

    /// The plot with ticks of both axes.
    pub fn plot(&self, shapes: Vec<Shape>) -> Plot {
        Plot { shapes, x_ticks: self.x.ticks(6), y_ticks: self.y.ticks(4), ..Plot::default() }
    }
}

/// Marks with their names, each in the first row in which it lies on no other.
pub(super) fn marks(axis: Axis, values: &[(f64, String)]) -> Vec<Mark> {
    /// Percent of the width that a name takes on a phone.
    const WIDTH: f64 = 36.0;
    let mut marks: Vec<Mark> = Vec::new();
    // Near the right end a name stands on the left of its line.
    let span = |at: f64, is_left: bool| if is_left { (at - WIDTH, at) } else { (at, at + WIDTH) };
    for (value, text) in values {
        let at = 100.0 * axis.share(*value);
        let is_left = at > 100.0 - WIDTH;
        let (start, end) = span(at, is_left);
        let lies_on = |mark: &Mark| {
            let (from, to) = span(mark.at, mark.is_left);
            start < to && from < end
        };
        let is_free = |row: &usize| !marks.iter().any(|mark| mark.row == *row && lies_on(mark));
        let row = (0..).find(is_free).unwrap_or(0);
        marks.push(Mark { at, text: text.clone(), row, is_left });
    }
    marks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(axis: Axis) -> Vec<String> {
        axis.ticks(5).into_iter().map(|tick| tick.text).collect()
    }

    #[test]
    fn ticks_are_round_and_lie_on_the_axis() {
        assert_eq!(texts(Axis::new(0.0, 10.0)), ["0", "2", "4", "6", "8", "10"]);
        assert_eq!(texts(Axis::new(28.9, 31.3)), ["29", "29.5", "30", "30.5", "31"]);
        assert_eq!(texts(Axis::spanning(3.0, 61.0)), ["5", "10", "20", "50"]);
        assert_eq!(texts(Axis::spanning(1.3, 8.5)), ["1.5", "2", "3", "4", "6", "8"]);
        assert_eq!(texts(Axis::spanning(3.0, 20_000.0)), ["10", "100", "1000", "10000"]);
        assert!(texts(Axis::new(5.0, 5.0)).contains(&"5".to_string()));
        assert_eq!(Axis::new(0.0, 0.0).share(0.0), 0.5);
    }

    #[test]
    fn shares_and_values_are_inverse() {
        for axis in [Axis::new(2.0, 8.0), Axis::spanning(1.0, 1000.0)] {
            for share in [0.0, 0.25, 1.0] {
                assert!((axis.share(axis.value(share)) - share).abs() < 1e-12);
            }
        }
        assert_eq!((Axis::new(0.0, 1.0).share(-5.0), Axis::new(0.0, 1.0).share(5.0)), (0.0, 1.0));
    }

    #[test]
    fn paths_are_of_svg() {
        let frame = Frame { x: Axis::new(0.0, 10.0), y: Axis::new(0.0, 1.0) };
        assert_eq!(frame.line(&[(0.0, 0.0), (10.0, 1.0)], "line").path, "M0.0 300.0L1000.0 0.0");
        assert_eq!(frame.dots(&[(5.0, 0.5)]).path, "M500.0 150.0h0");
        assert_eq!(frame.columns(&[(0.0, 1.0, 0.5), (1.0, 2.0, 0.0)]).path, "M0.6 300V150.0H99.4V300Z");
    }

    #[test]
    fn names_of_marks_do_not_lie_on_each_other() {
        let axis = Axis::new(0.0, 100.0);
        let values: Vec<(f64, String)> =
            [10.0, 12.0, 55.0, 80.0, 100.0].map(|value| (value, String::new())).into();
        let rows: Vec<usize> = marks(axis, &values).iter().map(|mark| mark.row).collect();
        // Those of 80 and 100 stand on the left of their lines, on the name of 55 and on each other.
        assert_eq!(rows, [0, 1, 0, 2, 1]);
    }
}
