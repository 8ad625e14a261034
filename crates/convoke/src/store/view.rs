//! The files of a folder as they are, to be looked at as a hub would that starts on them: what is written goes to memory, and
//! the folder stays as it is.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use redb::StorageBackend;

use super::disk::Disk;

/// What is written is held in pages of this length, in bytes.
const PAGE: usize = 4 << 10;

/// A file: what is in the folder, and what was written over it.
#[derive(Debug, Default)]
struct Contents {
    below: Option<File>,
    /// Of that counts so much, in bytes.
    below_bytes: u64,
    bytes: u64,
    pages: BTreeMap<u64, Box<[u8; PAGE]>>,
}

impl Contents {
    fn read_page(&self, page: u64, out: &mut [u8; PAGE]) -> io::Result<()> {
        if let Some(written) = self.pages.get(&page) {
            *out = **written;
            return Ok(());
        }
        *out = [0; PAGE];
        let start = page * PAGE as u64;
        let there = self.below_bytes.saturating_sub(start).min(PAGE as u64) as usize;
        match &self.below {
            Some(below) if there > 0 => read_at(below, start, &mut out[..there]),
            _ => Ok(()),
        }
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        // Where a damaged file leads may be anywhere.
        let end = offset.checked_add(out.len() as u64).filter(|end| *end <= self.bytes);
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        // Most reads are of what was never written.
        let pages = offset / PAGE as u64..=end / PAGE as u64;
        if self.pages.range(pages).next().is_none()
            && end <= self.below_bytes
            && let Some(below) = &self.below
        {
            return read_at(below, offset, out);
        }
        let (mut at, mut buffer) = (0, [0; PAGE]);
        while at < out.len() {
            let (page, within) = place(offset + at as u64);
            let count = (PAGE - within).min(out.len() - at);
            self.read_page(page, &mut buffer)?;
            out[at..at + count].copy_from_slice(&buffer[within..within + count]);
            at += count;
        }
        Ok(())
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut at = 0;
        while at < data.len() {
            let (page, within) = place(offset + at as u64);
            let count = (PAGE - within).min(data.len() - at);
            let mut buffer = [0; PAGE];
            self.read_page(page, &mut buffer)?;
            buffer[within..within + count].copy_from_slice(&data[at..at + count]);
            self.pages.insert(page, Box::new(buffer));
            at += count;
        }
        self.bytes = self.bytes.max(offset + data.len() as u64);
        Ok(())
    }

    fn set_len(&mut self, bytes: u64) -> io::Result<()> {
        if bytes < self.bytes {
            let (page, within) = place(bytes);
            if within > 0 {
                let mut buffer = [0; PAGE];
                self.read_page(page, &mut buffer)?;
                buffer[within..].fill(0);
                self.pages.insert(page, Box::new(buffer));
            }
            self.pages.split_off(&bytes.div_ceil(PAGE as u64));
            self.below_bytes = self.below_bytes.min(bytes);
        }
        self.bytes = bytes;
        Ok(())
    }
}

fn place(offset: u64) -> (u64, usize) {
    (offset / PAGE as u64, (offset % PAGE as u64) as usize)
}

#[cfg(unix)]
fn read_at(file: &File, offset: u64, out: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, out, offset)
}

#[cfg(not(unix))]
fn read_at(mut file: &File, offset: u64, out: &mut [u8]) -> io::Result<()> {
    use std::io::{Read as _, Seek as _};
    // Each file of a view is read under its lock.
    file.seek(io::SeekFrom::Start(offset))?;
    file.read_exact(out)
}

/// A file that is open.
#[derive(Debug)]
struct Seen(Arc<Mutex<Contents>>);

impl Seen {
    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().expect("nothing in it panics")
    }
}

impl StorageBackend for Seen {
    fn len(&self) -> io::Result<u64> {
        Ok(self.contents().bytes)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.contents().read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.contents().set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.contents().write(offset, data)
    }
}

/// A folder, with what was done in it.
#[derive(Debug)]
pub(super) struct View {
    folder: PathBuf,
    /// By their names; `None` for what was removed.
    files: Mutex<BTreeMap<String, Option<Arc<Mutex<Contents>>>>>,
}

impl View {
    pub(super) fn of(folder: &Path) -> View {
        View { folder: folder.to_owned(), files: Mutex::default() }
    }

    fn files(&self) -> MutexGuard<'_, BTreeMap<String, Option<Arc<Mutex<Contents>>>>> {
        self.files.lock().expect("nothing in it panics")
    }

    fn find(&self, name: &str) -> io::Result<Arc<Mutex<Contents>>> {
        let mut files = self.files();
        if let Some(known) = files.get(name) {
            return known.clone().ok_or_else(|| io::ErrorKind::NotFound.into());
        }
        let below = File::open(self.folder.join(name))?;
        let bytes = below.metadata()?.len();
        let contents = Contents { below: Some(below), below_bytes: bytes, bytes, pages: BTreeMap::new() };
        let contents = Arc::new(Mutex::new(contents));
        files.insert(name.to_owned(), Some(contents.clone()));
        Ok(contents)
    }
}

impl Disk for View {
    fn names(&self) -> io::Result<Vec<String>> {
        let files = self.files();
        let mut names: Vec<String> =
            files.iter().filter(|(_, file)| file.is_some()).map(|(name, _)| name.clone()).collect();
        for entry in fs::read_dir(&self.folder)? {
            names.extend(entry?.file_name().into_string().ok().filter(|name| !files.contains_key(name)));
        }
        Ok(names)
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn StorageBackend>> {
        Ok(Box::new(Seen(self.find(name)?)))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn StorageBackend>> {
        let contents = Arc::<Mutex<Contents>>::default();
        self.files().insert(name.to_owned(), Some(contents.clone()));
        Ok(Box::new(Seen(contents)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let contents = self.find(from)?;
        let mut files = self.files();
        files.insert(from.to_owned(), None);
        files.insert(to.to_owned(), Some(contents));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.find(name)?;
        self.files().insert(name.to_owned(), None);
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        Ok(())
    }

    fn room(&self, name: &str) -> io::Result<u64> {
        Ok(self.find(name)?.lock().expect("nothing in it panics").bytes)
    }

    fn reserve(&self) -> u64 {
        0
    }

    fn give_up_reserve(&self, _bytes: u64) -> bool {
        false
    }

    fn refill_reserve(&self, _was: u64) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_the_folder_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let there: Vec<u8> = (0..10_000_u32).map(|at| at as u8).collect();
        fs::write(folder.path().join("a"), &there).unwrap();
        let view = View::of(folder.path());
        let (file, mut expected) = (view.open("a").unwrap(), there.clone());
        file.write(4_000, &[9; 200]).unwrap();
        expected[4_000..4_200].fill(9);
        file.set_len(9_000).unwrap();
        file.set_len(9_500).unwrap();
        expected.truncate(9_000);
        expected.resize(9_500, 0);
        let mut found = vec![0; 9_500];
        file.read(0, &mut found).unwrap();
        assert_eq!(found, expected);
        assert!(file.read(9_000, &mut [0; 501]).is_err());
        assert!(file.read(u64::MAX - 1, &mut [0; 501]).is_err(), "where a damaged file leads");
        view.rename("a", "b").unwrap();
        view.create("c").unwrap();
        assert_eq!(view.names().unwrap(), ["b", "c"]);
        assert!(view.open("a").is_err() && view.open("b").is_ok());
        view.remove("b").unwrap();
        assert_eq!(view.names().unwrap(), ["c"]);
        assert_eq!(fs::read(folder.path().join("a")).unwrap(), there);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
