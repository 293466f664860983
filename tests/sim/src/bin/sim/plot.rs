//! [`Chart`]: lines in an SVG.

use std::fmt::Write as _;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 190.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 50.0;
const COLOURS: [&str; 8] =
    ["#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf", "#8c564b", "#7f7f7f"];

#[derive(Debug)]
pub(crate) struct Chart {
    pub(crate) title: String,
    pub(crate) x_label: &'static str,
    pub(crate) y_label: &'static str,
    /// Whether the x axis is logarithmic.
    pub(crate) is_log: bool,
    /// Where the y axis begins and ends.
    pub(crate) y_range: (f64, f64),
    pub(crate) series: Vec<(String, Vec<(f64, f64)>)>,
}

impl Chart {
    /// Returns the drawing.
    pub(crate) fn svg(&self) -> String {
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
        );
        _ = writeln!(svg, "<text x=\"{LEFT}\" y=\"24\" font-size=\"15\">{}</text>", self.title);
        self.draw_axes(&mut svg);
        for (number, (name, points)) in self.series.iter().enumerate() {
            let colour = COLOURS[number % COLOURS.len()];
            let places: Vec<_> =
                points.iter().map(|(x, y)| format!("{:.1},{:.1}", self.x(*x), self.y(*y))).collect();
            let line = places.join(" ");
            _ = writeln!(
                svg,
                "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{line}\"/>"
            );
            for (x, y) in points {
                let (x, y) = (self.x(*x), self.y(*y));
                _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>");
            }
            let (x, y) = (WIDTH - RIGHT + 14.0, TOP + 18.0 * number as f64 + 8.0);
            _ = writeln!(svg, "<text x=\"{x}\" y=\"{y}\" fill=\"{colour}\">{name}</text>");
        }
        svg + "</svg>\n"
    }

    fn draw_axes(&self, svg: &mut String) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        _ = writeln!(svg, "<path d=\"M{LEFT} {TOP}V{bottom}H{right}\" fill=\"none\" stroke=\"black\"/>");
        for step in 0..=5 {
            let value = self.y_range.0 + (self.y_range.1 - self.y_range.0) * f64::from(step) / 5.0;
            let y = self.y(value);
            _ = writeln!(svg, "<path d=\"M{LEFT} {y:.1}H{right}\" stroke=\"#ddd\"/>");
            let (x, y, text) = (LEFT - 8.0, y + 4.0, trimmed(value));
            _ = writeln!(svg, "<text x=\"{x}\" y=\"{y:.1}\" text-anchor=\"end\">{text}</text>");
        }
        for value in self.ticks() {
            let (x, y, text) = (self.x(value), bottom + 18.0, trimmed(value));
            _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{text}</text>");
        }
        let (middle, low) = (f64::midpoint(LEFT, right), HEIGHT - 12.0);
        _ = writeln!(svg, "<text x=\"{middle}\" y=\"{low}\" text-anchor=\"middle\">{}</text>", self.x_label);
        let (centre, label) = (f64::midpoint(TOP, bottom), self.y_label);
        _ = writeln!(
            svg,
            "<text transform=\"translate(18 {centre}) rotate(-90)\" text-anchor=\"middle\">{label}</text>"
        );
    }

    /// Returns the x values of the longest line, thinned out.
    fn ticks(&self) -> Vec<f64> {
        let Some((_, points)) = self.series.iter().max_by_key(|(_, points)| points.len()) else {
            return Vec::new();
        };
        points.iter().step_by(points.len().div_ceil(10).max(1)).map(|(x, _)| *x).collect()
    }

    fn x(&self, value: f64) -> f64 {
        let scaled = |value: f64| if self.is_log { value.max(1e-9).ln() } else { value };
        let values = self.series.iter().flat_map(|(_, points)| points).map(|(x, _)| scaled(*x));
        let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), x| (low.min(x), high.max(x)));
        let share = (scaled(value) - low) / (high - low).max(1e-9);
        LEFT + 12.0 + share * (WIDTH - LEFT - RIGHT - 24.0)
    }

    fn y(&self, value: f64) -> f64 {
        let (low, high) = self.y_range;
        let share = (value.clamp(low, high) - low) / (high - low).max(1e-9);
        HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
    }
}

fn trimmed(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
