//! What survives from one `up` to the next.

use std::fs::{self, File, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use dev_servers::{create_open_dir, environment};

const LOCK: &str = "lock";

/// The directory of the servers' data, held by this process alone.
pub(super) struct State {
    root: PathBuf,
    /// Goes with the process, however that ends.
    _lock: File,
}

impl State {
    /// Takes the directory, or says who has it.
    pub(super) fn open() -> Result<Self> {
        Self::open_at(environment::state_dir())
    }

    fn open_at(root: PathBuf) -> Result<Self> {
        create_open_dir(&root)?;
        let path = root.join(LOCK);
        let mut lock = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                lock.read_to_string(&mut holder)?;
                bail!("`cargo xtask up` is running already, as process {holder}: stop that first");
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        lock.set_len(0)?;
        write!(lock, "{}", std::process::id())?;
        Ok(Self { root, _lock: lock })
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Throws everything away but the lock, which we hold.
    pub(super) fn clear(&self) -> Result<()> {
        for entry in fs::read_dir(&self.root)? {
            let path = entry?.path();
            if path.ends_with(LOCK) {
                continue;
            }
            let removed =
                if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.with_context(|| format!("cannot remove {}", path.display()))?;
        }
        Ok(())
    }

    /// The key that secrets in the database are sealed under: 64 hex digits,
    /// made on the first call. Without it the database is worth nothing, so they
    /// are kept, and thrown away, together.
    pub(super) fn secret_key(&self) -> Result<String> {
        self.random("secret-key", 32)
    }

    /// Password of PostgreSQL's superuser, who can run programs as the user that the server runs
    /// as: nobody else on this machine is to.
    pub(super) fn database_password(&self) -> Result<String> {
        self.random("database-password", 16)
    }

    /// The name of the demo's bin: 32 hex digits, so that its URL stays the same.
    pub(super) fn bin_name(&self) -> Result<String> {
        self.random("bin-name", 16)
    }

    /// Random bytes in hex, made on the first call and kept under this name.
    fn random(&self, name: &str, bytes: usize) -> Result<String> {
        let path = self.path(name);
        if let Ok(key) = fs::read_to_string(&path) {
            return Ok(key);
        }
        let mut random = vec![0; bytes];
        File::open("/dev/urandom")?.read_exact(&mut random)?;
        let key: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        // Whole under its name or not there: half a key would be a wrong one.
        let partial = self.path(&format!("{name}.partial"));
        let mut file =
            File::options().create(true).truncate(true).write(true).mode(0o600).open(&partial)?;
        file.write_all(key.as_bytes())?;
        file.sync_all()?;
        fs::rename(&partial, &path)?;
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use dev_servers::Scratch;

    use super::State;

    #[test]
    fn state_is_for_one_at_a_time_and_cleared_only_by_the_holder() {
        let scratch = Scratch::new().unwrap();
        let root = scratch.path().join("state");
        let state = State::open_at(root.clone()).unwrap();
        let key = state.secret_key().unwrap();
        assert_eq!(key.len(), 64);
        assert_eq!(state.secret_key().unwrap(), key);
        assert_eq!(state.bin_name().unwrap().len(), 32);

        let refusal = State::open_at(root.clone()).err().unwrap().to_string();
        assert!(refusal.contains(&std::process::id().to_string()), "{refusal}");

        drop(state);
        let state = State::open_at(root).unwrap();
        assert_eq!(state.secret_key().unwrap(), key);
        state.clear().unwrap();
        assert_ne!(state.secret_key().unwrap(), key);
    }
}
