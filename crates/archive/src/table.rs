//! Rows for one table, each knowing its message.

use std::collections::BTreeSet;
use std::ops::Range;

use chrono::{DateTime, NaiveDate, Utc};
use store::history::{AttemptRow, EndRow, EventRow, HistoryTable, RoutedRow};
use store::{Store, StoreError};

/// Rows of one insert, at most. A message holds up to 128 outcomes, and a
/// statement is not to grow with their product.
const ROWS_AT_ONCE: usize = 5_000;

/// Rows for one table.
#[derive(Debug)]
pub(crate) struct Table<T> {
    rows: Vec<T>,
    /// The number of the message that each row came from.
    from: Vec<usize>,
}

/// A row that the database will never take.
#[derive(Debug)]
pub(crate) struct Refused {
    /// The number of the message that it came from.
    pub(crate) message: usize,
    /// Why.
    pub(crate) error: StoreError,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { rows: Vec::new(), from: Vec::new() }
    }
}

impl<T> Table<T> {
    /// Adds a row.
    pub(crate) fn push(&mut self, message: usize, row: T) {
        self.rows.push(row);
        self.from.push(message);
    }

    /// The days of its rows.
    pub(crate) fn days(&self) -> BTreeSet<NaiveDate>
    where
        T: Row,
    {
        self.rows.iter().map(|row| row.at().date_naive()).collect()
    }

    /// All rows.
    #[cfg(test)]
    pub(crate) fn rows(&self) -> &[T] {
        &self.rows
    }

    /// Inserts all rows but those that the database refuses, which are returned.
    ///
    /// A refused statement says nothing of which row it was, so that its rows
    /// are halved until that one stands alone: its good neighbours are stored,
    /// at the price of a few statements more.
    pub(crate) async fn write(&self, store: &Store) -> Result<Vec<Refused>, StoreError>
    where
        T: Row,
    {
        let mut refused = Vec::new();
        let mut parts: Vec<Range<usize>> = (0..self.rows.len())
            .step_by(ROWS_AT_ONCE)
            .map(|start| start..(start + ROWS_AT_ONCE).min(self.rows.len()))
            .collect();
        while let Some(part) = parts.pop() {
            match T::insert(store, &self.rows[part.clone()]).await {
                Ok(()) => {
                    metrics::counter!("postrider_archive_rows_total", "table" => T::TABLE)
                        .increment(part.len() as u64);
                }
                Err(error) if !error.is_about_the_data() => return Err(error),
                Err(error) if part.len() == 1 => {
                    refused.push(Refused { message: self.from[part.start], error });
                }
                Err(_) => {
                    let middle = part.start + part.len() / 2;
                    parts.extend([part.start..middle, middle..part.end]);
                }
            }
        }
        Ok(refused)
    }
}

/// A row that knows its table.
pub(crate) trait Row: Sized + Sync {
    /// The table's name in metrics.
    const TABLE: &'static str;
    /// Where it goes.
    const HISTORY: &'static [HistoryTable];

    /// The moment that decides in which day it stands.
    fn at(&self) -> DateTime<Utc>;

    /// Inserts rows; doing it again changes nothing.
    fn insert(store: &Store, rows: &[Self]) -> impl Future<Output = Result<(), StoreError>> + Send;
}

impl Row for EventRow {
    const TABLE: &'static str = "events";
    const HISTORY: &'static [HistoryTable] = &[HistoryTable::Events];

    fn at(&self) -> DateTime<Utc> {
        self.accepted_at
    }

    async fn insert(store: &Store, rows: &[Self]) -> Result<(), StoreError> {
        store.insert_events(rows).await
    }
}

impl Row for RoutedRow {
    const TABLE: &'static str = "routings";
    const HISTORY: &'static [HistoryTable] = &[HistoryTable::Routings];

    fn at(&self) -> DateTime<Utc> {
        self.routed_at
    }

    async fn insert(store: &Store, rows: &[Self]) -> Result<(), StoreError> {
        store.insert_routed(rows).await
    }
}

impl Row for AttemptRow {
    const TABLE: &'static str = "attempts";
    const HISTORY: &'static [HistoryTable] = &[HistoryTable::Attempts];

    fn at(&self) -> DateTime<Utc> {
        self.started_at
    }

    async fn insert(store: &Store, rows: &[Self]) -> Result<(), StoreError> {
        store.insert_attempts(rows).await
    }
}

impl Row for EndRow {
    const TABLE: &'static str = "ends";
    const HISTORY: &'static [HistoryTable] = &[HistoryTable::Ends, HistoryTable::Undelivered];

    fn at(&self) -> DateTime<Utc> {
        self.ended_at
    }

    async fn insert(store: &Store, rows: &[Self]) -> Result<(), StoreError> {
        store.insert_ends(rows).await
    }
}
