//! What a story needs: a place of its own, a hub, programs that run, and what they have said when they end.
//!
//! Every wait has a bound, every program is killed when the test lets go of it, and nothing outside the story's own
//! folder is read or written.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// The longest that anything in a story may take, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(30);

/// A user's machine: folders of its own, perhaps a hub.
pub(crate) struct Story {
    folder: TempDir,
    hub: Option<Running>,
    /// `127.0.0.1:PORT` of the hub.
    address: String,
}

impl Story {
    /// Without a hub; where one could be, nothing listens.
    pub(crate) fn without_hub() -> Story {
        // Port 1 is nobody's, and never given to a program that asks for any.
        Story { folder: tempfile::tempdir().unwrap(), hub: None, address: "127.0.0.1:1".into() }
    }

    /// With a hub that listens on a free port.
    pub(crate) fn with_hub() -> Story {
        let mut story = Story::without_hub();
        story.start_hub("127.0.0.1:0");
        story
    }

    /// Starts the hub, again perhaps.
    pub(crate) fn start_hub(&mut self, listen: &str) {
        self.start_hub_with(listen, &[]);
    }

    /// The same with more arguments.
    pub(crate) fn start_hub_with(&mut self, listen: &str, arguments: &[&str]) {
        let hub = self.start(["hub", "--listen", listen].iter().chain(arguments));
        self.has_started(hub);
    }

    /// Starts the hub in this folder, where the others look for its token too.
    pub(crate) fn start_hub_in(&mut self, data: &str) {
        let hub = self.start(["hub", "--listen", "127.0.0.1:0", "--data", data]);
        self.has_started(hub);
    }

    fn has_started(&mut self, mut hub: Running) {
        self.address = hub.listens_at();
        hub.address.clone_from(&self.address);
        self.hub = Some(hub);
    }

    /// Kills the hub as a power cut would.
    pub(crate) fn kill_hub(&mut self) {
        self.hub = None;
    }

    pub(crate) fn hub(&self) -> &Running {
        self.hub.as_ref().expect("the story has a hub")
    }

    pub(crate) fn take_hub(&mut self) -> Running {
        self.hub.take().expect("the story has a hub")
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file into the story's folder.
    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// The program with these arguments, about to run as the user `ann` with nothing else in her environment.
    pub(crate) fn convoke<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let folder = self.folder.path();
        let mut command = Command::new(env!("CARGO_BIN_EXE_convoke"));
        command.args(arguments).current_dir(folder).env_clear();
        command.env("HOME", folder).env("XDG_STATE_HOME", folder.join("state")).env("USER", "ann");
        command.env("XDG_RUNTIME_DIR", folder.join("run")).env("CONVOKE_ADDRESS", &self.address);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs the program to its end.
    pub(crate) fn run<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Ended {
        self.start(arguments).ended()
    }

    /// Runs the program to its end with something on its stdin.
    pub(crate) fn run_with_input<A: AsRef<OsStr>>(
        &self,
        input: &[u8],
        arguments: impl IntoIterator<Item = A>,
    ) -> Ended {
        let mut command = self.convoke(arguments);
        command.stdin(Stdio::piped());
        let mut running = Running::spawn(command, &self.address, true);
        // A program that ends without reading its input is judged by what it says.
        let _ = running.child.stdin.take().unwrap().write_all(input);
        running.ended()
    }

    /// Starts the program.
    pub(crate) fn start<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Running {
        Running::spawn(self.convoke(arguments), &self.address, true)
    }

    /// Starts a command of [`convoke`](Story::convoke) that was changed.
    pub(crate) fn start_command(&self, command: Command) -> Running {
        Running::spawn(command, &self.address, true)
    }

    /// Starts `subscribe`, and returns once it has subscribed.
    pub(crate) fn subscribe<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Running {
        self.subscribe_as(self.convoke(with_subscribe(arguments)), true)
    }

    /// As [`subscribe`](Story::subscribe), but nobody reads its stdout until [`Running::read`].
    pub(crate) fn subscribe_unread<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Running {
        self.subscribe_as(self.convoke(with_subscribe(arguments)), false)
    }

    /// Follows a journal, and waits until the hub has taken it.
    pub(crate) fn follow<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Running {
        let running = self.start(["journal", "follow", "-v"].into_iter().chain(arguments));
        running.says("following");
        running
    }

    /// Enters a room of the chat under this name, to type there.
    pub(crate) fn chat<'a>(&self, name: &'a str, arguments: impl IntoIterator<Item = &'a str>) -> Running {
        let mut command = self.convoke(["chat", "-v", "--name", name].into_iter().chain(arguments));
        command.stdin(Stdio::piped());
        let running = self.start_command(command);
        running.says(" INFO in `");
        running
    }

    /// Starts `watch`, and returns once it watches.
    pub(crate) fn watch<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Running {
        let running = self.start(["watch", "-v"].into_iter().chain(arguments));
        running.stderr.wait_for(WATCHING);
        running
    }

    /// Runs the program again and again until what it prints is so.
    pub(crate) fn until<'a>(&self, arguments: impl IntoIterator<Item = &'a str>, so: impl Fn(&str) -> bool) {
        let arguments: Vec<&str> = arguments.into_iter().collect();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let printed = self.run(&arguments).stdout();
            if so(&printed) {
                return;
            }
            assert!(Instant::now() < deadline, "it never became so: {printed}");
        }
    }

    /// All verbs, as the help lists them.
    pub(crate) fn verbs(&self) -> Vec<String> {
        let help = self.run(["--help"]).stdout();
        let groups = help.lines().skip_while(|line| *line != "Join in:").take_while(|line| *line != "Options:");
        let verbs = groups.filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next());
        let verbs: Vec<String> = verbs.map(str::to_owned).collect();
        assert!(verbs.len() > 20 && verbs.iter().any(|verb| verb == "hub"), "{help}");
        verbs
    }

    /// Starts `serve`, and returns once calls can come.
    pub(crate) fn serve<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Running {
        let running = self.start(["serve"].into_iter().chain(arguments));
        running.stderr.wait_for(SERVING);
        running
    }

    fn subscribe_as(&self, command: Command, read: bool) -> Running {
        let running = Running::spawn(command, &self.address, read);
        running.stderr.wait_for(SUBSCRIBED);
        running
    }
}

/// How a line that `-v` adds begins.
const INFO: &str = " INFO ";

/// What `subscribe -v` says when it has subscribed.
const SUBSCRIBED: &str = " INFO subscribed\n";

/// What `watch -v` says when it watches.
const WATCHING: &str = " INFO watching\n";

/// What `serve` says when calls can come.
const SERVING: &str = "serving ";

fn with_subscribe<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    ["subscribe", "-v"].into_iter().chain(arguments).collect()
}

/// A program that runs, until it is dropped.
pub(crate) struct Running {
    child: Child,
    stdout: Stream,
    stderr: Stream,
    address: String,
}

impl Running {
    fn spawn(mut command: Command, address: &str, read: bool) -> Running {
        let mut child = command.spawn().unwrap();
        let stdout = Stream::of(child.stdout.take(), read);
        let stderr = Stream::of(child.stderr.take(), true);
        Running { child, stdout, stderr, address: address.to_owned() }
    }

    /// The number of its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// How long a file may be that it writes; without a number, as long as it likes.
    #[cfg(target_os = "linux")]
    pub(crate) fn limit_files(&self, bytes: Option<u64>) {
        use rustix::process::{Resource, Rlimit, prlimit};
        let limit = Rlimit { current: bytes, maximum: None };
        prlimit(Some(Pid::from_child(&self.child)), Resource::Fsize, limit).unwrap();
    }

    /// Types a line.
    pub(crate) fn types(&self, line: &str) -> &Running {
        let mut stdin = self.child.stdin.as_ref().expect("it is typed into");
        stdin.write_all(format!("{line}\n").as_bytes()).unwrap();
        self
    }

    /// Waits until it has printed this.
    pub(crate) fn prints(&self, text: &str) -> &Running {
        self.stdout.wait_for(text);
        self
    }

    /// All that it has printed so far.
    pub(crate) fn printed(&self) -> String {
        self.stdout.wait(|state| Some(String::from_utf8_lossy(&state.bytes).into_owned()))
    }

    /// Waits until a hub listens, and gives its `127.0.0.1:PORT`.
    pub(crate) fn listens_at(&self) -> String {
        const LISTENING: &str = "listening tcp://";
        let line = self.stdout.wait(|state| {
            let so_far = String::from_utf8_lossy(&state.bytes);
            let found = so_far.find(LISTENING).is_some_and(|at| so_far[at..].contains('\n'));
            let said = || self.stderr.wait(|state| Some(String::from_utf8_lossy(&state.bytes).into_owned()));
            assert!(found || !state.ended, "it ended without `{LISTENING}`: {so_far}{}", said());
            found.then(|| so_far.into_owned())
        });
        line.trim_end().rsplit_once("tcp://").unwrap().1.to_owned()
    }

    /// Waits until it has said this on stderr.
    pub(crate) fn says(&self, text: &str) -> &Running {
        self.stderr.wait_for(text);
        self
    }

    /// From now on its stdout is read.
    pub(crate) fn read(&self) {
        self.stdout.change(|state| state.read = true);
    }

    /// Waits until it ends by itself. Nothing is typed any more.
    pub(crate) fn ended(mut self) -> Ended {
        drop(self.child.stdin.take());
        let (stdout, stderr) = (self.stdout.to_the_end(), self.stderr.to_the_end());
        Ended { status: self.status(), stdout, stderr, address: self.address.clone() }
    }

    /// Waits until it ends, perhaps by a signal.
    #[cfg(target_os = "linux")]
    pub(crate) fn ended_somehow(mut self) {
        self.stdout.to_the_end();
        self.stderr.to_the_end();
        self.status();
    }

    /// Waits until it ends, and does not read its stdout even then.
    pub(crate) fn code_unread(mut self) -> i32 {
        self.stderr.to_the_end();
        self.status().code().expect("it was not killed")
    }

    /// Its stderr is closed already, so that it ends at once.
    fn status(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it has closed its output and does not end");
            std::thread::yield_now();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a program has written so far.
#[derive(Clone)]
struct Stream(Arc<(Mutex<StreamState>, Condvar)>);

struct StreamState {
    read: bool,
    bytes: Vec<u8>,
    ended: bool,
}

impl Stream {
    /// Reads in a thread of its own; none where the output goes elsewhere.
    fn of(from: Option<impl Read + Send + 'static>, read: bool) -> Stream {
        let state = StreamState { read, bytes: Vec::new(), ended: from.is_none() };
        let stream = Stream(Arc::new((Mutex::new(state), Condvar::new())));
        let reader = stream.clone();
        if let Some(mut from) = from {
            std::thread::spawn(move || {
                reader.wait(|state| state.read.then_some(()));
                let mut buffer = [0; 64 << 10];
                while let Ok(len @ 1..) = from.read(&mut buffer) {
                    reader.change(|state| state.bytes.extend_from_slice(&buffer[..len]));
                }
                reader.change(|state| state.ended = true);
            });
        }
        stream
    }

    fn change(&self, change: impl FnOnce(&mut StreamState)) {
        change(&mut self.0.0.lock().unwrap());
        self.0.1.notify_all();
    }

    fn wait<T>(&self, mut until: impl FnMut(&StreamState) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.0.0.lock().unwrap();
        loop {
            if let Some(found) = until(&state) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "waited in vain; so far: {}", String::from_utf8_lossy(&state.bytes));
            state = self.0.1.wait_timeout(state, left).unwrap().0;
        }
    }

    /// Waits until `text` was written with the rest of its line; all that was written by then.
    fn wait_for(&self, text: &str) -> String {
        self.wait(|state| {
            let so_far = String::from_utf8_lossy(&state.bytes);
            let found = so_far.find(text).is_some_and(|at| so_far[at..].contains('\n'));
            assert!(found || !state.ended, "it ended without `{text}`: {so_far}");
            found.then(|| so_far.into_owned())
        })
    }

    fn to_the_end(&self) -> Vec<u8> {
        self.wait(|state| state.ended.then(|| state.bytes.clone()))
    }
}

/// A program that has ended.
pub(crate) struct Ended {
    status: ExitStatus,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    address: String,
}

impl Ended {
    /// Compares all that a script can see, word for word. The address of the story's hub is written `HUB`.
    #[track_caller]
    pub(crate) fn is(&self, code: i32, stdout: &str, stderr: &str) {
        let seen = (self.code(), self.stdout(), self.stderr());
        assert_eq!(seen, (code, stdout.to_owned(), stderr.to_owned()), "exit code, stdout, stderr");
    }

    pub(crate) fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("killed: {}; {}", self.status, self.stderr()))
    }

    pub(crate) fn stdout(&self) -> String {
        self.shown(&self.stdout)
    }

    pub(crate) fn stdout_bytes(&self) -> &[u8] {
        &self.stdout
    }

    /// Without what `-v` adds.
    pub(crate) fn stderr(&self) -> String {
        let said = self.shown(&self.stderr);
        said.split_inclusive('\n').filter(|line| !line.starts_with(INFO)).collect()
    }

    fn shown(&self, bytes: &[u8]) -> String {
        String::from_utf8_lossy(bytes).replace(&self.address, "HUB")
    }
}

/// A file that takes nothing, as on a full disk.
pub(crate) fn full_disk() -> Stdio {
    File::options().write(true).open(Path::new("/dev/full")).unwrap().into()
}

/// Runs a command to its end.
pub(crate) fn run(command: Command) -> Ended {
    Running::spawn(command, "no hub", true).ended()
}
