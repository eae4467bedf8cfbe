//! The services there are, and how a command names one of them or one of its servers.

use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A service that tests can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Service {
    /// PostgreSQL 17 with TimescaleDB and pgvector
    Postgres,
    /// One NATS server with JetStream that syncs before it acknowledges
    Nats,
    /// Three NATS servers with JetStream
    NatsCluster,
    /// One Kafka broker in KRaft mode
    Kafka,
    /// Redis or Valkey
    Redis,
}

impl Service {
    /// All of them, in the order in which they are started.
    pub(crate) const ALL: [Service; 5] = [Service::Postgres, Service::Nats, Service::NatsCluster, Service::Kafka, Service::Redis];

    /// What commands and `AM_TEST_REQUIRE` call it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Service::Postgres => "postgres",
            Service::Nats => "nats",
            Service::NatsCluster => "nats-cluster",
            Service::Kafka => "kafka",
            Service::Redis => "redis",
        }
    }

    /// The variable that tells where it is.
    pub(crate) const fn variable(self) -> &'static str {
        match self {
            Service::Postgres => "AM_TEST_POSTGRES",
            Service::Nats => "AM_TEST_NATS",
            Service::NatsCluster => "AM_TEST_NATS_CLUSTER",
            Service::Kafka => "AM_TEST_KAFKA",
            Service::Redis => "AM_TEST_REDIS",
        }
    }

    /// How many servers it has.
    pub(super) const fn servers(self) -> usize {
        match self {
            Service::NatsCluster => 3,
            _ => 1,
        }
    }

    /// Where clients find the server on this port.
    pub(super) fn url(self, port: u16) -> String {
        match self {
            Service::Postgres => format!("postgres://postgres@127.0.0.1:{port}/postgres"),
            Service::Nats | Service::NatsCluster => format!("nats://127.0.0.1:{port}"),
            Service::Kafka => format!("127.0.0.1:{port}"),
            Service::Redis => format!("redis://127.0.0.1:{port}"),
        }
    }

    /// The port that a URL means when it names none.
    pub(super) const fn usual_port(self) -> u16 {
        match self {
            Service::Postgres => 5432,
            Service::Nats | Service::NatsCluster => 4222,
            Service::Kafka => 9092,
            Service::Redis => 6379,
        }
    }

    /// How long it may take until it answers. Kafka starts a JVM, and all of them may share a busy machine.
    pub(super) const fn patience(self) -> Duration {
        match self {
            Service::Kafka => Duration::from_secs(120),
            _ => Duration::from_secs(60),
        }
    }

    /// What the server with this index is called: `postgres`, `nats-cluster:1`.
    pub(super) fn server_name(self, index: usize) -> String {
        if self.servers() == 1 { self.name().into() } else { format!("{}:{}", self.name(), index + 1) }
    }
}

/// A service, or one server of it: `nats-cluster:1` is the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) service: Service,
    /// Index of the server; all of them when there is none.
    pub(super) server: Option<usize>,
}

impl Target {
    /// The indexes of the servers that are meant.
    pub(super) fn servers(self) -> std::ops::Range<usize> {
        self.server.map_or(0..self.service.servers(), |n| n..n + 1)
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, number) = text.split_once(':').map_or((text, None), |(name, number)| (name, Some(number)));
        let service = Service::ALL.into_iter().find(|s| s.name() == name).ok_or_else(|| {
            let all: Vec<&str> = Service::ALL.iter().map(|s| s.name()).collect();
            format!("there is no service {name:?}; there are {}", all.join(", "))
        })?;
        let server = match number {
            None => None,
            Some(n) => match n.parse::<usize>() {
                Ok(n) if (1..=service.servers()).contains(&n) => Some(n - 1),
                _ if service.servers() == 1 => return Err(format!("{name} has one server; write {name}")),
                _ => return Err(format!("{name} has servers 1 to {}, not {n:?}", service.servers())),
            },
        };
        Ok(Target { service, server })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_names_a_service_or_one_server_of_it() {
        let of = |text: &str| text.parse::<Target>();
        assert_eq!(of("kafka"), Ok(Target { service: Service::Kafka, server: None }));
        assert_eq!(of("nats-cluster:3"), Ok(Target { service: Service::NatsCluster, server: Some(2) }));
        assert_eq!(of("nats-cluster").unwrap().servers(), 0..3);
        assert_eq!(of("nats-cluster:2").unwrap().servers(), 1..2);
        assert!(of("nats-cluster:4").unwrap_err().contains("servers 1 to 3"));
        assert!(of("nats-cluster:0").is_err() && of("nats:x").is_err());
        assert!(of("mysql").unwrap_err().contains("postgres, nats, nats-cluster, kafka, redis"));
    }

    #[test]
    fn the_state_file_and_the_command_line_use_the_same_names() {
        for service in Service::ALL {
            assert_eq!(serde_json::to_value(service).unwrap(), service.name());
            assert_eq!(clap::ValueEnum::to_possible_value(&service).unwrap().get_name(), service.name());
        }
    }
}
