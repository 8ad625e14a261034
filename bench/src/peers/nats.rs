//! A real nats-server, and as much of its text protocol as the cheapest client needs.

use std::env;
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::client::{Client, Protocol, Relays, Step, open_idle};
use super::{Keeps, jetstream};
use crate::process::{self, Killed};
use crate::workload::{PAYLOAD_BYTES_MAX, Topic};

/// A control line; the server announces itself with one of about 500 bytes.
const LINE_BYTES_MAX: usize = 4096;

/// Where `install-peers` puts servers, seen from this package.
const INSTALLED: [&str; 2] = ["target/peers/wheel/bin/nats-server", "target/peers/debian/usr/sbin/nats-server"];

/// How a client introduces itself.
const CONNECT: &str = r#"CONNECT {"verbose":false,"pedantic":false,"tls_required":false,"lang":"bench","version":"1","protocol":1,"headers":true,"no_responders":true}"#;

/// The NATS client protocol.
pub(crate) struct Nats;

pub(super) const fn subject(topic: Topic) -> &'static str {
    match topic {
        Topic::Data => "bench.data",
        Topic::Ack => "bench.ack",
    }
}

impl Protocol for Nats {
    fn hello(topic: Topic) -> (Vec<u8>, bool) {
        (format!("{CONNECT}\r\nSUB {} 1\r\nPING\r\n", subject(topic)).into_bytes(), true)
    }

    const PONG: &'static [u8] = b"PONG\r\n";

    fn next(bytes: &[u8]) -> io::Result<Step<'_>> {
        let Some(newline) = bytes.iter().position(|&byte| byte == b'\n') else {
            return if bytes.len() <= LINE_BYTES_MAX { Ok(Step::Half) } else { Err(not_understood(&bytes[..80])) };
        };
        let line = bytes[..newline].strip_suffix(b"\r").ok_or_else(|| not_understood(&bytes[..newline]))?;
        let used = newline + 1;
        if line.starts_with(b"MSG ") || line.starts_with(b"HMSG ") {
            return message(bytes, line, used);
        }
        match line {
            b"PING" => Ok(Step::Ping { used }),
            b"PONG" => Ok(Step::Pong { used }),
            _ if line.starts_with(b"INFO ") || line == b"+OK" => Ok(Step::Other { used }),
            _ => Err(not_understood(line)),
        }
    }
}

impl Relays for Nats {
    fn envelope(topic: Topic, size: usize) -> (Vec<u8>, Vec<u8>) {
        (format!("PUB {} {size}\r\n", subject(topic)).into_bytes(), b"\r\n".to_vec())
    }

    fn request(size: usize) -> (Vec<u8>, Vec<u8>) {
        let (data, ack) = (subject(Topic::Data), subject(Topic::Ack));
        (format!("PUB {data} {ack} {size}\r\n").into_bytes(), b"\r\n".to_vec())
    }
}

/// Opens links that subscribe to something, or to nothing.
pub(crate) fn idle(addr: &str, count: usize, subscribe: bool) -> io::Result<(Vec<Client<Nats>>, Duration)> {
    open_idle(addr, count, &|client| {
        let subscription = if subscribe { "SUB bench.data 1\r\n" } else { "" };
        client.write(format!("{CONNECT}\r\n{subscription}PING\r\n").as_bytes())?;
        while !client.turn(|_| Ok(()))? {}
        Ok(())
    })
}

/// `MSG subject subscription size`, then the payload and a line end. The same with headers begins with `HMSG`, and its
/// size is of both.
fn message<'a>(bytes: &'a [u8], line: &[u8], head: usize) -> io::Result<Step<'a>> {
    let size = line.iter().rposition(|&byte| byte == b' ').and_then(|space| decimal(&line[space + 1..]));
    let size = size.filter(|&size| size <= PAYLOAD_BYTES_MAX).ok_or_else(|| not_understood(line))?;
    let used = head + size + b"\r\n".len();
    match bytes.get(head..used) {
        None => Ok(Step::Half),
        Some(body) => match body.strip_suffix(b"\r\n") {
            Some(payload) => Ok(Step::Message { payload, used }),
            None => Err(not_understood(line)),
        },
    }
}

/// A number of at most nine digits.
fn decimal(digits: &[u8]) -> Option<usize> {
    if digits.is_empty() || digits.len() > 9 {
        return None;
    }
    digits.iter().try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + usize::from(digit - b'0')))
}

fn not_understood(line: &[u8]) -> io::Error {
    io::Error::other(format!("nats-server sent `{}`", String::from_utf8_lossy(line)))
}

/// The servers of different versions on this machine with their versions: what `NATS_SERVER` names (several separated by
/// `:`), or else what `install-peers` installed and what is on the path.
pub(crate) fn installed() -> Vec<(PathBuf, String)> {
    let candidates: Vec<PathBuf> = match env::var_os("NATS_SERVER") {
        Some(named) => env::split_paths(&named).collect(),
        None => {
            let package = Path::new(env!("CARGO_MANIFEST_DIR"));
            let path = env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/bin"));
            let on_path = env::split_paths(&path).map(|folder| folder.join("nats-server"));
            INSTALLED.iter().map(|installed| package.join(installed)).chain(on_path).collect()
        }
    };
    let mut servers: Vec<(PathBuf, String)> = Vec::new();
    for program in candidates {
        if let Some(version) = version(&program)
            && servers.iter().all(|(_, known)| *known != version)
        {
            servers.push((program, version));
        }
    }
    servers
}

/// `2.9.10`, if this is a nats-server that runs here.
fn version(program: &Path) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    Some(String::from_utf8(output.stdout).ok()?.trim().strip_prefix("nats-server: v")?.to_owned())
}

/// Runs the server until this process is told to stop; calls `ready` with its address and process id.
pub(crate) fn serve(program: &str, keeps: Keeps, folder: &str, ready: impl FnOnce(&str, u32)) -> io::Result<()> {
    let mut command = Command::new(program);
    match keeps {
        Keeps::Nothing => command.args(["--addr", "127.0.0.1", "--port", "-1"]),
        Keeps::InMemory | Keeps::OnDisk => command.arg("--config").arg(jetstream::configure(keeps, folder)?),
    };
    let mut server = Killed(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?);
    let log = server.0.stderr.take().ok_or_else(|| io::Error::other("nats-server has no log"))?;
    let mut lines = BufReader::new(log).lines();
    let mut said = String::new();
    let addr = loop {
        let Some(line) = lines.next().transpose()? else {
            return Err(io::Error::other(format!("nats-server stopped before it listened: {said}")));
        };
        if let Some((_, addr)) = line.split_once("Listening for client connections on ") {
            break addr.trim().to_owned();
        }
        said = line;
    };
    // Nobody reads the rest, but a full pipe would stop the server.
    std::thread::spawn(move || lines.for_each(drop));
    ready(&addr, server.0.id());
    process::wait_for_parent()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_message_waits_for_the_rest_wherever_it_was_cut() {
        let whole = b"MSG bench.data 1 5\r\nhe\r\no\r\n";
        for cut in 0..whole.len() {
            assert_eq!(Nats::next(&whole[..cut]).unwrap(), Step::Half, "cut at {cut}");
        }
        assert_eq!(Nats::next(whole).unwrap(), Step::Message { payload: b"he\r\no", used: whole.len() });
    }

    #[test]
    fn several_in_one_read_come_one_after_the_other() {
        let bytes = b"INFO {}\r\nMSG bench.data 1 1\r\na\r\nPING\r\nMSG bench.data 9 0\r\n\r\nPONG\r\nMSG be";
        let mut at = 0;
        let mut steps = Vec::new();
        loop {
            let step = Nats::next(&bytes[at..]).unwrap();
            at += match step {
                Step::Half => break,
                Step::Message { used, .. } | Step::Ping { used } | Step::Pong { used } | Step::Other { used } => used,
            };
            steps.push(step);
        }
        assert_eq!(
            steps,
            [
                Step::Other { used: 9 },
                Step::Message { payload: b"a", used: 23 },
                Step::Ping { used: 6 },
                Step::Message { payload: b"", used: 22 },
                Step::Pong { used: 6 },
            ]
        );
        assert_eq!(&bytes[at..], b"MSG be");
    }

    #[test]
    fn what_the_server_complains_about_is_reported() {
        let error = Nats::next(b"-ERR 'Maximum Payload Violation'\r\n").unwrap_err();
        assert_eq!(error.to_string(), "nats-server sent `-ERR 'Maximum Payload Violation'`");
    }

    #[test]
    fn a_message_without_a_sensible_size_is_refused() {
        for line in ["MSG a 1 x\r\n", "MSG a 1 \r\n", "MSG a 1 99999999999999999999\r\n", "MSG a 1 1\r\nabcd"] {
            assert!(Nats::next(line.as_bytes()).is_err(), "{line}");
        }
    }
}
