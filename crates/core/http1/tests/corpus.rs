//! What the fuzz targets check, over their committed corpora and over the table of malformed
//! requests.

mod checks;

use tidegate_testkit::{for_each_seed, malformed};

#[test]
fn request_corpus_is_judged_the_same_whole_and_in_pieces() {
    for_each_seed("request", checks::request::check);
}

#[test]
fn response_corpus_is_judged_the_same_whole_and_in_pieces() {
    for_each_seed("response", checks::response::check);
}

#[test]
fn chunked_corpus_decodes_the_same_whole_and_in_pieces() {
    for_each_seed("chunked", checks::chunked::check);
}

#[test]
fn roundtrip_corpus_encodes_to_the_same_message() {
    for_each_seed("roundtrip", checks::roundtrip::check);
}

#[test]
fn malformed_requests_pass_every_check() {
    for row in malformed::table() {
        checks::request::check(&row.bytes);
        checks::response::check(&row.bytes);
        for choice in 0..32 {
            let tagged = [&[choice][..], &row.bytes].concat();
            checks::chunked::check(&tagged);
            checks::roundtrip::check(&tagged);
        }
    }
}
