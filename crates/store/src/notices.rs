//! Mails to the owners of accounts about alerts that do not arrive.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{Store, StoreError};

/// How bad it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NoticeStage {
    /// An alert did not arrive at its first try.
    FirstFailure,
    /// One more try, and the setting is disabled.
    LastChance,
    /// The setting is disabled.
    Disabled,
}

/// An alert that did not arrive.
#[derive(Clone, Copy, Debug)]
pub struct AlertTrouble<'a> {
    /// Whose setting it is.
    pub account_id: &'a str,
    /// Which one.
    pub setting_id: Uuid,
    /// The generation that the delivery was made for.
    pub generation: i64,
    /// How bad it is.
    pub stage: NoticeStage,
    /// Why it did not arrive.
    pub reason: &'a str,
    /// When.
    pub at: DateTime<Utc>,
    /// When it is tried again.
    pub next_attempt_at: Option<DateTime<Utc>>,
}

/// What is to be told, and to whom.
#[derive(Clone, Debug)]
pub struct Notice {
    /// Its number.
    pub notice_id: i64,
    /// What the owner calls the account.
    pub account_label: String,
    /// Whom to tell; `None` once nobody is to be told.
    pub contact_email: Option<String>,
    /// How bad it is.
    pub stage: NoticeStage,
    /// The kind of alert.
    pub event_type: String,
    /// Where it goes.
    pub destination: String,
    /// Why it did not arrive.
    pub reason: String,
    /// When.
    pub happened_at: DateTime<Utc>,
    /// When it is tried again.
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// How often this mail was tried before.
    pub tries: i16,
}

impl NoticeStage {
    const ALL: [Self; 3] = [Self::FirstFailure, Self::LastChance, Self::Disabled];

    const fn as_str(self) -> &'static str {
        match self {
            Self::FirstFailure => "first_failure",
            Self::LastChance => "last_chance",
            Self::Disabled => "disabled",
        }
    }

    fn from_column(name: &str) -> Self {
        // The column has a constraint; the mildest is never wrong.
        Self::ALL.into_iter().find(|stage| stage.as_str() == name).unwrap_or(Self::FirstFailure)
    }
}

impl Store {
    /// Notes that the owner is to be told of an alert that did not arrive: once
    /// a day for each setting and stage, and not of a setting that has been
    /// saved since or is disabled. Says whether it was noted.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn note_alert_trouble(&self, trouble: AlertTrouble<'_>) -> Result<bool, StoreError> {
        let mut connection = self.pool.acquire().await?;
        note(&mut connection, trouble).await
    }

    /// Claims the next notice that is due: until `claimed_until` nobody else sends it.
    /// No transaction is open while it is sent, and a process that dies meanwhile, or
    /// before [`Self::notice_tried`], leaves it to be sent once more. It counts as tried
    /// from here on, so that a mail that kills whoever sends it has an end.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn claim_notice(
        &self,
        at: DateTime<Utc>,
        claimed_until: DateTime<Utc>,
    ) -> Result<Option<Notice>, StoreError> {
        let row = sqlx::query!(
            "UPDATE notices n SET next_try_at = $2, tries = n.tries + 1 FROM accounts a \
             WHERE a.account_id = n.account_id AND n.notice_id = (SELECT notice_id FROM notices \
             WHERE next_try_at <= $1 ORDER BY next_try_at LIMIT 1 FOR UPDATE SKIP LOCKED) \
             RETURNING n.notice_id, n.stage, n.event_type, n.destination, n.reason, \
             n.happened_at, n.next_attempt_at, n.tries, a.label AS \"label!\", a.contact_email",
            at,
            claimed_until
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(|row| Notice {
            notice_id: row.notice_id,
            account_label: row.label,
            contact_email: row.contact_email,
            stage: NoticeStage::from_column(&row.stage),
            event_type: row.event_type,
            destination: row.destination,
            reason: row.reason,
            happened_at: row.happened_at,
            next_attempt_at: row.next_attempt_at,
            tries: row.tries - 1,
        }))
    }

    /// Notes that a notice was sent or given up, or when it is to be tried again.
    ///
    /// # Errors
    /// Those of the database. It is sent once more then, when its claim is over.
    pub async fn notice_tried(
        &self,
        notice_id: i64,
        again_at: Option<DateTime<Utc>>,
    ) -> Result<(), StoreError> {
        let tried = sqlx::query!(
            "UPDATE notices SET next_try_at = $2 WHERE notice_id = $1",
            notice_id,
            again_at
        );
        tried.execute(&self.pool).await?;
        Ok(())
    }
}

/// One statement, so that two reports of the same trouble make one notice: the
/// second waits for the first at the setting's row, which it locks.
pub(crate) async fn note(
    connection: &mut PgConnection,
    trouble: AlertTrouble<'_>,
) -> Result<bool, StoreError> {
    let noted = sqlx::query!(
        "INSERT INTO notices (account_id, setting_id, stage, event_type, destination, reason, \
         happened_at, next_attempt_at, next_try_at) \
         SELECT s.account_id, s.setting_id, $4, s.event_type, \
         coalesce(s.url, array_to_string(s.emails, ', ')), $5, $6, $7, $6 \
         FROM (SELECT * FROM alert_settings WHERE account_id = $1 AND setting_id = $2 \
         AND generation = $3 AND ((disabled_at IS NULL) = ($4 <> 'disabled')) FOR UPDATE) s \
         JOIN accounts a ON a.account_id = s.account_id \
         WHERE a.contact_email IS NOT NULL AND NOT EXISTS (SELECT FROM notices n \
         WHERE n.setting_id = s.setting_id AND n.stage = $4 AND $4 <> 'disabled' \
         AND n.happened_at > $6::timestamptz - interval '1 day')",
        trouble.account_id,
        trouble.setting_id,
        trouble.generation,
        trouble.stage.as_str(),
        trouble.reason,
        trouble.at,
        trouble.next_attempt_at
    )
    .execute(connection)
    .await?;
    Ok(noted.rows_affected() > 0)
}
