//! Whom the servers run as. PostgreSQL refuses to run as root, and NATS has no
//! reason to.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The user id of this process.
pub(crate) fn uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Whether this process runs as root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Makes a directory, with those above it, that every user may enter, whatever
/// the umask: as root, the servers are somebody else. What exists is left as it is.
///
/// # Errors
///
/// When one of the directories cannot be made.
pub fn create_open_dir(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        create_open_dir(parent)?;
    }
    let made = match fs::create_dir(path) {
        Ok(()) => fs::set_permissions(path, fs::Permissions::from_mode(0o755)),
        // Another process may make it at the same time.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    };
    made.with_context(|| format!("cannot make {}", path.display()))
}

/// Whom a server runs as.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RunAs {
    /// The user who started us.
    Caller,
    /// `nobody`, because we are root.
    Unprivileged { uid: u32, gid: u32 },
}

impl RunAs {
    pub(crate) fn choose() -> Self {
        if !is_root() {
            return Self::Caller;
        }
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        // Every system that has a `nobody` without a line for it uses 65534.
        let (uid, gid) = ids_of("nobody", &passwd).unwrap_or((65534, 65534));
        Self::Unprivileged { uid, gid }
    }

    /// Makes the command run as this user. Root's other groups go too: the
    /// standard library drops them along with the user id.
    pub(crate) fn apply(self, command: &mut Command) {
        if let Self::Unprivileged { uid, gid } = self {
            command.uid(uid).gid(gid);
        }
    }

    /// Makes the directory, owned by this user.
    pub(crate) fn own_dir(self, dir: &Path) -> Result<()> {
        create_open_dir(dir)?;
        let Self::Unprivileged { uid, .. } = self else {
            return Ok(());
        };
        if fs::metadata(dir)?.uid() != uid {
            self.give(dir)?;
        }
        self.check_reachable(dir)
    }

    /// Hands a file, or a directory with all that is in it, to this user.
    pub(crate) fn give(self, path: &Path) -> Result<()> {
        let Self::Unprivileged { uid, gid } = self else {
            return Ok(());
        };
        chown(path, Some(uid), Some(gid))
            .with_context(|| format!("cannot hand {} to user {uid}", path.display()))?;
        if path.symlink_metadata()?.is_dir() {
            for entry in fs::read_dir(path)? {
                let entry = entry?;
                // A link is left alone: what it points at may be anybody's.
                if !entry.file_type()?.is_symlink() {
                    self.give(&entry.path())?;
                }
            }
        }
        Ok(())
    }

    /// Says which directory keeps this user out, rather than leaving it to a
    /// server's own "permission denied".
    pub(crate) fn check_reachable(self, path: &Path) -> Result<()> {
        let Self::Unprivileged { uid, .. } = self else {
            return Ok(());
        };
        for dir in path.ancestors().filter(|dir| dir.is_dir()) {
            let metadata = fs::metadata(dir)?;
            let may_enter = if metadata.uid() == uid { 0o100 } else { 0o001 };
            if metadata.permissions().mode() & may_enter == 0 {
                bail!(
                    "{} is closed to the unprivileged user (id {uid}) that the servers run as \
                     when you are root: open it with `chmod o+x`, or choose another place",
                    dir.display()
                );
            }
        }
        Ok(())
    }
}

fn ids_of(name: &str, passwd: &str) -> Option<(u32, u32)> {
    let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2);
    Some((id(fields.next()?)?, id(fields.next()?)?))
}

/// macOS writes `nobody` as -2, meaning the largest id but one.
fn id(text: &str) -> Option<u32> {
    text.parse::<u32>().ok().or_else(|| text.parse::<i32>().ok().map(i32::cast_unsigned))
}

#[cfg(test)]
mod tests {
    use super::ids_of;

    #[test]
    fn nobody_is_found_in_either_notation() {
        let linux = "root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65533:n:/:/bin/false\n";
        assert_eq!(ids_of("nobody", linux), Some((65534, 65533)));
        let mac = "nobody:*:-2:-2:Unprivileged User:/var/empty:/usr/bin/false\n";
        assert_eq!(ids_of("nobody", mac), Some((4294967294, 4294967294)));
        assert_eq!(ids_of("nobody", "nobodyelse:x:1:1::/:/bin/sh\n"), None);
    }
}
