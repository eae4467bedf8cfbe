//! Kafka's broker: the jars that Maven fetches, run in a JVM of this machine.

use std::path::PathBuf;
use std::process::Command;

use super::native::remove;
use super::place::Place;
use crate::exec;

const VERSION: &str = "4.1.2";
/// Sixteen bytes in base64, as the broker wants its cluster named.
const CLUSTER: &str = "YW0tc2VydmljZXMtdGVzdA";
/// The JVM that this version needs.
const JAVA: u32 = 17;

/// Makes sure that the jars are there; the first time Maven fetches about 45 MB.
pub(super) fn prepare(place: &Place) -> Result<(), String> {
    if !cfg!(target_os = "linux") {
        return Err("starting it from its jars is done on Linux only".into());
    }
    java()?;
    if place.maven().join("libs").join(format!("kafka_2.13-{VERSION}.jar")).exists() {
        return Ok(());
    }
    let folder = place.maven();
    let shown = |e: std::io::Error| format!("{}: {e}", folder.display());
    std::fs::create_dir_all(&folder).map_err(shown)?;
    let lock = std::fs::File::create(folder.join("lock")).map_err(shown)?;
    lock.lock().map_err(shown)?;
    let (new, libs) = (folder.join("libs.new"), folder.join("libs"));
    remove(&new)?;
    std::fs::write(folder.join("pom.xml"), pom()).map_err(shown)?;
    eprintln!("fetching Kafka {VERSION} with Maven into {}", libs.display());
    let mut mvn = Command::new("mvn");
    mvn.args(["--quiet", "--batch-mode", "dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory=libs.new"]);
    let log = place.log_named("kafka-maven");
    exec::run_into(mvn.current_dir(&folder), &log).map_err(|why| {
        let text = std::fs::read(&log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        first_error(&text).map_or(why, |error| format!("mvn: {error} (all of it: {})", log.display()))
    })?;
    remove(&libs)?;
    std::fs::rename(&new, &libs).map_err(shown)
}

fn java() -> Result<(), String> {
    let no_java = |e| format!("no java: {e}; Kafka needs a JVM of version {JAVA} or newer and Maven");
    // It speaks on its standard error.
    let out = Command::new(java_program()).arg("-version").output().map_err(no_java)?;
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    match java_version(&text) {
        Some(version) if version < JAVA => Err(format!("Kafka {VERSION} needs Java {JAVA}, this is {version}")),
        _ => Ok(()),
    }
}

/// Maven says first what is wrong and then at length where to read about it.
fn first_error(log: &str) -> Option<&str> {
    log.lines().find_map(|line| line.split_once("[ERROR]").map(|(_, error)| error.trim()))
}

/// The number in `openjdk version "17.0.15"`.
fn java_version(text: &str) -> Option<u32> {
    text.split('"').nth(1)?.split('.').next()?.parse().ok()
}

fn java_program() -> PathBuf {
    match std::env::var_os("JAVA_HOME").filter(|home| !home.is_empty()) {
        Some(home) => PathBuf::from(home).join("bin/java"),
        None => "java".into(),
    }
}

/// The broker, and what writes its log messages: without that it would be silent.
fn pom() -> String {
    let dependency = |group, artifact, version| {
        format!("    <dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version></dependency>\n")
    };
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\">\n  <modelVersion>4.0.0</modelVersion>\n  \
         <groupId>am</groupId><artifactId>kafka-broker</artifactId><version>1</version>\n  <dependencies>\n{}{}  </dependencies>\n</project>\n",
        dependency("org.apache.kafka", "kafka_2.13", VERSION),
        dependency("org.slf4j", "slf4j-simple", "1.7.36")
    )
}

/// The broker, on the data in `folder`.
pub(super) fn broker(place: &Place, folder: &str) -> Command {
    let mut c = jvm(place);
    c.args(["-Xms256m", "-Xmx512m", "kafka.Kafka"]).arg(format!("{folder}/server.properties"));
    c
}

/// Writes the first records into the broker's empty folder.
pub(super) fn format(place: &Place, folder: &str) -> Command {
    let mut c = jvm(place);
    c.args(["kafka.tools.StorageTool", "format", "--cluster-id", CLUSTER, "--config"]).arg(format!("{folder}/server.properties"));
    c
}

fn jvm(place: &Place) -> Command {
    let mut c = Command::new(java_program());
    c.arg("-cp").arg(place.maven().join("libs").join("*"));
    c.args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]);
    c.arg("-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info");
    c
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_java_is_read_from_what_it_says() {
        assert_eq!(java_version("openjdk version \"17.0.15\" 2025-04-15\nOpenJDK"), Some(17));
        assert_eq!(java_version("java version \"1.8.0_412\""), Some(1));
        assert_eq!(java_version("openjdk version \"21\" 2023-09-19"), Some(21));
        assert_eq!(java_version("nonsense"), None);
    }

    #[test]
    fn of_what_maven_writes_the_first_error_is_told() {
        let log = "\u{1b}[0m[ERROR] Could not resolve x -> [Help 1]\n[ERROR] \n[ERROR] Re-run Maven";
        assert_eq!(first_error(log), Some("Could not resolve x -> [Help 1]"));
        assert_eq!(first_error("fine"), None);
    }

    #[test]
    fn the_cluster_is_named_by_sixteen_bytes() {
        assert_eq!(CLUSTER.len(), 22, "16 bytes in base64 without padding");
        assert!(pom().contains(&format!("<artifactId>kafka_2.13</artifactId><version>{VERSION}</version>")));
    }
}
