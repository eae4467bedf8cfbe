//! The configuration loader against tables of sources and what they must say.

use std::collections::BTreeMap;

use am_core::Code;
use am_core::config::{Loader, Origin, Problem, SecretRef};
use am_core::policy::Backoff;
use proptest::prelude::*;
use serde::Deserialize;

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    data_dir: String,
    server: Server,
    keep: BTreeMap<String, Keep>,
    limits: Vec<u32>,
    sources: Vec<Source>,
    log: Level,
    sink: Sink,
    ratio: f64,
    retry: Backoff,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Server {
    grpc_port: u16,
    tls: bool,
    name: Option<String>,
    key: Option<SecretRef>,
    hosts: Vec<String>,
}

impl Default for Server {
    fn default() -> Self {
        Server { grpc_port: 7070, tls: false, name: Some("am".into()), key: None, hosts: Vec::new() }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Keep {
    days: u32,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Source {
    path: String,
    #[serde(default)]
    every_s: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Level {
    #[default]
    Info,
    Debug,
    Quiet,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Sink {
    #[default]
    Null,
    File {
        path: String,
    },
    Port(u16),
}

fn toml(text: &str) -> Loader {
    Loader::new().toml("am.toml", text)
}

fn problems(loader: Loader) -> Vec<String> {
    loader.check::<Config>().err().unwrap_or_default().iter().map(Problem::to_string).collect()
}

#[test]
fn without_a_source_everything_is_its_default() {
    assert_eq!(Loader::new().load::<Config>().unwrap(), Config::default());
    assert_eq!(toml("").load::<Config>().unwrap(), Config::default());
}

#[test]
fn flags_win_over_variables_and_variables_over_the_text() {
    let text = "data_dir = 'a'\n[server]\ngrpc_port = 1\nhosts = ['x', 'y']\ntls = true";
    let config: Config = toml(text)
        .variables([("AM__SERVER__GRPC_PORT", "2"), ("AM__SERVER__HOSTS", "z"), ("AM__RETRY__FIRST_MS", "5")])
        .flags(["server.grpc_port=3", "log=debug"])
        .load()
        .unwrap();
    let server = Server { grpc_port: 3, tls: true, hosts: vec!["z".into()], ..Server::default() };
    assert_eq!((config.server, config.data_dir.as_str(), config.log), (server, "a", Level::Debug));
    assert_eq!((config.retry.first_ms, config.retry.max_ms), (5, Backoff::default().max_ms));
}

#[test]
fn a_later_text_is_merged_into_an_earlier_one() {
    let config: Config = toml("[server]\ngrpc_port = 1\ntls = true").toml("more.toml", "server.grpc_port = 2").load().unwrap();
    assert_eq!((config.server.grpc_port, config.server.tls), (2, true));
}

#[test]
fn texts_of_variables_and_flags_take_the_type_of_their_field() {
    let mut expected = Config { ratio: -1.5e3, limits: vec![1, 2_000], ..Config::default() };
    expected.server = Server { grpc_port: 80, tls: true, name: None, hosts: vec!["80".into(), "on".into()], key: None };
    expected.sink = Sink::File { path: "a=b".into() };
    expected.sources = vec![Source { path: "p".into(), every_s: 7 }];
    expected.keep.insert("device.gps.raw".into(), Keep { days: 3 });
    let flags = [
        "ratio=-1.5e3",
        "limits=1, 2_000",
        "server.grpc_port= 80 ",
        "server.tls=on",
        "server.name=",
        "server.hosts=80,on",
        "sink={file = {path = 'a=b'}}",
        "sources=[{path = 'p', every_s = 7}]",
        "keep.\"device.gps.raw\".days=3",
    ];
    assert_eq!(Loader::new().flags(flags).load::<Config>().unwrap(), expected);
    for (text, want) in [("port", None), ("{port = 9}", Some(Sink::Port(9))), ("null", Some(Sink::Null))] {
        let got = Loader::new().variables([("AM__SINK", text)]).load::<Config>();
        assert_eq!(got.ok().map(|c| c.sink), want, "{text}");
    }
    for (text, want) in [("", vec![]), ("[]", vec![]), ("[ 1,2 ]", vec![1, 2]), ("3", vec![3])] {
        assert_eq!(Loader::new().flags([format!("limits={text}")]).load::<Config>().unwrap().limits, want, "{text:?}");
    }
}

#[test]
fn each_mistake_in_the_text_is_told_with_line_and_column() {
    let table = [
        ("[server]\n  grpc_prot = 1", "am.toml:2:3: server.grpc_prot: there is no key \"grpc_prot\" here; did you mean grpc_port?"),
        ("[sever]", "am.toml:1:2: sever: there is no key \"sever\" here; did you mean server?"),
        ("[server]\ngrpc_port = 'x'", "am.toml:2:13: server.grpc_port: invalid type: string \"x\", expected u16"),
        ("[server]\ngrpc_port = 70000", "am.toml:2:13: server.grpc_port: invalid value: integer `70000`, expected u16"),
        ("[server]\nhosts = ['a', 1]", "am.toml:2:15: server.hosts[1]: invalid type: integer `1`, expected a string"),
        ("server = 1", "am.toml:1:10: server: invalid type: integer `1`, expected struct Server"),
        ("log = 'debgu'", "am.toml:1:7: log: there is no \"debgu\" here; did you mean debug?"),
        ("sink = {fiel = 1}", "am.toml:1:8: sink: there is no \"fiel\" here; did you mean file?"),
        ("sink = {file = {pth = 'a'}}", "am.toml:1:17: sink.file.pth: there is no key \"pth\" here; did you mean path?"),
        ("[[sources]]\nevery_s = 1", "am.toml:1:1: sources[0]: missing field `path`"),
        ("data_dir = ", "am.toml:1:12: not valid TOML: "),
        ("a = 1\na = 2\n", "am.toml:2:1: not valid TOML: duplicate key"),
        ("data_dir = 1979-05-27", ""),
    ];
    for (text, want) in table {
        match toml(text).check::<Config>() {
            Err(found) => assert!(found.iter().any(|p| !want.is_empty() && p.to_string().starts_with(want)), "{text}: {found:#?}"),
            Ok(_) => assert_eq!(want, "", "{text}"),
        }
    }
}

#[test]
fn each_mistake_in_a_variable_or_flag_names_it() {
    let variables = [
        ("AM__SERVER__GRPC_PORT", "x", "variable AM__SERVER__GRPC_PORT: server.grpc_port: invalid type: string \"x\", expected u16"),
        ("AM__SERVER__TLS", "maybe", "variable AM__SERVER__TLS: server.tls: \"maybe\" is neither true nor false"),
        ("AM__SERVR__TLS", "true", "variable AM__SERVR__TLS: servr: there is no key \"servr\" here; did you mean server?"),
        ("AM__SERVER", "x", "variable AM__SERVER: server: invalid type: string \"x\", expected struct Server"),
        ("AM__LIMITS", "1,x", "variable AM__LIMITS: limits: invalid type: string \"x\", expected u32"),
        ("AM__LIMITS", "[1", "variable AM__LIMITS: limits: not valid TOML: "),
        ("AM____X", "1", "variable AM____X: the form is AM__SECTION__KEY"),
    ];
    for (name, value, want) in variables {
        let found = problems(Loader::new().variables([(name, value)]));
        assert!(found.len() == 1 && found[0].starts_with(want), "{found:?}");
    }
    let flags = [
        ("server.tls=2", "flag server.tls: server.tls: \"2\" is neither true nor false"),
        ("hunter2", "flag number 1: the form is section.key=value"),
        ("data_dir.x.y=1", "flag data_dir.x.y: data_dir.x.y: data_dir was set to a single value (am.toml:1:12)"),
    ];
    for (flag, want) in flags {
        let found = problems(toml("data_dir = 'a'").flags([flag]));
        assert!(found.len() == 1 && found[0].starts_with(want), "{found:?}");
    }
}

#[test]
fn all_mistakes_are_told_at_once_in_the_order_of_the_sources() {
    let text = "ratio = 'x'\nlimits = [1, -1, 'y']\ncolour = 1\n[server]\ntls = 1\nname = 2\nnme = 3\n[[sources]]\npath = 4\n";
    let found = problems(toml(text).flags(["log=loud", "x"]).variables([("AM__SERVER__GRPC_PORT", "no")]));
    let places: Vec<&str> = found.iter().map(|p| p.split(": ").next().unwrap_or_default()).collect();
    let want = [
        "am.toml:1:9",
        "am.toml:2:14",
        "am.toml:2:18",
        "am.toml:3:1",
        "am.toml:5:7",
        "am.toml:6:8",
        "am.toml:7:1",
        "am.toml:9:8",
        "variable AM__SERVER__GRPC_PORT",
        "flag log",
        "flag number 2",
    ];
    assert_eq!(places, want, "{found:#?}");
    let e = toml(text).load::<Config>().unwrap_err();
    assert_eq!((e.code(), e.message().lines().count()), (Code::BAD_CONFIG, 8));
}

#[test]
fn a_broken_line_does_not_hide_what_is_wrong_on_others() {
    let found = problems(toml("ratio = = 1\n[server]\ntls = 5\n"));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("am.toml:1:") && found[1].starts_with("am.toml:3:7: server.tls"), "{found:?}");
}

#[test]
fn a_secret_written_into_the_configuration_is_refused_and_never_repeated() {
    for text in ["server.key = 'hunter2'", "server.key = 47110815", "server.key = ['hunter2']", "server.key = {a = 'hunter2'}"] {
        let e = toml(text).load::<Config>().unwrap_err().to_string();
        assert!(e.contains("am.toml:1:14: server.key: ") && !e.contains("hunter2") && !e.contains("4711"), "{e}");
    }
    let e = toml("server.key = 'hunter2'").load::<Config>().unwrap_err().to_string();
    assert!(e.contains("file:/path or env:NAME"), "{e}");
    let loaders = [Loader::new().variables([("AM__SERVER__KEY", "hunter2")]), Loader::new().flags(["server.key=hunter2"])];
    for loader in loaders {
        assert!(!format!("{loader:?}").contains("hunter2"));
        let e = format!("{:?}", loader.load::<Config>().unwrap_err());
        assert!(e.contains("file:/path") && !e.contains("hunter2"), "{e}");
    }
    let config: Config = Loader::new().variables([("AM__SERVER__KEY", "env:API_KEY")]).load().unwrap();
    assert_eq!(config.server.key, Some(SecretRef::Env("API_KEY".into())));
}

#[test]
fn a_file_that_cannot_be_read_is_one_problem_among_others() {
    let read = |_: &str| Err(std::io::Error::other("disk on fire"));
    let found = Loader::new().file("/etc/am.toml", read).flags(["x"]).check::<Config>().unwrap_err();
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].to_string(), "/etc/am.toml: cannot be read: disk on fire");
    assert!(matches!(&found[0].origin, Origin::File { line: 0, .. }));
    let good = Loader::new().file("am.toml", |_| Ok("ratio = 2".into())).load::<Config>().unwrap();
    assert_eq!(good.ratio, 2.0);
}

#[test]
fn sizes_are_bounded() {
    let huge = format!("data_dir = '{}'", "x".repeat(1 << 20));
    assert!(problems(toml(&huge))[0].contains("more than 1048576"));
    let deep = format!("{}=1", vec!["a"; 100].join("."));
    assert!(problems(Loader::new().flags([deep.as_str()]))[0].ends_with("the key has too many parts"));
    for nested in [deep.as_str(), &format!("limits = {}", "[".repeat(100_000)), &format!("sink = {}", "{a=".repeat(100_000))] {
        assert!(!problems(toml(nested)).is_empty());
    }
    let many: String = (0..1_000).map(|i| format!("k{i} = 1\n")).collect();
    assert_eq!(problems(toml(&many)).len(), 100);
    assert!(problems(Loader::new().flags([format!("ratio={}", "y".repeat(10_000))]))[0].len() < 500);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_text_makes_it_panic(text in any::<String>(), flag in any::<String>(), name in any::<String>()) {
        let loader = toml(&text).variables([(format!("AM__{name}"), text.clone())]).flags([flag]);
        if let Err(found) = loader.check::<Config>() {
            prop_assert!(!found.is_empty());
        }
    }

    #[test]
    fn no_text_made_of_toml_makes_it_panic(
        parts in proptest::collection::vec(prop_oneof![
            Just("["), Just("]"), Just("[["), Just("]]"), Just("{"), Just("}"), Just("="), Just(","), Just("."), Just("\n"), Just("\""), Just("'''"),
            Just("server"), Just("sources"), Just("keep"), Just("a"), Just("path"), Just("limits"), Just("sink"), Just("file"),
            Just("1"), Just("-1e9"), Just("true"), Just("1979-05-27"), Just("0x1f"), Just("99999999999999999999999999999999999999999"), Just(" "), Just("#"),
        ], 0..40),
        key in prop_oneof![Just("AM__SERVER"), Just("AM__SINK"), Just("AM__KEEP__A__DAYS"), Just("AM__LIMITS"), Just("AM__SOURCES")],
    ) {
        let text = parts.concat();
        let _ = toml(&text).variables([(key, text.as_str())]).flags([format!("sink={text}"), format!("{text}=1")]).check::<Config>();
    }

    #[test]
    fn a_number_comes_through_every_source_unchanged(port in any::<u16>(), ratio in -1e12f64..1e12, every in 0u64..(i64::MAX as u64)) {
        let text = format!("ratio = {ratio:?}\nserver.grpc_port = {port}\nsources = [{{path = 'p', every_s = {every}}}]");
        let from_text: Config = toml(&text).load().unwrap();
        let from_flags: Config = Loader::new().flags([format!("ratio={ratio:?}"), format!("server.grpc_port={port}"), format!("sources=[{{path='p',every_s={every}}}]")]).load().unwrap();
        prop_assert_eq!(&from_text, &from_flags);
        prop_assert_eq!((from_text.server.grpc_port, from_text.ratio, from_text.sources[0].every_s), (port, ratio, every));
    }
}
