//! What the fuzz target checks, over its committed corpus, over the tables of the other tests and over
//! texts made of the language's words.

mod checks;

use tidegate_testkit::for_each_seed;

#[test]
fn conditions_of_the_corpus_compile_or_are_explained() {
    for_each_seed("condition", checks::check);
}

#[test]
fn wrong_expressions_cut_short_anywhere_are_explained() {
    for line in include_str!("wrong.txt").lines() {
        for (end, _) in line.char_indices() {
            checks::check(&line.as_bytes()[..end]);
        }
    }
}

#[test]
fn random_words_compile_or_are_explained() {
    const WORDS: [&str; 52] = [
        "request",
        "response",
        ".",
        ".path",
        ".host",
        ".headers",
        "[",
        "]",
        "(",
        ")",
        "{",
        "}",
        "\"a\"",
        "'b'",
        "\"\"",
        "\"/x\"",
        "r\"\\d\"",
        "connection.tls",
        "source.ip",
        "source.port",
        "==",
        "!=",
        "<",
        ">=",
        "in",
        "&&",
        "||",
        "!",
        "?",
        ":",
        ",",
        "+",
        "-",
        "1",
        "2.5",
        "true",
        "false",
        ".startsWith(\"a\")",
        ".contains(",
        ".matches(\"a|b\")",
        ".lowerAscii()",
        ".exists(s, ",
        ".all(s, ",
        "s",
        "size(",
        "inIpRange(source.ip, \"10.0.0.0/8\")",
        "lookup(\"m\", ",
        "rate(source.ip, \"l\")",
        "inList(",
        "vars.v",
        "request.path",
        "é",
    ];
    let seed = tidegate_testkit::seed();
    let mut rng = seed.rng();
    for _ in 0..30_000 {
        let count = rng.below(14);
        let text: Vec<&str> = (0..count).map(|_| *rng.choose(&WORDS)).collect();
        checks::check(text.join(*rng.choose::<&str>(&["", " "])).as_bytes());
    }
}
