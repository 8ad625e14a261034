//! The simulator: one hub, many nodes, and everything that can go wrong between them, from one number.
//!
//! A [`Sim`] runs the real [`HubState`](crate::HubState) and [`NodeState`](crate::NodeState) in one thread under a
//! virtual clock. Links are byte pipes that cut frames at any byte, are slow, break, and deliver late; programs crash,
//! freeze and come back; the hub stalls and restarts; the whole world is suspended. One seed decides all of it, so a
//! failure is a number that anybody can run again. While it runs, checkers compare what the API tells with what
//! happened; each promise of the contract has one, named by [`Checker`].
//!
//! The truth is known from the outside: a tap reads the frames that the hub is handed, in that order, and a few lines
//! (`oracle`) say which subscriptions each event must reach. Nothing of the hub's own tables is trusted.
//!
//! Journals have worlds of their own beside the mixed one, in which most of what happens has to do with them: what they promise
//! goes wrong only where several rare things meet. In some of these an older copy of all that is kept is put back.
//!
//! The parts: `dice` (randomness), `pipe` (one direction of a link), `trace`, `world` (who is there, and what happens next),
//! `hub_shell` and `node_shell` (what a program does around the state machines), `oracle` (the truth), `publisher` and
//! `subscriber` (what a program must be told), `foundation` (what keeps values), `truth` (what is true of them), `values`
//! and `watcher` (what a program must be told of them), `journals`, `chronicle`, `ledger`, `follower`, `asking` and
//! `snapshots` (the same of journals), `calls` (the same of services), `members` (what the hub must think of them), `rights`
//! (who may do some things only), `faults` (what goes wrong), `ending` (what must hold in the end).

mod asking;
mod calls;
mod chronicle;
mod dice;
mod ending;
mod faults;
mod follower;
mod foundation;
mod groups;
mod hub_shell;
mod journals;
mod ledger;
mod members;
mod node_shell;
mod oracle;
mod pipe;
mod publisher;
mod rights;
mod snapshots;
mod subscriber;
mod trace;
mod truth;
mod values;
mod watcher;
mod world;

use std::fmt;
use std::time::Duration;

use world::World;

/// Which promise was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checker {
    /// What a subscription gets is a subsequence of what the hub routed to it, in order, nothing twice, nothing that does
    /// not match, and every byte as it was published.
    Order,
    /// Every loss is announced, with the exact count, where it happened.
    Losses,
    /// Of the members of a group one gets an event, and no second one; what is lost is announced.
    Groups,
    /// A link that was cut gives each subscription one gap, with the reason.
    Gaps,
    /// What a publisher is told about its events is true: losses, confirmations, refusals, barriers.
    Publisher,
    /// Every request is answered exactly once.
    Answers,
    /// No link ends without a reason outside, and nobody loses anything by another's fault.
    Unhurt,
    /// Once nothing goes wrong any more all nodes join and every subscription works.
    Liveness,
    /// What is acknowledged is kept, what is told not to be done never is, and each write happens once, if what it expects
    /// is so; a get tells what was there; what goes by itself goes when it is due, and not before.
    Kept,
    /// What a watch is told has happened, in that order, none twice, none missing, none by halves.
    Watches,
    /// A call is handled at most once, and never when it was told not to be done; it ends once, with its own reply, and in
    /// time, sooner if its provider is lost; calls of one node reach one provider in their order.
    Calls,
    /// Who is heard is never told dead, who has lost its link is suspect at once, then dead, then nobody; a hub that stands
    /// still kills nobody.
    Members,
    /// No link is told what the rights that it joined with do not allow, nothing that they do not allow has an effect, and no
    /// link outlives a change of its rights.
    Rights,
    /// What is appended to a journal is there once, at the place that was acknowledged, in the order of each sender and behind
    /// all that was known before, and never if it was told not to be done; who follows gets every entry once, the same as
    /// everybody, and all of them, or is told that it had others.
    Journals,
    /// What a replica says to be undone and what can be is so, and its state is that of the journal without what is undone.
    Undo,
    /// Nobody who speaks the protocol is told, or says, that it is not spoken.
    Protocol,
    /// Of nodes that are gone the hub holds nothing.
    NothingLeft,
}

/// A broken promise, and how to see it again.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// The virtual time since the start.
    pub at: Duration,
    /// Which promise.
    pub checker: Checker,
    /// What was wrong.
    pub sentence: String,
    /// The last things that happened.
    pub trace: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {} failed at {:?}, {:?}: {}", self.seed, self.at, self.checker, self.sentence)?;
        for line in &self.trace {
            writeln!(f, "    {line}")?;
        }
        write!(
            f,
            "run it again: CONVOKE_SEED={} cargo test -p convoke-core --features sim --test simulation",
            self.seed
        )
    }
}

impl std::error::Error for Failure {}

/// What a run did; so that a test can tell that it was not idle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// A hash over everything that happened, with its time.
    pub trace_hash: u64,
    /// Virtual time at the end.
    pub ended: Duration,
    /// Events that `publish` took.
    pub published: u64,
    /// Events that subscriptions got.
    pub delivered: u64,
    /// Events that members of groups got.
    pub shared: u64,
    /// Events that subscriptions were told to have missed.
    pub lagged: u64,
    /// Gaps that subscriptions were told.
    pub gaps: u64,
    /// Events that publishers were told to have lost.
    pub publisher_losses: u64,
    /// Times that a node joined.
    pub joins: u64,
    /// Of these, as the incarnation that it was.
    pub resumed: u64,
    /// Links cut.
    pub cuts: u64,
    /// Programs that crashed.
    pub crashes: u64,
    /// Starts of the hub.
    pub hub_starts: u64,
    /// Programs fenced by another of their name.
    pub fenced: u64,
    /// Links closed because they read too slowly.
    pub slow_links: u64,
    /// Links that sent what no node sends.
    pub hostile: u64,
    /// Changes of values that were kept.
    pub changes: u64,
    /// Writes that were acknowledged.
    pub written: u64,
    /// Of those not done, because something else was there than expected.
    pub conflicts: u64,
    /// Writes of which nobody knows what became of them.
    pub unknown_writes: u64,
    /// Operations that the foundation did not keep.
    pub not_kept: u64,
    /// Operations of which the foundation did not know.
    pub uncertain: u64,
    /// Reads of old rows.
    pub reads: u64,
    /// Changes that watches were told.
    pub watched: u64,
    /// Gets that were answered with values.
    pub got: u64,
    /// Calls made.
    pub calls: u64,
    /// Calls that came to a provider's program.
    pub handled: u64,
    /// Calls that ended with a reply.
    pub answered: u64,
    /// Calls that certainly had no effect.
    pub calls_refused: u64,
    /// Calls of which nobody knows.
    pub calls_uncertain: u64,
    /// Confirmations whose count was compared.
    pub confirmed: u64,
    /// Changes of rights that were applied.
    pub grants: u64,
    /// Whatever programs were refused because they may not.
    pub forbidden: u64,
    /// Entries of journals that were ordered.
    pub entries: u64,
    /// Appends, undos and redos that were acknowledged.
    pub appended: u64,
    /// Of these, undos and redos.
    pub undone: u64,
    /// Those that were certainly not done.
    pub appends_refused: u64,
    /// Waits for members of journals that were told to be reached.
    pub waits_reached: u64,
    /// Those that were told to be over.
    pub waits_over: u64,
    /// Times that it was told what became of what a program that is gone had sent.
    pub statuses: u64,
    /// Pieces of snapshots that were taken, and compactions.
    pub snapshots: u64,
    /// Followers that were told a snapshot.
    pub based: u64,
    /// Followers that were told that entries are gone.
    pub compacted: u64,
    /// Entries that followers were told.
    pub followed: u64,
    /// Times that a replica was compared with the journal without what is undone.
    pub replicas: u64,
    /// Entries that say that a node is a member, or is one no more.
    pub presence: u64,
    /// Times that an older copy of everything was put back.
    pub restores: u64,
    /// Followers that were told that they had other entries.
    pub diverged: u64,
}

/// One simulated world.
#[derive(Debug)]
pub struct Sim {
    world: World,
}

impl Sim {
    /// Seeds with this bit are worlds in which some programs may do some things only, and what they may changes.
    pub const RIGHTS: u64 = rights::SEEDS;

    /// Seeds with this bit, and not that of rights, are worlds in which most of what happens has to do with journals.
    pub const JOURNALS: u64 = journals::SEEDS;

    /// A world that this number decides.
    pub fn new(seed: u64) -> Sim {
        Sim { world: World::new(seed) }
    }

    /// Lets `steps` random things happen, then stops all faults and checks that everything works and nothing is left.
    ///
    /// # Errors
    ///
    /// The first promise that was broken.
    pub fn run(mut self, steps: u32) -> Result<Report, Failure> {
        self.world.run(steps)
    }
}
