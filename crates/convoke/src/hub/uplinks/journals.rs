//! Journals on their way from one hub to another: followed there, appended here, in the order of the hub that they come from.
//!
//! Where to go on is asked of the journal that they go to, at each beginning; what an uplink itself remembers only spares it
//! from handing over what is known already.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use convoke_core::frame::{Brought, Carried, Commands, Terms};
use convoke_core::journal::{Deed, Entry, Origin, Strategy};
use convoke_core::report::{FOLLOWERS, JOURNALS, OriginsReport, origins_report};
use convoke_core::{Code, Name, Pattern, Payload};
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use tokio::task::JoinSet;

use super::{RETRY, Uplink, Way};
use crate::error::Error;
use crate::node::{Missed, Node};

/// Entries that are handed over before the first of them is answered. The next hub keeps them together.
const UNDER_WAY_MAX: usize = 256;

/// The same, in bytes of commands; one is always let in.
const UNDER_WAY_BYTES_MAX: usize = 4 << 20;

/// After so many entries that need not be handed over the other hub is told so, so that they are not looked at again.
const PASSED_BY_MAX: u64 = 1024;

/// How often it is looked how much is behind, and which journals there are that a pattern matches.
const LOOK: Duration = Duration::from_secs(2);

/// What is known of one journal at both hubs.
#[derive(Default)]
struct Known {
    near: Mutex<Side>,
    far: Mutex<Side>,
    /// One of the ways has found that the two hubs know different histories: nothing goes either way.
    diverged: Mutex<Option<Way>>,
}

/// What is known of a journal at one hub.
#[derive(Default)]
struct Side {
    last: u64,
    hubs: BTreeMap<[u8; 16], u64>,
}

impl Known {
    fn from(&self, way: Way) -> &Mutex<Side> {
        if way == Way::Out { &self.near } else { &self.far }
    }

    fn to(&self, way: Way) -> &Mutex<Side> {
        if way == Way::Out { &self.far } else { &self.near }
    }
}

impl Side {
    fn learn(&mut self, hub: [u8; 16], seq: u64) {
        let known = self.hubs.entry(hub).or_default();
        *known = (*known).max(seq);
    }
}

fn lock(side: &Mutex<Side>) -> std::sync::MutexGuard<'_, Side> {
    side.lock().expect("nothing in it panics")
}

/// Passes on all journals that were chosen, for ever.
pub(super) async fn carry_all(uplink: &Arc<Uplink>) {
    let mut under_way = JoinSet::new();
    let mut begun = BTreeSet::new();
    let patterns = uplink.options.journals.iter().map(|text| Pattern::parse(text).expect("it was checked"));
    let patterns: Vec<Pattern> = patterns.collect();
    let mut begin = |journal: Name| {
        if begun.insert(journal.clone()) {
            let known = Arc::new(Known::default());
            for way in [Way::Out, Way::In] {
                if uplink.wants(way) {
                    under_way.spawn(keep_carrying(uplink.clone(), way, journal.clone(), known.clone()));
                }
            }
        }
    };
    patterns.iter().filter_map(Pattern::as_name).for_each(&mut begin);
    let open: Vec<&Pattern> = patterns.iter().filter(|pattern| pattern.as_name().is_none()).collect();
    while !open.is_empty() {
        for (way, node) in [(Way::Out, &uplink.near), (Way::In, &uplink.far)] {
            if uplink.wants(way) {
                let about = format!("journals {way}");
                match journals_at(node, &open).await {
                    Ok(journals) => {
                        uplink.tally.goes(&about);
                        journals.into_iter().for_each(&mut begin);
                    }
                    Err(error) if error.code() == Code::Offline => {}
                    Err(error) => uplink.tally.trouble(&about, &error.to_string()),
                }
            }
        }
        tokio::time::sleep(LOOK).await;
    }
    // Dropping it would end them.
    while under_way.join_next().await.is_some() {}
}

/// The journals of a hub that match any of these.
async fn journals_at(node: &Node, patterns: &[&Pattern]) -> Result<Vec<Name>, Error> {
    let mut found = Vec::new();
    for pattern in patterns {
        let ends = if pattern.as_str().ends_with('#') { "" } else { FOLLOWERS };
        for value in node.values(format!("{JOURNALS}{pattern}{ends}")).await? {
            let name = value.name.as_str().strip_prefix(JOURNALS).and_then(|rest| rest.strip_suffix(FOLLOWERS));
            let name = name.and_then(|name| Name::parse(name).ok());
            found.extend(name.filter(|name| pattern.matches(name)));
        }
    }
    Ok(found)
}

impl Uplink {
    fn wants(&self, way: Way) -> bool {
        match way {
            Way::Out => self.options.direction.goes_out(),
            Way::In => self.options.direction.comes_in(),
        }
    }

    fn nodes(&self, way: Way) -> (&Node, &Node) {
        match way {
            Way::Out => (&self.near, &self.far),
            Way::In => (&self.far, &self.near),
        }
    }
}

/// Passes one journal on in one direction, and begins again whenever something is in the way.
async fn keep_carrying(uplink: Arc<Uplink>, way: Way, journal: Name, known: Arc<Known>) {
    let about = format!("journal `{journal}` {way}");
    let mut told_behind = 0;
    loop {
        let mut carrying = match Carrying::begin(&uplink, way, &journal, &known).await {
            Ok(carrying) => carrying,
            Err(why) => {
                uplink.tally.trouble(&about, &why);
                tokio::time::sleep(RETRY).await;
                continue;
            }
        };
        carrying.told_behind = told_behind;
        let why = carrying.run(|| uplink.tally.goes(&about)).await;
        // What is still on its way may have an effect: where to go on is asked behind it.
        while carrying.answers.next().await.is_some() {}
        carrying.look().await;
        told_behind = carrying.told_behind;
        if let Some(why) = why {
            uplink.tally.trouble(&about, &why);
            tokio::time::sleep(RETRY).await;
        }
    }
}

/// What comes of one that was handed over.
struct Answer {
    result: Result<u64, Error>,
    place: u64,
    bytes: usize,
    count: u64,
    origin: Option<Origin>,
    back: bool,
}

/// Which hub, and which of its starts.
type Start = ([u8; 16], u64);

type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// One journal on its way in one direction.
struct Carrying<'a> {
    uplink: &'a Uplink,
    way: Way,
    journal: &'a Name,
    known: &'a Known,
    /// Which starts of the two hubs these are.
    starts: (Option<Start>, Option<Start>),
    from: [u8; 16],
    to: [u8; 16],
    /// Everything up to here has been handed over or is known, and what of that is answered.
    handed: u64,
    answered: u64,
    /// So many of the last ones were not handed over, and where and what the last of those is.
    passed_by: u64,
    passed: (u64, [u8; 16]),
    strategy: Option<Strategy>,
    /// The entry at `handed`.
    hash: [u8; 16],
    answers: FuturesOrdered<Answering>,
    bytes: usize,
    told_behind: u64,
}

impl<'a> Carrying<'a> {
    /// Asks where to go on.
    async fn begin(uplink: &'a Uplink, way: Way, journal: &'a Name, known: &'a Known) -> Result<Carrying<'a>, String> {
        let (from, to) = uplink.nodes(way);
        let wait = async |node: &Node| loop {
            match node.ready().await {
                Ok(()) => break,
                Err(_) => tokio::time::sleep(RETRY).await,
            }
        };
        wait(from).await;
        wait(to).await;
        while from.hub().map(|(hub, _)| hub) == to.hub().map(|(hub, _)| hub) {
            // It leads to this hub itself, which is told of the whole uplink.
            tokio::time::sleep(RETRY).await;
        }
        let report = report_of(to, journal).await?;
        let starts = (from.hub(), to.hub());
        let (Some((from, _)), Some((to, _))) = starts else { return Err("the link was cut".into()) };
        let come = report.hubs.get(&hex(&from)).cloned().unwrap_or_default();
        {
            let mut side = lock(known.to(way));
            *side = Side { last: report.last, hubs: BTreeMap::new() };
            for (hub, come) in &report.hubs {
                if let Some(hub) = from_hex(hub) {
                    side.learn(hub, come.known);
                }
            }
        }
        let hash = from_hex(&come.hash).unwrap_or_default();
        Ok(Carrying {
            uplink,
            way,
            journal,
            known,
            starts,
            from,
            to,
            handed: come.carried,
            answered: come.carried,
            passed_by: 0,
            passed: (come.carried, hash),
            strategy: None,
            hash,
            answers: FuturesOrdered::new(),
            bytes: 0,
            told_behind: 0,
        })
    }

    /// Hands over until something is in the way, and says what; nothing if it is simply to begin again.
    async fn run(&mut self, goes: impl Fn()) -> Option<String> {
        let (from, _) = self.uplink.nodes(self.way);
        let mut entries = match from.read_journal(self.journal, self.handed, self.hash).await {
            Ok(entries) => entries,
            Err(error) => return Some(self.noticed(error.code(), error.to_string())),
        };
        let mut look = tokio::time::interval(LOOK);
        let mut group: VecDeque<(Entry, Payload)> = VecDeque::new();
        loop {
            let full = self.answers.len() >= UNDER_WAY_MAX || self.bytes >= UNDER_WAY_BYTES_MAX;
            tokio::select! {
                Some(answer) = self.answers.next(), if !self.answers.is_empty() => {
                    if let Err(why) = self.answered(answer) {
                        return Some(why);
                    }
                    // Not before: what was in the way is perhaps still there, and would be told anew with each try.
                    self.goes(&goes);
                }
                next = entries.next(), if !full => {
                    let (entry, command, hash) = match next {
                        Ok(next) => next,
                        Err(Missed::Ended(why)) => return Some(self.noticed(why.code, why.text.into_owned())),
                        Err(Missed::Compacted { first }) => {
                            group.clear();
                            if let Err(why) = self.pass_gone(first, entries.hash()).await {
                                return Some(why);
                            }
                            continue;
                        }
                        Err(missed) => return Some(missed.to_string()),
                    };
                    let (from, to) = self.uplink.nodes(self.way);
                    if (from.hub(), to.hub()) != self.starts {
                        // It may have been restored, or be another one: it is asked again where to go on.
                        return None;
                    }
                    if self.is_diverged() {
                        return Some("the other way of it has stopped, since the hubs know different histories".into());
                    }
                    if let Err(why) = self.take(&mut group, entry, command, hash).await {
                        return Some(why);
                    }
                }
                _ = look.tick() => {
                    let is_over = self.answers.is_empty() && entries.is_synced();
                    if is_over {
                        self.goes(&goes);
                        // They may be let go any time, and then nobody could tell any more that none of them is missing.
                        if let Err(why) = self.tell_passed() {
                            return Some(why);
                        }
                    }
                    if is_over { self.behind(0) } else { self.look().await }
                }
            }
        }
    }

    /// Nothing is in its way, unless the two hubs know different histories.
    fn goes(&self, goes: impl Fn()) {
        if !self.is_diverged() {
            goes();
        }
    }

    /// Why it stops; if the two hubs know different histories, then both ways do.
    fn noticed(&self, code: Code, why: String) -> String {
        if code == Code::Diverged {
            *self.known.diverged.lock().expect("nothing in it panics") = Some(self.way);
        }
        why
    }

    /// Whether the other way has found that the hubs know different histories.
    fn is_diverged(&self) -> bool {
        let mut diverged = self.known.diverged.lock().expect("nothing in it panics");
        if *diverged == Some(self.way) {
            *diverged = None;
        }
        diverged.is_some()
    }

    /// Looks how much is behind, if the hub that it comes from can tell.
    async fn look(&mut self) {
        let (from, _) = self.uplink.nodes(self.way);
        if let Ok(Some(last)) = tokio::time::timeout(RETRY, last_of(from, self.journal)).await {
            self.behind(last.saturating_sub(self.answered));
        }
    }

    /// Tells how much is behind.
    fn behind(&mut self, behind: u64) {
        let before = std::mem::replace(&mut self.told_behind, behind);
        if before != behind {
            self.uplink.tally.count(self.way, |passed| passed.behind = passed.behind + behind - before);
        }
    }

    /// The next entry of the journal has come.
    async fn take(
        &mut self,
        group: &mut VecDeque<(Entry, Payload)>,
        entry: Entry,
        command: Option<Payload>,
        hash: [u8; 16],
    ) -> Result<(), String> {
        let first = group.front().map_or(&entry, |(first, _)| first);
        let origin = first.origin().unwrap_or(Origin { hub: self.from, seq: first.seq });
        let place = entry.seq;
        let author = entry.author.clone();
        {
            let mut side = lock(self.known.from(self.way));
            side.last = side.last.max(place);
            if let Some(origin) = entry.origin() {
                side.learn(origin.hub, origin.seq);
            }
        }
        let is_known = {
            let side = lock(self.known.to(self.way));
            match origin.hub == self.to {
                true => origin.seq <= side.last,
                false => side.hubs.get(&origin.hub).is_some_and(|known| origin.seq <= *known),
            }
        };
        let more = entry.provenance.as_ref().is_some_and(|provenance| provenance.more);
        match (entry.deed, command) {
            (Deed::Do { first }, Some(command)) => {
                group.push_back((entry, command));
                if more {
                    return Ok(());
                }
                let group = std::mem::take(group);
                if is_known {
                    return self.pass_by(place, hash);
                }
                if self.strategy.is_none() {
                    let report = report_of(self.uplink.nodes(self.way).0, self.journal).await?;
                    self.strategy = Strategy::ALL.into_iter().find(|one| one.to_string() == report.strategy);
                }
                let commands =
                    Commands::encode(group.iter().map(|(_, command)| (command.encoding, &command.bytes[..])));
                let brought = Brought::Commands {
                    origin,
                    author: author.as_str().as_bytes(),
                    terms: Terms::new(self.strategy, first == 0, None),
                    commands: Commands::encoded(&commands),
                };
                let last = Origin { seq: origin.seq + group.len() as u64 - 1, ..origin };
                self.hand_over((place, hash), brought, (group.len() as u64, commands.len(), Some(last)))
            }
            (Deed::Undo(target) | Deed::Redo(target), _) if !is_known => {
                let of_hub = entry.provenance.as_ref().and_then(|provenance| provenance.target);
                let brought = Brought::Back {
                    origin,
                    author: author.as_str().as_bytes(),
                    undoes: matches!(entry.deed, Deed::Undo(_)),
                    target: of_hub.unwrap_or(Origin { hub: self.from, seq: target }),
                };
                self.hand_over((place, hash), brought, (1, 0, Some(origin)))
            }
            // Who is a member of a journal is each hub's own.
            _ => self.pass_by(place, hash),
        }
    }

    /// The other hub has it, or does not want it.
    fn pass_by(&mut self, place: u64, hash: [u8; 16]) -> Result<(), String> {
        self.passed_by += 1;
        self.passed = (place, hash);
        if self.answers.is_empty() {
            self.answered = place;
        }
        if self.passed_by >= PASSED_BY_MAX { self.tell_passed() } else { Ok(()) }
    }

    /// Tells the other hub up to where it has everything, if that is further than what was handed over last.
    fn tell_passed(&mut self) -> Result<(), String> {
        let there = lock(self.known.to(self.way)).last > 0;
        if self.passed_by > 0 && there {
            return self.hand_over(self.passed, Brought::Nothing, (0, 0, None));
        }
        Ok(())
    }

    /// The entries before `first` are gone, `hash` being that of the last of them; passes them by if the other hub is known to
    /// have had them all, on whatever ways.
    ///
    /// Of each hub it has everything up to the last that it has. So nothing is missing if it has what is last of each here, and
    /// of the entries that were here first one that is not before the last that is gone.
    async fn pass_gone(&mut self, first: u64, hash: [u8; 16]) -> Result<(), String> {
        let (from, to) = self.uplink.nodes(self.way);
        let here = report_of(from, self.journal).await?;
        let there = report_of(to, self.journal).await?;
        let known = |hub: &str| there.hubs.get(hub).map_or(0, |come| come.known);
        let its_own = hex(&self.to);
        let others =
            here.hubs.iter().all(|(hub, come)| come.known <= if *hub == its_own { there.last } else { known(hub) });
        if !others || known(&hex(&self.from)) + 1 < first {
            return Err(format!(
                "entries before {first} are not kept any more, and the other hub is not known to have had all of them"
            ));
        }
        self.hand_over((first - 1, hash), Brought::Nothing, (0, 0, None))
    }

    fn hand_over(
        &mut self,
        (place, hash): (u64, [u8; 16]),
        brought: Brought<'_>,
        (count, bytes, origin): (u64, usize, Option<Origin>),
    ) -> Result<(), String> {
        let carried = Carried { carrier: self.from, place, hash, after: self.handed, brought };
        let (_, to) = self.uplink.nodes(self.way);
        let answer = to.carry(self.journal, carried).map_err(|error| error.to_string())?;
        let back = matches!(brought, Brought::Back { .. });
        self.handed = place;
        self.passed_by = 0;
        self.bytes += bytes;
        self.answers
            .push_back(Box::pin(async move { Answer { result: answer.await, place, bytes, count, origin, back } }));
        Ok(())
    }

    /// One that was handed over was answered.
    fn answered(&mut self, answer: Answer) -> Result<(), String> {
        let Answer { result, place, bytes, count, origin, back } = answer;
        self.bytes -= bytes;
        match result {
            Ok(0) => {}
            Ok(seq) => {
                let mut side = lock(self.known.to(self.way));
                side.last = side.last.max(seq + count - 1);
                self.uplink.tally.count(self.way, |passed| passed.entries += count);
            }
            Err(error) if back && matches!(error.code(), Code::UndoConflict | Code::UndoHorizon) => {
                tracing::info!("uplink `{}`: left out: {error}", self.uplink.tally.name);
                self.uplink.tally.count(self.way, |passed| passed.left_out += 1);
            }
            Err(error) => return Err(self.noticed(error.code(), error.to_string())),
        }
        self.answered = place;
        if let Some(origin) = origin {
            lock(self.known.to(self.way)).learn(origin.hub, origin.seq);
        }
        Ok(())
    }
}

/// What a hub has of other hubs in a journal.
async fn report_of(node: &Node, journal: &Name) -> Result<OriginsReport, String> {
    let name = origins_report(journal);
    let report = node.get::<OriginsReport>(&name).await.map_err(|error| error.to_string())?;
    report.ok_or_else(|| format!("the hub tells nothing under `{name}`"))
}

async fn last_of(node: &Node, journal: &Name) -> Option<u64> {
    Some(report_of(node, journal).await.ok()?.last)
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<[u8; 16]> {
    if text.len() != 32 || !text.is_ascii() {
        return None;
    }
    Some(u128::from_str_radix(text, 16).ok()?.to_be_bytes())
}
