//! A disk for each broker that can lose its power.
//!
//! Each node stores on an ext4 of its own, as most servers do. That stands in a file on an XFS
//! that shares extents. A clone of the file is, in one atomic step, all that ext4 has written
//! to its disk. What only waits in ext4's page cache is not in it. Mounted, the clone is the
//! disk after a power cut: ext4 recovers its journal.
//!
//! The disk is one without a volatile cache, or with one that keeps its content: a write that
//! has reached it is there, flushed or not.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::fs::ioctl_ficlone;

/// Sparse: only what is written takes place.
const POOL_BYTES: u64 = 12 << 30;
const DISK_BYTES: u64 = 2 << 30;
const UNMOUNTED_WITHIN: Duration = Duration::from_secs(20);

/// The disks of all nodes. Dropping them unmounts everything; loop devices go with that.
#[derive(Debug)]
pub(super) struct Disks {
    directory: PathBuf,
    pool: PathBuf,
    disks: Vec<Disk>,
}

#[derive(Debug)]
struct Disk {
    image: PathBuf,
    /// The clone that was taken at the cut.
    clone: PathBuf,
    /// The same, untouched, for who has to find out what happened.
    evidence: PathBuf,
    /// The store of one node.
    store: PathBuf,
}

impl Disks {
    /// Makes them, with the store of each node mounted where its broker looks for it.
    pub(super) fn create(directory: &Path, nodes: usize) -> Result<Self> {
        let pool = directory.join("pool");
        let file = directory.join("pool.xfs");
        make_file(&file, POOL_BYTES)?;
        run("mkfs.xfs", |command| command.args(["-q", "-m", "reflink=1"]).arg(&file))?;
        dev_servers::create_open_dir(&pool)?;
        let mut all = Self { directory: directory.to_owned(), pool, disks: Vec::new() };
        // Without discard, the file would hold what was deleted from the file system.
        mount("xfs", "loop,discard", &file, &all.pool)?;
        for number in 0..nodes {
            let node = super::platform::node_directory(directory, nodes, number);
            let disk = Disk {
                image: all.pool.join(format!("{number}.ext4")),
                clone: all.pool.join(format!("{number}.clone")),
                evidence: all.pool.join(format!("{number}.after-the-cut")),
                store: node.join("streams"),
            };
            make_file(&disk.image, DISK_BYTES)?;
            run("mkfs.ext4", |command| command.args(["-q", "-F"]).arg(&disk.image))?;
            dev_servers::create_open_dir(&disk.store)?;
            mount("ext4", "loop", &disk.image, &disk.store)?;
            all.disks.push(disk);
        }
        Ok(all)
    }

    /// Makes sure that a cut keeps what was flushed and drops what was not.
    pub(super) fn check_model(&self) -> Result<()> {
        let disk = self.disks.first().context("there is a disk")?;
        let (flushed, unflushed) = ("control-flushed", "control-unflushed");
        let mut file = File::create(disk.store.join(flushed))?;
        file.write_all(&[b'a'; 8192])?;
        file.sync_all()?;
        File::open(&disk.store)?.sync_all()?;
        file.write_all(&[b'b'; 8192])?;
        fs::write(disk.store.join(unflushed), [b'c'; 8192])?;
        clone(&disk.image, &disk.clone)?;

        let after = self.directory.join("control");
        dev_servers::create_open_dir(&after)?;
        mount("ext4", "loop", &disk.clone, &after)?;
        let kept = fs::read(after.join(flushed));
        let dropped = fs::read(after.join(unflushed)).unwrap_or_default();
        unmount(&after)?;
        for name in [flushed, unflushed] {
            fs::remove_file(disk.store.join(name))?;
        }
        let kept = kept.context("what was flushed is gone, so this is no power cut")?;
        ensure!(kept == [b'a'; 8192], "of a flushed file {} bytes are left", kept.len());
        ensure!(dropped.is_empty(), "what was not flushed is there, so this is no power cut");
        println!("control: a flushed write survives the cut, unflushed ones do not");
        Ok(())
    }

    /// Writes everything down.
    pub(super) fn flush(&self) -> Result<()> {
        self.disks.iter().try_for_each(|disk| {
            run("sync", |command| command.arg("--file-system").arg(&disk.store))
        })
    }

    /// Takes the clones of all disks at the same time. Returns how long that took.
    pub(super) fn snapshot(&self) -> Result<Duration> {
        let began = Instant::now();
        thread::scope(|scope| {
            let clones: Vec<_> = self
                .disks
                .iter()
                .map(|disk| scope.spawn(|| clone(&disk.image, &disk.clone)))
                .collect();
            clones.into_iter().try_for_each(|thread| match thread.join() {
                Ok(cloned) => cloned,
                Err(_) => bail!("a clone panicked"),
            })
        })?;
        Ok(began.elapsed())
    }

    /// Puts the clones in the place of the disks. Nobody may have them open any more.
    pub(super) fn restore(&self) -> Result<()> {
        for disk in &self.disks {
            unmount(&disk.store)?;
            clone(&disk.clone, &disk.evidence)?;
            fs::rename(&disk.clone, &disk.image)?;
            mount("ext4", "loop", &disk.image, &disk.store)?;
        }
        Ok(())
    }

    /// Deletes all that the brokers have stored. None of them may run.
    pub(super) fn empty(&self) -> Result<()> {
        for disk in &self.disks {
            fs::remove_dir_all(disk.store.join("jetstream"))?;
        }
        Ok(())
    }
}

impl Drop for Disks {
    fn drop(&mut self) {
        for disk in &self.disks {
            let _ = unmount(&disk.store);
        }
        let _ = unmount(&self.pool);
    }
}

fn clone(from: &Path, to: &Path) -> Result<()> {
    let clone = File::create(to)?;
    ioctl_ficlone(&clone, File::open(from)?).context("cannot clone a disk")
}

fn make_file(path: &Path, bytes: u64) -> Result<()> {
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(file.set_len(bytes)?)
}

fn mount(kind: &str, options: &str, file: &Path, at: &Path) -> Result<()> {
    run("mount", |command| command.args(["-t", kind, "-o", options]).arg(file).arg(at))
}

/// A process that was just killed can hold a file open for a moment.
fn unmount(at: &Path) -> Result<()> {
    let deadline = Instant::now() + UNMOUNTED_WITHIN;
    while let Err(error) = run("umount", |command| command.arg(at)) {
        if Instant::now() >= deadline {
            // Nobody shall stumble over it later.
            run("umount", |command| command.arg("--lazy").arg(at))?;
            return Err(error);
        }
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

fn run(program: &str, arguments: impl FnOnce(&mut Command) -> &mut Command) -> Result<()> {
    let mut command = Command::new(program);
    arguments(&mut command);
    let output = command.output().with_context(|| format!("cannot run {program}"))?;
    if !output.status.success() {
        bail!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
