//! Whose database this is.

use crate::{Store, StoreError};

/// PostgreSQL, appendix A: there is no such table.
pub(crate) const UNDEFINED_TABLE: &str = "42P01";

impl Store {
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
