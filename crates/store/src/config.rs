//! Settings of the database connection.

use chassis::Env;

use crate::DatabaseUrl;

/// How to reach the database.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// Where it is.
    pub url: DatabaseUrl,
    /// Connections that one role of one process makes at most.
    pub max_connections: u32,
}

impl StoreConfig {
    /// Reads the settings.
    pub fn read(env: &mut Env) -> Self {
        let config = Self {
            url: env.required(
                "POSTRIDER_DATABASE_URL",
                "PostgreSQL, for settings and history: `postgres://user:password@host:port/database`.",
                DatabaseUrl::placeholder,
                str::parse,
            ),
            max_connections: env.read(
                "POSTRIDER_DATABASE_CONNECTIONS",
                "10",
                "Connections to PostgreSQL that one role of one process makes at most.",
            ),
        };
        env.check((2..=1000).contains(&config.max_connections), || {
            format!(
                "POSTRIDER_DATABASE_CONNECTIONS: expected 2 to 1000, found {}",
                config.max_connections
            )
        });
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(url: &str) -> String {
        let pairs = [("POSTRIDER_DATABASE_URL".to_owned(), url.to_owned())];
        let mut env = Env::from_pairs(pairs);
        StoreConfig::read(&mut env);
        let known = env.settings().to_vec();
        env.finish(&known).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_wrong_url_is_told_without_its_password() {
        assert_eq!(problems("postgres://postrider:secret@db.example:5432/postrider"), "");
        for wrong in ["mysql://a:secret@b/c", "postgres://a:secret@b:port/c", "secret"] {
            let problems = problems(wrong);
            assert!(problems.contains("POSTRIDER_DATABASE_URL"), "{problems}");
            assert!(!problems.contains("secret"), "{problems}");
        }
    }
}
