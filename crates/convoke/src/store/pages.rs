//! What is whole of redb's file where redb itself finds that it is not: each page has its checksum in the page above, so that
//! one that is damaged takes with it what is below it, and nothing else.
//!
//! The form of the file is that of redb's `design.md`: a header with two slots, of which each names the root of the tables;
//! trees of branches and leaves; pages of a power of two times the smallest, in regions.

use std::collections::BTreeSet;
use std::ops::Range;

use twox_hash::XxHash3_128;

use super::disk::{Failed, LogFile, WatchedDisk};
use super::file::FILE;

/// Where the two slots begin, and how long each is, in bytes.
const SLOTS: [usize; 2] = [64, 192];
const SLOT_BYTES: usize = 128;

/// The whole header, in bytes.
const HEADER_BYTES: usize = 320;

/// What a root says: a page, its checksum, how many rows are below it; in bytes.
const ROOT_BYTES: usize = 32;

/// The longest page that is looked at, in bytes: of rows that are cut into pieces none is longer.
const PAGE_BYTES_MAX: u64 = 16 << 20;

/// Trees are not deeper than this.
const DEPTH_MAX: u32 = 32;

/// Kinds of pages.
const LEAF: u8 = 1;
const BRANCH: u8 = 2;

/// A page, and what its bytes must be.
#[derive(Clone, Copy, Debug)]
struct Link {
    page: u64,
    checksum: u128,
}

/// A row of a tree: its key, and where its value is in the file.
pub(super) struct Found {
    pub(super) key: Vec<u8>,
    pub(super) value: Range<u64>,
}

/// The file, read page by page.
pub(super) struct Pages {
    file: LogFile,
    page_bytes: u64,
    region_bytes: u64,
    region_head_bytes: u64,
    root: Link,
    /// Which of the file's transactions has written it.
    transaction: u64,
    /// Pages that are damaged, and what is below each is lost.
    pub(super) damaged: BTreeSet<u64>,
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn link(bytes: &[u8], at: usize) -> Option<Link> {
    Some(Link { page: u64::from_le_bytes(number(bytes, at)?), checksum: u128::from_le_bytes(number(bytes, at + 8)?) })
}

impl Pages {
    /// Finds the root of which most is whole, of two the newer. `None` if there is
    /// none.
    pub(super) fn open(disk: &WatchedDisk) -> Result<Option<Pages>, Failed> {
        let mut best: Option<Pages> = None;
        for slot in SLOTS {
            let file = disk.open(FILE)?;
            let mut header = [0; HEADER_BYTES];
            if file.read(0, &mut header).is_err() {
                return Ok(None);
            }
            let field = |at: usize| u64::from(u32::from_le_bytes(number(&header, at).expect("it is inside")));
            let (page_bytes, head_pages, data_pages) = (field(12), field(16), field(20));
            let said = &header[slot..slot + SLOT_BYTES];
            let (covered, checksum) = said.split_at(SLOT_BYTES - 16);
            let is_whole = XxHash3_128::oneshot(covered).to_le_bytes() == checksum;
            if !is_whole || said[1] == 0 || !page_bytes.is_power_of_two() || page_bytes > PAGE_BYTES_MAX {
                continue;
            }
            let Some(root) = link(said, 8) else { continue };
            let region_bytes = (head_pages + data_pages) * page_bytes;
            let region_head_bytes = head_pages * page_bytes;
            let (damaged, transaction) = (BTreeSet::new(), 0);
            let mut pages = Pages { file, page_bytes, region_bytes, region_head_bytes, root, transaction, damaged };
            let mut tables = 0;
            for table in ["rows", "pieces of rows", "meta"] {
                tables += u64::from(pages.each(table, &mut |_, _| {})?);
            }
            pages.transaction = u64::from_le_bytes(number(said, 104).expect("it is inside"));
            let is_better = |best: &Pages| {
                let order = |pages: &Pages| (std::cmp::Reverse(pages.damaged.len()), pages.transaction);
                order(&pages) > order(best)
            };
            if tables > 0 && best.as_ref().is_none_or(is_better) {
                best = Some(pages);
            }
        }
        Ok(best)
    }

    /// Where damaged pages begin in the file.
    pub(super) fn damaged_places(&self) -> impl Iterator<Item = u64> {
        self.damaged.iter().filter_map(|page| self.place(*page)).map(|place| place.start)
    }

    /// Gives each row of a table that is whole, in the order of their keys. False if there is no such table, or it cannot be
    /// found.
    pub(super) fn each(&mut self, table: &str, each: &mut dyn FnMut(&LogFile, Found)) -> Result<bool, Failed> {
        let mut root = None;
        self.walk(self.root, 0, &mut |file, found| {
            if found.key == table.as_bytes() {
                let mut said = vec![0; (found.value.end - found.value.start) as usize];
                if file.read(found.value.start, &mut said).is_ok() && said.get(9) == Some(&1) {
                    root = said.get(10..10 + ROOT_BYTES).and_then(|said| link(said, 0));
                }
            }
        })?;
        match root {
            Some(root) => self.walk(root, 0, each).map(|()| true),
            None => Ok(false),
        }
    }

    /// Where a page is.
    fn place(&self, page: u64) -> Option<Range<u64>> {
        let order = page >> 59;
        let index = page & (0x000f_ffff_u64 >> order);
        let region = (page >> 20) & 0x000f_ffff;
        let bytes = self.page_bytes.checked_shl(order as u32).filter(|bytes| *bytes <= PAGE_BYTES_MAX && *bytes > 0)?;
        // How long a region is stands where no checksum covers it.
        let region = region.checked_mul(self.region_bytes)?.checked_add(self.page_bytes + self.region_head_bytes)?;
        let start = region.checked_add(index.checked_mul(bytes)?)?;
        Some(start..start.checked_add(bytes)?)
    }

    fn walk(&mut self, link: Link, depth: u32, each: &mut dyn FnMut(&LogFile, Found)) -> Result<(), Failed> {
        let place = self.place(link.page).filter(|_| depth < DEPTH_MAX);
        let read = place.and_then(|place| {
            let mut page = vec![0; (place.end - place.start) as usize];
            self.file.read(place.start, &mut page).ok()?;
            Some((place.start, page))
        });
        let Some((start, page)) = read else {
            self.damaged.insert(link.page);
            return Ok(());
        };
        let whole = |end: Option<usize>| {
            let covered = page.get(..end?)?;
            (XxHash3_128::oneshot(covered) == link.checksum).then_some(())
        };
        let count = usize::from(u16::from_le_bytes([page[2], page[3]]));
        let end = |at: usize| number(&page, at).map(|end| u32::from_le_bytes(end) as usize);
        match page[0] {
            LEAF if count > 0 && whole(end(4 + 4 * (2 * count - 1))).is_some() => {
                let mut key_start = 4 + 8 * count;
                let keys_end = end(4 + 4 * (count - 1)).unwrap_or(key_start);
                let mut value_start = keys_end;
                for row in 0..count {
                    let (Some(key_end), Some(value_end)) = (end(4 + 4 * row), end(4 + 4 * (count + row))) else {
                        break;
                    };
                    let (Some(key), true) = (page.get(key_start..key_end), value_start <= value_end) else { break };
                    let value = start + value_start as u64..start + value_end as u64;
                    each(&self.file, Found { key: key.to_vec(), value });
                    (key_start, value_start) = (key_end, value_end);
                }
            }
            BRANCH if count > 0 && whole(end(8 + 24 * (count + 1) + 4 * (count - 1))).is_some() => {
                for child in 0..=count {
                    let checksum = number(&page, 8 + 16 * child).map(u128::from_le_bytes);
                    let below = number(&page, 8 + 16 * (count + 1) + 8 * child).map(u64::from_le_bytes);
                    if let (Some(checksum), Some(page)) = (checksum, below) {
                        self.walk(Link { page, checksum }, depth + 1, each)?;
                    }
                }
            }
            _ => drop(self.damaged.insert(link.page)),
        }
        Ok(())
    }
}
