//! The committed counts and the comparison with them.
//!
//! Owns the file `baseline.json` and the tolerance; leaves counting to `callgrind`. Invariant:
//! every case is judged, and so is every case of the baseline that is gone.

use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// The growth that passes, in percent. The counts repeat to within a few instructions; this leaves
/// room for a compiler's point release and for what another processor makes the C library choose.
const TOLERANCE_PERCENT: f64 = 2.0;

/// Instructions per iteration by case.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Baseline {
    counts: BTreeMap<String, f64>,
}

/// What a comparison says about one case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Within the tolerance.
    Same,
    /// Fewer instructions, by more than the tolerance.
    Better,
    /// More instructions, by more than the tolerance.
    Worse,
    /// Not in the baseline.
    New,
    /// In the baseline, but not counted any more.
    Gone,
}

/// One case compared.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    pub name: String,
    pub before: Option<f64>,
    pub now: Option<f64>,
    pub verdict: Verdict,
}

impl Baseline {
    /// Notes a count.
    pub fn insert(&mut self, name: &str, instructions: f64) {
        self.counts.insert(name.to_owned(), instructions);
    }

    /// Reads the committed baseline.
    pub fn load() -> Result<Self, String> {
        let path = path();
        let text = std::fs::read_to_string(&path)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        Self::parse(&text).ok_or_else(|| format!("{}: not an object of numbers", path.display()))
    }

    fn parse(text: &str) -> Option<Self> {
        let value: Map<String, Value> = serde_json::from_str(text).ok()?;
        let counts = value.into_iter().map(|(name, count)| Some((name, count.as_f64()?)));
        Some(Self { counts: counts.collect::<Option<_>>()? })
    }

    /// Writes this as the baseline to commit.
    pub fn save(&self) -> Result<(), String> {
        let path = path();
        std::fs::write(&path, self.text()).map_err(|error| format!("{}: {error}", path.display()))
    }

    fn text(&self) -> String {
        format!("{:#}\n", json!(self.counts))
    }

    /// Compares `now` with this, case by case.
    pub fn compare(&self, now: &Self) -> Vec<Line> {
        let mut names: Vec<&String> = self.counts.keys().chain(now.counts.keys()).collect();
        names.sort();
        names.dedup();
        let line = |name: &String| {
            let (before, now) = (self.counts.get(name).copied(), now.counts.get(name).copied());
            let verdict = match (before, now) {
                (Some(before), Some(now)) => judge(before, now),
                (None, _) => Verdict::New,
                (Some(_), None) => Verdict::Gone,
            };
            Line { name: name.clone(), before, now, verdict }
        };
        names.into_iter().map(line).collect()
    }
}

fn judge(before: f64, now: f64) -> Verdict {
    let tolerated = before * TOLERANCE_PERCENT / 100.0;
    if now > before + tolerated {
        Verdict::Worse
    } else if now < before - tolerated {
        Verdict::Better
    } else {
        Verdict::Same
    }
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("baseline.json")
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number =
            |count: Option<f64>| count.map_or("-".to_owned(), |count| format!("{count:.2}"));
        let change = match (self.before, self.now) {
            (Some(before), Some(now)) if before > 0.0 => {
                format!("{:+.2} %", (now / before - 1.0) * 100.0)
            }
            _ => String::new(),
        };
        let note = match self.verdict {
            Verdict::Same => "",
            Verdict::Better => "better",
            Verdict::Worse => "WORSE",
            Verdict::New => "NOT IN THE BASELINE",
            Verdict::Gone => "GONE",
        };
        let (name, before, now) = (&self.name, number(self.before), number(self.now));
        write!(f, "{name:<24} {before:>10} -> {now:>10} {change:>10}  {note}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(pairs: &[(&str, f64)]) -> Baseline {
        let mut baseline = Baseline::default();
        pairs.iter().for_each(|(name, count)| baseline.insert(name, *count));
        baseline
    }

    #[test]
    fn growth_beyond_the_tolerance_is_worse_and_the_rest_is_told_apart() {
        let baseline = counts(&[("a", 100.0), ("b", 100.0), ("c", 100.0), ("d", 100.0)]);
        let now = counts(&[("a", 102.0), ("b", 102.1), ("c", 97.9), ("e", 1.0)]);
        let verdicts: Vec<(String, Verdict)> =
            baseline.compare(&now).into_iter().map(|line| (line.name, line.verdict)).collect();
        let expected = [
            ("a", Verdict::Same),
            ("b", Verdict::Worse),
            ("c", Verdict::Better),
            ("d", Verdict::Gone),
            ("e", Verdict::New),
        ];
        assert_eq!(verdicts, expected.map(|(name, verdict)| (name.to_owned(), verdict)));
    }

    #[test]
    fn what_is_written_is_read_back() {
        let baseline = counts(&[("parse", 1234.56), ("pick", 40.0)]);
        assert_eq!(Baseline::parse(&baseline.text()), Some(baseline));
        assert_eq!(Baseline::parse("{\"a\": \"b\"}"), None);
    }

    #[test]
    fn the_committed_baseline_has_exactly_the_cases() {
        let baseline = Baseline::load().expect("the baseline is committed");
        let names: Vec<&str> = crate::all().map(|case| case.name).collect();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        assert_eq!(baseline.counts.keys().map(String::as_str).collect::<Vec<_>>(), sorted);
    }
}
