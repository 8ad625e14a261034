//! Programs that are processes of their own: this test program, started again in a role.

use std::path::Path;
use std::process::Stdio;

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::{soon, until};

/// Says which role this process has; not set in the process that runs the stories.
const ROLE: &str = "CONVOKE_TEST_ROLE";

/// What lines that are meant for the story begin with.
const MARK: &str = "> ";

/// A process in a role; killed when it is dropped, and gone when this process is.
pub struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    _stdin: ChildStdin,
}

impl Process {
    /// Starts the test `child` of this program in a role, with these variables.
    pub fn start(role: &str, runtime: &Path, variables: &[(&str, &str)]) -> Process {
        // A file that is as long as the process may make it is an error there, and no signal.
        let mut command = "trap '' XFSZ; exec \"$0\" \"$@\"".to_owned();
        let mut shell = Command::new("sh");
        if let Some((_, disk)) = variables.iter().find(|(name, _)| *name == "MOUNT") {
            // A disk that only this process sees; gone with it.
            command = format!(
                "mount -t tmpfs -o {disk_options} && {command}",
                disk_options = disk.replacen(' ', " none ", 1)
            );
            shell = Command::new("unshare");
            shell.args(["-rm", "sh"]);
        }
        let mut child = shell
            .args(["-c", &command])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--ignored", "--nocapture", "--test-threads=1"])
            .env(ROLE, role)
            // Where a hub tells the user's programs about itself: not this user's.
            .env("XDG_RUNTIME_DIR", runtime)
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let _stdin = child.stdin.take().unwrap();
        Process { child, lines, _stdin }
    }

    /// What it says next.
    pub async fn says(&mut self) -> String {
        loop {
            let line = soon(self.lines.next_line()).await.unwrap().expect("it says something before it ends");
            // The test harness may have begun the line.
            if let Some((_, said)) = line.split_once(MARK) {
                return said.to_owned();
            }
        }
    }

    /// Its number.
    pub fn pid(&self) -> i32 {
        self.child.id().expect("it runs").try_into().unwrap()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.pid()).unwrap(), signal).unwrap();
    }

    /// Lets it write files of any length again.
    pub fn lift_limit_of_files(&self) {
        let none = Rlimit { current: None, maximum: None };
        prlimit(Pid::from_raw(self.pid()), Resource::Fsize, none).unwrap();
    }

    /// Stops it where it is.
    pub async fn stop(&self) {
        self.signal(Signal::STOP);
        until("the process stands still", || self.stat()[0] == "T").await;
    }

    /// Ends it without giving it a chance to do anything.
    pub async fn kill(mut self) {
        soon(self.child.kill()).await.unwrap();
    }

    /// What it holds in memory, in bytes.
    pub fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
    }

    /// How many files it has open.
    pub fn files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count()
    }

    /// What it has used of a processor so far, in hundredths of a second.
    pub fn processor_time(&self) -> u64 {
        let stat = self.stat();
        stat[11].parse::<u64>().unwrap() + stat[12].parse::<u64>().unwrap()
    }

    /// The fields behind its name.
    fn stat(&self) -> Vec<String> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        stat.rsplit_once(") ").unwrap().1.split(' ').map(str::to_owned).collect()
    }
}

/// What this process was started with.
pub fn given(variable: &str) -> String {
    std::env::var(variable).unwrap()
}

/// Says something to the story that has started this process.
pub fn say(what: &str) {
    println!("\n{MARK}{what}");
}

/// In the test `child`, which [`Process::start`] starts: does what this process is to do in its role, until the process that
/// has started it is gone. Nothing, if nobody has given it one.
pub fn play(role: impl AsyncFnOnce(&str)) {
    let Ok(name) = std::env::var(ROLE) else { return };
    end_with_parent();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(role(&name));
}

/// Ends this process when the one that has started it is gone.
fn end_with_parent() {
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(0);
    });
}
