//! What the fuzz targets check, over their committed corpora.

mod checks;

use std::fs;
use std::path::PathBuf;

fn for_each_seed(target: &str, check: fn(&[u8])) {
    let directory =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../fuzz/corpus").join(target);
    let mut seeds = 0;
    for entry in fs::read_dir(&directory).expect("the corpus is committed") {
        let path = entry.expect("the corpus is readable").path();
        let bytes = fs::read(&path).expect("the corpus is readable");
        eprintln!("{}", path.display());
        check(&bytes);
        seeds += 1;
    }
    assert!(seeds > 0, "{} is empty", directory.display());
}

#[test]
fn path_corpus_has_one_normal_form_each() {
    for_each_seed("path", checks::path::check);
}

#[test]
fn cookies_corpus_is_divided_consistently() {
    for_each_seed("cookies", checks::cookies::check);
}

#[test]
fn arguments_corpus_is_decoded_consistently() {
    for_each_seed("arguments", checks::arguments::check);
}

#[test]
fn accept_encoding_corpus_is_negotiated_consistently() {
    for_each_seed("accept_encoding", checks::accept_encoding::check);
}
