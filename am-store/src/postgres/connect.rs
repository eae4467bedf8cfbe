//! From an address to connections.

use std::str::FromStr;
use std::time::Duration;

use am_core::{Code, Error, Result};
use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};

use super::options::PostgresOptions;

/// Prepared statements that a connection keeps.
const STATEMENTS: usize = 256;

/// Where the database is, and how sessions there are set up.
#[derive(Clone)]
pub(super) struct Address {
    options: PgConnectOptions,
    /// `host:port/database`, for messages: never the password.
    pub place: String,
}

impl Address {
    /// Reads an address. What is wrong with it is said without repeating it: it may hold a password.
    pub(super) fn parse(url: &str) -> Result<Address> {
        let options = PgConnectOptions::from_str(url).map_err(|_| {
            let text = "the address of the database cannot be read; expected postgres://USER:PASSWORD@HOST:PORT/DATABASE";
            Error::new(Code::BAD_STORE_URL, text).op("store.open")
        })?;
        let database = options.get_database().unwrap_or_else(|| options.get_username()).to_owned();
        let place = match options.get_socket() {
            Some(path) => format!("{}/{database}", path.display()),
            None => format!("{}:{}/{database}", options.get_host(), options.get_port()),
        };
        Ok(Address { options: options.disable_statement_logging().application_name("am"), place })
    }

    /// How sessions that make and change tables are set up.
    pub(super) fn admin(&self) -> PgConnectOptions {
        self.options.clone().options([("client_min_messages", "warning"), ("lock_timeout", "30s")])
    }

    /// How sessions that serve are set up. What questions rely on is said here and not left to the server's settings.
    pub(super) fn session(&self, o: &PostgresOptions) -> PgConnectOptions {
        let mut settings: Vec<(&str, String)> = vec![
            ("search_path", format!("{},public", o.schema)),
            ("statement_timeout", o.statement_timeout_ms.to_string()),
            ("idle_in_transaction_session_timeout", o.idle_in_transaction_timeout_ms.to_string()),
            ("standard_conforming_strings", "on".into()),
            ("default_transaction_isolation", "read committed".into()),
            ("client_min_messages", "warning".into()),
            ("am.everyone", "on".into()),
        ];
        if let Some(role) = &o.role {
            settings.push(("role", role.clone()));
        }
        self.options.clone().statement_cache_capacity(STATEMENTS).options(settings)
    }
}

/// A pool of sessions; nothing is connected yet.
pub(super) fn pool(session: PgConnectOptions, o: &PostgresOptions, size: u32) -> PgPool {
    PgPoolOptions::new()
        .max_connections(size)
        .acquire_timeout(Duration::from_millis(u64::from(o.connect_timeout_ms.max(100))))
        .idle_timeout(Duration::from_secs(300))
        .max_lifetime(Duration::from_secs(3_600))
        // One round trip less; a dead connection shows at its first statement, which is then begun anew.
        .test_before_acquire(false)
        .connect_lazy_with(session)
}

/// Whether a name can stand in SQL as it is: what schemas and roles of AM are called.
pub(super) fn identifier(what: &str, name: &str) -> Result<()> {
    let fits = !name.is_empty()
        && name.len() <= 48
        && name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && !name.starts_with("pg_");
    match fits {
        true => Ok(()),
        false => {
            let text = format!("the {what} {name:?} is not a name of 1 to 48 lower-case letters, digits and _");
            Err(Error::new(Code::BAD_STORE_URL, text).op("store.open"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_repeated() {
        let a = Address::parse("postgres://ada:s3cret@db.example:5433/home").unwrap();
        assert_eq!(a.place, "db.example:5433/home");
        let e = Address::parse("postgres://ada:s3cret@db:notaport/home").err().unwrap();
        assert!(e.code() == Code::BAD_STORE_URL && !format!("{e:?}").contains("s3cret"), "{e:?}");
    }

    #[test]
    fn names_that_would_need_quotes_are_refused() {
        for bad in ["", "Am", "a-b", "a b", "a\"b", "9a", "pg_catalog", &"a".repeat(49)] {
            assert!(identifier("schema", bad).is_err(), "{bad}");
        }
        assert!(identifier("schema", "am_2").is_ok());
    }
}
