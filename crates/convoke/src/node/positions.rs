//! Up to where executors have come, kept beyond the end of the program.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use convoke_core::Name;

use crate::files::{make_folder, sync_names};

/// Whose position it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExecutorId {
    /// The journal whose entries it is called with.
    pub journal: Name,
    /// The node that follows the journal.
    pub node: Name,
    /// The name of the executor.
    pub executor: String,
}

/// As: executor `press` of `panel` in `room/lobby`.
impl fmt::Display for ExecutorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "executor `{}` of `{}` in `{}`", self.executor, self.node, self.journal)
    }
}

/// Up to where an executor has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The last entry that it was called with, and has handled; zero for none.
    pub seq: u64,
    /// The hash of that entry and of all before it, by which another journal of the same name is told from this one; zeros
    /// if it is not known.
    pub hash: [u8; 16],
}

/// Where the positions of executors are kept: a folder ([`PositionFiles`]), nowhere ([`NotKept`]), or a store of the program's
/// own. Calls come one after the other: `load` once for each executor, then `keep` after each entry that it has handled.
///
/// If `keep` is lost, the executor is called again with entries that it has handled already; never is one left out.
pub trait Positions: Send + 'static {
    /// The position that was kept last; `None` if there never was one.
    ///
    /// # Errors
    ///
    /// It cannot be read, or somebody else keeps it: then the executor is not added.
    fn load(&mut self, of: &ExecutorId) -> io::Result<Option<Position>>;

    /// Keeps a position in the place of the one before.
    ///
    /// # Errors
    ///
    /// It cannot be kept: then the executor stops, and says so.
    fn keep(&mut self, of: &ExecutorId, position: Position) -> io::Result<()>;
}

/// Positions are forgotten with the program, so that each start begins anew: for a window, which shows what there is
/// when it opens.
#[derive(Clone, Copy, Debug, Default)]
pub struct NotKept;

impl Positions for NotKept {
    fn load(&mut self, _: &ExecutorId) -> io::Result<Option<Position>> {
        Ok(None)
    }

    fn keep(&mut self, _: &ExecutorId, _: Position) -> io::Result<()> {
        Ok(())
    }
}

/// Positions as small files in a folder, one for each executor, which people can read.
///
/// A file is locked as long as this lives, so that no two programs execute the same. To keep a position costs some
/// microseconds: it is written at once, so that nothing is forgotten however the program ends, but it is left to the system
/// when the disk has it. After a power cut the position may be older by some seconds, never newer and never unreadable.
#[derive(Debug)]
pub struct PositionFiles {
    folder: PathBuf,
    open: BTreeMap<ExecutorId, Slots>,
}

/// An open file: a line that says whose it is, then two places that are written in turn, so that a torn write leaves one.
#[derive(Debug)]
struct Slots {
    file: File,
    /// Where the places begin, in bytes.
    start: u64,
    /// Which is written next.
    next: u64,
}

/// The length of a place: 20 digits, 32 of the hash, 16 of the check, with spaces and a line end between and behind them.
const SLOT_BYTES: usize = 20 + 1 + 32 + 1 + 16 + 1;

impl PositionFiles {
    /// In this folder, which is made if there is none.
    pub fn new(folder: impl AsRef<Path>) -> PositionFiles {
        PositionFiles { folder: folder.as_ref().to_owned(), open: BTreeMap::new() }
    }
}

impl Positions for PositionFiles {
    fn load(&mut self, of: &ExecutorId) -> io::Result<Option<Position>> {
        make_folder(&self.folder)?;
        let path = self.folder.join(file_name(of)?);
        let mut file = File::options().create(true).truncate(false).read(true).write(true).open(&path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let text = format!("another program, or another part of this one, is {of}");
                return Err(io::Error::new(io::ErrorKind::WouldBlock, text));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let head = format!("{of}\n");
        let start = head.len() as u64;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        if bytes.len() < head.len() + 2 * SLOT_BYTES {
            // The program ended while it made the file, and before anything was executed.
            let made = [head.as_bytes(), &slot(None), &slot(None)].concat();
            file.seek(SeekFrom::Start(0))?;
            file.write_all(&made)?;
            file.sync_all()?;
            sync_names(&self.folder)?;
            self.open.insert(of.clone(), Slots { file, start, next: 0 });
            return Ok(None);
        }
        let unreadable = |why: &str| {
            let text = format!("`{}` {why}; see what {of} has done last, and delete the file", path.display());
            io::Error::new(io::ErrorKind::InvalidData, text)
        };
        let slots = bytes.strip_prefix(head.as_bytes()).ok_or_else(|| unreadable("is of another executor"))?;
        let read = [0, 1].map(|place| slots.chunks(SLOT_BYTES).nth(place).and_then(position));
        let next = u64::from(read[0] > read[1]);
        let last = read[0].max(read[1]).ok_or_else(|| unreadable("holds no position that can be read"))?;
        self.open.insert(of.clone(), Slots { file, start, next });
        Ok(last.map(|(seq, hash)| Position { seq, hash }))
    }

    fn keep(&mut self, of: &ExecutorId, position: Position) -> io::Result<()> {
        let slots = self.open.get_mut(of).ok_or_else(|| io::Error::other("it was not loaded"))?;
        slots.file.seek(SeekFrom::Start(slots.start + slots.next * SLOT_BYTES as u64))?;
        slots.file.write_all(&slot(Some(position)))?;
        slots.next = 1 - slots.next;
        Ok(())
    }
}

/// In the place of a seq where nothing was kept yet.
const NOTHING: &str = "--------------------";

fn slot(position: Option<Position>) -> Vec<u8> {
    let seq = position.map_or(NOTHING.to_owned(), |position| format!("{:020}", position.seq));
    let hash = u128::from_be_bytes(position.unwrap_or_default().hash);
    let text = format!("{seq} {hash:032x}");
    let check = check(text.as_bytes());
    format!("{text} {check:016x}\n").into_bytes()
}

/// What a place holds: nothing that can be read, nothing yet, or a position. The greater is the later.
fn position(slot: &[u8]) -> Option<Option<(u64, [u8; 16])>> {
    let mut words = std::str::from_utf8(slot).ok()?.strip_suffix('\n')?.split(' ');
    let (seq, hash, checked) = (words.next()?, words.next()?, words.next()?);
    if check(&slot[..seq.len() + 1 + hash.len()]) != u64::from_str_radix(checked, 16).ok()? {
        return None;
    }
    if seq == NOTHING {
        return Some(None);
    }
    Some(Some((seq.parse().ok()?, u128::from_str_radix(hash, 16).ok()?.to_be_bytes())))
}

/// FNV-1a: enough to see that a place was not written to its end.
fn check(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// The words of all three names, with all that is no letter or digit escaped; so no two executors share a file.
fn file_name(of: &ExecutorId) -> io::Result<String> {
    let mut name = String::new();
    for part in [of.journal.as_str(), of.node.as_str(), &of.executor] {
        if !name.is_empty() {
            name.push('.');
        }
        for byte in part.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => name.push(char::from(byte)),
                _ => name.push_str(&format!("%{byte:02x}")),
            }
        }
    }
    if name.len() > FILE_NAME_BYTES_MAX {
        let text = format!("the names of {of} are too long for the name of a file; give the executor a shorter one");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    Ok(name)
}

/// What every file system takes as the name of a file, in bytes.
const FILE_NAME_BYTES_MAX: usize = 255;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn id(executor: &str) -> ExecutorId {
        let name = |text| Name::parse(text).unwrap();
        ExecutorId { journal: name("room/lobby"), node: name("panel"), executor: executor.into() }
    }

    fn at(seq: u64) -> Position {
        Position { seq, hash: [seq as u8; 16] }
    }

    fn load(folder: &Path, of: &ExecutorId) -> io::Result<Option<Position>> {
        PositionFiles::new(folder).load(of)
    }

    #[test]
    fn the_last_position_is_there_when_the_program_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let (press, window) = (id("press"), id("../window"));
        // Before the first entry, too.
        for (from, to) in [(0, 1), (1, 8), (8, 9), (9, 10)] {
            let mut files = PositionFiles::new(folder.path());
            assert_eq!(files.load(&press).unwrap(), (from > 0).then(|| at(from - 1)));
            for seq in from..to {
                files.keep(&press, at(seq)).unwrap();
            }
        }
        assert_eq!(load(folder.path(), &window).unwrap(), None);
        let file = fs::read_to_string(folder.path().join("room%2flobby.panel.press")).unwrap();
        assert!(file.starts_with("executor `press` of `panel` in `room/lobby`\n"), "{file}");
        assert!(file.contains("00000000000000000009"), "{file}");
    }

    #[test]
    fn a_file_that_was_cut_anywhere_gives_the_position_before_or_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let press = id("press");
        let path = folder.path().join(file_name(&press).unwrap());
        let mut files = PositionFiles::new(folder.path());
        files.load(&press).unwrap();
        for seq in 1..=4 {
            files.keep(&press, at(seq)).unwrap();
        }
        drop(files);
        let whole = fs::read(&path).unwrap();
        for place in 0..whole.len() {
            // What a cut leaves of a place that was being written: the beginning new, the rest old.
            let mut torn = whole.clone();
            torn[place] ^= 1;
            fs::write(&path, &torn).unwrap();
            match load(folder.path(), &press) {
                Ok(Some(position)) => assert!(position == at(3) || position == at(4), "{position:?} at {place}"),
                Ok(None) => panic!("it begins anew at {place}"),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error} at {place}"),
            }
            // While the file is made, nothing was executed yet.
            fs::write(&path, &whole[..place]).unwrap();
            assert_eq!(load(folder.path(), &press).unwrap(), None, "{place}");
        }
    }

    #[test]
    fn two_programs_are_not_the_same_executor() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = PositionFiles::new(folder.path());
        files.load(&id("press")).unwrap();
        let error = load(folder.path(), &id("press")).unwrap_err();
        assert!(error.to_string().contains("is executor `press` of `panel` in `room/lobby`"), "{error}");
        drop(files);
        load(folder.path(), &id("press")).unwrap();
        assert_ne!(file_name(&id("a.b")).unwrap(), file_name(&id("a%2eb")).unwrap());
        let error = load(folder.path(), &id(&"x".repeat(300))).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
    }
}
