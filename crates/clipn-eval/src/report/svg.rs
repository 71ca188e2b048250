//! Small SVG charts: axes with ticks and labels, lines and areas. Colors come from the page's style
//! by CSS class.

use std::fmt::Write;

use super::html::escape;

const LEFT: f64 = 46.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 40.0;

/// One axis: range, ticks and label.
#[derive(Debug, Clone)]
pub(super) struct Axis {
    low: f64,
    high: f64,
    ticks: Vec<(f64, String)>,
    label: String,
}

impl Axis {
    /// Creates an axis from `low` to `high`, with about `count` ticks at round numbers. An empty
    /// range is widened.
    pub(super) fn new(low: f64, high: f64, count: usize, label: impl Into<String>) -> Self {
        // Limits far beyond any score that keep the arithmetic finite.
        let (low, high) = (low.clamp(-1e300, 1e300), high.clamp(-1e300, 1e300));
        let half = low.abs().max(1.0) * 0.5;
        let (low, high) = if high > low {
            (low, high)
        } else {
            (low - half, low + half)
        };
        let step = round_step((high - low) / count.max(1) as f64);
        let label_of = tick_format(step, low.abs().max(high.abs()));
        let first = (low / step).ceil();
        let ticks = (0..=2 * count)
            .map(|i| (first + i as f64) * step)
            .take_while(|tick| *tick <= high + step * 1e-6)
            // Adding zero turns -0 into 0.
            .map(|tick| (tick, label_of(tick + 0.0).replace('-', "\u{2212}")))
            .collect();
        Self {
            low,
            high,
            ticks,
            label: label.into(),
        }
    }

    /// Creates an axis from 0 to `high` for fractions shown as per cent.
    pub(super) fn percent(high: f64, count: usize, label: impl Into<String>) -> Self {
        let axis = Self::new(0.0, 100.0 * high, count, label);
        let ticks = axis
            .ticks
            .into_iter()
            .map(|(tick, shown)| (tick / 100.0, shown))
            .collect();
        Self {
            low: 0.0,
            high: axis.high / 100.0,
            ticks,
            label: axis.label,
        }
    }

    fn relative(&self, value: f64) -> f64 {
        ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }
}

/// Returns how ticks of this step are written, `largest` being the largest absolute value on the axis: in decimals,
/// or with an exponent if these were zeros above all.
fn tick_format(step: f64, largest: f64) -> impl Fn(f64) -> String {
    const MAX_DECIMALS: f64 = 6.0;
    let power = step.log10().floor();
    let is_tiny = -power > MAX_DECIMALS && largest < 1e-3;
    let decimals = (-power).clamp(0.0, 12.0) as usize;
    let digits = (largest.log10().floor() - power).clamp(0.0, 12.0) as usize;
    move |tick| match is_tiny {
        true if tick == 0.0 => "0".to_owned(),
        true => format!("{tick:.digits$e}"),
        false => format!("{tick:.decimals$}"),
    }
}

/// Returns 1, 2 or 5 times a power of ten, near `rough`.
fn round_step(rough: f64) -> f64 {
    let power = 10_f64.powf(rough.log10().floor());
    let factor = rough / power;
    power
        * if factor <= 1.2 {
            1.0
        } else if factor <= 2.6 {
            2.0
        } else if factor <= 6.0 {
            5.0
        } else {
            10.0
        }
}

/// A chart being drawn.
#[derive(Debug)]
pub(super) struct Chart {
    width: f64,
    height: f64,
    x: Axis,
    y: Axis,
    body: String,
}

impl Chart {
    /// Creates an empty chart with its axes.
    pub(super) fn new(width: f64, height: f64, x: Axis, y: Axis) -> Self {
        let mut chart = Self {
            width,
            height,
            x,
            y,
            body: String::new(),
        };
        chart.draw_axes();
        chart
    }

    fn px(&self, x: f64) -> f64 {
        LEFT + self.x.relative(x) * (self.width - LEFT - RIGHT)
    }

    fn py(&self, y: f64) -> f64 {
        self.height - BOTTOM - self.y.relative(y) * (self.height - TOP - BOTTOM)
    }

    fn push(&mut self, arguments: std::fmt::Arguments<'_>) {
        // Writing into a String cannot fail.
        let _ = self.body.write_fmt(arguments);
    }

    fn draw_axes(&mut self) {
        let (left, right) = (LEFT, self.width - RIGHT);
        let (top, bottom) = (TOP, self.height - BOTTOM);
        for (value, shown) in self.y.ticks.clone() {
            let y = self.py(value);
            self.push(format_args!(
                "<path class=\"grid\" d=\"M{left:.1} {y:.1}H{right:.1}\"/>"
            ));
            self.push(format_args!(
                "<text class=\"end\" x=\"{:.1}\" y=\"{:.1}\">{shown}</text>",
                left - 6.0,
                y + 3.5
            ));
        }
        for (value, shown) in self.x.ticks.clone() {
            let x = self.px(value);
            self.push(format_args!(
                "<path class=\"grid\" d=\"M{x:.1} {top:.1}V{bottom:.1}\"/>"
            ));
            self.push(format_args!(
                "<text class=\"mid\" x=\"{x:.1}\" y=\"{:.1}\">{shown}</text>",
                bottom + 14.0
            ));
        }
        self.push(format_args!(
            "<path class=\"axis\" d=\"M{left:.1} {top:.1}V{bottom:.1}H{right:.1}\"/>"
        ));
        let (x_label, y_label) = (escape(&self.x.label), escape(&self.y.label));
        let (across, down) = ((left + right) / 2.0, (top + bottom) / 2.0);
        self.push(format_args!(
            "<text class=\"mid name\" x=\"{across:.1}\" y=\"{:.1}\">{x_label}</text>",
            self.height - 8.0
        ));
        self.push(format_args!(
            "<text class=\"mid name\" transform=\"translate(11 {down:.1}) rotate(-90)\">{y_label}</text>"
        ));
    }

    fn points(&self, points: &[(f64, f64)]) -> String {
        let mut shown = String::new();
        for (i, &(x, y)) in points.iter().enumerate() {
            let command = if i == 0 { 'M' } else { 'L' };
            let _ = write!(shown, "{command}{:.1} {:.1}", self.px(x), self.py(y));
        }
        shown
    }

    /// Draws a line through points.
    pub(super) fn line(&mut self, points: &[(f64, f64)], class: &str) {
        let path = self.points(points);
        self.push(format_args!("<path class=\"{class}\" d=\"{path}\"/>"));
    }

    /// Draws the area between a line and the x axis.
    pub(super) fn area(&mut self, points: &[(f64, f64)], class: &str) {
        let (Some(first), Some(last)) = (points.first(), points.last()) else {
            return;
        };
        let ends = [(last.0, self.y.low), (first.0, self.y.low)];
        let path = self.points(&[points, &ends].concat());
        self.push(format_args!("<path class=\"{class}\" d=\"{path}Z\"/>"));
    }

    /// Draws text centered above a point.
    pub(super) fn label(&mut self, (x, y): (f64, f64), label: &str) {
        let (x, y) = (self.px(x), (self.py(y) - 4.0).max(TOP + 8.0));
        self.push(format_args!(
            "<text class=\"mid small\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>",
            escape(label)
        ));
    }

    /// Draws a dot at a point.
    pub(super) fn dot(&mut self, (x, y): (f64, f64), class: &str) {
        let (x, y) = (self.px(x), self.py(y));
        self.push(format_args!(
            "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>"
        ));
    }

    /// Returns the drawn elements, for use in another SVG.
    pub(super) fn body(self) -> String {
        self.body
    }

    /// Returns the SVG element; `title` is its accessible description.
    pub(super) fn finish(self, title: &str) -> String {
        let Self {
            width,
            height,
            body,
            ..
        } = self;
        let title = escape(title);
        format!(
            "<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{title}\">{body}</svg>"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, shown)| shown.as_str()).collect()
    }

    #[test]
    fn ticks_are_round_numbers() {
        assert_eq!(
            shown(&Axis::new(0.0, 1.0, 5, "")),
            ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]
        );
        assert_eq!(
            shown(&Axis::new(-7.3, 12.0, 4, "")),
            ["\u{2212}5", "0", "5", "10"]
        );
        assert_eq!(
            shown(&Axis::new(0.99991, 1.0, 3, "")).first(),
            Some(&"0.99995")
        );
        assert_eq!(
            shown(&Axis::new(-3.1e-9, 0.0, 3, "")),
            [
                "\u{2212}3e\u{2212}9",
                "\u{2212}2e\u{2212}9",
                "\u{2212}1e\u{2212}9",
                "0"
            ]
        );
        assert_eq!(
            shown(&Axis::percent(1.0, 5, "")),
            ["0", "20", "40", "60", "80", "100"]
        );
    }

    #[test]
    fn any_range_gives_valid_ticks() {
        for (low, high) in [
            (3.0, 3.0),
            (0.0, 0.0),
            (1.0, -1.0),
            (f64::MIN, f64::MAX),
            (1e-300, 2e-300),
        ] {
            let axis = Axis::new(low, high, 5, "");
            assert!(axis.ticks.len() <= 11, "{low} {high}");
            assert!((0.0..=1.0).contains(&axis.relative(low)), "{low} {high}");
        }
    }

    #[test]
    fn labels_are_escaped() {
        let axis = || Axis::new(0.0, 1.0, 5, "<b>");
        let chart = Chart::new(300.0, 200.0, axis(), axis());
        let svg = chart.finish("\"><script>");
        assert!(!svg.contains("<b>") && !svg.contains("<script>"), "{svg}");
    }
}
