//! Owns the rules for every text file: no trailing blanks, one newline at the end, no notes, no
//! paths of one machine.
//!
//! Leaves what is special to Rust or Markdown to `sources` and `documents`. Invariant: files whose
//! exact bytes are test data are not judged.

use crate::Complaint;
use crate::project::File;
use crate::sources::contains_word;

/// Beginnings of paths that exist on one machine only.
const MACHINE_PATHS: [&str; 4] =
    [concat!("/wo", "rk/"), concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/Us", "ers/")];

/// Notes to oneself, which belong in an issue.
const NOTES: [&str; 2] = [concat!("TO", "DO"), concat!("FIX", "ME")];

/// Files whose bytes are test data: deliberately odd configurations.
const DATA: [&str; 1] = ["config/invalid/"];

/// Checks one text file.
#[must_use]
pub fn check(file: &File) -> Vec<Complaint> {
    if DATA.iter().any(|data| file.path.starts_with(data)) {
        return Vec::new();
    }
    let mut complaints = Vec::new();
    for (number, line) in (1..).zip(file.text.split('\n')) {
        let mut complain =
            |message: String| complaints.push(Complaint::at_line(&file.path, number, message));
        if line.ends_with([' ', '\t', '\r']) {
            complain("blanks at the end of the line".to_owned());
        }
        if let Some(path) = MACHINE_PATHS.iter().find(|path| names_path(line, path)) {
            complain(format!("{path}… exists on one machine only"));
        }
        // Rust files are looked at more closely elsewhere.
        if !file.has_ending("rs")
            && let Some(note) = NOTES.iter().find(|note| contains_word(line, note))
        {
            complain(format!("{note}: finish it, or say it where work is planned"));
        }
    }
    if !file.text.ends_with('\n') || file.text.ends_with("\n\n") {
        complaints
            .push(Complaint::new(&file.path, "the file does not end with exactly one newline"));
    }
    complaints
}

/// Whether `line` names an absolute path that begins with `path`: `a/work/b` and `http://x/work/`
/// do not.
fn names_path(line: &str, path: &str) -> bool {
    let is_inside = |char: char| char.is_alphanumeric() || "_-./}{*$".contains(char);
    line.match_indices(path).any(|(place, _)| !line[..place].ends_with(is_inside))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints_count(path: &str, text: &str) -> usize {
        check(&File::new(path, text)).len()
    }

    #[test]
    fn each_rule_finds_its_bad_sample() {
        let cases = [
            ("a.md", "a \n".to_owned()),
            ("a.md", "a\t\nb\n".to_owned()),
            ("a.toml", "a\r\n".to_owned()),
            ("a.md", "a".to_owned()),
            ("a.md", "a\n\n".to_owned()),
            ("scripts/a", format!("cd {}x\n", MACHINE_PATHS[0])),
            ("a.md", format!("`{}me/x`\n", MACHINE_PATHS[1])),
            ("a.toml", format!("# {}: later\n", NOTES[0])),
        ];
        for (path, text) in cases {
            assert_eq!(complaints_count(path, &text), 1, "{path}: {text:?}");
        }
    }

    #[test]
    fn good_files_and_data_pass() {
        assert_eq!(complaints_count("a.md", "a\n\nb\n"), 0);
        assert_eq!(
            complaints_count(
                "a.md",
                &format!("see example.com{}x and $DIR{0}x\n", MACHINE_PATHS[0])
            ),
            0
        );
        assert_eq!(complaints_count("config/invalid/tabs.toml", "a \t\r\n\n"), 0);
    }
}
