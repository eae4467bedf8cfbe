//! What `status` shows.

use serde_json::{Value, json};

use super::names::Service;
use super::state::{Entry, State};
use super::{environment, health};

/// One server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    name: String,
    provider: String,
    address: String,
    pid: Option<u32>,
    /// Why it is not well; none for one that is.
    health: Result<(), String>,
    /// False when nobody expects an answer.
    up: bool,
}

impl Row {
    pub(super) fn is_sick(&self) -> bool {
        self.up && self.health.is_err()
    }
}

/// Asks all servers.
pub(super) fn rows(state: &State) -> Vec<Row> {
    let of = |service: Service| match environment::given(service, state) {
        Some(value) => {
            let health = health::of_given(service, &value);
            vec![Row { name: service.name().into(), provider: "given".into(), address: shown(&value), pid: None, health, up: true }]
        }
        None => match state.services.get(&service) {
            Some(entry) => started(service, entry),
            None => {
                let health = Err("not up".into());
                vec![Row { name: service.name().into(), provider: "-".into(), address: "-".into(), pid: None, health, up: false }]
            }
        },
    };
    Service::ALL.into_iter().flat_map(of).collect()
}

fn started(service: Service, entry: &Entry) -> Vec<Row> {
    let row = |(n, server): (usize, &super::state::Server)| Row {
        name: service.server_name(n),
        provider: entry.provider.name().into(),
        address: service.url(server.ports.client),
        pid: server.process.filter(|p| p.is_alive()).map(|p| p.pid),
        health: health::of_server(service, server),
        up: !server.stopped,
    };
    entry.servers.iter().enumerate().map(row).collect()
}

/// An address without what stands before its `@`, which may be a password.
fn shown(value: &str) -> String {
    let one = |url: &str| match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        _ => url.to_owned(),
    };
    value.split(',').map(one).collect::<Vec<_>>().join(",")
}

/// Name, provider, address, pid, healthy.
pub(super) fn table(rows: &[Row]) -> String {
    let head = ["service", "provider", "address", "pid", "healthy"].map(str::to_owned);
    let cells = |r: &Row| {
        let pid = r.pid.map_or_else(|| "-".into(), |pid| pid.to_string());
        let healthy = match &r.health {
            Ok(()) => "yes".into(),
            Err(why) if r.up => format!("no: {}", why.lines().next().unwrap_or_default()),
            Err(why) => why.clone(),
        };
        [r.name.clone(), r.provider.clone(), r.address.clone(), pid, healthy]
    };
    let lines: Vec<[String; 5]> = std::iter::once(head).chain(rows.iter().map(cells)).collect();
    let widths: Vec<usize> = (0..5).map(|n| lines.iter().filter_map(|l| l.get(n)).map(String::len).max().unwrap_or(0)).collect();
    let line = |l: &[String; 5]| {
        let cells = l.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    lines.iter().map(line).collect()
}

/// The same for programs.
pub(super) fn json(rows: &[Row]) -> Value {
    let row = |r: &Row| {
        let (healthy, why) = (r.health.is_ok(), r.health.as_ref().err());
        json!({ "service": r.name, "provider": r.provider, "address": r.address, "pid": r.pid, "healthy": healthy, "why": why })
    };
    Value::Array(rows.iter().map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, pid: Option<u32>, health: Result<(), String>, up: bool) -> Row {
        Row { name: name.into(), provider: "debian".into(), address: "nats://127.0.0.1:1".into(), pid, health, up }
    }

    #[test]
    fn each_server_has_a_line_and_sick_ones_say_why() {
        let rows = [
            row("nats", Some(42), Ok(()), true),
            row("nats-cluster:1", None, Err("process 7 is gone\nmore".into()), true),
            row("kafka", None, Err("not up".into()), false),
        ];
        let want = "service         provider  address             pid  healthy\n\
                    nats            debian    nats://127.0.0.1:1  42   yes\n\
                    nats-cluster:1  debian    nats://127.0.0.1:1  -    no: process 7 is gone\n\
                    kafka           debian    nats://127.0.0.1:1  -    not up\n";
        assert_eq!(table(&rows), want);
        assert_eq!(rows.iter().map(Row::is_sick).collect::<Vec<_>>(), [false, true, false]);
        assert_eq!(json(&rows)[0]["pid"], 42);
        assert_eq!(json(&rows)[2]["healthy"], false);
    }

    #[test]
    fn logins_are_not_shown() {
        assert_eq!(shown("postgres://me:p@ss@db:1/x"), "postgres://db:1/x");
        assert_eq!(shown("nats://a:b@h:1,nats://i:2"), "nats://h:1,nats://i:2");
        assert_eq!(shown("broker:9092"), "broker:9092");
    }
}
