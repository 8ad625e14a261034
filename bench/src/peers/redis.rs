//! A real redis-server, and as much of its protocol as the cheapest client needs.

use std::env;
use std::ffi::OsString;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::Keeps;
use super::client::{Client, Protocol, Step, open_idle};
use crate::process::{self, Killed};
use crate::workload::{
    COMMAND_BYTES, FILL_IN_FLIGHT, Limit, PAYLOAD_BYTES_MAX, SET_BYTES, SET_KEYS, SILENCE_MAX, Tally, Topic,
    VALUE_BYTES, key,
};

/// Where `install-peers` puts it, seen from this package.
const INSTALLED: &str = "target/peers/redis/redis-server";

/// A line of the protocol that is no payload.
const LINE_BYTES_MAX: usize = 4096;

/// The Redis protocol. Each reply to what is asked here counts as one message, but for lists: there each element does.
pub(crate) struct Redis;

impl Protocol for Redis {
    fn hello(_: Topic) -> (Vec<u8>, bool) {
        (Vec::new(), false)
    }

    const PONG: &'static [u8] = b"";

    fn next(bytes: &[u8]) -> io::Result<Step<'_>> {
        let Some(newline) = bytes.iter().take(LINE_BYTES_MAX).position(|&byte| byte == b'\n') else {
            return if bytes.len() < LINE_BYTES_MAX { Ok(Step::Half) } else { Err(not_understood(&bytes[..80])) };
        };
        let line = bytes[..newline].strip_suffix(b"\r").ok_or_else(|| not_understood(&bytes[..newline]))?;
        let used = newline + 1;
        let (kind, rest) = line.split_first().ok_or_else(|| not_understood(line))?;
        match kind {
            b'+' if rest == b"PONG" => Ok(Step::Pong { used }),
            b'+' | b':' => Ok(Step::Message { payload: rest, used }),
            b'*' => Ok(Step::Other { used }),
            b'$' => {
                let size = std::str::from_utf8(rest).ok().and_then(|digits| digits.parse::<usize>().ok());
                let size = size.filter(|&size| size <= PAYLOAD_BYTES_MAX).ok_or_else(|| not_understood(line))?;
                match bytes.get(used..used + size + 2) {
                    None => Ok(Step::Half),
                    Some(body) => Ok(Step::Message { payload: &body[..size], used: used + size + 2 }),
                }
            }
            _ => Err(not_understood(line)),
        }
    }
}

fn not_understood(line: &[u8]) -> io::Error {
    io::Error::other(format!("redis-server sent `{}`", String::from_utf8_lossy(line)))
}

/// A command of Redis as bytes.
fn command_words(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len());
    for word in words {
        bytes.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    bytes.into_bytes()
}

/// The server on this machine with its version: what `REDIS_SERVER` names, or else what `install-peers` installed, or what
/// is on the path.
pub(crate) fn installed() -> Option<(PathBuf, String)> {
    let candidates: Vec<PathBuf> = match env::var_os("REDIS_SERVER") {
        Some(named) => vec![named.into()],
        None => {
            let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join(INSTALLED);
            let path = env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/bin"));
            let on_path = env::split_paths(&path).map(|folder| folder.join("redis-server"));
            std::iter::once(installed).chain(on_path).collect()
        }
    };
    candidates.into_iter().find_map(|program| version(&program).map(|version| (program, version)))
}

/// `7.0.15`, if this is a redis-server that runs here.
fn version(program: &Path) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let said = String::from_utf8(output.stdout).ok()?;
    Some(said.split_once(" v=")?.1.split(' ').next()?.to_owned())
}

/// Runs the server until this process is told to stop; calls `ready` with its address and process id.
pub(crate) fn serve(program: &str, keeps: Keeps, folder: &str, ready: impl FnOnce(&str, u32)) -> io::Result<()> {
    // It cannot choose a port itself. Nobody else gets this one in the moment until it has it, as systems give out others
    // first.
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let addr = format!("127.0.0.1:{port}");
    let mut command = Command::new(program);
    command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--daemonize", "no"]);
    if keeps == Keeps::OnDisk {
        command.args(["--dir", folder, "--appendonly", "yes", "--appendfsync", "always"]);
    }
    let server = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let mut server = Killed(server);
    let started = Instant::now();
    while TcpStream::connect(&addr).is_err() {
        if started.elapsed() > SILENCE_MAX || server.0.try_wait()?.is_some() {
            return Err(io::Error::other("redis-server stopped before it listened"));
        }
        thread::sleep(Duration::from_millis(5));
    }
    ready(&addr, server.0.id());
    process::wait_for_parent()
}

pub(super) fn set(addr: &str, in_flight: usize, seconds: Duration) -> io::Result<Tally> {
    let mut client = Client::<Redis>::connect(addr, Topic::Data)?;
    let value = ".".repeat(SET_BYTES);
    let commands: Vec<Vec<u8>> = (0..SET_KEYS).map(|number| command_words(&["SET", &key(number), &value])).collect();
    client.pipeline(in_flight, Limit::Time(seconds), |number, bytes| {
        bytes.extend_from_slice(&commands[(number % SET_KEYS) as usize]);
    })
}

/// Adds entries to a stream.
pub(super) fn command(addr: &str, in_flight: usize, seconds: Duration) -> io::Result<Tally> {
    add(addr, in_flight, Limit::Time(seconds))
}

pub(super) fn fill(addr: &str, count: u64) -> io::Result<()> {
    add(addr, FILL_IN_FLIGHT, Limit::Count(count)).map(drop)
}

fn add(addr: &str, in_flight: usize, limit: Limit) -> io::Result<Tally> {
    let mut client = Client::<Redis>::connect(addr, Topic::Data)?;
    let line = command_words(&["XADD", "journal", "*", "c", &".".repeat(COMMAND_BYTES)]);
    client.pipeline(in_flight, limit, |_, bytes| bytes.extend_from_slice(&line))
}

/// Gets all entries of the stream in their order with one command, again and again.
pub(super) fn catch_up(addr: &str, count: u64, seconds: Duration) -> io::Result<Vec<Duration>> {
    let mut times = Vec::new();
    let started = Instant::now();
    while times.is_empty() || started.elapsed() < seconds {
        let mut client = Client::<Redis>::connect(addr, Topic::Data)?;
        let asked = Instant::now();
        client.write(&command_words(&["XRANGE", "journal", "-", "+"]))?;
        let mut received = 0;
        while received < count {
            client.turn(|payload| {
                received += u64::from(payload.len() == COMMAND_BYTES);
                Ok(())
            })?;
        }
        times.push(asked.elapsed());
    }
    Ok(times)
}

/// Sets one key and reads it, one request in flight.
pub(super) fn set_and_get(addr: &str, seconds: Duration) -> io::Result<(Tally, Tally)> {
    let mut client = Client::<Redis>::connect(addr, Topic::Data)?;
    let bytes = command_words(&["SET", "k0", &".".repeat(SET_BYTES)]);
    let set = client.pipeline(1, Limit::Time(seconds / 2), |_, out| out.extend_from_slice(&bytes))?;
    let bytes = command_words(&["GET", "k0"]);
    let get = client.pipeline(1, Limit::Time(seconds / 2), |_, out| out.extend_from_slice(&bytes))?;
    Ok((set, get))
}

/// Makes `count` values and then gets them all, again and again. They are the fields of one hash, as that can be read with
/// one command; keys of their own would have to be found first.
pub(super) fn values(addr: &str, count: u64, seconds: Duration) -> io::Result<Vec<Duration>> {
    let mut filler = Client::<Redis>::connect(addr, Topic::Data)?;
    let value = ".".repeat(VALUE_BYTES);
    filler.pipeline(FILL_IN_FLIGHT, Limit::Count(count), |number, bytes| {
        bytes.extend_from_slice(&command_words(&["HSET", "bench", &key(number), &value]));
    })?;
    let mut times = Vec::new();
    let started = Instant::now();
    while times.is_empty() || started.elapsed() < seconds {
        let mut client = Client::<Redis>::connect(addr, Topic::Data)?;
        let asked = Instant::now();
        client.write(&command_words(&["HGETALL", "bench"]))?;
        let (mut received, mut of_size) = (0, 0);
        while received < 2 * count {
            client.turn(|payload| {
                received += 1;
                of_size += u64::from(payload.len() == VALUE_BYTES);
                Ok(())
            })?;
        }
        times.push(asked.elapsed());
        if of_size != count {
            return Err(io::Error::other(format!("{of_size} values came where {count} were set")));
        }
    }
    Ok(times)
}

/// Opens links that subscribe to something, or to nothing.
pub(super) fn idle(addr: &str, count: usize, subscribe: bool) -> io::Result<(Vec<Client<Redis>>, Duration)> {
    open_idle(addr, count, &|client| {
        client.write(&command_words(&["PING"]))?;
        while !client.turn(|_| Ok(()))? {}
        if subscribe {
            client.write(&command_words(&["SUBSCRIBE", "bench"]))?;
            // Its word, its channel, and how many there are.
            let mut parts = 0;
            while parts < 3 {
                client.turn(|_| {
                    parts += 1;
                    Ok(())
                })?;
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_reply_waits_for_the_rest_wherever_it_was_cut() {
        let whole = b"$4\r\nh\r\no\r\n";
        for cut in 0..whole.len() {
            assert_eq!(Redis::next(&whole[..cut]).unwrap(), Step::Half, "cut at {cut}");
        }
        assert_eq!(Redis::next(whole).unwrap(), Step::Message { payload: b"h\r\no", used: whole.len() });
    }

    #[test]
    fn each_simple_reply_is_a_message_and_an_error_is_reported() {
        assert_eq!(Redis::next(b"+OK\r\n:1").unwrap(), Step::Message { payload: b"OK", used: 5 });
        assert_eq!(Redis::next(b":12\r\n").unwrap(), Step::Message { payload: b"12", used: 5 });
        assert_eq!(Redis::next(b"*2\r\n$1").unwrap(), Step::Other { used: 4 });
        assert_eq!(Redis::next(b"-ERR no\r\n").unwrap_err().to_string(), "redis-server sent `-ERR no`");
    }

    #[test]
    fn a_command_is_a_list_of_its_words() {
        assert_eq!(command_words(&["GET", "k0"]), b"*2\r\n$3\r\nGET\r\n$2\r\nk0\r\n");
    }
}
