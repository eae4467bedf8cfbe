//! Settings of the servers, as plain text.

use super::state::Ports;

/// One NATS server. It syncs before it acknowledges: alone it has nobody who could replace what a power cut takes.
pub(super) fn nats(ports: Ports, folder: &str) -> String {
    format!(
        "server_name: am-nats\n\
         listen: \"127.0.0.1:{}\"\n\
         http: \"127.0.0.1:{}\"\n\
         jetstream {{\n  store_dir: \"{folder}/store\"\n  max_memory_store: 256MB\n  max_file_store: 16GB\n  sync_interval: always\n}}\n",
        ports.client, ports.monitor
    )
}

/// A server of a NATS cluster. It syncs now and then, as it does by default: here durability comes from the replicas.
pub(super) fn nats_in_cluster(index: usize, all: &[Ports], folder: &str) -> String {
    let own = all.get(index).copied().unwrap_or_default();
    let routes: Vec<String> = all.iter().map(|p| format!("\"nats-route://127.0.0.1:{}\"", p.peer)).collect();
    format!(
        "server_name: am-nats-{}\n\
         listen: \"127.0.0.1:{}\"\n\
         http: \"127.0.0.1:{}\"\n\
         jetstream {{\n  store_dir: \"{folder}/store\"\n  max_memory_store: 256MB\n  max_file_store: 16GB\n}}\n\
         cluster {{\n  name: am\n  listen: \"127.0.0.1:{}\"\n  routes: [{}]\n}}\n",
        index + 1,
        own.client,
        own.monitor,
        own.peer,
        routes.join(", ")
    )
}

/// PostgreSQL. Syncing stays on, since tests of custody rely on it; workers are many, since every database that has
/// TimescaleDB keeps one. Shared memory lies in the data folder: nothing is left behind when the server is killed.
pub(super) fn postgres(ports: Ports, folder: &str) -> String {
    format!(
        "listen_addresses = '127.0.0.1'\n\
         port = {}\n\
         unix_socket_directories = '{folder}/socket'\n\
         shared_preload_libraries = 'timescaledb'\n\
         timescaledb.telemetry_level = off\n\
         timescaledb.max_background_workers = 48\n\
         max_worker_processes = 64\n\
         max_connections = 200\n\
         shared_buffers = 256MB\n\
         max_wal_size = 2GB\n\
         dynamic_shared_memory_type = mmap\n\
         fsync = on\n\
         synchronous_commit = on\n\
         timezone = 'UTC'\n\
         log_line_prefix = '%m [%p] %d '\n",
        ports.client
    )
}

/// Redis, which writes down every change before it answers.
pub(super) fn redis(ports: Ports, folder: &str) -> String {
    format!("bind 127.0.0.1\nport {}\ndir {folder}\nappendonly yes\nappendfsync always\nsave \"\"\ndaemonize no\n", ports.client)
}

/// A Kafka broker that is its own controller and syncs every batch: alone it has no replica. After a crash it may come
/// back only when the session of its former life is over, hence the short session.
pub(super) fn kafka(ports: Ports, folder: &str) -> String {
    let (broker, controller) = (ports.client, ports.peer);
    format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.voters=1@127.0.0.1:{controller}\n\
         listeners=PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{broker}\n\
         controller.listener.names=CONTROLLER\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
         inter.broker.listener.name=PLAINTEXT\n\
         log.dirs={folder}/store\n\
         log.flush.interval.messages=1\n\
         auto.create.topics.enable=false\n\
         broker.session.timeout.ms=4000\n\
         broker.heartbeat.interval.ms=500\n\
         group.initial.rebalance.delay.ms=0\n\
         offsets.topic.replication.factor=1\n\
         offsets.topic.num.partitions=4\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         transaction.state.log.num.partitions=4\n\
         share.coordinator.state.topic.replication.factor=1\n\
         share.coordinator.state.topic.min.isr=1\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORTS: Ports = Ports { client: 1001, monitor: 1002, peer: 1003 };

    #[test]
    fn everything_listens_on_loopback_only() {
        let all = [nats(PORTS, "/d"), nats_in_cluster(0, &[PORTS], "/d"), postgres(PORTS, "/d"), redis(PORTS, "/d"), kafka(PORTS, "/d")];
        for text in all {
            assert!(text.contains("127.0.0.1") && text.contains("1001") && !text.contains("0.0.0.0"), "{text}");
        }
    }

    #[test]
    fn a_server_alone_syncs_before_it_acknowledges_and_one_of_a_cluster_does_not() {
        assert!(nats(PORTS, "/d").contains("sync_interval: always"));
        assert!(!nats_in_cluster(0, &[PORTS], "/d").contains("sync_interval"));
        assert!(redis(PORTS, "/d").contains("appendfsync always"));
        assert!(kafka(PORTS, "/d").contains("log.flush.interval.messages=1"));
        assert!(postgres(PORTS, "/d").contains("fsync = on\n"));
    }

    #[test]
    fn the_servers_of_a_cluster_differ_in_name_and_ports_and_know_all_routes() {
        let all = [PORTS, Ports { client: 2001, monitor: 2002, peer: 2003 }];
        let second = nats_in_cluster(1, &all, "/d/2");
        for part in ["server_name: am-nats-2", "listen: \"127.0.0.1:2001\"", "http: \"127.0.0.1:2002\"", "store_dir: \"/d/2/store\""] {
            assert!(second.contains(part), "{part} in {second}");
        }
        assert!(second.contains("routes: [\"nats-route://127.0.0.1:1003\", \"nats-route://127.0.0.1:2003\"]"), "{second}");
    }
}
