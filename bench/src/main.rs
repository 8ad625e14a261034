//! Compares events, calls and kept values through a hub with other hubs, one process per program, over TCP loopback.
//!
//! Without a sub-command it measures and prints a table; `serve` and `client` are the roles it starts itself in.

mod measure;
mod peers;
mod process;
mod report;
mod workload;

use std::env;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use measure::{Spread, Workload};
use peers::{Holding, Keeps, Peer};

const USAGE: &str = "\
Compares events, calls and kept values through a hub with other hubs.

Usage: convoke-bench [OPTIONS]

  --passes N       passes of each row and peer, interleaved (default 5)
  --seconds S      length of one pass (default 2)
  --peers LIST     of floor, convoke, nats, redis, tonic (default: all that are installed)
  --rows LIST      of 16, 128, 1024, 65536 (events of so many bytes), group128, echo, calls1, calls64, calls256, sets1, sets64,
                   sets256, commands1, commands64, commands256, journal, followers10, followers100,
                   setget, values, idle
                   (default: all; other numbers are welcome)
  --folder DIR     where to keep what must be on disk (default: the folder for temporary files)
  --json FILE      also write every pass as a line of JSON
  --help           show this
";

/// The most passes that make sense; beyond it the answer is a quieter machine.
const PASSES_MAX: usize = 1000;

/// The longest pass, in seconds.
const SECONDS_MAX: f64 = 600.0;

/// Erases the terminal's current line, for progress.
const CLEAR_LINE: &str = "\r\x1b[2K";

struct Options {
    passes: usize,
    seconds: Duration,
    peers: Vec<String>,
    workloads: Vec<Workload>,
    json: Option<String>,
    folder: PathBuf,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["serve", kind, program, keeps, folder] => serve(kind, program, keeps, folder),
        ["client", role, kind, addr, amount, millis, folder] => client(role, kind, addr, amount, millis, folder),
        ["--help" | "-h"] => {
            print!("{USAGE}");
            Ok(())
        }
        _ => match parse(&words) {
            Ok(options) => compare(&options),
            Err(problem) => {
                eprintln!("convoke-bench: {problem}\n\n{USAGE}");
                return ExitCode::from(2);
            }
        },
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("convoke-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A line for the parent, which waits for it.
fn say(line: &str) {
    println!("{line}");
}

fn serve(kind: &str, program: &str, keeps: &str, folder: &str) -> io::Result<()> {
    let keeps = Keeps::from_word(keeps).ok_or_else(|| io::Error::other(format!("a hub cannot keep `{keeps}`")))?;
    process::raise_open_files()?;
    peers::serve(kind, program, keeps, folder, |addr, pid| say(&format!("listening {addr} {pid}")))
}

fn client(role: &str, kind: &str, addr: &str, amount: &str, millis: &str, folder: &str) -> io::Result<()> {
    process::exit_with_parent();
    // A size, or how many; not every role has one.
    let amount: usize = if amount.is_empty() { 0 } else { amount.parse().map_err(io::Error::other)? };
    let seconds = Duration::from_millis(millis.parse().map_err(io::Error::other)?);
    let ready = || say("ready");
    match role {
        "publish" => say(&format!("result {}", peers::publish(kind, addr, amount, seconds)?)),
        "subscribe" => {
            let (received, elapsed) = peers::subscribe(kind, addr, amount, ready)?;
            say(&format!("result {received} {}", elapsed.as_nanos()));
        }
        "share" => {
            let (received, elapsed) = peers::share(kind, addr, amount, ready)?;
            say(&format!("result {received} {}", elapsed.as_nanos()));
        }
        "ping" => {
            let summary = peers::ping(kind, addr, seconds)?.summary();
            let (rounds, p50, p99) = summary.ok_or_else(|| io::Error::other("too few echoes in this time"))?;
            say(&format!("result {rounds} {p50} {p99}"));
        }
        "echo" => {
            peers::echo(kind, addr, ready)?;
            say("result");
        }
        "answer" => peers::answer(kind, addr, ready)?,
        "call" => say(&format!("result {}", peers::call(kind, addr, amount, seconds)?.words()?)),
        "set" => say(&format!("result {}", peers::set(kind, addr, folder, amount, seconds)?.words()?)),
        "command" => say(&format!("result {}", peers::command(kind, addr, folder, amount, seconds)?.words()?)),
        "fill" => {
            peers::fill(kind, addr, amount as u64)?;
            say("result");
        }
        "catch-up" => {
            let times = peers::catch_up(kind, addr, amount as u64, seconds)?;
            let median = Spread::of(times.iter().map(Duration::as_secs_f64)).map_or(0.0, |spread| spread.median);
            say(&format!("result {}", median * 1e9));
        }
        "follow" => peers::follow(kind, addr, amount, ready)?,
        "acknowledged" => say(&format!("result {}", peers::acknowledged(kind, addr, amount, seconds)?.words()?)),
        "undo" => say(&format!("result {}", peers::undo(kind, addr, amount as u64, seconds)?.words()?)),
        "setget" => {
            let (set, get) = peers::set_and_get(kind, addr, seconds)?;
            say(&format!("result {} {}", set.words()?, get.words()?));
        }
        "values" => {
            let (watched, asked_for) = peers::values(kind, addr, amount as u64, seconds)?;
            let times = watched.len();
            let median = |times: Vec<Duration>| Spread::of(times.iter().map(Duration::as_secs_f64));
            let nanos = |spread: Option<Spread>| spread.map_or(0.0, |spread| spread.median * 1e9);
            say(&format!("result {times} {} {}", nanos(median(watched)), nanos(median(asked_for))));
        }
        _ => {
            let holding = role.strip_prefix("idle-").and_then(Holding::from_word);
            let holding = holding.ok_or_else(|| io::Error::other(format!("no role is called `{role}`")))?;
            process::raise_open_files()?;
            peers::idle(kind, addr, amount, holding, |elapsed| {
                say(&format!("connected {}", elapsed.as_nanos()));
                Ok(())
            })?;
        }
    }
    Ok(())
}

fn parse(words: &[&str]) -> Result<Options, String> {
    let mut options = Options {
        passes: 5,
        seconds: Duration::from_secs(2),
        peers: Vec::new(),
        workloads: Workload::ALL.to_vec(),
        json: None,
        folder: env::temp_dir(),
    };
    let mut words = words.iter();
    while let Some(option) = words.next() {
        let value = words.next().ok_or_else(|| format!("`{option}` needs a value"))?;
        let wrong = || format!("`{option}` cannot be `{value}`");
        match *option {
            "--passes" => {
                options.passes =
                    value.parse().ok().filter(|passes| (1..=PASSES_MAX).contains(passes)).ok_or_else(wrong)?;
            }
            "--seconds" => {
                let seconds = value.parse().ok().filter(|seconds| (0.1..=SECONDS_MAX).contains(seconds));
                options.seconds = Duration::from_secs_f64(seconds.ok_or_else(wrong)?);
            }
            "--peers" => {
                options.peers = value.split(',').map(str::to_owned).collect();
                if options.peers.iter().any(|kind| !Peer::KINDS.contains(&kind.as_str())) {
                    return Err(wrong());
                }
            }
            "--folder" => options.folder = PathBuf::from(value),
            "--rows" => {
                let rows = value.split(',').map(|row| Workload::from_name(row).ok_or_else(wrong));
                options.workloads = rows.collect::<Result<_, _>>()?;
            }
            "--json" => options.json = Some((*value).to_owned()),
            _ => return Err(format!("`{option}` is unknown")),
        }
    }
    Ok(options)
}

fn compare(options: &Options) -> io::Result<()> {
    let peers = Peer::available(&options.peers);
    if peers.is_empty() {
        return Err(io::Error::other(format!("none of `{}` is installed", options.peers.join(", "))));
    }
    let wanted = |kind: &str| options.peers.is_empty() || options.peers.iter().any(|wanted| wanted == kind);
    let missing = Peer::KINDS.into_iter().filter(|kind| wanted(kind) && peers.iter().all(|peer| peer.kind() != *kind));
    let missing: Vec<String> =
        missing.map(|kind| format!("skipped: {kind} is not installed; see bench/README.md")).collect();
    let disk = format!("kept in {}: {}", options.folder.display(), process::disk(&options.folder));
    let mut json = options.json.as_ref().map(File::create).transpose()?;
    let measured = peers.iter().map(Peer::label).collect::<Vec<_>>().join(", ");
    let passes = format!("{} passes of {} s, peers interleaved", options.passes, options.seconds.as_secs_f64());
    for fact in process::machine().into_iter().chain([disk, format!("measured: {measured}"), passes]).chain(missing) {
        println!("- {fact}");
    }
    let progress = io::stderr().is_terminal();
    let mut results = Vec::new();
    for pass in 1..=options.passes {
        for &workload in &options.workloads {
            for peer in peers.iter().filter(|peer| peer.can(workload)) {
                if progress {
                    eprint!("{CLEAR_LINE}pass {pass} of {}: {} {}", options.passes, workload.name(), peer.label());
                }
                let figures = measure::measure(peer, workload, options.seconds, &options.folder)
                    .map_err(|error| io::Error::other(format!("{} {}: {error}", peer.label(), workload.name())))?;
                for figure in figures {
                    if let Some(file) = &mut json {
                        writeln!(file, "{}", report::json(peer, pass, &figure))?;
                    }
                    results.push((peer, pass, figure));
                }
            }
        }
    }
    if progress {
        eprint!("{CLEAR_LINE}");
    }
    print!("\n{}", report::table(&peers, &results));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_chosen_by_size_or_name() {
        let options = parse(&["--rows", "16,echo,calls64", "--passes", "3", "--seconds", "0.5"])
            .unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(options.workloads, [Workload::Events(16), Workload::Echo, Workload::Calls(64)]);
        assert_eq!((options.passes, options.seconds), (3, Duration::from_millis(500)));
    }

    #[test]
    fn what_cannot_be_measured_is_refused_by_name() {
        for (words, problem) in [
            (["--rows", "8"], "`--rows` cannot be `8`"),
            (["--passes", "0"], "`--passes` cannot be `0`"),
            (["--seconds", "nan"], "`--seconds` cannot be `nan`"),
            (["--peers", "floor,abacus"], "`--peers` cannot be `floor,abacus`"),
            (["--speed", "9"], "`--speed` is unknown"),
        ] {
            assert_eq!(parse(&words).err().as_deref(), Some(problem));
        }
    }
}
