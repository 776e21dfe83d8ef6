//! The operator's say in how mail is sent.

use chassis::Env;
use chassis::config::duration;

use super::{MailConfig, Relay, Sender};

impl MailConfig {
    /// Reads the settings; `None` when no relay is set, so that no mail is sent.
    /// What is not set keeps its default.
    pub fn read(env: &mut Env) -> Option<Self> {
        let relay = env.read_with(
            "POSTRIDER_SMTP_URL",
            "",
            "The relay that takes mail to customers: `smtp://user:password@host:587` with STARTTLS, `smtps://…:465` with TLS from the start; `?tls=opportunistic` or `?tls=none` for less. Without it there is no mail.",
            |text| {
                let relay = |text: &str| text.parse::<Relay>().map_err(|error| error.to_string());
                if text.is_empty() { Ok(None) } else { relay(text).map(Some) }
            },
        );
        let sender = env.read_with(
            "POSTRIDER_MAIL_FROM",
            "",
            "Whom mail to customers is from, such as `Postrider <alerts@example.net>`. Needed where there is a relay.",
            |text| {
                let sender = |text: &str| text.parse::<Sender>().map_err(|error| error.to_string());
                if text.is_empty() { Ok(None) } else { sender(text).map(Some) }
            },
        );
        let connect_timeout = env.read_with(
            "POSTRIDER_SMTP_CONNECT_TIMEOUT",
            "10s",
            "How long a connection to the relay may take, TLS and login included.",
            duration,
        );
        let total_timeout = env.read_with(
            "POSTRIDER_SMTP_TIMEOUT",
            "20s",
            "How long it may take in all to hand a mail to the relay; shorter than POSTRIDER_LEASE and POSTRIDER_DRAIN_TIMEOUT.",
            duration,
        );
        let max_connections = env.read_with(
            "POSTRIDER_SMTP_CONNECTIONS",
            "4",
            "Connections to the relay at one time, of each role of a process that sends mail.",
            |text| match text.parse() {
                Ok(0) | Err(_) => Err(format!("expected a number from 1 on, found {text:?}")),
                Ok(number) => Ok(number),
            },
        );
        let extra_ca_pem = env.optional(
            "POSTRIDER_SMTP_CA_FILE",
            "Path of further root certificates that the relay's certificate may come from, in PEM.",
            |path| std::fs::read(path).map_err(|error| format!("cannot read {path}: {error}")),
        );
        env.check(!connect_timeout.is_zero(), || {
            "POSTRIDER_SMTP_CONNECT_TIMEOUT: must be longer than nothing".into()
        });
        env.check(connect_timeout <= total_timeout, || {
            "POSTRIDER_SMTP_CONNECT_TIMEOUT: must not be longer than POSTRIDER_SMTP_TIMEOUT".into()
        });
        env.check(relay.is_none() || sender.is_some(), || {
            "POSTRIDER_MAIL_FROM: must be a mailbox such as `Postrider <alerts@example.net>` when POSTRIDER_SMTP_URL is set".into()
        });
        let extra_ca_pem = extra_ca_pem.unwrap_or_default();
        let defaults = Self::new(relay?, sender?);
        Some(Self { connect_timeout, total_timeout, max_connections, extra_ca_pem, ..defaults })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Option<MailConfig>, String> {
        let pairs = pairs.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        let mut env = Env::from_pairs(pairs);
        let config = MailConfig::read(&mut env);
        let known = env.settings().to_vec();
        env.finish(&known).map(|()| config).map_err(|error| error.to_string())
    }

    const URL: (&str, &str) = ("POSTRIDER_SMTP_URL", "smtp://u:hunter2@relay.example");
    const FROM: (&str, &str) = ("POSTRIDER_MAIL_FROM", "Postrider <alerts@example.net>");

    #[test]
    fn without_a_relay_there_is_no_mail() {
        assert!(read(&[]).unwrap().is_none());
        assert!(read(&[FROM]).unwrap().is_none());
        assert!(read(&[("POSTRIDER_SMTP_URL", "")]).unwrap().is_none());
    }

    #[test]
    fn settings_say_the_same_as_the_defaults() {
        let read = read(&[URL, FROM]).unwrap().unwrap();
        let default = MailConfig::new(read.relay.clone(), read.sender.clone());
        assert_eq!(format!("{read:?}"), format!("{default:?}"));
        assert_eq!(read.sender.address().as_str(), "alerts@example.net");
    }

    #[test]
    fn the_password_is_never_shown() {
        let config = read(&[URL, FROM]).unwrap().unwrap();
        assert!(!format!("{config:?}").contains("hunter2"), "{config:?}");
        let broken = ("POSTRIDER_SMTP_URL", "smtp://u:hunter2@relay.example/hunter2");
        let problems = read(&[broken, FROM]).unwrap_err();
        assert!(problems.contains("POSTRIDER_SMTP_URL"), "{problems}");
        assert!(!problems.contains("hunter2"), "{problems}");
    }

    #[test]
    fn wrong_settings_are_told_all_at_once() {
        let problems = read(&[
            URL,
            ("POSTRIDER_SMTP_CONNECT_TIMEOUT", "1m"),
            ("POSTRIDER_SMTP_CONNECTIONS", "0"),
            ("POSTRIDER_SMTP_CA_FILE", "/nowhere/roots.pem"),
        ])
        .unwrap_err();
        for name in ["MAIL_FROM", "CONNECT_TIMEOUT", "CONNECTIONS", "CA_FILE"] {
            assert!(problems.contains(name), "{problems}");
        }
        let wrong = read(&[URL, ("POSTRIDER_MAIL_FROM", "nobody")]).unwrap_err();
        assert!(wrong.contains("POSTRIDER_MAIL_FROM"), "{wrong}");
    }
}
