//! What a node tells about itself and its host, when it has joined and whenever it changes.

use serde::{Deserialize, Serialize};

use super::join::{Seen, ignore, put};
use super::{FrameError, Reader};

/// What a node tells about itself. What it does not tell is empty or zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Info<'a> {
    /// The name of its host.
    pub host: &'a str,
    /// The number of its process there.
    pub pid: u32,
    /// The program and its version.
    pub program: &'a str,
    /// How busy the host's processors are, in thousandths of all of them.
    pub cpu_permille: u32,
    /// How busy the program alone keeps them, in thousandths of one.
    pub own_cpu_permille: u32,
    /// What the program's memory takes, in bytes.
    pub memory: u64,
    /// The host's memory that is free, in bytes.
    pub free_memory: u64,
    /// Whether it can be master.
    pub master: MasterWish,
}

/// The same, kept by whoever tells it or was told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InfoOwned {
    /// See [`Info::host`].
    pub host: String,
    /// See [`Info::pid`].
    pub pid: u32,
    /// See [`Info::program`].
    pub program: String,
    /// See [`Info::cpu_permille`].
    pub cpu_permille: u32,
    /// See [`Info::own_cpu_permille`].
    pub own_cpu_permille: u32,
    /// See [`Info::memory`].
    pub memory: u64,
    /// See [`Info::free_memory`].
    pub free_memory: u64,
    /// See [`Info::master`].
    pub master: MasterWish,
}

impl InfoOwned {
    /// As it is sent. Texts that are longer than a frame takes are cut.
    pub fn as_info(&self) -> Info<'_> {
        Info {
            host: cut(&self.host),
            pid: self.pid,
            program: cut(&self.program),
            cpu_permille: self.cpu_permille,
            own_cpu_permille: self.own_cpu_permille,
            memory: self.memory,
            free_memory: self.free_memory,
            master: self.master,
        }
    }

    /// Everything in it but the load, which changes all the time.
    pub(crate) fn lasting(&self) -> (&str, u32, &str, MasterWish) {
        (&self.host, self.pid, &self.program, self.master)
    }
}

impl From<&Info<'_>> for InfoOwned {
    fn from(info: &Info<'_>) -> InfoOwned {
        InfoOwned {
            host: info.host.to_owned(),
            pid: info.pid,
            program: info.program.to_owned(),
            cpu_permille: info.cpu_permille,
            own_cpu_permille: info.own_cpu_permille,
            memory: info.memory,
            free_memory: info.free_memory,
            master: info.master,
        }
    }
}

/// What a node wants to be when the hub looks for a master.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum MasterWish {
    /// Master when it is the one that is alive the longest.
    #[default]
    May = 0,
    /// Master before all that only may.
    Must = 1,
    /// Never master.
    Never = 2,
}

const HOST: u8 = 1;
const PID: u8 = 2;
const PROGRAM: u8 = 3;
const CPU: u8 = 4;
const OWN_CPU: u8 = 5;
const MEMORY: u8 = 6;
const FREE_MEMORY: u8 = 7;
const MASTER: u8 = 8;

impl<'a> Info<'a> {
    pub(super) fn read(mut fields: Reader<'a>) -> Result<Info<'a>, FrameError> {
        let mut info = Info::default();
        let mut seen = Seen::default();
        while !fields.is_empty() {
            let (tag, mut value) = seen.field(&mut fields)?;
            match tag {
                HOST => info.host = text(&mut value)?,
                PID => info.pid = value.u32("a process id")?,
                PROGRAM => info.program = text(&mut value)?,
                CPU => info.cpu_permille = value.u32("thousandths")?,
                OWN_CPU => info.own_cpu_permille = value.u32("thousandths")?,
                MEMORY => info.memory = value.u64("bytes")?,
                FREE_MEMORY => info.free_memory = value.u64("bytes")?,
                MASTER => {
                    let offset = value.offset();
                    info.master = match value.u8("whether it can be master")? {
                        0 => MasterWish::May,
                        1 => MasterWish::Must,
                        2 => MasterWish::Never,
                        _ => return Err(FrameError { offset, expected: "0 (may), 1 (must) or 2 (never)" }),
                    };
                }
                _ => ignore(tag, &mut value)?,
            }
            value.end()?;
        }
        Ok(info)
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        put(out, HOST, self.host.as_bytes());
        put(out, PID, &self.pid.to_le_bytes());
        put(out, PROGRAM, self.program.as_bytes());
        put(out, CPU, &self.cpu_permille.to_le_bytes());
        put(out, OWN_CPU, &self.own_cpu_permille.to_le_bytes());
        put(out, MEMORY, &self.memory.to_le_bytes());
        put(out, FREE_MEMORY, &self.free_memory.to_le_bytes());
        put(out, MASTER, &[self.master as u8]);
    }
}

/// The longest text in an Info, in bytes: the hub keeps it for every node.
const TEXT_BYTES_MAX: usize = 256;

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_BYTES_MAX)]
}

fn text<'a>(value: &mut Reader<'a>) -> Result<&'a str, FrameError> {
    let offset = value.offset();
    let bytes = value.rest();
    match std::str::from_utf8(bytes) {
        Ok(text) if bytes.len() <= TEXT_BYTES_MAX => Ok(text),
        _ => Err(FrameError { offset, expected: "at most 256 bytes of UTF-8" }),
    }
}
