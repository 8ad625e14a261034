//! `convoke demo`: a hub in memory, a few small programs, and what each of them sees. It shows what the verbs do, in the
//! order in which one would try them.

use std::process::ExitCode;
use std::time::Instant;

use convoke::{Event, Hub, HubOptions, Missed, Node, NodeOptions, Subscription};
use serde::Serialize;

use crate::exit::{Exit, Failure};
use crate::output::{self, Reader};
use crate::signals::Signals;
use crate::{duration, render};

/// Where the demo's hub is, inside this process only.
const ADDRESS: &str = "mem://demo";

/// Events in a burst: enough to be impressive, and all of it fits into a subscription's buffer.
const BURST: u64 = 10_000;

/// What the slow program keeps of a burst, in bytes: far less than there is of it.
const SLOW_BYTES_MAX: usize = 64 << 10;

/// What closing a press says.
#[derive(Serialize)]
struct Opened {
    force: f64,
}

pub(crate) async fn run(json: bool, signals: &Signals) -> Result<ExitCode, Failure> {
    let hub = Hub::start(HubOptions::listen([ADDRESS])).await?;
    let stage = Stage { json };
    let ended = tokio::select! {
        ended = play(&stage) => ended,
        signal = signals.received() => Ok(signal.exit_code()),
    };
    hub.stop().await;
    ended
}

async fn play(stage: &Stage) -> Result<ExitCode, Failure> {
    stage.says("hub", "starts, in memory, for this demo alone")?;
    let press = Node::connect(ADDRESS, "press-1").await?;
    let panel = Node::connect(ADDRESS, "panel").await?;
    stage.says("press-1", "joins")?;
    stage.says("panel", "joins; neither knows where the other is, only how things are called")?;

    let mut opened = panel.subscribe("press/+/opened").await?;
    stage.says("panel", "subscribes to `press/+/opened`; `+` stands for any one word")?;
    press.publish("press/1/opened", &Opened { force: 12.5 }).await?;
    let nodes = press.confirm().await?;
    stage.says("press-1", &format!("publishes on `press/1/opened`; the hub says that it went to {nodes} node"))?;
    let event = event(&mut opened).await?;
    stage.says("panel", &format!("sees {} from {}", render::line(&event), event.publisher()))?;
    press.publish("press/1/closed", &true).await?;
    stage.says("press-1", "publishes on `press/1/closed`, which nobody asked for: nobody gets it")?;

    burst(stage, &press, &panel).await?;
    loss(stage, &press).await?;

    let time = panel.ping(Some("press-1")).await?;
    stage.says("panel", &format!("asks press-1 for a sign of life; it answers in {}", duration::shown(time)))?;
    panel.leave().await;
    press.leave().await;
    stage.says("hub", "stops; now try it yourself, with a `convoke hub` in a terminal of its own:")?;
    stage.says("you", "convoke subscribe 'press/#'")?;
    stage.says("you", "convoke publish press/1/opened '{\"force\": 12.5}'")?;
    Ok(ExitCode::SUCCESS)
}

/// Many events, all of them, in order.
async fn burst(stage: &Stage, press: &Node, panel: &Node) -> Result<(), Failure> {
    let mut parts = panel.subscribe("press/1/part").await?;
    let started = Instant::now();
    for part in 0..BURST {
        press.publish("press/1/part", &part).await?;
    }
    let mut last = 0;
    for _ in 0..BURST {
        let event = event(&mut parts).await?;
        if event.seq <= last {
            return Err(wrong("an event came out of order"));
        }
        last = event.seq;
    }
    let time = duration::shown(started.elapsed());
    stage.says("panel", &format!("sees {BURST} parts, all of them and in the order they were made, in {time}"))
}

/// A program that does not read in time is told what it lost.
async fn loss(stage: &Stage, press: &Node) -> Result<(), Failure> {
    let mut options = NodeOptions::new("slow");
    options.subscription_bytes_max = SLOW_BYTES_MAX;
    let slow = Node::connect_with(ADDRESS, options).await?;
    let mut parts = slow.subscribe("press/1/part").await?;
    stage.says("slow", &format!("joins, subscribes, and sleeps while {BURST} more parts are made"))?;
    for part in 0..BURST {
        press.publish("press/1/part", &part).await?;
    }
    press.confirm().await?;
    slow.barrier().await?;
    let (mut seen, mut lost) = (0, 0);
    while seen + lost < BURST {
        match parts.next().await {
            Some(Ok(_)) => seen += 1,
            Some(Err(Missed::Lagged(count))) => lost += count,
            Some(Err(other)) => return Err(wrong(&other.to_string())),
            None => return Err(wrong("the subscription ended")),
        }
    }
    stage.says(
        "slow",
        &format!("wakes and is told that it lost {lost}; the {seen} newest are there, and nobody else waited"),
    )?;
    drop(parts);
    slow.leave().await;
    Ok(())
}

async fn event(subscription: &mut Subscription) -> Result<Event, Failure> {
    match subscription.next().await {
        Some(Ok(event)) => Ok(event),
        Some(Err(missed)) => Err(wrong(&missed.to_string())),
        None => Err(wrong("the subscription ended")),
    }
}

/// In memory and alone, nothing may be missing.
fn wrong(what: &str) -> Failure {
    Failure::new(Exit::Bug, "Bug", format!("this is a bug in convoke: {what}"))
}

/// Where the programs of the demo say what they do.
struct Stage {
    json: bool,
}

#[derive(Serialize)]
struct Said<'a> {
    program: &'a str,
    says: &'a str,
}

impl Stage {
    fn says(&self, program: &str, says: &str) -> Result<(), Failure> {
        let line = match self.json {
            true => render::json(&Said { program, says }),
            false => format!("{program:<8} {says}"),
        };
        // A reader that has seen enough misses nothing.
        match output::say(&line)? {
            Reader::Reading | Reader::Gone => Ok(()),
        }
    }
}
