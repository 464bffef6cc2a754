//! Owns the rules for packages: each says what it is, inherits what is common, and keeps the
//! workspace's lints.
//!
//! Leaves dependencies to `layers`. Invariant: the one package that lifts a lint is named here.

use crate::Complaint;

/// The package that holds `unsafe` code, and therefore lints of its own.
const UNSAFE_PACKAGE: &str = "tidegate-ring";

/// What a package's manifest says.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The package's name.
    pub name: String,
    /// The manifest's text.
    pub text: String,
}

/// Lines that every manifest has.
const COMMON_LINES: [&str; 5] = [
    "version.workspace = true",
    "edition.workspace = true",
    "rust-version.workspace = true",
    "license.workspace = true",
    "publish.workspace = true",
];

/// Checks one manifest.
#[must_use]
pub fn check(manifest: &Manifest) -> Vec<Complaint> {
    let has_line = |wanted: &str| manifest.text.lines().any(|line| line.trim() == wanted);
    let complain = |message: String| Complaint::new(&manifest.name, message);
    let mut complaints = Vec::new();
    let description =
        manifest.text.lines().find_map(|line| line.strip_prefix("description = \"Tidegate: "));
    if description.is_none_or(|rest| rest.trim_end_matches('"').is_empty()) {
        complaints.push(complain("no description that begins with `Tidegate: `".to_owned()));
    }
    let missing = COMMON_LINES.iter().filter(|line| !has_line(line));
    complaints.extend(missing.map(|line| complain(format!("no `{line}`"))));
    let inherits_lints = manifest.text.contains("[lints]\nworkspace = true\n");
    if manifest.name == UNSAFE_PACKAGE {
        if !has_line("unsafe_code = \"deny\"") {
            complaints.push(complain(
                "`unsafe_code` is not denied outside the files that allow it".to_owned(),
            ));
        }
    } else if !inherits_lints {
        complaints.push(complain("does not inherit the workspace's lints".to_owned()));
    }
    for word in ["common", "utils", "util", "helpers", "misc"] {
        if manifest.name.ends_with(&format!("-{word}")) {
            complaints.push(complain(format!("`{word}` is not a name of the domain")));
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(name: &str, edit: impl Fn(String) -> String) -> Manifest {
        let common = COMMON_LINES.join("\n");
        let text = format!(
            "[package]\nname = \"{name}\"\ndescription = \"Tidegate: a sample\"\n{common}\n\n[lints]\nworkspace = true\n"
        );
        Manifest { name: name.to_owned(), text: edit(text) }
    }

    #[test]
    fn a_good_manifest_passes() {
        assert_eq!(check(&manifest("tidegate-sample", |text| text)), []);
    }

    #[test]
    fn each_missing_part_is_found() {
        let parts = ["description = \"Tidegate: a sample\"", "[lints]\nworkspace = true\n"];
        for part in parts.iter().chain(&COMMON_LINES) {
            let manifest =
                manifest("tidegate-sample", |text| text.replace(&format!("\n{part}"), ""));
            assert_eq!(check(&manifest).len(), 1, "{part}");
        }
        assert_eq!(check(&manifest("tidegate-utils", |text| text)).len(), 1);
        assert_eq!(
            check(&manifest("tidegate-sample", |text| text.replace(" a sample", " "))).len(),
            1
        );
    }

    #[test]
    fn the_package_with_unsafe_code_denies_it_elsewhere() {
        let lifted = |text: String| {
            text.replace("[lints]\nworkspace = true", "[lints.rust]\nunsafe_code = \"deny\"")
        };
        assert_eq!(check(&manifest(UNSAFE_PACKAGE, lifted)), []);
        assert_eq!(check(&manifest(UNSAFE_PACKAGE, |text| text)).len(), 1);
        assert_eq!(check(&manifest("tidegate-sample", lifted)).len(), 1);
    }
}
