//! A disk in memory that fills up, fails, and can be looked at as a power cut would leave it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use redb::StorageBackend;

use crate::store::disk::Disk;

/// What a file system gives room in, in bytes.
const BLOCK: u64 = 4096;

/// What a disk writes wholly or not at all, in bytes.
const SECTOR: usize = 512;

/// Numbers from a seed.
#[derive(Clone, Debug)]
pub(in crate::store) struct Dice(pub(in crate::store) u64);

impl Dice {
    pub(in crate::store) fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(in crate::store) fn below(&mut self, end: u64) -> u64 {
        self.number() % end
    }
}

/// What fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Call {
    /// Of bytes, or of a name.
    Write,
    /// Of a file, or of the names.
    Sync,
}

#[derive(Clone, Debug)]
enum Change {
    Len(u64),
    Write(u64, Vec<u8>),
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Len(len) => bytes.resize(*len as usize, 0),
        Change::Write(offset, data) => {
            let (start, end) = (*offset as usize, *offset as usize + data.len());
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[start..end].copy_from_slice(data);
        }
    }
}

/// What was done to names; a file is known by its number.
#[derive(Clone, Debug)]
enum NameChange {
    Made(String, usize),
    Renamed(String, String),
    Removed(String),
}

fn apply_name(names: &mut BTreeMap<String, usize>, change: &NameChange) {
    match change {
        NameChange::Made(name, file) => {
            names.insert(name.clone(), *file);
        }
        // Without what it hangs on it did not happen.
        NameChange::Renamed(from, to) => {
            if let Some(file) = names.remove(from) {
                names.insert(to.clone(), file);
            }
        }
        NameChange::Removed(name) => {
            names.remove(name);
        }
    }
}

#[derive(Debug, Default)]
struct File {
    /// What a program reads.
    bytes: Vec<u8>,
    /// What a power cut leaves for sure.
    synced: Vec<u8>,
    /// What it may leave too, in any order, sector by sector.
    unsynced: Vec<Change>,
    blocks: BTreeSet<u64>,
}

impl File {
    fn of(bytes: Vec<u8>) -> File {
        let blocks = (0..bytes.len() as u64 / BLOCK).collect();
        File { synced: bytes.clone(), bytes, blocks, ..File::default() }
    }

    fn change(&mut self, change: Change) {
        apply(&mut self.bytes, &change);
        self.unsynced.push(change);
    }

    /// What a power cut leaves of it.
    fn cut(&self, dice: &mut Dice) -> Vec<u8> {
        let mut bytes = self.synced.clone();
        let most = dice.below(101);
        for change in &self.unsynced {
            match change {
                Change::Len(_) if dice.below(100) < most => apply(&mut bytes, change),
                Change::Len(_) => {}
                Change::Write(offset, data) => {
                    for (index, sector) in data.chunks(SECTOR).enumerate() {
                        let offset = offset + (index * SECTOR) as u64;
                        // Beyond the end nothing is found if the new length was lost.
                        if dice.below(100) < most && offset as usize <= bytes.len() {
                            apply(&mut bytes, &Change::Write(offset, sector.to_vec()));
                        }
                    }
                }
            }
        }
        bytes
    }
}

#[derive(Debug, Default)]
pub(in crate::store) struct State {
    files: Vec<File>,
    names: BTreeMap<String, usize>,
    synced_names: BTreeMap<String, usize>,
    unsynced_names: Vec<NameChange>,
    /// How many blocks it has room for.
    pub(in crate::store) blocks_max: Option<usize>,
    /// How many more when room that was set aside is given up, step by step.
    pub(in crate::store) reserve: Vec<usize>,
    writes: u64,
    syncs: u64,
    /// Which call fails, the how manieth from now on, and with what. Half of what was to be written is there then.
    pub(in crate::store) failing: Option<(Call, u64, io::ErrorKind)>,
    /// What fails next after that.
    pub(in crate::store) failing_then: Option<(Call, io::ErrorKind)>,
    /// What a power cut would leave after each of the calls from now on, of which this many are kept for each.
    pub(in crate::store) seen: Option<(u64, Dice, Vec<Faulty>)>,
}

impl State {
    fn fails(&mut self, call: Call) -> io::Result<()> {
        match &mut self.failing {
            Some((which, left, kind)) if *which == call => {
                if *left > 0 {
                    *left -= 1;
                    return Ok(());
                }
                let kind = *kind;
                self.failing = self.failing_then.take().map(|(call, kind)| (call, 0, kind));
                Err(kind.into())
            }
            _ => Ok(()),
        }
    }

    fn see(&mut self) {
        let Some((count, mut dice, mut seen)) = self.seen.take() else { return };
        for _ in 0..count {
            seen.push(self.cut(&mut dice));
        }
        seen.push(self.killed());
        self.seen = Some((count, dice, seen));
    }

    /// Writes and syncs so far.
    pub(in crate::store) fn calls(&self) -> (u64, u64) {
        (self.writes, self.syncs)
    }

    pub(in crate::store) fn blocks(&self) -> usize {
        self.names.values().map(|file| self.files[*file].blocks.len()).sum()
    }

    fn of(&self, names: &BTreeMap<String, usize>, mut bytes: impl FnMut(&File) -> Vec<u8>) -> Faulty {
        Faulty::of(names.iter().map(|(name, file)| (name.clone(), bytes(&self.files[*file]))).collect())
    }

    /// The disk after a power cut now: what was synced, and of the rest what the dice say.
    pub(in crate::store) fn cut(&self, dice: &mut Dice) -> Faulty {
        let mut names = self.synced_names.clone();
        let most = dice.below(101);
        for change in &self.unsynced_names {
            if dice.below(100) < most {
                apply_name(&mut names, change);
            }
        }
        self.of(&names, |file| file.cut(dice))
    }

    /// The disk after a kill: the system has everything that was written.
    pub(in crate::store) fn killed(&self) -> Faulty {
        self.of(&self.names, |file| file.bytes.clone())
    }

    pub(in crate::store) fn names(&self) -> Vec<String> {
        self.names.keys().cloned().collect()
    }

    pub(in crate::store) fn bytes_mut(&mut self, name: &str) -> &mut Vec<u8> {
        let file = self.names[name];
        &mut self.files[file].bytes
    }

    pub(in crate::store) fn all(&self) -> BTreeMap<String, Vec<u8>> {
        self.names.iter().map(|(name, file)| (name.clone(), self.files[*file].bytes.clone())).collect()
    }
}

/// The disk.
#[derive(Clone, Debug, Default)]
pub(in crate::store) struct Faulty(Arc<Mutex<State>>);

impl Faulty {
    pub(in crate::store) fn of(files: BTreeMap<String, Vec<u8>>) -> Faulty {
        let names: BTreeMap<String, usize> =
            files.keys().enumerate().map(|(number, name)| (name.clone(), number)).collect();
        let files = files.into_values().map(File::of).collect();
        Faulty(Arc::new(Mutex::new(State { files, synced_names: names.clone(), names, ..State::default() })))
    }

    pub(in crate::store) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl Disk for Faulty {
    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.state().names())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn StorageBackend>> {
        let file = *self.state().names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(Opened { disk: self.clone(), file }))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn StorageBackend>> {
        let mut state = self.state();
        let file = match state.names.get(name) {
            Some(file) => *file,
            None => {
                state.files.push(File::default());
                let file = state.files.len() - 1;
                state.names.insert(name.to_owned(), file);
                state.unsynced_names.push(NameChange::Made(name.to_owned(), file));
                file
            }
        };
        state.files[file].blocks.clear();
        state.files[file].change(Change::Len(0));
        state.see();
        Ok(Box::new(Opened { disk: self.clone(), file }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        state.writes += 1;
        state.fails(Call::Write)?;
        let file = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), file);
        state.unsynced_names.push(NameChange::Renamed(from.to_owned(), to.to_owned()));
        state.see();
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.names.remove(name).ok_or(io::ErrorKind::NotFound)?;
        state.unsynced_names.push(NameChange::Removed(name.to_owned()));
        state.see();
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut state = self.state();
        state.syncs += 1;
        state.fails(Call::Sync)?;
        state.synced_names = state.names.clone();
        state.unsynced_names.clear();
        state.see();
        Ok(())
    }

    fn room(&self, name: &str) -> io::Result<u64> {
        let state = self.state();
        Ok(state.files[state.names[name]].blocks.len() as u64 * BLOCK)
    }

    fn give_up_reserve(&self, _bytes: u64) -> bool {
        let mut state = self.state();
        let step = state.reserve.pop();
        if let (Some(step), Some(max)) = (step, &mut state.blocks_max) {
            *max += step;
        }
        step.is_some()
    }

    fn reserve(&self) -> u64 {
        self.state().reserve.iter().sum::<usize>() as u64 * BLOCK
    }

    fn refill_reserve(&self, _was: u64) -> bool {
        true
    }
}

/// A file of it that is open.
#[derive(Debug)]
struct Opened {
    disk: Faulty,
    file: usize,
}

impl StorageBackend for Opened {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.state().files[self.file].bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.disk.state();
        let bytes = state.files[self.file].bytes.get(offset as usize..offset as usize + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        let file = &mut state.files[self.file];
        file.blocks.split_off(&len.div_ceil(BLOCK));
        file.change(Change::Len(len));
        state.see();
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        state.syncs += 1;
        state.fails(Call::Sync)?;
        let file = &mut state.files[self.file];
        for change in std::mem::take(&mut file.unsynced) {
            apply(&mut file.synced, &change);
        }
        state.see();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.disk.state();
        state.writes += 1;
        let failed = state.fails(Call::Write);
        if failed.is_err() {
            state.files[self.file].change(Change::Write(offset, data[..data.len() / 2].to_vec()));
            return failed;
        }
        let mut blocks = state.blocks();
        for block in offset / BLOCK..(offset + data.len() as u64).div_ceil(BLOCK) {
            let is_full = state.blocks_max.is_some_and(|max| blocks >= max);
            let file = &mut state.files[self.file];
            if !file.blocks.contains(&block) {
                if is_full {
                    return Err(io::ErrorKind::StorageFull.into());
                }
                blocks += 1;
                file.blocks.insert(block);
            }
        }
        state.files[self.file].change(Change::Write(offset, data.to_vec()));
        state.see();
        Ok(())
    }
}
