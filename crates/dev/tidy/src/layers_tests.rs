//! Tests of `layers`.

use super::*;

const SAMPLE: &[Row] = &[
    row("tidegate-core", Layer::Core, &["httparse"], &["proptest"]),
    row("tidegate-config", Layer::Setup, &["tidegate-core"], &[]),
    row("tidegate-control", Layer::Io, &["glommio", "tidegate-core"], &[]),
    row("tidegate-proxy", Layer::Io, &["tidegate-core"], &[]),
];

fn package(name: &str, dependencies: &[&str], dev_dependencies: &[&str]) -> Package {
    let set = |names: &[&str]| names.iter().map(ToString::to_string).collect();
    Package {
        name: name.to_owned(),
        dependencies: set(dependencies),
        dev_dependencies: set(dev_dependencies),
    }
}

fn good() -> Vec<Package> {
    SAMPLE.iter().map(|row| package(row.package, row.dependencies, row.dev_dependencies)).collect()
}

/// The complaints about the good packages with the one of this name replaced, table and all.
fn complaints_with(replacement: &Package, layer: Layer) -> Vec<String> {
    let leak = |names: &BTreeSet<String>| -> &'static [&'static str] {
        let names: Vec<&'static str> = names.iter().map(|name| &*name.clone().leak()).collect();
        names.leak()
    };
    let name: &'static str = replacement.name.clone().leak();
    let new =
        row(name, layer, leak(&replacement.dependencies), leak(&replacement.dev_dependencies));
    let rows = SAMPLE.iter().filter(|row| row.package != name).copied().chain([new]);
    let packages =
        good().into_iter().filter(|package| package.name != name).chain([replacement.clone()]);
    let complaints = check(&packages.collect::<Vec<_>>(), &rows.collect::<Vec<_>>());
    complaints.iter().map(ToString::to_string).collect()
}

#[test]
fn packages_that_match_the_table_pass() {
    assert_eq!(check(&good(), SAMPLE), []);
}

#[test]
fn every_difference_from_the_table_is_found() {
    let cases = [
        (
            package("tidegate-core", &["httparse", "serde"], &["proptest"]),
            "serde is not in the table",
        ),
        (
            package("tidegate-core", &["httparse"], &["proptest", "rand"]),
            "rand is not in the table",
        ),
        (package("tidegate-core", &["httparse"], &[]), "the table has dev-dependency proptest"),
        (package("tidegate-config", &[], &[]), "the table has dependency tidegate-core"),
    ];
    for (changed, expected) in cases {
        let packages: Vec<Package> =
            good().into_iter().filter(|package| package.name != changed.name).collect();
        let complaints = check(&[packages, vec![changed]].concat(), SAMPLE);
        assert!(
            complaints.iter().any(|complaint| complaint.message.contains(expected)),
            "{complaints:?}"
        );
    }
    let unknown = [good(), vec![package("tidegate-new", &[], &[])]].concat();
    assert_eq!(check(&unknown, SAMPLE).len(), 1);
    assert_eq!(check(&good()[1..], SAMPLE).len(), 1);
}

#[test]
fn the_layers_hold_whatever_the_table_says() {
    let cases = [
        (package("tidegate-core", &["tidegate-config"], &[]), Layer::Core, "higher layer"),
        (package("tidegate-core", &["socket2"], &[]), Layer::Core, "a pure crate"),
        (package("tidegate-config", &["glommio"], &[]), Layer::Setup, "only the I/O crates"),
        (package("tidegate-config", &["libc"], &[]), Layer::Setup, "only the I/O crates"),
        (
            package("tidegate-proxy", &["tidegate-control"], &[]),
            Layer::Io,
            "reaches tidegate-control",
        ),
        (package("tidegate-core", &["tidegate-testkit"], &[]), Layer::Core, "a pure crate"),
    ];
    for (changed, layer, expected) in cases {
        let complaints = complaints_with(&changed, layer);
        assert!(
            complaints.iter().any(|complaint| complaint.contains(expected)),
            "{changed:?}: {complaints:?}"
        );
    }
}

#[test]
fn a_forbidden_package_is_found_behind_another() {
    let through = package("tidegate-proxy", &["tidegate-core", "tidegate-between"], &[]);
    let between = package("tidegate-between", &["tidegate-config"], &[]);
    let packages = [good(), vec![between, through]].concat();
    let complaints = check_reach(&packages);
    assert!(
        complaints.iter().any(|complaint| complaint.message.contains("reaches tidegate-config"))
    );
}

#[test]
fn nothing_that_ships_depends_on_the_tools_of_tests() {
    let shipped = TABLE.iter().filter(|row| row.layer != Layer::Dev);
    let dev: Vec<&str> =
        TABLE.iter().filter(|row| row.layer == Layer::Dev).map(|row| row.package).collect();
    for row in shipped {
        assert!(!row.dependencies.iter().any(|name| dev.contains(name)), "{}", row.package);
    }
}
