//! What the fuzz targets check, over their committed corpora.

mod checks;

use tidegate_testkit::for_each_seed;

#[test]
fn records_corpus_is_judged_as_the_rfcs_say() {
    for_each_seed("tls_records", checks::records::check);
}

#[test]
fn messages_corpus_is_read_the_same_whole_and_in_pieces() {
    for_each_seed("tls_messages", checks::handshake_messages::check);
}
