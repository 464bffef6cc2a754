//! Latency by percentile as an SVG: one panel per load level, all on the same scales, the
//! percentile axis logarithmic in 1/(1-p) so that the tail has room. Owns geometry and colours.
//!
//! Invariant: a proxy has the same colour in every drawing, and the drawing reads on light and
//! dark pages (it brings its own surface and follows `prefers-color-scheme`).

use std::fmt::Write;

use hdrhistogram::Histogram;

use super::table::number;
use crate::results::{Level, Results};
use crate::scenario;

const PANEL_WIDTH: f64 = 470.0;
const PANEL_HEIGHT: f64 = 300.0;
const HEADER: f64 = 78.0;
const MARGIN_LEFT: f64 = 64.0;
const MARGIN_RIGHT: f64 = 18.0;
const MARGIN_TOP: f64 = 34.0;
const MARGIN_BOTTOM: f64 = 40.0;
const POINTS_PER_DECADE: u32 = 40;
/// The axis ends here (99.999 %) however many requests there were.
const DECADES_MAX: u32 = 5;

/// Plain class colours, no CSS variables: many viewers other than browsers do not know those.
const STYLE: &str = "<style>
svg{font-family:system-ui,-apple-system,'Segoe UI',Roboto,sans-serif}
text{fill:#66645f;font-size:11px}.title{font-size:16px;font-weight:600}
.panel{font-size:12px;font-weight:600}.legend{font-size:12px}
.title,.panel,.legend{fill:#1f1f1d}.surface{fill:#fcfcfb}
.grid{stroke:#e5e4df;stroke-width:1}.axis{stroke:#b9b7b0;stroke-width:1}
.end{text-anchor:end}.mid{text-anchor:middle}
.curve{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}.key{stroke-width:3}
.c0{stroke:#2a78d6}.c1{stroke:#d9572b}.c2{stroke:#12936a}
.c3{stroke:#7a5bd0}.c4{stroke:#b7860b}.c5{stroke:#c2417f}
@media(prefers-color-scheme:dark){
text{fill:#a5a39c}.title,.panel,.legend{fill:#f2f1ee}.surface{fill:#1a1a19}
.grid{stroke:#31312f}.axis{stroke:#5c5b57}
.c0{stroke:#5aa2f2}.c1{stroke:#f08055}.c2{stroke:#35bf90}
.c3{stroke:#a38cf0}.c4{stroke:#d9ab3a}.c5{stroke:#e87aae}}
</style>
";

/// One curve: colour index and latencies in nanoseconds.
struct Curve<'a> {
    colour: usize,
    name: &'a str,
    histogram: &'a Histogram<u64>,
}

struct Panel<'a> {
    level: Level,
    rate: Option<u64>,
    curves: Vec<Curve<'a>>,
}

/// Value range and decades that all panels share.
struct Scale {
    low: f64,
    high: f64,
    decades: u32,
}

/// The drawing of a scenario; `None` when it has no open-loop level.
pub fn latency_curves(results: &Results, name: &str) -> Option<String> {
    let proxies = results.proxies(name);
    let panels: Vec<Panel<'_>> = results
        .levels(name)
        .into_iter()
        .map(|level| panel(results, name, level, &proxies))
        .filter(|panel| !panel.curves.is_empty())
        .collect();
    if panels.is_empty() {
        return None;
    }
    let scale = Scale::over(&panels);
    let title = scenario::by_name(name).map_or(name, |scenario| scenario.title);
    let mut text = String::new();
    draw(&mut text, title, &proxies, &panels, &scale).expect("writing to a string");
    Some(text)
}

fn panel<'a>(results: &'a Results, name: &str, level: Level, proxies: &[&'a str]) -> Panel<'a> {
    let curves = proxies
        .iter()
        .filter_map(|proxy| {
            let key = (name.to_owned(), level, (*proxy).to_owned());
            let histogram = results.histograms.get(&key).filter(|held| !held.is_empty())?;
            Some(Curve { colour: colour(proxy, proxies), name: proxy, histogram })
        })
        .collect();
    let run = results.runs.iter().find(|run| run.scenario == name && run.level == level);
    Panel { level, rate: run.and_then(|run| run.rate), curves }
}

/// Tidegate and its peers keep their colours wherever they appear; baselines, which are sorted
/// behind them, take the others in turn.
fn colour(proxy: &str, proxies: &[&str]) -> usize {
    let known = ["tidegate", "haproxy", "nginx"];
    if let Some(place) = known.iter().position(|name| *name == proxy) {
        return place;
    }
    let baselines = proxies.iter().filter(|name| !known.contains(name));
    known.len() + baselines.take_while(|name| **name != proxy).count() % 3
}

impl Scale {
    fn over(panels: &[Panel<'_>]) -> Self {
        let histograms = || panels.iter().flat_map(|panel| &panel.curves).map(|c| c.histogram);
        let fewest = histograms().map(Histogram::len).min().unwrap_or(1);
        let decades = fewest.max(10).ilog10().min(DECADES_MAX);
        let low = histograms().map(Histogram::min_nz).min().unwrap_or(1) as f64;
        let top = quantile(f64::from(decades));
        let high = histograms().map(|held| held.value_at_quantile(top)).max().unwrap_or(1) as f64;
        Self { low: step_at_most(low), high: step_at_least(high.max(low * 2.0)), decades }
    }

    fn x(&self, decade: f64) -> f64 {
        let width = PANEL_WIDTH - MARGIN_LEFT - MARGIN_RIGHT;
        MARGIN_LEFT + width * decade / f64::from(self.decades)
    }

    fn y(&self, nanoseconds: f64) -> f64 {
        let height = PANEL_HEIGHT - MARGIN_TOP - MARGIN_BOTTOM;
        let share = (nanoseconds.max(self.low) / self.low).ln() / (self.high / self.low).ln();
        PANEL_HEIGHT - MARGIN_BOTTOM - height * share.min(1.0)
    }

    /// 1, 2 and 5 in every decade, or powers of ten alone when that would be crowded.
    fn ticks(&self) -> Vec<f64> {
        let mut ticks = Vec::new();
        let mut tick = self.low;
        let wide = self.high / self.low > 500.0;
        while tick <= self.high * 1.001 {
            let lead = tick / 10_f64.powf(tick.log10().floor() + 1e-9);
            if !wide || (lead - 1.0).abs() < 0.01 {
                ticks.push(tick);
            }
            tick = step_at_least(tick * 1.01);
        }
        ticks
    }
}

/// The share of requests at a distance of `decades` on the axis.
fn quantile(decades: f64) -> f64 {
    1.0 - 10_f64.powf(-decades)
}

/// The largest of 1, 2, 5 × 10ⁿ that is not above `value`.
fn step_at_most(value: f64) -> f64 {
    let base = 10_f64.powf(value.log10().floor());
    [5.0, 2.0, 1.0].iter().map(|lead| lead * base).find(|step| *step <= value).unwrap_or(base)
}

/// The smallest of 1, 2, 5 × 10ⁿ that is not below `value`.
fn step_at_least(value: f64) -> f64 {
    let base = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0];
    steps.iter().map(|lead| lead * base).find(|step| *step >= value * 0.999).unwrap_or(base * 10.0)
}

fn draw(
    text: &mut String,
    title: &str,
    proxies: &[&str],
    panels: &[Panel<'_>],
    scale: &Scale,
) -> std::fmt::Result {
    let columns = panels.len().min(2);
    let rows = panels.len().div_ceil(2);
    let width = PANEL_WIDTH * columns as f64;
    let height = HEADER + PANEL_HEIGHT * rows as f64;
    writeln!(
        text,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\">"
    )?;
    writeln!(text, "<title>{}: latency by percentile</title>", escape(title))?;
    text.push_str(STYLE);
    writeln!(text, "<rect width=\"{width}\" height=\"{height}\" rx=\"8\" class=\"surface\"/>")?;
    writeln!(text, "<text class=\"title\" x=\"20\" y=\"30\">{}</text>", escape(title))?;
    draw_legend(text, proxies)?;
    for (index, panel) in panels.iter().enumerate() {
        let x = PANEL_WIDTH * (index % 2) as f64;
        let y = HEADER + PANEL_HEIGHT * (index / 2) as f64;
        writeln!(text, "<g transform=\"translate({x} {y})\">")?;
        draw_panel(text, panel, scale)?;
        writeln!(text, "</g>")?;
    }
    writeln!(text, "</svg>")
}

fn draw_legend(text: &mut String, proxies: &[&str]) -> std::fmt::Result {
    let mut x = 20.0;
    for proxy in proxies {
        let colour = colour(proxy, proxies);
        let label = x + 26.0;
        writeln!(
            text,
            "<path class=\"curve key c{colour}\" d=\"M{x} 54h18\"/><text class=\"legend\" x=\"{label}\" y=\"58\">{}</text>",
            escape(proxy)
        )?;
        x = label + 9.0 * proxy.chars().count() as f64 + 18.0;
    }
    Ok(())
}

fn draw_panel(text: &mut String, panel: &Panel<'_>, scale: &Scale) -> std::fmt::Result {
    let (left, right) = (scale.x(0.0), scale.x(f64::from(scale.decades)));
    let (top, bottom) = (scale.y(scale.high), scale.y(scale.low));
    let rate =
        panel.rate.map_or_else(String::new, |rate| format!(": {} requests/s", number(rate as f64)));
    let level = panel.level;
    writeln!(text, "<text class=\"panel\" x=\"{left:.1}\" y=\"20\">{level} load{rate}</text>")?;
    for tick in scale.ticks() {
        let y = scale.y(tick);
        writeln!(text, "<path class=\"grid\" d=\"M{left:.1} {y:.1}H{right:.1}\"/>")?;
        let label = y + 4.0;
        writeln!(
            text,
            "<text class=\"end\" x=\"{:.1}\" y=\"{label:.1}\">{}</text>",
            left - 8.0,
            duration(tick)
        )?;
    }
    for decade in 0..=scale.decades {
        let x = scale.x(f64::from(decade));
        writeln!(text, "<path class=\"grid\" d=\"M{x:.1} {top:.1}V{bottom:.1}\"/>")?;
        let label = percent(decade);
        writeln!(
            text,
            "<text class=\"mid\" x=\"{x:.1}\" y=\"{:.1}\">{label}</text>",
            bottom + 18.0
        )?;
    }
    writeln!(text, "<path class=\"axis\" d=\"M{left:.1} {bottom:.1}H{right:.1}\"/>")?;
    for curve in &panel.curves {
        draw_curve(text, curve, scale)?;
    }
    Ok(())
}

fn draw_curve(text: &mut String, curve: &Curve<'_>, scale: &Scale) -> std::fmt::Result {
    let Curve { colour, name, histogram } = curve;
    write!(text, "<path class=\"curve c{colour}\" d=\"")?;
    for point in 0..=scale.decades * POINTS_PER_DECADE {
        let decade = f64::from(point) / f64::from(POINTS_PER_DECADE);
        let value = histogram.value_at_quantile(quantile(decade)) as f64;
        let command = if point == 0 { 'M' } else { 'L' };
        write!(text, "{command}{:.1} {:.1}", scale.x(decade), scale.y(value))?;
    }
    writeln!(text, "\"><title>{}</title></path>", escape(name))
}

fn percent(decade: u32) -> String {
    match decade {
        0 => "0 %".into(),
        1 => "90 %".into(),
        2 => "99 %".into(),
        more => format!("99.{} %", "9".repeat(usize::try_from(more - 2).unwrap_or(1))),
    }
}

fn duration(nanoseconds: f64) -> String {
    let (value, unit) = match nanoseconds {
        small if small < 1e3 => (small, "ns"),
        middle if middle < 1e6 => (middle / 1e3, "µs"),
        large if large < 1e9 => (large / 1e6, "ms"),
        huge => (huge / 1e9, "s"),
    };
    format!("{value:.0} {unit}")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::add;

    /// Panics unless every tag is closed in order and every attribute is quoted.
    fn assert_well_formed(svg: &str) {
        let mut open = Vec::new();
        let mut rest = svg;
        while let Some(start) = rest.find('<') {
            assert!(!rest[..start].contains('>'), "stray > in {:?}", &rest[..start]);
            let end = start + rest[start..].find('>').expect("a tag ends");
            let tag = &rest[start + 1..end];
            rest = &rest[end + 1..];
            assert_eq!(tag.matches('"').count() % 2, 0, "unbalanced quotes in {tag}");
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(open.pop(), Some(name), "closed out of order");
            } else if !tag.ends_with('/') {
                open.push(tag.split_whitespace().next().expect("a tag has a name"));
            }
        }
        assert!(open.is_empty(), "left open: {open:?}");
    }

    fn drawing() -> String {
        let mut results = Results::default();
        for level in [Level::Saturation, Level::Percent(50), Level::Percent(75)] {
            for proxy in ["tidegate", "haproxy", "nginx", "<odd&one>"] {
                add(&mut results, level, proxy, &[10.0, 11.0]);
            }
        }
        latency_curves(&results, "keepalive-64").expect("two levels")
    }

    #[test]
    fn drawing_is_well_formed_and_complete() {
        let svg = drawing();
        assert_well_formed(&svg);
        assert_eq!(svg.matches("<g ").count(), 2, "a panel per level, none for saturation");
        assert_eq!(svg.matches("</title></path>").count(), 8, "a curve per proxy and level");
        assert!(svg.contains("prefers-color-scheme:dark") && svg.contains("99.9 %"));
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }

    #[test]
    fn a_scenario_without_levels_has_no_drawing() {
        let mut results = Results::default();
        add(&mut results, Level::Saturation, "tidegate", &[10.0]);
        assert_eq!(latency_curves(&results, "keepalive-64"), None);
    }

    #[test]
    fn colours_do_not_depend_on_who_takes_part() {
        assert_eq!(colour("nginx", &["nginx"]), 2);
        assert_eq!(colour("nginx", &["tidegate", "haproxy", "nginx"]), 2);
        let all = ["tidegate", "nginx", "first", "second"];
        assert_eq!((colour("first", &all), colour("second", &all)), (3, 4));
    }

    #[test]
    fn axis_steps_are_round() {
        for (value, below, above) in
            [(3.0, 2.0, 5.0), (10.0, 10.0, 10.0), (99.0, 50.0, 100.0), (1_500.0, 1_000.0, 2_000.0)]
        {
            assert!((step_at_most(value) - below).abs() < 1e-6 * below, "{value}");
            assert!((step_at_least(value) - above).abs() < 1e-6 * above, "{value}");
        }
        assert_eq!(duration(2e5), "200 µs");
        assert_eq!(duration(5e6), "5 ms");
    }
}
