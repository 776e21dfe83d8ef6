//! Disks that can be filled: a file system of its own, of some size, for every server's store.
//!
//! They are mounts in memory, which root alone can make; without them, no disk is filled. The
//! caller gives this process a mount namespace, with which they end.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use rustix::fs::{FallocateFlags, fallocate, statvfs};

/// Several times what a run stores.
const DISK: &str = "size=1G,mode=0755";
const FILLER: &str = "filler";

/// A disk with the store of one server.
#[derive(Debug)]
pub(crate) struct SmallDisk {
    at: PathBuf,
}

impl SmallDisk {
    /// Mounts one. Nothing, where that is not allowed.
    pub(crate) fn mount(at: &Path) -> Result<Option<Self>> {
        dev_servers::create_open_dir(at)?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", DISK, "tmpfs"]).arg(at).stderr(Stdio::null());
        let is_mounted = mount.status().is_ok_and(|status| status.success());
        Ok(is_mounted.then(|| Self { at: at.to_owned() }))
    }

    /// Leaves no byte on it.
    pub(crate) fn fill(&self) -> Result<()> {
        let mut file = File::create(self.at.join(FILLER))?;
        let status = statvfs(&self.at)?;
        let free_bytes = status.f_bavail * status.f_frsize;
        // Somebody else may have written meanwhile.
        let _ = fallocate(&file, FallocateFlags::empty(), 0, free_bytes.max(1));
        io::Seek::seek(&mut file, io::SeekFrom::End(0))?;
        while file.write_all(&[0; 4096]).is_ok() {}
        Ok(())
    }

    pub(crate) fn free(&self) -> Result<()> {
        fs::remove_file(self.at.join(FILLER)).context("cannot free a full disk")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.at).stderr(Stdio::null()).status();
    }
}
