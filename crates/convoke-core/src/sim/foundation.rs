//! The foundation of a simulated hub: it answers later, in order, and forgets what a crash finds on its way to the disk.
//!
//! What it has ordered is the truth, and is never cut here; `truth` computes from it what the hub must tell.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use super::Checker;
use super::truth::Truth;
use super::world::{What, World};
use crate::foundation::{Ask, READ_ONLY, RowChange, RowKey, Told};
use crate::refusal::{Code, Refusal};
use crate::time::Time;

/// Rows that are told at a time.
const ROWS_TOLD: usize = 7;

/// The table in which the hub keeps values.
const VALUES_TABLE: u8 = 1;

/// Wall time at the start of the world, in milliseconds since 1970.
const WALL_START_MS: u64 = 1_700_000_000_000;

/// What the foundation has yet to do, or to tell.
#[derive(Debug)]
enum Job {
    Ask(Ask),
    Tell(Told),
}

/// Rows that were asked to be kept together.
#[derive(Debug)]
struct Tables {
    pos: u64,
    rows: Vec<(RowKey, RowChange)>,
}

#[derive(Clone, Debug, Default)]
struct Rows {
    pos: u64,
    rows: BTreeMap<RowKey, Bytes>,
}

impl Rows {
    fn take(&mut self, tables: &Tables) {
        self.pos = tables.pos;
        for (key, change) in &tables.rows {
            match change.row() {
                Some(row) => self.rows.insert(key.clone(), row.clone()),
                None => self.rows.remove(key),
            };
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Foundation {
    /// All that was ordered, from position 1.
    operations: Vec<Bytes>,
    /// What the disk has for certain, what comes behind it, and both together.
    disk: Rows,
    unsynced: VecDeque<Tables>,
    rows: Rows,
    jobs: VecDeque<(Time, Job)>,
    due_last: Time,
    full_until: Time,
    /// It will not know of the next operation.
    doubts: bool,
    /// How long it takes at most for most of what it is asked, in microseconds.
    pace: u64,
    backup: Option<Backup>,
}

/// An older copy of everything.
#[derive(Debug)]
struct Backup {
    operations: usize,
    disk: Rows,
    /// Of the start of the hub in which it was made.
    epoch: u64,
}

impl Foundation {
    pub(super) fn new(pace: u64) -> Foundation {
        Foundation { pace, ..Foundation::default() }
    }

    /// The rows of a table, as they would be read now.
    fn rows_of(&self, table: u8) -> Vec<(&[u8], &[u8])> {
        let rows = self.rows.rows.iter().filter(|(key, _)| key.table == table);
        rows.map(|(key, row)| (&key.key[..], &row[..])).collect()
    }

    fn read(&self, table: u8, from: Bytes, bytes_max: usize) -> Vec<(RowKey, Bytes)> {
        let mut bytes = 0;
        let rows = self.rows.rows.range(RowKey { table, key: from }..).take_while(|(key, row)| {
            let room = key.table == table && (bytes == 0 || bytes < bytes_max);
            bytes += key.key.len() + row.len();
            room
        });
        rows.map(|(key, row)| (key.clone(), row.clone())).collect()
    }

    /// The whole world stood still for so long.
    pub(super) fn shift(&mut self, by: Duration) {
        for (due, _) in &mut self.jobs {
            *due = *due + by;
        }
        self.due_last = self.due_last + by;
    }
}

fn operation_in(told: &Told) -> Option<(u64, Bytes)> {
    match told {
        Told::Committed { pos, operation, .. } => Some((*pos, operation.clone())),
        _ => None,
    }
}

impl World {
    /// The wall time now, in milliseconds since 1970.
    pub(super) fn wall_ms(&self) -> u64 {
        WALL_START_MS + self.now.as_nanos() / 1_000_000
    }

    /// Hands the foundation what the hub asks for.
    pub(super) fn hub_asks(&mut self) {
        let asks = self.hub.as_mut().map(crate::hub::HubState::asks).unwrap_or_default();
        for ask in asks {
            if let Ask::Append { operation, .. } = &ask {
                self.check_appended(operation);
                self.check_may_write(operation);
            }
            let time = match self.dice.below(60) {
                0 if !self.calm => self.dice.micros(100_000, 3_000_000),
                1..5 => self.dice.micros(1000, 60_000),
                _ => self.dice.micros(0, self.foundation.pace),
            };
            let due = self.foundation.due_last.max(self.now + time);
            self.foundation.due_last = due;
            self.foundation.jobs.push_back((due, Job::Ask(ask)));
            self.at(due, What::Foundation);
        }
        let appending = |(_, job): &(Time, Job)| matches!(job, Job::Ask(Ask::Append { .. }));
        if self.foundation.doubts && self.foundation.jobs.iter().any(appending) {
            self.foundation.doubts = false;
            self.foundation_is_uncertain();
        }
    }

    /// Does all that is due, in order. While the hub stands still nothing is told to it.
    pub(super) fn foundation_turn(&mut self) {
        while !self.stalled
            && self.hub.is_some()
            && self.failed.is_none()
            && let Some((_, job)) = self.foundation.jobs.pop_front_if(|(due, _)| *due <= self.now)
        {
            match job {
                Job::Tell(told) => self.tell(told),
                Job::Ask(ask) => self.foundation_does(ask),
            }
        }
    }

    fn foundation_does(&mut self, ask: Ask) {
        match ask {
            Ask::Snapshot => self.tells_snapshot(),
            Ask::Append { ticket, .. } if self.now < self.foundation.full_until => {
                self.report.not_kept += 1;
                let why = Refusal::new(Code::StorageFull, "there is no room left on the disk");
                self.tell(Told::NotDone { ticket, why });
            }
            Ask::Append { ticket, operation } => {
                let pos = self.keeps(&operation);
                self.tell(Told::Committed { pos, ticket: Some(ticket), operation });
            }
            Ask::Tables { pos, rows } => {
                let tables = Tables { pos, rows };
                self.foundation.rows.take(&tables);
                self.foundation.unsynced.push_back(tables);
                if self.dice.once_in(8) {
                    let Foundation { disk, unsynced, .. } = &mut self.foundation;
                    unsynced.drain(..).for_each(|tables| disk.take(&tables));
                }
            }
            Ask::Read { ticket, table, from, bytes_max } => {
                self.report.reads += 1;
                let rows = self.foundation.read(table, from, bytes_max);
                self.tell(Told::ReadDone { ticket, rows });
            }
            Ask::Barrier { ticket } => self.tell(Told::BarrierDone { ticket }),
        }
    }

    /// Orders and keeps an operation, for ever.
    pub(super) fn keeps(&mut self, operation: &Bytes) -> u64 {
        self.foundation.operations.push(operation.clone());
        let pos = self.foundation.operations.len() as u64;
        self.ordered(pos, operation);
        pos
    }

    fn tells_snapshot(&mut self) {
        let rows = self.foundation.rows.rows.iter().filter(|(key, _)| key.table < READ_ONLY);
        let rows: Vec<(RowKey, Bytes)> = rows.map(|(key, row)| (key.clone(), row.clone())).collect();
        let pos = self.foundation.rows.pos;
        let pieces = rows.chunks(ROWS_TOLD).map(|rows| Told::Rows { pos, rows: rows.to_vec() });
        let rest = self.foundation.operations.iter().enumerate().skip(pos as usize);
        let rest = rest.map(|(place, operation)| Told::Committed {
            pos: place as u64 + 1,
            ticket: None,
            operation: operation.clone(),
        });
        let all: Vec<Told> = pieces.chain(rest).chain([Told::Ready]).collect();
        let mut due = self.now;
        for told in all {
            due = due + self.dice.micros(0, 200);
            self.foundation.jobs.push_back((due, Job::Tell(told)));
            self.at(due, What::Foundation);
        }
        self.foundation.due_last = due;
    }

    fn tell(&mut self, told: Told) {
        let now = self.now;
        let Some(hub) = &mut self.hub else { return };
        let was_ready = hub.is_ready();
        let operation = operation_in(&told);
        hub.told(told, now);
        if let Some((pos, operation)) = operation {
            self.applied(pos, &operation);
        }
        let Some(hub) = &self.hub else { return };
        if !was_ready && hub.is_ready() {
            self.trace.line(now, format_args!("hub is ready"));
            self.ready();
        }
        self.hub_turns();
        self.check_wards();
    }

    /// The foundation loses its connection to wherever it keeps things: of what was appended a first part is kept, and
    /// nobody knows.
    pub(super) fn foundation_is_uncertain(&mut self) {
        let ready = self.hub.as_ref().is_some_and(crate::hub::HubState::is_ready);
        if self.stalled || !ready {
            return;
        }
        let (mut appends, mut others) = (Vec::new(), VecDeque::new());
        for (due, job) in std::mem::take(&mut self.foundation.jobs) {
            match job {
                Job::Ask(Ask::Append { ticket, operation }) => appends.push((ticket, operation)),
                job => others.push_back((due, job)),
            }
        }
        self.foundation.jobs = others;
        if appends.is_empty() {
            self.foundation.doubts = true;
            return;
        }
        let kept = self.dice.below(appends.len() + 1);
        self.report.uncertain += appends.len() as u64;
        self.trace.line(
            self.now,
            format_args!("the foundation does not know of {} operations, and has {kept}", appends.len()),
        );
        let mut told: Vec<Told> = appends.iter().map(|(ticket, _)| Told::Uncertain { ticket: *ticket }).collect();
        let mut committed = Vec::new();
        for (_, operation) in &appends[..kept] {
            let pos = self.keeps(operation);
            committed.push(Told::Committed { pos, ticket: None, operation: operation.clone() });
        }
        let place = if self.dice.once_in(2) { 0 } else { told.len() };
        told.splice(place..place, committed);
        let now = self.now;
        for told in told {
            let operation = operation_in(&told);
            if let Some(hub) = &mut self.hub {
                hub.told(told, now);
            }
            if let Some((pos, operation)) = operation {
                self.applied(pos, &operation);
            }
        }
        self.hub_turns();
        self.check_wards();
    }

    /// The disk is full for a while.
    pub(super) fn disk_is_full(&mut self) {
        let time = self.dice.micros(1000, 3_000_000);
        self.trace.line(self.now, format_args!("the disk is full for {time:?}"));
        self.foundation.full_until = self.now + time;
    }

    /// The hub is gone: of what was on its way a first part is kept, and of the rows an earlier state is there.
    pub(super) fn foundation_crashes(&mut self) {
        let jobs = std::mem::take(&mut self.foundation.jobs);
        let appends: Vec<Bytes> = jobs
            .into_iter()
            .filter_map(|(_, job)| match job {
                Job::Ask(Ask::Append { operation, .. }) => Some(operation),
                _ => None,
            })
            .collect();
        let kept = self.dice.below(appends.len() + 1);
        if !appends.is_empty() {
            self.trace.line(self.now, format_args!("of {} operations {kept} are kept", appends.len()));
        }
        for operation in &appends[..kept] {
            self.keeps(operation);
        }
        let synced = self.dice.below(self.foundation.unsynced.len() + 1);
        let Foundation { disk, unsynced, rows, .. } = &mut self.foundation;
        for tables in unsynced.drain(..).take(synced) {
            disk.take(&tables);
        }
        *rows = Rows { pos: disk.pos, rows: disk.rows.clone() };
        self.foundation.due_last = self.now;
    }

    /// Nothing can be kept any more; the hub's program ends.
    pub(super) fn foundation_fails(&mut self) {
        let now = self.now;
        self.trace.line(now, format_args!("the disk fails"));
        if let Some(hub) = &mut self.hub {
            self.failing = true;
            hub.told(Told::Failed(Refusal::new(Code::StorageFailed, "the disk failed")), now);
            self.hub_turns();
        }
        self.failing = false;
        self.hub_crashes(false);
    }

    /// Somebody copies everything that is on the disk.
    pub(super) fn backs_up(&mut self) {
        let Foundation { operations, disk, .. } = &self.foundation;
        let backup = Backup { operations: operations.len(), disk: disk.clone(), epoch: self.epoch };
        self.trace.line(self.now, format_args!("the disk is copied at position {}", backup.operations));
        self.foundation.backup = Some(backup);
    }

    /// The hub is killed, and somebody puts the copy back: with a new history, as it should be done, or without.
    pub(super) fn restores(&mut self) {
        if self.hub.is_none() || self.stalled {
            return;
        }
        let Some(Backup { operations, disk, epoch }) = self.foundation.backup.take() else { return };
        self.hub_crashes(false);
        self.report.restores += 1;
        let lost = self.foundation.operations.len() - operations;
        // Where it is done by hand the hub cannot know, but its starts go on with other numbers.
        let by_hand = self.dice.once_in(2);
        self.trace.line(self.now, format_args!("the copy is put back, by hand {by_hand}, without the last {lost}"));
        if !by_hand {
            self.history[..8].copy_from_slice(&self.report.restores.to_le_bytes());
        }
        self.epoch = epoch + self.report.restores;
        self.foundation.rows = disk.clone();
        self.foundation.backup = Some(Backup { operations, disk: disk.clone(), epoch });
        self.foundation.disk = disk;
        self.foundation.unsynced.clear();
        let mut kept = std::mem::take(&mut self.foundation.operations);
        kept.truncate(operations);
        self.chronicle.begins_anew();
        self.truth = Truth::default();
        for (place, operation) in kept.iter().enumerate() {
            self.ordered(place as u64 + 1, operation);
        }
        self.foundation.operations = kept;
        self.chronicle.has_begun_anew();
    }

    /// In the end the rows are those that the truth has, and none else.
    pub(super) fn check_rows(&mut self) {
        let wrong = self.truth.compare_rows(&self.foundation.rows_of(VALUES_TABLE));
        let pos = self.foundation.rows.pos;
        let last = self.foundation.operations.len() as u64;
        if let Some(wrong) = wrong {
            self.fail(Checker::Kept, format!("the rows reach position {pos} of {last}, and {wrong}"));
        }
    }
}
