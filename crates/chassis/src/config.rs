//! Settings from the environment: all problems at once, unknown names refused,
//! and the reference table from the same declarations.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Display, Write as _};
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use signing::{InvalidSecretKey, SecretKey};
use url::Url;

/// Why a process did not start.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Everything that is wrong with the settings, a line each.
    #[error("{} problem(s) with the settings:\n  - {}", .0.len(), .0.join("\n  - "))]
    Settings(Vec<String>),
    /// A port could not be opened.
    #[error("cannot listen on {addr}, set by {setting}: {source}")]
    Bind {
        /// The setting that holds the address.
        setting: &'static str,
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
}

/// One declared setting, for the reference table.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Setting {
    /// The environment variable.
    pub name: &'static str,
    /// As text; `None` when it must be given or is off without it.
    pub default: Option<String>,
    /// What it does, with units.
    pub help: &'static str,
    /// Whether a process that needs it refuses to start without it.
    pub required: bool,
}

/// The environment, being read. Every read declares a setting; a value that
/// does not parse is noted as a problem, and reading goes on.
#[derive(Debug, Default)]
pub struct Env {
    values: BTreeMap<String, String>,
    settings: Vec<Setting>,
    problems: Vec<String>,
}

impl Env {
    /// The `POSTRIDER_*` variables of this process.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    pub fn of_process() -> Self {
        Self::from_pairs(
            std::env::vars_os()
                .filter_map(|(name, value)| {
                    Some((name.into_string().ok()?, value.into_string().ok()?))
                })
                .filter(|(name, _)| name.starts_with("POSTRIDER_")),
        )
    }

    /// Given variables, for tests.
    pub fn from_pairs(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        Self { values: pairs.into_iter().collect(), ..Self::default() }
    }

    /// Reads a setting that has a default.
    pub fn read<T>(&mut self, name: &'static str, default: &str, help: &'static str) -> T
    where
        T: FromStr,
        T::Err: Display,
    {
        self.read_with(name, default, help, |text| text.parse().map_err(|e: T::Err| e.to_string()))
    }

    /// The same, with a parser.
    ///
    /// # Panics
    /// When the default does not parse, which a test of every configuration excludes.
    pub fn read_with<T>(
        &mut self,
        name: &'static str,
        default: &str,
        help: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> T {
        self.declare(name, Some(default), help, false);
        let fallback = || parse(default).unwrap_or_else(|e| panic!("default of {name}: {e}"));
        match self.values.get(name) {
            None => fallback(),
            Some(text) => parse(text.trim()).unwrap_or_else(|problem| {
                self.problems.push(format!("{name}: {problem}"));
                fallback()
            }),
        }
    }

    /// Reads a setting that may be absent.
    pub fn optional<T>(
        &mut self,
        name: &'static str,
        help: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        self.declare(name, None, help, false);
        match self.values.get(name).map(|text| parse(text.trim()))? {
            Ok(value) => Some(value),
            Err(problem) => {
                self.problems.push(format!("{name}: {problem}"));
                None
            }
        }
    }

    /// Reads a setting without which the process must not start. The
    /// placeholder stands in while the other problems are collected.
    pub fn required<T>(
        &mut self,
        name: &'static str,
        help: &'static str,
        placeholder: impl FnOnce() -> T,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> T {
        self.declare(name, None, help, true);
        let problem = match self.values.get(name).map(|text| parse(text.trim())) {
            Some(Ok(value)) => return value,
            Some(Err(problem)) => format!("{name}: {problem}"),
            None => format!("{name} is not set: {help}"),
        };
        self.problems.push(problem);
        placeholder()
    }

    /// Notes a problem between settings.
    pub fn check(&mut self, holds: bool, problem: impl FnOnce() -> String) {
        if !holds {
            self.problems.push(problem());
        }
    }

    /// The settings that were declared so far.
    pub fn settings(&self) -> &[Setting] {
        &self.settings
    }

    /// Ends the reading. `known` are the names of all roles: what one role does
    /// not read may be there for another, but what nobody reads is a mistake.
    pub fn finish(mut self, known: &[Setting]) -> Result<(), ConfigError> {
        for name in self.values.keys() {
            if !known.iter().any(|setting| setting.name == name) {
                let problem = match nearest(name, known) {
                    Some(near) => format!("{name}: there is no such setting; did you mean {near}?"),
                    None => format!("{name}: there is no such setting"),
                };
                self.problems.push(problem);
            }
        }
        // What two roles read and find wrong is one problem.
        let mut told = BTreeSet::new();
        self.problems.retain(|problem| told.insert(problem.clone()));
        if self.problems.is_empty() { Ok(()) } else { Err(ConfigError::Settings(self.problems)) }
    }

    fn declare(
        &mut self,
        name: &'static str,
        default: Option<&str>,
        help: &'static str,
        required: bool,
    ) {
        if !self.settings.iter().any(|setting| setting.name == name) {
            let default = default.map(str::to_owned);
            self.settings.push(Setting { name, default, help, required });
        }
    }
}

/// The reference table of these settings, as Markdown.
pub fn reference_table(settings: &[Setting]) -> String {
    let mut table = String::from("| setting | default | what it does |\n| --- | --- | --- |\n");
    for Setting { name, default, help, required } in settings {
        let default = match default.as_deref() {
            Some("") => "empty".to_owned(),
            Some(text) => format!("`{text}`"),
            None if *required => "**required**".to_owned(),
            None => "off".to_owned(),
        };
        let _ = writeln!(table, "| `{name}` | {default} | {help} |");
    }
    table
}

/// Reads the key that secrets are sealed under; the same for all roles that read it.
pub fn secret_key(env: &mut Env) -> SecretKey {
    env.required(
        "POSTRIDER_SECRET_KEY",
        "32 bytes in base64 or hex, under which secrets are sealed; several with commas between to change it: the first seals, all unseal.",
        || "00".repeat(32).parse().unwrap_or_else(|_| unreachable!("64 hex characters are a key")),
        |text| text.parse().map_err(|error: InvalidSecretKey| error.to_string()),
    )
}

/// Reads where customers find the console.
pub fn console_url(env: &mut Env) -> Option<String> {
    env.optional(
        "POSTRIDER_CONSOLE_URL",
        "Where customers find the console, such as `https://console.example.net/`. Mails link to it. With `https`, its cookies are sent over TLS alone.",
        |text| web_url(text).map(String::from),
    )
}

/// Parses the address of something on the web.
///
/// # Errors
/// What was expected.
pub fn web_url(text: &str) -> Result<Url, String> {
    Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https")).ok_or_else(|| {
        format!("expected a URL that begins with https:// or http://, found {text:?}")
    })
}

/// Parses `250ms`, `10s`, `15m`, `4h`, `3d`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let wrong = || format!("expected a duration such as 250ms, 10s, 15m, 4h or 3d, found {text:?}");
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let seconds = match unit {
        "ms" => return Ok(Duration::from_millis(number)),
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(wrong)
}

/// Parses a list of durations with commas between.
pub fn durations(text: &str) -> Result<Vec<Duration>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    text.split(',').map(|part| duration(part.trim())).collect()
}

/// Parses `512`, `64KiB`, `1MiB`, `8GiB` into bytes.
pub fn size_bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("expected a size such as 64KiB, 1MiB or 8GiB, found {text:?}");
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(wrong()),
    };
    number.parse::<u64>().ok().and_then(|n| n.checked_mul(factor)).ok_or_else(wrong)
}

/// The known name that shares the longest head with this one, if it is long enough to be meant.
fn nearest<'a>(name: &str, known: &'a [Setting]) -> Option<&'a str> {
    let shared = |other: &str| name.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
    let best = known.iter().max_by_key(|setting| shared(setting.name))?;
    (shared(best.name) > "POSTRIDER_".len() + 3).then_some(best.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> Env {
        Env::from_pairs(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())))
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let mut env = env(&[("POSTRIDER_A", "x"), ("POSTRIDER_TYPO", "1")]);
        let a: u32 = env.read("POSTRIDER_A", "7", "a number");
        let _: String = env.required("POSTRIDER_B", "a name.", String::new, |t| Ok(t.to_owned()));
        env.check(a > 9, || "A must be above 9".into());
        let known = env.settings().to_vec();
        let Err(ConfigError::Settings(problems)) = env.finish(&known) else { panic!("no error") };
        assert_eq!(problems.len(), 4, "{problems:?}");
        assert!(problems[3].contains("POSTRIDER_TYPO"), "{problems:?}");
    }

    #[test]
    fn durations_and_sizes_have_units() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(durations("10m, 4h").map(|d| d.len()), Ok(2));
        assert_eq!(durations(""), Ok(vec![]));
        assert_eq!(size_bytes("64KiB"), Ok(65_536));
        for wrong in ["", "10", "s", "-1s", "1.5h", "99999999999999999999d"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        assert!(size_bytes("12XB").is_err());
    }

    #[test]
    fn the_console_is_a_web_page() {
        let read = |text: &str| {
            let mut env = Env::from_pairs([("POSTRIDER_CONSOLE_URL".into(), text.into())]);
            let url = console_url(&mut env);
            let known = env.settings().to_vec();
            env.finish(&known).map(|()| url).map_err(|error| error.to_string())
        };
        let url = read("https://console.example.net").unwrap();
        assert_eq!(url.as_deref(), Some("https://console.example.net/"));
        for wrong in
            ["console.example.net", "javascript:alert(1)", "/console", "mailto:a@b.example"]
        {
            assert!(read(wrong).unwrap_err().contains("POSTRIDER_CONSOLE_URL"), "{wrong}");
        }
    }
}
