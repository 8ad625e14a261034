//! Child processes: started, listened to with a deadline, ended for certain; what they cost the machine; and the folders they
//! are given.
//!
//! Every child has a pipe to its parent as standard input and ends when that closes, so nothing outlives the
//! measurement, not even one that was killed.

use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};
use std::{env, fs};

/// How long a child may take to end by itself once its standard input is closed.
const GRACE: Duration = Duration::from_secs(2);

/// The unit of the times in /proc/PID/stat, which Linux fixed for programs on all its common architectures.
const TICKS_PER_SECOND: f64 = 100.0;

/// A foreign program; killed when dropped.
#[derive(Debug)]
pub(crate) struct Killed(pub(crate) Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// This program once more, in another role; ended when dropped.
#[derive(Debug)]
pub(crate) struct Role {
    child: Killed,
    lines: Receiver<String>,
    /// What it is called in errors.
    name: String,
}

impl Role {
    /// Starts this program with `arguments`.
    pub(crate) fn start(name: &str, arguments: &[&str]) -> io::Result<Self> {
        let mut command = Command::new(env::current_exe()?);
        let mut child = Killed(command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?);
        let output = child.0.stdout.take().ok_or_else(|| io::Error::other("a child without output"))?;
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, lines, name: name.to_owned() })
    }

    /// The words after `keyword` on the next line it prints; an error if it ends, is silent or says something else.
    pub(crate) fn says(&self, keyword: &str, within: Duration) -> io::Result<Vec<String>> {
        let line = self.lines.recv_timeout(within).map_err(|error| {
            let what = match error {
                mpsc::RecvTimeoutError::Timeout => "was silent for too long",
                mpsc::RecvTimeoutError::Disconnected => "ended early",
            };
            io::Error::other(format!("{} {what} where `{keyword}` was due", self.name))
        })?;
        let mut words = line.split(' ').map(str::to_owned);
        if words.next().as_deref() != Some(keyword) {
            return Err(io::Error::other(format!("{} said `{line}` where `{keyword}` was due", self.name)));
        }
        Ok(words.collect())
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        // It has children of its own to end, so it is asked before it is killed.
        drop(self.child.0.stdin.take());
        let deadline = Instant::now() + GRACE;
        while Instant::now() < deadline && matches!(self.child.0.try_wait(), Ok(None)) {
            thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Returns when the parent has closed our standard input or is gone.
pub(crate) fn wait_for_parent() -> io::Result<()> {
    let mut ignored = [0; 64];
    while io::stdin().read(&mut ignored)? > 0 {}
    Ok(())
}

/// Ends this process when the parent has closed our standard input or is gone.
pub(crate) fn exit_with_parent() {
    thread::spawn(|| {
        // An unreadable input means the same as a closed one.
        let _ = wait_for_parent();
        std::process::exit(0);
    });
}

/// The processor time that a process has used with all its threads, user and system, in steps of 10 ms.
pub(crate) fn cpu_time(pid: u32) -> io::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    cpu_time_in(&stat).ok_or_else(|| io::Error::other(format!("/proc/{pid}/stat has an unknown form")))
}

fn cpu_time_in(stat: &str) -> Option<Duration> {
    // The second field is the program's name, which may contain anything; the third field follows its last parenthesis.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11).map(|field| field.parse::<f64>().ok());
    let (user, system) = (times.next()??, times.next()??);
    Some(Duration::from_secs_f64((user + system) / TICKS_PER_SECOND))
}

/// What a process has of the machine's memory, in bytes.
pub(crate) fn memory(pid: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kibibytes =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok());
    kibibytes.map(|kibibytes: u64| kibibytes * 1024).ok_or_else(|| io::Error::other("no memory is told of the hub"))
}

/// Lets this process have as many open files as it may.
pub(crate) fn raise_open_files() -> io::Result<()> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}

/// A new folder; gone with all that is in it when dropped.
#[derive(Debug)]
pub(crate) struct Folder(String);

impl Folder {
    /// Makes one in `parent`.
    pub(crate) fn make(parent: &Path) -> io::Result<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("convoke-bench-{}-{number}", std::process::id()));
        fs::create_dir_all(&path)?;
        let text = fs::canonicalize(&path)?.into_os_string().into_string();
        text.map(Self).map_err(|path| io::Error::other(format!("the folder {} is not in UTF-8", path.display())))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &str {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is left.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The file system that a folder is on, as the system calls it: `ext4 on /dev/vda`.
pub(crate) fn disk(folder: &Path) -> String {
    let folder = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        let (device, at, kind) = (fields.next()?, fields.next()?, fields.next()?);
        folder.starts_with(at).then(|| (at.len(), format!("{kind} on {device}")))
    });
    // Of two at the same place the later one is seen.
    mounts.max_by_key(|(len, _)| *len).map_or_else(|| "unknown".to_owned(), |(_, disk)| disk)
}

/// What a reader must know of this machine to judge the figures, one fact a line.
pub(crate) fn machine() -> Vec<String> {
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map(|(_, model)| model);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    vec![
        format!("{cores} cores ({})", model.unwrap_or("unknown model")),
        format!("{} {} {}", env::consts::OS, kernel.trim(), env::consts::ARCH),
        format!("load before the first pass: {}", load.split(' ').next().unwrap_or_default()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_found_behind_a_strange_name() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 118 0 0 0 250 50 7 8 20 0 1 0";
        assert_eq!(cpu_time_in(stat), Some(Duration::from_secs(3)));
        assert_eq!(cpu_time_in("42 (short) S 1"), None);
    }

    #[test]
    fn our_own_processor_time_can_be_read() {
        assert!(cpu_time(std::process::id()).is_ok());
        assert!(memory(std::process::id()).unwrap() > 0);
    }

    #[test]
    fn a_folder_is_gone_with_what_is_in_it() {
        let folder = Folder::make(&env::temp_dir()).unwrap();
        let file = Path::new(folder.path()).join("kept");
        fs::write(&file, "something").unwrap();
        drop(folder);
        assert!(!file.exists());
    }
}
