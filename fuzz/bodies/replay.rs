//! Replays a corpus on any toolchain: each file as it is, then changed at random. What is found without looking at which
//! code is reached is little; that nothing that was found once comes back is much.
//!
//! ```text
//! CONVOKE_SEED=17 cargo test -p convoke-core --test fuzz            the changes of one seed
//! CONVOKE_FUZZ_CHANGES=10000 cargo test -p convoke-core --test fuzz  so many changes of each file
//! ```

use std::env;
use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// A corpus with fewer files was lost.
const FILES_MIN: usize = 8;

/// The longest input that is made by changing others, in bytes.
const INPUT_BYTES_MAX: usize = 8192;

/// The seed of the changes that every run tries.
const SEED: u64 = 1;

/// Numbers at which something may end.
const EDGES: [u32; 8] = [0, 1, 7, 8, 24, 0xffff, 65_561, u32::MAX];

/// Gives every file of a corpus to `body`, and so many changes of each: half from a fixed seed, half from a fresh one.
pub(crate) fn replay(corpus: &str, changes: u32, body: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(corpus);
    let mut paths: Vec<_> =
        fs::read_dir(&folder).expect("the corpus is there").map(|file| file.expect("a file").path()).collect();
    paths.sort();
    let files: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).expect("it can be read")).collect();
    assert!(files.len() >= FILES_MIN, "{} has {} files: there is nothing to begin with", folder.display(), files.len());
    for (path, file) in paths.iter().zip(&files) {
        let _told = OnPanic { of: path.display().to_string(), input: file };
        body(file);
    }
    let changes = number("CONVOKE_FUZZ_CHANGES").map_or(changes, |changes| changes as u32);
    let time = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is after 1970").as_nanos() as u64;
    let seeds = match number("CONVOKE_SEED") {
        Some(seed) => vec![seed],
        None => vec![SEED, time ^ u64::from(std::process::id()) << 40],
    };
    println!("seed {}", seeds[seeds.len() - 1]);
    for seed in &seeds {
        let mut random = Random(*seed);
        for file in &files {
            for _ in 0..changes.div_ceil(seeds.len() as u32) {
                let input = random.changed(file, &files);
                let _told = OnPanic { of: format!("seed {seed}"), input: &input };
                body(&input);
            }
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is not a number: {text}")))
}

/// Says which input it was when the body panics.
struct OnPanic<'a> {
    of: String,
    input: &'a [u8],
}

impl Drop for OnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let hex: String = self.input.iter().map(|byte| format!("{byte:02x}")).collect();
            eprintln!("input of {}, in hexadecimal: {hex}", self.of);
        }
    }
}

/// One stream of numbers from a seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = self.0;
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        number ^ (number >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    /// A file with one to four changes.
    fn changed(&mut self, file: &[u8], files: &[Vec<u8>]) -> Vec<u8> {
        let mut input = file.to_vec();
        for _ in 0..=self.below(4) {
            self.change(&mut input, files);
        }
        input.truncate(INPUT_BYTES_MAX);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, files: &[Vec<u8>]) {
        let at = self.below(input.len());
        let end = (at + 1 + self.below(16)).min(input.len());
        match self.below(8) {
            _ if input.is_empty() => input.push(self.next() as u8),
            0 => input[at] ^= 1 << self.below(8),
            1 => input[at] = self.next() as u8,
            2 => input.insert(at, self.next() as u8),
            3 => drop(input.drain(at..end)),
            4 => {
                let piece = input[at..end].to_vec();
                let to = self.below(input.len());
                input.splice(to..to, piece);
            }
            5 => {
                let edge = EDGES[self.below(EDGES.len())].to_le_bytes();
                let len = (input.len() - at).min([1, 2, 4][self.below(3)]);
                input[at..at + len].copy_from_slice(&edge[..len]);
            }
            6 => {
                let other = &files[self.below(files.len())];
                let from = self.below(other.len());
                let piece = &other[from..(from + self.below(64)).min(other.len())];
                input.splice(at..at, piece.iter().copied());
            }
            _ => input.truncate(at),
        }
    }
}
