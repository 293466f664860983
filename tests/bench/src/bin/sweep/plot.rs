//! [`svg`]: the sweep as a picture of three plots.

use std::fmt::Write as _;

use super::report::Row;

const PLOT_WIDTH: f64 = 420.0;
const PLOT_HEIGHT: f64 = 300.0;
const MARGIN: f64 = 70.0;

/// Line colours that people with any colour vision can tell apart (Okabe and Ito), and two greys.
const COLOURS: [&str; 9] =
    ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#000000", "#777777", "#b0b000"];

/// One line of a plot; neither coordinate may be zero, as both axes are logarithmic.
struct Line {
    label: String,
    colour: &'static str,
    points: Vec<(f64, f64)>,
}

struct Plot {
    title: &'static str,
    x: &'static str,
    y: &'static str,
    lines: Vec<Line>,
}

/// Draws RPCs per second and node over time, total time against n, and memory against n.
pub(super) fn svg(rows: &[Row]) -> String {
    let rows: Vec<&Row> = rows.iter().filter(|row| !row.is_on_disk).collect();
    let plots = [rates(&rows), against_n(&rows, true), against_n(&rows, false)];
    let cell = PLOT_WIDTH + 2.0 * MARGIN;
    let (width, height) = (cell * plots.len() as f64, PLOT_HEIGHT + 2.0 * MARGIN);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (index, plot) in plots.iter().enumerate() {
        let left = index as f64 * cell + MARGIN;
        let _ = writeln!(svg, "<g transform=\"translate({left} {MARGIN})\">");
        draw(&mut svg, plot);
        svg.push_str("</g>\n");
    }
    svg.push_str("</svg>\n");
    svg
}

fn rates(rows: &[&Row]) -> Plot {
    let line = |(index, row): (usize, &&Row)| Line {
        label: format!("n = {}", row.n),
        colour: COLOURS[index % COLOURS.len()],
        points: rate_points(row),
    };
    Plot {
        title: "RPCs per second and node",
        x: "seconds since the start",
        y: "",
        lines: rows.iter().enumerate().map(line).collect(),
    }
}

/// Returns the rate between every two samples, at the time of the second.
fn rate_points(row: &Row) -> Vec<(f64, f64)> {
    let rate = |pair: &[super::report::Sample]| {
        let [earlier, later] = pair else { return None };
        let rpcs = later.rpcs.saturating_sub(earlier.rpcs) as f64;
        let rate = rpcs / (later.at_s - earlier.at_s) / later.nodes.max(1) as f64;
        (rate > 0.0 && rate.is_finite()).then_some((later.at_s, rate))
    };
    row.samples.windows(2).filter_map(rate).collect()
}

fn against_n(rows: &[&Row], is_time: bool) -> Plot {
    let points = |value: fn(&Row) -> f64| {
        rows.iter().map(|row| (row.n as f64, value(row))).filter(|(_, y)| *y > 0.0).collect()
    };
    let line = |label: &str, colour, points| Line { label: label.to_owned(), colour, points };
    if is_time {
        Plot {
            title: "Total time",
            x: "n",
            y: "seconds",
            lines: vec![
                line("wall", COLOURS[0], points(|row| row.wall_s)),
                line("CPU", COLOURS[1], points(|row| row.cpu_s)),
            ],
        }
    } else {
        let lines = vec![line("memory", COLOURS[0], points(|row| row.kib_per_node))];
        Plot { title: "Memory per node", x: "n", y: "KiB", lines }
    }
}

/// A logarithmic axis over whole decades.
struct Axis {
    low: f64,
    high: f64,
    length: f64,
}

impl Axis {
    fn over(values: impl Iterator<Item = f64>, length: f64) -> Self {
        let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), value| {
            (low.min(value.log10().floor()), high.max(value.log10().ceil()))
        });
        if low > high {
            Self { low: 0.0, high: 1.0, length }
        } else {
            Self { low, high: high.max(low + 1.0), length }
        }
    }

    fn place(&self, value: f64) -> f64 {
        (value.log10() - self.low) / (self.high - self.low) * self.length
    }

    fn ticks(&self) -> impl Iterator<Item = f64> {
        (self.low as i32..=self.high as i32).map(|decade| 10_f64.powi(decade))
    }
}

fn draw(svg: &mut String, plot: &Plot) {
    let points = || plot.lines.iter().flat_map(|line| line.points.iter());
    let x = Axis::over(points().map(|point| point.0), PLOT_WIDTH);
    let y = Axis::over(points().map(|point| point.1), PLOT_HEIGHT);
    draw_axes(svg, plot, &x, &y);
    for (index, line) in plot.lines.iter().enumerate() {
        let path: Vec<String> = line
            .points
            .iter()
            .map(|point| format!("{:.1},{:.1}", x.place(point.0), PLOT_HEIGHT - y.place(point.1)))
            .collect();
        let (colour, label) = (line.colour, &line.label);
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>",
            path.join(" ")
        );
        let (left, top) = (PLOT_WIDTH + 6.0, 12.0 + 16.0 * index as f64);
        let _ = writeln!(svg, "<text x=\"{left}\" y=\"{top}\" fill=\"{colour}\">{label}</text>");
    }
}

fn draw_axes(svg: &mut String, plot: &Plot, x: &Axis, y: &Axis) {
    let _ = writeln!(
        svg,
        "<text x=\"0\" y=\"-24\" font-size=\"15\">{}</text>\n<text x=\"0\" y=\"-8\">{}</text>\n\
         <text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n\
         <rect width=\"{PLOT_WIDTH}\" height=\"{PLOT_HEIGHT}\" fill=\"none\" stroke=\"black\"/>",
        plot.title,
        plot.y,
        PLOT_WIDTH / 2.0,
        PLOT_HEIGHT + 36.0,
        plot.x,
    );
    for tick in x.ticks() {
        let at = x.place(tick);
        let _ = writeln!(
            svg,
            "<path d=\"M{at:.1} 0V{PLOT_HEIGHT}\" stroke=\"#dddddd\"/>\n\
             <text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{tick}</text>",
            PLOT_HEIGHT + 16.0,
        );
    }
    for tick in y.ticks() {
        let at = PLOT_HEIGHT - y.place(tick);
        let _ = writeln!(
            svg,
            "<path d=\"M0 {at:.1}H{PLOT_WIDTH}\" stroke=\"#dddddd\"/>\n\
             <text x=\"-6\" y=\"{:.1}\" text-anchor=\"end\">{tick}</text>",
            at + 4.0,
        );
    }
}
