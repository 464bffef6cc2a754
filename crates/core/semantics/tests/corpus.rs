//! What the fuzz targets check, over their committed corpora.

mod checks;

use tidegate_testkit::for_each_seed;

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
