//! Child processes: started, listened to with a deadline, ended for certain; and what they cost the processor.
//!
//! Every child has a pipe to its parent as standard input and ends when that closes, so nothing outlives the
//! measurement, not even one that was killed.

use std::io::{self, BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
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
    }
}
