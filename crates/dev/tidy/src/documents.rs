//! Owns the rules for documents: links lead somewhere, decisions are numbered, the code map and the
//! changelog keep up.
//!
//! Leaves the agreement of documents with configuration keys and metrics to the crates that own
//! those. Invariant: what stands in a code block is an example, not a link.

use crate::Complaint;
use crate::project::File;
use std::collections::BTreeSet;

/// Where decisions are recorded.
const DECISIONS: &str = "docs/adr/";

/// Checks the links of one Markdown file. `exists` tells whether a path relative to the root is
/// there; `anchors_of` gives the anchors of a Markdown file.
#[must_use]
pub fn check_links(
    file: &File,
    exists: &dyn Fn(&str) -> bool,
    anchors_of: &dyn Fn(&str) -> BTreeSet<String>,
) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for (number, target) in links(&file.text) {
        if ["http://", "https://", "mailto:"].iter().any(|scheme| target.starts_with(scheme)) {
            continue;
        }
        let (path, anchor) = target.split_once('#').unwrap_or((&target, ""));
        let path =
            if path.is_empty() { Some(file.path.clone()) } else { resolve(&file.path, path) };
        let mut complain =
            |message: String| complaints.push(Complaint::at_line(&file.path, number, message));
        match path {
            Some(path) if exists(&path) => {
                if !anchor.is_empty() && !anchors_of(&path).contains(anchor) {
                    complain(format!("{path} has no heading for #{anchor}"));
                }
            }
            _ => complain(format!("the link leads nowhere: {target}")),
        }
    }
    complaints
}

/// The targets of inline links, with their lines, outside code.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    for (number, line) in prose(text) {
        let mut rest = line.as_str();
        while let Some(place) = rest.find("](") {
            rest = &rest[place + 2..];
            let Some(end) = rest.find(')') else { break };
            // A title may follow the target.
            links.push((number, rest[..end].split(' ').next().unwrap_or_default().to_owned()));
            rest = &rest[end..];
        }
    }
    links
}

/// The lines outside fenced blocks, with inline code blanked.
fn prose(text: &str) -> impl Iterator<Item = (usize, String)> {
    let mut fenced = false;
    let mut is_prose = move |line: &str| {
        let is_fence = line.trim_start().starts_with("```");
        fenced ^= is_fence;
        !fenced && !is_fence
    };
    let without_code = |line: &str| {
        line.split('`')
            .enumerate()
            .filter(|(part, _)| part % 2 == 0)
            .map(|(_, text)| text)
            .collect()
    };
    let lines: Vec<(usize, String)> = (1..)
        .zip(text.lines())
        .filter(|(_, line)| is_prose(line))
        .map(|(number, line)| (number, without_code(line)))
        .collect();
    lines.into_iter()
}

/// The anchors that a Markdown viewer makes from the headings of `text`.
#[must_use]
pub fn anchors(text: &str) -> BTreeSet<String> {
    let mut fenced = false;
    let mut anchors = BTreeSet::new();
    for line in text.lines() {
        fenced ^= line.trim_start().starts_with("```");
        let heading = line.trim_start_matches('#');
        if !fenced && heading.len() < line.len() && heading.starts_with(' ') {
            let kept = heading
                .trim()
                .chars()
                .filter(|char| char.is_alphanumeric() || " -_".contains(*char));
            anchors.insert(kept.collect::<String>().to_lowercase().replace(' ', "-"));
        }
    }
    anchors
}

/// `target` as seen from `from`; `None` when it leaves the project.
fn resolve(from: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// Checks that decisions are numbered from 0001 without gap or repetition, have their parts, and
/// that every `ADR-NNNN` in any file names one.
#[must_use]
pub fn check_decisions(files: &[File]) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let mut numbers = BTreeSet::new();
    for file in files {
        let Some(name) = file.path.strip_prefix(DECISIONS).filter(|name| *name != "template.md")
        else {
            continue;
        };
        let mut complain = |message: String| complaints.push(Complaint::new(&file.path, message));
        let Some(number) = name.get(..4).and_then(|digits| digits.parse::<u32>().ok()) else {
            complain("not named NNNN-title.md".to_owned());
            continue;
        };
        if !numbers.insert(number) {
            complain(format!("the number {number:04} is taken"));
        }
        let mut lines = file.text.lines().filter(|line| !line.is_empty());
        if !lines.next().is_some_and(|title| title.starts_with(&format!("# {number:04}: "))) {
            complain(format!("does not open with `# {number:04}: ` and a title"));
        }
        if !lines.any(|line| line == "## Decision") {
            complain("no heading `## Decision`".to_owned());
        }
    }
    let gap = (1..).zip(&numbers).find(|(expected, number)| expected != *number);
    complaints.extend(
        gap.map(|(expected, _)| Complaint::new(DECISIONS, format!("no decision {expected:04}"))),
    );
    complaints.extend(files.iter().flat_map(|file| check_references(file, &numbers)));
    complaints
}

fn check_references(file: &File, numbers: &BTreeSet<u32>) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for (number, line) in (1..).zip(file.text.lines()) {
        for (place, mark) in line.match_indices("ADR-") {
            let digits = line.get(place + mark.len()..place + mark.len() + 4);
            if let Some(decision) = digits.and_then(|digits| digits.parse::<u32>().ok())
                && !numbers.contains(&decision)
            {
                complaints.push(Complaint::at_line(
                    &file.path,
                    number,
                    format!("no decision {decision:04}"),
                ));
            }
        }
    }
    complaints
}

/// Checks that the code map names every package's directory.
#[must_use]
pub fn check_code_map(map: &File, directories: &[String]) -> Vec<Complaint> {
    let is_missing = |directory: &&String| {
        let directory = directory.as_str();
        let named =
            [format!("`{directory}`"), format!("({directory})"), format!("(../{directory})")];
        !named.iter().any(|name| map.text.contains(name))
    };
    let missing = directories.iter().filter(is_missing);
    missing
        .map(|directory| {
            Complaint::new(&map.path, format!("the code map does not name `{directory}`"))
        })
        .collect()
}

/// Checks that the changelog has a section for the version.
#[must_use]
pub fn check_changelog(changelog: &File, version: &str) -> Vec<Complaint> {
    let heading = format!("## [{version}]");
    if changelog.text.lines().any(|line| line.starts_with(&heading)) {
        return Vec::new();
    }
    vec![Complaint::new(&changelog.path, format!("no section `{heading}`"))]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken_links(text: &str) -> usize {
        let exists = |path: &str| ["docs/a.md", "README.md", "docs"].contains(&path);
        let anchors_of = |path: &str| {
            if path == "README.md" { anchors("# Read me, please\n") } else { anchors(text) }
        };
        check_links(&File::new("docs/a.md", text), &exists, &anchors_of).len()
    }

    #[test]
    fn links_that_lead_somewhere_pass() {
        for text in [
            "[a](../README.md)",
            "[a](../README.md#read-me-please) and [b](https://example.com/x#y)",
            "# A `b` c\n[a](#a-b-c)",
            "`[a](none.md)`",
            "```\n[a](none.md)\n```",
            "[a](. \"title\")",
        ] {
            assert_eq!(broken_links(text), 0, "{text}");
        }
    }

    #[test]
    fn links_that_lead_nowhere_are_found() {
        for text in [
            "[a](none.md)",
            "[a](README.md)",
            "[a](../../README.md)",
            "[a](../README.md#none)",
            "[a](#none)",
            "```\ncode\n```\n[a](none.md)",
        ] {
            assert_eq!(broken_links(text), 1, "{text}");
        }
    }

    fn decision(number: u32) -> File {
        let path = format!("docs/adr/{number:04}-sample.md");
        File::new(path, format!("# {number:04}: Sample\n\n## Decision\n"))
    }

    #[test]
    fn numbered_decisions_pass() {
        let template = File::new("docs/adr/template.md", "# NNNN: Title\n");
        let reference = File::new("src/a.rs", "// ADR-0002 says why; ADR-NNNN is a form.\n");
        assert_eq!(check_decisions(&[decision(1), decision(2), template, reference]), []);
    }

    #[test]
    fn each_fault_of_a_decision_is_found() {
        let changed = |from: &str, to: &str| {
            let sample = decision(2);
            File::new(sample.path, sample.text.replace(from, to))
        };
        let cases = [
            vec![decision(1), decision(3)],
            vec![decision(1), File::new("docs/adr/0001-other.md", decision(1).text)],
            vec![decision(1), changed("# 0002: Sample", "# Sample")],
            vec![decision(1), changed("## Decision", "We decided:")],
            vec![decision(1), File::new("docs/adr/notes.md", "")],
            vec![decision(1), File::new("src/a.rs", "// see ADR-0009\n")],
        ];
        for files in cases {
            let complaints = check_decisions(&files);
            assert_eq!(complaints.len(), 1, "{:?}: {complaints:?}", files.last());
        }
    }

    #[test]
    fn the_code_map_must_name_every_package() {
        let map = File::new("docs/ARCHITECTURE.md", "`crates/core/a` and [b](../crates/core/b)\n");
        let directories = ["crates/core/a", "crates/core/b", "crates/core"].map(str::to_owned);
        assert_eq!(check_code_map(&map, &directories[..2]), []);
        assert_eq!(check_code_map(&map, &directories).len(), 1);
    }

    #[test]
    fn the_changelog_must_have_the_version() {
        let changelog = File::new("CHANGELOG.md", "# Changelog\n\n## [0.1.0] - unreleased\n");
        assert_eq!(check_changelog(&changelog, "0.1.0"), []);
        assert_eq!(check_changelog(&changelog, "0.2.0").len(), 1);
    }
}
