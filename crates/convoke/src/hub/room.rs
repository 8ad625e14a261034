//! How much room a hub has on its disk, for what it need not keep, and for what it keeps for a while.

use std::path::Path;

use convoke_core::limits::CHANGES_BYTES_MAX;

/// No more than this part of the room that a hub has is for its changes: what was deleted is still in them, so on a disk
/// that is full deleting makes room for others only as far as changes give way.
#[cfg(unix)]
const PART: u64 = 8;

/// What they may take on the smallest disk, in bytes.
#[cfg(unix)]
const CHANGES_BYTES_MIN: u64 = 1 << 20;

/// The longest segment of the log, in bytes: it is allocated at once, and changed for the next one every second when a hub
/// writes as fast as it can.
const SEGMENT_BYTES_MAX: u64 = 64 << 20;

/// No segment takes more than this part of the room that a hub has: there are two, and more while redb is behind.
#[cfg(unix)]
const SEGMENT_PART: u64 = 16;

/// How many bytes of changes fit the disk of the hub with this folder: a part of what is free there, and of what the files
/// of the hub take.
#[cfg(unix)]
pub(super) fn for_changes(folder: &Path) -> usize {
    room(folder).map_or(CHANGES_BYTES_MAX, part_of)
}

/// How long a segment of the log may be on the disk of the hub with this folder, in bytes.
#[cfg(unix)]
pub(super) fn for_a_segment(folder: &Path) -> u64 {
    room(folder).map_or(SEGMENT_BYTES_MAX, |room| (room / SEGMENT_PART).min(SEGMENT_BYTES_MAX))
}

/// What is free on the disk of this folder, and what its files take, in bytes; `None` if the disk does not tell.
#[cfg(unix)]
fn room(folder: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    (disk.f_blocks > 0).then(|| free.saturating_add(taken(folder).unwrap_or(0)))
}

/// What the files in a folder take, in bytes.
#[cfg(unix)]
fn taken(folder: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        bytes += std::os::unix::fs::MetadataExt::blocks(&entry?.metadata()?) * 512;
    }
    Ok(bytes)
}

/// Nobody is asked: as many as anywhere.
#[cfg(not(unix))]
pub(super) fn for_changes(_folder: &Path) -> usize {
    CHANGES_BYTES_MAX
}

/// Nobody is asked: as long as anywhere.
#[cfg(not(unix))]
pub(super) fn for_a_segment(_folder: &Path) -> u64 {
    SEGMENT_BYTES_MAX
}

#[cfg(unix)]
fn part_of(room: u64) -> usize {
    (room / PART).clamp(CHANGES_BYTES_MIN, CHANGES_BYTES_MAX as u64) as usize
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn on_a_small_disk_fewer_changes_are_kept() {
        assert_eq!(part_of(0), 1 << 20);
        assert_eq!(part_of(48 << 20), 6 << 20);
        assert_eq!([2 << 30, u64::MAX].map(part_of), [CHANGES_BYTES_MAX; 2]);
    }
}
