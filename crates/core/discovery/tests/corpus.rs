//! What the fuzz target checks, over its committed corpus.

mod checks;

#[test]
fn answers_of_the_corpus_are_read_or_refused() {
    tidegate_testkit::for_each_seed("dns", checks::dns::check);
}
