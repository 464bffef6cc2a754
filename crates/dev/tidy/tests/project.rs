//! Owns applying the checks to this very tree.
//!
//! Leaves the checks, and the proof that each can fail, to the library. Invariant: every complaint
//! is shown at once.

use cargo_metadata::DependencyKind;
use std::fs;
use tidegate_tidy::layers::{self, Package};
use tidegate_tidy::manifests::{self, Manifest};
use tidegate_tidy::project::{self, File};
use tidegate_tidy::{Complaint, documents, sources, texts};

#[track_caller]
fn expect_none(complaints: &[Complaint]) {
    let lines: Vec<String> = complaints.iter().map(ToString::to_string).collect();
    assert!(complaints.is_empty(), "{} complaints:\n{}", lines.len(), lines.join("\n"));
}

fn file(path: &str) -> File {
    let text = fs::read_to_string(project::root().join(path))
        .unwrap_or_else(|error| panic!("{path}: {error}"));
    File::new(path, text)
}

#[test]
fn dependencies_match_the_table_and_the_layers() {
    let metadata = project::metadata(&project::root());
    let package = |package: &&cargo_metadata::Package| {
        let names = |is_dev: bool| {
            let wanted = |dependency: &&cargo_metadata::Dependency| {
                (dependency.kind == DependencyKind::Development) == is_dev
            };
            package
                .dependencies
                .iter()
                .filter(wanted)
                .map(|dependency| dependency.name.clone())
                .collect()
        };
        Package {
            name: package.name.to_string(),
            dependencies: names(false),
            dev_dependencies: names(true),
        }
    };
    let packages: Vec<Package> = metadata.workspace_packages().iter().map(package).collect();
    expect_none(&layers::check(&packages, layers::TABLE));
}

#[test]
fn manifests_describe_inherit_and_lint() {
    let metadata = project::metadata(&project::root());
    let manifest = |package: &cargo_metadata::Package| {
        let text = fs::read_to_string(&package.manifest_path).expect("Cargo has just read it");
        Manifest { name: package.name.to_string(), text }
    };
    let packages = metadata.workspace_packages();
    let complaints: Vec<Complaint> =
        packages.iter().flat_map(|package| manifests::check(&manifest(package))).collect();
    expect_none(&complaints);
}

#[test]
fn rust_files_keep_the_rules_for_sources() {
    let files = project::text_files(&project::root());
    let rust = files.iter().filter(|file| file.has_ending("rs"));
    let mut complaints: Vec<Complaint> =
        rust.flat_map(|file| sources::check(file, sources::SIZE_EXCEPTIONS)).collect();
    complaints.extend(sources::check_exceptions(&files, sources::SIZE_EXCEPTIONS));
    expect_none(&complaints);
}

#[test]
fn text_files_keep_the_rules_for_texts() {
    let files = project::text_files(&project::root());
    expect_none(&files.iter().flat_map(texts::check).collect::<Vec<_>>());
}

#[test]
fn links_of_documents_lead_somewhere() {
    let root = project::root();
    let exists = |path: &str| root.join(path).exists();
    let anchors_of = |path: &str| documents::anchors(&file(path).text);
    let files = project::text_files(&root);
    let documents = files.iter().filter(|file| file.has_ending("md"));
    let complaints = documents.flat_map(|file| documents::check_links(file, &exists, &anchors_of));
    expect_none(&complaints.collect::<Vec<_>>());
}

#[test]
fn decisions_are_numbered_and_references_to_them_hold() {
    let files = project::text_files(&project::root());
    // The samples of the check itself name decisions that are not there.
    let files: Vec<File> =
        files.into_iter().filter(|file| !file.path.starts_with("crates/dev/tidy/")).collect();
    expect_none(&documents::check_decisions(&files));
}

#[test]
fn the_code_map_and_the_changelog_keep_up() {
    let root = project::root();
    let metadata = project::metadata(&root);
    let packages = metadata.workspace_packages();
    let directory = |package: &&cargo_metadata::Package| {
        let path = package.manifest_path.parent().expect("a manifest is in a directory");
        path.strip_prefix(&root).expect("members are below the root").to_string()
    };
    let directories: Vec<String> = packages.iter().map(directory).collect();
    let mut complaints = documents::check_code_map(&file("docs/ARCHITECTURE.md"), &directories);
    let version = packages[0].version.to_string();
    complaints.extend(documents::check_changelog(&file("CHANGELOG.md"), &version));
    expect_none(&complaints);
}
