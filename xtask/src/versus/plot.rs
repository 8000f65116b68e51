//! The rates at full speed as an SVG plot: both axes logarithmic.

use std::fmt::Write;

use super::report::bytes;
use super::results::{Measurement, Metric, Results};

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 480.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 650.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 430.0;

/// Of a palette that people with any colour vision can tell apart (Okabe, Ito 2008).
const COLOURS: [&str; 8] = [
    "#000000", "#e69f00", "#0072b2", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#999999",
];

/// A range of positive values on a logarithmic axis.
#[derive(Clone, Copy, Debug)]
struct Axis {
    from: (f64, f64),
    to: (f64, f64),
}

impl Axis {
    fn at(&self, value: f64) -> f64 {
        let (low, high) = (self.from.0.ln(), self.to.0.ln());
        let part = if high > low {
            (value.ln() - low) / (high - low)
        } else {
            0.5
        };
        self.from.1 + part * (self.to.1 - self.from.1)
    }
}

/// A contender and its rate in MB/s at each size.
struct Line {
    name: &'static str,
    points: Vec<(f64, f64)>,
}

pub(super) fn svg(results: &Results) -> String {
    let lines = lines(results);
    let (_, sizes) = results.axes(Measurement::Blast);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"22\" font-size=\"15\">Payload delivered, MB/s, by message size (medians)</text>\n"
    );
    let rates = lines
        .iter()
        .flat_map(|line| line.points.iter().map(|it| it.1));
    let (low, high) = rates.fold((f64::INFINITY, 0.0_f64), |(low, high), rate| {
        (low.min(rate), high.max(rate))
    });
    if let (Some(&first), Some(&last), true) = (sizes.first(), sizes.last(), high > 0.0) {
        let x = Axis {
            from: (first as f64, LEFT),
            to: (last as f64, RIGHT),
        };
        let y = Axis {
            from: (decade(low).min(decade(high) / 10.0), BOTTOM),
            to: (10.0 * decade(high), TOP),
        };
        grid(&mut out, &x, &y, &sizes);
        for (at, line) in lines.iter().enumerate() {
            draw(&mut out, &x, &y, (at, line));
        }
    } else {
        let _ = writeln!(
            out,
            "<text x=\"{LEFT}\" y=\"80\">nothing was measured</text>"
        );
    }
    out + "</svg>\n"
}

fn lines(results: &Results) -> Vec<Line> {
    let (names, sizes) = results.axes(Measurement::Blast);
    let rate = |name, size| results.median(Measurement::Blast, size, name, Metric::Rate);
    let line = |name| Line {
        name,
        points: sizes
            .iter()
            .filter_map(|&size| Some((size as f64, rate(name, size)? * size as f64 / 1e6)))
            .filter(|(_, rate)| *rate > 0.0)
            .collect(),
    };
    names.into_iter().map(line).collect()
}

/// The power of ten at or below a value.
fn decade(value: f64) -> f64 {
    10_f64.powf(value.log10().floor())
}

fn grid(out: &mut String, x: &Axis, y: &Axis, sizes: &[usize]) {
    let mut value = y.from.0;
    while value <= y.to.0 * 1.001 {
        let at = y.at(value);
        let _ = writeln!(
            out,
            "<line x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{RIGHT}\" y2=\"{at:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{value}</text>",
            LEFT - 8.0,
            at + 4.0
        );
        value *= 10.0;
    }
    for &size in sizes {
        let at = x.at(size as f64);
        let _ = writeln!(
            out,
            "<line x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{BOTTOM}\" stroke=\"#ddd\"/>\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            BOTTOM + 20.0,
            bytes(size)
        );
    }
}

/// A line, its points and its entry in the legend.
fn draw(out: &mut String, x: &Axis, y: &Axis, (at, line): (usize, &Line)) {
    let colour = COLOURS[at % COLOURS.len()];
    // Beyond the palette, dashes tell the lines apart.
    let dash = if at < COLOURS.len() { "none" } else { "5 4" };
    let points: Vec<(f64, f64)> = line
        .points
        .iter()
        .map(|(size, rate)| (x.at(*size), y.at(*rate)))
        .collect();
    let path: Vec<String> = points
        .iter()
        .map(|(x, y)| format!("{x:.1},{y:.1}"))
        .collect();
    let _ = writeln!(
        out,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dash}\"/>",
        path.join(" ")
    );
    for (x, y) in points {
        let _ = writeln!(
            out,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{colour}\"/>"
        );
    }
    let row = TOP + 20.0 * at as f64;
    let (from, to, text) = (RIGHT + 15.0, RIGHT + 40.0, RIGHT + 46.0);
    let _ = writeln!(
        out,
        "<line x1=\"{from}\" y1=\"{row}\" x2=\"{to}\" y2=\"{row}\" stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dash}\"/>\
         <text x=\"{text}\" y=\"{:.1}\">{}</text>",
        row + 4.0,
        line.name
    );
}

#[cfg(test)]
mod tests {
    use super::super::results::tests::duel;
    use super::*;

    #[test]
    fn each_contender_has_a_line_and_a_legend_and_all_points_are_inside() {
        let mut results = Results::default();
        for size in [64, 1 << 20] {
            let it = duel(("raw gso", &[5e3]), ("mcl inline", &[4e3]), size);
            results.duels.push(it);
        }
        let text = svg(&results);
        assert_eq!(text.matches("<polyline").count(), 2);
        assert_eq!(text.matches("<circle").count(), 4);
        assert!(text.contains(">raw gso<") && text.contains(">1 MiB<"));
        for part in text.split("cy=\"").skip(1) {
            let y: f64 = part.split('"').next().unwrap().parse().unwrap();
            assert!((TOP..=BOTTOM).contains(&y), "{y}");
        }
    }

    #[test]
    fn nothing_measured_is_said() {
        assert!(svg(&Results::default()).contains("nothing was measured"));
    }
}
