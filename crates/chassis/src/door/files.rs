//! What is made of files, and made anew when they change.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use sha2::{Digest as _, Sha256};

/// A file by the setting that names it.
type Named = (&'static str, PathBuf);

/// Made of the contents of files, each with its setting. The error names the
/// setting that is to be looked at.
type Make<T> = fn(&[(&'static str, Vec<u8>)]) -> Result<T, String>;

/// What is made of some files.
pub(super) struct Kept<T> {
    files: Vec<Named>,
    make: Make<T>,
    made: RwLock<Arc<T>>,
    /// What was read last, be it right or wrong, so that each is told once.
    read: Mutex<Mark>,
}

/// Tells one reading from another.
type Mark = [u8; 32];

impl<T> Kept<T> {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn open(files: Vec<Named>, make: Make<T>) -> Result<Self, String> {
        let contents = read(&files);
        let mark = mark(&contents);
        let made = Arc::new(make(&contents?)?);
        Ok(Self { files, make, made: RwLock::new(made), read: Mutex::new(mark) })
    }

    /// What was made last.
    pub(super) fn get(&self) -> Arc<T> {
        Arc::clone(&self.made.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the files again; `None` when they are as they were. By their contents:
    /// times tell nothing where a whole directory is exchanged.
    pub(super) fn look(&self) -> Option<Result<(), String>> {
        let mut last = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let contents = read(&self.files);
        let mark = mark(&contents);
        if *last == mark {
            return None;
        }
        *last = mark;
        let made = contents.and_then(|contents| (self.make)(&contents));
        Some(made.map(|made| {
            *self.made.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(made);
        }))
    }
}

type Contents = Result<Vec<(&'static str, Vec<u8>)>, String>;

fn read(files: &[Named]) -> Contents {
    let read = |(setting, path): &Named| {
        std::fs::read(path)
            .map(|content| (*setting, content))
            .map_err(|error| format!("{setting}: cannot read {}: {error}", path.display()))
    };
    files.iter().map(read).collect()
}

fn mark(contents: &Contents) -> Mark {
    let mut hash = Sha256::new();
    match contents {
        Ok(contents) => {
            for (_, content) in contents {
                hash.update(Sha256::digest(content));
            }
        }
        Err(error) => hash.update(error),
    }
    hash.finalize().into()
}
