//! The rules of this repository that no other tool knows.

mod arrows;
mod docs;
mod files;
pub(crate) mod metrics;

use anyhow::{Result, bail};

use crate::workspace::{self, Metadata};

pub(crate) fn tidy() -> Result<()> {
    let metadata = Metadata::read()?;
    let mut problems = arrows::check(&metadata);
    problems.extend(files::check(workspace::root(), &metadata)?);
    problems.extend(docs::check(workspace::root(), &metadata)?);
    problems.extend(metrics::check(workspace::root(), &metadata)?);
    for problem in &problems {
        eprintln!("{problem}");
    }
    if !problems.is_empty() {
        bail!("tidy found {} problem(s)", problems.len());
    }
    Ok(())
}
