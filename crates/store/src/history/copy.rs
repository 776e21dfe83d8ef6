//! Rows on their way into a table by `COPY … (FORMAT binary)`.
//!
//! <https://www.postgresql.org/docs/current/sql-copy.html#SQL-COPY-BINARY-FORMAT>

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::Uuid;

/// What a stream begins with: signature, no flags, no extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// What it ends with, in the place of a number of columns.
const TRAILER: &[u8] = &(-1_i16).to_be_bytes();
/// The length of NULL.
const NULL: i32 = -1;
/// Microseconds from 1970 to 2000, where PostgreSQL's time begins.
const EPOCH_MICROS: i64 = 946_684_800_000_000;
/// Bytes of one message. The connection has a buffer of that size meanwhile.
const AT_ONCE: usize = 256 * 1024;

/// Rows of one table, as the database reads them.
pub(super) struct Rows {
    /// Its name, and those of its columns in parentheses.
    table: &'static str,
    data: Vec<u8>,
}

impl Rows {
    /// None yet.
    pub(super) fn new(table: &'static str) -> Self {
        Self { table, data: HEADER.to_vec() }
    }

    /// Adds a row: a value for each column. The database refuses it when it has
    /// another number of them.
    pub(super) fn push(&mut self, values: &[&dyn Value]) {
        let columns = i16::try_from(values.len()).unwrap_or(i16::MAX);
        self.data.extend_from_slice(&columns.to_be_bytes());
        for value in values {
            value.write(&mut self.data);
        }
    }

    /// Inserts all of them, or, where one is refused, none.
    pub(super) async fn send(mut self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        self.data.extend_from_slice(TRAILER);
        let statement = format!("COPY {} FROM STDIN (FORMAT binary)", self.table);
        let mut copy = connection.copy_in_raw(&statement).await?;
        for part in self.data.chunks(AT_ONCE) {
            copy.send(part).await?;
        }
        copy.finish().await?;
        Ok(())
    }
}

/// A value of a column.
pub(super) trait Value {
    /// Writes its length and its bytes, as the column's type has them.
    fn write(&self, out: &mut Vec<u8>);
}

fn write(out: &mut Vec<u8>, bytes: &[u8]) {
    // Far beyond what a message of the broker holds; the database would refuse it.
    let length = i32::try_from(bytes.len()).unwrap_or(i32::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
}

impl<T: Value> Value for Option<T> {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Some(value) => value.write(out),
            None => out.extend_from_slice(&NULL.to_be_bytes()),
        }
    }
}

impl Value for &str {
    fn write(&self, out: &mut Vec<u8>) {
        write(out, self.as_bytes());
    }
}

impl Value for Cow<'_, str> {
    fn write(&self, out: &mut Vec<u8>) {
        write(out, self.as_bytes());
    }
}

impl Value for &[u8] {
    fn write(&self, out: &mut Vec<u8>) {
        write(out, self);
    }
}

impl Value for Uuid {
    fn write(&self, out: &mut Vec<u8>) {
        write(out, self.as_bytes());
    }
}

impl Value for bool {
    fn write(&self, out: &mut Vec<u8>) {
        write(out, &[u8::from(*self)]);
    }
}

impl Value for i32 {
    fn write(&self, out: &mut Vec<u8>) {
        write(out, &self.to_be_bytes());
    }
}

impl Value for i64 {
    fn write(&self, out: &mut Vec<u8>) {
        write(out, &self.to_be_bytes());
    }
}

/// What `bigint` holds of these.
impl Value for u32 {
    fn write(&self, out: &mut Vec<u8>) {
        i64::from(*self).write(out);
    }
}

impl Value for DateTime<Utc> {
    fn write(&self, out: &mut Vec<u8>) {
        (self.timestamp_micros() - EPOCH_MICROS).write(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(value: &dyn Value) -> Vec<u8> {
        let mut out = Vec::new();
        value.write(&mut out);
        out
    }

    #[test]
    fn a_stream_has_a_header_rows_and_their_values() {
        let mut rows = Rows::new("t (a, b)");
        rows.push(&[&Some(7_i32), &None::<bool>]);
        let mut expected = b"PGCOPY\n\xff\r\n\0".to_vec();
        expected.extend([0; 8]);
        expected.extend([0, 2, 0, 0, 0, 4, 0, 0, 0, 7, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(rows.data, expected);
    }

    #[test]
    fn moments_count_from_2000() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().expect("a moment");
        let micros =
            |text| i64::from_be_bytes(written(&at(text))[4..].try_into().expect("8 bytes"));
        assert_eq!(micros("2000-01-01T00:00:00Z"), 0);
        assert_eq!(micros("2000-01-01T00:00:01.0000019Z"), 1_000_001);
        // As they are cut everywhere: downwards.
        assert_eq!(micros("1999-12-31T23:59:59.9999999Z"), -1);
    }
}
