//! What the fuzz targets check, over their committed corpora.

mod checks;

use tidegate_testkit::for_each_seed;

#[test]
fn request_corpus_is_read_as_the_same_requests() {
    for_each_seed("http2_request", checks::request::check);
}

#[test]
fn response_corpus_decodes_the_same_whole_and_in_pieces() {
    for_each_seed("http2_response", checks::response::check);
}

#[test]
fn server_request_corpus_decodes_the_same_whole_and_in_pieces() {
    for_each_seed("http2_server_request", checks::server_request::check);
}

#[test]
fn meter_corpus_is_charged_the_same_whole_and_in_pieces() {
    for_each_seed("http2_meter", checks::meter::check);
}
