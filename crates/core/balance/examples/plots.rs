//! Draws the distribution of requests and the latency with one slow server, by algorithm.
//!
//! Owns the pictures in `docs/performance`; leaves the simulation to the tests that hold the figures. Invariant: the
//! pictures are the same each time.
//!
//! ```text
//! cargo run --release -p tidegate-balance --example plots
//! ```

#[path = "../tests/common/queueing.rs"]
mod queueing;
#[path = "../tests/common/random.rs"]
mod random;

use std::fmt::Write as _;
use std::path::Path;

use queueing::{Scenario, run};
use random::Random;
use tidegate_balance::{HashMethod, Policy, ServerSettings, identity};

const POLICIES: [(&str, Policy); 8] = [
    ("round_robin", Policy::RoundRobin),
    ("least_conn", Policy::LeastConn),
    ("random", Policy::Random { draws: 2 }),
    ("peak_ewma", Policy::PeakEwma),
    ("prequal", Policy::Prequal),
    ("map", Policy::Hash { method: HashMethod::Map, balance_factor: None }),
    ("consistent", Policy::Hash { method: HashMethod::Consistent, balance_factor: None }),
    ("maglev", Policy::Hash { method: HashMethod::Maglev, balance_factor: None }),
];

fn servers(count: usize) -> Vec<ServerSettings> {
    let server = |index| ServerSettings {
        identity: identity(&format!("s{index}")),
        ..ServerSettings::default()
    };
    (0..count).map(server).collect()
}

/// One row of a chart: a name, and bars with what they show.
type Row = (String, Vec<(f64, String)>);

/// Horizontal bars, scaled to `most`; those beyond it are cut.
fn chart(title: &str, legend: &[(&str, &str)], rows: &[Row], most: f64) -> String {
    const LEFT: f64 = 120.0;
    const WIDTH: f64 = 430.0;
    const BAR: f64 = 13.0;
    let mut text = String::new();
    let mut y = 64.0;
    for (name, bars) in rows {
        let _ = writeln!(
            text,
            "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">{name}</text>",
            LEFT - 8.0,
            y + BAR * bars.len() as f64 / 2.0 + 4.0
        );
        for ((value, shown), (_, colour)) in bars.iter().zip(legend.iter().cycle()) {
            let length = (value / most).min(1.0) * WIDTH;
            let _ = write!(
                text,
                "<rect x=\"{LEFT:.0}\" y=\"{y:.0}\" width=\"{length:.1}\" height=\"{:.0}\" fill=\"{colour}\"/>\n\
                 <text x=\"{:.1}\" y=\"{:.0}\" font-size=\"11\">{shown}</text>\n",
                BAR - 2.0,
                LEFT + length + 5.0,
                y + BAR - 3.0
            );
            y += BAR;
        }
        y += 9.0;
    }
    let mut head = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"860\" height=\"{:.0}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"860\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"16\" y=\"24\" font-size=\"15\" font-weight=\"bold\">{title}</text>\n",
        y + 6.0
    );
    let mut x = LEFT;
    for (name, colour) in legend.iter().filter(|(name, _)| !name.is_empty()) {
        let _ = write!(
            head,
            "<rect x=\"{x:.0}\" y=\"38\" width=\"11\" height=\"11\" fill=\"{colour}\"/>\n\
             <text x=\"{:.0}\" y=\"48\" font-size=\"12\">{name}</text>\n",
            x + 16.0
        );
        x += 150.0;
    }
    head + &text + "</svg>\n"
}

/// How evenly 100,000 requests fall on ten equal servers, over four shards.
fn distribution() -> String {
    let rows: Vec<Row> = POLICIES
        .iter()
        .map(|(name, policy)| {
            let scenario = Scenario {
                policy: *policy,
                has_slow: false,
                shards_count: 4,
                rate: 10_000.0,
                requests: 100_000,
                seed: 1,
            };
            let outcome = run(&scenario, &servers(10));
            let bars = outcome.counts.iter().map(|count| (f64::from(*count), String::new()));
            let mut bars: Vec<_> = bars.collect();
            let off = |count: &u32| (f64::from(*count) / 10_000.0 - 1.0).abs() * 100.0;
            let worst = outcome.counts.iter().map(off).fold(0.0, f64::max);
            let spread = outcome.spreads[outcome.spreads.len() / 2];
            bars[0].1 = format!("within {worst:.1} %; median difference in flight {spread}");
            println!("{name:12} within {worst:5.1} %, difference in flight: median {spread}");
            ((*name).to_owned(), bars)
        })
        .collect();
    chart(
        "100,000 requests over ten equal servers, four shards (each bar a server)",
        &[("", "#4878a8"), ("", "#6f9bc6")],
        &rows,
        18_000.0,
    )
}

/// Latencies with one of five servers ten times as slow as the others.
fn slow_server() -> String {
    let measure = |policy, count, has_slow| {
        let scenario = Scenario {
            policy,
            has_slow,
            shards_count: 2,
            rate: 1_000.0,
            requests: 100_000,
            seed: 1,
        };
        run(&scenario, &servers(count))
    };
    let mut rows: Vec<Row> = Vec::new();
    for (name, policy) in &POLICIES[..5] {
        let with = measure(*policy, 5, true);
        let alone = measure(*policy, 4, false);
        let millis = |outcome: &queueing::Outcome, quantile| {
            let time = outcome.quantile(quantile).as_secs_f64() * 1e3;
            (time, format!("{time:.1} ms"))
        };
        let mut bars =
            vec![millis(&with, 500), millis(&with, 990), millis(&with, 999), millis(&alone, 990)];
        let ratio = bars[1].0 / bars[3].0;
        let share = 100.0 * f64::from(with.counts[0]) / 100_000.0;
        let _ = write!(bars[1].1, ", {ratio:.2} of the four alone; the slow one had {share:.2} %");
        println!(
            "{name:12} p50 {:>9} p99 {:5.1} ms p99.9 {:>9} alone p99 {:>9} ratio {ratio:.2} share {share:.2} %",
            bars[0].1, bars[1].0, bars[2].1, bars[3].1
        );
        rows.push(((*name).to_owned(), bars));
    }
    chart(
        "One slow server of five (10 × latency), 1,000 requests/s, two shards",
        &[
            ("p50", "#a8c4de"),
            ("p99", "#4878a8"),
            ("p99.9", "#24405c"),
            ("p99 of the four alone", "#b0b0b0"),
        ],
        &rows,
        900.0,
    )
}

fn main() -> std::io::Result<()> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../docs/performance");
    std::fs::write(directory.join("balance_distribution.svg"), distribution())?;
    std::fs::write(directory.join("balance_slow_server.svg"), slow_server())
}
