//! How a bin answers.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What Mailgun's own bin says.
const THANKS: &str = "{\"message\":\"Post received. Thanks!\"}\n";
/// The longest delay.
pub(crate) const LONGEST_DELAY: Duration = Duration::from_secs(60);
/// How long one that hangs keeps a request.
pub(crate) const HANGS_FOR: Duration = Duration::from_secs(120);
const LONGEST_BODY_BYTES: usize = 64 * 1_024;

/// How a bin answers: as it was told to, for as many requests as it was told, and
/// `200` with thanks from then on.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Answer {
    /// `200` without one.
    pub(crate) status: Option<u16>,
    /// Before the answer, in seconds.
    pub(crate) delay_seconds: u64,
    /// Never answers.
    pub(crate) hangs: bool,
    /// Thanks, without one.
    pub(crate) body: Option<String>,
    /// For how many requests more; for all, without one.
    pub(crate) times: Option<u64>,
}

impl Answer {
    /// What is wrong with it.
    pub(crate) fn problem(&self) -> Option<String> {
        if let Some(status) = self.status
            && !(200..=599).contains(&status)
        {
            return Some(format!("status: expected 200 to 599, found {status}"));
        }
        if self.delay_seconds > LONGEST_DELAY.as_secs() {
            let most = LONGEST_DELAY.as_secs();
            return Some(format!(
                "delay_seconds: expected at most {most}, found {}",
                self.delay_seconds
            ));
        }
        if self.body.as_ref().is_some_and(|body| body.len() > LONGEST_BODY_BYTES) {
            return Some(format!("body: expected at most {LONGEST_BODY_BYTES} bytes"));
        }
        None
    }

    /// How this request is answered; the next one perhaps otherwise.
    pub(crate) fn next(&mut self) -> Self {
        if self.times == Some(0) {
            *self = Self::default();
        }
        if let Some(times) = &mut self.times {
            *times -= 1;
        }
        self.clone()
    }

    pub(crate) fn status(&self) -> u16 {
        self.status.unwrap_or(200)
    }

    pub(crate) fn text(&self) -> String {
        self.body.clone().unwrap_or_else(|| THANKS.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_given_as_often_as_it_was_told_to() {
        let mut answer = Answer { status: Some(503), times: Some(2), ..Answer::default() };
        let statuses: Vec<u16> = (0..4).map(|_| answer.next().status()).collect();
        assert_eq!(statuses, [503, 503, 200, 200]);
        let mut always = Answer { status: Some(406), ..Answer::default() };
        assert!((0..10).all(|_| always.next().status() == 406));
    }

    #[test]
    fn what_cannot_be_answered_is_told() {
        for (wrong, field) in [
            (Answer { status: Some(99), ..Answer::default() }, "status"),
            (Answer { delay_seconds: 61, ..Answer::default() }, "delay_seconds"),
            (Answer { body: Some("x".repeat(65_537)), ..Answer::default() }, "body"),
        ] {
            assert!(wrong.problem().unwrap().starts_with(field));
        }
        assert_eq!(Answer::default().problem(), None);
    }
}
