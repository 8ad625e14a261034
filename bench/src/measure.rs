//! Passes, and what is made of them: a row's figures come from interleaved passes, as median and spread.

use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::peers::{Holding, Keeps, Peer};
use crate::process::{self, Folder, Role};
use crate::workload::{ACKNOWLEDGED_IN_FLIGHT, PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_MIN, SILENCE_MAX};

/// Values of the table's row.
const VALUES: usize = 100_000;

/// Commands of the table's row.
const COMMANDS: usize = 1_000_000;

/// More would not fit the memory of a small machine.
const VALUES_MAX: usize = 10_000_000;

/// Links of the table's row.
const IDLE_LINKS: usize = 1000;

/// More than a system has ports for.
const IDLE_LINKS_MAX: usize = 28_000;

/// More threads than the cheapest client has any use for.
const FOLLOWERS_MAX: usize = 1000;

/// More than a hub lets one caller have.
const IN_FLIGHT_MAX: usize = 4096;

/// How long a hub or a client may take to be there.
const START_MAX: Duration = Duration::from_secs(10);

/// How long idle links are given to settle before the hub's memory is looked at.
const SETTLE: Duration = Duration::from_millis(500);

/// How long making many values may take, or opening many links, before anything is measured.
const PREPARE_MAX: Duration = Duration::from_secs(120);

/// What one measurement does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Workload {
    /// One publisher, one subscriber, payloads of this many bytes.
    Events(usize),
    /// The same, and the subscriber is the only member of a group.
    Group(usize),
    /// One message in flight, there and back.
    Echo,
    /// One caller, one provider, this many calls in flight.
    Calls(usize),
    /// Durable sets, this many in flight.
    Sets(usize),
    /// Durable commands of a journal, this many in flight.
    Commands(usize),
    /// A journal of this many commands: who comes late, who undoes, and the start of the hub.
    Journal(usize),
    /// Durable commands that count when this many followers have all acknowledged them.
    Followers(usize),
    /// This many values, and somebody who comes late.
    Values(usize),
    /// One key, set and read, one request in flight; the hub keeps it in memory.
    SetAndGet,
    /// This many links that do nothing.
    Idle(usize),
}

impl Workload {
    /// All of them, in the table's order.
    pub(crate) const ALL: [Self; 21] = [
        Self::Events(16),
        Self::Events(128),
        Self::Events(1 << 10),
        Self::Events(PAYLOAD_BYTES_MAX),
        Self::Group(128),
        Self::Echo,
        Self::Calls(1),
        Self::Calls(64),
        Self::Calls(256),
        Self::Sets(1),
        Self::Sets(64),
        Self::Sets(256),
        Self::Commands(1),
        Self::Commands(64),
        Self::Commands(256),
        Self::Journal(COMMANDS),
        Self::Followers(10),
        Self::Followers(100),
        Self::SetAndGet,
        Self::Values(VALUES),
        Self::Idle(IDLE_LINKS),
    ];

    /// What a person calls it on the command line.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Events(size) => size.to_string(),
            Self::Group(size) => format!("group{size}"),
            Self::Echo => "echo".to_owned(),
            Self::Calls(in_flight) => format!("calls{in_flight}"),
            Self::Sets(in_flight) => format!("sets{in_flight}"),
            Self::Commands(in_flight) => format!("commands{in_flight}"),
            Self::Journal(COMMANDS) => "journal".to_owned(),
            Self::Journal(count) => format!("journal{count}"),
            Self::Followers(count) => format!("followers{count}"),
            Self::Values(VALUES) => "values".to_owned(),
            Self::Values(count) => format!("values{count}"),
            Self::SetAndGet => "setget".to_owned(),
            Self::Idle(IDLE_LINKS) => "idle".to_owned(),
            Self::Idle(count) => format!("idle{count}"),
        }
    }

    /// Understands what a person calls it. Other sizes and numbers than the table's are welcome.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        match name {
            "echo" => return Some(Self::Echo),
            "setget" => return Some(Self::SetAndGet),
            "journal" => return Some(Self::Journal(COMMANDS)),
            "values" => return Some(Self::Values(VALUES)),
            "idle" => return Some(Self::Idle(IDLE_LINKS)),
            _ => {}
        }
        let digits = name.trim_start_matches(|character: char| character.is_ascii_lowercase());
        let number = digits.parse().ok()?;
        let within = |max: usize| (1..=max).contains(&number);
        match &name[..name.len() - digits.len()] {
            "" => (PAYLOAD_BYTES_MIN..=PAYLOAD_BYTES_MAX).contains(&number).then_some(Self::Events(number)),
            "group" => (PAYLOAD_BYTES_MIN..=PAYLOAD_BYTES_MAX).contains(&number).then_some(Self::Group(number)),
            "calls" => within(IN_FLIGHT_MAX).then_some(Self::Calls(number)),
            "sets" => within(IN_FLIGHT_MAX).then_some(Self::Sets(number)),
            "commands" => within(IN_FLIGHT_MAX).then_some(Self::Commands(number)),
            "journal" => within(VALUES_MAX).then_some(Self::Journal(number)),
            "followers" => within(FOLLOWERS_MAX).then_some(Self::Followers(number)),
            "values" => within(VALUES_MAX).then_some(Self::Values(number)),
            "idle" => within(IDLE_LINKS_MAX).then_some(Self::Idle(number)),
            _ => None,
        }
    }

    /// What the hub must keep.
    fn keeps(self) -> Keeps {
        match self {
            Self::Events(_) | Self::Group(_) | Self::Echo | Self::Calls(_) | Self::Idle(_) => Keeps::Nothing,
            Self::Sets(_) | Self::Commands(_) | Self::Journal(_) | Self::Followers(_) => Keeps::OnDisk,
            Self::Values(_) | Self::SetAndGet => Keeps::InMemory,
        }
    }
}

/// What a figure counts, and so how it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// More is better.
    PerSecond,
    /// Less is better, here and below.
    Micros,
    /// Milliseconds.
    Millis,
    /// Memory.
    Kibibytes,
    /// Of one core, in hundredths.
    Percent,
}

/// One figure of one pass.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Figure {
    /// The table's row.
    pub(crate) row: String,
    /// What `value` is in.
    pub(crate) unit: Unit,
    /// The figure.
    pub(crate) value: f64,
    /// Processor time of the hub for each message, call or set it took in, in microseconds, where that is counted.
    pub(crate) hub_micros: Option<f64>,
}

impl Figure {
    fn new(row: impl Into<String>, unit: Unit, value: f64, hub_micros: Option<f64>) -> Self {
        Self { row: row.into(), unit, value, hub_micros }
    }
}

/// A hub that runs, and who can be sent to it.
struct Run<'a> {
    peer: &'a Peer,
    seconds: Duration,
    folder: &'a str,
    addr: String,
    pid: u32,
    /// Ended when this is dropped.
    _hub: Role,
}

impl<'a> Run<'a> {
    fn start(peer: &'a Peer, keeps: Keeps, seconds: Duration, folder: &'a str) -> io::Result<Self> {
        let hub = Role::start("the hub", &["serve", peer.kind(), peer.program(), keeps.word(), folder])?;
        let listening = hub.says("listening", START_MAX)?;
        let [addr, pid] = listening.as_slice() else { return Err(io::Error::other("the hub told no address")) };
        let (addr, pid) = (addr.clone(), pid.parse().map_err(io::Error::other)?);
        Ok(Self { peer, seconds, folder, addr, pid, _hub: hub })
    }

    /// A client in a process of its own; `amount` is a size, a number in flight, or whatever else its role needs.
    fn client(&self, role: &str, amount: &str) -> io::Result<Role> {
        let millis = self.seconds.as_millis().to_string();
        Role::start(role, &["client", role, self.peer.kind(), &self.addr, amount, &millis, self.folder])
    }

    /// The longest that a client may take: it needs its time, what is under way to come to its end, and every wait of its
    /// own is bounded by the silence.
    fn within(&self) -> Duration {
        self.seconds + SILENCE_MAX + START_MAX
    }

    fn cpu_time(&self) -> io::Result<Duration> {
        process::cpu_time(self.pid)
    }
}

/// One measurement with a fresh hub; hub and clients are processes of their own. What must be kept, is in `parent`.
pub(crate) fn measure(peer: &Peer, workload: Workload, seconds: Duration, parent: &Path) -> io::Result<Vec<Figure>> {
    if let Workload::Idle(count) = workload {
        let mut figures = Vec::new();
        for holding in Holding::ALL.into_iter().filter(|holding| peer.can_hold(*holding)) {
            let folder = Folder::make(parent)?;
            figures.extend(idle(&Run::start(peer, Keeps::Nothing, seconds, folder.path())?, count, holding)?);
        }
        return Ok(figures);
    }
    let folder = Folder::make(parent)?;
    let run = Run::start(peer, workload.keeps(), seconds, folder.path())?;
    match workload {
        Workload::Events(size) => events(&run, size, "subscribe"),
        Workload::Group(size) => events(&run, size, "share"),
        Workload::Echo => echo(&run),
        Workload::Calls(in_flight) => calls(&run, in_flight),
        Workload::Sets(in_flight) => durable(&run, in_flight, "set"),
        Workload::Commands(in_flight) => durable(&run, in_flight, "command"),
        Workload::Journal(count) => journal(run, count),
        Workload::Followers(count) => followers(&run, count),
        Workload::Values(count) => values(&run, count),
        Workload::SetAndGet => set_and_get(&run),
        Workload::Idle(_) => unreachable!("handled above"),
    }
}

fn events(run: &Run<'_>, size: usize, role: &str) -> io::Result<Vec<Figure>> {
    let subscriber = run.client(role, &size.to_string())?;
    subscriber.says("ready", START_MAX)?;
    let before = run.cpu_time()?;
    let publisher = run.client("publish", &size.to_string())?;
    let published = numbers(&publisher.says("result", run.within())?)?;
    let received = numbers(&subscriber.says("result", run.within())?)?;
    let used = run.cpu_time()?.saturating_sub(before);
    match (published.as_slice(), received.as_slice()) {
        (&[sent], &[received, nanos]) if sent == received && nanos > 0.0 => {
            let cost = per_message(used, received);
            let how = if role == "share" { " to a group" } else { "" };
            let row = format!("1→1{how}, {}", bytes(size));
            Ok(vec![Figure::new(row, Unit::PerSecond, received / nanos * 1e9, cost)])
        }
        _ => Err(io::Error::other(format!("published {published:?}, received {received:?}"))),
    }
}

fn echo(run: &Run<'_>) -> io::Result<Vec<Figure>> {
    let subscriber = run.client("echo", "")?;
    subscriber.says("ready", START_MAX)?;
    let before = run.cpu_time()?;
    let publisher = run.client("ping", "")?;
    let result = numbers(&publisher.says("result", run.within())?)?;
    subscriber.says("result", run.within())?;
    let used = run.cpu_time()?.saturating_sub(before);
    let &[rounds, p50, p99] = result.as_slice() else { return Err(not_understood(&result)) };
    // A round trip is two messages.
    let cost = per_message(used, rounds * 2.0);
    let row = |row: &str, nanos: f64| Figure::new(row, Unit::Micros, nanos / 1e3, cost);
    Ok(vec![row("echo p50", p50), row("echo p99", p99)])
}

fn calls(run: &Run<'_>, in_flight: usize) -> io::Result<Vec<Figure>> {
    let provider = run.peer.has_provider().then(|| run.client("answer", "")).transpose()?;
    if let Some(provider) = &provider {
        provider.says("ready", START_MAX)?;
    }
    let before = run.cpu_time()?;
    let result = numbers(&run.client("call", &in_flight.to_string())?.says("result", run.within())?)?;
    let used = run.cpu_time()?.saturating_sub(before);
    let &[count, nanos, p50, p99] = result.as_slice() else { return Err(not_understood(&result)) };
    let cost = per_message(used, count);
    Ok(if in_flight == 1 {
        let row = |row: &str, nanos: f64| Figure::new(row, Unit::Micros, nanos / 1e3, cost);
        vec![row("call p50", p50), row("call p99", p99)]
    } else {
        vec![Figure::new(format!("calls, {in_flight} in flight"), Unit::PerSecond, count / nanos * 1e9, cost)]
    })
}

/// Sets or commands, which have roles of these names.
fn durable(run: &Run<'_>, in_flight: usize, what: &str) -> io::Result<Vec<Figure>> {
    let before = run.cpu_time()?;
    let result = numbers(&run.client(what, &in_flight.to_string())?.says("result", run.within())?)?;
    let used = run.cpu_time()?.saturating_sub(before);
    let &[count, nanos, p50, _] = result.as_slice() else { return Err(not_understood(&result)) };
    let hub = *run.peer != Peer::Floor;
    let cost = if hub { per_message(used, count) } else { None };
    let mut figures = vec![Figure::new(
        format!("durable {what}s, {in_flight} in flight"),
        Unit::PerSecond,
        count / nanos * 1e9,
        cost,
    )];
    if in_flight == 1 {
        figures.push(Figure::new(format!("durable {what} p50"), Unit::Micros, p50 / 1e3, cost));
    }
    Ok(figures)
}

fn values(run: &Run<'_>, count: usize) -> io::Result<Vec<Figure>> {
    let client = run.client("values", &count.to_string())?;
    let result = numbers(&client.says("result", run.within() + PREPARE_MAX)?)?;
    let &[_, watched, asked_for] = result.as_slice() else { return Err(not_understood(&result)) };
    let row = |how: &str, nanos: f64| {
        Figure::new(format!("{} values, {how}", thousands(count)), Unit::Millis, nanos / 1e6, None)
    };
    let mut figures = vec![row("watched", watched)];
    if asked_for > 0.0 {
        figures.push(row("asked for", asked_for));
    }
    Ok(figures)
}

fn journal(run: Run<'_>, count: usize) -> io::Result<Vec<Figure>> {
    let client = |role: &str, run: &Run<'_>| {
        numbers(&run.client(role, &count.to_string())?.says("result", run.within() + PREPARE_MAX)?)
    };
    client("fill", &run)?;
    let result = client("catch-up", &run)?;
    let &[nanos] = result.as_slice() else { return Err(not_understood(&result)) };
    let row = |what: &str| format!("{} commands: {what}", thousands(count));
    let mut figures = vec![Figure::new(row("all of them, late"), Unit::Millis, nanos / 1e6, None)];
    if *run.peer == Peer::Convoke {
        let result = client("undo", &run)?;
        let &[_, _, p50, p99] = result.as_slice() else { return Err(not_understood(&result)) };
        figures.push(Figure::new(row("undo p50"), Unit::Micros, p50 / 1e3, None));
        figures.push(Figure::new(row("undo p99"), Unit::Micros, p99 / 1e3, None));
        let Run { peer, seconds, folder, addr: _, pid: _, _hub } = run;
        // It is killed.
        drop(_hub);
        let started = Instant::now();
        let _again = Run::start(peer, Keeps::OnDisk, seconds, folder)?;
        figures.push(Figure::new(row("start after a kill"), Unit::Millis, started.elapsed().as_secs_f64() * 1e3, None));
    }
    Ok(figures)
}

/// Commands that count when all who follow the journal have acknowledged them.
fn followers(run: &Run<'_>, count: usize) -> io::Result<Vec<Figure>> {
    let followers = run.client("follow", &count.to_string())?;
    followers.says("ready", START_MAX)?;
    let before = run.cpu_time()?;
    let result = numbers(&run.client("acknowledged", &count.to_string())?.says("result", run.within())?)?;
    let used = run.cpu_time()?.saturating_sub(before);
    let &[commands, nanos, p50, _] = result.as_slice() else { return Err(not_understood(&result)) };
    let cost = per_message(used, commands);
    let row = |what: &str| format!("applied by {count} followers, {ACKNOWLEDGED_IN_FLIGHT} in flight: {what}");
    Ok(vec![
        Figure::new(row("commands"), Unit::PerSecond, commands / nanos * 1e9, cost),
        Figure::new(row("p50"), Unit::Micros, p50 / 1e3, cost),
    ])
}

fn set_and_get(run: &Run<'_>) -> io::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    let mut measure = |kind: &str, suffix: &str| {
        let millis = run.seconds.as_millis().to_string();
        let client = Role::start("setget", &["client", "setget", kind, &run.addr, "", &millis, ""])?;
        let result = numbers(&client.says("result", run.within())?)?;
        let &[_, _, set, _, _, _, get, _] = result.as_slice() else { return Err(not_understood(&result)) };
        figures.push(Figure::new(format!("set p50{suffix}"), Unit::Micros, set / 1e3, None));
        figures.push(Figure::new(format!("get p50{suffix}"), Unit::Micros, get / 1e3, None));
        Ok(())
    };
    measure(run.peer.kind(), "")?;
    if *run.peer == Peer::Convoke {
        measure("convoke-in-process", ", in process")?;
    }
    Ok(figures)
}

fn idle(run: &Run<'_>, count: usize, holding: Holding) -> io::Result<Vec<Figure>> {
    let before = process::memory(run.pid)?;
    let links = run.client(&format!("idle-{}", holding.word()), &count.to_string())?;
    let result = numbers(&links.says("connected", PREPARE_MAX)?)?;
    let &[nanos] = result.as_slice() else { return Err(not_understood(&result)) };
    thread::sleep(SETTLE);
    let after = process::memory(run.pid)?;
    let used = run.cpu_time()?;
    thread::sleep(run.seconds);
    let used = run.cpu_time()?.saturating_sub(used);
    let row = |what: &str| {
        let with = match holding {
            Holding::Nothing => "",
            Holding::Subscription => ", subscribed",
            Holding::Watch => ", watching",
        };
        format!("{} idle links{with}: {what}", thousands(count))
    };
    let each = after.saturating_sub(before) as f64 / 1024.0 / count as f64;
    let mut figures = vec![Figure::new(row("memory of each"), Unit::Kibibytes, each, None)];
    if holding == Holding::Nothing {
        figures.push(Figure::new(row("connects"), Unit::PerSecond, count as f64 / nanos * 1e9, None));
    }
    let busy = used.as_secs_f64() / run.seconds.as_secs_f64() * 100.0;
    figures.push(Figure::new(row("processor"), Unit::Percent, busy, None));
    Ok(figures)
}

fn numbers(words: &[String]) -> io::Result<Vec<f64>> {
    words.iter().map(|word| word.parse().map_err(io::Error::other)).collect()
}

fn not_understood(result: &[f64]) -> io::Error {
    io::Error::other(format!("a client told {result:?}"))
}

fn per_message(used: Duration, messages: f64) -> Option<f64> {
    Some(used.as_secs_f64() * 1e6 / messages)
}

/// `64 KiB`, `16 B`.
fn bytes(size: usize) -> String {
    if size.is_multiple_of(1024) { format!("{} KiB", size / 1024) } else { format!("{size} B") }
}

/// `100,000`.
fn thousands(number: usize) -> String {
    if number < 1000 { number.to_string() } else { format!("{},{:03}", thousands(number / 1000), number % 1000) }
}

/// Several passes of one figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    /// The middle one; with an even number of passes, the mean of the two in the middle.
    pub(crate) median: f64,
    /// The smallest.
    pub(crate) min: f64,
    /// The largest.
    pub(crate) max: f64,
}

impl Spread {
    /// The spread of `values`, unless there are none.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (&min, &max) = (values.first()?, values.last()?);
        let upper = values.len() / 2;
        let lower = (values.len() - 1) / 2;
        Some(Self { median: f64::midpoint(values[lower], values[upper]), min, max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_odd_number_of_passes_is_one_of_them() {
        assert_eq!(Spread::of([3.0, 1.0, 100.0]), Some(Spread { median: 3.0, min: 1.0, max: 100.0 }));
    }

    #[test]
    fn the_median_of_an_even_number_of_passes_is_between_two() {
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 8.0]), Some(Spread { median: 3.0, min: 1.0, max: 8.0 }));
    }

    #[test]
    fn one_pass_has_no_width_and_none_has_no_figure() {
        assert_eq!(Spread::of([5.0]), Some(Spread { median: 5.0, min: 5.0, max: 5.0 }));
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn every_row_of_the_table_is_understood_by_its_name() {
        for workload in Workload::ALL {
            assert_eq!(Workload::from_name(&workload.name()), Some(workload));
        }
        assert_eq!(Workload::from_name("calls8"), Some(Workload::Calls(8)));
        for name in ["calls0", "calls", "8", "sets1x", "speed1"] {
            assert_eq!(Workload::from_name(name), None, "{name}");
        }
    }

    #[test]
    fn large_numbers_are_written_with_commas() {
        assert_eq!([8, 1000, 100_000, 1_000_001].map(thousands), ["8", "1,000", "100,000", "1,000,001"]);
    }

    #[test]
    fn sizes_are_written_as_people_say_them() {
        assert_eq!([16, 128, 1 << 10, 64 << 10].map(bytes), ["16 B", "128 B", "1 KiB", "64 KiB"]);
    }
}
