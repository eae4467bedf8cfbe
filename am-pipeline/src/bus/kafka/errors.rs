//! What librdkafka says, as errors of the table.

use std::sync::Arc;

use am_core::{Code, Error, Retry};
use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as C};

/// What a client heard of its connections.
#[derive(Debug, Clone, Default)]
pub(super) struct Health(Arc<Mutex<Option<(bool, String)>>>);

impl Health {
    /// The last trouble, once: whether the brokers refuse AM, and what was said.
    pub(super) fn take(&self) -> Option<(bool, String)> {
        self.0.lock().take()
    }

    fn refused(&self) -> Option<String> {
        self.0.lock().clone().filter(|(refused, _)| *refused).map(|(_, why)| why)
    }

    fn hear(&self, error: &KafkaError, reason: &str) {
        let refused = matches!(error.rdkafka_error_code(), Some(C::Authentication | C::SaslAuthenticationFailed | C::SSL));
        let down = error.rdkafka_error_code() == Some(C::AllBrokersDown);
        if refused || down {
            *self.0.lock() = Some((refused, reason.chars().take(300).collect()));
        }
    }
}

/// The context of clients that are no members of groups.
#[derive(Debug, Clone, Default)]
pub(super) struct Quiet(pub(super) Health);

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        log(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        hear(&self.0, &error, reason);
    }
}

impl ConsumerContext for Quiet {}

pub(super) fn hear(health: &Health, error: &KafkaError, reason: &str) {
    tracing::debug!(error = %error, reason, "kafka");
    health.hear(error, reason);
}

pub(super) fn log(level: RDKafkaLogLevel, facility: &str, text: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => tracing::warn!(facility, "librdkafka: {text}"),
        // A broker that is away is told by errors of calls; librdkafka repeats it for every connection.
        _ => tracing::debug!(facility, "librdkafka: {text}"),
    }
}

fn code(c: C) -> Code {
    match c {
        C::QueueFull | C::ThrottlingQuotaExceeded => Code::OVERLOADED,
        C::MessageSizeTooLarge | C::InvalidMessageSize | C::MessageBatchTooLarge => Code::TOO_LARGE,
        C::TopicAuthorizationFailed
        | C::GroupAuthorizationFailed
        | C::ClusterAuthorizationFailed
        | C::TransactionalIdAuthorizationFailed
        | C::Authentication
        | C::SaslAuthenticationFailed
        | C::UnsupportedSASLMechanism
        | C::IllegalSASLState
        | C::SecurityDisabled
        | C::SSL => Code::BUS_REFUSED,
        C::UnknownTopic
        | C::UnknownTopicOrPartition
        | C::UnknownPartition
        | C::InvalidTopic
        | C::InvalidPartitions
        | C::InvalidReplicationFactor
        | C::InvalidConfig
        | C::PolicyViolation
        | C::InconsistentGroupProtocol
        | C::UnsupportedVersion
        | C::UnsupportedFeature => Code::BUS_MISMATCH,
        _ => Code::BUS_UNAVAILABLE,
    }
}

/// Of a call; `wrote` when it may have happened although the answer was lost.
pub(super) fn explain(op: &'static str, wrote: bool, health: &Health, e: &KafkaError) -> Error {
    match e {
        KafkaError::ClientConfig(_, why, name, _) => {
            // The value stays out: it may be a password.
            let tls = if why.contains("not built") || why.contains("OpenSSL") || name.starts_with("ssl.") || name == "security.protocol" {
                "; TLS needs a librdkafka with OpenSSL, see docs/kafka.md"
            } else {
                ""
            };
            return Error::new(Code::BAD_CONFIG, format!("librdkafka does not take {name}: {why}{tls}")).op(op);
        }
        KafkaError::ClientCreation(why) => {
            let text = format!("no client for Kafka can be made: {why}; TLS and SCRAM need a librdkafka with OpenSSL, see docs/kafka.md");
            return Error::new(Code::BAD_CONFIG, text).op(op);
        }
        KafkaError::Canceled => return Error::new(Code::CLOSED, "the connection to Kafka is closed").op(op),
        _ => {}
    }
    let Some(found) = e.rdkafka_error_code() else {
        return Error::new(Code::INTERNAL, format!("Kafka: {e}")).op(op);
    };
    let code = code(found);
    if let Some(why) = health.refused().filter(|_| code == Code::BUS_UNAVAILABLE) {
        return Error::new(Code::BUS_REFUSED, format!("the brokers do not let this user in: {why}")).op(op);
    }
    let error = Error::new(code, format!("Kafka: {found}")).op(op);
    match code == Code::BUS_UNAVAILABLE && wrote {
        true => error.retry(Retry::IfIdempotent),
        false => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kafka_says_finds_its_row_of_the_table() {
        let health = Health::default();
        for (found, want) in [
            (C::QueueFull, Code::OVERLOADED),
            (C::MessageSizeTooLarge, Code::TOO_LARGE),
            (C::TopicAuthorizationFailed, Code::BUS_REFUSED),
            (C::UnknownTopicOrPartition, Code::BUS_MISMATCH),
            (C::MessageTimedOut, Code::BUS_UNAVAILABLE),
            (C::NotEnoughReplicas, Code::BUS_UNAVAILABLE),
            (C::AllBrokersDown, Code::BUS_UNAVAILABLE),
        ] {
            assert_eq!(explain("t", true, &health, &KafkaError::MessageProduction(found)).code(), want, "{found}");
        }
        health.hear(&KafkaError::Global(C::Authentication), "bad credentials");
        assert_eq!(explain("t", true, &health, &KafkaError::MetadataFetch(C::BrokerTransportFailure)).code(), Code::BUS_REFUSED);
        assert!(health.take().is_some_and(|(refused, _)| refused) && health.take().is_none());
    }
}
