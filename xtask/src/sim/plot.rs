//! A plot as SVG: panels side by side, both axes logarithmic.

use std::fmt::Write as _;

use super::Curve;

/// Of a panel, with the room around it.
const WIDTH: f64 = 300.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 48.0;
const TOP: f64 = 28.0;
const RIGHT: f64 = 12.0;
const BOTTOM: f64 = 64.0;
/// Colours that differ in lightness too.
const COLOURS: [&str; 4] = ["#004488", "#bb5566", "#ddaa33", "#222222"];

/// Panels with these titles; all have the same axes.
pub fn plot(titles: &[String], panels: &[Vec<Curve>], pads: &[u32]) -> String {
    let values = || panels.iter().flatten().flat_map(|curve| &curve.millis);
    let low = values().fold(f64::INFINITY, |low, value| low.min(*value)).log10().floor();
    let high = values().fold(f64::NEG_INFINITY, |high, value| high.max(*value)).log10().ceil();
    let width = WIDTH * panels.len() as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"{width}\" height=\"{HEIGHT}\" fill=\"white\"/>\n"
    );
    for (place, (title, curves)) in titles.iter().zip(panels).enumerate() {
        let axes =
            Axes { at: WIDTH * place as f64, low, high, most: f64::from(pads[pads.len() - 1]) };
        axes.frame(&mut svg, title);
        for (curve, colour) in curves.iter().zip(COLOURS) {
            axes.curve(&mut svg, curve, pads, colour);
        }
    }
    for (place, (curve, colour)) in panels[0].iter().zip(COLOURS).enumerate() {
        let (x, y) = (LEFT + 170.0 * place as f64, HEIGHT - 10.0);
        line(&mut svg, (x, y - 4.0), (x + 20.0, y - 4.0), colour);
        text(&mut svg, (x + 26.0, y), "start", &curve.name);
    }
    svg + "</svg>\n"
}

/// Where a panel stands, and its ranges.
struct Axes {
    at: f64,
    low: f64,
    high: f64,
    most: f64,
}

impl Axes {
    fn x(&self, pads: f64) -> f64 {
        self.at + LEFT + (WIDTH - LEFT - RIGHT) * pads.log2() / self.most.log2()
    }

    fn y(&self, power: f64) -> f64 {
        HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (power - self.low) / (self.high - self.low)
    }

    fn frame(&self, svg: &mut String, title: &str) {
        let middle = (self.x(1.0) + self.x(self.most)) / 2.0;
        text(svg, (middle, 18.0), "middle", title);
        text(svg, (middle, HEIGHT - BOTTOM + 32.0), "middle", "Pads of each consumer");
        for power in self.low as i32..=self.high as i32 {
            let y = self.y(f64::from(power));
            line(svg, (self.x(1.0), y), (self.x(self.most), y), "#dddddd");
            let label = format!("{} ms", 10_f64.powi(power));
            text(svg, (self.x(1.0) - 4.0, y + 4.0), "end", &label);
        }
        for pads in [1.0, 4.0, 16.0, 64.0, 256.0, 1024.0] {
            text(svg, (self.x(pads), HEIGHT - BOTTOM + 16.0), "middle", &format!("{pads}"));
        }
    }

    fn curve(&self, svg: &mut String, curve: &Curve, pads: &[u32], colour: &str) {
        let point = |(pads, millis): (&u32, &f64)| {
            format!("{:.1},{:.1}", self.x(f64::from(*pads)), self.y(millis.log10()))
        };
        let points: Vec<_> = pads.iter().zip(&curve.millis).map(point).collect();
        let points = points.join(" ");
        writeln!(
            svg,
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.6\"/>"
        )
        .expect("a text takes all");
    }
}

fn line(svg: &mut String, from: (f64, f64), to: (f64, f64), colour: &str) {
    let ((x1, y1), (x2, y2)) = (from, to);
    writeln!(
        svg,
        "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{colour}\"/>"
    )
    .expect("a text takes all");
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, text: &str) {
    writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>")
        .expect("a text takes all");
}
