//! Disks for tests: one that forgets what was not synced, lies or fails as it is told, and small ones that are really full.
//! Where this machine has no such disk, a line says so.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// What a disk writes wholly or not at all, in bytes.
const SECTOR: usize = 512;

/// Says in one line why something is not tested here.
fn skipped(why: &str) {
    println!("skipped: {why}");
}

/// A folder behind a library that is loaded before the system's; see `disk.c`.
pub struct TrickyDisk {
    folder: TempDir,
}

/// What of that which was never synced a power cut leaves.
#[derive(Clone, Copy, Debug)]
pub enum Leaves {
    Nothing,
    /// Sectors here and there, whichever come from this seed.
    Some(u64),
    All,
}

impl Leaves {
    /// At each cut another.
    pub fn in_turn(cut: u64) -> Leaves {
        match cut % 3 {
            0 => Leaves::Nothing,
            1 => Leaves::Some(cut),
            _ => Leaves::All,
        }
    }
}

impl TrickyDisk {
    /// None where the library cannot be made.
    pub fn new() -> Option<TrickyDisk> {
        let folder = tempfile::tempdir().unwrap();
        for name in ["keeps", "data"] {
            DirBuilder::new().mode(0o700).create(folder.path().join(name)).unwrap();
        }
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../convoke/tests/support/disk.c");
        // What links Rust programs; only one that is linked to the system's library can be given another.
        let mut cc = Command::new("cc");
        cc.args(["-O1", "-shared", "-fPIC", "-pthread", "-o"]).arg(folder.path().join("disk.so")).arg(source);
        let made = cc.output();
        if !cfg!(target_env = "gnu") || !made.as_ref().is_ok_and(|made| made.status.success()) {
            skipped(&format!("this machine has no C compiler, or no library that a program can be given: {made:?}"));
            return None;
        }
        Some(TrickyDisk { folder })
    }

    /// The folder on this disk.
    pub fn data(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join("data")
    }

    fn keeps(&self) -> PathBuf {
        self.folder.path().join("keeps")
    }

    /// With which variables a program is started that uses this disk.
    pub fn variables(&self) -> [(&'static str, String); 5] {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        [
            ("LD_PRELOAD", path("disk.so")),
            ("DISK_FOLDER", self.data().display().to_string()),
            ("DISK_KEEPS", path("keeps")),
            ("DISK_LIES", path("lies")),
            ("DISK_FAILS", path("fails")),
        ]
    }

    /// From now on a sync does nothing, and says that it has.
    pub fn lies(&self) {
        fs::write(self.folder.path().join("lies"), "").unwrap();
    }

    /// From now on these calls fail, as in `write 5`; with nothing, none does.
    pub fn fails(&self, how: &str) {
        // At once, for who reads it meanwhile.
        let next = self.folder.path().join("fails.next");
        fs::write(&next, how).unwrap();
        fs::rename(next, self.folder.path().join("fails")).unwrap();
    }

    /// The power is cut: no program that uses the disk is alive. The folder is then what is left of it.
    pub fn cut(&self, leaves: Leaves) {
        let (data, keeps) = (self.data(), self.keeps());
        let names = fs::read_to_string(keeps.join("names")).expect("the folder was synced once");
        let left = self.folder.path().join("left");
        DirBuilder::new().mode(0o700).create(&left).unwrap();
        for (inode, name) in names.lines().filter_map(|line| line.split_once(' ')) {
            let kept = fs::read(keeps.join(inode)).unwrap_or_default();
            let live = live_of(&data, inode.parse().unwrap()).unwrap_or_else(|| kept.clone());
            fs::write(left.join(name), mixed(kept, &live, leaves)).unwrap();
        }
        fs::remove_dir_all(&data).unwrap();
        fs::rename(&left, &data).unwrap();
        // What is on the disk now is there for good.
        fs::remove_dir_all(&keeps).unwrap();
        fs::create_dir(&keeps).unwrap();
        let mut names = String::new();
        for entry in fs::read_dir(&data).unwrap() {
            let entry = entry.unwrap();
            let inode = entry.metadata().unwrap().ino();
            fs::set_permissions(entry.path(), Permissions::from_mode(0o600)).unwrap();
            fs::copy(entry.path(), keeps.join(inode.to_string())).unwrap();
            names += &format!("{inode} {}\n", entry.file_name().into_string().unwrap());
        }
        fs::write(keeps.join("names"), names).unwrap();
    }
}

/// What programs last saw in the file of this inode, if it is there still.
fn live_of(data: &Path, inode: u64) -> Option<Vec<u8>> {
    let mut entries = fs::read_dir(data).unwrap().map(|entry| entry.unwrap());
    let entry = entries.find(|entry| entry.metadata().unwrap().ino() == inode)?;
    Some(fs::read(entry.path()).unwrap())
}

/// What was kept, with sectors that were not.
fn mixed(mut kept: Vec<u8>, live: &[u8], leaves: Leaves) -> Vec<u8> {
    let mut seed = match leaves {
        Leaves::Nothing => return kept,
        Leaves::All => return live.to_vec(),
        Leaves::Some(seed) => seed,
    };
    let mut coin = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        seed >> 63 == 1
    };
    if coin() {
        kept.resize(live.len(), 0);
    }
    for (kept, live) in kept.chunks_mut(SECTOR).zip(live.chunks(SECTOR)) {
        if kept != live && coin() {
            let length = kept.len().min(live.len());
            kept[..length].copy_from_slice(&live[..length]);
        }
    }
    kept
}

/// A folder for images: in memory where there is such a place, so that a busy disk does not make them slow.
pub fn folder_for_images() -> TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

/// All programs stand still, but the system might just be writing: then the image changes.
fn copy_while_nobody_writes(from: &Path, to: &Path) {
    for _ in 0..100 {
        fs::copy(from, to).unwrap();
        if fs::read(from).unwrap() == fs::read(to).unwrap() {
            return;
        }
    }
    panic!("the image does not come to rest");
}

/// A disk of which an image is copied while its hub stands still, and then taken in its place: what the file system has not
/// handed to its device, a file, is only in memory, and gone.
pub struct ImageDisk {
    disk: Option<SmallDisk>,
    folder: TempDir,
    /// Which of the images is used now.
    number: u64,
}

impl ImageDisk {
    /// None where a test may not mount one.
    pub fn new(mib: u64) -> Option<ImageDisk> {
        let mut disk = ImageDisk { disk: None, folder: folder_for_images(), number: 0 };
        let first = SmallDisk::image(&disk.image(0), mib)?;
        disk.change(first);
        Some(disk)
    }

    /// The folder of the hub, whichever image is used.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("disk/data")
    }

    /// Copies the image as it is now.
    pub fn copy(&self) {
        copy_while_nobody_writes(&self.image(self.number), &self.image(self.number + 1));
    }

    /// Takes the copy in its place. The hub must have ended.
    pub fn take_copy(&mut self) {
        drop(self.disk.take());
        fs::remove_file(self.image(self.number)).unwrap();
        self.number += 1;
        self.change(SmallDisk::mount_image(&self.image(self.number)).expect("it can be mounted, as the one before"));
    }

    fn image(&self, number: u64) -> PathBuf {
        self.folder.path().join(format!("{number}.img"))
    }

    fn change(&mut self, disk: SmallDisk) {
        let link = self.folder.path().join("disk");
        let _ = fs::remove_file(&link);
        std::os::unix::fs::symlink(disk.path(), &link).unwrap();
        self.disk = Some(disk);
    }
}

/// A file system of its own, that ends with this. Other programs see it by its [`path`](SmallDisk::path).
pub struct SmallDisk {
    holder: Child,
    folder: TempDir,
}

impl SmallDisk {
    /// In memory. None where a test may not have one.
    pub fn in_memory(mib: u64) -> Option<SmallDisk> {
        SmallDisk::mount(&["-rm"], &format!("-t tmpfs -o size={mib}m none"))
    }

    /// An image with a new ext4 in it. None where a test may not mount one.
    pub fn image(image: &Path, mib: u64) -> Option<SmallDisk> {
        File::create(image).unwrap().set_len(mib << 20).unwrap();
        // Without blocks that only root may use: a test may be root.
        let made = Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(image).output();
        if !made.as_ref().is_ok_and(|made| made.status.success()) {
            skipped(&format!("this machine cannot make an ext4: {made:?}"));
            return None;
        }
        SmallDisk::mount_image(image)
    }

    /// An image that is there. It writes nothing by itself that no program has asked it to write.
    pub fn mount_image(image: &Path) -> Option<SmallDisk> {
        SmallDisk::mount(&["-m"], &format!("-o loop,commit=300 {}", image.display()))
    }

    fn mount(unshare: &[&str], what: &str) -> Option<SmallDisk> {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("place");
        fs::create_dir(&place).unwrap();
        // It holds the disk until its stdin ends.
        let command = format!("mount {what} {place} && chmod 700 {place} && echo && cat", place = place.display());
        let mut holder = Command::new("unshare");
        holder.args(unshare).args(["sh", "-c", &command]);
        holder.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut holder = match holder.spawn() {
            Ok(holder) => holder,
            Err(error) => {
                skipped(&format!("this machine has no `unshare`: {error}"));
                return None;
            }
        };
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if line.is_empty() {
            let mut why = String::new();
            holder.stderr.take().unwrap().read_to_string(&mut why).unwrap();
            holder.wait().unwrap();
            skipped(&format!("a test may not mount a disk of its own here (mount {what}): {}", why.trim()));
            return None;
        }
        Some(SmallDisk { holder, folder })
    }

    /// Where it is.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{}", self.holder.id(), self.folder.path().join("place").display()))
    }

    /// Somebody takes all room that is left, in the file `filler`.
    pub fn fill(&self) {
        let mut options = File::options();
        let file = options.create(true).truncate(false).write(true).open(self.path().join("filler")).unwrap();
        let mut at = file.metadata().unwrap().len();
        for length in [1 << 16, 1 << 9, 1] {
            while let Ok(written @ 1..) = file.write_at(&[7; 1 << 16][..length], at) {
                at += written as u64;
            }
        }
        assert_eq!(file.write_at(b"x", at).map_err(|error| error.kind()), Err(io::ErrorKind::StorageFull));
    }

    /// They give it back.
    pub fn make_room(&self) {
        fs::remove_file(self.path().join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // `sh` waits for `cat`, which ends with its stdin.
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}
