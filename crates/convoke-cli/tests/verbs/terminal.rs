//! A terminal of the test's own, which shows what programs write to it, and can be taken away.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::process::Stdio;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// The longest that a terminal may show nothing new while something is waited for.
const PATIENCE: Timespec = Timespec { tv_sec: 30, tv_nsec: 0 };

/// The end that a person would sit at.
pub(crate) struct Terminal {
    here: File,
    there: File,
}

impl Terminal {
    pub(crate) fn new() -> Terminal {
        let here = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&here).unwrap();
        unlockpt(&here).unwrap();
        let name = ptsname(&here, Vec::new()).unwrap();
        let there = File::options().read(true).write(true).open(OsStr::from_bytes(name.as_bytes())).unwrap();
        Terminal { here: here.into(), there }
    }

    /// Makes it so large; otherwise it has no size.
    pub(crate) fn resize(&self, columns: u16, rows: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.here, size).unwrap();
    }

    /// The end of a program.
    pub(crate) fn end(&self) -> Stdio {
        self.there.try_clone().unwrap().into()
    }

    /// Types this.
    pub(crate) fn types(&mut self, text: &str) {
        self.here.write_all(text.as_bytes()).unwrap();
    }

    /// Waits until this was written; all that was written by then.
    pub(crate) fn shows(&mut self, text: &str) -> String {
        let mut shown = Vec::new();
        let mut buffer = [0; 4096];
        while !String::from_utf8_lossy(&shown).contains(text) {
            let ready = poll(&mut [PollFd::new(&self.here, PollFlags::IN)], Some(&PATIENCE)).unwrap();
            assert!(ready > 0, "waited in vain for `{text}`; so far: {}", String::from_utf8_lossy(&shown));
            let read = self.here.read(&mut buffer).unwrap();
            shown.extend_from_slice(&buffer[..read]);
        }
        String::from_utf8(shown).unwrap().replace("\r\n", "\n")
    }

    /// What was written, once all programs have ended that could write.
    pub(crate) fn shown(self) -> String {
        let Terminal { mut here, there } = self;
        drop(there);
        let mut shown = Vec::new();
        // The end of a terminal is an error.
        let _ = here.read_to_end(&mut shown);
        String::from_utf8(shown).unwrap().replace("\r\n", "\n")
    }
}
