//! A disk in memory that fills up, fails, and can be looked at as a power cut would leave it.

use std::collections::BTreeSet;
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
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.number() % end
    }
}

/// What fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Write,
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

#[derive(Debug, Default)]
pub(super) struct State {
    /// What a program reads.
    bytes: Vec<u8>,
    /// What a power cut leaves for sure.
    synced: Vec<u8>,
    /// What it may leave too, in any order, sector by sector.
    unsynced: Vec<Change>,
    blocks: BTreeSet<u64>,
    /// How many blocks it has room for.
    pub(super) blocks_max: Option<usize>,
    /// How many more when room that was set aside is given up, step by step.
    pub(super) reserve: Vec<usize>,
    writes: u64,
    syncs: u64,
    /// Which call fails, the how manieth from now on, and with what.
    pub(super) failing: Option<(Call, u64, io::ErrorKind)>,
    /// What fails next after that.
    pub(super) failing_then: Option<(Call, io::ErrorKind)>,
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

    fn change(&mut self, change: Change) {
        apply(&mut self.bytes, &change);
        self.unsynced.push(change);
    }

    /// Writes and syncs so far.
    pub(super) fn calls(&self) -> (u64, u64) {
        (self.writes, self.syncs)
    }

    pub(super) fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// The disk after a power cut now: what was synced, and of the rest what the dice say.
    pub(super) fn cut(&self, dice: &mut Dice) -> Faulty {
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
                        if dice.below(100) < most && offset as usize + sector.len() <= bytes.len() {
                            apply(&mut bytes, &Change::Write(offset, sector.to_vec()));
                        }
                    }
                }
            }
        }
        Faulty::of(bytes)
    }

    /// The disk after a kill: the system has everything that was written.
    pub(super) fn killed(&self) -> Faulty {
        Faulty::of(self.bytes.clone())
    }

    pub(super) fn bytes_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

/// The disk.
#[derive(Clone, Debug, Default)]
pub(super) struct Faulty(Arc<Mutex<State>>);

impl Faulty {
    pub(super) fn of(bytes: Vec<u8>) -> Faulty {
        let blocks = (0..bytes.len() as u64 / BLOCK).collect();
        let state = State { synced: bytes.clone(), bytes, blocks, ..State::default() };
        Faulty(Arc::new(Mutex::new(state)))
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl Disk for Faulty {
    fn open(&self) -> io::Result<Box<dyn StorageBackend>> {
        Ok(Box::new(self.clone()))
    }

    fn room(&self) -> io::Result<u64> {
        Ok(self.state().blocks() as u64 * BLOCK)
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

impl StorageBackend for Faulty {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state();
        let bytes = state.bytes.get(offset as usize..offset as usize + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state();
        state.blocks.split_off(&len.div_ceil(BLOCK));
        state.change(Change::Len(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.state();
        state.syncs += 1;
        state.fails(Call::Sync)?;
        for change in std::mem::take(&mut state.unsynced) {
            apply(&mut state.synced, &change);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        state.writes += 1;
        state.fails(Call::Write)?;
        for block in offset / BLOCK..(offset + data.len() as u64).div_ceil(BLOCK) {
            if state.blocks_max.is_some_and(|max| state.blocks.len() >= max && !state.blocks.contains(&block)) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            state.blocks.insert(block);
        }
        state.change(Change::Write(offset, data.to_vec()));
        Ok(())
    }
}
