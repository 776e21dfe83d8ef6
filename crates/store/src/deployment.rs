//! Whose database this is, and which bucket of settings has what it holds.

use uuid::Uuid;

use crate::{Store, StoreError};

/// PostgreSQL, appendix A: there is no such table.
pub(crate) const UNDEFINED_TABLE: &str = "42P01";

/// What is known of the bucket of settings.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KnownBucket {
    /// Which database this is.
    pub database_id: Uuid,
    /// When the bucket was made that had all documents last, in milliseconds since
    /// 1970, and its last sequence; `None` until one has been complete.
    pub complete: Option<(i64, u64)>,
}

impl Store {
    /// Makes this replica the one that looks after the bucket of settings, for the next
    /// quarter of a minute by the database's clock. `None` while that is another one.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn lead(&self, replica: Uuid) -> Result<Option<KnownBucket>, StoreError> {
        let row = sqlx::query!(
            "UPDATE deployment SET leader = $1, leader_until = now() + interval '15 seconds' \
             WHERE leader = $1 OR leader_until IS NULL OR leader_until < now() \
             RETURNING database_id, bucket_created_ms, bucket_sequence",
            replica
        );
        let row = row.fetch_optional(&self.pool).await?;
        Ok(row.map(|row| KnownBucket {
            database_id: row.database_id,
            complete: row
                .bucket_created_ms
                .zip(row.bucket_sequence)
                .map(|(created_ms, sequence)| (created_ms, sequence.unsigned_abs())),
        }))
    }

    /// Lets another replica look after the bucket.
    ///
    /// # Errors
    /// Those of the database; others wait for a quarter of a minute then.
    pub async fn stop_leading(&self, replica: Uuid) -> Result<(), StoreError> {
        let stopped =
            sqlx::query!("UPDATE deployment SET leader_until = NULL WHERE leader = $1", replica);
        stopped.execute(&self.pool).await?;
        Ok(())
    }

    /// Notes that this bucket has all documents, and how far it has come.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn note_bucket(&self, created_ms: i64, sequence: u64) -> Result<(), StoreError> {
        sqlx::query!(
            "UPDATE deployment SET bucket_created_ms = $1, bucket_sequence = $2 \
             WHERE bucket_created_ms IS DISTINCT FROM $1 OR bucket_sequence IS DISTINCT FROM $2",
            created_ms,
            i64::try_from(sequence).unwrap_or(i64::MAX)
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Refuses a database that another region's deployment has. To be asked
    /// before the schema is touched; a database without one is nobody's yet.
    ///
    /// # Errors
    /// [`StoreError::OtherRegion`], or those of the database.
    pub async fn check_region(&self, region: &str) -> Result<(), StoreError> {
        let found =
            sqlx::query_scalar!("SELECT region FROM deployment").fetch_optional(&self.pool).await;
        match found {
            Ok(Some(found)) if found != region => {
                Err(StoreError::OtherRegion { found, region: region.to_owned() })
            }
            Ok(_) => Ok(()),
            Err(sqlx::Error::Database(error))
                if error.code().is_some_and(|code| code == UNDEFINED_TABLE) =>
            {
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Takes this database for a region, for good. Of two that try at once, one
    /// gets it.
    ///
    /// # Errors
    /// [`StoreError::OtherRegion`], or those of the database, a missing schema
    /// among them.
    pub async fn claim_for_region(&self, region: &str) -> Result<(), StoreError> {
        self.reach().await?;
        // Most often it was claimed long ago, and nothing is written.
        sqlx::query!(
            "INSERT INTO deployment (region) SELECT $1 \
             WHERE NOT EXISTS (SELECT FROM deployment) ON CONFLICT DO NOTHING",
            region
        )
        .execute(&self.pool)
        .await?;
        self.check_region(region).await
    }
}
