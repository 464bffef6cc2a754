//! What compiled conditions say is what the `cel` crate's interpreter says, on random expressions and
//! requests.
//!
//! Left out are the places where we differ on purpose: what is missing is the empty string (CEL is
//! given a value under every name that expressions ask for), strings are bytes (all are ASCII here), and
//! hosts are compared without case (none is asked for).

mod support;

use cel::{Context, Env, Value};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use support::random::{KEYS, Maker, request};
use support::{Request, compile};
use tidegate_rules::{Facts, Key, Keyed, Scratch};

fn text(bytes: &[u8]) -> Value {
    Value::from(String::from_utf8(bytes.to_vec()).expect("the tests' strings are ASCII"))
}

fn map<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::from(
        entries
            .map(|(name, value)| (name.to_owned(), value))
            .into_iter()
            .collect::<HashMap<String, Value>>(),
    )
}

/// All that is there, and the empty string under the names that are asked for and are not there.
fn keyed(request: &Request, keyed: Keyed, pairs: &[(Vec<u8>, Vec<u8>)]) -> Value {
    let mut values: HashMap<String, Value> = HashMap::new();
    for (name, _) in pairs {
        let name = String::from_utf8(name.clone()).expect("ASCII").to_ascii_lowercase();
        let value = request.keyed(keyed, name.as_bytes()).expect("it is there");
        values.insert(name, text(value));
    }
    for name in KEYS {
        values.entry(name.to_owned()).or_insert_with(|| text(b""));
    }
    Value::from(values)
}

/// Whether the first bits of both are the same, bit by bit: shares nothing with what is tested.
fn in_range(address: &str, block: &str) -> bool {
    let (network, prefix) = block.split_once('/').expect("a block");
    let prefix: usize = prefix.parse().expect("a number");
    let bits = |text: &str| -> String {
        match text.parse::<IpAddr>().expect("an address") {
            IpAddr::V4(v4) => v4.octets().iter().map(|octet| format!("{octet:08b}")).collect(),
            IpAddr::V6(v6) => v6.octets().iter().map(|octet| format!("{octet:08b}")).collect(),
        }
    };
    let (address, network) = (bits(address), bits(network));
    address.len() == network.len() && address[..prefix] == network[..prefix]
}

fn context(env: &Arc<Env>, request: &Request) -> Context<'static, 'static> {
    let mut context = Context::with_env(Arc::clone(env));
    let variables = [
        (
            "request",
            map([
                ("method", text(&request.method)),
                ("path", text(&request.path)),
                ("query", text(&request.query)),
                ("size", Value::Int(request.size)),
                ("headers", keyed(request, Keyed::RequestHeaders, &request.headers)),
                ("cookies", keyed(request, Keyed::Cookies, &request.cookies)),
            ]),
        ),
        ("vars", map([("tier", text(&request.variable))])),
        ("connection", map([("tls", Value::Bool(request.tls))])),
        (
            "source",
            map([
                ("ip", text(request.source.expect("it has one").to_string().as_bytes())),
                ("port", Value::Int(request.source_port)),
            ]),
        ),
    ];
    for (name, value) in variables {
        context.add_variable_from_value(name, value);
    }
    let (list, table, rate) = (request.list.clone(), request.map.clone(), request.rate);
    let added = [
        context.add_function("inIpRange", |address: Arc<String>, block: Arc<String>| {
            in_range(&address, &block)
        }),
        context.add_function("inList", move |value: Arc<String>, _list: Arc<String>| {
            list.contains(Key::Text(value.as_bytes()))
        }),
        context.add_function("rate", move |_key: Arc<String>, _limit: Arc<String>| rate),
        context.add_function("lookup", move |_map: Arc<String>, key: Arc<String>| {
            let value = table.get(key.as_bytes()).unwrap_or_default();
            Arc::new(String::from_utf8(value.to_vec()).expect("ASCII"))
        }),
    ];
    assert!(added.iter().all(Result::is_ok));
    context
}

#[test]
fn conditions_say_what_the_interpreter_says() {
    let seed = tidegate_testkit::seed();
    let mut rng = seed.rng();
    let mut env = Env::stdlib();
    env.add_extension(cel::extensions::strings).expect("the extension is new");
    let env = Arc::new(env);
    let (mut scratch, mut answers) = (Scratch::default(), [0; 2]);
    for _ in 0..600 {
        let depth = rng.below(4);
        let mut maker = Maker { rng: &mut rng, bound: Vec::new(), with_host: false };
        let expression = maker.truth(depth);
        let program =
            env.compile(&expression).unwrap_or_else(|error| panic!("{expression}: {error}"));
        let condition = compile(&expression);
        for _ in 0..8 {
            let request = request(&mut rng);
            let said = program.execute(&context(&env, &request));
            let expected = match said {
                Ok(Value::Bool(expected)) => expected,
                other => panic!("{expression}: {other:?}"),
            };
            let found = condition.matches(&request, &mut scratch);
            assert_eq!(found, expected, "{expression}\n{request:#?}");
            answers[usize::from(found)] += 1;
        }
    }
    assert!(answers.iter().all(|count| *count > 400), "both answers are common: {answers:?}");
}
