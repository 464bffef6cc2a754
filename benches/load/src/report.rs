//! What is written after a comparison: table, JSON, latency curves, `.hgrm` files, verdicts. Each
//! form is a module that turns results into text; this one puts the texts into files.
//!
//! Invariant: everything shown comes from [`Results`], so the JSON suffices to check any figure.

pub mod hgrm;
pub mod svg;
pub mod table;
pub mod verdict;

use std::fs;
use std::io;
use std::path::Path;

use crate::results::{Level, Results};

/// Writes `results.md`, `results.json`, `latency-*.svg` and `hgrm/*.hgrm` into `directory`.
///
/// # Errors
/// When a file cannot be written.
pub fn write(results: &Results, directory: &Path) -> io::Result<()> {
    let curves = directory.join("hgrm");
    fs::create_dir_all(&curves)?;
    let json = serde_json::to_string_pretty(results)?;
    fs::write(directory.join("results.json"), json + "\n")?;
    fs::write(directory.join("results.md"), table::markdown(results))?;
    for ((scenario, level, proxy), histogram) in &results.histograms {
        if let Level::Percent(percent) = level {
            let name = format!("{scenario}-{percent}-{proxy}.hgrm");
            fs::write(curves.join(name), hgrm::text(histogram))?;
        }
    }
    for scenario in table::scenario_names(results) {
        if let Some(drawing) = svg::latency_curves(results, scenario) {
            fs::write(directory.join(format!("latency-{scenario}.svg")), drawing)?;
        }
    }
    Ok(())
}
