//! What accepted rules, lists, pages and the headers of a proxy become.
//!
//! Owns the meaning of each key; refused ones are in `invalid`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tidegate_config::{
    BackendIndex, Config, ForwardedHeader, Frontend, Report, defaults, load, parse_beside,
};
use tidegate_routing::{
    BackendChoice, Edit, Ending, RedirectTarget, RequestRule, RespondBody, Share,
};
use tidegate_rules::{Key, Template};
use tidegate_semantics::accept_encoding::Coding;
use tidegate_semantics::forwarded::Received;
use tidegate_semantics::redirect::{Query, Scheme};
use tidegate_semantics::traceparent::Sampling;

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..").join(path)
}

/// A file with `before` in the frontend `web`, `after` at its end, and the backends `a`, `app-b` and `app-c`.
fn read(before: &str, after: &str) -> Result<Config, Report> {
    let text = format!(
        "[frontends.web]\nbind = [\"127.0.0.1:8080\"]\ndefault_backend = \"a\"\n{before}\n{after}\n\
         [backends.a.servers]\na = \"127.0.0.1:9001\"\n[backends.app-b.servers]\na = \"127.0.0.1:9002\"\n\
         [backends.app-c.servers]\na = \"127.0.0.1:9003\"\n"
    );
    parse_beside(&project("config"), "test.toml", &text)
}

fn accept(before: &str, after: &str) -> Config {
    read(before, after).unwrap_or_else(|report| panic!("{report}"))
}

/// The rules that `text` has, each a table without brackets around it.
fn rules(texts: &[&str]) -> (Config, Vec<RequestRule>) {
    let list: String = texts.iter().map(|text| format!("{{ {text} }},")).collect();
    let config = accept(&format!("rules = [{list}]"), "");
    let rules = config.frontends[0].rules.request.rules.to_vec();
    (config, rules)
}

fn one_rule(text: &str) -> RequestRule {
    rules(&[text]).1.remove(0)
}

fn ending(text: &str) -> Ending {
    one_rule(text).ending.expect("has an ending")
}

fn literal(template: &Template) -> &str {
    std::str::from_utf8(template.as_literal().expect("no expressions")).expect("text")
}

#[test]
fn the_file_of_the_contract_is_read_as_it_stands() {
    let config = load(&project("crates/setup/config/tests/contract/routing.toml"))
        .unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(config.warnings, []);
    let rules = &config.frontends[0].rules;
    assert_eq!((rules.request.rules.len(), rules.response.rules.len()), (7, 2));
    let endings: Vec<_> = rules.request.rules.iter().map(|rule| rule.ending.is_some()).collect();
    assert_eq!(endings, [true, false, true, true, true, true, true]);
}

#[test]
fn the_routing_example_holds_what_it_says() {
    let config =
        load(&project("config/examples/routing.toml")).unwrap_or_else(|report| panic!("{report}"));
    let rules = &config.frontends[0].rules;
    assert_eq!((rules.request.rules.len(), rules.response.rules.len()), (9, 2));
    assert_eq!(&*rules.request.rules[0].name, "blocked addresses");
    assert_eq!(&*rules.request.rules[1].name, "rules[2]");
    assert_eq!(&*rules.response.rules[1].name, "response_rules[2]");
    assert_eq!(config.tables.lists.len(), 1);
    let list = &config.tables.lists[0].list;
    assert!(list.contains(Key::Address("192.0.2.9".parse().expect("an address"))));
    assert_eq!(&*config.tables.maps[0].name, "../tables/tenants.map");
    assert_eq!(config.tables.maps[0].map.get(b"acme.example"), Some(&b"acme"[..]));
    assert_eq!(config.frontends[0].error_pages.0.pages.len(), 1);
    assert_eq!(config.tables.files.len(), 4);
}

#[test]
fn edits_stand_in_the_order_in_which_they_apply() {
    let rule = one_rule(
        r#"mirror = "app-b", set_priority = -1, set_timeouts = { server = "5m" }, log_field = { l = "x" },
           set_variable = { v = "y" }, set_host = "h", set_query = "", set_path = "/p", set_method = "PUT",
           remove_headers = ["X-C"], add_headers = { "X-B" = "b" }, set_headers = { "X-A" = "a" }"#,
    );
    assert!(rule.ending.is_none());
    let edits = &rule.edits[..];
    let [
        Edit::SetHeader(a, a_value),
        Edit::AddHeader(b, _),
        Edit::RemoveHeader(c),
        Edit::SetMethod(method),
        Edit::SetPath(path),
        Edit::SetQuery(query),
        Edit::SetHost(host),
        Edit::SetVariable(variable, _),
        Edit::LogField(field),
        Edit::SetTimeouts(timeouts),
        Edit::SetPriority(-1),
        Edit::Mirror(mirror),
    ] = edits
    else {
        panic!("{edits:?}")
    };
    assert_eq!((a.written(), a.lower(), literal(a_value)), (&b"X-A"[..], &b"x-a"[..], "a"));
    assert_eq!((b.written(), c.written(), &**method), (&b"X-B"[..], &b"X-C"[..], &b"PUT"[..]));
    assert_eq!((literal(path), literal(query), literal(host)), ("/p", "", "h"));
    assert_eq!((variable.index(), &*field.name, literal(&field.value)), (0, "l", "x"));
    assert_eq!((timeouts.server, timeouts.connect), (Some(Duration::from_secs(300)), None));
    assert_eq!((mirror.backend, mirror.share), (BackendIndex(1), Share::ALL));
    let rule = one_rule(
        r#"rewrite_path = { pattern = "^/a", replacement = "/b" }, mirror = { backend = "a", percent = 2.5 }"#,
    );
    let [Edit::RewritePath(_), Edit::Mirror(mirror)] = &rule.edits[..] else { panic!() };
    assert_eq!(mirror.share, Share(25_000));
}

#[test]
fn backends_are_chosen_by_name_by_weight_and_by_template() {
    let Ending::Backend(BackendChoice::One(index)) = ending(r#"backend = "app-c""#) else {
        panic!()
    };
    assert_eq!(index, BackendIndex(2));
    let split = |text| match ending(text) {
        Ending::Backend(BackendChoice::Split(split)) => split,
        other => panic!("{other:?}"),
    };
    let short = split("backend = { a = 95, app-b = 5 }");
    let shares: Vec<_> = short.shares.iter().map(|share| (share.backend.0, share.weight)).collect();
    assert_eq!((shares, short.sum, short.key.is_none()), (vec![(0, 95), (1, 5)], 100, true));
    let long = split(r#"backend = { split = { app-b = 1 }, by = "source.ip" }"#);
    assert!(long.sum == 1 && long.key.is_some());
    let Ending::Backend(BackendChoice::Named(named)) = ending(r#"backend = "app-{request.host}""#)
    else {
        panic!()
    };
    let mut names: Vec<_> = named.backends.iter().map(|(name, index)| (&**name, index.0)).collect();
    names.sort_unstable();
    assert_eq!(names, [(&b"app-b"[..], 1), (&b"app-c"[..], 2)]);
}

#[test]
fn backends_called_split_and_by_are_weights_when_they_are_numbers() {
    let config = accept(
        "rules = [{ backend = { split = 1, by = 2 } }]",
        "[backends.split.servers]\na = \"127.0.0.1:1\"\n[backends.by.servers]\na = \"127.0.0.1:2\"\n",
    );
    let Some(Ending::Backend(BackendChoice::Split(split))) =
        &config.frontends[0].rules.request.rules[0].ending
    else {
        panic!()
    };
    assert_eq!(split.sum, 3);
}

#[test]
fn what_rules_lead_to_is_used() {
    let config = accept(
        r#"rules = [{ when = 'request.path == "/"', backend = "app-b" }, { mirror = "app-c" }]"#,
        "",
    );
    assert_eq!(config.warnings, []);
    let config = accept("", "");
    assert_eq!(config.warnings.len(), 2);
}

#[test]
fn redirects_keep_what_they_do_not_say() {
    let redirect = |text: &str| match ending(&format!("redirect = {text}")) {
        Ending::Redirect(redirect) => redirect,
        other => panic!("{other:?}"),
    };
    let parts = redirect(r#"{ scheme = "https" }"#);
    assert_eq!((parts.status, parts.query), (301, Query::Keep));
    let RedirectTarget::Parts { scheme: Some(Scheme::Https), host: None, prefix: None } =
        parts.target
    else {
        panic!("{parts:?}")
    };
    let whole = redirect(r#"{ location = "/new?from={request.path}", status = 302 }"#);
    assert_eq!((whole.status, whole.query), (302, Query::Drop));
    assert!(matches!(whole.target, RedirectTarget::Location(_)));
    let both = redirect(
        r#"{ host = "{request.host}:8443", prefix = "/v2", status = 308, keep_query = false }"#,
    );
    let RedirectTarget::Parts { scheme: None, host: Some(_), prefix: Some(prefix) } = &both.target
    else {
        panic!("{both:?}")
    };
    assert_eq!((both.status, both.query, literal(prefix)), (308, Query::Drop, "/v2"));
    assert_eq!(redirect(r#"{ location = "/a", keep_query = true }"#).query, Query::Keep);
    redirect(r#"{ prefix = "https://other.example" }"#);
}

#[test]
fn answers_are_texts_templates_and_files() {
    let respond = |text: &str| match ending(&format!("respond = {text}")) {
        Ending::Respond(respond) => respond,
        other => panic!("{other:?}"),
    };
    let bytes = |body: &RespondBody| match body {
        RespondBody::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        RespondBody::Template(_) => panic!("a template"),
    };
    let plain = respond(r#"{ body = "pong\n" }"#);
    assert_eq!((plain.status, &*bytes(&plain.body)), (200, "pong\n"));
    assert_eq!(plain.content_type.as_deref(), Some(defaults::BODY_CONTENT_TYPE.as_bytes()));
    let empty = respond("{ status = 204, headers = { \"X-A\" = \"a\" } }");
    assert_eq!((empty.status, empty.content_type, empty.headers.len()), (204, None, 1));
    let file = respond(r#"{ status = 503, file = "pages/503.html" }"#);
    assert_eq!(file.content_type.as_deref(), Some(&b"text/html; charset=utf-8"[..]));
    assert!(bytes(&file.body).starts_with("<!doctype html>"));
    let braces = respond(r#"{ content_type = "application/json", body = '{{"ok": true}}' }"#);
    assert_eq!(bytes(&braces.body), r#"{"ok": true}"#);
    assert!(matches!(respond(r#"{ body = "{source.ip}" }"#).body, RespondBody::Template(_)));
}

#[test]
fn refusals_have_a_short_and_a_long_form() {
    assert!(matches!(ending("deny = true"), Ending::Deny { status: 403 }));
    assert!(matches!(ending("deny = { status = 451 }"), Ending::Deny { status: 451 }));
    let (status, delay) = (defaults::TARPIT_STATUS, defaults::TARPIT_DELAY);
    let Ending::Tarpit { status: found, delay: waits } = ending("tarpit = true") else { panic!() };
    assert_eq!((found, waits), (status, delay));
    let Ending::Tarpit { status: 503, delay } =
        ending(r#"tarpit = { status = 503, delay = "2s" }"#)
    else {
        panic!()
    };
    assert_eq!(delay, Duration::from_secs(2));
    assert!(matches!(ending("close = true"), Ending::Close));
}

#[test]
fn users_are_named_or_stand_in_the_rule() {
    const HASH: &str =
        "$5$rounds=5000$toolongsaltstrin$Un/5jzAHMgOGZ5.mWJpuVolil07guHPvOW8mGsh0uzA";
    let config = accept(
        "rules = [{ authenticate = { users = { ada = \"secret\" } } }, { authenticate = { realm = \"r\", users = \"ops\" } }]",
        &format!("[user_lists.ops]\nusers = {{ bob = \"{HASH}\" }}\n"),
    );
    let rules = &config.frontends[0].rules.request.rules;
    let shown = format!("{config:?}");
    assert!(!shown.contains("secret") && !shown.contains(HASH), "passwords are shown");
    let own = rules[0].authenticate.as_ref().expect("asks");
    assert_eq!(&*own.realm, defaults::REALM.as_bytes());
    assert!(own.users.verify(b"ada", b"secret") && !own.users.verify(b"ada", b"other"));
    let named = rules[1].authenticate.as_ref().expect("asks");
    assert_eq!(&*named.realm, b"r");
    assert!(named.users.hash_of(b"bob").is_some());
}

#[test]
fn response_rules_edit_and_set_the_status() {
    let config = accept(
        r#"response_rules = [{ when = "response.code >= 500", set_status = 503, remove_headers = ["Server"] }]"#,
        "",
    );
    let rule = &config.frontends[0].rules.response.rules[0];
    assert_eq!((rule.set_status, rule.edits.len()), (Some(503), 1));
}

fn frontend(text: &str) -> Frontend {
    accept(text, "").frontends.remove(0)
}

#[test]
fn proxy_headers_are_read_and_inherited() {
    assert_eq!(frontend("forwarded_for = false").forwarded_for, None);
    let short = frontend("forwarded_for = true").forwarded_for.expect("told");
    assert_eq!(short.headers, [ForwardedHeader::For]);
    let everyone = ["192.0.2.1", "2001:db8::1"].map(|text| text.parse().expect("an address"));
    for address in everyone {
        assert!(short.trust.iter().any(|network| network.contains(address)), "{address}");
    }
    assert_eq!((short.trusted, short.untrusted), (Received::Append, Received::Replace));
    assert_eq!(frontend("forwarded_for = {}").forwarded_for, Some(short));
    let long = frontend(
        r#"forwarded_for = { headers = ["X-Forwarded-Proto", "forwarded"], trust = "10.0.0.0/8", trusted = "keep", untrusted = "remove" }"#,
    );
    let long = long.forwarded_for.expect("told");
    assert_eq!(long.headers, [ForwardedHeader::Proto, ForwardedHeader::Forwarded]);
    assert_eq!((long.trusted, long.untrusted), (Received::Keep, Received::Remove));
    assert!(!long.trust[0].contains(everyone[0]));

    let config = accept(
        "via = \"own\"",
        "[defaults]\nrequest_id = \"X-Request-Id\"\nvia = \"all\"\ntraceparent = { sampled = true }\n",
    );
    let web = &config.frontends[0];
    assert_eq!(web.request_id.as_ref().map(|name| name.lower()), Some(&b"x-request-id"[..]));
    assert_eq!(web.via.as_ref().map(|name| name.as_bytes()), Some(&b"own"[..]));
    assert_eq!(web.traceparent, Some(Sampling::Recorded));
    assert_eq!(frontend("traceparent = true").traceparent, Some(Sampling::NotRecorded));
    assert_eq!(frontend("traceparent = false").traceparent, None);
}

#[test]
fn compression_fills_what_is_not_said() {
    let compression =
        frontend("compression = { codings = [\"br\"], level = { br = 6 } }").compression;
    let compression = compression.expect("compresses");
    assert_eq!(compression.codings, [Coding::Brotli]);
    assert_eq!((compression.levels.brotli, compression.levels.gzip), (6, defaults::GZIP_LEVEL));
    assert!(compression.types.contain(b"application/json; charset=utf-8"));
    assert_eq!(compression.bytes_min, defaults::COMPRESSION_BYTES_MIN);
    assert_eq!(frontend("").compression, None);
    let config = accept(
        "",
        "[backends.z]\ncompression = { min_size = \"5B\" }\nservers = { a = \"127.0.0.1:1\" }\n",
    );
    assert_eq!(config.backends[0].compression.as_ref().map(|own| own.bytes_min), Some(5));
}

#[test]
fn variables_and_conditions_of_any_order_are_known() {
    accept(
        r#"
        rules = [
            { when = 'is_tenant && vars.later == ""', log_field = { a = "{vars.later}" } },
            { set_variable = { later = "x" } },
        ]
        response_rules = [{ when = 'vars.later == "x"', set_status = 500 }]
        conditions = { is_tenant = 'is_other || vars.later == "y"', is_other = 'request.path == "/"' }
        "#,
        "",
    );
}

#[test]
fn warns_of_conditions_and_rules_that_do_nothing() {
    let config = accept(
        r#"
        conditions = { unused = 'used', used = 'request.path == "/"', only_unused = 'unused' }
        rules = [
            { when = "used", deny = true },
            { when = "false", deny = true },
            { when = '"a" == "a"', set_method = "GET", close = true },
            { backend = "app-b" },
            { backend = "app-c" },
        ]
        "#,
        "",
    );
    let warnings: Vec<_> = config.warnings.iter().map(|warning| &*warning.message).collect();
    assert_eq!(
        warnings,
        [
            "condition `unused` is not used",
            "condition `only_unused` is not used",
            "the condition never holds: the rule does nothing",
            "this rule is never reached",
        ]
    );
}

#[test]
fn a_frontend_that_only_answers_needs_no_backend() {
    let text = "[frontends.web]\nbind = [\"127.0.0.1:8080\"]\nrules = [{ redirect = { scheme = \"https\" } }]\n";
    let config =
        parse_beside(Path::new(""), "test.toml", text).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(config.warnings, []);
}

#[test]
fn two_files_are_equal_when_their_rules_and_their_files_say_the_same() {
    // Warnings show the line that they are about.
    let rule = |text: &str| Config {
        warnings: Vec::new(),
        ..accept(&format!("rules = [{{ {text} }}]"), "")
    };
    let plain = rule(r#"when = 'request.path == "/"', deny = true"#);
    assert_eq!(plain, rule(r#"  deny  =  true  ,  when = "request.path == \"/\"" "#));
    assert_ne!(plain, rule(r#"when = 'request.path == "/a"', deny = true"#));
    assert_ne!(plain, rule("deny = true"));

    let directory = std::env::temp_dir().join(format!("tidegate-rules-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("writable");
    let text = "[frontends.web]\nbind = [\"127.0.0.1:8080\"]\nerror_pages = { 503 = \"p.html\" }\n\
                rules = [{ when = 'lookup(\"m.map\", request.host) == \"\" && inList(source.ip, \"l\")', close = true }]\n\
                [lists.l]\nfile = \"l.txt\"\n";
    let with = |page: &str, map: &str, list: &str| {
        for (name, content) in [("p.html", page), ("m.map", map), ("l.txt", list)] {
            fs::write(directory.join(name), content).expect("writable");
        }
        parse_beside(&directory, "test.toml", text).unwrap_or_else(|report| panic!("{report}"))
    };
    let first = with("p", "a b", "x");
    assert_eq!(first, with("p", "a b", "x"));
    for (page, map, list) in [("q", "a b", "x"), ("p", "a c", "x"), ("p", "a b", "y")] {
        assert_ne!(first, with(page, map, list));
    }
    // Left behind at worst; the test has its result by now.
    let _ = fs::remove_dir_all(&directory);
}

#[test]
fn files_that_are_too_long_or_not_text_are_refused() {
    let directory = std::env::temp_dir().join(format!("tidegate-files-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("writable");
    fs::write(directory.join("long.html"), vec![b'x'; defaults::PAGE_BYTES_MAX + 1])
        .expect("writable");
    fs::write(directory.join("longest.html"), vec![b'x'; defaults::PAGE_BYTES_MAX])
        .expect("writable");
    fs::write(directory.join("latin1.txt"), b"a\ncaf\xe9\n").expect("writable");
    let text = "[frontends.web]\nbind = [\"127.0.0.1:8080\"]\ndefault_backend = \"a\"\n\
                error_pages = { 503 = \"long.html\", 502 = \"longest.html\", 504 = \"/dev/zero.html\" }\n\
                [lists.l]\nfile = \"latin1.txt\"\n[lists.endless]\nfile = \"/dev/zero\"\n\
                [backends.a.servers]\na = \"127.0.0.1:9001\"\n";
    let report = parse_beside(&directory, "test.toml", text).expect_err("three files are wrong");
    let messages: Vec<_> = report.diagnostics.iter().map(|problem| &*problem.message).collect();
    assert_eq!(
        messages,
        [
            "the file `long.html` is longer than 1MiB",
            "the file `/dev/zero.html` cannot be read: No such file or directory (os error 2)",
            "the file `latin1.txt` is not valid UTF-8 in line 2",
            "the file `/dev/zero` is not a regular file",
        ]
    );
    // Left behind at worst; the test has its result by now.
    let _ = fs::remove_dir_all(&directory);
}
