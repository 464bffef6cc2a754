//! What is said about expressions that are wrong: exactly what `wrong.txt` shows.

mod support;

use std::fmt::Write;
use support::{compile_for, names};
use tidegate_rules::{
    Condition, Conditions, DEPTH_MAX, EXPRESSION_BYTES_MAX, Environment, Phase, Problem, Template,
};

/// The problems under the text that they are about.
fn shown(text: &str, problems: &[Problem]) -> String {
    let mut out = format!("{text}\n");
    for problem in problems {
        let indent = text[..problem.span.start].chars().count();
        let carets = text[problem.span.clone()].chars().count().max(1);
        let _ = write!(out, "{:indent$}{} {}", "", "^".repeat(carets), problem.message);
        if let Some(help) = &problem.help {
            let _ = write!(out, "; {help}");
        }
        out.push('\n');
    }
    out
}

fn problems_of(section: &str, text: &str) -> Vec<Problem> {
    let phase = match section {
        "[connection]" => Phase::Connection,
        "[request]" | "[template]" => Phase::Request,
        "[response]" => Phase::Response,
        other => panic!("no section {other}"),
    };
    if section != "[template]" {
        return compile_for(phase, text).err().unwrap_or_default();
    }
    let (mut names, conditions) = (names(), Conditions::default());
    let mut environment = Environment { names: &mut names, conditions: &conditions, phase };
    Template::compile(text, &mut environment).err().unwrap_or_default()
}

#[test]
fn every_wrong_expression_is_explained_as_the_file_shows() {
    let file = include_str!("wrong.txt");
    let (mut section, mut cases, mut expected, mut found) = ("", 0, String::new(), String::new());
    for block in file.split("\n\n") {
        let mut lines = block.lines().filter(|line| !line.starts_with("# ")).peekable();
        section =
            lines.next_if(|line| line.starts_with('[') && line.ends_with(']')).unwrap_or(section);
        let Some(text) = lines.next() else { continue };
        cases += 1;
        found += &shown(text, &problems_of(section, text));
        expected +=
            &format!("{text}\n{}", lines.map(|line| format!("{line}\n")).collect::<String>());
    }
    for (expected, found) in expected.lines().zip(found.lines()) {
        assert_eq!(found, expected);
    }
    assert_eq!(found, expected);
    assert!(cases >= 60, "{cases} wrong expressions");
}

/// What is said about a text of one problem.
fn message(text: &str) -> String {
    match compile_for(Phase::Request, text).expect_err(text).as_slice() {
        [problem] => format!("{:?}: {}", problem.span, problem.message),
        problems => panic!("{problems:?}"),
    }
}

#[test]
fn texts_without_end_are_refused_at_once() {
    for empty in ["", " \n "] {
        assert_eq!(
            message(empty),
            format!("{0}..{0}: expected a value, found the end", empty.len())
        );
    }
    let long = "a".repeat(EXPRESSION_BYTES_MAX + 1);
    let expected = "0..0: 16385 bytes are too long for an expression, 16384 are allowed";
    assert_eq!(message(&long), expected);
    let deep = format!("nests deeper than {DEPTH_MAX} levels");
    let max = EXPRESSION_BYTES_MAX;
    for repeated in ["(", "[", "!(", "a(", "a[", "a ? a : "] {
        let text = repeated.repeat(max / repeated.len() - 1);
        assert!(message(&text).contains(&deep), "{repeated}");
    }
    for (begin, repeated) in [("a", ".b"), ("a", "[b]"), ("a", " == b"), ("a", ".b()")] {
        let text = format!("{begin}{}", repeated.repeat((max - 1) / repeated.len()));
        assert!(message(&text).contains(&deep), "{repeated}");
    }
}

#[test]
fn long_flat_expressions_are_allowed() {
    for (first, repeated) in [
        ("connection.tls", " || connection.mtls"),
        ("connection.tls", r#" || request.path == "/""#),
        ("!!!!connection.tls", " && connection.tls"),
        (r#"request.path == "a""#, r#" + "a""#),
    ] {
        let text = format!("{first}{}", repeated.repeat(EXPRESSION_BYTES_MAX / repeated.len() - 8));
        assert!(compile_for(Phase::Request, &text).is_ok(), "{repeated}");
    }
}

#[test]
fn work_that_multiplies_is_refused() {
    let list = format!("[{}]", vec!["\"a\""; 500].join(","));
    let text = format!("{list}.exists(a, {list}.exists(b, a == b && request.path == a))");
    let expected = "the expression comes to more than 100000 steps or 200 levels";
    assert!(message(&text).ends_with(expected), "{}", message(&text));
    let text = format!("{list}.exists(a, request.path.matches(a))");
    assert!(message(&text).ends_with(expected), "{}", message(&text));
}

/// The problems of named conditions.
fn condition_problems(entries: &[(&str, &str)]) -> Vec<String> {
    let (_, problems) = Conditions::compile(&mut names(), entries.iter().copied());
    let show = |problem: &tidegate_rules::ConditionProblem| {
        format!("{} {:?}: {}", problem.name, problem.problem.span, problem.problem.message)
    };
    problems.iter().map(show).collect()
}

#[test]
fn conditions_that_refer_to_themselves_are_refused() {
    assert_eq!(
        condition_problems(&[("a", "!a")]),
        ["a 1..2: the condition refers to itself: a → a"]
    );
    let entries = [
        ("x", "a || b"),
        ("a", "connection.tls && b"),
        ("b", "c"),
        ("c", "a ? true : false"),
        ("d", "a"),
    ];
    assert_eq!(
        condition_problems(&entries),
        ["a 18..19: the condition refers to itself: a → b → c → a"]
    );
    let two = [("a", "b"), ("b", "a"), ("c", "c || c"), ("e", "connection.tls")];
    assert_eq!(condition_problems(&two).len(), 2);
}

#[test]
fn wrong_conditions_are_told_once() {
    let entries = [
        ("bad", "request.pth == \"/\""),
        ("uses_bad", "bad && connection.tls"),
        ("in", "connection.tls"),
        ("request", "connection.tls"),
        ("is-api", "connection.tls"),
        ("broken", "connection.tls &&"),
    ];
    assert_eq!(
        condition_problems(&entries),
        [
            "in 0..2: \"in\" cannot be a name in expressions",
            "request 0..0: `request` is the name of attributes",
            "is-api 0..6: \"is-api\" cannot be a name in expressions",
            "broken 17..17: expected a value, found the end",
            "bad 0..11: unknown attribute `request.pth`",
        ]
    );
}

#[test]
fn references_do_not_multiply_without_end() {
    let names_of: Vec<String> = (0..64).map(|number| format!("c{number}")).collect();
    let texts: Vec<String> = (0..64)
        .map(|number| match number {
            0 => "connection.tls ? connection.mtls : request.path == request.query".to_owned(),
            _ => format!("c{0} == !c{0}", number - 1),
        })
        .collect();
    let entries: Vec<(&str, &str)> =
        names_of.iter().zip(&texts).map(|(name, text)| (&**name, &**text)).collect();
    let problems = condition_problems(&entries);
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].contains("more than 100000 steps"), "{problems:?}");
}

#[test]
fn conditions_that_no_rule_uses_are_known() {
    let mut names = names();
    let entries = [("a", "b"), ("b", "connection.tls"), ("c", "b"), ("d", "connection.mtls")];
    let (conditions, problems) = Conditions::compile(&mut names, entries);
    assert_eq!(problems, []);
    assert_eq!(conditions.unused(), ["a", "b", "c", "d"]);
    let mut environment =
        Environment { names: &mut names, conditions: &conditions, phase: Phase::Request };
    assert!(Condition::compile("a", &mut environment).is_ok());
    assert_eq!(conditions.unused(), ["c", "d"]);
}
