//! What a mailbox does, and when.

use std::collections::HashMap;

/// A point of the dialogue (RFC 5321) at which a mailbox can be told what to do.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Stage {
    /// The greeting of a new connection.
    Greeting,
    /// The answer to EHLO.
    Hello,
    /// The answer to STARTTLS.
    StartTls,
    /// The answer to AUTH, whatever the login.
    Login,
    /// The answer to MAIL.
    Sender,
    /// The answer to RCPT.
    Recipient,
    /// The answer to DATA.
    Data,
    /// In the middle of the content, before anything of it is read. There is
    /// nothing to answer here: only [`Act::Hang`] and [`Act::Drop`] do something.
    Content,
    /// The answer to the whole mail.
    Mail,
    /// The answer to RSET.
    Reset,
    /// The answer to QUIT.
    Quit,
}

/// What a mailbox does at a stage.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Act {
    /// What it would do without a script.
    Normal,
    /// Says these lines instead, as they are. What begins with a 4 or a 5 is a
    /// refusal.
    Say(String),
    /// Says nothing more, ever.
    Hang,
    /// Closes the connection.
    Drop,
}

impl Act {
    /// Answers with this code and this text.
    pub fn reply(code: u16, text: &str) -> Self {
        Self::Say(format!("{code} {text}\r\n"))
    }
}

#[derive(Debug, Default)]
pub(super) struct Scripts {
    // In reverse, so that the next act is the last one.
    stages: HashMap<Stage, Vec<Act>>,
    recipients: HashMap<String, Vec<Act>>,
}

impl Scripts {
    pub(super) fn at(&mut self, stage: Stage, acts: impl IntoIterator<Item = Act>) {
        self.stages.insert(stage, reversed(acts));
    }

    pub(super) fn on_recipient(&mut self, address: &str, acts: impl IntoIterator<Item = Act>) {
        self.recipients.insert(address.to_owned(), reversed(acts));
    }

    pub(super) fn next(&mut self, stage: Stage) -> Act {
        self.stages.get_mut(&stage).and_then(next).unwrap_or(Act::Normal)
    }

    pub(super) fn next_for(&mut self, recipient: &str) -> Act {
        match self.recipients.get_mut(recipient).and_then(next) {
            Some(act) => act,
            None => self.next(Stage::Recipient),
        }
    }
}

fn reversed(acts: impl IntoIterator<Item = Act>) -> Vec<Act> {
    let mut acts: Vec<Act> = acts.into_iter().collect();
    acts.reverse();
    acts
}

fn next(acts: &mut Vec<Act>) -> Option<Act> {
    if acts.len() > 1 { acts.pop() } else { acts.last().cloned() }
}
